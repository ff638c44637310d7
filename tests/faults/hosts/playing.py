"""What befalls hosts while runs go through them: one cut off, one lost for good, all upgraded.

In this order, within one window over which the runs are submitted. Afterwards everything drains,
and the ledger is held against the tables as after chaos.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from orchestrator.wiring_services import open_services
from tests.faults.chaos.judging import Judgement, judge
from tests.faults.chaos.submission import Submissions
from tests.faults.hosts.network import Host
from tests.faults.hosts.site import Site
from tests.faults.publishing import publish
from tests.faults.workload import RunSeed, seeds

WORKERS = 3
CUT_SECONDS = 15.0
"""Longer than `dead_after_seconds`: the host is held for dead, and comes back."""
PATIENCE_SECONDS = 60.0
DRAIN_SECONDS = 300.0
POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class Played:
    """What came of it. Times in seconds."""

    submissions: Submissions = field(default_factory=Submissions)
    held_when_cut: int = 0  # runs in the hands of the host that was cut off
    held_for_dead_after: float = 0.0  # until its worker's row was gone
    joined_again_after: float = 0.0  # from the mended link to a new id of the same process
    held_when_lost: int = 0
    lost_for_dead_after: float = 0.0
    taken_over: int = 0  # of the runs that either of them held
    upgraded: int = 0  # workers that ended well, and whose hosts have one of the next release
    drained_after: float = 0.0  # from the last fault

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "runs": len(self.submissions.acknowledged),
            "submits_repeated": self.submissions.retried, "held_when_cut": self.held_when_cut,
            "held_for_dead_after_seconds": round(self.held_for_dead_after, 1),
            "joined_again_after_seconds": round(self.joined_again_after, 1),
            "held_when_lost": self.held_when_lost,
            "lost_for_dead_after_seconds": round(self.lost_for_dead_after, 1),
            "taken_over": self.taken_over, "upgraded": self.upgraded,
            "drained_after_seconds": round(self.drained_after, 1),
        }  # fmt: skip


@dataclass(kw_only=True)
class Player:
    """One play on one site."""

    site: Site
    seed: int
    runs: int
    seconds: float  # over which the runs are submitted, and all of it happens
    say: Callable[[str], None]
    played: Played = field(default_factory=Played)

    def play(self) -> tuple[Played, Judgement]:
        """All of it, to the verdict. Raises TimeoutError, RuntimeError."""
        wanted = list(seeds(self.seed, self.runs))
        asyncio.run(publish(self.site.settings.database))
        cut, lost, third = self.site.hosts(WORKERS)
        for host in (cut, lost, third):
            self.site.crew.start(host)
        self.site.wait_for(cut, lost, third)
        with ThreadPoolExecutor(1) as beside:
            # Workers are started from this thread: they end with the one that starts them.
            submitting = beside.submit(asyncio.run, self._submit(wanted))
            self._befall(cut, lost, third)
            submitting.result()
        self._drain()
        for host in (cut, third):
            self.site.crew.end_warm(host)
        self.say(f"drained after {self.played.drained_after:.1f} s; judging")
        return self.played, judge(self.site, wanted, self.played.submissions.acknowledged)

    async def _submit(self, wanted: Sequence[RunSeed]) -> None:
        async with open_services(self.site.settings) as services:
            await self.played.submissions.spread(services.submitter, wanted, seconds=self.seconds)

    def _befall(self, cut: Host, lost: Host, third: Host) -> None:
        time.sleep(self.seconds * 0.1)
        held = self._cut_off(cut)
        time.sleep(self.seconds * 0.1)
        held += self._lose(lost)
        time.sleep(self.seconds * 0.1)
        for host in (cut, third):
            self._upgrade(host)
        self.played.taken_over = self.site.tables.taken_over(held)

    def _cut_off(self, host: Host) -> tuple[str, ...]:
        """It is held for dead while it lives, and finds that out by itself."""
        pid, began = self.site.crew.children[host.name].pid, time.monotonic()
        self.site.network.cut(host.name)
        held = self.site.tables.held_by(pid)
        self.played.held_when_cut = len(held.runs)
        try:
            gone = self._until(lambda: held.worker not in self._living().values(), "held for dead")
            self.played.held_for_dead_after = gone - began
            time.sleep(max(0.0, began + CUT_SECONDS - time.monotonic()))
        finally:
            self.site.network.mend(host.name)
        mended = time.monotonic()
        back = self._until(lambda: self._living().get(pid) not in (None, held.worker), "back")
        self.played.joined_again_after = back - mended
        self.say(
            f"{host.name} cut off with {len(held.runs)} runs, held for dead after"
            f" {self.played.held_for_dead_after:.1f} s, back {back - mended:.1f} s after its link"
        )
        return held.runs

    def _lose(self, host: Host) -> tuple[str, ...]:
        """Its link first: neither its process nor its kernel says goodbye to anybody."""
        pid, began = self.site.crew.children[host.name].pid, time.monotonic()
        self.site.network.cut(host.name)
        held = self.site.tables.held_by(pid)
        self.site.crew.kill(host)
        self.played.held_when_lost = len(held.runs)
        gone = self._until(lambda: held.worker not in self._living().values(), "held for dead")
        self.played.lost_for_dead_after = gone - began
        self.say(
            f"{host.name} lost with {len(held.runs)} runs, held for dead after {gone - began:.1f} s"
        )
        return held.runs

    def _upgrade(self, host: Host) -> None:
        code = self.site.crew.end_warm(host)
        if code != 0:
            raise RuntimeError(f"the worker of {host.name} ended with {code}, not by itself")
        self.site.crew.start(host, code=self.site.next_release())
        self.site.wait_for(host)
        self.played.upgraded += 1
        self.say(f"{host.name} upgraded")

    def _drain(self) -> None:
        """Until all have settled; gives up silently: the judge will say which have not."""
        began = time.monotonic()
        while self.site.tables.unsettled() and time.monotonic() < began + DRAIN_SECONDS:
            time.sleep(POLL_SECONDS)
        self.played.drained_after = time.monotonic() - began

    def _living(self) -> dict[int, str]:
        return self.site.tables.living()

    def _until(self, is_so: Callable[[], bool], what: str) -> float:
        """When it was so, by the monotonic clock. Raises TimeoutError."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > end:
                raise TimeoutError(f"not {what} within {PATIENCE_SECONDS:g} s")
            time.sleep(POLL_SECONDS)
        return time.monotonic()
