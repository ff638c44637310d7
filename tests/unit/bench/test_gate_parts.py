"""Workload, API and verdict of `bench gate`, without a server."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.bench.gate import __main__ as bench
from tests.bench.gate import verdict
from tests.bench.gate.api import Api, Mode
from tests.bench.gate.flows import FLOWS, TENANTS, flows, plan, runs
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Ended, failed


def test_fifty_different_workflows_of_one_to_four_calls() -> None:
    made = flows("bench")
    assert len({flow.name for flow in made}) == FLOWS
    assert {len(flow.undoable) for flow in made} == {1, 2, 3, 4}
    assert 10 < sum(any(flow.undoable) for flow in made) < FLOWS
    assert len(plan("bench", made[3]).steps) == len(made[3].undoable)


def test_runs_are_the_same_each_time_and_of_all_tenants() -> None:
    made = runs("bench", 1000)
    assert made == runs("bench", 1000)
    assert len({run.name for run in made}) == 1000
    assert Counter(run.tenant for run in made) == dict.fromkeys(TENANTS, 250)
    refused = [run for run in made if run.refused is not None]
    assert 10 < len(refused) < 100
    assert {run.ending for run in refused} == {"compensated"}


def call(api: Api, url: bytes, *, undo: bool = False, authorization: bytes = b"") -> int:
    return api.statuses[api.take(url, undo=undo, authorization=authorization)]


def test_the_api_holds_its_limit_and_says_who_was_served() -> None:
    api = Api(Limit(amount=2, seconds=60), 0.0)
    assert [call(api, b"/t1-000001/s1") for _ in range(3)] == [200, 200, 429]
    assert api.statistics()["violations"] == 1
    assert [tenant for _, _, tenant, _ in api.calls()] == ["t1"] * 3
    api.set({"limit_factor": 2.0})
    assert call(api, b"/t2-000001/s1") == 200


def test_the_api_refuses_what_the_name_says_and_lets_it_be_undone() -> None:
    api = Api(Limit(amount=100), 0.0)
    assert call(api, b"/t1-000001-x2/s1") == 200
    assert call(api, b"/t1-000001-x2/s2") == 422
    assert call(api, b"/t1-000001-x2/s2", undo=True) == 200


@pytest.mark.parametrize(
    ("mode", "status"), [(Mode.FAILING, 500), (Mode.THROTTLING, 429), (Mode.HANGING, 0)]
)
def test_the_api_misbehaves_as_told(mode: Mode, status: int) -> None:
    api = Api(Limit(amount=100), 0.0)
    api.set({"mode": mode, "retry_after_seconds": 7})
    number = api.take(b"/t1-000001/s1", undo=False, authorization=b"")
    assert api.statuses[number] == status
    assert api.statistics()["violations"] == 0  # it is not the limit that refused
    if status == 429:
        assert b"Retry-After: 7\r\n" in api.answer(number)


def test_a_token_that_is_revoked_is_good_no_more() -> None:
    api = Api(Limit(amount=100), 0.0)
    api.set({"wants_token": True})
    assert call(api, b"/t1-1/s1") == 401
    assert b'"token-1"' in api.token()
    assert call(api, b"/t1-1/s1", authorization=b"Bearer token-1") == 200
    api.revoke()
    assert call(api, b"/t1-1/s1", authorization=b"Bearer token-1") == 401
    assert call(api, b"/t1-1/s1", authorization=b"Bearer ") == 401
    assert b'"token-2"' in api.token()


def test_the_api_says_what_it_does_not_know() -> None:
    with pytest.raises(KeyError):
        Api(Limit(amount=1), 0.0).set({"mood": "bad"})


def test_a_run_that_ends_otherwise_has_failed() -> None:
    wanted = runs("bench", 3)
    found = [
        Ended(name=run.name, tenant=run.tenant, status=status, seconds=1.0)
        for run, status in zip(wanted, ("succeeded", "escalated", "running"), strict=True)
    ]
    assert failed(wanted, found) == {"escalated": 1}


def measured(**more: Any) -> dict[str, Any]:
    steady = {"utilization": 0.995, "redis_round_trips_per_call": 0.1, "violations": 0,
              "failed_runs": 0}  # fmt: skip
    return {"steady": [steady, {**steady, "utilization": 0.98, **more}]}


def test_the_worst_number_of_workers_counts() -> None:
    found = verdict.summary(measured())
    assert found["utilization"] == 0.98
    assert found["jain"] is None
    assert verdict.missed(found) == {"utilization": "0.98, wanted >= 0.99"}
    assert verdict.kept(found)


@pytest.mark.parametrize("what", ["violations", "failed_runs"])
def test_what_was_broken_is_an_exit_code(what: str) -> None:
    assert not verdict.kept(verdict.summary(measured(**{what: 1})))


def test_what_is_not_possible_yet_is_not_a_figure() -> None:
    found = verdict.summary({"token": {"not_possible": "auth.oauth2: an unknown field"}})
    assert found["token_refreshes"] is None
    assert verdict.kept(found)


@pytest.mark.parametrize("options", ["--phase steady,nonsense", "--workers 0", "--seconds 1"])
def test_options_that_make_no_sense_are_refused(options: str) -> None:
    done = CliRunner().invoke(bench.app, options.split())
    assert done.exit_code == 2, done.output
