"""The image that checks start: the product's own, with the workload and its judge in it.

python -m tests.packaging.worlds --base orchestrator:7 --image registry.example/world:7
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.ledger.running import api_config
from tests.faults.ledger.server import TOKEN_VARIABLE
from tests.faults.workload import API
from tests.packaging.image import ENGINES, ROOT, Engine, Unfit

DOCKERFILE = ROOT / "tests/packaging/world/Dockerfile"
INSIDE = ("python", "-m", "tests.packaging.world.inside")
LEDGER_FOLDER = "/ledger"
LEDGER_FILE = f"{LEDGER_FOLDER}/ledger.jsonl"
LEDGER_PORT = 8000
LEDGER = (
    "python", "-m", "tests.faults.ledger.server", "--file", LEDGER_FILE, "--host", "0.0.0.0",
    "--port", str(LEDGER_PORT), "--latency", "0.02", "0.1",
)  # fmt: skip
TOKEN = "canary-do-not-show-check"
SECRETS = {TOKEN_VARIABLE: TOKEN}
MOST_SECONDS = 900


def build(engine: Engine, base: str, image: str) -> None:
    """`image`, from the product's image `base`. Raises Unfit."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-world-") as name:
        context = Path(name)
        ignored = shutil.ignore_patterns("__pycache__")
        for part in ("faults", "packaging"):
            shutil.copytree(ROOT / "tests" / part, context / "tests" / part, ignore=ignored)
        shutil.copy(ROOT / "tests/pgbouncer.py", context / "tests")
        (context / "ledger").mkdir()
        (context / "config/apis").mkdir(parents=True)
        said = api_config(f"http://ledger:{LEDGER_PORT}", rate="400/second")
        (context / f"config/apis/{API}.yaml").write_text(said)
        for each in (context, *context.rglob("*")):
            each.chmod(0o755 if each.is_dir() else 0o644)
        engine.ask(
            "build", "--build-arg", f"BASE={base}", "-f", str(DOCKERFILE), "-t", image,
            *engine.build_options, str(context), seconds=MOST_SECONDS,
        )  # fmt: skip


def verdict(printed: str) -> Mapping[str, Any]:
    """What the judge said. Raises Unfit where it said nothing, or found anything broken."""
    lines = [line for line in printed.splitlines() if line.startswith("{")]
    if not lines:
        raise Unfit(f"the judge said: {printed[-4000:]}")
    found: Mapping[str, Any] = json.loads(lines[-1])
    broken = {name: count for name, count in found["counts"].items() if count}
    if broken:
        raise Unfit(f"broken: {broken}; {printed[-4000:]}")
    return found


def told(found: Mapping[str, Any]) -> str:
    """One line of it: endings, and the promises that are zero."""
    endings = ", ".join(f"{count} {name}" for name, count in sorted(found["endings"].items()))
    return f"{endings}; {len(found['counts'])} promises, none broken"


def main() -> None:
    """Build it. Exits with 1 where that fails."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    found = next((each for each in ENGINES if shutil.which(each)), ENGINES[0])
    parser.add_argument("--engine", default=found, help="its command line")
    parser.add_argument("--build", default="", help="options of its build")
    parser.add_argument("--base", required=True, help="the product's image")
    parser.add_argument("--image", required=True, help="the name of what is made")
    given = parser.parse_args()
    engine = Engine(argv=shlex.split(given.engine), build_options=shlex.split(given.build))
    try:
        build(engine, given.base, given.image)
    except Unfit as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
