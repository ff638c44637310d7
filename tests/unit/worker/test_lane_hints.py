"""Wake-ups over several brokers: each lane's to its own, and one that is away holds up nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.errors import InvalidSetting, Unavailable
from orchestrator.ports import FORWARD_TASK, Hint, job_hint
from orchestrator.settings import Settings
from orchestrator.wiring_brokers import apps_of_brokers, broker_of_lanes
from orchestrator.worker.app import make_app
from orchestrator.worker.lanes import REST_SECONDS, LaneHints

HOME, REPORTS = "redis://home:6379/0", "redis://:hush@reports:6379/0"


class Broker:
    """One that may be away."""

    def __init__(self, name: str) -> None:
        self.name, self.away, self.asked = name, False, 0
        self.hints: list[Hint] = []

    async def publish(self, hints: Sequence[Hint]) -> None:
        self._ask()
        self.hints += hints

    async def depth(self, queues: Sequence[str]) -> dict[str, int]:
        self._ask()
        return {queue: sum(hint.queue == queue for hint in self.hints) for queue in queues}

    async def close(self) -> None:
        self.hints.clear()

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise Unavailable("broker", self.name, "it is away")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def hint(queue: str) -> Hint:
    return Hint(
        run_id="r", epoch=0, hop_id="h", parent_hop_id=None, label="a.b", task=FORWARD_TASK,
        queue=queue,
    )  # fmt: skip


@pytest.fixture
def home() -> Broker:
    return Broker("home")


@pytest.fixture
def reports() -> Broker:
    return Broker("reports")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lanes(home: Broker, reports: Broker, clock: Clock) -> LaneHints:
    return LaneHints(home, {"reports": reports, "exports": reports}, monotonic=clock)


async def test_each_goes_to_the_broker_of_its_lane(
    lanes: LaneHints, home: Broker, reports: Broker
) -> None:
    queues = ["default.forward", "reports.forward", "exports.compensation", "reports.urgent"]
    await lanes.publish([*map(hint, queues), job_hint("j", 0, "job")])
    assert [each.queue for each in home.hints] == ["default.forward", "maintenance"]
    assert [each.queue for each in reports.hints] == [*queues[1:], "maintenance"]
    wanted = [*queues, "maintenance", "dead_letter"]
    assert await lanes.depth(wanted) == {
        **dict.fromkeys(queues, 1), "maintenance": 2, "dead_letter": 0,
    }  # fmt: skip


async def test_one_that_is_away_keeps_nobody_waiting(
    lanes: LaneHints, home: Broker, reports: Broker, clock: Clock
) -> None:
    reports.away = True
    both = [hint("reports.forward"), hint("default.forward")]
    with capture_logs() as logs:
        await lanes.publish(both)
        await lanes.publish(both)
        assert await lanes.depth(["reports.forward", "default.forward"]) == {"default.forward": 2}
    assert len(home.hints) == 2
    assert reports.asked == 1  # and then left alone
    assert [each["event"] for each in logs] == ["broker.unreachable"]

    reports.away, clock.now = False, clock.now + REST_SECONDS
    await lanes.publish(both)
    await lanes.publish(both)
    assert len(reports.hints) == 2


async def test_nobody_to_be_reached_is_said(
    lanes: LaneHints, home: Broker, reports: Broker
) -> None:
    reports.away = True
    with pytest.raises(Unavailable, match="reports"):
        await lanes.publish([hint("reports.forward")])
    with pytest.raises(Unavailable, match="reports"):  # while it is left alone as well
        await lanes.depth(["reports.forward"])
    home.away = True
    with pytest.raises(Unavailable):
        await lanes.publish([hint("default.forward"), hint("reports.forward")])
    await lanes.publish([])


def test_a_worker_serves_lanes_of_one_broker() -> None:
    urls = {"reports": REPORTS, "exports": REPORTS}

    def chosen(*lanes: str) -> str:
        return broker_of_lanes(
            Settings(broker_url=HOME, broker_urls=urls, lanes=lanes, config_dir=Path("/nowhere"))
        )

    assert chosen("default", "other") == HOME
    assert chosen("reports", "exports") == REPORTS
    with pytest.raises(InvalidSetting) as refused:
        chosen("default", "reports", "exports")
    said = str(refused.value)
    assert "default on redis://home:6379/0" in said
    assert "reports, exports on redis://reports:6379/0" in said
    assert "hush" not in said


def test_there_is_one_connection_for_each_broker() -> None:
    settings = Settings(
        broker_url=HOME, broker_urls={"reports": REPORTS, "exports": REPORTS, "other": HOME},
        lanes=("reports",),
    )  # fmt: skip
    app = make_app(broker_url=REPORTS)
    apps = apps_of_brokers(settings, app, HOME)
    assert list(apps) == [HOME, REPORTS]
    assert apps[REPORTS] is app
    assert "hush" in set(settings.passwords())
