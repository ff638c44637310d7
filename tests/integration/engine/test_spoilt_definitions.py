"""A stored plan that cannot be read any more: its runs wait for a person, and nobody else does."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from sqlalchemy import text as statement

from orchestrator.core.plan import Plan
from orchestrator.core.redaction import HIDDEN
from orchestrator.core.saga import EscalationReason
from orchestrator.core.states import LinkStatus, RunStatus
from orchestrator.definitions.programs import Programs
from orchestrator.errors import InvalidDefinition, Untrusted
from orchestrator.service.auditing import Auditing
from orchestrator.service.briefing import Briefings
from orchestrator.service.consistency import Consistency
from orchestrator.service.privacy import Privacy
from orchestrator.service.vouching import Vouching, plan_to_see
from tests.integration.engine.checking import check
from tests.integration.engine.house import House
from tests.integration.engine.test_runtime import Held, Process, started, until
from tests.integration.engine.world import Kind, shop_plan

KEYED = (Kind.KEYED, Kind.KEYED)
WAIT_SECONDS = 60.0
SPOILINGS = {
    "cut off": ("substr(plan, 1, 400)", "line 1, column"),
    "a word": ("""replace(plan, '"steps":', '"stepz":')""", "/plan/steps: found nothing"),
    "a kind": ("""replace(plan, '"effects":"keyed"', '"effects":"odd"')""", "/plan/steps/0/call"),
    "a value": ("""replace(plan, '"s2"', '"s9"')""", "/plan/digest"),
}


class Cold(Process):
    """A process that has read nothing yet, wired as those of a deployment."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.programs = programs_of(house)


def programs_of(house: House) -> Programs:
    async def look(workflow_id: str) -> Plan:
        return plan_to_see(await house.store.workflow_by_id(workflow_id))

    return Programs(Vouching(house.store, None, signer=None).plan, look=look)


async def begun(house: House) -> str:
    """A run whose first step has landed, given back by a process that ended."""
    run_id = await house.submit(shop_plan([KEYED] * 3))
    held = Held(house)
    with started(house) as process:
        process.deliver(house.broker.hints.popleft())
        await asyncio.to_thread(held.here.wait, WAIT_SECONDS)
        drain = asyncio.create_task(asyncio.to_thread(process.runtime.drain, grace_seconds=10.0))
        await until(lambda: process.runtime._process._draining)
        held.go.set()
        await drain
    house.shop.on_send = lambda name: None
    assert (await house.store.steps(run_id))[0].forward.link.status is LinkStatus.LANDED
    return run_id


async def spoil(house: House, run_id: str, how: str) -> tuple[str, str]:
    """The version's id, and its text as it was."""
    version = (await house.store.run(run_id)).workflow_id
    text = await stored(house, version)
    await house.execute(f"UPDATE workflows SET plan = {how} WHERE id = :id", id=version)
    assert await stored(house, version) != text
    return version, text


async def stored(house: House, version: str) -> str:
    ask = statement("SELECT plan FROM workflows WHERE id = :id")
    return str((await house.store._database.rows(ask, id=version))[0][0])


async def restore(house: House, version: str, plan: str) -> None:
    await house.execute("UPDATE workflows SET plan = :plan WHERE id = :id", plan=plan, id=version)


async def escalates_alone_and_goes_on(house: House, spoilt: str) -> None:
    how, place = SPOILINGS[spoilt]
    run_id = await begun(house)
    version, text = await spoil(house, run_id, how)
    neighbour = await house.submit(shop_plan([KEYED], name="other"), "o-2")
    process = Cold(house)
    process.runtime.start(name="cold")
    try:
        await process.delivered()
        assert process.done == [None, None]
        assert (await house.store.run(neighbour)).status is RunStatus.SUCCEEDED
        run = await house.store.run(run_id)
        assert (run.status, run.owner) == (RunStatus.ESCALATED, None)
        (escalation,) = await house.store.escalations_of(run_id)
        assert escalation.reason is EscalationReason.UNTRUSTED
        digest = shop_plan([KEYED] * 3).digest
        assert f"workflow order v1 (digest {digest}), stored plan, {place}" in escalation.detail
        assert "; wanted " in escalation.detail
        assert len([sent for sent in house.shop.sent if sent.order == "o-1"]) == 1, "nothing more"
        await people_see_it(house, run_id, escalation.id)

        with pytest.raises(Untrusted, match="v1 may not be run"):
            await Vouching(house.store, None, signer=None).plan(version)
        house.escalations._programs = programs_of(house)
        with pytest.raises(Untrusted, match="v1 may not be run"):
            await house.escalations.retry(escalation.id, by="ada", reason="too early")
        await restore(house, version, text)
        await house.escalations.retry(escalation.id, by="ada", reason="restored")
        await process.delivered()
    finally:
        process.runtime.drain(grace_seconds=1.0)
    assert (await house.store.run(run_id)).status is RunStatus.SUCCEEDED
    await check(house, run_id)


async def people_see_it(house: House, run_id: str, escalation_id: str) -> None:
    """What is known, without values of which nobody knows whether they are secret."""
    programs = programs_of(house)
    briefings = Briefings(house.store, programs, lambda _: None, house.escalations)
    told = await briefings.of(escalation_id)
    assert (told.choices, told.look) == ((), None)
    (standing,) = told.escalation.context["standing"]
    assert set(standing["outputs"].values()) == {HIDDEN}
    steps = await house.store.steps(run_id)
    assert steps[0].forward.outputs != standing["outputs"], "the row has them still"
    shown = await Privacy(programs).run(await house.store.run(run_id))
    assert set(shown.inputs.values()) == {HIDDEN}
    look = Consistency(house.store, Auditing(house.store).verify_run, again_seconds=0.0)
    found = (await look.look(most=10)).found
    assert [each.run for each in found] == [run_id]


@pytest.mark.parametrize("spoilt", SPOILINGS)
async def test_its_runs_are_escalated_and_go_on_once_it_is_restored(
    house: House, spoilt: str
) -> None:
    await escalates_alone_and_goes_on(house, spoilt)


async def test_its_runs_are_escalated_on_a_server_as_well(postgres_house: House) -> None:
    await escalates_alone_and_goes_on(postgres_house, "cut off")


def of_a_newer_release(text: str) -> str:
    """The same plan with a field that this release does not know, published by one that does."""
    data = json.loads(text)
    data["plan"]["colour"] = "red"
    del data["plan"]["digest"]
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    data["plan"]["digest"] = hashlib.sha256(canonical.encode()).hexdigest()
    return json.dumps(data)


async def test_what_a_newer_release_has_written_is_left_to_it(house: House) -> None:
    """Its digest is right, so nothing was spoilt; runs stay as they are for who can read it."""
    run_id = await house.submit(shop_plan([KEYED]))
    version = (await house.store.run(run_id)).workflow_id
    await restore(house, version, of_a_newer_release(await stored(house, version)))
    process = Cold(house)
    process.runtime.start(name="old")
    try:
        await process.delivered()
        (error,) = process.done
        assert isinstance(error, InvalidDefinition)
        assert "/plan/colour" in str(error)
        run = await house.store.run(run_id)
        assert (run.status, run.owner, run.claims) == (RunStatus.PENDING, None, 0)
    finally:
        process.runtime.drain(grace_seconds=1.0)
