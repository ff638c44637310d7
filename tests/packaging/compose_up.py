"""`make compose-check`: deploy/compose.yaml is started as it is, and judged by what its runs left.

    python -m tests.packaging.compose_up [--engine docker] [--compose "docker compose"]
        [--image orchestrator:7] [--stand-ins]

All services come up well; runs are sent through the proxy over HTTPS with a key; Flower is shown to
who is logged in at the console and to nobody else; one of two workers is killed under way; all is
stopped and comes back with what it had; ledger, tables and audit have to agree, and nothing may be
left behind. Beside compose's file there is one that names images, and adds the API that is called.
Needs docker or podman, its compose, the port that compose publishes, and a registry; without one
`--stand-ins` makes PostgreSQL, Valkey and Caddy out of Debian's packages (root, mmdebstrap).
"""

from __future__ import annotations

import argparse
import json
import secrets
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from orchestrator.client import Client
from orchestrator.errors import OrchestratorError
from tests.faults.workload import RunSeed, seeds
from tests.packaging import standing_in, worlds
from tests.packaging.image import DEPLOY, ENGINES, IMAGE, Engine, Unfit, say, timed, until
from tests.packaging.world.inside import SEED, Unsettled, reached, send, settle

PROJECT = "orchestrator-check"
WORLD = "orchestrator-world:check"
SITE = "https://localhost:8443"
OWN = ("worker", "api", "flower")
UP_SECONDS = 240
DOWN_SECONDS = 120
MOST_LOGS = 12_000
AUTHORITY = "/data/caddy/pki/authorities/local/root.crt"
LISTENS = (
    "CMD", "python", "-c",
    f"import socket; socket.create_connection(('127.0.0.1', {worlds.LEDGER_PORT}), 3)",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Compose:
    """Compose's command line over the shipped file."""

    argv: Sequence[str]
    env_file: Path
    override: Path

    def ask(self, *words: str, seconds: float = 120) -> str:
        """What it printed. Raises Unfit."""
        files = [f"--file={each}" for each in (DEPLOY / "compose.yaml", self.override)]
        about = [f"--project-name={PROJECT}", f"--env-file={self.env_file}", *files]
        done = subprocess.run(
            [*self.argv, *about, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=seconds, check=False,
        )  # fmt: skip
        if done.returncode:
            said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
            raise Unfit(f"compose {words[0]}: ended with {done.returncode}\n{said}")
        return done.stdout

    def up(self) -> None:
        """All services, with two workers. Raises Unfit unless each becomes well."""
        self.ask(
            "up", "--detach", "--no-build", "--wait", f"--wait-timeout={UP_SECONDS}",
            "--scale=worker=2", seconds=UP_SECONDS + 60,
        )  # fmt: skip

    def down(self, *options: str) -> None:
        """End them. Raises Unfit."""
        self.ask("down", *options, seconds=DOWN_SECONDS)


def override(images: dict[str, str]) -> dict[str, Any]:
    """What stands beside compose's file: images, the API that is called, and its credential."""
    services: dict[str, Any] = {name: {"image": image} for name, image in images.items()}
    for name in ("worker", "api"):
        services[name]["environment"] = worlds.SECRETS
    services["ledger"] = {
        "image": WORLD, "command": list(worlds.LEDGER), "environment": worlds.SECRETS,
        "healthcheck": {"test": list(LISTENS), "interval": "5s"},
        "volumes": [f"ledger:{worlds.LEDGER_FOLDER}"],
    }  # fmt: skip
    return {"services": services, "volumes": {"ledger": {}}}


def trusting(certificate: str) -> httpx.HTTPTransport:
    """A transport that trusts the proxy's own authority alone."""
    context = ssl.create_default_context(cadata=certificate)
    return httpx.HTTPTransport(verify=context)


def play(compose: Compose, engine: Engine, runs: int) -> None:
    """All of it. Raises Unfit, Unsettled."""
    say("up and well", timed(compose.up))
    made = compose.ask(
        "run", "--rm", "api", "orchestrator", "keys", "create", "check", "--role", "admin", "--json"
    )
    key = str(json.loads(made)["key"])
    compose.ask("run", "--rm", "api", *worlds.INSIDE, "prepare")
    transport = trusting(compose.ask("exec", "-T", "proxy", "cat", AUTHORITY))
    wanted = list(seeds(SEED, runs))
    with reached(SITE, key, transport) as client:
        half = len(wanted) // 2
        ids = under_a_kill(compose, engine, client, wanted[:half])
        say("half of the runs settled", timed(lambda: settle(client, ids)))
        look(transport, key, ids)
        compose.down()
        say("down, and up again", timed(compose.up))
        again = send(client, wanted[half:], seconds=2.0)
        say("the other half settled", timed(lambda: settle(client, list(again.values()))))
    compose.ask("exec", "-T", "api", "orchestrator", "doctor", "--deep")


def under_a_kill(
    compose: Compose, engine: Engine, client: Client, wanted: Sequence[RunSeed]
) -> list[str]:
    """Send them over ten seconds, and kill a worker after four; their ids."""
    workers = compose.ask("ps", "--quiet", "worker").split()
    if len(workers) != 2:
        raise Unfit(f"workers: found {len(workers)}; wanted 2")
    killing = threading.Timer(4.0, lambda: engine.ask("kill", workers[0]))
    killing.start()
    try:
        return list(send(client, wanted, seconds=10.0).values())
    finally:
        killing.join()


def look(transport: httpx.HTTPTransport, key: str, ids: Sequence[str]) -> None:
    """Console and Flower, before and after a login. Raises Unfit."""
    with httpx.Client(transport=transport, base_url=SITE, timeout=30) as browser:
        stranger = browser.get("/flower/tasks")
        there = stranger.headers.get("location", "")
        if stranger.status_code != 303 or not there.startswith("/console/login"):
            raise Unfit(f"Flower, to a stranger: {stranger.status_code} {there!r}; wanted a login")
        wrong = browser.post("/console-login", data={"key": "ork_none"})
        if "wrong=key" not in wrong.headers.get("location", ""):
            raise Unfit(f"a wrong key: {wrong.status_code} {wrong.headers.get('location')!r}")
        browser.post("/console-login", data={"key": key})
        for page in ("/console/", "/console/runs", f"/console/runs/{ids[0]}", "/flower/broker"):
            browser.get(page, follow_redirects=True).raise_for_status()
        say("Flower shows a worker and tasks", until("Flower", lambda: shown(browser)))


def shown(browser: httpx.Client) -> None:
    """Flower has heard of the workers, and of the steps of runs. Raises Unfit."""
    workers = browser.get("/flower/workers", params={"json": 1}).raise_for_status().json()["data"]
    if not any(each.get("status") for each in workers):
        raise Unfit(f"Flower's workers: {workers}")
    tasks = browser.get("/flower/tasks/datatable", params=TABLE).raise_for_status().json()["data"]
    if not any(str(each["name"]).startswith("all-keyed.s") for each in tasks):
        raise Unfit(f"Flower's tasks: {[each['name'] for each in tasks][:10]}")


TABLE = {
    "draw": 1, "start": 0, "length": 100, "search[value]": "", "order[0][column]": 0,
    "order[0][dir]": "asc", "columns[0][data]": "name",
}  # fmt: skip
"""What Flower's own page asks its table for."""


def judged(compose: Compose, runs: int) -> str:
    """What the judge finds, in one line. Raises Unfit."""
    file = ("--file", worlds.LEDGER_FILE, "--runs", str(runs))
    database = compose.ask("exec", "-T", "api", "printenv", "ORCHESTRATOR_DATABASE_URL").strip()
    found = compose.ask(
        "exec", "-T", "--env", f"ORCHESTRATOR_DATABASE_URL={database}", "ledger",
        *worlds.INSIDE, "judge", *file,
    )  # fmt: skip
    return worlds.told(worlds.verdict(found))


def left_behind(engine: Engine) -> list[str]:
    """Containers, volumes and networks of the project."""
    of_it = f"label=com.docker.compose.project={PROJECT}"
    asked = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    return [
        f"{words[0]} {name}"
        for words in asked
        for name in engine.ask(*words, "--quiet", "--filter", of_it).split()
    ]


def check(engine: Engine, argv: Sequence[str], images: dict[str, str], runs: int) -> None:
    """Up, play, judge, down. Raises Unfit, Unsettled."""
    with tempfile.TemporaryDirectory(prefix="orchestrator-compose-") as name:
        folder = Path(name)
        (folder / "env").write_text(
            f"POSTGRES_PASSWORD={secrets.token_hex(16)}\nORCHESTRATOR_SITE={SITE}\n"
            f"SESSION_KEY={secrets.token_hex(32)}\n"
        )
        (folder / "override.yaml").write_text(yaml.safe_dump(override(images)))
        compose = Compose(argv=argv, env_file=folder / "env", override=folder / "override.yaml")
        try:
            play(compose, engine, runs)
            sys.stderr.write(f"{judged(compose, runs)}\n")
        except Exception:
            logs = compose.ask("logs", "--no-color", "--tail=20")
            sys.stderr.write(compose.ask("ps", "--all") + logs[-MOST_LOGS:])
            raise
        finally:
            took = timed(lambda: compose.down("--volumes", "--remove-orphans"))
    say("down", took)
    if left := left_behind(engine):
        raise Unfit(f"left behind: {', '.join(left)}")


def main() -> None:
    """Exits with 1 when something is not as it should be, with 2 where there is no engine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    found = next((each for each in ENGINES if shutil.which(each)), "")
    parser.add_argument("--engine", default=found, help="its command line")
    parser.add_argument("--compose", default="", help="default: the engine's own")
    parser.add_argument("--build", default="", help="options of its builds")
    parser.add_argument("--image", default="", help="the product's, where it is built already")
    parser.add_argument("--stand-ins", action="store_true", help="where there is no registry")
    parser.add_argument("--standing", action="store_true", help="stand-ins are there already")
    parser.add_argument("--runs", type=int, default=300)
    given = parser.parse_args()
    if not given.engine:
        parser.exit(2, f"not here: neither {' nor '.join(ENGINES)}\n")
    engine = Engine(argv=shlex.split(given.engine), build_options=shlex.split(given.build))
    try:
        if not given.image:
            say("built", timed(engine.build))
        worlds.build(engine, given.image or IMAGE, WORLD)
        images = dict.fromkeys(OWN, WORLD)
        if given.stand_ins or given.standing:
            images |= standing_in.stand_ins()
        if given.stand_ins:
            say("stand-ins", standing_in.make(engine))
        argv = shlex.split(given.compose) or [*engine.argv, "compose"]
        check(engine, argv, images, given.runs)
    except (Unfit, Unsettled, OrchestratorError, httpx.HTTPError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
