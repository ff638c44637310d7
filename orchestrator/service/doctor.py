"""Checks that tell an operator what is wrong and what to do about it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orchestrator.errors import OrchestratorError
from orchestrator.ports import (
    ApiFiles,
    BrokerFacts,
    BrokerInspector,
    CredentialInspector,
    SessionFacts,
    SessionInspector,
    Store,
    WorkerRecord,
)
from orchestrator.ports.looking import Looking, ReplicaFacts
from orchestrator.service import high_water, room
from orchestrator.service.high_water import HighWaterWatch
from orchestrator.service.queues import Queues

SLOW_ROUND_TRIP_SECONDS = 0.05
SKEW_SECONDS = 2.0
OLD_DUE_SECONDS = 60.0
MOST_PAUSES = 5
CODE_SECONDS = 10.0
MEMORY_SHARE = 0.8


class Verdict(StrEnum):
    """How bad it is."""

    GOOD = "good"
    WARNING = "warning"  # works, but not as it should in production
    BAD = "bad"  # does not work, or will lose time or data


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One look: what was found, and what to do when it is not good."""

    name: str
    verdict: Verdict
    found: str
    do: str = ""


class Doctor:
    """Looks at database, broker, clocks, workers, connections, queues, APIs and credentials."""

    def __init__(
        self,
        store: Store,
        broker: BrokerInspector,
        queues: Queues,
        *,
        database: str,
        wall_clock: Callable[[], datetime],
        dead_after_seconds: float,
        read_files: Callable[[], ApiFiles],
        open_files: int,
        credentials: CredentialInspector,
        age: HighWaterWatch,
        sessions: SessionInspector,
        looking: Looking,
        others: Sequence[BrokerInspector] = (),
    ) -> None:
        """`others`: brokers of lanes that have their own."""
        self._store, self._broker, self._queues = store, broker, queues
        self._database, self._credentials = database, credentials
        self._wall_clock, self._dead_after = wall_clock, dead_after_seconds
        self._read_files, self._open_files = read_files, open_files
        self._age, self._sessions, self._others = age, sessions, others
        self._looking = looking

    async def checks(self, *, preflight: bool = False) -> list[Check]:
        """All checks; one that cannot look says so instead of ending the others.

        `preflight`: those alone that can be good before anything runs.
        """
        looks = [self._database_check, self._session_checks, self._replica_checks, self._age_check,
                 self._broker_checks, *map(self._look_at, self._others),
                 self._worker_checks, self._room_checks,
                 self._queue_checks, self._workflow_checks, self._api_checks,
                 self._pause_checks, self._code_checks, self._credential_checks]  # fmt: skip
        if preflight:
            later = (self._worker_checks, self._queue_checks, self._workflow_checks,
                     self._pause_checks, self._code_checks)  # fmt: skip
            looks = [look for look in looks if look not in later]
        return [check for look in looks for check in await _guarded(look)]

    async def _database_check(self) -> list[Check]:
        before = self._wall_clock()
        database_now = await self._store.now()
        after = self._wall_clock()
        seconds = (after - before).total_seconds()
        skew = abs((database_now - (before + (after - before) / 2)).total_seconds())
        return [
            _judged(
                "database", seconds < SLOW_ROUND_TRIP_SECONDS * 4,
                f"{self._database} answers in {seconds * 1000:.0f} ms",
                "bring worker and database closer together, or look at its load",
            ),
            _judged(
                "clock", skew < SKEW_SECONDS, f"differs from the database's by {skew:.1f} s",
                "synchronise clocks (NTP); all decisions use the database's, logs use this one",
            ),
        ]  # fmt: skip

    async def _session_checks(self) -> list[Check]:
        facts = await self._sessions.facts()
        return [] if facts is None else session_checks(facts)

    async def _replica_checks(self) -> list[Check]:
        facts = await self._looking.facts()
        return [] if facts is None else replica_checks(facts)

    async def _age_check(self) -> list[Check]:
        """A database that is an older one than it was: restored, or a replica that was behind."""
        missing = await self._age.missing()
        if not missing:
            return []
        return [Check(name="database age", verdict=Verdict.BAD, found=missing, do=high_water.DO)]

    async def _broker_checks(self) -> list[Check]:
        return _checks_of(await self._broker.facts())

    @staticmethod
    def _look_at(broker: BrokerInspector) -> Callable[[], Awaitable[list[Check]]]:
        async def _broker_checks() -> list[Check]:
            return _checks_of(await broker.facts())

        return _broker_checks

    async def _worker_checks(self) -> list[Check]:
        now = await self._store.now()
        workers = await self._store.workers()
        if not workers:
            return [Check(
                name="workers", verdict=Verdict.BAD, found="none",
                do="start some: orchestrator up, or celery -A orchestrator worker",
            )]  # fmt: skip
        return [self._worker_check(worker, now) for worker in workers]

    def _worker_check(self, worker: WorkerRecord, now: datetime) -> Check:
        age = (now - worker.heartbeat_at).total_seconds()
        return _judged(
            f"worker {worker.name}", age < self._dead_after,
            f"{worker.active_runs} runs in hand, heartbeat {age:.1f} s ago",
            "if it stays: the process hangs or cannot reach the database; its runs go elsewhere",
        )  # fmt: skip

    async def _room_checks(self) -> list[Check]:
        workers = len(await self._store.workers())
        database = await self._store.room()
        checks = []
        if database is not None:
            good, found = room.database_found(database, workers)
            advice = room.database_advice(database)
            checks.append(_judged("database connections", good, found, advice))
        to_apis = (await asyncio.to_thread(self._read_files)).open_connections()
        good, found = room.files_found(to_apis=to_apis, database=database, allowed=self._open_files)
        checks.append(_judged(
            "open files", good, found,
            "raise the limit for workers (ulimit -n, LimitNOFILE=), or lower `connections` of APIs",
        ))  # fmt: skip
        return checks

    async def _api_checks(self) -> list[Check]:
        files = await asyncio.to_thread(self._read_files)
        overrides = await self._store.api_overrides()
        checks = [
            Check(
                name="api file", verdict=Verdict.BAD, found=str(problem),
                do="correct it; until then workers keep what was valid, and new ones do not start",
            )
            for problem in files.problems()
        ]  # fmt: skip
        checks += [
            Check(
                name=f"api {each.api}", verdict=Verdict.WARNING, found="held: nothing leaves",
                do=f"orchestrator apis show {each.api}; orchestrator apis release {each.api}",
            )
            for each in overrides if each.held
        ]  # fmt: skip
        changed = [each.api for each in overrides if each.values()]
        found = f"{len(files.names())} with a file, {len(changed)} with overrides"
        return [*checks, Check(name="apis", verdict=Verdict.GOOD, found=found)]

    async def _code_checks(self) -> list[Check]:
        """Whoever has the code takes such runs up within two seconds."""
        now = await self._store.now()
        return [
            Check(
                name=f"code {each.code}", verdict=Verdict.WARNING,
                found=f"{each.runs:,} runs wait for it, the longest for"
                f" {(now - each.since).total_seconds():.0f} s, and no worker has it",
                do="start a worker with an image that has this function; keep a function's old"
                " version beside the new one until runs that began with it have ended",
            )
            for each in await self._store.code_waits()
            if (now - each.since).total_seconds() > CODE_SECONDS
        ]  # fmt: skip

    async def _pause_checks(self) -> list[Check]:
        """A pause that was forgotten looks like a deployment that does nothing."""
        return [
            Check(
                name=f"pause of {each.scope}", verdict=Verdict.WARNING,
                found=f"since {each.since.isoformat(timespec='seconds')} by {each.by}:"
                f" {each.reason}",
                do="orchestrator runs pauses; orchestrator runs resume",
            )
            for each in (await self._store.pauses())[:MOST_PAUSES]
        ]  # fmt: skip

    async def _queue_checks(self) -> list[Check]:
        views = await self._queues.overview()
        checks = []
        for view in views:
            old = view.oldest_due_seconds or 0.0
            found = f"{view.messages} messages, {view.due} due, {view.owned} owned, "
            checks.append(_judged(
                f"queue {view.name}", old < OLD_DUE_SECONDS,
                found + f"{view.parked} parked, oldest due {old:.0f} s",
                "more workers, or an API that keeps its runs waiting (orchestrator queues)",
            ))  # fmt: skip
        dead = next((view for view in views if view.name == "dead_letter"), None)
        if dead is not None and dead.due:
            checks.append(Check(
                name="escalations", verdict=Verdict.WARNING,
                found=f"{dead.due} open and unclaimed",
                do="orchestrator escalations claim --next",
            ))  # fmt: skip
        return checks

    async def _workflow_checks(self) -> list[Check]:
        workflows = await self._store.workflows()
        return [_judged(
            "workflows", bool(workflows), f"{len(workflows)} published",
            "orchestrator workflows publish config/workflows",
        )] + [
            Check(
                name="workflow", verdict=Verdict.BAD, found=f"{problem.place}: {problem.found}",
                do="restore this row from a backup, then retry the escalations of its runs",
            )
            for each in workflows if each.unread for problem in each.unread.problems
        ]  # fmt: skip

    async def _credential_checks(self) -> list[Check]:
        facts = await self._credentials.facts()
        checks = [
            Check(
                name="credential", verdict=Verdict.WARNING,
                found=f"{fact.name}: {fact.problem}",
                do="provide it where workers run; this looked into its own environment only",
            )
            for fact in facts.credentials if fact.problem
        ]  # fmt: skip
        if facts.fetched:
            how = "sealed and shared by all workers" if facts.shared else "fetched by each worker"
            checks.append(_judged(
                "tokens", facts.shared, f"of {facts.fetched} credentials, {how}",
                "set credentials_key, so that one worker fetches a token for all",
            ))  # fmt: skip
        return checks


