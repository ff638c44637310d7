"""Compare what every run says with what the server holds.

Two witnesses that know nothing of each other: the orchestrator's record of each run, and the
server's own records and journal. Everything here is plain data in, plain data out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

from orchestrator.core.states import SETTLED, RunStatus
from orchestrator.demo.seeding import Order
from orchestrator.demo.world import Change, WorldState

Record = tuple[str, str]
"""A record at the server: collection and id."""

FORWARD = ("stock-reservations", "customers", "payments", "orders", "mail", "shipments")
"""Collections in the order in which a checkout writes them."""
CORRECTION_SUFFIX = "-correction"
_REVIEWS = "reviews"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunView:
    """What the orchestrator says about one run, as far as the comparison needs it."""

    run_id: str
    status: RunStatus
    failed_at: str | None = None  # step whose forward action was refused
    completed: tuple[str, ...] = ()  # steps that landed, in their recorded order
    undone: tuple[str, ...] = ()  # steps whose undo landed, in their recorded order
    named: frozenset[Record] = frozenset()  # effects that its escalation names as standing
    started_at: datetime | None = None
    settled_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """How a run has to have ended, after the operator's acts."""

    status: RunStatus
    kept: frozenset[Record] = frozenset()  # effects that the operator decided to leave standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong, for people."""

    kind: str  # a field of Verdict
    order_id: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """All that is wrong. Every count is zero where the orchestrator keeps its promises."""

    lost: int = 0  # runs that did not settle, or that nobody knows
    orphaned_effects: int = 0  # live records that no run and no escalation accounts for
    duplicate_effects: int = 0  # writes of an effect beyond the first
    out_of_order_compensations: int = 0  # runs whose undos were not in reverse order
    unexpected_endings: int = 0  # runs that ended otherwise than their seed implies, or untruly
    findings: tuple[Finding, ...] = field(default=(), repr=False)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def reconcile(
    orders: Sequence[Order],
    views: Mapping[str, RunView],
    world: WorldState,
    *,
    effects: Sequence[str],
    expected: Mapping[str, Expected],
    others: frozenset[str],
) -> Verdict:
    """Judge every order, and every record that belongs to none.

    `views` by order id; `effects` are the collections that a run writes, in order; `expected`
    only for orders on which the operator acted; `others` are the users of the server who are not
    the orchestrator.
    """
    live, journal = _by_order(world.records), _journal_by_order(world.changes)
    findings: list[Finding] = []
    for order in orders:
        wanted = expected.get(order.order_id) or Expected(status=order.ending)
        findings += judge(
            order,
            views.get(order.order_id),
            live.pop(order.order_id, frozenset()),
            journal.get(order.order_id, ()),
            effects=effects,
            wanted=wanted,
            others=others,
        )
    for order_id, records in live.items():
        findings += _orphans(order_id, records, "belongs to no run")
    return _verdict(findings)


def judge(
    order: Order,
    view: RunView | None,
    live: frozenset[Record],
    journal: Sequence[Change],
    *,
    effects: Sequence[str],
    wanted: Expected,
    others: frozenset[str],
) -> list[Finding]:
    """Everything that is wrong with one order."""
    order_id = order.order_id
    if view is None or view.status not in SETTLED:
        status = "unknown to the orchestrator" if view is None else f"still {view.status}"
        return [
            Finding(kind="lost", order_id=order_id, detail=status),
            *_orphans(order_id, live, "its run has not settled"),
        ]
    return [
        *_ending(order, view, wanted),
        *_effects(order_id, view, live, _must_stand(order_id, view, effects) | wanted.kept),
        *_duplicates(order_id, journal, others),
        *_order_of_undos(order_id, view, journal),
    ]


def _ending(order: Order, view: RunView, wanted: Expected) -> Iterable[Finding]:
    found = str(view.status)
    if view.status is not wanted.status:
        yield _unexpected(order.order_id, f"ended {found}; the seed implies {wanted.status}")
    if view.failed_at != order.refused_at:
        detail = f"failed at {view.failed_at}; the seed implies {order.refused_at}"
        yield _unexpected(order.order_id, detail)


def _effects(
    order_id: str, view: RunView, live: frozenset[Record], due: frozenset[Record]
) -> Iterable[Finding]:
    followed_up = _followed_up(order_id, live)
    yield from _orphans(order_id, live - due - followed_up, f"its run ended {view.status}")
    for record in sorted(due - live):
        yield _unexpected(order_id, f"ended {view.status}, but {_name(record)} is not there")


