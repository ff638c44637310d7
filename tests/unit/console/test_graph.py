"""Workflows as graphs: every way that a run may take, and nothing that Mermaid would obey."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.console.graph import flowchart
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.states import Direction


def step(name: str, effects: Effects = Effects.KEYED, **template: object) -> PlanStep:
    call = Call(label=f"w.{name}", api="shop", effects=effects, template=template)
    undo = replace(call, label=f"w.{name}.undo", template={})
    compensation = None if effects is Effects.NONE else Compensation(call=undo)
    return PlanStep(id=name, call=call, compensation=compensation)


def test_steps_their_ways_and_what_undoes_them() -> None:
    pay = step("pay", onFailure=[{"type": "goto", "step": "bill"}, {"type": "end"}])
    look = step("look", Effects.NONE, onSuccess=[{"type": "goto", "step": "pay"}])
    bill = replace(step("bill", Effects.NONE), pivot=True)
    lines = flowchart(Plan(workflow="w", steps=(pay, replace(look, last=True), bill)), {})
    assert lines.splitlines() == [
        "flowchart LR",
        'n0["pay<br/>w.pay"]',
        "n0 --> n1",
        "n0 -. else .-> n2",
        'u0["↩ w.pay.undo"]',
        "n0 -. reverse .- u0",
        'n1("look<br/>w.look")',
        "n1 -. then .-> n0",
        'n2{{"bill<br/>w.bill<br/>pivot"}}',
    ]


def test_a_run_colours_its_steps() -> None:
    statuses = {("pay", Direction.FORWARD): "landed", ("pay", Direction.BACKWARD): "unknown"}
    lines = flowchart(Plan(workflow="w", steps=(step("pay"),)), statuses).splitlines()
    assert 'n0["pay<br/>w.pay"]:::s_landed' in lines
    assert 'u0["↩ w.pay.undo"]:::s_unknown' in lines
    assert "classDef s_landed fill:#2b6b30,color:#fff" in lines
    assert "classDef s_unknown fill:#512da8,color:#fff" in lines


def test_what_a_document_says_is_text_and_nothing_else() -> None:
    text = flowchart(Plan(workflow="w", steps=(step('"]; click n0 <b>'),)), {})
    assert "click" in text
    assert '"];' not in text
    assert "<b>" not in text
    assert "#34;#93;#59; click n0 #60;b#62;" in text
