"""Actions, called workflows and dependencies of documents, played from begin to end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.exchange import FrozenRequest, Response
from orchestrator.core.plan import Plan
from orchestrator.core.plan_json import plan_from_json, plan_to_json
from orchestrator.core.states import RunStatus
from orchestrator.definitions.loading import Loaded
from orchestrator.errors import InvalidDefinition, NotLanded
from tests.unit.definitions.conftest import SOURCES, Write
from tests.unit.definitions.playing import Api, play


def get(step: str, of: str = "1", *more: str) -> str:
    parts = [f"{{stepId: {step}", "operationId: getThing",
             f"parameters: [{{name: id, in: path, value: {of}}}]", *more]  # fmt: skip
    return "      - " + ", ".join(parts) + "}\n"


def make(step: str, *more: str, undo: str = "$steps.{step}.outputs.id") -> str:
    value = undo.replace("{step}", step)
    return (
        f"      - stepId: {step}\n        operationId: makeThing\n"
        "        requestBody: {payload: {}}\n        outputs: {id: $response.body#/id}\n"
        "        x-compensation: {operationId: dropThing,"
        f" parameters: [{{name: id, in: path, value: {value}}}]}}\n"
        + "".join(f"        {line}\n" for line in more)
    )


def workflow(name: str, *steps: str, more: str = "") -> str:
    return f"  - workflowId: {name}\n{more}    steps:\n{''.join(steps)}"


def answering(**statuses: int | Iterable[int]) -> Api:
    """Statuses by the last part of the path, in turn; 200 for all others. Ids count from 1."""
    made = 0
    left = {name: [s] * 99 if isinstance(s, int) else list(s) for name, s in statuses.items()}

    def api(request: FrozenRequest) -> Response:
        nonlocal made
        if request.method == "POST":
            made += 1
        name = request.target.rpartition("/")[2]
        waiting = left.get(name)
        status = waiting.pop(0) if waiting else 200
        body: dict[str, Any] = {"id": f"t{made}", "name": name}
        return Response(status=status, body=json.dumps(body).encode())

    return api


def one(loaded: list[Loaded]) -> Plan:
    plan = loaded[-1].plan
    assert plan_from_json(plan_to_json(plan)) == plan
    return plan


# --- actions --------------------------------------------------------------------------------------


def test_a_plan_says_whether_it_jumps_so_that_older_releases_refuse_it(write: Write) -> None:
    retry = "onFailure: [{name: r, type: retry, retryLimit: 2}]"
    assert '"jumps"' not in plan_to_json(one(write(workflow("w", get("a", "a", retry)))))
    for way in ("onSuccess: [{name: e, type: end}]", "onFailure: [{name: e, type: end}]"):
        assert '"jumps":true' in plan_to_json(one(write(workflow("w", get("a", "a", way)))))


def test_a_goto_leaves_steps_out(write: Write) -> None:
    plan = one(write(workflow(
        "w", get("a", "1", "onSuccess: [{name: g, type: goto, stepId: c}]"), get("b"), get("c"))
    ))  # fmt: skip
    assert play(plan, answering()).visits == ["a", "c"]


def test_the_first_action_whose_criteria_hold_counts(write: Write) -> None:
    actions = (
        "onSuccess: [{name: x, type: end, criteria: [{condition: $response.body#/name == 'x'}]},"
        " {name: g, type: goto, stepId: c, criteria: [{condition: $statusCode == 200}]}]"
    )
    plan = one(write(workflow("w", get("a", "$inputs.id", actions), get("b"), get("c"),
        more="    inputs: {type: object, properties: {id: {type: string}}}\n")))  # fmt: skip
    assert play(plan, answering(), {"id": "x"}).visits == ["a"]
    assert play(plan, answering(), {"id": "y"}).visits == ["a", "c"]
    assert play(plan, answering(y=[201]), {"id": "y"}).visits == ["a", "b", "c"]


def test_retries_first_and_then_the_way_out(write: Write) -> None:
    actions = (
        "onFailure: [{name: r, type: retry, retryLimit: 2, retryAfter: 1},"
        " {name: g, type: goto, stepId: c}]"
    )
    plan = one(write(workflow("w", get("a", "no", actions), get("b"), get("c"))))
    played = play(plan, answering(no=404))
    assert (played.visits, played.waits) == (["a", "a", "a", "c"], 2)
    assert len(set(played.keys)) == 2
    assert played.status is RunStatus.SUCCEEDED
    assert play(plan, answering(no=[404])).visits == ["a", "a", "b", "c"]


def test_each_retry_has_its_own_limit(write: Write) -> None:
    actions = (
        "onFailure: [{name: busy, type: retry, retryLimit: 3,"
        " criteria: [{condition: $statusCode == 429}]},"
        " {name: odd, type: retry, retryLimit: 1, criteria: [{condition: $statusCode == 404}]}]"
    )
    plan = one(write(workflow("w", get("a", "no", actions))))
    assert len(play(plan, answering(no=429)).visits) == 4
    assert len(play(plan, answering(no=404)).visits) == 2
    # Retries count for the step, whichever action wanted them.
    assert len(play(plan, answering(no=[429, 429, 404, 404])).visits) == 3


def test_what_goes_better_by_itself_is_no_failure_yet_unless_it_is_named(write: Write) -> None:
    way = "onFailure: [{name: g, type: goto, stepId: c%s}]"
    plan = one(write(workflow("w", get("a", "a", way % ""), get("b"), get("c"))))
    assert play(plan, answering(a=[503])).visits == ["a", "a", "b", "c"]
    assert play(plan, answering(a=503)).visits[-2:] == ["a", "c"]
    named = way % ", criteria: [{condition: $statusCode == 503}]"
    plan = one(write(workflow("w", get("a", "a", named), get("b"), get("c"))))
    assert play(plan, answering(a=[503])).visits == ["a", "c"]


def test_an_end_after_a_failure_turns_back(write: Write) -> None:
    plan = one(write(workflow(
        "w", make("m"), get("a", "no", "onFailure: [{name: e, type: end}]"), get("b"))
    ))  # fmt: skip
    played = play(plan, answering(no=404))
    assert (played.visits, played.status) == (["m", "a", "m'"], RunStatus.COMPENSATED)


def test_a_way_out_that_ends_succeeds_and_one_that_fails_undoes_it_too(write: Write) -> None:
    plan = one(write(workflow(
        "w", make("m"), get("a", "no", "onFailure: [{name: g, type: goto, stepId: out}]"),
        get("b", "b", "onSuccess: [{name: e, type: end}]"), make("out"), get("last", "last"))
    ))  # fmt: skip
    assert play(plan, answering()).visits == ["m", "a", "b"]
    played = play(plan, answering(no=404))
    assert (played.visits, played.status) == (["m", "a", "out", "last"], RunStatus.SUCCEEDED)
    played = play(plan, answering(no=404, last=404))
    assert played.visits == ["m", "a", "out", "last", "out'", "m'"]
    assert played.sent[-2:] == ["DELETE /things/t2", "DELETE /things/t1"]


def test_what_is_undone_by_hand_is_undone_once(write: Write) -> None:
    by_hand = (
        "      - {stepId: cancel, operationId: dropThing, x-undoes: [m],"
        " parameters: [{name: id, in: path, value: $steps.m.outputs.id}]}\n"
    )
    steps = make("first"), make("m"), get("a", "no", "onFailure: [{name: g, type: goto, stepId: "
        "cancel}]"), get("b", "b", "onSuccess: [{name: e, type: end}]"), by_hand  # fmt: skip
    plan = one(write(workflow("w", *steps)))
    played = play(plan, answering(no=404))
    assert played.visits == ["first", "m", "a", "cancel", "first'"]
    assert played.status is RunStatus.COMPENSATED
    assert played.sent.count("DELETE /things/t2") == 1


def test_who_seems_to_undo_by_hand_is_told(write: Write) -> None:
    by_hand = (
        "      - {stepId: cancel, operationId: dropThing, x-compensation: {none: it undoes},"
        " parameters: [{name: id, in: path, value: $steps.m.outputs.id}]}\n"
    )
    (loaded,) = write(workflow("w", make("m"), by_hand))
    assert any("cancel does what undoes m" in text for text in loaded.warnings)


def test_a_call_that_was_not_answered_takes_the_way_that_needs_no_answer(write: Write) -> None:
    actions = (
        "onFailure: [{name: x, type: goto, stepId: b, criteria: [{condition: $statusCode == 404}]},"
        " {name: g, type: goto, stepId: c}]"
    )
    plan = one(write(workflow("w", get("a", "1", actions), get("b"), get("c", "c"))))

    def api(request: FrozenRequest) -> Response:
        if request.target.endswith("/1"):
            raise NotLanded("refused")
        return Response(status=200)

    assert play(plan, api).visits == ["a", "c"]


def test_a_loop_has_a_key_for_each_visit_and_an_end(write: Write) -> None:
    again = (
        "onSuccess: [{name: g, type: goto, stepId: m, criteria: [{condition: $statusCode == 200}]}]"
    )
    plan = one(write(workflow("w", make("m"), get("poll", "poll", again), get("z", "z"))))
    played = play(plan, answering(poll=[200, 200, 201], z=404))
    assert played.visits == ["m", "poll"] * 3 + ["z", "m'", "m'", "m'"]
    assert len(set(played.keys)) == len(played.sent)
    assert played.sent[-3:] == [f"DELETE /things/t{n}" for n in (3, 2, 1)]


def test_a_loop_that_never_ends_is_undone(write: Write) -> None:
    again = (
        "onSuccess: [{name: g, type: goto, stepId: m, criteria: [{condition: $statusCode == 200}]}]"
    )
    plan = one(write(workflow("w", make("m", again), more="    x-max-visits: 4\n")))
    played = play(plan, answering())
    assert (played.visits, played.status) == (["m"] * 4 + ["m'"] * 4, RunStatus.COMPENSATED)


def test_actions_of_the_workflow_hold_for_steps_that_do_not_override_them(write: Write) -> None:
    shared = (
        "    failureActions: [{name: f, type: goto, stepId: c}]\n"
        "    successActions: [{name: s, type: goto, stepId: c,"
        " criteria: [{condition: $statusCode == 202}]}]\n"
    )
    own = "onFailure: [{name: f, type: end}]"
    plan = one(write(workflow("w", get("a", "a", own), get("b", "b"), get("c", "c"), more=shared)))
    assert play(plan, answering(a=404)).status is RunStatus.COMPENSATED
    assert play(plan, answering(b=404)).visits == ["a", "b", "c"]
    assert play(plan, answering(a=202)).visits == ["a", "c"]


def test_a_reusable_action(write: Write) -> None:
    components = (
        "components:\n  failureActions:\n    again: {name: r, type: retry, retryLimit: 1}\n"
        "  successActions:\n    stop: {name: s, type: end}\n"
    )
    plan = one(write(workflow(
        "w", get("a", "a", "onFailure: [{reference: $components.failureActions.again}]",
                 "onSuccess: [{reference: $components.successActions.stop}]"), get("b"))
        + components))  # fmt: skip
    assert play(plan, answering(a=[404])).visits == ["a", "a"]


def test_a_retry_goes_through_another_step(write: Write) -> None:
    via = "onFailure: [{name: r, type: retry, retryLimit: 2, stepId: login}]"
    plan = one(write(workflow("w", get("login", "in"), get("a", "a", via), get("b", "b"))))
    assert play(plan, answering(a=[401])).visits == ["login", "a", "login", "a", "b"]
    assert play(plan, answering(a=401)).visits == ["login", "a", "login", "a", "login", "a"]


# --- called workflows -----------------------------------------------------------------------------

PAY = workflow(
    "pay", make("charge"), get("check", "$inputs.order"),
    more="    inputs: {type: object, required: [order], properties: {order: {type: string},"
    " much: {type: integer, default: 7}}}\n    outputs: {charge: $steps.charge.outputs.id,"
    " much: $inputs.much}\n",
)  # fmt: skip


def calling(*more: str, order: str = "$steps.m.outputs.id") -> str:
    parts = ["{stepId: p", "workflowId: pay", f"parameters: [{{name: order, value: {order}}}]"]
    return "      - " + ", ".join([*parts, *more]) + "}\n"


def test_a_called_workflow_sees_its_own_names_and_gives_its_outputs(write: Write) -> None:
    outputs = (
        "    outputs: {charge: $steps.p.outputs.charge, own: $steps.p.outputs.own,"
        " much: $steps.p.outputs.much}\n"
    )
    step = calling("outputs: {own: $steps.p.outputs.charge}")
    plan = one(write(PAY + workflow("w", make("m"), step, get("z", "$steps.p.outputs.charge"),
                                    more=outputs)))  # fmt: skip
    played = play(plan, answering())
    assert played.visits == ["m", "p/$inputs", "p/charge", "p/check", "p", "z"]
    assert played.sent == ["POST /things", "POST /things", "GET /things/t1", "GET /things/t2"]
    assert played.outputs == {"charge": "t2", "own": "t2", "much": 7}


def test_what_a_called_workflow_did_is_undone_in_its_place(write: Write) -> None:
    plan = one(write(PAY + workflow("w", make("m"), calling(), make("n"), get("z", "z"))))
    played = play(plan, answering(z=404))
    assert played.visits[-3:] == ["n'", "p/charge'", "m'"]
    assert played.sent[-3:] == [f"DELETE /things/t{n}" for n in (3, 2, 1)]


def test_a_failure_inside_is_one_of_the_calling_step(write: Write) -> None:
    way = calling("onFailure: [{name: g, type: goto, stepId: z}]")
    plan = one(write(PAY + workflow("w", make("m"), way, get("y", "y"), get("z", "z"))))
    played = play(plan, answering(t1=404))
    assert played.visits == ["m", "p/$inputs", "p/charge", "p/check", "z"]
    once_more = calling("onFailure: [{name: r, type: retry, retryLimit: 1}]")
    loaded = write(PAY + workflow("w", make("m"), once_more))
    assert any("begins the called workflow anew" in text for text in loaded[-1].warnings)
    plan = one(loaded)
    played = play(plan, answering(t1=404))
    inside = ["p/$inputs", "p/charge", "p/check"]
    assert played.visits == ["m", *inside, *inside, "p/charge'", "p/charge'", "m'"]


def test_an_end_inside_ends_the_called_workflow_alone(write: Write) -> None:
    inner = workflow("pay", get("a", "a", "onSuccess: [{name: e, type: end}]"), get("b", "b"),
        more="    inputs: {type: object, properties: {order: {type: string}}}\n")  # fmt: skip
    plan = one(write(inner + workflow("w", calling(order="x"), get("z", "z"))))
    assert play(plan, answering()).visits == ["p/$inputs", "p/a", "p", "z"]


def test_criteria_and_actions_of_the_calling_step(write: Write) -> None:
    step = calling(
        "successCriteria: [{condition: $steps.p.outputs.much > 9}]",
        "onFailure: [{name: g, type: goto, stepId: z}]", order="x",
    )  # fmt: skip
    plan = one(write(PAY + workflow("w", step, get("y", "y"), get("z", "z"))))
    assert play(plan, answering()).visits[-2:] == ["p", "z"]


def test_inputs_of_a_called_workflow_are_checked(write: Write) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        write(PAY + workflow("w", "      - {stepId: p, workflowId: pay, parameters:"
                                  " [{name: odor, value: 1}]}\n"))  # fmt: skip
    assert [(p.found, p.wanted) for p in caught.value.problems] == [
        ("'odor'", "an input of workflow pay: much, order"),
        ("no order", "the input order, which workflow pay requires"),
    ]
    plan = one(write(PAY + workflow("w", make("m"), calling(order="5"))))
    played = play(plan, answering())
    assert (played.visits, played.status) == (["m", "p/$inputs", "m'"], RunStatus.COMPENSATED)


def test_what_it_depends_on_comes_first_and_is_undone_last(write: Write) -> None:
    first = workflow("prepare", make("m"), more="    inputs: {type: object, properties: {id:"
        " {type: string}}}\n    outputs: {id: $steps.m.outputs.id}\n")  # fmt: skip
    second = workflow(
        "w", get("a", "$workflows.prepare.outputs.id"), get("b", "$dependencies.prepare.id"),
        get("c", "$inputs.id"), more="    dependsOn: [prepare]\n    inputs: {type: object,"
        " properties: {id: {type: string}}}\n",
    )  # fmt: skip
    plan = one(write(first + second))
    played = play(plan, answering(c=404), {"id": "c"})
    head = ["workflow:prepare/$inputs", "workflow:prepare/m", "workflow:prepare"]
    assert played.visits == [*head, "a", "b", "c", "workflow:prepare/m'"]
    assert played.sent[1:3] == ["GET /things/t1", "GET /things/t1"]


def test_a_goto_to_a_workflow_runs_it_and_ends(write: Write) -> None:
    way = "onFailure: [{name: g, type: goto, workflowId: help}]"
    help_ = workflow("help", make("h"), get("i", "i"))
    plan = one(write(help_ + workflow("w", get("a", "a", way), get("b", "b", way))))
    assert play(plan, answering()).visits == ["a", "b"]
    block = ["to:help/$inputs", "to:help/h", "to:help/i", "to:help"]
    assert play(plan, answering(a=404)).visits == ["a", *block]
    assert play(plan, answering(b=404)).visits == ["a", "b", *block]
    assert play(plan, answering(b=404, i=404)).visits[-2:] == ["to:help/i", "to:help/h'"]


def test_a_retry_goes_through_another_workflow(write: Write) -> None:
    via = "onFailure: [{name: r, type: retry, retryLimit: 1, workflowId: login}]"
    login = workflow("login", get("l", "l", "onSuccess: [{name: e, type: end}]"), get("m", "m"))
    plan = one(write(login + workflow("w", get("a", "a", via), get("b", "b"))))
    played = play(plan, answering(a=[401]))
    block = ["to:login/$inputs", "to:login/l", "to:login"]
    assert played.visits == ["a", *block, "a", "b"]
    assert played.status is RunStatus.SUCCEEDED


def test_a_goto_to_the_workflow_itself_begins_it_again(write: Write) -> None:
    again = "onFailure: [{name: g, type: goto, workflowId: w}]"
    plan = one(write(workflow("w", get("a", "a"), get("b", "b", again))))
    assert play(plan, answering(b=[404])).visits == ["a", "b", "a", "b"]


def in_other(write: Write, tmp_path: Path, other: str, url: str = "sub/o.yaml") -> list[Loaded]:
    """A workflow that calls `pay` of a document in another folder."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "o.yaml").write_text(other)
    calls = "      - {stepId: p, workflowId: $sourceDescriptions.others.pay, parameters: [%s]}\n"
    return write(
        workflow("w", make("m"), calls % "{name: order, value: $steps.m.outputs.id}"),
        f"[{{name: others, url: '{url}', type: arazzo}}, ",
    )


