"""The Celery app: tasks by name, settings, and the hook by which a worker gets its engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from celery import Celery, bootsteps, signals
from celery.worker import state as worker_state

from orchestrator.ports import COMPENSATE_TASK, FORWARD_TASK, JOB_TASK, Runtime
from orchestrator.worker.audience import LOOK_EVERY_SECONDS, Audience
from orchestrator.worker.canary import EXIT_CODE, Canary, end_for_certain
from orchestrator.worker.drops import Drops
from orchestrator.worker.events import StepEventStream
from orchestrator.worker.main_thread import MainThread
from orchestrator.worker.options import celery_options
from orchestrator.worker.panel import install_panel
from orchestrator.worker.pool import HopPool, missing_runtime

# With Celery's 24, a busy worker publishes a hundred event messages a second.
_EVENTS_PER_MESSAGE = 1_000
_CATCH_UP_SECONDS = 0.5

RuntimeFactory = Callable[[], Runtime]


class OrchestratorApp(Celery):
    """A Celery app with the few objects that the worker's parts share."""

    events_cls = "orchestrator.worker.dispatch:HopEvents"
    runtime_factory: RuntimeFactory | None
    """Makes the engine of a worker process; called once, when the pool starts."""
    runtime: Runtime | None
    """The engine of this process, while it is a worker."""
    hop_names: frozenset[str]
    """Task names whose messages are hints; all others are dropped."""
    audience: Audience
    canary: Canary
    drops: Drops
    main_thread: MainThread
    step_events: StepEventStream
    shutdown_grace_seconds: float
    _pool: HopPool | None

    def start_runtime(self, pool: HopPool, *, name: str) -> Runtime:
        """Make and start the engine. Raises InvalidSetting, Unavailable."""
        if self.runtime_factory is None:
            raise missing_runtime()
        self._pool = pool
        runtime = self.runtime_factory()
        runtime.start(name=name)
        self.runtime = runtime
        return runtime

    def reserved_hops(self) -> int:
        """Hops that were fetched and wait for a slot."""
        return 0 if self._pool is None else self._pool.reserved

    def can_take(self) -> bool:
        """Whether a message that comes now would be taken up: there is room, the engine is fit."""
        pool, runtime = self._pool, self.runtime
        return pool is not None and pool.has_room and runtime is not None and runtime.fit

    def give_up(self) -> None:
        """Hand all runs back and end, with an exit code that asks for a restart. Any thread."""
        end_for_certain(self.shutdown_grace_seconds)
        worker_state.should_stop = EXIT_CODE
        self.main_thread.call(lambda: None)  # wakes Celery's loop, which looks at it


class _AttachEvents(bootsteps.StartStopStep):
    """Tells the step events which consumer's dispatcher to use."""

    requires = ("celery.worker.consumer.events:Events",)
    _timers: tuple[Any, ...] = ()

    def start(self, parent: Any) -> None:
        app, every = parent.app, parent.timer.call_repeatedly
        if parent.event_dispatcher is not None:
            parent.event_dispatcher.buffer_limit = _EVENTS_PER_MESSAGE
        app.step_events.attach(parent)
        app.audience.look(parent.event_dispatcher)
        self._timers = (
            every(_CATCH_UP_SECONDS, app.step_events.catch_up),
            every(LOOK_EVERY_SECONDS, lambda: app.audience.look(parent.event_dispatcher)),
        )

    def stop(self, parent: Any) -> None:
        for timer in self._timers:
            timer.cancel()


def make_app(
    *,
    broker_url: str,
    lanes: Sequence[str] = ("default",),
    concurrency: int = 500,
    python_tasks: Iterable[str] = (),
    event_budget_per_second: int = 500,
    events_of_every_message: bool = False,
    shutdown_grace_seconds: float = 10.0,
    canary: Canary | None = None,
    runtime_factory: RuntimeFactory | None = None,
    configure_logging: Callable[[str], None] | None = None,
) -> OrchestratorApp:
    """Build the app. Connects to nothing.

    `python_tasks` are the registered names of step functions, `concurrency` the active runs per
    worker process; `configure_logging` gets a level's name when a worker or Flower sets logging up.
    """
    app = OrchestratorApp("orchestrator", set_as_current=False)
    app.conf.update(celery_options(broker_url=broker_url, lanes=lanes, concurrency=concurrency))
    app.runtime_factory, app.runtime, app._pool = runtime_factory, None, None  # noqa: SLF001 - its maker
    app.shutdown_grace_seconds = shutdown_grace_seconds
    app.audience, app.drops, app.main_thread = Audience(), Drops(), MainThread()
    app.canary = canary or Canary()
    app.step_events = StepEventStream(
        app.main_thread, app.audience, budget_per_second=event_budget_per_second,
        every_message=events_of_every_message,
    )  # fmt: skip
    app.hop_names = frozenset({FORWARD_TASK, COMPENSATE_TASK, JOB_TASK, *python_tasks})
    for name in sorted(app.hop_names):
        _register_hop(app, name)
    app.steps["consumer"].add(_AttachEvents)
    install_panel()
    if configure_logging is not None:
        _own_logging(configure_logging)
    return app


def _register_hop(app: OrchestratorApp, name: str) -> None:
    """A worker drops names it has not registered; what a hop does is up to the engine."""

    def hop(*_args: Any) -> None:
        raise RuntimeError(f"{name} runs in the engine; start the worker with its own pool")

    # Celery compiles a definition of this name, which a version (`price@2`) does not suit.
    hop.__name__ = name.rpartition(".")[2].partition("@")[0]
    app.task(hop, name=name, shared=False, ignore_result=True, acks_late=False, max_retries=0)


def _own_logging(configure: Callable[[str], None]) -> None:
    """A receiver of this signal keeps Celery from setting up logging of its own."""

    def on_setup_logging(*, loglevel: int | str | None = None, **_: Any) -> None:
        number = loglevel if isinstance(loglevel, int) else logging.INFO
        configure(logging.getLevelName(number))

    signals.setup_logging.connect(on_setup_logging, weak=False, dispatch_uid="orchestrator.logging")
