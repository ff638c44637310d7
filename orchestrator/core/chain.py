"""The hash chain of a run's audit: what is hashed, and what is wrong with one that is not whole.

    content  SHA-256 over kind, NUL, actor, NUL, data, in UTF-8; data is the text as it is stored
    entry    8 bytes for each time of the row, in microseconds since 1970, big-endian; its content
    link     SHA-256 over the link before (of the first: the run's id) and the entries since

A write may bring several records. Those of one actor are kept together as one row: its number and
time are those of the last of them, its kind their kinds with spaces between, and its data says how
many microseconds before the last each of the others was ("before"), and what each says. A row of
one record has one time and no "before".

Rows of one write become one link, which the last of them keeps; those before it keep no bytes.
Records of times before there were chains, or by a worker of a release before, keep nothing (None);
the chain goes on after them as if they were not there.

What was erased keeps its content where its data stood, as {"erased": hex}: its entry, and so its
link, can still be worked out. A later record says who erased it; without one it is a breach.

Records are numbered without gaps from 1, so a link's place in the order is its number: no record
can be changed, left out, put elsewhere or into another run without breaking its link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from struct import pack

INSIDE = b""
"""What a record keeps that is not the last of its write."""


ERASED = "audit.erased"
"""The kind of the record that says who has erased what stands before it."""
AND = " "
"""Between the kinds of records that are kept together."""
_MARKER = re.compile(r'\{"v":1,(?:"before":\[[-\d,]*\],)?"data":\{"erased":"([0-9a-f]{64})"\}\}')
_BEFORE = re.compile(r'\{"v":1,"before":\[([-\d,]*)\],')


def number_of(kind: str) -> int:
    """How many records a row of this kind holds."""
    return kind.count(AND) + 1


def erased_content(data: str) -> bytes | None:
    """The content of a row whose data was erased; None: it was not."""
    found = _MARKER.fullmatch(data)
    return None if found is None else bytes.fromhex(found[1])


def erased(kind: str, actor: str, data: str) -> str:
    """What stands in place of the data of such a row; when its records were stays."""
    before = _BEFORE.match(data)
    kept = "" if before is None else f'"before":[{before[1]}],'
    return f'{{"v":1,{kept}"data":{{"erased":"{content(kind, actor, data).hex()}"}}}}'


def times(at: int, data: str) -> list[int]:
    """Of all records of a row of several, in order; of one too few or too many if it was changed.

    Microseconds since 1970, as `at`, which is the last one's.
    """
    found = _BEFORE.match(data)
    earlier = found[1].split(",") if found is not None else ()
    return [*(at - int(before) for before in earlier), at]


def content(kind: str, actor: str, data: str) -> bytes:
    """32 bytes for what a row says. None of the three holds a NUL."""
    return sha256(f"{kind}\0{actor}\0{data}".encode()).digest()


def entry(at: int, said: bytes) -> bytes:
    """40 bytes of a row of one record: when (microseconds since 1970) and what."""
    return _told_at((at,)) + said


def entry_of(ats: Sequence[int], kind: str, actor: str, data: bytes) -> bytes:
    """The entry of a row that is written now; `data` in UTF-8."""
    content_ = sha256(f"{kind}\0{actor}\0".encode() + data).digest()
    return _told_at(ats) + content_


def _told_at(ats: Sequence[int]) -> bytes:
    return pack(f">{len(ats)}q", *ats)


def link(before: bytes | None, run_id: str, entries: bytes) -> bytes:
    """32 bytes: the head of the run's chain after these entries. None: there was none before."""
    return sha256((run_id.encode() if before is None else before) + entries).digest()


