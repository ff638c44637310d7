"""Drawings: what a person must be able to read from them."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from orchestrator.api.reading import workflow_detail, workflow_summary
from orchestrator.cli.draw_common import LINK_STYLES, RUN_STYLES, duration
from orchestrator.cli.draw_escalations import draw_escalation, draw_escalations
from orchestrator.cli.draw_runs import draw_counts, draw_run, draw_runs
from orchestrator.cli.draw_workflows import draw_workflow, draw_workflows
from orchestrator.core.exchange import Outcome
from orchestrator.core.plan import Call, Compensation, CompensationKind, Effects, Plan, PlanStep
from orchestrator.core.saga import EscalationReason, Link
from orchestrator.core.states import Direction, LinkStatus, RunStatus
from orchestrator.ports import (
    AttemptRecord,
    AuditRecord,
    EscalationRecord,
    LinkRecord,
    RunRecord,
    WorkflowVersion,
)
from orchestrator.service.runs import ChainLink, RunView

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
L = LinkStatus


def text_of(drawn: RenderableType, width: int = 140) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(drawn)
    return captured.get()


def call(label: str) -> Call:
    return Call(label=label, api="shop", effects=Effects.KEYED, template={})


PLAN = Plan(
    workflow="checkout",
    title="Sell one thing",
    digest="d" * 64,
    steps=(
        PlanStep(
            id="reserve",
            call=call("stock.put"),
            compensation=Compensation(call=call("stock.delete")),
        ),
        PlanStep(
            id="mail",
            call=call("mail.put"),
            compensation=Compensation(call=call("mail.correct"), kind=CompensationKind.FOLLOW_UP),
        ),
        PlanStep(id="look", call=call("shop.get"), no_compensation_reason="reads only"),
        PlanStep(id="ship", call=call("ship.put"), pivot=True),
    ),
)


def link(status: LinkStatus, sequence: int | None = None) -> LinkRecord:
    took = timedelta(milliseconds=12)
    return LinkRecord(
        link=Link(status=status, attempts=1, sequence=sequence),
        started_at=NOON,
        finished_at=NOON + took,
    )


def chain_link(
    index: int, record: LinkRecord, way: Direction, attempts: Sequence[AttemptRecord] = ()
) -> ChainLink:
    step = PLAN.steps[index]
    undo = step.compensation if way is Direction.BACKWARD else None
    return ChainLink(
        step=index,
        step_id=step.id,
        iteration=0,
        label=undo.call.label if undo else step.call.label,
        direction=way,
        kind=f"http, {undo.kind}" if undo else "http",
        pivot=step.pivot,
        record=record,
        attempts=tuple(attempts),
        sequence=record.link.sequence,
    )


RUN = RunRecord(
    id="0192f0c1-0000-7000-8000-00000000abcd",
    workflow_id="w1",
    workflow="checkout",
    version=3,
    tenant="acme",
    actor="agent-7",
    lane="default",
    priority=0,
    idempotency_key="order-42",
    inputs={},
    status=RunStatus.COMPENSATING,
    direction=Direction.BACKWARD,
    epoch=4,
    owner="worker-1",
    claims=1,
    hop_id=None,
    wake_at=None,
    deadline_at=None,
    published_at=NOON,
    cancel=None,
    cause="ship: 403 [refused]",
    outputs=None,
    created_at=NOON,
    started_at=NOON,
    settled_at=None,
    audit_seq=9,
)
ATTEMPT = AttemptRecord(
    id="a1",
    step=3,
    direction=Direction.FORWARD,
    number=1,
    kind="call",
    outcome=Outcome.NOT_LANDED,
    reason="403 Forbidden: [not] shipped there",
    status_code=403,
    started_at=NOON,
    finished_at=NOON + timedelta(milliseconds=4),
    worker="worker-1",
)
FORWARD = (
    chain_link(0, link(L.LANDED, 1), Direction.FORWARD),
    chain_link(1, link(L.LANDED, 2), Direction.FORWARD),
    chain_link(2, link(L.LANDED, 3), Direction.FORWARD),
    chain_link(3, link(L.FAILED), Direction.FORWARD, [ATTEMPT]),
)
BACKWARD = (
    chain_link(1, link(L.LANDED, 4), Direction.BACKWARD),
    chain_link(0, LinkRecord(), Direction.BACKWARD),
)


def view(run: RunRecord = RUN, escalations: Sequence[EscalationRecord] = ()) -> RunView:
    return RunView(
        run=run,
        plan=PLAN,
        forward=FORWARD,
        backward=BACKWARD if run.direction is Direction.BACKWARD else (),
        audit=(
            AuditRecord(seq=1, at=NOON, kind="run.accepted", actor="agent-7", data={"a": "[b]"}),
        ),
        escalations=tuple(escalations),
        now=NOON,
    )


ESCALATION = EscalationRecord(
    id="0192f0c1-0000-7000-8000-0000000e5ca1",
    run_id=RUN.id,
    workflow="checkout",
    tenant="acme",
    reason=EscalationReason.COMPENSATION_FAILED,
    detail="412: somebody else has changed it",
    step=0,
    step_id="reserve",
    direction=Direction.BACKWARD,
    context={"remaining": ["reserve"]},
    opened_at=NOON,
    claimed_by=None,
    claimed_at=None,
    closed_at=None,
    resolution=None,
    closed_by=None,
    closing_reason=None,
)


def test_every_status_has_a_glyph() -> None:
    assert RUN_STYLES.keys() == set(RunStatus)
    assert LINK_STYLES.keys() == set(LinkStatus)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0.0123, "12 ms"), (1.234, "1.23 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_a_run_going_forward_shows_no_undos() -> None:
    forward = replace(RUN, direction=Direction.FORWARD, status=RunStatus.RUNNING)
    assert "compensations" not in text_of(draw_run(view(forward)))


def test_a_run_shows_both_ways_and_why() -> None:
    forward, undo = text_of(draw_run(view())).split("compensations, in this order")
    assert "ship: 403 [refused]" in forward, "brackets are text, not markup"
    assert "403 Forbidden: [not] shipped there" in forward
    assert "✘ failed" in forward
    assert "mail.correct" in undo
    assert "follow-up" in undo
    assert undo.index("mail") < undo.index("reserve")


def test_attempts_and_audit_on_request() -> None:
    short_text = text_of(draw_run(view()))
    text = text_of(draw_run(view(), attempts=True, audit=True))
    assert "run.accepted" in text
    assert "a=[b]" in text
    assert "worker-1" in text.split("attempts")[1]
    assert "run.accepted" not in short_text


def test_doubt_is_visible() -> None:
    doubtful = LinkRecord(link=Link(status=L.UNKNOWN, attempts=3, doubt=True), error="timeout")
    text = text_of(
        draw_run(dataclasses.replace(view(), forward=(chain_link(0, doubtful, Direction.FORWARD),)))
    )
    assert "? unknown in doubt" in text
    assert "timeout" in text


@pytest.mark.parametrize(
    ("kind", "standing"),
    [("wait", "waiting"), ("child", "waiting"), ("block", "waiting"), ("http", "pending")],
)
def test_what_waits_for_an_answer_is_not_pending(kind: str, standing: str) -> None:
    asked = LinkRecord(link=Link(status=L.PENDING), started_at=NOON)
    one = dataclasses.replace(FORWARD[0], kind=kind, record=asked)
    assert one.standing == standing
    said = text_of(draw_run(dataclasses.replace(view(), forward=(one,), backward=())))
    (line,) = (line for line in said.splitlines() if f" {one.step_id} " in line)
    assert standing in line


def test_who_waits_for_runs_of_its_own_is_in_no_doubt() -> None:
    begun = LinkRecord(link=Link(status=L.PENDING, doubt=True))
    one = dataclasses.replace(FORWARD[0], kind="child", record=begun)
    said = text_of(draw_run(dataclasses.replace(view(), forward=(one,), backward=())))
    assert "waiting" in said
    assert "in doubt" not in said


def test_what_a_run_never_comes_to_is_not_pending() -> None:
    ahead = dataclasses.replace(FORWARD[0], record=LinkRecord())
    assert ahead.standing == "pending"
    assert dataclasses.replace(ahead, passed_by=True).standing == "not reached"


def test_an_escalated_run_says_what_to_type() -> None:
    run = replace(RUN, status=RunStatus.ESCALATED)
    text = text_of(draw_run(view(run, [ESCALATION])))
    assert "orchestrator escalations show 0000000e5ca1" in text
    closed = replace(ESCALATION, closed_at=NOON, resolution="retried")
    assert "escalations show" not in text_of(draw_run(view(run, [closed])))


def test_lists() -> None:
    assert RUN.id[-12:] in text_of(draw_runs([RUN]))
    assert "no runs" in text_of(draw_runs([]))
    assert "✔ succeeded 1,200" in text_of(draw_counts({RunStatus.SUCCEEDED: 1200}))
    assert "412" in text_of(draw_escalations([ESCALATION]), 200)
    assert "no escalations" in text_of(draw_escalations([]))


def test_an_escalation_shows_what_is_known_and_the_choices() -> None:
    text = text_of(draw_escalation(ESCALATION))
    assert '"remaining"' in text
    assert "escalations resolve 0000000e5ca1 --reason" in text
    closed = replace(
        ESCALATION, closed_at=NOON, resolution="skipped", closed_by="ada", closing_reason="agreed"
    )
    assert "skipped by ada" in text_of(draw_escalation(closed))


def test_a_workflow_shows_what_undoes_each_step() -> None:
    version = WorkflowVersion(
        id="w1",
        workflow="checkout",
        version=3,
        plan=PLAN,
        document="",
        published_at=NOON,
        published_by="ada",
    )
    text = text_of(draw_workflow(version))
    assert "stock.delete (reverse)" in text
    assert "reads only" in text
    assert "ship (pivot)" in text
    assert "Sell one thing" in text_of(draw_workflows([version]))
    assert "signature" not in text


def test_a_workflow_shows_whose_signature_it_bears() -> None:
    version = WorkflowVersion(
        id="w1", workflow="checkout", version=3, plan=PLAN, document="", published_at=NOON,
        published_by="ada", key_id="1f2e3d4c", signature=bytes(64),
    )  # fmt: skip
    assert "with a signature of the key 1f2e3d4c" in text_of(draw_workflow(version))
    assert workflow_detail(version).key_id == workflow_summary(version).key_id == "1f2e3d4c"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_ids_are_whole_however_narrow_the_terminal(width: int) -> None:
    run = replace(RUN, tenant="a-tenant-of-some-length", cause="a long story " * 10)
    assert RUN.id[-12:] in text_of(draw_runs([run]), width)
    assert ESCALATION.id[-12:] in text_of(draw_escalations([ESCALATION]), width)
    lines = text_of(draw_runs([run]), width).splitlines()
    assert max(len(line) for line in lines) <= width
    drawn = text_of(draw_run(view()), width)
    for word in ("tries", "reserve", "✔ landed", "last answer"):
        assert word in drawn or (word == "tries" and width < 80)
    assert len(lines) < 20, "no column is folded to a few characters"


def test_what_there_is_room_for_is_shown() -> None:
    assert "acme" in text_of(draw_runs([RUN]), 200)
    assert "acme" not in text_of(draw_runs([RUN]), 60)
