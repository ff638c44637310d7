"""Write docs/brokers.md: the fault suite on each broker and database, and what came of it.

    python -m tests.faults.brokers [--check | --run BROKER …]
                                   [--program PATH] [--part NAME] [--rest]

`--run` plays the suite with one of BROKERS (`--program`: its server's program, where it is not
where it is looked for; `--part`: one column of the table alone) and keeps the outcomes in
tests/faults/brokers.json, a few files at a time. `--rest` passes over what went well with this
version of the server: what was interrupted goes on with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree as Xml

from orchestrator.embedded.valkey import server_program
from tests.encrypted import prepare
from tests.faults.chaos.judging import ZEROS
from tests.faults.chaos.stage import BROKER_VARIABLE, DATABASE_VARIABLE
from tests.faults.playing import FAILED, NOT_ENDED, PASSED, ROOT, SKIPPED, play, verdict
from tests.servers import RABBITMQ

RESULTS = ROOT / "tests" / "faults" / "brokers.json"
PAGE = ROOT / "docs" / "brokers.md"
TEXT = ROOT / "tests" / "faults" / "brokers.md"
PATIENCE_SECONDS, FILES_AT_ONCE = 1800, 4
CHAOS_RUNS, CHAOS_SECONDS, CHAOS_SEED = 150, 60, 93
POSTGRES = "postgres"
DATABASES = ("sqlite", POSTGRES)


@dataclass(frozen=True)
class Broker:
    """A server that is asked for by name."""

    title: str
    program: str  # as it is looked for on the PATH; "": the wheel's
    major: str = ""  # of its version; "": any
    is_encrypted: bool = False
    is_pooled: bool = False  # with PostgreSQL behind PgBouncer


BROKERS = {
    "redis7": Broker("Redis 7", "redis-server", "7"),
    "redis7tls": Broker("Redis 7, TLS and users", "redis-server", "7", is_encrypted=True),
    "valkey8": Broker("Valkey 8", "valkey-server", "8"),
    "valkey9": Broker("Valkey 9", "", "9"),
    RABBITMQ: Broker("RabbitMQ, quorum queues", "rabbitmqctl"),
    "pgbouncer": Broker("Valkey 9, and PgBouncer", "", "9", is_pooled=True),
}
DEPLOYMENTS = (
    "tests/faults/test_crash_points.py", "tests/faults/test_harmful_tasks.py",
    "tests/faults/test_killed_block.py", "tests/faults/test_killed_map.py",
    "tests/faults/test_moved_under_fire.py", "tests/faults/test_new_release.py",
    "tests/faults/test_restore.py", "tests/faults/test_schedules.py",
    "tests/faults/test_versions_together.py",
)  # fmt: skip
UNDER_FIRE = "tests/faults/test_limits_under_fire.py"
API = "tests/integration/api"
SUITES = {
    "worker": ("tests/integration/worker",),
    "gate": ("tests/integration/gate",),
    "REST and Flower": (API, "tests/integration/flower"),
    "store": ("tests/store",),
    "deployments": DEPLOYMENTS,
    "real processes": (
        "tests/faults/test_full_broker.py", "tests/faults/test_recovery_times.py",
        "tests/faults/test_roads.py", UNDER_FIRE,
        "tests/faults/test_demo_under_fire.py", "tests/faults/test_jumping_clocks.py",
    ),
}  # fmt: skip
SUITES_OF_REDIS = {name: paths for name, paths in SUITES.items() if name != "store"}
SUITES_ENCRYPTED = {
    **SUITES_OF_REDIS,
    # The others start the broker that comes with the product, or talk to its port themselves.
    "real processes": ("tests/faults/test_recovery_times.py", UNDER_FIRE),
}
SUITES_OF_RABBITMQ = {
    "REST and Flower": (API,),  # Flower's own pages look into Redis
    "deployments": DEPLOYMENTS,
    "real processes": ("tests/faults/test_rabbitmq.py", UNDER_FIRE),
}
SUITES_POOLED = {
    "store": SUITES["store"],
    "deployments": DEPLOYMENTS,
    "real processes": ("tests/acceptance/test_pooler.py", "tests/faults/test_recovery_times.py"),
}


KINDS = (PASSED, FAILED, NOT_ENDED, SKIPPED)


def suites_of(name: str) -> Mapping[str, Sequence[str]]:
    """Tests by name of their suite; chaos comes beside."""
    if BROKERS[name].is_pooled:
        return SUITES_POOLED
    if BROKERS[name].is_encrypted:
        return SUITES_ENCRYPTED
    return SUITES_OF_RABBITMQ if name == RABBITMQ else SUITES_OF_REDIS


def program_of(name: str, given: str | None) -> str:
    """Raises SystemExit where it is not there."""
    if given is not None:
        return given
    if not BROKERS[name].program:
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
    wanted = BROKERS[name].major
    if wanted and not found[0].startswith(f"{wanted}."):
        sys.exit(f"{program}: found {found[0]}; wanted {wanted}")
    return found[0]


# --- running --------------------------------------------------------------------------------------


def run(name: str, program: str, part: str | None, *, rest: bool = False) -> int:
    """Play it, keep what came of it; 0 where all of it is well. `part` None: all.

    `rest`: not what went well before.
    """
    env = dict(os.environ)
    if name == RABBITMQ:
        env[BROKER_VARIABLE] = RABBITMQ
    else:
        env["VALKEY_SERVER"] = program
    if BROKERS[name].is_pooled:
        env[DATABASE_VARIABLE] = "pgbouncer"
    version = version_of(name, program)
    with TemporaryDirectory() as folder:
        if BROKERS[name].is_encrypted:
            env |= prepare(Path(folder))
        return _run(name, version, env, part, rest=rest)


def _run(name: str, version: str, env: Mapping[str, str], part: str | None, *, rest: bool) -> int:
    if part is not None and part not in columns_of(name):
        sys.exit(f"found the part {part!r}; wanted one of {', '.join(columns_of(name))}")
    columns = [column for column in columns_of(name) if part in (None, column)]
    for column in columns:
        known = _known(name, version).get(column, {}) if rest else {}
        for found in _played(name, column, env, known):
            known = {**known, **found}
            _keep(name, version, column, known)
    told = _known(name, version)
    return 0 if all(is_well(told[column]) for column in columns) else 1


def columns_of(name: str) -> list[str]:
    """What is played with a broker."""
    databases = [POSTGRES] if BROKERS[name].is_pooled else DATABASES
    return [*suites_of(name), *(f"chaos, {database}" for database in databases)]


def is_well(told: Mapping[str, Any]) -> bool:
    """Whether nothing failed. Of chaos it is told what was broken, of files how many cases."""
    if "broken" in told:
        return not told["broken"]
    return bool(told) and not any(_bad(counts) for counts in told.values())


def _bad(counts: Mapping[str, Any]) -> bool:
    return bool(counts.get(FAILED) or counts.get(NOT_ENDED))


def _played(
    name: str, column: str, env: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    suites = suites_of(name)
    if column in suites:
        yield from _tests(suites[column], env, known)
    elif not known or known["broken"]:
        yield _chaos(name, column.removeprefix("chaos, "), env)


def _known(name: str, version: str) -> dict[str, Any]:
    """What was kept of a broker; of another version nothing counts."""
    kept: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")).get(name, {})
    return kept if kept.get("version") == version else {"version": version}


def _keep(name: str, version: str, column: str, found: Mapping[str, Any]) -> None:
    """As soon as it is known: the whole takes long."""
    kept = json.loads(RESULTS.read_text("utf-8"))
    at = time.strftime("%Y-%m-%d")
    kept[name] = {**_known(name, version), "at": at, column: found}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _tests(
    paths: Sequence[str], env: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[Mapping[str, Any]]:
    """What came of each file, a few of them at a time."""
    wanted = [file for file in _files(paths) if file not in known or _bad(known[file])]
    for begin in range(0, len(wanted), FILES_AT_ONCE):
        some = wanted[begin : begin + FILES_AT_ONCE]
        _, cases = play(some, patience_seconds=PATIENCE_SECONDS, env=env)
        yield {file: counts(file, cases) for file in some}


def _files(paths: Sequence[str]) -> list[str]:
    found = (ROOT / path for path in paths)
    files = (
        file for path in found for file in (path.glob("test_*.py") if path.is_dir() else [path])
    )
    return sorted(str(file.relative_to(ROOT)) for file in files)


def counts(file: str, cases: Sequence[Xml.Element]) -> dict[str, Any]:
    """How many of a file's cases had which verdict, and the names of those that failed."""
    own = [case for case in cases if case.get("classname", "").replace(".", "/") + ".py" == file]
    if not own:
        return {NOT_ENDED: 1, "names": [file]}
    failed = [case.get("name", "") for case in own if verdict(case) == FAILED]
    return {**Counter(map(verdict, own)), **({"names": failed} if failed else {})}


