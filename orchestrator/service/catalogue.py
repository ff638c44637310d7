"""What workflows there are, kept in the process for those who look for one.

The first question reads all of them; later ones ask the database at most once a second how often
versions were published and aliases changed, and read those that are new. Between, nothing is read.
How often workflows have succeeded is counted anew every five minutes, among the newest runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from orchestrator.core.plan import Plan
from orchestrator.errors import Unavailable
from orchestrator.ports import WorkflowStore, WorkflowVersion
from orchestrator.ports.finding import Allowed, Finder, Fit, VectorStore
from orchestrator.service.wording import about_of

_log = structlog.get_logger(__name__)

_LOOK_AFTER_SECONDS = 1.0
_COUNT_AFTER_SECONDS = 300.0
_MOST_COUNTED = 10_000
_READ_AT_ONCE = 200
"""More new versions than so many are read as all are."""
_TEXTS_AT_ONCE = 32
"""So that other work gets its turn between."""
_TEXTS_RECALLED_AT_ONCE = 200
"""Six megabytes."""
_FORGOTTEN_AFTER_SECONDS = 30 * 86_400.0
"""Of texts and models that nobody has had any more."""
_TEXTS_WAITED_FOR = 64
"""Half a second's work: who asks waits for it. More is done beside the answers."""


Successes = Callable[[int], Awaitable[Mapping[str, Mapping[str, int]]]]
"""How often each workflow has succeeded, by tenant, among so many of the newest runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is shown of a workflow before it is chosen."""

    workflow: str
    title: str
    inputs: Sequence[str]  # `name` of required ones, `name?` of others
    outputs: Sequence[str]


