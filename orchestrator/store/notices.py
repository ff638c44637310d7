"""Who was told of what. What is to be told are the rows of escalations, alarms and waits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.ports import EscalationRecord, Proposal, WaitRecord
from orchestrator.ports.notices import Notice, Occasion
from orchestrator.ports.slo import AlarmRecord
from orchestrator.store import codec, rows
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

FIRST_RETRY_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 3600.0
_DAY = 86_400
_OBSOLETE = "obsolete before it was told"


About = EscalationRecord | AlarmRecord | Proposal | WaitRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A table of notices, and the table of what they are about."""

    table: str
    key: tuple[str, ...]  # its columns beside the target; the first is the id of what it is about
    about: str  # table and alias
    occasions: tuple[tuple[tuple[str, ...], str], ...]  # the rest of the key, and of which rows
    read: str  # what it is about, by :id
    record: Callable[[Any], About]

    def key_of(self, notice: Notice) -> dict[str, Any]:
        """The values of its columns."""
        values = (notice.about.id, notice.occasion.value, notice.number)
        return dict(zip(self.key, values, strict=False))


_ESCALATIONS = _Kind(
    table="notices", key=("escalation_id",), about="escalations AS t",
    occasions=(((), "t.closed_at IS NULL AND t.opened_at > {since}"),),
    read=f"SELECT {rows.ESCALATION} FROM escalations AS e JOIN runs ON runs.id = e.run_id"
    " WHERE e.id = :id",
    record=rows.escalation_of,
)  # fmt: skip
_ALARMS = _Kind(
    table="alarm_notices", key=("alarm_id",), about="slo_alarms AS t",
    occasions=(((), "t.closed_at IS NULL AND t.opened_at > {since}"),),
    read=f"SELECT {rows.ALARM} FROM slo_alarms WHERE id = :id",
    record=rows.alarm_of,
)  # fmt: skip
_PROPOSALS = _Kind(
    table="proposal_notices", key=("proposal_id",), about="proposals AS t",
    # Of what a job proposes its page tells: nobody reads five hundred messages.
    occasions=(((), "t.closed_at IS NULL AND t.via <> 'job' AND t.proposed_at > {since}"),),
    read=f"SELECT {rows.PROPOSAL} FROM proposals AS p JOIN runs ON runs.id = p.run_id"
    " WHERE p.id = :id",
    record=rows.proposal_of,
)  # fmt: skip
_OPEN = "t.closed_at IS NULL AND t.asks = 'approval'"
_WAITS = _Kind(
    table="wait_notices", key=("wait_id", "occasion", "number"), about="waits AS t",
    occasions=(
        (("'asked'", "0"), f"{_OPEN} AND t.opened_at > {{since}}"),
        (("'reminded'", "t.reminders"), f"{_OPEN} AND t.reminders > 0"),
        (
            ("'expired'", "0"),
            "t.outcome = 'expired' AND t.asks = 'approval' AND t.closed_at > {since}",
        ),
    ),
    read=f"SELECT {rows.WAIT} FROM waits AS w JOIN runs ON runs.id = w.run_id"
    " LEFT JOIN signals AS s ON s.run_id = w.run_id AND s.wait_id = w.id WHERE w.id = :id",
    record=rows.wait_of,
)  # fmt: skip


