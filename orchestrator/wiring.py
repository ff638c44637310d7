"""Builds a worker from the settings. With `wiring_services`, all that imports all the others."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import structlog
import uuid_utils

from orchestrator import crashpoints
from orchestrator.coordination.api_health import RedisHealth
from orchestrator.coordination.connect import connect, without_secrets
from orchestrator.coordination.health import RedisInspector, refuse_eviction
from orchestrator.coordination.high_water import RedisHighWaterMark
from orchestrator.coordination.limits import RedisLimits
from orchestrator.coordination.tokens import RedisTokens
from orchestrator.core.plan import Plan
from orchestrator.definitions.programs import Programs
from orchestrator.definitions.security import demands_of
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.definitions.tasks import TaskRegistry
from orchestrator.engine.api_book import ApiBook
from orchestrator.engine.api_files import ApiFolder
from orchestrator.engine.api_watch import ApiWatch
from orchestrator.engine.batching import Batcher
from orchestrator.engine.children import Children
from orchestrator.engine.clock import DatabaseClock
from orchestrator.engine.counted_limits import CountedLimits
from orchestrator.engine.deps import Deps, Limits
from orchestrator.engine.gate import SharedGate
from orchestrator.engine.heartbeat import Lifeline
from orchestrator.engine.inspecting import Demanded
from orchestrator.engine.isolation.brokering import ApiDesk
from orchestrator.engine.lacking import Code
from orchestrator.engine.maps import Maps
from orchestrator.engine.observing import Observer
from orchestrator.engine.pausing import Pauses, PauseWatch
from orchestrator.engine.process import Parts
from orchestrator.engine.runtime import EngineRuntime, RuntimeOptions
from orchestrator.engine.sealing import sealer_of
from orchestrator.engine.shortcut import Shortcut
from orchestrator.engine.slo_file import read_slos
from orchestrator.engine.tasks import TaskTransport
from orchestrator.engine.tokens import Sharing, TokenDesk
from orchestrator.errors import Unavailable
from orchestrator.ports import (
    Hint,
    HintPublisher,
    Redelivery,
    SharedTokens,
    Store,
)
from orchestrator.ports.metering import Meter
from orchestrator.ports.vouching import Signer
from orchestrator.service.admission import Admission
from orchestrator.service.auditing import Checkpoints
from orchestrator.service.due import AlarmClock, DueRuns
from orchestrator.service.escalations import Escalations
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.guarding import Guards
from orchestrator.service.high_water import HighWaterWatch
from orchestrator.service.job_kinds import job_kinds
from orchestrator.service.jobs import JobWorker
from orchestrator.service.recovery import Recovery, RecoveryTimes
from orchestrator.service.redelivery import Recaller, Redeliverer
from orchestrator.service.retention import Upkeep
from orchestrator.service.runs import Runs
from orchestrator.service.schedule_watch import ScheduleWatch
from orchestrator.service.slos import SloWatch
from orchestrator.service.submitting import Submitter
from orchestrator.service.surveying import Surveyor
from orchestrator.service.urgency import Urgency
from orchestrator.service.vouching import plan_to_see
from orchestrator.settings import Settings, load_settings
from orchestrator.store import HEARTBEAT_POOL_SIZE, SqlStore, migrate, open_store, open_worker_locks
from orchestrator.telemetry.logging import configure_logging
from orchestrator.wiring_archive import archiving_of
from orchestrator.wiring_brokers import (
    apps_of_brokers,
    broker_of_lanes,
    broker_url,
    publisher_of,
)
from orchestrator.wiring_isolation import described_tasks, isolated_tasks
from orchestrator.wiring_metrics import WorkerMetrics
from orchestrator.wiring_notices import notifier_of
from orchestrator.wiring_payloads import seal_payloads
from orchestrator.wiring_tracing import trace_teller, tracing_of
from orchestrator.wiring_vouching import programs_of, vouching_of
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.canary import EXIT_CODE, Canary
from orchestrator.worker.dead_letters import dead_letter_queue
from orchestrator.worker.flower import is_flower, prepare_flower
from orchestrator.worker.messages import hint_publisher
from orchestrator.worker.options import task_queue_names
from orchestrator.worker.redis_link import is_plain_redis

log = structlog.get_logger(__name__)

LARGEST_COMMIT = 500
LARGEST_PUBLISH = 500


def new_id() -> str:
    """A UUIDv7 as text: unique, and sorted by time of making."""
    return str(uuid_utils.uuid7())


def version() -> str:
    """The version of the installed distribution."""
    try:
        return metadata.version("saga-orchestrator")
    except metadata.PackageNotFoundError:  # a source tree on the path, not installed
        return "0"


# --- the Celery app -------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def celery_app() -> OrchestratorApp:
    """The app of this process, from its settings. Connects to nothing.

    Raises InvalidSetting when no broker is known, or when a task module does not import.
    """
    app = build_app(load_settings())
    if is_flower(sys.argv):
        prepare_flower(app, sys.argv, os.environ)
    return app


def build_app(settings: Settings) -> OrchestratorApp:
    """An app for these settings whose workers drive runs."""
    registry = deployment_tasks(settings)
    app = make_app(
        broker_url=broker_of_lanes(settings),
        lanes=settings.lanes,
        concurrency=settings.concurrency,
        python_tasks=registry.names(),
        event_budget_per_second=settings.event_budget_per_second,
        # Then a run's chain can be put together from Flower's tasks alone.
        events_of_every_message=settings.max_inline_steps == 0,
        shutdown_grace_seconds=settings.shutdown_grace_seconds,
        canary=Canary(
            every_seconds=settings.canary_seconds, deadline_seconds=settings.deaf_seconds
        ),
        configure_logging=lambda level: configure_logging(
            level=level, log_format=settings.log_format
        ),
    )
    app.runtime_factory = lambda: _runtime(settings, app, registry)
    return app


def deployment_tasks(settings: Settings) -> TaskRegistry:
    """This deployment's tasks, from the current folder first. Raises InvalidSetting."""
    folder = str(Path.cwd())
    if folder not in sys.path:
        # `python -m` puts it there, the console scripts of Celery and of ours do not.
        sys.path.insert(0, folder)
    return load_tasks(
        settings.task_modules, apart=settings.isolation.modules,
        describe=partial(described_tasks, settings),
    )  # fmt: skip


