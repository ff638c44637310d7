"""`make image-check`: the image is built and started as compose starts it; a run goes through it.

    python -m tests.packaging.image [--engine "podman --runtime runc"] [--build …] [--run …]

Worker and API are containers with what `deploy/compose.yaml` asks for: nobody's account, a root
file system that is read alone, no capabilities. Database and broker are embedded ones of this
machine, in whose network the containers are. The health check of the image has to pass, a run has
to succeed, and SIGTERM has to end the worker in good order. Needs docker or podman, and a package
index.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from orchestrator.embedded.address import LOOPBACK, free_port
from orchestrator.embedded.valkey import start_valkey
from tests.faults.chaos.postgres import Postgres

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PROJECT = ROOT / "tests/acceptance/project"
IMAGE = "orchestrator:check"
ENGINES = ("docker", "podman")
BUILD_SECONDS = 1800
READY_SECONDS = 90.0
GRACE_SECONDS = 30


class Unfit(Exception):
    """The image does not do what it is for."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A container engine's command line."""

    argv: Sequence[str]
    build_options: Sequence[str] = ()
    run_options: Sequence[str] = ()

    def build(self) -> None:
        """As the Dockerfile's head says. Raises Unfit."""
        file = ("-f", str(DEPLOY / "Dockerfile"), "-t", IMAGE)
        self.ask("build", *file, *self.build_options, str(ROOT), seconds=BUILD_SECONDS)

    def run(self, options: Sequence[str], *command: str, seconds: float = 120) -> str:
        """A container that ends by itself; what it printed. Raises Unfit."""
        return self.ask("run", "--rm", *options, *self.run_options, IMAGE, *command,
                        seconds=seconds)  # fmt: skip

    @contextmanager
    def started(self, name: str, options: Sequence[str], *command: str) -> Iterator[str]:
        """A container in the background, ended and removed afterwards; its log stays till then."""
        started = ("run", "--detach", "--name", name, *options, *self.run_options, IMAGE)
        self.ask(*started, *command)
        try:
            yield name
        except Exception:
            sys.stderr.write(self.ask("logs", name)[-4000:])
            raise
        finally:
            self.ask("rm", "--force", name)

    def ask(self, *words: str, seconds: float = 120) -> str:
        """What it printed. Raises Unfit."""
        done = subprocess.run(
            [*self.argv, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        )  # fmt: skip
        if done.returncode:
            raise Unfit(f"{words[0]}: ended with {done.returncode}\n{done.stdout[-4000:]}")
        return done.stdout


def of_compose(service: str, env: dict[str, str]) -> list[str]:
    """What compose asks for of one service, as options; in this machine's network."""
    asked: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"][
        service
    ]
    flags = ["--read-only"] if asked["read_only"] else []
    flags += [f"--tmpfs={each}" for each in asked["tmpfs"]]
    flags += [f"--cap-drop={each}" for each in asked["cap_drop"]]
    flags += [f"--security-opt={each}" for each in asked["security_opt"]]
    given = asked["environment"] | env
    return [*flags, "--network=host", *(f"--env={name}={given[name]}" for name in given)]


def health_check() -> list[str]:
    """The command of the image's own health check."""
    text = (DEPLOY / "Dockerfile").read_text()
    words = text[text.index("HEALTHCHECK") :].split("CMD", 1)[1].splitlines()[0]
    command = json.loads(words)
    assert isinstance(command, list)
    return command


def until(what: str, look: Any) -> float:
    """Seconds until it does not raise any more. Raises Unfit."""
    began = time.monotonic()
    while True:
        try:
            look()
        except (Unfit, httpx.HTTPError) as error:
            if time.monotonic() - began > READY_SECONDS:
                raise Unfit(f"{what}: not within {READY_SECONDS:g} s: {error}") from None
            time.sleep(0.5)
        else:
            return time.monotonic() - began


