"""Of a history in which all is as usual nothing is said, whatever "usual" is."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.exchange import Outcome
from orchestrator.core.insights import ApiLimits, Documented, Tried
from orchestrator.core.learning import Known, Traffic, learned
from orchestrator.core.plan import Call, Compensation, Effects, Plan, PlanStep
from orchestrator.core.states import Direction

APIS = {"shop": ApiLimits(total_seconds=30.0, rate="100/second")}

TRAFFIC = st.builds(
    Traffic, calls=st.integers(1, 10_000), throttled=st.integers(0, 3),
    waited=st.just(0), usual_wait_seconds=st.just(0.0), usual_seconds=st.floats(0.001, 5.0),
) | st.builds(
    Traffic, calls=st.integers(1_000, 10_000), throttled=st.just(0), waited=st.integers(0, 400),
    usual_wait_seconds=st.floats(0.0, 30.0), usual_seconds=st.floats(0.001, 5.0),
)  # fmt: skip


def plan(effects: list[Effects]) -> Plan:
    steps = tuple(
        PlanStep(
            id=f"s{index}",
            call=Call(label="", api="shop", effects=effect, template={}),
            compensation=None if effect is Effects.NONE else Compensation(
                call=Call(label="", api="shop", effects=Effects.KEYED, template={})
            ),
        )
        for index, effect in enumerate(effects)
    )  # fmt: skip
    return Plan(workflow="w", steps=steps)


def tried(run: int, step: int, seconds: float, **more: object) -> Tried:
    values: dict[str, object] = {
        "run": f"r{run}", "step": step, "direction": Direction.FORWARD, "outcome": Outcome.LANDED,
        "reason": "200 OK", "status": 200, "seconds": seconds, "minute": run // 30,
    }  # fmt: skip
    return Tried(**{**values, **more})


def failed(run: int, step: int, status: int) -> Tried:
    return tried(
        run, step, 0.05, outcome=Outcome.NOT_LANDED, status=status, reason=f"{status} for {run}"
    )


@settings(max_examples=60, deadline=None)
@given(
    effects=st.lists(st.sampled_from(Effects), min_size=1, max_size=6),
    runs=st.integers(1, 300),
    usual=st.floats(0.001, 0.2),
    spread=st.floats(0.0, 0.6),
    hiccups=st.integers(0, 3),
    refused=st.integers(0, 4),
    traffic=TRAFFIC,
    seed=st.integers(0, 2**32),
)
def test_nothing_is_said(
    effects: list[Effects], runs: int, usual: float, spread: float, hiccups: int, refused: int,
    traffic: Traffic, seed: int,
) -> None:  # fmt: skip
    """Calls take what they take; a few fail once and then land; fewer than five of a step do not
    land at all, and the steps before are undone.
    """
    rng = random.Random(seed)
    made, history = plan(effects), []
    falls = {rng.randrange(runs): rng.randrange(len(effects)) for _ in range(refused)}
    for run in range(runs):
        end = falls.get(run)
        for step in range(len(effects) if end is None else end):
            if rng.random() < hiccups / max(runs, 1) / len(effects):
                history.append(failed(run, step, 503))
            history.append(tried(run, step, usual * rng.lognormvariate(0, spread)))
        if end is not None:
            history.append(failed(run, end, 422))
            history += [
                tried(run, step, usual, direction=Direction.BACKWARD)
                for step in reversed(range(end)) if effects[step] is not Effects.NONE
            ]  # fmt: skip
    quick = usual * len(effects) < 0.2  # then it does not matter that none needs another
    needs = {step: frozenset(() if quick else range(step)) for step in range(len(effects))}
    said = Documented(operation="GET /s", statuses=frozenset({"200", "4XX"}), file="shop.yaml")
    documented = {(step, way): said for step in needs for way in Direction}
    known = Known(apis=APIS, needs=needs, documented=documented, traffic={"shop": traffic})
    assert learned(made, history, known) == []