def gate_url(settings: Settings, broker: str) -> str:
    """Where rates, slots and health of APIs are kept: beside the broker unless set."""
    if settings.gate_url or not broker.startswith(("redis://", "rediss://")):
        return settings.gate_url or "redis://127.0.0.1:6379/1"
    head, _, database = broker.rpartition("/")
    return f"{head}/1" if database.isdecimal() else f"{broker.rstrip('/')}/1"


# --- one worker process ---------------------------------------------------------------------------


def _runtime(settings: Settings, app: OrchestratorApp, registry: TaskRegistry) -> EngineRuntime:
    crashpoints.install_from_environment()

    async def build(worker_id: str) -> Parts:
        return await _build_parts(settings, app, registry, worker_id, metrics)

    runtime = EngineRuntime(
        build,
        new_id=new_id,
        options=RuntimeOptions(
            heartbeat_seconds=settings.heartbeat_seconds,
            stuck_loop_seconds=settings.stuck_loop_seconds,
            version=version(),
            on_stuck=lambda: _end_now(metrics.meter),
        ),
    )
    metrics = WorkerMetrics(
        settings, active_runs=lambda: runtime.in_hand,
        canary_seconds=lambda: app.canary.waiting_seconds, version=version(),
    )  # fmt: skip
    runtime.count_reserved_with(app.reserved_hops)
    return runtime


