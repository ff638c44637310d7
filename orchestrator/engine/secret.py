"""Where a secret is found: a reference in a configuration, never the secret itself.

env:NAME            a variable of the worker's environment
file:/path          a file, without the white space around its text
command:argv …      what a program prints, split as a shell would, but run without one
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.telemetry.redact import remember

COMMAND_SECONDS = 10.0
LONGEST_SECRET = 64 * 1024
"""Characters. Nobody's credential is longer; a file or a program that is was not meant."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """Where a secret is found. Its text is never part of this value."""

    reference: str  # "env:NAME", "file:/path" or "command:argv …"

    @property
    def name(self) -> str:
        """The reference as it may be shown: of a command only the program, not its arguments."""
        kind, _, where = self.reference.partition(":")
        return f"{kind}:{shlex.split(where)[0]} …" if kind == "command" else self.reference

    def read(self) -> str:
        """The secret's text, one line; hidden from now on in all that this process tells.

        Raises InvalidSetting when there is none.

        Blocks: for a file as long as the disk, for a command up to COMMAND_SECONDS.
        """
        kind, _, where = self.reference.partition(":")
        try:
            text = _READERS[kind](where).strip()
        except (LookupError, OSError, UnicodeDecodeError, subprocess.SubprocessError) as error:
            raise self._invalid(_why(error)) from None
        if not text:
            raise self._invalid("nothing")
        if len(text) > LONGEST_SECRET or any(char in text for char in "\r\n\0"):
            raise self._invalid("more than one line of text")
        return remember(text)

    def _invalid(self, found: str) -> InvalidSetting:
        problem = Problem(place=self.name, found=found, wanted="a secret")
        return InvalidSetting(f"credential {self.name} cannot be read", problems=[problem])


def checked_reference(text: str) -> str:
    """The text if it is a reference. Raises ValueError, which does not repeat it."""
    kind, _, where = text.partition(":")
    wanted = "a reference, env:NAME, file:/path or command:…, never the secret itself"
    if kind == "command":
        try:
            if shlex.split(where):
                return text
        except ValueError:
            wanted = "a command whose quotes are closed"
    elif re.fullmatch(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+", text):
        return text
    raise ValueError(wanted)


def _from_environment(name: str) -> str:
    return os.environ[name]


def _from_file(path: str) -> str:
    with Path(path).open(encoding="utf-8") as file:
        return file.read(LONGEST_SECRET + 2)


def _from_command(line: str) -> str:
    """What the program prints. Its complaints are not kept: they may hold what it knows."""
    with subprocess.Popen(  # noqa: S603 - the operator's own configuration names the program
        shlex.split(line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
        except BaseException:
            # With all that it started: one that holds the pipe would keep us waiting.
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, "it")
    return output.decode()


_READERS = {"env": _from_environment, "file": _from_file, "command": _from_command}


def _why(error: Exception) -> str:
    match error:
        case subprocess.TimeoutExpired():
            return f"no end within {COMMAND_SECONDS:g} s"
        case subprocess.CalledProcessError():
            return f"exit code {error.returncode}"
        case KeyError():
            return "no such variable"
        case _:
            return type(error).__name__
