"""Whatever is done to a run's audit after it was written is found; nothing else is."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import chain
from orchestrator.core.chain import Anchor, ChainedRecord, Story

QUICK = settings(max_examples=60, deadline=None)  # how long one takes says how busy the machine is
RUN = "0198c0de-0000-7000-8000-000000000001"
TEXT = st.sampled_from(["", "a", "b", "ab", "\u20ac", "\x01"])
SAID = st.tuples(st.integers(0, 9), TEXT, TEXT, TEXT)
WRITES = st.lists(st.lists(SAID, min_size=1, max_size=3), min_size=1, max_size=6)


def as_one(write: Sequence[tuple[int, str, str, str]]) -> tuple[list[int], str, str, str]:
    """Records of one actor as one row: times, kinds, actor, data."""
    *_, (at, _, actor, _) = write
    before = ",".join(str(at - each) for each, *_ in write[:-1])
    said = ",".join(f'"{data}"' for *_, data in write)
    kinds = chain.AND.join(kind for _, kind, *_ in write)
    return (
        [each for each, *_ in write],
        kinds,
        actor,
        f'{{"v":1,"before":[{before}],"data":[{said}]}}',
    )


def rows_of(
    write: Sequence[tuple[int, str, str, str]], *, together: bool
) -> list[tuple[list[int], str, str, str]]:
    if together and len(write) > 1:
        return [as_one(write)]
    return [([at], kind, actor, data) for at, kind, actor, data in write]


def written(
    writes: Sequence[Sequence[tuple[int, str, str, str]]], together: Collection[int] = ()
) -> Story:
    """As the store writes it, with a checkpoint after each write. The writes of these places are
    one row each, of one actor.
    """
    head: bytes | None = None
    records: list[ChainedRecord] = []
    anchors = []
    seq = 0
    for nth, write in enumerate(writes):
        rows = rows_of(write, together=nth in together)
        entries = [chain.entry_of(ats, kind, who, data.encode()) for ats, kind, who, data in rows]
        head = chain.link(head, RUN, b"".join(entries))
        for place, (ats, kind, actor, data) in enumerate(rows, 1):
            kept = head if place == len(rows) else chain.INSIDE
            seq += len(ats)
            records.append(
                ChainedRecord(seq=seq, at=ats[-1], kind=kind, actor=actor, data=data, chain=kept)
            )
        anchors.append(Anchor(checkpoint=len(anchors) + 1, seq=seq, head=head))
    return Story(run_id=RUN, records=records, claimed=(seq, head), anchors=anchors)


STORIES = st.builds(written, WRITES, st.sets(st.integers(0, 5)))


@QUICK
@given(STORIES)
def test_what_was_written_is_whole(story: Story) -> None:
    assert chain.breaches(story) == []
    assert chain.breaches(replace(story, anchors=())) == []
    proof = replace(story.anchors[-1], checkpoint=0)
    assert chain.breaches(replace(story, claimed=None, records=(), deleted=proof)) == []


Tampering = Callable[[list[ChainedRecord], st.DataObject], list[ChainedRecord]]


def changed(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    place = data.draw(st.integers(0, len(records) - 1))
    record = records[place]
    name = data.draw(st.sampled_from(["at", "kind", "actor", "data"]))
    value = record.at + 1 if name == "at" else getattr(record, name) + "x"
    records[place] = replace(record, **{name: value})
    return records


def deleted(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    del records[data.draw(st.integers(0, len(records) - 1))]
    return records


def deleted_and_renumbered(
    records: list[ChainedRecord], data: st.DataObject
) -> list[ChainedRecord]:
    numbers = accumulate(record.number for record in deleted(records, data))
    return [replace(record, seq=seq) for record, seq in zip(records, numbers, strict=True)]


def swapped(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    one = data.draw(st.integers(0, len(records) - 1))
    other = data.draw(st.integers(0, len(records) - 1))
    first, second = records[one], records[other]
    same = ("at", "kind", "actor", "data")
    if [getattr(first, n) for n in same] == [getattr(second, n) for n in same]:
        return changed(records, data)  # to swap what is equal changes nothing
    records[one], records[other] = (
        replace(second, seq=first.seq, chain=first.chain),
        replace(first, seq=second.seq, chain=second.chain),
    )
    return records


def moved_in_time(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    """The first of a row of several; when it was is told by the row's data, erased or not."""
    several = [place for place, record in enumerate(records) if record.number > 1]
    if not several:
        return deleted(records, data)
    place = data.draw(st.sampled_from(several))
    record = records[place]
    said = re.sub(r"(?<=\[)-?\d+", lambda before: str(int(before[0]) + 1), record.data, count=1)
    records[place] = replace(record, data=said)
    return records