def _end_now(meter: Meter) -> None:
    """Nothing can be handed back by a loop that stands still; others have its runs already."""
    log.error("worker.stuck")
    meter.gave_up("stuck")
    os._exit(EXIT_CODE)


async def _build_parts(
    settings: Settings,
    app: OrchestratorApp,
    registry: TaskRegistry,
    worker_id: str,
    metrics: WorkerMetrics,
) -> Parts:
    from orchestrator.engine.http import HttpTransport  # noqa: PLC0415 -- only workers need its client

    seal_payloads(settings)
    await migrate(settings.session_database)
    store = open_store(settings.database, shares_sessions=settings.shares_sessions)
    locks = open_worker_locks(settings.session_database)
    programs = programs_of(vouching_of(settings, store, signs=False), plan_loader(store))
    home = broker_url(settings)
    redis = connect(gate := gate_url(settings, home))
    await refuse_eviction(RedisInspector(redis, without_secrets(gate)), setting="gate_url")
    await _refuse_evicting_broker(app)
    files = read_api_files(settings.config_dir / "apis")
    files.require_valid()
    apis = ApiBook(files.configs({}))
    watch = ApiWatch(files, store, apis, every_seconds=settings.api_reload_seconds)
    await watch.look()  # an API that is held must be so from the first request on
    http = HttpTransport(
        apis, base_url=programs.base_url,
        tokens=token_desk(settings, RedisTokens(redis, where=without_secrets(gate))),
    )  # fmt: skip
    isolated = await asyncio.to_thread(isolated_tasks, settings, registry)
    brokers = apps_of_brokers(settings, app, home)
    publisher = publisher_of(settings, brokers, home)
    dead_letters = dead_letter_queue(brokers[home])
    own = publisher if len(brokers) == 1 else hint_publisher(app)
    redeliverer = Redeliverer(publisher, programs)
    shortcut = Shortcut(publisher, queues=task_queue_names(settings.lanes), events=app.step_events)
    limits = RedisLimits(redis, holder_id=worker_id, where=without_secrets(gate))
    gate_of_process = SharedGate(
        CountedLimits(limits, store), apis,
        RedisHealth(redis, holder_id=worker_id, where=without_secrets(gate)),
        recall=Recaller(store, redeliverer), most_waiting=settings.concurrency * 9 // 10,
        meter=metrics.meter,
    )  # fmt: skip
    tasks = TaskTransport(
        registry, threads=settings.plain_task_threads, isolated=isolated,
        apis=ApiDesk(
            gate_of_process, http, settings.isolation.calls, most_bytes=settings.max_output_bytes
        ),
    )  # fmt: skip
    meter = metrics.meter
    journal = Batcher(store.record, name="journal", largest=LARGEST_COMMIT, meter=meter)
    waits = Batcher(store.await_answers, name="waits", largest=LARGEST_COMMIT, meter=meter)
    outbox = Batcher(_publishing(publisher), name="hints", largest=LARGEST_PUBLISH, meter=meter)
    escalations = Escalations(
        store, dead_letters, programs, redeliverer, **about_people(settings),
        four_eyes=FourEyes(store, programs, new_id=new_id),
    )  # fmt: skip
    kinds = job_kinds(store, programs, publisher, redeliverer, escalations, new_id=new_id)
    jobs = JobWorker(store, publisher, redeliverer, dead_letters, kinds)
    clock = DatabaseClock()
    maps = Maps(
        store, programs, redeliverer.publish, outbox.submit, new_id=new_id, now=clock.now
    )  # fmt: skip
    times = RecoveryTimes(
        pass_every=settings.recovery_seconds, dead_after=settings.dead_after_seconds,
        lost_after=settings.lost_hint_seconds,
    )  # fmt: skip
    recovery = Recovery(
        store, locks, publisher, redeliverer, dead_letters, times,
        jobs=jobs, proposals=store, guards=store, look_after_maps=maps.look_after, meter=meter,
    )  # fmt: skip
    pauses = Pauses()
    pause_watch = PauseWatch(store, pauses, redeliverer.publish)
    await pause_watch.look()
    upkeep = Upkeep(
        store, archiving_of(settings, store, checkpoint_signer(settings)),
        keep_for=settings.keep_for,
    )  # fmt: skip
    notifier = notifier_of(settings, store, escalations.urgency)
    slos = SloWatch(store, partial(read_slos, settings.config_dir), new_id=new_id)
    submitter = submitter_of(
        settings, store, programs, publisher, Guards(store, monotonic=time.monotonic)
    )
    schedules = ScheduleWatch(store, submitter, Runs(store, programs, redeliverer))
    observer = Observer(store, worker=worker_id, now=clock.now)
    age = HighWaterWatch(store, RedisHighWaterMark(redis, where=without_secrets(gate)))
    children = Children(
        store, programs, redeliverer.publish, maps, new_id=new_id,
        max_depth=settings.max_child_depth, max_branches=settings.max_branches,
        max_map_items=settings.max_map_items,
    )  # fmt: skip
    alarm = AlarmClock(
        DueRuns(store, Redeliverer(shortcut, programs), meter=meter), now=clock.now,
        look_every=3 * settings.recovery_seconds,  # surveys have found when before
    )  # fmt: skip
    surveyor = Surveyor(
        store, times.of_surveys, every_seconds=settings.recovery_seconds, told=[alarm.heed]
    )
    deps = Deps(
        worker_id=worker_id, journal=journal, waits=waits, outbox=outbox, gate=gate_of_process,
        http=http, tasks=tasks, dead_letters=dead_letters, events=app.step_events,
        clock=clock, limits=_limits(settings), new_id=new_id, children=children, readiness=http,
        pauses=pauses, meter=meter, observer=observer, tracing=tracing_of(settings),
        asleep=alarm.note, code=Code(registry, store),
        # Well before others may take its runs over.
        lifeline=Lifeline(trusted_seconds=settings.dead_after_seconds * 2 / 3),
    )  # fmt: skip

    metrics.serve()
    teller = trace_teller(
        settings, store, programs, broker=str(app.conf.broker_url), version=version()
    )

    async def republish(redeliveries: Sequence[Redelivery]) -> None:
        await redeliverer.publish(redeliveries)

    async def close() -> None:
        async with AsyncExitStack() as stack:  # closes the rest although one of them fails
            for end in (store.close, redis.aclose, publisher.close, own.close, dead_letters.close,
                        http.aclose, tasks.aclose, gate_of_process.aclose, metrics.aclose,
                        *(() if teller is None else (teller.aclose,)),
                        notifier.aclose):  # fmt: skip
                stack.push_async_callback(end)

    async def open_heartbeat_store() -> Store:
        return open_store(
            settings.database, pool_size=HEARTBEAT_POOL_SIZE,
            shares_sessions=settings.shares_sessions,
        )  # fmt: skip

    return Parts(
        deps=deps, store=store, locks=locks, programs=programs, republish=republish, close=close,
        shortcut=shortcut, surveys=surveyor,
        background=[
            surveyor.run_passes, alarm.run_passes, upkeep.run_passes, watch.run_passes,
            notifier.run_passes, slos.run_passes, observer.run_passes, age.run_passes,
            *(partial(each, surveyor) for each in (
                recovery.run_quick_passes, recovery.run_slow_passes, pause_watch.run_passes,
                schedules.run_passes,
            )),
            partial(metrics.watch, gate_of_process.snapshot),
            *_checkpoints(settings, store), *_canary(settings, app, own, meter),
            *([] if teller is None else [teller.run_passes]),
        ],
        open_heartbeat_store=open_heartbeat_store, work_on_job=jobs.work,
    )  # fmt: skip