async def _guarded(look: Callable[[], Awaitable[Sequence[Check]]]) -> Sequence[Check]:
    try:
        return await look()
    except OrchestratorError as error:
        name = look.__name__.strip("_").rpartition("_")[0]
        do = "start it, or correct its address in the settings (orchestrator up starts both)"
        return [Check(name=name, verdict=Verdict.BAD, found=str(error), do=do)]


def _judged(name: str, good: bool, found: str, do: str) -> Check:
    verdict = Verdict.GOOD if good else Verdict.WARNING
    return Check(name=name, verdict=verdict, found=found, do="" if good else do)


def session_checks(facts: SessionFacts) -> list[Check]:
    """What a pooler between here and PostgreSQL does to sessions."""
    if facts.session_shared or (facts.shared and not facts.said):
        setting = "database_session_url" if facts.session_shared else "database_url"
        return [Check(
            name="database sessions", verdict=Verdict.BAD,
            found=f"{setting} leads to a pooler that lends sessions for one transaction",
            do="set database_session_url to PostgreSQL itself: locks of workers and migrations "
            "need a session of their own, and no statement may be prepared beyond the pooler",
        )]  # fmt: skip
    how = "lent by a pooler" if facts.shared else "their clients' own"
    if facts.said and not facts.shared:
        how += " as far as can be seen, although database_session_url is set"
    checks = [Check(name="database sessions", verdict=Verdict.GOOD, found=how)]
    if facts.unlike:
        unlike = ", ".join(f"{name} is {value}" for name, value in facts.unlike.items())
        checks.append(Check(
            name="settings of sessions", found=unlike,
            verdict=Verdict.BAD if "synchronous_commit" in facts.unlike else Verdict.WARNING,
            do=f'have the pooler say it (connect_query of PgBouncer): "{facts.connect_query}"',
        ))  # fmt: skip
    return checks