def test_a_workflow_of_another_document(write: Write, tmp_path: Path) -> None:
    other = SOURCES.replace("./things.yaml", "../things.yaml") + PAY
    plan = one(in_other(write, tmp_path, other))
    played = play(plan, answering(t1=404))
    assert played.visits == ["m", "p/$inputs", "p/charge", "p/check", "p/charge'", "m'"]


@pytest.mark.parametrize(
    ("other", "url", "place", "wanted"),
    [
        (SOURCES + PAY, "sub/no.yaml", "w.arazzo.yaml:", "document that can be read"),
        (SOURCES + PAY.replace("pay", "buy"), "sub/o.yaml", "w.arazzo.yaml:", "of others: buy"),
        (SOURCES.replace("./", "../") + PAY.replace("makeThing", "mkThing"), "sub/o.yaml",
         "o.yaml:", "did you mean makeThing?"),
        (SOURCES.replace("./", "../") + PAY.replace("dropThing", "x"), "https://a.org/o.yaml",
         "w.arazzo.yaml:", "nothing is fetched"),
        (SOURCES.replace("{name: things, url: ./things.yaml, type: openapi}",
                      "{name: back, url: ../w.arazzo.yaml, type: arazzo}")
         + workflow("pay", "      - {stepId: b, workflowId: $sourceDescriptions.back.w}\n",
                    more="    inputs: {properties: {order: {}}}\n"),
         "sub/o.yaml", "o.yaml:", "not lead back to itself"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_another_document_is_said_where_it_stands(
    other: str, url: str, place: str, wanted: str, write: Write, tmp_path: Path
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        in_other(write, tmp_path, other, url)
    found = caught.value.problems
    assert any(p.place.startswith(place) and wanted in p.wanted for p in found), caught.value


def test_workflows_that_call_each_other_are_refused(write: Write) -> None:
    call = "      - {stepId: s, workflowId: %s}\n"
    with pytest.raises(InvalidDefinition) as caught:
        write(workflow("v", call % "w") + workflow("w", call % "v"))
    assert [p.found for p in caught.value.problems] == ["v → w → v", "w → v → w"]


# --- what is known when ---------------------------------------------------------------------------


def test_what_is_skipped_on_one_way_is_not_known(write: Write) -> None:
    jump = (
        "onSuccess: [{name: g, type: goto, stepId: c, criteria: [{condition: $statusCode == 202}]}]"
    )
    with pytest.raises(InvalidDefinition) as caught:
        write(workflow("w", get("a", "a", jump), get("b", "b", "outputs: {x: $statusCode}"),
                       get("c", "$steps.b.outputs.x")))  # fmt: skip
    (problem,) = caught.value.problems
    assert problem.found == "$steps.b.outputs.x, which is not known yet"
    assert problem.wanted == "an earlier step: a"


def test_what_failed_gave_nothing(write: Write) -> None:
    way = "onFailure: [{name: g, type: goto, stepId: c}], outputs: {x: $statusCode}"
    with pytest.raises(InvalidDefinition) as caught:
        write(workflow("w", get("a", "a", way), get("b"), get("c", "$steps.a.outputs.x")))
    (problem,) = caught.value.problems
    assert problem.wanted == "an earlier step: there is none"


def test_a_step_to_which_nothing_leads_is_told(write: Write) -> None:
    (loaded,) = write(workflow("w", get("a", "a", "onSuccess: [{name: e, type: end}]"), get("b")))
    assert any("nothing leads to step b" in text for text in loaded.warnings)


def test_a_step_that_lies_behind_the_pivot_on_every_way_needs_no_undo(write: Write) -> None:
    pivot = make("p", "x-pivot: true").replace("        x-compensation", "        #")
    free = make("f").replace("        x-compensation", "        #")
    write(workflow("w", make("m"), pivot, free))
    around = get("a", "a", "onFailure: [{name: g, type: goto, stepId: f}]")
    with pytest.raises(InvalidDefinition) as caught:
        write(workflow("w", around, pivot, free))
    assert "step f with an effect" in caught.value.problems[0].found
