"""Which rounds a call is made of, and the object that it prints."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.bench.engine import cores, figures, history, inflight, joining, ours, profiling, theirs
from tests.bench.engine.figures import Round
from tests.bench.engine.history import Amounts
from tests.bench.engine.place import Place, Wish, set_up
from tests.bench.engine.printing import Printer
from tests.bench.engine.watched import Watching
from tests.faults.chaos.stage import new_folder, remove

CHAIN = "celery-chain"
IO200_CONCURRENCY = 100
_WITHOUT = "without flower"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How it is measured; what is measured is the `Wish`."""

    pairs: int = 3
    against: str = CHAIN
    flower: bool = False
    both_databases: bool = False
    by_workers: tuple[int, ...] = ()
    join_and_drain: bool = False
    profile: Path | None = None
    servers_on: str = "any"  # cores, while the submitter is alone on its own: any, others, same
    amounts: Amounts = field(default_factory=Amounts)


def measure(wish: Wish, options: Options, printer: Printer) -> dict[str, Any]:
    """All rounds. Raises what a round raises; its folder stays then."""
    files, folder = cores.open_many_files(), new_folder()
    printer.say(f"{wish.load}: {wish.runs} runs of {wish.steps} steps; {folder}")
    with set_up(wish, folder, **_settings(wish)) as place:
        asyncio.run(ours.prepare(place))
        described = {**place.described(), "workers": _shown(place.own)}
        printer.say(str(described))
        found = _measured(place, options, printer)
        if options.profile is not None:
            found["profile"] = _profiled(place, options.profile, printer)
    remove(folder)
    machine = {
        "cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1), "open_files": files,
    }  # fmt: skip
    return {**found, "options": _chosen(wish, options), "settings": described, "machine": machine}


def _measured(place: Place, options: Options, printer: Printer) -> dict[str, Any]:
    load = place.wish.load
    if load == "history":
        return history.measure(place, options.amounts, options.pairs, printer)
    if load == "io200":
        return _by_workers(place, options, printer)
    if load == "inflight":
        printer.add("ours", asyncio.run(inflight.round_of(place)))
        return figures.report(load, printer.rounds)
    if options.flower:
        return _with_flower(place, options.pairs, printer)
    if load == "submit":
        return _submitted(place, options, printer)
    return _in_turn(place, options, printer)


# --- kinds of comparisons -------------------------------------------------------------------------


def _in_turn(place: Place, options: Options, printer: Printer) -> dict[str, Any]:
    """Ours, theirs, ours, theirs, …"""
    load = place.wish.load
    sqlite = place.on_database("") if options.both_databases else None
    if sqlite is not None:
        asyncio.run(ours.prepare(sqlite))
    for _ in range(options.pairs):
        printer.add("ours", _ours(place))
        if sqlite is not None:
            printer.add("sqlite", _ours(sqlite))
        for variant in theirs.variants(load) if options.against == CHAIN else ():
            work = partial(theirs.round_of, place, variant)
            printer.add(variant.title, _with_stub(place, work))
    found = figures.report(load, printer.rounds)
    return {**found, **(figures.sqlite_beside(printer.rounds) if sqlite is not None else {})}


def _submitted(place: Place, options: Options, printer: Printer) -> dict[str, Any]:
    """As `_in_turn`, the submitter of either alone on one core."""
    first, *others = cores.here()
    servers = {"any": [first, *others], "others": others or [first], "same": [first]}
    pids = [pid for part in place.servers.values() for pid in part]
    cores.pin_trees(pids, servers[options.servers_on])
    with cores.pinned(first):
        where = {"submitter": cores.here(), "servers": servers[options.servers_on]}
        printer.say(f"cores: {where}")
        return {**_in_turn(place, options, printer), "cores": where}


def _with_flower(place: Place, pairs: int, printer: Printer) -> dict[str, Any]:
    """Ours with Flower attached and without, in turn."""
    for _ in range(pairs):
        watching = Watching()
        made = asyncio.run(ours.round_of(place, flower=True, beside=watching.beside))
        printer.add("ours", made.with_more(watching.more))
        printer.add(_WITHOUT, _ours(place))
    load = place.wish.load
    return figures.beside(load, printer.rounds, _WITHOUT, "ours without Flower")


def _by_workers(place: Place, options: Options, printer: Printer) -> dict[str, Any]:
    """So many workers, then so many, in turn; and then some that come and go."""
    for _ in range(options.pairs):
        for count in options.by_workers:
            printer.add(str(count), _ours(place.with_wish(workers=count)))
    rounds = {count: printer.rounds[str(count)] for count in options.by_workers}
    found = figures.scaled(place.wish.load, rounds)
    if options.join_and_drain:
        found["join_and_drain"] = asyncio.run(joining.round_of(place))
        printer.say(str(found["join_and_drain"]))
        found["kept"] = joining.kept(found["join_and_drain"])
    return found


def _profiled(place: Place, file: Path, printer: Printer) -> dict[str, float]:
    """One more round, which does not count."""
    profile = profiling.Profile(file, place.folder)
    made = asyncio.run(ours.round_of(place, beside=profile.beside))
    printer.say(f"with py-spy beside it: {made.runs_per_second:.0f} runs/s; {file}")
    found = profile.shares()
    printer.say(profiling.table(found))
    return found


def _ours(place: Place) -> Round:
    return _with_stub(place, lambda: asyncio.run(ours.round_of(place)))


def _with_stub(place: Place, work: Callable[[], Round]) -> Round:
    """The round, with what the stub did meanwhile and could have done on one core."""
    if place.stub is None:
        return work()
    before = place.stub.statistics()
    made = work()
    after = place.stub.statistics()
    spent = after["cpu_seconds"] - before["cpu_seconds"]
    more = {
        "stub_cpu_share": spent / made.seconds,
        "stub_requests_per_cpu_second": (after["requests"] - before["requests"]) / spent,
    }
    return made.with_more(more)


# --- settings and options -------------------------------------------------------------------------


def _settings(wish: Wish) -> dict[str, Any]:
    """Of our workers, which only this load needs."""
    if wish.load == "inflight":
        return inflight.settings(wish)
    return {"concurrency": IO200_CONCURRENCY} if wish.load == "io200" else {}


_PLACES = ("state_dir", "config_dir", "broker_url", "database_url")


def _shown(own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of our workers that are not their defaults."""
    return {name: value for name, value in own.items() if name not in _PLACES}


def _chosen(wish: Wish, options: Options) -> dict[str, Any]:
    return {
        "runs": wish.runs, "steps": wish.steps,
        "workers": list(options.by_workers) if len(options.by_workers) > 1 else wish.workers,
        "pairs": options.pairs, "batch": wish.batch or wish.runs,
    }  # fmt: skip
