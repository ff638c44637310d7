"""Compiled workflow versions by id. Versions are immutable, so nothing here ever expires."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orchestrator.core.plan import Plan
from orchestrator.definitions.program import Program
from orchestrator.definitions.step_edits import Edits, edited_program
from orchestrator.errors import Untrusted

Load = Callable[[str], Awaitable[Plan]]


class Programs:
    """Loads and compiles each version once per process."""

    def __init__(self, load: Load, *, look: Load | None = None) -> None:
        """`load` raises Untrusted for a version that may not be run.

        `look` loads it all the same, for who only looks at runs of it; None: nobody does.
        """
        self._load, self._look = load, look
        self._programs: dict[str, Program] = {}
        self._base_urls: dict[str, str] = {}  # asked for at every call, so kept

    async def of_run(self, workflow_id: str, edits: Edits) -> Program:
        """As the run shall be driven: with the values that people have given steps of it.

        Raises NotFound when no such version is stored, Untrusted when it may not be run.
        """
        program = await self.trusted(workflow_id)
        return edited_program(program, edits) if edits else program

    async def get(self, workflow_id: str) -> Program:
        """As it is stored, whether it may be run or not. Raises NotFound.

        Raises InvalidDefinition, Untrusted where it cannot be read at all.

        One that may not is neither kept, nor does it say where APIs are.
        """
        try:
            return await self.trusted(workflow_id)
        except Untrusted:
            if self._look is None:
                raise
            return Program(await self._look(workflow_id))

    async def trusted(self, workflow_id: str) -> Program:
        """Raises NotFound when no such version is stored, Untrusted when it may not be run."""
        known = self._programs.get(workflow_id)
        if known is None:
            # Two callers at once both load it; the second result equals the first.
            known = self._programs[workflow_id] = Program(await self._load(workflow_id))
            self._base_urls = {**known.base_urls(), **self._base_urls}
        return known

    def base_url(self, api: str) -> str | None:
        """Where a document says that an API is, for one whose configuration does not."""
        return self._base_urls.get(api)
