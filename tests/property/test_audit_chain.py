"""Whatever is done to a run's audit after it was written is found; nothing else is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core import chain
from orchestrator.core.chain import Anchor, ChainedRecord, Story

QUICK = settings(max_examples=60, deadline=None)  # how long one takes says how busy the machine is
RUN = "0198c0de-0000-7000-8000-000000000001"
TEXT = st.sampled_from(["", "a", "b", "ab", "\u20ac", "\x01"])
SAID = st.tuples(st.integers(0, 9), TEXT, TEXT, TEXT)
WRITES = st.lists(st.lists(SAID, min_size=1, max_size=3), min_size=1, max_size=6)


def written(writes: Sequence[Sequence[tuple[int, str, str, str]]]) -> Story:
    """As the store writes it, with a checkpoint after each write."""
    head: bytes | None = None
    records: list[ChainedRecord] = []
    anchors = []
    for write in writes:
        entries = b"".join(chain.entry(at, chain.content(*said)) for at, *said in write)
        head = chain.link(head, RUN, entries)
        for place, (at, kind, actor, data) in enumerate(write, 1):
            kept = head if place == len(write) else chain.INSIDE
            records.append(
                ChainedRecord(
                    seq=len(records) + 1, at=at, kind=kind, actor=actor, data=data, chain=kept
                )
            )
        anchors.append(Anchor(checkpoint=len(anchors) + 1, seq=len(records), head=head))
    return Story(run_id=RUN, records=records, claimed=(len(records), head), anchors=anchors)


@QUICK
@given(WRITES)
def test_what_was_written_is_whole(writes: list[list[tuple[int, str, str, str]]]) -> None:
    story = written(writes)
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
    return [replace(record, seq=seq) for seq, record in enumerate(deleted(records, data), 1)]


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


def cut_off(records: list[ChainedRecord], data: st.DataObject) -> list[ChainedRecord]:
    return records[: data.draw(st.integers(0, len(records) - 1))]


def taken_out_of_the_chain(
    records: list[ChainedRecord], data: st.DataObject
) -> list[ChainedRecord]:
    place = data.draw(st.integers(0, len(records) - 1))
    return [replace(r, chain=None) if n <= place else r for n, r in enumerate(records)]


TAMPERINGS: list[Tampering] = [
    changed, deleted, deleted_and_renumbered, swapped, cut_off, taken_out_of_the_chain
]  # fmt: skip


@QUICK
@given(WRITES, st.sampled_from(TAMPERINGS), st.data())
def test_whatever_was_done_shows(
    writes: list[list[tuple[int, str, str, str]]], tamper: Tampering, data: st.DataObject
) -> None:
    story = written(writes)
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
        content = chain.content(record.kind, record.actor, record.data).hex()
        return replace(record, data=f'{{"v":1,"data":{{"erased":"{content}"}}}}')

    kept = [
        without(record) if place in places else record for place, record in enumerate(story.records)
    ]
    return replace(story, records=kept)


@QUICK
@given(WRITES, st.sampled_from([deleted, deleted_and_renumbered, cut_off]), st.data())
def test_what_was_erased_stays_in_the_chain(
    writes: list[list[tuple[int, str, str, str]]], tamper: Tampering, data: st.DataObject
) -> None:
    number = sum(map(len, writes))
    places = data.draw(st.sets(st.integers(0, number - 1), min_size=1))
    story = erased(written([*writes, [(9, chain.ERASED, "ada", "why")]]), places)
    assert chain.breaches(story) == []
    (breach,) = chain.breaches(erased(written(writes), places))
    assert breach.what == "it was erased, and nothing after it says by whom"
    spoilt = replace(story, anchors=(), records=tamper(list(story.records), data))
    assert chain.breaches(spoilt)
