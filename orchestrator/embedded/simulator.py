"""Simulations as child processes: without the environment, and ended when their time is over."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

import msgspec
import structlog

from orchestrator.errors import InvalidInput, Overloaded, Problem
from orchestrator.ports.simulating import Ending, Failed, Simulated

log = structlog.get_logger(__name__)

LONGEST_SECONDS = 60.0
AT_ONCE = 2
MOST_WAITING = 8
LARGEST_ANSWER = 16 * 1024**2
_RETRY_AFTER_SECONDS = 5.0


class ProcessSimulator:
    """Implements Simulator. Few at a time, as each takes a core while it lasts."""

    def __init__(self, *, longest_seconds: float = LONGEST_SECONDS) -> None:
        self._longest, self._room, self._waiting = longest_seconds, asyncio.Semaphore(AT_ONCE), 0

    async def play(self, wanted: Simulated) -> Ending:
        """See Simulator."""
        if self._waiting >= MOST_WAITING:
            problem = Problem(
                place="simulations", found=f"{self._waiting} that wait", wanted="fewer"
            )
            raise Overloaded(
                "too many simulations at once", problems=[problem],
                retry_after_seconds=_RETRY_AFTER_SECONDS,
            )  # fmt: skip
        self._waiting += 1
        try:
            async with self._room:
                said = await self._run(msgspec.json.encode(wanted))
        finally:
            self._waiting -= 1
        return ending_of(said)

    async def _run(self, wanted: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-m", "orchestrator.simulation", stdin=PIPE, stdout=PIPE,
            stderr=DEVNULL, env={"PATH": os.defpath}, start_new_session=True,
        )  # fmt: skip
        try:
            async with asyncio.timeout(self._longest):
                said = await _exchanged(process, wanted)
                if said is not None:
                    await process.wait()
        except TimeoutError as error:
            found = f"not over after {self._longest:g} s"
            raise _nothing_came_of_it(
                found, "a run that comes to its end in fewer steps"
            ) from error
        finally:
            await _ended(process)
        if process.returncode != 0 or said is None:
            log.warning("simulation.failed", code=process.returncode)
            found = f"a process that ended with {process.returncode}"
            if said is None:
                found = f"an answer of more than {LARGEST_ANSWER} bytes"
            raise _nothing_came_of_it(found, "a run that takes less time, memory and room")
        return said


def ending_of(said: bytes) -> Ending:
    """What the process has written. Raises InvalidInput where nothing came of it."""
    found: Ending | Failed = msgspec.json.decode(said, type=Ending | Failed)
    if isinstance(found, Failed):
        raise _nothing_came_of_it(found.found, found.wanted)
    return found


async def _ended(process: Process) -> None:
    """Whatever it is at. What it still has said is read: until then nobody hears of its end."""
    if process.returncode is not None:
        return
    process.kill()
    assert process.stdout is not None, "it is a pipe"
    while await process.stdout.read(65_536):
        pass
    await process.wait()


async def _exchanged(process: Process, wanted: bytes) -> bytes | None:
    """What it says to this; None where that is too much."""
    assert process.stdin is not None and process.stdout is not None, "both are pipes"  # noqa: PT018 - one fact
    try:
        process.stdin.write(wanted)
        await process.stdin.drain()
        process.stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        return b""  # its exit code says why
    said = bytearray()
    while chunk := await process.stdout.read(65_536):
        said += chunk
        if len(said) > LARGEST_ANSWER:
            return None
    return bytes(said)


def _nothing_came_of_it(found: str, wanted: str) -> InvalidInput:
    problem = Problem(place="simulation", found=found, wanted=wanted)
    return InvalidInput("the run could not be simulated", problems=[problem])
