"""Metrics over OTLP: a receiver gets what Prometheus is served, and knows whose it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from orchestrator.api.app import make_app
from orchestrator.errors import InvalidSetting
from orchestrator.service.measuring import Reading
from orchestrator.settings import Settings
from orchestrator.telemetry import metrics as m
from orchestrator.telemetry.metering import Gauges, PrometheusMeter, gauge_families
from orchestrator.telemetry.metrics import METRICS, Kind, Origin
from orchestrator.telemetry.otlp_metrics import OtlpMetrics
from orchestrator.telemetry.pushing import Pushing
from orchestrator.telemetry.system_metrics import readings
from orchestrator.wiring_metrics import GAUGES, WorkerMetrics, gate_readings, reading_pusher
from tests.otlp import Point, Receiver, receiving
from tests.unit.telemetry.test_metering import gate, reading, tell_all

KINDS = {"sum": Kind.COUNTER, "gauge": Kind.GAUGE, "histogram": Kind.HISTOGRAM}
UNIT_ENDS = {"s": "_seconds", "By": "_bytes", "1": "_ratio"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def counted() -> CollectorRegistry:
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    tell_all(meter)
    tell_all(meter)
    registry.register(
        Gauges(
            lambda: {
                **gate_readings({"shop": gate()}), m.ACTIVE_RUNS: {(): 1}, m.LOOP_STILL: {(): 0},
                m.CANARY: {(): 0},
            },
            GAUGES,
        )
    )  # fmt: skip
    return registry


def shown(point: Point) -> tuple[str, Kind, frozenset[str]]:
    """As the table of metrics has it."""
    name = f"{point.name}_total" if point.kind == "sum" else point.name
    return name, KINDS[point.kind], frozenset(label for label, _ in point.labels)


def as_in_table(origin: Origin) -> set[tuple[str, Kind, frozenset[str]]]:
    return {(e.name, e.kind, frozenset(e.labels)) for e in METRICS if e.origin is origin}


def scraped(registry: CollectorRegistry) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in registry.collect()
        for each in family.samples
    }


def test_a_receiver_gets_the_workers_part_of_the_table_with_the_same_numbers(
    receiver: Receiver,
) -> None:
    registry = counted()
    assert OtlpMetrics(receiver.address, version="7").push(registry.collect())
    (points,) = receiver.points
    assert receiver.paths == ["/v1/metrics"]
    assert {shown(each) for each in points} == as_in_table(Origin.WORKER)
    known = scraped(registry)
    for each in points:
        if each.kind == "histogram":
            assert known[f"{each.name}_sum", each.labels] == each.value
            assert known[f"{each.name}_count", each.labels] == sum(each.counts)
            upto = itertools.accumulate(each.counts)
            for bound, count in zip([*each.bounds, float("inf")], upto, strict=True):
                (same,) = [
                    value for (name, labels), value in known.items()
                    if name == f"{each.name}_bucket" and each.labels < labels
                    and float(dict(labels)["le"]) == bound
                ]  # fmt: skip
                assert same == count
        else:
            assert known[shown(each)[0], each.labels] == each.value
        assert each.only_up is (each.kind != "gauge")
        assert each.began <= each.at
        assert not each.unit or each.name.endswith(UNIT_ENDS[each.unit])
        assert each.unit or not each.name.endswith(tuple(UNIT_ENDS.values()))


def test_what_goes_up_goes_on_from_where_it_was_and_each_process_is_told_apart(
    receiver: Receiver,
) -> None:
    registry = CollectorRegistry()
    meter = PrometheusMeter(registry)
    sinks = [OtlpMetrics(receiver.address, version="7") for _ in range(2)]
    receiver.answers = [400]
    meter.recovered("lost", 3)
    assert sinks[0].push(registry.collect()) is False
    meter.recovered("lost", 4)
    assert all(sink.push(registry.collect()) for sink in sinks)
    found = [each for points in receiver.points for each in points]
    recovered = [each for each in found if each.name == "orchestrator_recovered_runs"]
    assert [each.value for each in recovered] == [7, 7]
    assert len({each.instance for each in recovered}) == 2
    assert {each.service for each in recovered} == {"orchestrator"}


class Sink:
    """Answers so, one after the other; with the last but one comes the end."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers, self.pushed, self.is_closed = list(answers), 0, False
        self.end: Callable[[], None] = lambda: None
        self.may_begin = Event()

    def push(self, families: Any) -> bool:
        assert self.may_begin.wait(30)
        self.pushed += 1
        answer = self.answers.pop(0)
        if len(self.answers) == 1:
            self.end()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(("last", "pushed"), [(True, 4), (False, 3), (OSError("gone"), 3)])
