"""Policies of software agents, and runs accepted under them. See ports.GuardStore.

The rows of the policies are locked, in order, before runs are inserted; what was counted is read
after that. So of those who accept at once for one agent each sees what the one before has counted,
and a stop is either before an acceptance or after it.

What compensated runs spent is given back when it matters: runs end in other transactions, which
shall not wait for an agent's policy. Until then a use is open. To ask of each open one whether its
run has ended takes 30 ms for 5,000, so that is done when somebody looks, before a budget refuses,
and with each hundredth run, so that never many are left.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from orchestrator.core.guarding import (
    RUNS,
    Asking,
    Before,
    Book,
    Charge,
    Period,
    Policy,
    Question,
    Refusal,
    look_back,
    spending,
)
from orchestrator.core.states import FINAL, RunStatus
from orchestrator.errors import Conflict, NotAllowed, Overloaded, Problem
from orchestrator.ports import (
    Accepted,
    Agent,
    Judged,
    NewPolicyChange,
    NewRun,
    PolicyChange,
    PolicyChangeKind,
    PolicyRecord,
    Uses,
)
from orchestrator.store import codec
from orchestrator.store.accepting import Accepting
from orchestrator.store.codec import instant, storable
from orchestrator.store.holding import Holding, asked_of, policy_from
from orchestrator.store.notes import Notes
from orchestrator.store.part import Part, Shared
from orchestrator.store.transactions import Tx

_POLICY = "tenant, agent, version, policy, removed, changed_at"
_CHANGE = "tenant, agent, version, kind, at, changed_by, reason, policy"
_KEY = {"tenant": "text", "agent": "text"}
_USE = {
    "run_id": "text", "agent": "text", "tenant": "text", "workflow": "text", "at": "time",
    "amount": "int", "currency": "text", "intent": "text",
}  # fmt: skip
_SPENT = {**_KEY, "period": "text", "what": "text", "spent": "int"}


REPEATED = "agent.repeated"
SETTLED_WITH_EACH = 100
"""Runs of a day; with each so many what is due is given back."""
MOST_REPEATS_NOTED = 10
"""In one run's audit: an agent that says the same for ever shall not fill it."""


