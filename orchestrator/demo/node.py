"""The payment API's look-alike: an npm package, run by Node on the loopback address."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from orchestrator.embedded.address import LOOPBACK, answers, free_port
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.errors import InvalidSetting, Problem, Unavailable

PACKAGE = "stripe-stateful-mock"
VERSION = "0.0.16"
_INSTALL_SECONDS = 180
_STARTS = 3
_PROGRAM = f"require('{PACKAGE}').createExpressApp().listen(+process.argv[1], process.argv[2])"
"""Its own start script would listen on all addresses."""


def start_payment_api(log_path: Path) -> Child:
    """Install it once into the user's cache, start it on a free port; it listens on return.

    Raises InvalidSetting without Node and npm, Unavailable when it cannot be installed or started.
    """
    modules = installed()
    for attempt in range(1, _STARTS + 1):
        child = Child(_spec(modules, free_port()), log_path)
        child.start()
        try:
            child.wait_ready()
        except Unavailable:
            stop_all([child])
            if attempt == _STARTS:
                raise
            continue  # the port may have been taken between looking and listening
        return child
    raise AssertionError("unreachable")


def installed() -> Path:
    """The node_modules folder that holds the package; installs it when it is not there yet."""
    folder = _cache_dir() / f"{PACKAGE}-{VERSION}"
    modules = folder / "node_modules"
    if not (modules / PACKAGE / "package.json").is_file():
        _install(folder)
    return modules


def _install(folder: Path) -> None:
    npm = _program("npm")
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]
    try:
        subprocess.run(  # noqa: S603 -- fixed words and our own folder
            [*command, str(folder), f"{PACKAGE}@{VERSION}"],
            check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise Unavailable("npm", f"{PACKAGE}@{VERSION}", error.stderr[-2000:]) from error
    except subprocess.TimeoutExpired as error:
        why = f"took longer than {_INSTALL_SECONDS} s"
        raise Unavailable("npm", f"{PACKAGE}@{VERSION}", why) from error


def _cache_dir() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    return (Path(chosen) if chosen else Path.home() / ".cache") / "saga-orchestrator"


def _spec(modules: Path, port: int) -> ChildSpec:
    return ChildSpec(
        name="stripe",
        argv=(_program("node"), "-e", _PROGRAM, str(port), LOOPBACK),
        address=f"http://{LOOPBACK}:{port}",
        env={"NODE_PATH": str(modules), "LOG_LEVEL": "silent"},
        ready=lambda: answers(port),
        grace_seconds=2.0,
    )


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        problem = Problem(
            place="PATH", found=f"no {name}", wanted="Node with npm, or another world"
        )
        raise InvalidSetting("this world cannot be started", problems=[problem])
    return found
