"""One guest: started, asked once, ended. Blocks, so it is used in threads."""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import IO

_CHUNK = 65_536
_SAID_BYTES = 65_536  # of what it prints, the end of which may explain why it died
_LAST_WORDS = 300
_END_SECONDS = 5.0


class Stopped(Exception):
    """The guest gave no answer. `deliberate`: it ran into a limit, and would the next time."""

    def __init__(self, why: str, *, deliberate: bool = False) -> None:
        self.why, self.deliberate = why, deliberate
        super().__init__(why)


OnCall = Callable[[bytes, float], bytes]
"""What is said to a guest that asks for a call, until a time.monotonic(). Raises Stopped."""


class Guest:
    """A process in its sandbox that waits for its one request."""

    def __init__(
        self, command: list[str], *, environment: dict[str, str], folder: str, filter_fd: int,
        line: bool = False,
    ) -> None:  # fmt: skip
        """It starts in `folder`, or where that is empty in one of its own that goes with it.

        `filter_fd` is inherited if it is not negative, and with a `line` the ends of two pipes,
        whose numbers end the command; nothing else is. Pipes, since over a socket open files could
        be sent. Raises OSError.
        """
        self._line = _Line() if line else None
        try:
            self._start(command, environment, folder, filter_fd)
        except OSError:
            if self._line is not None:
                self._line.close()
            raise
        finally:
            if self._line is not None:
                self._line.close_guests()

    def _start(
        self, command: list[str], environment: dict[str, str], folder: str, filter_fd: int
    ) -> None:
        given = [
            *([filter_fd] if filter_fd >= 0 else []),
            *(self._line.guests if self._line else []),
        ]
        if self._line is not None:
            command = [*command, *map(str, self._line.guests)]
        self._scratch = "" if folder else tempfile.mkdtemp(prefix="orchestrator-task-")
        if self._scratch:
            environment = {**environment, "HOME": self._scratch, "TMPDIR": self._scratch}
        self._ended = threading.Event()
        self._process = subprocess.Popen(  # noqa: S603 - our own command line
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, pass_fds=given,
            start_new_session=True, cwd=folder or self._scratch, bufsize=0,
        )  # fmt: skip

    @property
    def ready(self) -> bool:
        """Whether it still lives."""
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it and all that it may have started; may be called from any thread, and again."""
        self._ended.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def ask(
        self, request: bytes, *, until: float, most: int, on_call: OnCall | None = None
    ) -> bytes:
        """Its answer, one line without its end, at most `most` bytes; the guest is ended.

        `until` is a time.monotonic(). Without `on_call` what it asks for is not heard. Raises
        Stopped.
        """
        line = self._line if on_call is not None else None
        try:
            return self._talk(_Talk(self._process, request, most, line, on_call), until)
        finally:
            self.discard()

    def discard(self) -> None:
        """End it, and leave nothing of it."""
        self.end()
        self._process.wait(_END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        if self._line is not None:
            self._line.close()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)  # what is left lies in a temp folder

    def _talk(self, talk: _Talk, until: float) -> bytes:
        with talk.selector:
            while (answer := talk.answer()) is None:
                left = until - time.monotonic()
                if left <= 0:
                    raise Stopped("no result in time")
                if not talk.step(left, until):
                    raise self._death(talk, until)
            return answer

    def _death(self, talk: _Talk, until: float) -> Stopped:
        """It closed its output, so it is dead or about to die."""
        try:
            code = self._process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Stopped("no result in time, and its output is closed")
        if self._ended.is_set():
            return Stopped("was ended")
        number = -code if code < 0 else code - 128  # bwrap tells of signals as shells do
        if number == signal.SIGXCPU:
            return Stopped("used up its CPU time", deliberate=True)
        try:
            name = signal.Signals(number).name
        except ValueError:
            return Stopped(f"ended with exit code {code} and without an answer{talk.last_words()}")
        return Stopped(f"was killed ({name})")


class _Line:
    """Two pipes: on one it asks for calls, on the other it hears what came of them."""

    def __init__(self) -> None:
        self.asks, asking = os.pipe()
        hearing, self.hears = os.pipe()
        self.guests = (asking, hearing)
        self._open = [self.asks, self.hears]
        os.set_blocking(self.hears, False)
        self._asked = bytearray()

    def close_guests(self) -> None:
        for descriptor in self.guests:
            os.close(descriptor)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop())

    def heard(self, chunk: bytes, most: int) -> bytes | None:
        """The question, once it is whole. One that asks before it was answered is stopped."""
        self._asked += chunk
        if len(self._asked) > most:
            raise Stopped(f"asked for a call of more than {most} bytes", deliberate=True)
        if not self._asked.endswith(b"\n"):
            return None
        question, self._asked = bytes(self._asked), bytearray()
        if question.count(b"\n") > 1:
            raise Stopped("asked for two calls at once", deliberate=True)
        return question

    def say(self, answer: bytes, until: float) -> None:
        """Raises Stopped when it does not listen."""
        rest = memoryview(answer)
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.hears, selectors.EVENT_WRITE)
            while rest:
                if not waiting.select(max(until - time.monotonic(), 0.0)):
                    raise Stopped("no result in time")
                try:
                    rest = rest[os.write(self.hears, rest[:_CHUNK]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:  # it died; its output says how
                    return


class _Talk:
    """What goes in and what comes out, as far as each will go."""

    def __init__(
        self, process: subprocess.Popen[bytes], request: bytes, most: int,
        line: _Line | None = None, on_call: OnCall | None = None,
    ) -> None:  # fmt: skip
        stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        self._rest = memoryview(request)
        self._most = most
        self._answer = bytearray()
        self._said = bytearray()
        self._said_bytes = 0
        self._stdin, self._stdout, self._stderr = stdin, stdout, stderr
        self.selector = selectors.DefaultSelector()
        os.set_blocking(stdin.fileno(), False)
        os.set_blocking(stderr.fileno(), False)
        self.selector.register(stdin, selectors.EVENT_WRITE)
        self.selector.register(stdout, selectors.EVENT_READ)
        self.selector.register(stderr, selectors.EVENT_READ)
        self._line, self._on_call = line, on_call
        if line is not None:
            self.selector.register(line.asks, selectors.EVENT_READ)

    def answer(self) -> bytes | None:
        """The whole line, once it is there."""
        end = self._answer.find(b"\n")
        return bytes(self._answer[:end]) if end >= 0 else None

    def last_words(self) -> str:
        """The last line of what it printed, now that it is dead."""
        with contextlib.suppress(BlockingIOError):
            self._said += os.read(self._stderr.fileno(), _SAID_BYTES)
        lines = self._said.decode(errors="replace").strip().splitlines()
        return f": {lines[-1][:_LAST_WORDS]}" if lines else ""

    def step(self, seconds: float, until: float) -> bool:
        """Wait for whatever moves. False when its output has ended. Raises Stopped."""
        for key, _ in self.selector.select(seconds):
            if self._line is not None and key.fd == self._line.asks:
                self._call(self._line, until)
                continue
            pipe: IO[bytes] = key.fileobj  # type: ignore[assignment]  # only pipes were registered
            if pipe is self._stdin:
                self._give()
            elif not (chunk := os.read(pipe.fileno(), _CHUNK)):
                self.selector.unregister(pipe)
                if pipe is self._stdout:
                    return False
            elif pipe is self._stdout:
                self._take(chunk)
            else:
                self._hear(chunk)
        return True

    def _call(self, line: _Line, until: float) -> None:
        assert self._on_call is not None, "a line is listened to by somebody"
        chunk = os.read(line.asks, _CHUNK)
        if not chunk:
            self.selector.unregister(line.asks)
        elif (question := line.heard(chunk, self._most)) is not None:
            line.say(self._on_call(question, until), until)

    def _give(self) -> None:
        try:
            self._rest = self._rest[os.write(self._stdin.fileno(), self._rest[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:  # it died; its output says how
            self._rest = self._rest[:0]
        if not self._rest:
            self.selector.unregister(self._stdin)
            self._stdin.close()

    def _take(self, chunk: bytes) -> None:
        self._answer += chunk
        if len(self._answer) > self._most:
            raise Stopped(f"its answer is larger than {self._most} bytes", deliberate=True)

    def _hear(self, chunk: bytes) -> None:
        self._said_bytes += len(chunk)
        if self._said_bytes > self._most + _SAID_BYTES:
            raise Stopped(f"printed more than {self._most + _SAID_BYTES} bytes", deliberate=True)
        self._said = (self._said + chunk)[-_SAID_BYTES:]
