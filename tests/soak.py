"""The demo over and over, each time with another seed, until SOAK_MINUTES have passed.

Ends with 1 at the first round whose zeros are not zero, naming its seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUND_LIMIT_SECONDS = 600.0


def one_round(seed: int, options: list[str]) -> bool:
    """Run the demo once in a state folder of its own; prints one line."""
    with tempfile.TemporaryDirectory(prefix="soak-") as state:
        command = [str(Path(sys.executable).with_name("orchestrator")), "--state-dir", state]
        done = subprocess.run(
            [*command, "demo", "--json", "--seed", str(seed), *options],
            stdout=subprocess.PIPE,
            text=True,
            timeout=ROUND_LIMIT_SECONDS,
            check=False,
        )
    print(f"seed {seed}: exit {done.returncode} {_summary(done.stdout)}", flush=True)
    return done.returncode == 0


def _summary(output: str) -> str:
    try:
        result = json.loads(output)
    except ValueError:
        return output[-500:]
    wanted = (
        "runs",
        "succeeded",
        "compensated",
        "escalated",
        "lost",
        "orphaned_effects",
        "runs_per_second",
    )
    return " ".join(f"{name}={result.get(name)}" for name in wanted)


def main() -> int:
    """Rounds until the time is over."""
    ends_at = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "10"))
    seed = int(os.environ.get("SOAK_FIRST_SEED", "1"))
    while time.monotonic() < ends_at:
        if not one_round(seed, sys.argv[1:]):
            return 1
        seed += 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
