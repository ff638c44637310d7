"""`orchestrator bench peers`: the same work by the orchestrator and by other durable engines.

Everything is started privately and ended again. Progress goes to standard error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from orchestrator.errors import OrchestratorError
from orchestrator.telemetry.logging import configure_logging
from tests.bench.engine import ours
from tests.bench.engine.figures import Round
from tests.bench.engine.place import Place, Wish, set_up
from tests.bench.peers import peer as peers
from tests.bench.peers.dbos_peer import Dbos
from tests.bench.peers.peer import Peer, Variant
from tests.bench.peers.report import Side, report
from tests.bench.peers.restate_peer import Restate
from tests.bench.peers.temporal_peer import Temporal
from tests.faults.chaos.stage import new_folder, remove

PEERS: tuple[Peer, ...] = (Dbos(), Restate(), Temporal())
_TRIAL_SHARE, _TRIAL_LEAST, _TRIAL_MOST, _TRIAL_ALONE = 5, 100, 300, 20
_FAILURES = (OrchestratorError, OSError, RuntimeError, TimeoutError)


class Load(StrEnum):
    """The work."""

    NOOP = "noop"
    IO20 = "io20"
    FAIL = "fail"
    LATENCY = "latency"


class Against(StrEnum):
    """Who else does it."""

    DBOS = "dbos"
    RESTATE = "restate"
    TEMPORAL = "temporal"
    ALL = "all"


class Contest:
    """One call: ours and each peer in turn."""

    def __init__(self, wish: Wish, against: Sequence[Peer], console: Console) -> None:
        self._wish, self._console = wish, console
        self._ours: list[Round] = []
        self._sides = [(one, _side(one, wish)) for one in against]
        for _, side in self._sides:
            if side.missing:
                self._say(f"{side.system}: {side.missing}")

    @property
    def anyone(self) -> bool:
        """Whether a peer is there that has not failed."""
        return any(side.measurable for _, side in self._sides)

    def measure(self, pairs: int) -> dict[str, Any]:
        """Raises what a round of ours raises. The folder stays when anything has failed."""
        folder = new_folder()
        self._say(
            f"{self._wish.load}: {self._wish.runs} runs of {self._wish.steps} steps; {folder}"
        )
        with set_up(self._wish, folder) as place:
            asyncio.run(ours.prepare(place))
            for one, side in self._measurable():
                self._guard(side, lambda one=one, side=side: self._try_out(place, one, side))
            for _ in range(pairs if self.anyone else 0):
                self._turn(place)
            described = place.described()
        if not any(side.error for side in self.sides):
            remove(folder)
        return {**report(self._wish.load, self._ours, self.sides), "settings": described}

    @property
    def sides(self) -> list[Side]:
        """How each peer fared."""
        return [side for _, side in self._sides]

    def _measurable(self) -> list[tuple[Peer, Side]]:
        return [(one, side) for one, side in self._sides if side.measurable]

    def _try_out(self, place: Place, one: Peer, side: Side) -> None:
        """A short round of each variant; the fastest is kept."""
        one.prepare()
        side.version, side.settings = one.version(), one.settings(place)
        variants = {variant.title: variant for variant in one.variants(self._wish)}
        runs = trial_runs(side.runs, self._wish.load)
        for title, variant in variants.items():
            made = side.tried[title] = self._round(place, one, variant, runs)
            cpu = made.figures()["cpu_seconds_per_1000_steps"]
            self._say(
                f"  {one.system} ({title}): {made.runs_per_second:.0f} runs/s,"
                f" {cpu:.2f} s of CPU for 1,000 steps"
            )
        side.keep_fastest()

    def _turn(self, place: Place) -> None:
        """Ours, then each peer once."""
        made = with_stub(place, lambda: ours.round_of(place))
        self._ours.append(made)
        self._show("ours", made)
        for one, side in self._measurable():
            self._guard(side, lambda one=one, side=side: self._add(place, one, side, made))

    def _add(self, place: Place, one: Peer, side: Side, beside: Round) -> None:
        (variant,) = (v for v in one.variants(self._wish) if v.title == side.variant)
        made = self._round(place, one, variant, side.runs)
        side.rounds.append(made)
        side.ours.append(beside)
        self._show(f"{one.system} ({side.variant})", made)

    def _round(self, place: Place, one: Peer, variant: Variant, runs: int) -> Round:
        return with_stub(place, lambda: peers.round_of(one, place, variant, runs))

    def _guard(self, side: Side, work: Callable[[], None]) -> None:
        """A peer that fails is out, whatever it raises; the others go on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 -- each engine has errors of its own
            side.error = f"{type(error).__name__}: {error}"
            self._say(f"{side.system} is out: {side.error}")

    def _show(self, name: str, made: Round) -> None:
        shown = {key: round(value, 2) for key, value in made.figures().items()}
        self._say(f"{name:>22}  {shown}")

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _side(one: Peer, wish: Wish) -> Side:
    return Side(
        system=one.system, durability=one.durability, missing=one.missing(),
        runs=wish.runs if one.most_runs is None else min(wish.runs, one.most_runs),
    )  # fmt: skip


def trial_runs(runs: int, load: str) -> int:
    """Of a trial: enough to tell variants apart, and no more."""
    if load == Load.LATENCY:
        return min(runs, _TRIAL_ALONE)
    return min(runs, _TRIAL_MOST, max(_TRIAL_LEAST, runs // _TRIAL_SHARE))


def with_stub(place: Place, work: Callable[[], Coroutine[Any, Any, Round]]) -> Round:
    """The round, with the share of a core that the stub needed for it."""
    if place.stub is None:
        return asyncio.run(work())
    before = place.stub.statistics()
    found = asyncio.run(work())
    after = place.stub.statistics()
    spent = after["cpu_seconds"] - before["cpu_seconds"]
    return found.with_more({"stub_cpu_share": spent / found.seconds})


def _interrupt(*_: object) -> NoReturn:
    """SIGTERM ends everything in good order, as Ctrl-C does."""
    raise KeyboardInterrupt


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    load: Annotated[Load, typer.Option(help="The work.")] = Load.NOOP,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each round.")] = 2000,
    steps: Annotated[int, typer.Option(min=2, max=50, help="Steps of each run.")] = 5,
    workers: Annotated[
        int, typer.Option(min=1, max=16, help="Our worker processes; peers try 1 and as many.")
    ] = 2,
    pairs: Annotated[int, typer.Option(min=1, max=99, help="Repetitions.")] = 3,
    peer: Annotated[Against, typer.Option(help="Who else does it.")] = Against.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """The same work by the orchestrator and by other durable engines, in turn.

    They need packages of their own: pip install -e '.[peers]', and npm for Restate's server. One
    that is not there is left out. The exit code is 1 when none could be measured.
    """
    configure_logging(level="ERROR")
    signal.signal(signal.SIGTERM, _interrupt)
    console = Console(stderr=True, highlight=False)
    wish = Wish(load=load.value, runs=runs, steps=steps, workers=workers)
    chosen = [one for one in PEERS if peer.value in (one.system, Against.ALL)]
    contest = Contest(wish, chosen, console)
    try:
        found = contest.measure(pairs) if contest.anyone else report(wish.load, [], contest.sides)
    except _FAILURES as error:
        console.print(f"not measured: {error}", markup=False)
        raise typer.Exit(1) from None
    options = {"runs": runs, "steps": steps, "workers": workers, "pairs": pairs}
    machine = {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    found = {**found, "options": options, "machine": machine}
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
    else:
        console.print(json.dumps(found, indent=1), markup=False)
    if not any(side.rounds for side in contest.sides):
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="orchestrator bench peers")