class Notices(Part):
    """Implements ports.notices.NoticeStore."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._of_escalations = _Outbox(shared, _ESCALATIONS)
        self._of_alarms = _Outbox(shared, _ALARMS)
        self._of_waits = _Outbox(shared, _WAITS)
        self._of_proposals = _Outbox(shared, _PROPOSALS)
        self._boxes = (
            self._of_alarms, self._of_escalations, self._of_waits, self._of_proposals,
        )  # fmt: skip

    async def add_notices(self, targets: Sequence[str]) -> int:
        """One for each occasion and target that has none; how many. See the port."""

        async def work(tx: Tx) -> int:
            return sum([await box.add(tx, targets) for box in self._boxes])

        return await self._db.write(work)

    async def take_notices(
        self, targets: Sequence[str], *, most_attempts: int, limit: int
    ) -> list[Notice]:
        """Those that are due, for these targets, each to one caller. See the port."""
        return [
            notice
            for box in self._boxes
            for notice in await box.take(targets, most_attempts=most_attempts, limit=limit)
        ]

    async def note_told(self, notice: Notice) -> None:
        """It need not be told again."""
        await self._box(notice).end(notice, "")

    async def note_untold(self, notice: Notice, why: str) -> None:
        """Keep why not; it is due again in its time."""
        await self._box(notice).keep(notice, why)

    def _box(self, notice: Notice) -> _Outbox:
        if isinstance(notice.about, WaitRecord):
            return self._of_waits
        if isinstance(notice.about, Proposal):
            return self._of_proposals
        is_alarm = isinstance(notice.about, AlarmRecord)
        return self._of_alarms if is_alarm else self._of_escalations


class _Outbox(Part):
    """One table of notices."""

    def __init__(self, shared: Shared, kind: _Kind) -> None:
        super().__init__(shared)
        self._kind = kind
        self._targets = self._dialect.batch({"target": "text"})
        self._adds = [self._adding(values, where) for values, where in kind.occasions]
        columns = ", ".join(f"n.{name}" for name in kind.key)
        self._due = self._sql(
            f"SELECT n.target, n.attempts, {columns} FROM {kind.table} AS n"
            f" JOIN {self._targets} AS b ON b.target = n.target"
            " WHERE n.told_at IS NULL AND n.due_at <= {now} AND n.attempts < :most_attempts"
            " ORDER BY n.due_at LIMIT :most"
        )
        this = " AND ".join(f"{name} = :{name}" for name in (*kind.key, "target"))
        change = f"UPDATE {kind.table} SET"
        later = self._dialect.later("{now}", "CAST(:seconds AS {real})")
        # The number of attempts fences: of two who take it one does.
        self._take = self._sql(
            f"{change} attempts = attempts + 1, due_at = {later}"
            f" WHERE {this} AND attempts = :attempts AND told_at IS NULL"
        )
        self._end = self._sql(f"{change} told_at = {{now}}, error = :why WHERE {this}")
        self._keep = self._sql(f"{change} error = :why WHERE {this} AND told_at IS NULL")
        self._read = self._sql(kind.read)

    def _adding(self, values: tuple[str, ...], where: str) -> Any:
        kind = self._kind
        since = self._dialect.later("{now}", f"-{_DAY}")
        key = dict(zip((*kind.key, "target"), ("t.id", *values, "b.target"), strict=True))
        same = " AND ".join(f"n.{name} = {value}" for name, value in key.items())
        return self._sql(
            f"INSERT INTO {kind.table} ({', '.join(key)}, attempts, due_at, error)"
            f" SELECT {', '.join(key.values())}, 0, {{now}}, ''"
            f" FROM {kind.about} CROSS JOIN {self._targets} AS b"
            f" WHERE {where.format(since=since)}"
            f" AND NOT EXISTS (SELECT 1 FROM {kind.table} AS n WHERE {same})"
            " ON CONFLICT DO NOTHING"
        )

    async def add(self, tx: Tx, targets: Sequence[str]) -> int:
        """What there is to tell; how many."""
        return sum([await tx.change(each, batch=_batch(targets)) for each in self._adds])

    async def take(self, targets: Sequence[str], *, most_attempts: int, limit: int) -> list[Notice]:
        """Those that are due, each to one caller."""
        due = await self._db.rows(
            self._due, batch=_batch(targets), most_attempts=most_attempts, most=limit
        )
        taken = [await self._take_one(*row) for row in due]
        return [notice for notice in taken if notice is not None]

    async def _take_one(self, target: str, attempts: int, *key: Any) -> Notice | None:
        seconds = min(FIRST_RETRY_SECONDS * 2**attempts, LONGEST_RETRY_SECONDS)
        known = {**dict(zip(self._kind.key, key, strict=True)), "target": target}

        async def work(tx: Tx) -> Notice | None:
            taken = await tx.change(self._take, **known, attempts=attempts, seconds=seconds)
            if not taken:
                return None
            about = self._kind.record(await tx.row(self._read, id=key[0]))
            notice = _notice(about, known, attempts + 1)
            if _is_obsolete(notice):
                await tx.change(self._end, **known, why=_OBSOLETE)
                return None
            return notice

        return await self._db.write(work)

    async def end(self, notice: Notice, why: str) -> None:
        """It is not due any more."""
        known = self._kind.key_of(notice)
        await self._db.write(
            lambda tx: tx.change(self._end, **known, target=notice.target, why=why)
        )

    async def keep(self, notice: Notice, why: str) -> None:
        """Why it was not told."""
        known, reason = self._kind.key_of(notice), codec.storable(why[:1000])
        await self._db.write(
            lambda tx: tx.change(self._keep, **known, target=notice.target, why=reason)
        )


def _notice(about: About, known: Mapping[str, Any], attempt: int) -> Notice:
    return Notice(
        about=about, occasion=Occasion(known.get("occasion", Occasion.OPENED)),
        number=known.get("number", 0), target=known["target"], attempt=attempt,
    )  # fmt: skip


def _is_obsolete(notice: Notice) -> bool:
    """Somebody has dealt with it meanwhile, or there is a newer reminder."""
    about = notice.about
    if notice.occasion is Occasion.EXPIRED:
        return False
    if isinstance(about, WaitRecord) and notice.occasion is Occasion.REMINDED:
        return about.closed_at is not None or about.reminders > notice.number
    return about.closed_at is not None


def _batch(targets: Sequence[str]) -> str:
    return codec.dump_batch([(target,) for target in targets])
