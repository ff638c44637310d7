"""Whatever tells two plans apart is told, and equal plans have nothing to tell."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.differing import differences
from orchestrator.core.plan import Compensation, Effects, Plan, PlanStep
from orchestrator.core.plan_json import plan_from_json, plan_to_json, with_digest
from tests.unit.core.plans import call

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["a", "$inputs.b", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "path", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=6,
)
TEMPLATES = st.fixed_dictionaries(
    {}, optional={
        "method": st.sampled_from(["GET", "PUT"]), "path": st.sampled_from(["/a", "/b"]),
        "parameters": VALUES, "requestBody": VALUES,
    },
)  # fmt: skip


@st.composite
def steps(draw: st.DrawFn, name: str) -> PlanStep:
    made = call(
        draw(st.sampled_from(["one", "two"])), draw(st.sampled_from(Effects)),
        attempts=draw(st.integers(1, 3)), verify=draw(st.booleans()),
    )  # fmt: skip
    undo = draw(st.none() | st.builds(Compensation, call=st.just(call("undo"))))
    return PlanStep(
        id=name, call=replace(made, template=draw(TEMPLATES)), compensation=undo,
        no_compensation_reason=None if undo else draw(st.sampled_from(["a", "b"])),
        pivot=draw(st.booleans()), last=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(st.lists(st.sampled_from("abc"), unique=True, min_size=1))
    schema = st.fixed_dictionaries({
        "type": st.just("object"),
        "properties": st.dictionaries(st.sampled_from("xy"), st.just({"type": "string"})),
        "required": st.lists(st.sampled_from("xy"), unique=True).map(sorted),
    })  # fmt: skip
    return with_digest(
        Plan(
            workflow="w", steps=tuple(draw(steps(name)) for name in names),
            inputs_schema=draw(st.just({}) | schema),
            outputs=draw(st.dictionaries(st.sampled_from("op"), st.sampled_from("12"))),
            deadline_seconds=draw(st.none() | st.sampled_from([1.0, 2.0])),
        )
    )  # fmt: skip


@settings(max_examples=50)
@given(plans(), plans())
def test_whatever_differs_is_told(before: Plan, after: Plan) -> None:
    told = differences(before, after)
    assert bool(told) is (before.digest != after.digest)


@settings(max_examples=25)
@given(plans())
def test_what_was_stored_differs_in_nothing(plan: Plan) -> None:
    assert differences(plan, plan_from_json(plan_to_json(plan))) == []
