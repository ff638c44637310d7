"""What the ledger saw, held against what was killed when and what an engine says of runs. Pure.

Times are UNIX seconds of one machine. A run was in flight at a kill when a request of it was under
way: the connection of a killed worker is cut before its answer; a killed server leaves the calls of
its workers alone, and the run is one that had not ended and was heard of within a second.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tests.bench.kills.schedule import Part
from tests.bench.kills.work import STEPS
from tests.faults.chaos.recovered import percentile
from tests.faults.ledger.records import Records, Request

HEARD_OF_SECONDS = 1.0
KINDS = {"s1": "keyed", "s2": "asked", "s3": "unkeyed", "s4": "keyed", "s5": "keyed"}
Link = tuple[str, str, str]  # run, step, direction


class Ending(StrEnum):
    """What an engine says of a run."""

    SUCCEEDED = "succeeded"
    UNDONE = "undone"  # it was refused, and says that its undos are done
    PERSON = "left to a person"  # it stopped, says why, and waits for a decision
    FAILED = "failed otherwise"
    OPEN = "never ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """One that has been done."""

    at: float
    part: Part
    name: str  # of the process


@dataclass(frozen=True, kw_only=True, slots=True)
class Recovery:
    """Of the runs in flight at the kills of one part."""

    kills: int = 0
    in_flight: int = 0
    seconds: tuple[float, ...] = ()  # from the kill to the next request of each
    to_person: int = 0  # asked for nothing more: the engine has left it to a person
    never: int = 0  # asked for nothing more, for no reason given

    def to_json(self) -> dict[str, Any]:
        """Figures; seconds."""
        shares = {"p50": percentile(self.seconds, 0.5), "max": percentile(self.seconds, 1.0)}
        return {
            "kills": self.kills, "in_flight": self.in_flight,
            **{name: None if value is None else round(value, 2) for name, value in shares.items()},
            "to_person": self.to_person, "never": self.never,
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of all runs."""

    runs: int
    endings: Mapping[str, int]
    recoveries: Mapping[Part, Recovery]
    sent_again: Mapping[str, int]  # steps and undos asked for more than once, by kind
    doubled: Mapping[str, int]  # effects beyond the first of a step, by kind
    missing: int  # steps without an effect, of runs that are said to have succeeded
    left: int  # effects neither undone nor of a succeeded run, and nobody is told
    left_to_person: int  # the same, of runs that wait for a person
    wrong: Sequence[str] = field(default=())  # runs that ended otherwise than announced; some names

    def to_json(self) -> dict[str, Any]:
        """Figures."""
        return {
            "runs": self.runs, "endings": dict(self.endings),
            "recovery_seconds": {p.value: r.to_json() for p, r in self.recoveries.items()},
            "sent_again": dict(self.sent_again), "doubled": dict(self.doubled),
            "missing": self.missing, "left": self.left, "left_to_person": self.left_to_person,
            "wrong": list(self.wrong),
        }  # fmt: skip


def judge(
    records: Records, kills: Sequence[Kill], endings: Mapping[str, Ending], refused: set[str]
) -> Verdict:
    """All runs of `endings`; `refused` are those whose last step the ledger refuses."""
    requests = _by_run(records.requests, endings)
    effects = Counter(
        (one.run, one.step, one.direction) for one in records.effects if one.run in endings
    )
    nets = {run: _net(effects, run) for run in endings}
    return Verdict(
        runs=len(endings),
        endings=Counter(ending.value for ending in endings.values()),
        recoveries={part: _recovery(requests, kills, part, endings, refused) for part in Part},
        sent_again=_again(requests),
        doubled=_doubled(effects),
        missing=sum(net < 1 for run, net in _steps(nets, endings, {Ending.SUCCEEDED})),
        left=sum(
            max(0, net)
            for run, net in _steps(nets, endings, set(Ending) - {Ending.SUCCEEDED, Ending.PERSON})
        ),
        left_to_person=sum(max(0, net) for _, net in _steps(nets, endings, {Ending.PERSON})),
        wrong=[run for run, ending in endings.items() if _is_wrong(run, ending, refused)][:10],
    )


def _is_wrong(run: str, ending: Ending, refused: set[str]) -> bool:
    """A success that was refused, or a refusal that nobody spoke."""
    odd = Ending.SUCCEEDED if run in refused else Ending.UNDONE
    return ending in (odd, Ending.FAILED)


def _by_run(requests: Sequence[Request], endings: Mapping[str, Ending]) -> dict[str, list[Request]]:
    found: dict[str, list[Request]] = defaultdict(list)
    for request in requests:
        if request.run in endings:
            found[request.run].append(request)
    return found


def _net(effects: Mapping[Link, int], run: str) -> list[int]:
    """Of each step: how often it stands done."""
    return [effects.get((run, s, "do"), 0) - effects.get((run, s, "undo"), 0) for s in STEPS]


def _steps(
    nets: Mapping[str, Sequence[int]], endings: Mapping[str, Ending], which: set[Ending]
) -> Iterator[tuple[str, int]]:
    for run, ending in endings.items():
        if ending in which:
            yield from ((run, net) for net in nets[run])


def _again(requests: Mapping[str, Sequence[Request]]) -> Counter[str]:
    asked = Counter(
        (request.run, request.step, request.direction)
        for some in requests.values() for request in some if not request.question
    )  # fmt: skip
    found: Counter[str] = Counter()
    for (_, step, direction), count in asked.items():
        if count > 1:
            found["undo" if direction == "undo" else KINDS[step]] += count - 1
    return found


def _doubled(effects: Mapping[Link, int]) -> Counter[str]:
    found: Counter[str] = Counter()
    for (_, step, direction), count in effects.items():
        if direction == "do" and count > 1:
            found[KINDS[step]] += count - 1
    return found


# --- how soon runs went on ------------------------------------------------------------------------


def _recovery(
    requests: Mapping[str, Sequence[Request]], kills: Sequence[Kill], part: Part,
    endings: Mapping[str, Ending], refused: set[str],
) -> Recovery:  # fmt: skip
    in_flight, seconds, quiet = 0, list[float](), Counter[Ending]()
    done = [kill for kill in kills if kill.part is part]
    for kill in done:
        for run, some in requests.items():
            if not _in_flight(some, kill, is_refused=run in refused):
                continue
            in_flight += 1
            after = min((one.at for one in some if one.at > kill.at), default=math.inf)
            if after < math.inf:
                seconds.append(after - kill.at)
            else:
                quiet[endings[run]] += 1
    to_person = quiet[Ending.PERSON]
    return Recovery(
        kills=len(done), in_flight=in_flight, seconds=tuple(seconds), to_person=to_person,
        never=quiet.total() - to_person,
    )  # fmt: skip


def _in_flight(some: Sequence[Request], kill: Kill, *, is_refused: bool) -> bool:
    before = [one for one in some if one.at <= kill.at]
    if not before:
        return False
    last = before[-1]
    if _cut(last, kill):
        return True
    if kill.part is Part.WORKER:
        return False
    final = ("s1", "undo") if is_refused else ("s5", "do")
    if (last.step, last.direction) == final:  # nothing more is to be asked for
        return False
    heard = last.answered_at if last.answered_at is not None else last.at
    return heard > kill.at - HEARD_OF_SECONDS


def _cut(last: Request, kill: Kill) -> bool:
    """A killed worker takes its connections with it: what was under way gets no answer."""
    under_way = kill.at - last.at < HEARD_OF_SECONDS
    return kill.part is Part.WORKER and under_way and not last.answered