class Guarding(Part):
    """Implements ports.GuardStore."""

    def __init__(self, shared: Shared, accepting: Accepting) -> None:
        super().__init__(shared)
        self._accepting, self._notes, self._holding = accepting, Notes(shared), Holding(shared)
        self.expire_holds, self.looks = self._holding.expire_holds, self._holding.looks
        keys = self._dialect.batch(_KEY)
        these = (
            f"SELECT {_POLICY} FROM agent_policies"
            f" WHERE (tenant, agent) IN (SELECT b.tenant, b.agent FROM {keys} AS b)"
            " ORDER BY tenant, agent"
        )
        self._all = self._sql(
            f"SELECT {_POLICY} FROM agent_policies WHERE NOT removed ORDER BY tenant, agent"
        )
        self._these, self._hold = self._sql(these), self._sql(f"{these} {{for_update}}")
        self._put = self._sql(
            f"INSERT INTO agent_policies ({_POLICY})"
            " VALUES (:tenant, :agent, :version, :policy, :removed, {now})"
            " ON CONFLICT (tenant, agent) DO UPDATE SET version = excluded.version,"
            " policy = excluded.policy, removed = excluded.removed, changed_at = {now}"
            f" WHERE agent_policies.version = :expected RETURNING {_POLICY}"
        )
        self._note = self._sql(
            f"INSERT INTO agent_policy_changes ({_CHANGE})"
            " VALUES (:tenant, :agent, :version, :kind, {now}, :by, :reason, :policy)"
        )
        of_agent = "tenant = :tenant AND agent = :agent"
        self._changes = self._sql(
            f"SELECT {_CHANGE} FROM agent_policy_changes WHERE {of_agent}"
            " ORDER BY version DESC LIMIT :most"
        )
        self._now = self._sql("SELECT {clock}")
        self._latest = self._sql(
            f"SELECT at FROM agent_uses WHERE {of_agent} ORDER BY at DESC LIMIT :most"
        )
        self._spent = self._sql(
            f"SELECT what, period, spent FROM agent_spending WHERE {of_agent}"
            " AND period IN (:day, :month)"
        )
        wanted = self._dialect.batch({"intent": "text"})
        since = self._dialect.later("{clock}", "-CAST(:seconds AS {real})")
        self._wishes = self._sql(
            f"SELECT intent, run_id, at FROM agent_uses WHERE {of_agent}"
            f" AND intent IN (SELECT b.intent FROM {wanted} AS b) AND at > {since}"
            " AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = agent_uses.run_id"
            f" AND runs.standing = '{RunStatus.COMPENSATED}') ORDER BY at"
        )
        self._repeat = self._sql(
            f"UPDATE agent_uses SET repeats = repeats + 1 WHERE {of_agent} AND run_id = :run_id"
            " RETURNING repeats"
        )
        final = ", ".join(f"'{status}'" for status in sorted(FINAL))
        self._end = self._sql(
            "UPDATE agent_uses SET ended = runs.standing FROM runs"
            f" WHERE {of_agent.replace('tenant', 'agent_uses.tenant', 1)} AND ended IS NULL"
            f" AND runs.id = agent_uses.run_id AND runs.standing IN ({final})"
            " RETURNING agent_uses.run_id, agent_uses.workflow, agent_uses.amount,"
            " agent_uses.currency, agent_uses.at, agent_uses.ended"
        )
        names = ", ".join(_USE)
        self._use = self._dialect.bulk(
            _USE,
            f"INSERT INTO agent_uses ({names}) SELECT {', '.join(f'b.{name}' for name in _USE)}",
        )
        self._add = self._dialect.bulk(
            _SPENT,
            "INSERT INTO agent_spending (tenant, agent, period, what, spent)"
            " SELECT b.tenant, b.agent, b.period, b.what, b.spent",
            tail="ON CONFLICT (tenant, agent, period, what)"
            " DO UPDATE SET spent = agent_spending.spent + excluded.spent",
        )

    # --- policies ---------------------------------------------------------------------------------

    async def policies(self) -> list[PolicyRecord]:
        """All that were not removed, by tenant and name."""
        return [_policy_of(row) for row in await self._db.rows(self._all)]

    async def policies_of(self, agents: Collection[Agent]) -> list[PolicyRecord]:
        """Those of these that have one, removed ones too."""
        if not agents:
            return []
        return [_policy_of(row) for row in await self._db.rows(self._these, batch=_batch(agents))]

    async def change_policy(self, change: NewPolicyChange) -> PolicyRecord:
        """Make a change and record it. Raises Conflict when it is at another version."""

        async def work(tx: Tx) -> PolicyRecord:
            version, text = change.expected_version + 1, _as_text(change.policy)
            key = {"tenant": change.agent.tenant, "agent": change.agent.name}
            row = await tx.row(
                self._put, **key, version=version, expected=change.expected_version, policy=text,
                removed=change.kind is PolicyChangeKind.REMOVE,
            )  # fmt: skip
            if row is None:
                raise _moved_on(change)
            await tx.change(
                self._note, **key, version=version, kind=change.kind, by=storable(change.by),
                reason=storable(change.reason), policy=text,
            )  # fmt: skip
            return _policy_of(row)

        return await self._db.write(work)

    async def policy_changes(self, agent: Agent, *, limit: int = 50) -> list[PolicyChange]:
        """What was changed, newest first."""
        found = await self._db.rows(
            self._changes, tenant=agent.tenant, agent=agent.name, most=limit
        )
        return [
            PolicyChange(
                tenant=row[0], agent=row[1], version=row[2], kind=PolicyChangeKind(row[3]),
                at=instant(row[4]), by=row[5], reason=row[6], policy=policy_from(row[7]),
            )
            for row in found
        ]  # fmt: skip

    async def uses(self, agent: Agent) -> Uses:
        """What is spent of this day and month, once what is due is given back."""

        async def work(tx: Tx) -> Uses:
            await tx.rows(self._hold, batch=_batch([agent]))
            book = await self._book(tx, agent, Policy())
            await self._give_back(tx, agent, book)
            return Uses(spent=book.spent, now=book.now)

        return await self._db.write(work)

    async def judged(self, charge: Charge, agents: Sequence[Agent]) -> Judged:
        """What their policies say of a run now. See the port."""

        async def work(tx: Tx) -> Judged:
            refused, asked = list[Problem](), list[Question]()
            for record in map(_policy_of, await tx.rows(self._hold, batch=_batch(agents))):
                agent = Agent(record.tenant, record.agent)
                book = await self._book(tx, agent, record.policy)
                await self._look_for_wishes(tx, agent, book, [charge])
                against = await self._refusals(tx, agent, charge, book)
                refused += [_problem(agent, each) for each in against]
                asked += book.questions(charge)
            return Judged(refused=refused, asked=asked)

        return await self._db.write(work)

    # --- runs -------------------------------------------------------------------------------------

    async def accept_guarded(
        self,
        runs: Sequence[NewRun],
        charges: Sequence[Charge],
        under: Mapping[str, Sequence[Agent]],
    ) -> list[Accepted]:
        """Accept and count, in one transaction. See the port."""

        async def work(tx: Tx) -> list[Accepted]:
            agents = {agent for each in under.values() for agent in each}
            locked = map(_policy_of, await tx.rows(self._hold, batch=_batch(agents)))
            policies = {Agent(p.tenant, p.agent): p.policy for p in locked if not p.removed}
            accepted = await self._accepting.accept_in(tx, runs)
            new = [
                charge for charge, answer in zip(charges, accepted, strict=True)
                if not answer.repeated
            ]  # fmt: skip
            books = {a: await self._book(tx, a, p) for a, p in sorted(policies.items())}
            for agent, book in books.items():
                await self._look_for_wishes(tx, agent, book, new)
            like, held = await self._count(tx, new, books, under)
            for run_id, (agent, before) in like.items():
                await self._note_repeat(tx, agent, before, refused=False, by_run=run_id)
            actors = {run.id: run.actor for run in runs}
            for charge in (each for each in new if each.run_id in held):
                who, why = actors[charge.run_id], held[charge.run_id]
                await self._holding.hold(tx, asked_of(who, charge, why))
            return [
                each if each.repeated else structs.replace(
                    each, is_held=each.run_id in held,
                    like=like[each.run_id][1].run_id if each.run_id in like else None,
                )
                for each in accepted
            ]  # fmt: skip

        try:
            return await self._db.write(work)
        except _WantedBefore as refused:
            (agent, before), key = refused.by, refused.key
            await self._db.write(
                lambda tx: self._note_repeat(tx, agent, before, refused=True, by_run=key)
            )
            raise

    async def _count(
        self,
        tx: Tx,
        charges: Iterable[Charge],
        books: Mapping[Agent, Book],
        under: Mapping[str, Sequence[Agent]],
    ) -> tuple[dict[str, tuple[Agent, Before]], dict[str, list[tuple[Agent, Asking, Question]]]]:
        """Count them. By run: which was wanted before, under whose policy, and what is asked."""
        uses, added = [], dict[tuple[str, str, str, str], int]()
        like = dict[str, tuple[Agent, Before]]()
        held = dict[str, list[tuple[Agent, Asking, Question]]]()
        for charge in charges:
            for agent in under.get(charge.run_id, ()):
                if agent not in books:
                    continue
                against = await self._refusals(tx, agent, charge, books[agent])
                _check(agent, charge, books[agent], against)
                if (before := books[agent].before(charge)) is not None:
                    like[charge.run_id] = (agent, before)
                for question in books[agent].questions(charge):
                    asked = (agent, books[agent].policy.asking, question)
                    held.setdefault(charge.run_id, []).append(asked)
                for (what, period), amount in books[agent].charge(charge).items():
                    key = (*agent, period, what)
                    added[key] = added.get(key, 0) + amount
                uses.append(
                    (
                        charge.run_id, agent.name, agent.tenant, charge.workflow,
                        self._dialect.time(books[agent].now), charge.amount, charge.currency,
                        charge.intent,
                    )
                )  # fmt: skip
        await tx.apply(self._use, uses)
        await tx.apply(self._add, [(*key, amount) for key, amount in sorted(added.items())])
        return like, held

    async def _look_for_wishes(
        self, tx: Tx, agent: Agent, book: Book, charges: Sequence[Charge]
    ) -> None:
        rule = book.policy.duplicates
        if rule is None:
            return
        found = await tx.rows(
            self._wishes, tenant=agent.tenant, agent=agent.name, seconds=float(rule.seconds),
            batch=codec.dump_batch([(charge.intent,) for charge in charges]),
        )  # fmt: skip
        book.wishes = {row[0]: Before(run_id=row[1], at=instant(row[2])) for row in found}

    async def _note_repeat(
        self, tx: Tx, agent: Agent, before: Before, *, refused: bool, by_run: str
    ) -> None:
        """For the auditor, with the run that was there: what came again, the first times."""
        row = await tx.row(
            self._repeat, tenant=agent.tenant, agent=agent.name, run_id=before.run_id
        )
        if row is not None and row[0] <= MOST_REPEATS_NOTED:
            data = {"refused": refused, "times": row[0], "policy": agent.name}
            data |= {"key": by_run} if refused else {"run": by_run}
            await self._notes.note(tx, before.run_id, REPEATED, by=agent.name, data=data)

    async def _book(self, tx: Tx, agent: Agent, policy: Policy) -> Book:
        """What is known of the agent's runs; its policy's row is locked."""
        of = {"tenant": agent.tenant, "agent": agent.name}
        now = instant((await tx.row(self._now))[0])
        book = Book(policy=policy, now=now)
        if most := look_back([policy]):
            book.latest = [instant(row[0]) for row in await tx.rows(self._latest, **of, most=most)]
        names = {str(period): period.name_of(now) for period in Period}
        rows = await tx.rows(self._spent, **of, **names)
        book.spent = {(what, period): spent for what, period, spent in rows}
        if book.spent.get((RUNS, Period.DAY.name_of(now)), 0) % SETTLED_WITH_EACH == 0:
            await self._give_back(tx, agent, book)
        return book

    async def _refusals(
        self, tx: Tx, agent: Agent, charge: Charge, book: Book
    ) -> Sequence[Refusal]:
        """What the policy has against a run; no budget refuses for what is to be given back."""
        refused = book.refusals(charge)
        if book.is_settled or not any(each.rule == "budgets" for each in refused):
            return refused
        await self._give_back(tx, agent, book)
        return book.refusals(charge)

    async def _give_back(self, tx: Tx, agent: Agent, book: Book) -> None:
        of = {"tenant": agent.tenant, "agent": agent.name}
        back, book.is_settled = list[tuple[Any, ...]](), True
        for run_id, workflow, amount, currency, at, ended in await tx.rows(self._end, **of):
            if ended != RunStatus.COMPENSATED:
                continue
            charge = Charge(run_id=run_id, workflow=workflow, amount=amount, currency=currency)
            for (what, period), was in spending(charge, instant(at)).items():
                if what == currency:
                    back.append((*agent, period, what, -was))
                    book.give_back(what, period, was)
        await tx.apply(self._add, back)


