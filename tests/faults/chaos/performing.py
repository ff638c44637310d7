"""One chaos run from nothing to its verdict: started privately, played, judged, ended again."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from tests.faults.chaos.game import DRAIN_SECONDS, Interrupted, Play, Played, Watchers, play
from tests.faults.chaos.judging import Judgement, judge
from tests.faults.chaos.schedule import schedule
from tests.faults.chaos.stage import Limits, Mood, Scene, Stage, new_folder, remove, set_up
from tests.faults.workload import seeds

BAD = 0.2
LATENCY_SECONDS = (0.0, 0.4)
LIMITS = Limits(rate=800, hourly=200_000, concurrency=150)
SETTINGS = {"concurrency": 1000}  # a survivor has room for the runs of the other


class Database(StrEnum):
    """Which one holds the truth."""

    POSTGRES = "postgres"
    PGBOUNCER = "pgbouncer"  # PostgreSQL behind one, in transaction mode
    SQLITE = "sqlite"


class BrokerKind(StrEnum):
    """Who carries the wake-ups."""

    REDIS = "redis"  # or Valkey: what VALKEY_SERVER names
    RABBITMQ = "rabbitmq"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The options."""

    runs: int
    seconds: float
    seed: int
    database: str
    broker: str = "redis"
    workers: int = 2
    drain_seconds: float = DRAIN_SECONDS  # after the last fault; what has not settled is lost

    @property
    def scene(self) -> Scene:
        """What is set up for it."""
        return Scene(
            database=self.database,
            broker=self.broker,
            workers=self.workers,
            seed=self.seed,
            limits=LIMITS,
            mood=Mood(bad=BAD, latency_seconds=LATENCY_SECONDS),
            settings=SETTINGS,
        )

    @property
    def play(self) -> Play:
        """What is done to it."""
        faults = schedule(
            self.seed,
            seconds=self.seconds,
            database=self.database,
            workers=self.workers,
            broker=self.broker,
        )
        return Play(
            seeds=list(seeds(self.seed, self.runs)), faults=faults, seconds=self.seconds,
            drain_seconds=self.drain_seconds,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Result:
    """One whole run of it."""

    wish: Wish
    played: Played
    judgement: Judgement
    answers: Mapping[str, int]  # of the API, by status, and the tokens that it gave out
    effects: int  # at the API
    seconds: float
    state_dir: Path

    @property
    def clean(self) -> bool:
        """Whether every zero is a zero."""
        return self.judgement.clean

    def to_json(self) -> Mapping[str, Any]:
        """What `--json` prints."""
        done = [h for h in self.played.happened if not h.skipped]
        recovered = self.played.recoveries
        p50, p99 = recovered.percentile(0.5), recovered.percentile(0.99)
        return {
            "runs": len(self.played.submissions.acknowledged),
            **self.judgement.counts(),
            "recovery_p99_seconds": None if p99 is None else round(p99, 3),
            "recovery_p50_seconds": None if p50 is None else round(p50, 3),
            "recovery_runs": len(recovered.seconds),
            "recovery_kills": recovered.kills,
            "recovery_cut_short": recovered.cut_short,
            "drain_seconds": round(self.played.drain_seconds, 1),
            "seconds": round(self.seconds, 1),
            "seed": self.wish.seed,
            "db": self.wish.database,
            "broker": self.wish.broker,
            "faults": dict(Counter(h.planned.kind.value for h in done)),
            "api_answers": self.answers,
            "effects": self.effects,
            "submits_repeated": self.played.submissions.retried,
            "state_dir": None if self.clean else str(self.state_dir),
        }


def perform(wish: Wish, *, watchers: Watchers) -> Result:
    """Start, play, judge, end. The folder is gone when all is clean, and when it was interrupted.

    Raises Interrupted, TimeoutError or Unavailable; the folder stays then but for the first.
    """
    began, folder = time.monotonic(), new_folder()
    try:
        with set_up(wish.scene, folder) as stage:
            result = _perform(wish, stage, watchers, began)
    except Interrupted:
        remove(folder)
        raise
    except BaseException:
        watchers.say(f"kept: {folder}")
        raise
    if result.clean:
        remove(folder)
    else:
        report = json.dumps(result.judgement.report(), indent=1)
        (folder / "verdict.json").write_text(report)
    return result


def _perform(wish: Wish, stage: Stage, watchers: Watchers, began: float) -> Result:
    stage.supervisor.start()
    wanted = wish.play
    played = asyncio.run(play(stage, wanted, watchers))
    stage.supervisor.stop()
    watchers.say(f"settled after {played.drain_seconds:.1f} s; judging")
    judgement = judge(stage, wanted.seeds, played.submissions.acknowledged)
    counted = stage.ledger.statistics()
    answers = {**counted["statuses"], "tokens": counted["tokens"]}
    return Result(
        wish=wish, played=played, judgement=judgement, answers=answers,
        effects=counted["effects"], seconds=time.monotonic() - began,
        state_dir=stage.state_dir,
    )  # fmt: skip