def test_it_is_pushed_a_last_time_unless_nobody_takes_it(
    last: bool | Exception, pushed: int
) -> None:
    sink = Sink(True, ValueError("not read"), last, True)
    pushing = Pushing(CollectorRegistry(), sink, every_seconds=0.001)
    sink.end = pushing._end.set
    sink.may_begin.set()
    pushing._thread.join(30)
    assert not pushing._thread.is_alive()
    pushing.close()
    assert (sink.pushed, sink.is_closed) == (pushed, True)


async def test_a_worker_and_the_face_send_theirs(receiver: Receiver) -> None:
    settings = Settings(otlp_endpoint=receiver.address, otlp_metrics_seconds=60)
    worker = WorkerMetrics(settings, active_runs=lambda: 5, version="7")
    assert isinstance(worker.meter, PrometheusMeter)
    worker.serve()
    worker.serve()  # under a new id: nothing more
    assert worker.port is None
    await worker.aclose()
    (points,) = receiver.points
    assert {e.name: e.value for e in points}["orchestrator_worker_active_runs"] == 5
    assert any(each.name == "process_open_fds" for each in points)

    sink = OtlpMetrics(receiver.address, version="7")
    assert sink.push(gauge_families(readings(reading())))
    assert {shown(each) for each in receiver.points[-1]} == as_in_table(Origin.FACE)
    assert sink.push(gauge_families(readings(Reading(database=None, broker=None, queues=None))))
    assert {(e.name, e.value) for e in receiver.points[-1]} == {
        ("orchestrator_database_up", 0), ("orchestrator_broker_up", 0),
    }  # fmt: skip


class Measured:
    """Cannot be read at first."""

    def __init__(self) -> None:
        self.asked = 0

    async def read(self) -> Reading:
        self.asked += 1
        if self.asked == 1:
            raise OSError("not now")
        return reading()


async def test_the_face_sends_while_it_serves(receiver: Receiver) -> None:
    settings = Settings(otlp_endpoint=receiver.address, otlp_metrics_seconds=1)
    push: Any = reading_pusher(settings.model_copy(update={"otlp_metrics_seconds": 0.01}), "7")

    @asynccontextmanager
    async def services() -> AsyncIterator[Any]:
        yield SimpleNamespace(measuring=Measured())

    app = make_app(
        services, version="7", wants_keys=True, max_input_bytes=1000,
        beside=lambda opened: push(opened.measuring),
    )  # fmt: skip
    async with app.router.lifespan_context(app), asyncio.timeout(30):
        while len(receiver.points) < 2:  # noqa: ASYNC110 -- nobody tells
            await asyncio.sleep(0.01)
    assert {shown(each) for each in receiver.points[1]} == as_in_table(Origin.FACE)
    assert len({each.instance for points in receiver.points for each in points}) == 1


def test_without_an_endpoint_nothing_can_be_sent() -> None:
    assert reading_pusher(Settings(), "7") is None
    nowhere = Settings(otlp_metrics_seconds=5)
    with pytest.raises(InvalidSetting, match="cannot be sent"):
        reading_pusher(nowhere, "7")
    with pytest.raises(InvalidSetting, match="cannot be sent"):
        WorkerMetrics(nowhere, active_runs=lambda: 0).serve()
