"""Everything that has to be up for a demo, started in order and ended in reverse."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.demo.material import Material, find_material
from orchestrator.demo.memory import peak_memory_bytes
from orchestrator.demo.node import start_payment_api
from orchestrator.demo.payments import DOCUMENT as PAYMENTS
from orchestrator.demo.payments import Payments
from orchestrator.demo.shop import DOCUMENT as CHECKOUT
from orchestrator.demo.shop import Shop
from orchestrator.demo.wish import Wish, WorldName
from orchestrator.demo.world import start_kinto
from orchestrator.demo.worlds import World
from orchestrator.embedded.process import stop_all
from orchestrator.embedded.supervise import Supervisor, UpOptions
from orchestrator.errors import Unavailable
from orchestrator.settings import Settings, load_settings

_PATIENCE_SECONDS = 300.0
"""Thousands of runs before one small server: they wait their turn in memory, so that the number
asked for is under way at once. Runs that are put aside or handed on would make room for others."""
_HEADROOM = 1.02
"""A worker takes the next run when one has ended; so that the wanted number is reached although
some are ending, each may hold a little more than its share."""


_WORLDS: Mapping[WorldName, tuple[str, Callable[[Path], World]]] = {
    WorldName.KINTO: (CHECKOUT, lambda logs: Shop(child=start_kinto(logs / "kinto.log"))),
    WorldName.STRIPE: (
        PAYMENTS,
        lambda logs: Payments(child=start_payment_api(logs / "stripe.log")),
    ),
}
"""For each world the document of its workflow, and how to start it (given the folder for logs)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """All of it, up."""

    settings: Settings
    """Of this process: the same database and broker as the workers'."""
    material: Material
    supervisor: Supervisor
    world: World

    def watch(self) -> None:
        """Start ended workers again. Raises Unavailable when the broker or the server is gone."""
        self.supervisor.watch()
        gone = self.supervisor.broker_failure()
        if gone:
            raise Unavailable("broker", self.supervisor.broker_url, gone)
        server = self.world.child
        if not server.running:
            why = f"ended with exit code {server.exit_code}; log {server.log_path}"
            raise Unavailable(server.spec.name, server.spec.address, why)

    def worker_memory(self) -> dict[str, int | None]:
        """Peak memory in bytes of each worker by name."""
        return {child.spec.name: peak_memory_bytes(child.pid) for child in self.supervisor.workers}


@contextmanager
def set_up(wish: Wish, options: UpOptions, base: Settings) -> Iterator[Stage]:
    """Start server, broker, workers and Flower; end all of them on leaving.

    `options` carries addresses; folder, workers and their environment are set here. `base` is
    this process's settings. Raises NotFound, Conflict, InvalidSetting or Unavailable.
    """
    with ExitStack() as stack:
        state_dir = _state_dir(wish, base, stack)
        document, start = _WORLDS[wish.world]
        material = find_material(base.config_dir, document)
        world = start(state_dir / "logs")
        stack.callback(stop_all, [world.child])
        own = _own_settings(wish, base, state_dir, material)
        env = {**material.environment(), **world.environment(), **_as_environment(own)}
        up = replace(options, state_dir=state_dir, workers=wish.workers, env=env)
        supervisor = stack.enter_context(Supervisor(up))
        settings = load_settings(**own, broker_url=supervisor.broker_url)
        yield Stage(settings=settings, material=material, supervisor=supervisor, world=world)


def _own_settings(
    wish: Wish, base: Settings, state_dir: Path, material: Material
) -> dict[str, object]:
    """Settings of this demo, the same for this process and its workers."""
    own: dict[str, object] = {
        "state_dir": state_dir.absolute(),
        "config_dir": material.config_dir,
        "concurrency": math.ceil(wish.concurrency / wish.workers * _HEADROOM),
        "gate_patience_seconds": max(base.gate_patience_seconds, _PATIENCE_SECONDS),
        "max_inline_seconds": max(base.max_inline_seconds, _PATIENCE_SECONDS),
    }
    if wish.max_inline_steps is not None:
        own["max_inline_steps"] = wish.max_inline_steps
    return own


def _state_dir(wish: Wish, base: Settings, stack: ExitStack) -> Path:
    """The settings' folder where it was chosen or is to be kept; else one that goes at the end."""
    if wish.keep or "state_dir" in base.model_fields_set:
        return base.state_dir
    # On some systems a worker's last lines reach its log while the folder is removed.
    made = tempfile.TemporaryDirectory(prefix="orchestrator-demo-", ignore_cleanup_errors=True)
    return Path(stack.enter_context(made))


def _as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    return {f"ORCHESTRATOR_{name.upper()}": str(value) for name, value in settings.items()}