async def _refuse_evicting_broker(app: OrchestratorApp) -> None:
    if is_plain_redis(app):
        url = str(app.conf.broker_url)
        async with connect(url) as broker:
            inspector = RedisInspector(broker, without_secrets(url))
            await refuse_eviction(inspector, setting="broker_url")


def _canary(
    settings: Settings, app: OrchestratorApp, publisher: HintPublisher, meter: Meter
) -> list[Callable[[], Coroutine[Any, Any, None]]]:
    """The pass that sees whether messages come, unless there shall be none."""

    def give_up() -> None:
        meter.gave_up("deaf")
        app.give_up()

    if not settings.canary_seconds:
        return []
    listening = app.canary.run_passes
    return [partial(listening, publisher, can_take=app.can_take, on_deaf=give_up)]


def _checkpoints(
    settings: Settings, store: SqlStore
) -> list[Callable[[], Coroutine[Any, Any, None]]]:
    """The pass that makes them, unless there shall be none. Raises InvalidSetting for its key."""
    every = settings.audit_checkpoint_seconds
    passes = Checkpoints(store, checkpoint_signer(settings), every_seconds=every)
    return [passes.run_passes] if every else []


def checkpoint_signer(settings: Settings) -> Signer | None:
    """None where no key is named. Raises InvalidSetting."""
    if not settings.audit_key:
        return None
    from orchestrator.engine.signing import signer_of  # noqa: PLC0415 - loads cryptography

    return signer_of(settings.audit_key, setting="audit_key")


