"""Flower's pages as a browser shows them: headless Chromium, which does not talk to anyone else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from tests.conftest import skip_or_fail

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_TAG = re.compile(r"<[^>]+>")
_ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
_SECONDS = 90


class Browser:
    """One profile in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        found = [path for name in _NAMES if (path := shutil.which(name))]
        if not found:
            skip_or_fail("no Chromium: apt-get install chromium")
        self._argv = [
            found[0], "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}",
            "--window-size=1500,950", "--virtual-time-budget=5000",
        ]  # fmt: skip

    def look(self, url: str, file: Path) -> tuple[list[str], bytes]:
        """The text of each table row once the page's scripts have filled it, and a PNG of it."""
        dom = self._run("--dump-dom", f"--screenshot={file}", url).decode(errors="replace")
        rows = [" ".join(_TAG.sub(" ", row).split()) for row in _ROW.findall(dom)]
        return rows, file.read_bytes()

    def _run(self, *arguments: str) -> bytes:
        process = subprocess.Popen(
            [*self._argv, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            out, _ = process.communicate(timeout=_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        assert process.returncode == 0, f"Chromium ended with {process.returncode}"
        return out