def _must_stand(order_id: str, view: RunView, effects: Sequence[str]) -> frozenset[Record]:
    """Effects that the run's own record says are there."""
    if view.status is RunStatus.SUCCEEDED:
        return frozenset((collection, order_id) for collection in effects)
    if view.status in (RunStatus.ESCALATED, RunStatus.ABANDONED):
        return view.named
    return frozenset()


def _followed_up(order_id: str, live: frozenset[Record]) -> frozenset[Record]:
    """A confirmation that was sent and corrected counts as made good."""
    pair = frozenset({("mail", order_id), ("mail", order_id + CORRECTION_SUFFIX)})
    return pair if pair <= live else frozenset()


def _duplicates(
    order_id: str, journal: Sequence[Change], others: frozenset[str]
) -> Iterable[Finding]:
    ours = [change for change in journal if change.user not in others]
    creations = Counter((c.collection, c.record) for c in ours if c.action == "create")
    for record, times in creations.items():
        for _ in range(times - 1):
            yield Finding(
                kind="duplicate_effects",
                order_id=order_id,
                detail=f"{_name(record)} was created {times} times",
            )
    for change in ours:
        if change.action == "update":  # no step writes a record that is there
            detail = f"{_name((change.collection, change.record))} was written again"
            yield Finding(kind="duplicate_effects", order_id=order_id, detail=detail)


def _order_of_undos(order_id: str, view: RunView, journal: Sequence[Change]) -> Iterable[Finding]:
    """By both witnesses: the recorded order of outcomes, and the server's journal."""
    by_record = _is_reverse(view.completed, view.undone)
    done, undone, interleaved = _journal_order(journal)
    if not by_record:
        detail = f"recorded undos {', '.join(view.undone)} after {', '.join(view.completed)}"
    elif interleaved or not _is_reverse(done, undone):
        detail = f"the server saw {', '.join(done)} undone as {', '.join(undone)}"
    else:
        return
    yield Finding(kind="out_of_order_compensations", order_id=order_id, detail=detail)


def _journal_order(journal: Sequence[Change]) -> tuple[list[str], list[str], bool]:
    """Effects in order of creation, effects in order of undoing, and whether these mix."""
    done: list[str] = []
    undone: list[str] = []
    interleaved = False
    for change in journal:
        correction = change.record.endswith(CORRECTION_SUFFIX)
        if change.action == "delete" or (change.action == "create" and correction):
            undone.append(change.collection)
        elif change.action == "create":
            done.append(change.collection)
            interleaved = interleaved or bool(undone)
    return done, undone, interleaved


def _is_reverse(done: Sequence[str], undone: Sequence[str]) -> bool:
    """Whether `undone` goes strictly backward through `done`; it may leave some out."""
    places = [done.index(what) if what in done else -1 for what in undone]
    descending = all(later < earlier for earlier, later in pairwise(places))
    return descending and -1 not in places


def _by_order(records: Mapping[Record, Mapping[str, object]]) -> dict[str, frozenset[Record]]:
    grouped: defaultdict[str, set[Record]] = defaultdict(set)
    for record in records:
        if record[0] != _REVIEWS:
            grouped[_order_of(record[1])].add(record)
    return {order_id: frozenset(group) for order_id, group in grouped.items()}


def _journal_by_order(changes: Iterable[Change]) -> dict[str, list[Change]]:
    grouped: defaultdict[str, list[Change]] = defaultdict(list)
    for change in changes:
        if change.collection != _REVIEWS:
            grouped[_order_of(change.record)].append(change)
    return grouped


def _order_of(record_id: str) -> str:
    return record_id.removesuffix(CORRECTION_SUFFIX)


def _orphans(order_id: str, records: Iterable[Record], why: str) -> list[Finding]:
    return [
        Finding(
            kind="orphaned_effects", order_id=order_id, detail=f"{_name(record)} is there: {why}"
        )
        for record in sorted(records)
    ]


def _unexpected(order_id: str, detail: str) -> Finding:
    return Finding(kind="unexpected_endings", order_id=order_id, detail=detail)


def _verdict(findings: Sequence[Finding]) -> Verdict:
    counts = Counter(finding.kind for finding in findings)
    # One run ends once, however many things contradict its ending.
    unexpected = {f.order_id for f in findings if f.kind == "unexpected_endings"}
    return Verdict(
        lost=counts["lost"],
        orphaned_effects=counts["orphaned_effects"],
        duplicate_effects=counts["duplicate_effects"],
        out_of_order_compensations=counts["out_of_order_compensations"],
        unexpected_endings=len(unexpected),
        findings=tuple(findings),
    )


def _name(record: Record) -> str:
    return "/".join(record)
