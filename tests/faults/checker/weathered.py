"""Honest histories of runs that things happened to: cut connections, lost workers, full gates."""

from __future__ import annotations

import random

from tests.faults.checker.honest import Scribe, World
from tests.faults.workload import Kind, RunSeed, refusals


class Weathered:
    """Drives one run; `bad` is the chance that something happens at a link."""

    def __init__(self, world: World, seed: RunSeed, chance: random.Random, bad: float) -> None:
        self._chance, self._bad = chance, bad
        self._seed, self._refused = seed, refusals(seed.name)
        self.scribe = world.submit(seed.name, seed.shape)
        self._workers = 1
        self._stopped = False

    def drive(self) -> Scribe:
        """To the end that its name says, or to a doubt that stays."""
        done: list[int] = []
        for index in range(len(self._seed.shape.steps)):
            landed = self._link(index, "do", refused=index == self._refused.forward)
            if self._stopped:
                return self.scribe
            if not landed:
                return self._back(index, done)
            done.append(index)
        return self.scribe.end("succeeded")

    def _back(self, failed: int, done: list[int]) -> Scribe:
        shape = self._seed.shape
        if shape.pivot is not None and failed > shape.pivot:
            return self.scribe.escalate("failed_after_pivot", f"s{failed + 1}")
        for index in reversed(done):
            if shape.steps[index][1] is None:
                continue
            undone = self._link(index, "undo", refused=index == self._refused.undo)
            if self._stopped:
                return self.scribe
            if not undone:
                return self.scribe.escalate("compensation_failed", f"s{index + 1}", "undo")
        return self.scribe.end("compensated")

    # --- one link -----------------------------------------------------------------------------

    def _link(self, index: int, way: str, *, refused: bool) -> bool:
        """Whether it landed. Sets `_stopped` when nobody can tell."""
        step, scribe = f"s{index + 1}", self.scribe
        kind = scribe.kind(step, way)
        if self._chance.random() < self._bad:
            if self._chance.random() < 0.5:
                scribe.hop(self._new_worker())
            else:
                self._harmless(step, way)
        if not refused and self._chance.random() < self._bad:
            return self._doubt(step, way, kind)
        if refused:
            scribe.refused(step, way)
        else:
            scribe.perform(step, way)
        return not refused

    def _harmless(self, step: str, way: str) -> None:
        """Nothing is in doubt afterwards."""
        if self._chance.random() < 0.5:
            self.scribe.withdraw(step, way)
            return
        self.scribe.begin(step, way)
        self.scribe.request(step, way, status=503, applied=False, fault="busy")
        self.scribe.outcome(step, way, word="pending", outcome="not_landed", status=503)

    def _doubt(self, step: str, way: str, kind: Kind) -> bool:
        """The effect may exist. Settled by the key, by a question, or not at all."""
        scribe, chance = self.scribe, self._chance
        applied, lost = chance.random() < 0.5, chance.random() < 0.5
        sent = not lost or chance.random() < 0.7
        if lost:
            scribe.begin(step, way)
            if sent:
                answered = chance.random() < 0.5 and applied
                scribe.request(step, way, applied=applied, status=200 if answered else None)
            scribe.recovered(self._new_worker())
        else:
            scribe.in_doubt(step, way, applied=applied)
        exists = applied and sent and kind is not Kind.READ
        if kind is Kind.UNKEYED:
            self._stopped = True
            scribe.escalate("in_doubt", step, way)
        elif kind is Kind.VERIFIED:
            scribe.asked(step, way, there=exists)
            if not exists:
                scribe.perform(step, way)
        else:
            scribe.begin(step, way)
            scribe.request(step, way, applied=not exists, replayed=exists)
            scribe.outcome(step, way)
        return True

    def _new_worker(self) -> str:
        self._workers += 1
        return f"w{self._workers}"


def weathered(world: World, seed: RunSeed, chance: random.Random, *, bad: float = 0.3) -> Scribe:
    """One run to its end; what happens to it is drawn from `chance`."""
    return Weathered(world, seed, chance, bad).drive()
