"""What is installed for a peer, and what to say when it is not."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from orchestrator.errors import Unavailable

EXTRA = "pip install -e '.[peers]'"
RESTATE_PACKAGE = "@restatedev/restate-server"
RESTATE_VERSION = "1.7.12"
_INSTALL_SECONDS = 300
_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def missing_packages(modules: Sequence[str]) -> str:
    """A line that says how to install those that are absent, or nothing."""
    absent = [name for name in modules if importlib.util.find_spec(name) is None]
    return f"{', '.join(absent)} not installed: {EXTRA}" if absent else ""


def versions(*packages: str) -> str:
    """Of installed distributions, as `name version, …`."""
    return ", ".join(f"{name} {version(name)}" for name in packages)


def program(name: str) -> str | None:
    """The path of a program that a wheel puts beside this interpreter, or that is on the path."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)


def restate_server() -> Path | None:
    """The server's program where it is there already: on the path, or installed here before."""
    found = shutil.which("restate-server")
    if found is not None:
        return Path(found)
    here = _restate_program()
    return here if here.is_file() else None


def can_install_restate() -> bool:
    """Whether npm is there to bring the server."""
    return shutil.which("npm") is not None


def install_restate() -> None:
    """Once, into the user's cache; without the package's install scripts. Raises Unavailable."""
    folder = _restate_folder()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"{RESTATE_PACKAGE}@{RESTATE_VERSION}"
    options = ("--no-audit", "--no-fund", "--ignore-scripts")
    try:
        subprocess.run(
            [shutil.which("npm") or "npm", "install", *options, "--prefix", str(folder), wanted],
            check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        raise Unavailable("npm", wanted, error.stderr[-1000:]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("npm", wanted, str(error)) from error
    if not _restate_program().is_file():
        raise Unavailable("npm", wanted, f"it brought no {_restate_program()}")


def _restate_folder() -> Path:
    chosen = os.environ.get("XDG_CACHE_HOME")
    cache = Path(chosen) if chosen else Path.home() / ".cache"
    return cache / "saga-orchestrator" / f"restate-server-{RESTATE_VERSION}"


def _restate_program() -> Path:
    """npm brings the program in a package of its own for each platform."""
    machine = _MACHINES.get(platform.machine().lower(), platform.machine())
    package = f"{RESTATE_PACKAGE}-{sys.platform}-{machine}"
    return _restate_folder() / "node_modules" / package / "bin" / "restate-server"