def replica_checks(facts: ReplicaFacts) -> list[Check]:
    """Whether a replica is one of this database, young enough, and unable to do harm."""
    if not facts.in_recovery or not facts.same_system:
        what = "a primary" if not facts.in_recovery else "a replica of another database server"
        return [Check(
            name="replica", verdict=Verdict.BAD, found=f"{facts.where} is {what}; nobody asks it",
            do="set database_read_url to a streaming replica of the server in database_url",
        )]  # fmt: skip
    lag = facts.lag_seconds
    told = "not known how far" if lag is None else f"{lag:.1f} s"
    return [
        _judged(
            "replica", lag is not None and lag <= facts.max_lag_seconds,
            f"{facts.where} is {told} behind",
            f"until it is less than {facts.max_lag_seconds:g} s the database answers instead: look"
            " at pg_stat_replication, and for long queries at the replica",
        ),
        _judged(
            "replica tables", facts.same_tables,
            "of this release" if facts.same_tables else "of another release than the database's",
            "wait until it has replayed the migration, or see why it does not replay",
        ),
        _judged(
            "replica role", not facts.can_write,
            "may change runs" if facts.can_write else "may only read",
            "give database_read_url a role that may only read (orchestrator_readonly of"
            " deploy/postgres/roles.sql): a replica may be promoted",
        ),
    ]  # fmt: skip


def _checks_of(facts: BrokerFacts) -> list[Check]:
    return [
        _judged(
            "broker", facts.round_trip_seconds < SLOW_ROUND_TRIP_SECONDS,
            f"{facts.version} at {facts.address} answers in "
            f"{facts.round_trip_seconds * 1000:.1f} ms",
            "bring worker and broker closer together, or look at its load",
        ),
        _eviction(facts),
        _judged(
            "broker persistence", facts.append_only,
            "append-only file is " + ("on" if facts.append_only else "off"),
            "set `appendonly yes`: a restart then keeps the hints (the sweep finds lost ones)",
        ),
        _memory(facts),
        _judged(
            "broker clients", facts.clients <= room.SHARE * facts.max_clients,
            f"{facts.clients:,} of {facts.max_clients:,} connected",
            "raise maxclients of the server, or run fewer workers",
        ),
    ]  # fmt: skip


def _eviction(facts: BrokerFacts) -> Check:
    if facts.maxmemory_policy == "noeviction":
        return Check(name="broker eviction", verdict=Verdict.GOOD, found="noeviction")
    # A queue is one key: an evicting server drops it whole.
    return Check(
        name="broker eviction",
        verdict=Verdict.BAD,
        found=facts.maxmemory_policy,
        do="set `maxmemory-policy noeviction`: any other policy throws whole queues away",
    )


def _memory(facts: BrokerFacts) -> Check:
    if not facts.maxmemory:
        found = f"{facts.used_memory // 2**20} MiB used, no limit"
        return Check(name="broker memory", verdict=Verdict.GOOD, found=found)
    share = facts.used_memory / facts.maxmemory
    return _judged(
        "broker memory", share < MEMORY_SHARE, f"{share:.0%} of maxmemory used",
        "raise maxmemory: a full broker refuses hints and limits",
    )  # fmt: skip