def cut_off(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    return records[: data.draw(st.integers(0, len(records) - 1))]


def taken_out_of_the_chain(
    records: list[ChainedRecord], data: st.DataObject
) -> list[ChainedRecord]:
    place = data.draw(st.integers(0, len(records) - 1))
    return [replace(r, chain=None) if n <= place else r for n, r in enumerate(records)]


TAMPERINGS: list[Tampering] = [
    changed, deleted, deleted_and_renumbered, swapped, moved_in_time, cut_off,
    taken_out_of_the_chain,
]  # fmt: skip


@QUICK
@given(STORIES, st.sampled_from(TAMPERINGS), st.data())
def test_whatever_was_done_shows(story: Story, tamper: Tampering, data: st.DataObject) -> None:
    spoilt = replace(story, records=tamper(list(story.records), data))
    assert chain.breaches(replace(spoilt, anchors=())), "from the chain and the run's row alone"


@QUICK
@given(WRITES, st.data())
def test_a_forger_who_works_out_the_links_anew_is_betrayed_by_the_anchors(
    writes: list[list[tuple[int, str, str, str]]], data: st.DataObject
) -> None:
    story = written(writes)
    keep = data.draw(st.integers(0, len(writes) - 1))
    forged = [list(write) for write in writes[: keep + 1]]
    at, *said = forged[keep][0]
    forged[keep][0] = (at + 1, *said)
    made_anew = replace(written(forged), anchors=story.anchors)
    assert chain.breaches(replace(made_anew, anchors=())) == []
    assert chain.breaches(made_anew)


@QUICK
@given(WRITES)
def test_a_run_without_a_row_needs_a_proof(
    writes: list[list[tuple[int, str, str, str]]],
) -> None:
    story = written(writes)
    gone = replace(story, claimed=None, records=())
    assert "nothing says that it was deleted" in chain.breaches(gone)[0].what
    last = story.anchors[-1]
    short = Anchor(checkpoint=0, seq=last.seq - 1, head=last.head)
    assert chain.breaches(replace(gone, deleted=short)), "a proof of a run that had less to tell"
    assert chain.breaches(replace(story, deleted=last)), "deleted, and still there"


def test_records_of_times_without_chains_are_forgiven_and_no_later_ones() -> None:
    story = written([[(10, "a", "b", "c")], [(20, "a", "b", "d")]])
    first, second = story.records
    older = ChainedRecord(seq=1, at=5, kind="old", actor="", data="", chain=None)
    between = replace(older, seq=3, at=15)  # by a worker of the release before
    grown = [older, replace(first, seq=2), between, replace(second, seq=4)]
    mixed = replace(story, records=grown, claimed=(4, second.chain), anchors=())
    assert [each.seq for each in chain.breaches(mixed)] == [1, 3]
    assert [each.seq for each in chain.breaches(replace(mixed, older_until=5))] == [3]
    assert chain.breaches(replace(mixed, older_until=15)) == []


def test_nothing_stands_between_records_that_were_written_together() -> None:
    story = written([[(10, "a", "b", "c"), (10, "a", "b", "d")]])
    first, second = story.records
    forged = ChainedRecord(seq=2, at=5, kind="old", actor="", data="", chain=None)
    spoilt = [first, forged, replace(second, seq=3)]
    found = chain.breaches(
        replace(story, records=spoilt, claimed=(3, second.chain), anchors=(), older_until=5)
    )
    assert [each.seq for each in found] == [2]


def erased(story: Story, places: set[int]) -> Story:
    """As the store leaves it when the data of these records is taken away."""

    def without(record: ChainedRecord) -> ChainedRecord:
        return replace(record, data=chain.erased(record.kind, record.actor, record.data))

    kept = [
        without(record) if place in places else record for place, record in enumerate(story.records)
    ]
    return replace(story, records=kept)


@QUICK
@given(
    WRITES,
    st.sets(st.integers(0, 5)),
    st.sampled_from([deleted, deleted_and_renumbered, cut_off, moved_in_time]),
    st.data(),
)
def test_what_was_erased_stays_in_the_chain(
    writes: list[list[tuple[int, str, str, str]]],
    together: set[int],
    tamper: Tampering,
    data: st.DataObject,
) -> None:
    rows = len(written(writes, together).records)
    places = data.draw(st.sets(st.integers(0, rows - 1), min_size=1))
    story = erased(written([*writes, [(9, chain.ERASED, "ada", "why")]], together), places)
    assert chain.breaches(story) == []
    (breach,) = chain.breaches(erased(written(writes, together), places))
    assert breach.what == "it was erased, and nothing after it says by whom"
    spoilt = replace(story, anchors=(), records=tamper(list(story.records), data))
    assert chain.breaches(spoilt)