class _WantedBefore(NotAllowed):
    """Refused as a duplicate: that is kept in the story of the run that was there."""

    def __init__(
        self, message: str, *, problems: Sequence[Problem], by: tuple[Agent, Before], key: str
    ) -> None:
        self.by, self.key = by, key
        super().__init__(message, problems=problems)


def _check(agent: Agent, charge: Charge, book: Book, refused: Sequence[Refusal]) -> None:
    """Raises NotAllowed, or Overloaded where rates alone refuse, which pass soon."""
    if not refused:
        return
    problems = [_problem(agent, each) for each in refused]
    message = f"the agent's policy does not let a run of {charge.workflow} begin"
    if all(each.is_rate for each in refused):
        ends = [each.passes_at for each in refused if each.passes_at is not None]
        seconds = max((max(ends) - book.now).total_seconds(), 0.001)
        raise Overloaded(message, problems=problems, retry_after_seconds=seconds)
    before = next((each.before for each in refused if each.before is not None), None)
    if before is not None:
        by = (agent, before)
        raise _WantedBefore(message, problems=problems, by=by, key=charge.key)
    raise NotAllowed(message, problems=problems)


def _problem(agent: Agent, refusal: Refusal) -> Problem:
    passes = "" if refusal.passes_at is None else f"; passes at {refusal.passes_at.isoformat()}"
    return Problem(
        place=f"policy of agent {agent.name} of tenant {agent.tenant}, {refusal.rule}",
        found=refusal.found, wanted=f"{refusal.wanted}{passes}",
    )  # fmt: skip


def _moved_on(change: NewPolicyChange) -> Conflict:
    problem = Problem(
        place=f"policy of agent {change.agent.name} of tenant {change.agent.tenant}",
        found="another change in between", wanted=f"change {change.expected_version}",
    )  # fmt: skip
    return Conflict("somebody else has changed the policy in between", problems=[problem])


def _batch(agents: Collection[Agent]) -> str:
    return codec.dump_batch(sorted(agents))


def _as_text(policy: Policy) -> str:
    return msgspec.json.encode(policy).decode()


def _policy_of(row: Sequence[Any]) -> PolicyRecord:
    removed = bool(row[4])
    policy = Policy() if removed else policy_from(row[3])
    return PolicyRecord(
        tenant=row[0], agent=row[1], version=row[2], policy=policy, removed=removed,
        changed_at=instant(row[5]),
    )  # fmt: skip
