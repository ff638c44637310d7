"""Holds what a simulation has left behind against the promises, and replays every journal."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence

from orchestrator.core import journal
from orchestrator.core.journal import ReplayDiffers
from orchestrator.core.plan import Plan
from orchestrator.core.saga import Saga
from orchestrator.errors import IllegalTransition
from orchestrator.ports import AuditRecord, ClaimedRun, RunFilter, Store
from tests.faults.checker.invariants import Verdict, Violation, check
from tests.faults.checker.tables import tables_of
from tests.faults.ledger.records import Request
from tests.faults.simulation.api import TOKEN
from tests.faults.simulation.house import House
from tests.faults.simulation.narrating import untold
from tests.faults.workload import RunSeed

REPLAY = "replay"
UNTOLD = "untold"
DEAD_LETTERS = "dead_letters"
LOOP = "loop"
ERRORS = "errors"


async def judge(
    house: House, seeds: Sequence[RunSeed], *, secrets: bool, errors: Sequence[str] = ()
) -> Verdict:
    """The checker's verdict, with what only a simulation can see added to its violations.

    `errors` are those that the engine has logged.
    """
    store = house.backing.view()
    ids = await _ids(store, seeds)
    tables = await tables_of(store, ids.values(), with_texts=secrets)
    verdict = check(
        seeds, house.writer.records(), tables, acknowledged=house.acknowledged,
        canaries=(TOKEN,) if secrets else (),
    )  # fmt: skip
    found = [*verdict.violations, *complaints(house)]
    found += [Violation(invariant=ERRORS, run="", detail=error) for error in errors]
    for name, run_id in ids.items():
        found += [
            Violation(invariant=REPLAY, run=name, detail=detail)
            for detail in await replay_differs(store, run_id)
        ]
    seen: defaultdict[str, list[Request]] = defaultdict(list)
    for request in house.writer.records().requests:
        seen[request.run].append(request)
    for name, run_id in ids.items():
        found += [
            Violation(invariant=UNTOLD, run=name, detail=detail)
            for detail in untold(await store.audit(run_id), seen[name])
        ]
    if house.answering is not None:
        found += await house.answering.broken(store)
    listed, wanted = sorted(house.broker.letters), await store.open_unclaimed()
    if listed != wanted:
        detail = f"{len(listed)} messages on the dead-letter queue, {len(wanted)} open escalations"
        found.append(Violation(invariant=DEAD_LETTERS, run="", detail=detail))
    return Verdict(
        violations=tuple(found), endings=verdict.endings, unresolvable=verdict.unresolvable,
        stories=verdict.stories,
    )  # fmt: skip


async def _ids(store: Store, seeds: Sequence[RunSeed]) -> dict[str, str]:
    """Run ids by name, also of those that were accepted and never acknowledged."""
    rows = await store.runs(RunFilter(limit=10 * len(seeds)))
    known = {row.idempotency_key: row.id for row in reversed(rows)}
    return {seed.name: known[seed.name] for seed in seeds if seed.name in known}


def complaints(house: House) -> Iterator[Violation]:
    """Exceptions that came out of a callback on the loop: nobody was there to see them."""
    for context in house.loop.complaints:
        detail = f"{context.get('message')}: {context.get('exception')!r}"
        yield Violation(invariant=LOOP, run="", detail=detail)


# --- replay ---------------------------------------------------------------------------------------


async def replay_differs(store: Store, run_id: str) -> list[str]:
    """Where a run's journal, fed to `decide`, leads elsewhere than is recorded."""
    run, steps = await store.run(run_id), await store.steps(run_id)
    plan = (await store.workflow_by_id(run.workflow_id)).plan
    recorded = ClaimedRun(run=run, steps=steps).saga(plan)
    return list(_differences(plan, await store.audit(run_id), recorded))


def _differences(plan: Plan, audit: Sequence[AuditRecord], recorded: Saga) -> Iterator[str]:
    entries = [event for each in audit for event in journal.of_record(each.at, each.data)]
    try:
        replayed = journal.replay(plan, entries, deadline_at=None)
    except (ReplayDiffers, IllegalTransition, KeyError) as error:
        yield f"{type(error).__name__}: {error}"
        return
    for name in ("status", "direction", "cancel", "cause", "wake_at"):
        found, wanted = getattr(replayed, name), getattr(recorded, name)
        if found != wanted:
            yield f"the replayed run's {name} is {found!r}; wanted {wanted!r} as in the table"
    for step, (found, wanted) in enumerate(zip(replayed.steps, recorded.steps, strict=True), 1):
        if found != wanted:
            yield f"replayed, s{step} is {found}; wanted {wanted} as in the table"


# --- digest ---------------------------------------------------------------------------------------


async def digest(house: House, seeds: Sequence[RunSeed]) -> str:
    """SHA-256 over all that the API saw and all that the audits say, times included."""
    records, store = house.writer.records(), house.backing.view()
    made = hashlib.sha256()
    for request in records.requests:
        made.update(repr(request).encode())
    for name, run_id in (await _ids(store, seeds)).items():
        made.update(name.encode())
        for told in await store.audit(run_id):
            made.update(repr((told.seq, told.at, told.kind, told.actor)).encode())
    return made.hexdigest()
