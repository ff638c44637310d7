"""See the package: one simulation, from standard input to standard output."""

from __future__ import annotations

import resource
import sys

import msgspec

MEMORY_BYTES = 2 * 1024**3
CPU_SECONDS = 20


def main() -> None:
    """Bounded before anything is loaded."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from orchestrator.ports.simulating import Simulated  # noqa: PLC0415 -- as said above
    from orchestrator.simulation.playing import play  # noqa: PLC0415 -- likewise

    wanted = msgspec.json.decode(sys.stdin.buffer.read(), type=Simulated)
    sys.stdout.buffer.write(msgspec.json.encode(play(wanted)))


if __name__ == "__main__":
    main()
