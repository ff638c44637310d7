"""What acting on many runs would do: on which it can be done, and all that stands against it.

Nothing is written. A job asks the same of each run once more when its turn comes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import RunFilter, Store
from orchestrator.service.jobs import JobKind
from orchestrator.service.moving import Migration, Moving
from orchestrator.service.rerunning import Rerun, Rerunning

MOST_LOOKED_AT = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A run that the act would be refused for."""

    run_id: str
    problems: Sequence[Problem]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """Of all that fit, the newest `MOST_LOOKED_AT`."""

    fit: int
    looked_at: int
    can: int  # of these: on how many the act would be done
    refused: Sequence[Refused]


Why = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[Problem]]]


class CheckingRuns:
    """Tries acts on many runs."""

    def __init__(
        self, store: Store, kinds: Mapping[str, JobKind], moving: Moving, rerunning: Rerunning
    ) -> None:
        self._store, self._kinds = store, kinds
        self._moving, self._rerunning = moving, rerunning
        self._why: Mapping[str, Why] = {"migrate": self._migrate, "rerun": self._rerun}

    async def check(self, act: str, which: RunFilter, arguments: Mapping[str, Any]) -> Checked:
        """Try `migrate` or `rerun` with a job's arguments. Raises InvalidInput, NotFound."""
        if act not in self._why:
            wanted = f"{' or '.join(self._why)}; others can be counted"
            problem = Problem(place="act", found=act, wanted=wanted)
            raise InvalidInput("the act cannot be tried", problems=[problem])
        kind = self._kinds[f"runs.{act}"]
        kind.check(arguments)
        chosen = kind.chosen(which)
        assert isinstance(chosen, RunFilter), chosen
        found = await self._store.runs(structs.replace(chosen, limit=MOST_LOOKED_AT))
        tried = [(run.id, await self._why[act](run.id, arguments)) for run in found]
        refused = [Refused(run_id=run_id, problems=why) for run_id, why in tried if why]
        return Checked(
            fit=await self._store.count_things(chosen), looked_at=len(found),
            can=len(found) - len(refused), refused=refused,
        )  # fmt: skip

    async def _migrate(self, run_id: str, told: Mapping[str, Any]) -> Sequence[Problem]:
        wish = Migration(to=told["version"], step=told.get("step"))
        return (await self._moving.look(run_id, wish)).problems

    async def _rerun(self, run_id: str, told: Mapping[str, Any]) -> Sequence[Problem]:
        wish = Rerun(
            run_id=run_id, step=told["step"], by="", reason="", version=told.get("version"),
            repeat_effects=told.get("repeat_effects", False),
        )  # fmt: skip
        return (await self._rerunning.look(wish)).problems