def play(engine: Engine, folder: Path, around: ExitStack) -> None:
    """All of it. Raises Unfit."""
    postgres = Postgres(folder, log_path=folder / "postgres.log")
    postgres.start()
    around.callback(postgres.stop)
    postgres.child.wait_ready()
    broker = start_valkey(folder / "valkey", log_path=folder / "valkey.log")
    around.callback(lambda: broker.stop(by=time.monotonic() + GRACE_SECONDS))
    port = free_port()
    env = {
        "ORCHESTRATOR_BROKER_URL": broker.spec.address,
        "ORCHESTRATOR_DATABASE_URL": postgres.url.replace("postgresql://", "postgresql+psycopg://"),
        "ORCHESTRATOR_API_ADDRESS": LOOPBACK, "ORCHESTRATOR_API_PORT": str(port),
        "ORCHESTRATOR_METRICS_PORT": str(free_port()),
    }  # fmt: skip
    project = shutil.copytree(PROJECT, folder / "project")
    (project / "notes").mkdir()
    (project / "notes").chmod(0o777)
    mounts = [f"--volume={project / each}:/app/{each}:ro" for each in ("config", "tasks")]
    worker_options = [*of_compose("worker", env), *mounts, f"--volume={project}/notes:/notes"]
    api_options = [*of_compose("api", env | {"ORCHESTRATOR_API_AUTH": "none"}), *mounts]
    name = f"orchestrator-check-{port}"
    engine.run(worker_options, "orchestrator", "migrate")
    worker = around.enter_context(engine.started(f"{name}-worker", worker_options))
    around.enter_context(engine.started(f"{name}-api", api_options, "orchestrator", "api"))
    check = [each.replace("9464", env["ORCHESTRATOR_METRICS_PORT"]) for each in health_check()]
    say("worker well", until("its health check", lambda: engine.ask("exec", worker, *check)))
    url = f"http://{LOOPBACK}:{port}/health/ready"
    say("API ready", until("the API", lambda: httpx.get(url, timeout=3).raise_for_status()))
    account = engine.ask("exec", worker, "id", "-u").strip()
    if account == "0":
        raise Unfit("it runs as root")
    engine.run(worker_options, "orchestrator", "workflows", "publish", "config/workflows")
    submit = ("orchestrator", "submit", "notes", "-i", "folder=/notes", "--wait", "--json")
    say("a run succeeded", timed(lambda: engine.run(worker_options, *submit)))
    say("SIGTERM", timed(lambda: engine.ask("stop", "--time", str(GRACE_SECONDS), worker)))
    code = engine.ask("inspect", "--format", "{{.State.ExitCode}}", worker).strip()
    if code != "0":
        raise Unfit(f"SIGTERM: the worker ended with {code}\n{engine.ask('logs', worker)[-4000:]}")


def timed(act: Any) -> float:
    """Seconds that it took."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


def say(what: str, seconds: float) -> None:
    """One line of the report."""
    sys.stderr.write(f"{what}: {seconds:.1f} s\n")


def main() -> None:
    """Exits with 1 when the image is unfit, with 2 where there is no engine."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    found = next((each for each in ENGINES if shutil.which(each)), "")
    parser.add_argument("--engine", default=found, help="its command line")
    parser.add_argument("--build", default="", help="options of its build")
    parser.add_argument("--run", default="", help="options of its run")
    parser.add_argument("--built", action="store_true", help=f"{IMAGE} is there already")
    given = parser.parse_args()
    if not given.engine:
        parser.exit(2, f"not here: neither {' nor '.join(ENGINES)}\n")
    engine = Engine(
        argv=shlex.split(given.engine),
        build_options=shlex.split(given.build),
        run_options=shlex.split(given.run),
    )
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-image-"))
    folder.chmod(0o755)
    try:
        with ExitStack() as around:
            if not given.built:
                say("built", timed(engine.build))
            play(engine, folder, around)
    except Unfit as error:
        sys.exit(str(error))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
