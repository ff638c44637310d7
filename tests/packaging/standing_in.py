"""Stand-ins for images of others, out of Debian's packages: for machines without a registry.

Their servers are those of Debian 13 (PostgreSQL 17, Valkey 8, Caddy 2), begun as the images that
they stand for begin them (`standins/`). Needs root and mmdebstrap.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from tests.packaging.image import Engine, timed

HERE = Path(__file__).parent / "standins"
BASE = "orchestrator-standins:base"
SUITE = "trixie"
PACKAGES = (
    "ca-certificates", "caddy", "curl", "postgresql-17", "procps", "util-linux", "valkey-server",
    "wget",
)  # fmt: skip
TARGETS = {"proxy": "caddy", "postgres": "postgres", "valkey": "valkey"}
"""By the service of compose."""
SECONDS = 3600


def stand_ins() -> dict[str, str]:
    """The stand-in's name by the service of compose."""
    return {service: f"orchestrator-standins:{target}" for service, target in TARGETS.items()}


def make(engine: Engine, *, base: Path | None = None) -> float:
    """Build them all; seconds that it took. `base`: a root file system that was made before."""
    return timed(lambda: _make(engine, base))


def _make(engine: Engine, base: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="orchestrator-standins-") as folder:
        archive = base or bootstrapped(Path(folder) / "base.tar")
        engine.ask("import", str(archive), BASE, seconds=SECONDS)
    for target in TARGETS.values():
        engine.ask(
            "build", "--build-arg", f"BASE={BASE}", "--target", target,
            "-t", f"orchestrator-standins:{target}", str(HERE), seconds=SECONDS,
        )  # fmt: skip


def bootstrapped(archive: Path) -> Path:
    """A root file system with the servers in it. Raises Unfit."""
    program = shutil.which("mmdebstrap") or "mmdebstrap"
    bootstrap = Engine(argv=(program,))
    bootstrap.ask(
        "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(archive),
        seconds=SECONDS,
    )  # fmt: skip
    return archive