def _chaos(name: str, database: str, env: Mapping[str, str]) -> dict[str, Any]:
    kind = RABBITMQ if name == RABBITMQ else "redis"
    options = (
        "--broker", kind, "--db", "pgbouncer" if BROKERS[name].is_pooled else database,
        "--runs", str(CHAOS_RUNS), "--seconds", str(CHAOS_SECONDS),
        "--seed", str(CHAOS_SEED), "--json",
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
        return "not run" if column in columns_of(name) else "–"
    if "broken" not in value:
        sums = ((sum(counts.get(kind, 0) for counts in value.values()), kind) for kind in KINDS)
        return ", ".join(f"{number} {kind}" for number, kind in sums if number)
    if value["broken"]:
        return "broken: " + ", ".join(value["broken"])
    return f"{value['runs']} runs, {sum(value['faults'].values())} faults, all zeros"


def _failed(results: Mapping[str, Any]) -> Iterator[str]:
    for name, told in results.items():
        columns = [told[column] for column in suites_of(name) if column in told]
        names = [each for files in columns for counts in files.values()
                 for each in counts.get("names", ())]  # fmt: skip
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
        rest = "--rest" in arguments
        code = max(run(name, program_of(name, program), part, rest=rest) for name in names)
    written = page(json.loads(RESULTS.read_text("utf-8")))
    if "--check" not in arguments:
        PAGE.write_text(written, "utf-8")
    elif written != PAGE.read_text("utf-8"):
        sys.exit(f"{PAGE.name} is not up to date; run: python -m tests.faults.brokers")
    sys.exit(code)


if __name__ == "__main__":
    main()