@dataclass(frozen=True, kw_only=True, slots=True)
class ChainedRecord:
    """One row of an audit as it is stored. `at` in microseconds since 1970."""

    seq: int  # of its last record
    at: int
    kind: str
    actor: str
    data: str
    chain: bytes | None

    @property
    def number(self) -> int:
        """How many records it holds."""
        return number_of(self.kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Anchor:
    """A head that a checkpoint knows: after record `seq` the run's chain had come to `head`."""

    checkpoint: int
    seq: int
    head: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """All that is known of one run's audit."""

    run_id: str
    records: Sequence[ChainedRecord]  # in order of their numbers
    claimed: tuple[int, bytes | None] | None  # last number and head in the run's row; None: no row
    anchors: Sequence[Anchor] = ()
    deleted: Anchor | None = None  # what a proof of its deletion says; checkpoint 0: not signed yet
    older_until: int = 0  # records up to this time (microseconds) may be in no chain


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """Something that is not as it was written."""

    place: str  # "run <id>" or "checkpoint <number>"
    seq: int | None  # the record where it shows
    what: str


@dataclass(kw_only=True, slots=True)
class _Walk:
    """What walking along the records has shown so far."""

    head: bytes | None = None
    seq: int = 0  # of the last record
    open_from: int | None = None  # first record of a write whose link has not come yet
    heads: dict[int, bytes] = field(default_factory=dict)  # record number -> link worked out
    erased: int | None = None  # the last record that was


def breaches(story: Story) -> list[Breach]:
    """What is wrong with one run, in order of where it shows; nothing if its chain is whole."""
    walk = _Walk()
    found = list(_along(story, walk))
    found += _ending(story, walk)
    found += _anchored(story, walk)
    return found


def _along(story: Story, walk: _Walk) -> Iterator[Breach]:
    entries: list[bytes] = []
    for record in story.records:
        first = record.seq - record.number + 1
        if first != walk.seq + 1:
            yield _breach(story, first, _gap(walk.seq + 1, first - 1))
            entries.clear()
            walk.open_from = None
            walk.head = record.chain or walk.head
            walk.seq = record.seq
            continue  # nothing can be said of its own link, whose beginning is missing
        walk.seq = record.seq
        if record.chain is None:
            if entries or record.at > story.older_until:
                yield _breach(story, record.seq, "the record is in no chain")
            continue
        walk.open_from = walk.open_from or first
        entries.append(_entry_of(record, walk))
        if record.chain == INSIDE:
            continue
        worked_out = link(walk.head, story.run_id, b"".join(entries))
        if worked_out != record.chain:
            first = walk.open_from
            which = f"record {first}" if first == record.seq else f"records {first} to {record.seq}"
            yield _breach(story, first, f"{which}: not what was written, or not in this place")
        # Goes on from what is stored, so that one change is told of once.
        walk.head = walk.heads[record.seq] = record.chain
        entries.clear()
        walk.open_from = None


def _entry_of(record: ChainedRecord, walk: _Walk) -> bytes:
    said = _content_of(record, walk)
    if AND not in record.kind:
        return entry(record.at, said)
    return _told_at(times(record.at, record.data)) + said


def _content_of(record: ChainedRecord, walk: _Walk) -> bytes:
    erased = erased_content(record.data)
    if erased is not None:
        walk.erased = record.seq
        return erased
    if record.kind == ERASED:
        walk.erased = None
    return content(record.kind, record.actor, record.data)


def _ending(story: Story, walk: _Walk) -> Iterator[Breach]:
    if walk.open_from is not None:
        yield _breach(story, walk.seq, "the end of what was written together is missing")
    if walk.erased is not None:
        yield _breach(story, walk.erased, "it was erased, and nothing after it says by whom")
    if story.claimed is None:
        yield from _without_row(story, walk)
        return
    seq, head = story.claimed
    if seq > walk.seq:
        yield _breach(story, None, _gap(walk.seq + 1, seq))
    elif seq < walk.seq:
        yield _breach(story, seq + 1, f"the run's row knows {seq} records alone")
    elif head != walk.head:
        yield _breach(story, walk.seq, "the last record's link is not the one in the run's row")
    if story.deleted is not None:
        yield _breach(story, None, "the run is said to be deleted, and is there")


def _without_row(story: Story, walk: _Walk) -> Iterator[Breach]:
    if story.deleted is None:
        yield _breach(story, None, "the run is gone, and nothing says that it was deleted")
    elif story.records and (story.deleted.seq, story.deleted.head) != (walk.seq, walk.head or b""):
        yield _breach(story, None, "what is left of the deleted run is not what the proof says")


def _anchored(story: Story, walk: _Walk) -> Iterator[Breach]:
    """A deleted run's records may be gone; what its checkpoints knew must agree with the proof."""
    if story.claimed is None and not story.records:
        last = story.deleted
        for each in story.anchors if last is not None else ():
            if last is not None and (each.seq > last.seq or _differs(each, last)):
                said = f"checkpoint {each.checkpoint} knew another end than the proof of deletion"
                yield _breach(story, each.seq, said)
        return
    for each in story.anchors:
        if walk.heads.get(each.seq) != each.head:
            said = f"checkpoint {each.checkpoint} knew another record {each.seq}, which is gone"
            yield _breach(story, each.seq, said)


def _differs(one: Anchor, other: Anchor) -> bool:
    return one.seq == other.seq and one.head != other.head


def _gap(first: int, last: int) -> str:
    return f"record {first} is missing" if first == last else f"records {first} to {last}: missing"


def _breach(story: Story, seq: int | None, what: str) -> Breach:
    return Breach(place=f"run {story.run_id}", seq=seq, what=what)


def heads_digest(
    heads: Iterable[tuple[str, int, bytes]], deletions: Iterable[tuple[str, int, bytes, int]]
) -> str:
    """SHA-256 in hex over what a checkpoint covers: (run, seq, head) and (…, deleted at) by run."""
    whole = sha256()
    for run_id, seq, head in heads:
        whole.update(f"{run_id} {seq} {head.hex()}\n".encode())
    for run_id, seq, head, at in deletions:
        whole.update(f"{run_id} {seq} {head.hex()} deleted {at}\n".encode())
    return whole.hexdigest()


def checkpoint_text(fields: Mapping[str, str | int]) -> bytes:
    """What a checkpoint's digest and signature are made over: its fields, one in each line."""
    return "".join(f"{name}: {value}\n" for name, value in fields.items()).encode()