class Catalogue:
    """Of each workflow the version that who names none gets."""

    def __init__(
        self, store: WorkflowStore, open_finder: Callable[[], Finder], *,
        monotonic: Callable[[], float], successes: Successes, vectors: VectorStore,
        doubt: Callable[[WorkflowVersion], str] = lambda _: "",
    ) -> None:  # fmt: skip
        """`doubt`: why a version may not be run; such ones are not found."""
        self._doubt = doubt
        self._store, self._open, self._monotonic = store, open_finder, monotonic
        self._successes, self._vectors = successes, vectors
        self._finder: Finder | None = None
        self._ids: dict[str, str] = {}  # of versions, by workflow
        self._entries: dict[str, Entry] = {}
        self._published = -1
        self._uses: Mapping[str, Mapping[str, int]] = {}  # by tenant
        self._looked_at = self._counted_at = float("-inf")
        self._one_at_a_time = asyncio.Lock()
        self._deepening: asyncio.Task[None] | None = None
        self._has_forgotten = False  # vectors of nobody

    async def some(self, *, limit: int, allowed: Allowed) -> list[Entry]:
        """The first by name."""
        await self._fresh()
        names = [name for name in sorted(self._entries) if allowed(name)]
        return [self._entries[name] for name in names[:limit]]

    async def find(
        self, question: str, *, limit: int, allowed: Allowed, tenant: str
    ) -> list[tuple[Entry, Fit]]:
        """What fits a question, the best first; nothing when nothing fits.

        Among what fits about as well, what this tenant has used with success comes first.
        """
        finder = await self._fresh()
        fits = await asyncio.to_thread(
            finder.find, question, limit=limit, allowed=allowed, uses=self._uses.get(tenant)
        )
        return [(self._entries[fit.name], fit) for fit in fits]

    async def _fresh(self) -> Finder:
        async with self._one_at_a_time:
            if self._finder is None:
                self._finder = await asyncio.to_thread(self._open)
            if self._monotonic() - self._looked_at >= _LOOK_AFTER_SECONDS:
                await self._look(self._finder)
                self._looked_at = self._monotonic()
            if self._monotonic() - self._counted_at >= _COUNT_AFTER_SECONDS:
                self._uses = await self._successes(_MOST_COUNTED)
                self._counted_at = self._monotonic()
            return self._finder

    async def _look(self, finder: Finder) -> None:
        published = await self._store.changes_published()
        if published == self._published:
            return
        offered = await self._store.offered_ids()
        new = [each for each in offered if self._ids.get(each) != offered[each]]
        versions = [each for each in await self._read(new, offered) if not self._doubted(each)]
        await asyncio.to_thread(finder.learn, [about_of(version) for version in versions])
        for version in versions:
            self._ids[version.workflow] = version.id
            self._entries[version.workflow] = entry_of(version.plan)
        self._published = published
        await self._deepen(finder)

    def _doubted(self, version: WorkflowVersion) -> bool:
        doubt = self._doubt(version)
        if doubt:
            _log.warning("workflow.untrusted", workflow=version.workflow, found=doubt)
        return bool(doubt)

    async def _read(self, new: Sequence[str], ids: Mapping[str, str]) -> list[WorkflowVersion]:
        if len(new) > _READ_AT_ONCE:
            wanted = {ids[name] for name in new}
            found = {each.id: each for each in await self._store.workflows() if each.id in wanted}
        else:
            found = {}  # nor are those in there that an alias names
        return [found.get(ids[x]) or await self._store.workflow_by_id(ids[x]) for x in new]

    async def _deepen(self, finder: Finder) -> None:
        """A little at once, a lot beside the answers, which go by words until it is done."""
        wanting = await asyncio.to_thread(finder.wanting)
        if not wanting:
            return
        if len(wanting) <= _TEXTS_RECALLED_AT_ONCE:
            await self._recall(finder, wanting)
            if await self._make(finder, _TEXTS_WAITED_FOR) == 0:
                await self._forget()
                return
        if self._deepening is None or self._deepening.done():
            self._deepening = asyncio.create_task(self._deepen_on(finder))

    async def _deepen_on(self, finder: Finder) -> None:
        await self._recall(finder, await asyncio.to_thread(finder.wanting))
        left = 1
        while left:
            left = await self._make(finder, _TEXTS_AT_ONCE)
        await self._forget()
        _log.info("search.deepened", workflows=len(self._entries))

    async def _recall(self, finder: Finder, wanting: Sequence[str]) -> None:
        """What this or another process has made before."""
        with _noted("read"):
            for first in range(0, len(wanting), _TEXTS_RECALLED_AT_ONCE):
                some = wanting[first : first + _TEXTS_RECALLED_AT_ONCE]
                kept = await self._vectors.vectors(finder.model, some)
                await asyncio.to_thread(finder.recall, kept)

    async def _forget(self) -> None:
        """Once in a process is often enough."""
        if not self._has_forgotten:
            self._has_forgotten = True
            with _noted("forget"):
                await self._vectors.forget_vectors(unused_seconds=_FORGOTTEN_AFTER_SECONDS)

    async def _make(self, finder: Finder, most: int) -> int:
        """How many are left."""
        done = await asyncio.to_thread(finder.deepen, most)
        if done.made:
            with _noted("write"):
                await self._vectors.keep_vectors(finder.model, done.made)
        return done.left


@contextmanager
def _noted(what: str) -> Iterator[None]:
    """Vectors that cannot be kept or read are made anew: search need not wait for them."""
    try:
        yield
    except Unavailable as error:
        _log.warning("search.vectors_unavailable", wanted=what, error=str(error))


def entry_of(plan: Plan) -> Entry:
    """What is shown of it."""
    schema: Mapping[str, Any] = plan.inputs_schema
    properties, required = schema.get("properties"), schema.get("required")
    needed = set(required) if isinstance(required, list) else set()
    return Entry(
        workflow=plan.workflow, title=plan.title, outputs=sorted(plan.outputs),
        inputs=[
            name if name in needed else f"{name}?"
            for name in (properties if isinstance(properties, Mapping) else {})
        ],
    )  # fmt: skip