def token_desk(settings: Settings, store: SharedTokens) -> TokenDesk:
    """Tokens of this process, shared with the others where there is a key to seal them."""
    sealer = sealer_of(settings.credentials_key)
    return TokenDesk(None if sealer is None else Sharing(store=store, sealer=sealer))


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_inline_steps=settings.max_inline_steps,
        max_inline_seconds=settings.max_inline_seconds,
        short_wait_seconds=settings.short_wait_seconds,
        gate_patience_seconds=settings.gate_patience_seconds,
        max_claims=settings.max_claims,
        max_output_bytes=settings.max_output_bytes,
    )


def submitter_of(
    settings: Settings,
    store: SqlStore,
    programs: Programs,
    publisher: HintPublisher,
    guards: Guards,
) -> Submitter:
    """Accepts runs as this deployment's settings have it."""
    return Submitter(
        store, store, programs, publisher, new_id=new_id,
        max_input_bytes=settings.max_input_bytes,
        admission=Admission(
            store, max_pending_runs=settings.max_pending_runs,
            max_pending_runs_per_tenant=settings.max_pending_runs_per_tenant,
        ),
        guards=guards,
    )  # fmt: skip


def plan_loader(store: Store) -> Callable[[str], Awaitable[Plan]]:
    async def load(workflow_id: str) -> Plan:
        return plan_to_see(await store.workflow_by_id(workflow_id))

    return load


async def demanded(store: SqlStore) -> list[Demanded]:
    plans = [each.plan for each in await store.workflows()]
    return [(c.label, c.api, security) for plan in plans for c, security in demands_of(plan)]


def _publishing(
    publisher: HintPublisher,
) -> Callable[[Sequence[Hint]], Awaitable[Sequence[None]]]:
    """One batch of hints. The broker being away is no reason to wait: the sweep finds the runs."""

    async def publish(hints: Sequence[Hint]) -> Sequence[None]:
        try:
            await publisher.publish(hints)
        except Unavailable as error:
            log.warning("hints.postponed", hints=len(hints), why=str(error))
        return [None] * len(hints)

    return publish


def about_people(settings: Settings) -> Mapping[str, Any]:
    """How escalations are handled in this deployment."""
    return {
        "max_output_bytes": settings.max_output_bytes,
        "claim_seconds": settings.claim_hours * 3600 or None,
        "urgency": Urgency(
            severities=settings.escalation_severity, due_minutes=settings.escalation_due_minutes
        ),
    }


def read_api_files(folder: Path) -> ApiFolder:
    """The API configurations as they are now. Blocks."""
    files = ApiFolder(folder)
    files.take(files.read())
    return files
