"""Write docs/brokers.md: the fault suite on each broker and database, and what came of it.

    python -m tests.faults.brokers [--check | --run BROKER …] [--program PATH] [--part NAME]

`--run` plays the suite with one of BROKERS (`--program`: its server's program, where it is not
where it is looked for; `--part`: one column of the table alone) and keeps the outcomes in
tests/faults/brokers.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as Xml

from orchestrator.embedded.valkey import server_program
from tests.faults.chaos.judging import ZEROS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "tests" / "faults" / "brokers.json"
PAGE = ROOT / "docs" / "brokers.md"
TEXT = ROOT / "tests" / "faults" / "brokers.md"
PATIENCE_SECONDS = 1800
CHAOS_RUNS, CHAOS_SECONDS, CHAOS_SEED = 150, 60, 93
DATABASES = ("sqlite", "postgres")
RABBITMQ = "rabbitmq"


@dataclass(frozen=True)
class Broker:
    """A server that is asked for by name."""

    title: str
    program: str  # as it is looked for on the PATH; "": the wheel's


BROKERS = {
    "redis7": Broker("Redis 7", "redis-server"),
    "valkey8": Broker("Valkey 8", "valkey-server"),
    "valkey9": Broker("Valkey 9", ""),
    RABBITMQ: Broker("RabbitMQ, quorum queues", "rabbitmqctl"),
}
SUITES = {
    "worker": ("tests/integration/worker",),
    "gate": ("tests/integration/gate",),
    "real processes": (
        "tests/faults/test_full_broker.py", "tests/faults/test_recovery_times.py",
        "tests/faults/test_roads.py", "tests/faults/test_limits_under_fire.py",
        "tests/faults/test_demo_under_fire.py", "tests/faults/test_jumping_clocks.py",
    ),
}  # fmt: skip
SUITES_OF_RABBITMQ = {"real processes": ("tests/faults/test_rabbitmq.py",)}


def suites_of(name: str) -> Mapping[str, Sequence[str]]:
    """Tests by name of their suite; chaos comes beside."""
    return SUITES_OF_RABBITMQ if name == RABBITMQ else SUITES


def program_of(name: str, given: str | None) -> str:
    """Raises SystemExit where it is not there."""
    if given is not None:
        return given
    if name == "valkey9":
        return server_program()
    found = shutil.which(BROKERS[name].program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        sys.exit(f"{name}: found no {BROKERS[name].program}; wanted it installed, or --program")
    return found


def version_of(name: str, program: str) -> str:
    """As the server tells it. Raises SystemExit for another one than was asked for."""
    asked = [program, "version"] if name == RABBITMQ else [program, "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"\d+\.\d+\.\d+", told)
    if found is None:
        sys.exit(f"{program}: found {told.strip()!r}; wanted a version")
    wanted = name.removeprefix("redis").removeprefix("valkey")
    if name != RABBITMQ and not found[0].startswith(f"{wanted}."):
        sys.exit(f"{program}: found {found[0]}; wanted {wanted}")
    return found[0]


# --- running --------------------------------------------------------------------------------------


def run(name: str, program: str, part: str | None) -> int:
    """Play it, keep what came of it; 0 where all of it is well. `part` None: all."""
    env = dict(os.environ)
    if name != RABBITMQ:
        env["VALKEY_SERVER"] = program
    version, well = version_of(name, program), True
    if part is not None and part not in columns_of(name):
        sys.exit(f"found the part {part!r}; wanted one of {', '.join(columns_of(name))}")
    for column in columns_of(name):
        if part in (None, column):
            found = _play(name, column, env)
            _keep(name, version, column, found)
            well = well and not (found.get("failed") or found.get("broken"))
    return 0 if well else 1


def columns_of(name: str) -> list[str]:
    """What is played with a broker."""
    return [*suites_of(name), *(f"chaos, {database}" for database in DATABASES)]


def _play(name: str, column: str, env: Mapping[str, str]) -> dict[str, Any]:
    suites = suites_of(name)
    if column in suites:
        return _tests(suites[column], env)
    return _chaos(name, column.removeprefix("chaos, "), env)


def _keep(name: str, version: str, column: str, found: Mapping[str, Any]) -> None:
    """As soon as it is known: the whole takes long. Of another version nothing is kept."""
    kept = json.loads(RESULTS.read_text("utf-8"))
    known = kept.get(name, {})
    told = known if known.get("version") == version else {"version": version}
    kept[name] = {**told, "at": time.strftime("%Y-%m-%d"), column: found}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _tests(paths: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "-m",
            "",
            f"--junitxml={report}",
        ]
        subprocess.run(
            [*command, *paths], cwd=ROOT, env=env, timeout=PATIENCE_SECONDS, check=False
        )  # fmt: skip
        cases = list(Xml.parse(report).iter("testcase"))
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed = []
    for case in cases:
        kinds = {each.tag for each in case}
        verdict = "failed" if kinds & {"failure", "error"} else "passed"
        verdict = "skipped" if "skipped" in kinds else verdict
        counts[verdict] += 1
        if verdict == "failed":
            failed.append(case.get("name", ""))
    return {**counts, "names": failed}


def _chaos(name: str, database: str, env: Mapping[str, str]) -> dict[str, Any]:
    kind = RABBITMQ if name == RABBITMQ else "redis"
    options = (
        "--broker", kind, "--db", database, "--runs", str(CHAOS_RUNS),
        "--seconds", str(CHAOS_SECONDS), "--seed", str(CHAOS_SEED), "--json",
    )  # fmt: skip
    command = [sys.executable, "-m", "tests.faults.chaos", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS,
        check=False,
    )  # fmt: skip
    if not done.stdout.strip():
        return {"broken": ["it was not played to its end"]}
    found = json.loads(done.stdout)
    broken = [zero for zero in ZEROS if found[zero]]
    if done.returncode and not broken:
        broken = ["another count of the judge's"]
    return {
        "runs": found["runs"], "faults": found["faults"], "broken": broken,
        "drain_seconds": found["drain_seconds"],
    }  # fmt: skip


# --- the page -------------------------------------------------------------------------------------


def page(results: Mapping[str, Any]) -> str:
    """The whole document: what is written by hand, and a table of what was measured."""
    columns = [*SUITES, *(f"chaos, {database}" for database in DATABASES)]
    head = [
        "| broker | version | " + " | ".join(columns) + " | at |",
        "|---" * (len(columns) + 3) + "|",
    ]
    lines = [_line(name, results.get(name), columns) for name in BROKERS]
    failed = list(_failed(results))
    return TEXT.read_text("utf-8").replace("{{table}}", "\n".join([*head, *lines, *failed]))


def _line(name: str, told: Mapping[str, Any] | None, columns: Sequence[str]) -> str:
    if told is None:
        return f"| {BROKERS[name].title} | – |" + " not run |" * len(columns) + " – |"
    cells = [_cell(name, column, told.get(column)) for column in columns]
    return f"| {BROKERS[name].title} | {told['version']} | {' | '.join(cells)} | {told['at']} |"


def _cell(name: str, column: str, value: Mapping[str, Any] | None) -> str:
    if value is None:
        has_it = column in suites_of(name) or column.startswith("chaos")
        return "not run" if has_it else "is Redis's own"
    if "passed" in value:
        counts = ((value[kind], kind) for kind in ("passed", "failed", "skipped"))
        return ", ".join(f"{count} {kind}" for count, kind in counts if count)
    if value["broken"]:
        return "broken: " + ", ".join(value["broken"])
    return f"{value['runs']} runs, {sum(value['faults'].values())} faults, all zeros"


def _failed(results: Mapping[str, Any]) -> Iterator[str]:
    for name, told in results.items():
        names = [each for value in told.values() if isinstance(value, dict)
                 for each in value.get("names", ())]  # fmt: skip
        if names:
            yield f"\nFailed on {BROKERS[name].title}: " + ", ".join(f"`{each}`" for each in names)


def _taken(arguments: list[str], option: str) -> str | None:
    """The value of an option, which is taken out."""
    if option not in arguments:
        return None
    place = arguments.index(option)
    value = arguments[place + 1]
    del arguments[place : place + 2]
    return value


def main() -> None:
    """Write the page, or say whether it is as it should be."""
    arguments, code = sys.argv[1:], 0
    program, part = _taken(arguments, "--program"), _taken(arguments, "--part")
    if "--run" in arguments:
        names = [argument for argument in arguments if not argument.startswith("--")]
        unknown = [name for name in names if name not in BROKERS]
        if unknown or not names:
            sys.exit(f"found {unknown or 'no broker'}; wanted some of {', '.join(BROKERS)}")
        code = max(run(name, program_of(name, program), part) for name in names)
    written = page(json.loads(RESULTS.read_text("utf-8")))
    if "--check" not in arguments:
        PAGE.write_text(written, "utf-8")
    elif written != PAGE.read_text("utf-8"):
        sys.exit(f"{PAGE.name} is not up to date; run: python -m tests.faults.brokers")
    sys.exit(code)


if __name__ == "__main__":
    main()
