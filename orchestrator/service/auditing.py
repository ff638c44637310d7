"""Is the audit as it was written? Asked by auditors; and the pass that keeps it answerable."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import structlog

from orchestrator.core.chain import Breach, Story, breaches, erased_content
from orchestrator.errors import Unavailable
from orchestrator.ports.auditing import AuditStore, Checkpoint
from orchestrator.ports.vouching import Keys, Signer

log = structlog.get_logger(__name__)

RUNS_AT_ONCE = 500
MOST_BREACHES = 1000
"""Shown; all are counted."""


@dataclass(kw_only=True)
class ChainsSeen:
    """Chains that were looked at, wherever they lie, and what is wrong with them."""

    runs: int = 0
    records: int = 0
    erased_records: int = 0  # whose data is gone, with a record of who did it
    older_records: int = 0  # of times before there were chains: nothing can be said of them
    broken: int = 0
    breaches: list[Breach] = field(default_factory=list)  # the first MOST_BREACHES

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.broken

    def see(self, story: Story) -> None:
        """Count a run's records, and the run unless these alone are left of it."""
        self.runs += story.claimed is not None
        for row in story.records:
            self.records += row.number
            self.older_records += row.number * (row.chain is None)
            self.erased_records += row.number * (erased_content(row.data) is not None)

    def note(self, found: Sequence[Breach]) -> None:
        """Take what is wrong over."""
        self.broken += len(found)
        self.breaches += found[: max(MOST_BREACHES - len(self.breaches), 0)]


@dataclass(kw_only=True)
class Verification(ChainsSeen):
    """Those of the database, with its checkpoints."""

    deleted_runs: int = 0  # with a proof
    uncovered_runs: int = 0  # that no checkpoint has seen yet: cutting off their end would not show
    checkpoints: int = 0
    unsigned_checkpoints: int = 0  # or by a key that is not known here
    last_checkpoint: Checkpoint | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A checkpoint's number and digest as somebody keeps them outside of the database."""

    number: int
    digest: str


class Auditing:
    """Verifies the audit of all runs, or of one."""

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    async def verify(
        self,
        keys: Keys,
        *,
        kept: Sequence[Kept] = (),
        seen: Callable[[int], None] = lambda runs: None,
    ) -> Verification:
        """Everything: checkpoints first, then each run; `seen` hears of the runs done so far."""
        found = Verification()
        await self._verify_checkpoints(found, keys, kept)
        after: str | None = ""
        while after is not None:
            page = await self._store.stories(after=after, most=RUNS_AT_ONCE)
            for story in page.stories:
                _take(found, story)
            after = page.after
            seen(found.runs)
        return found

    async def verify_run(self, run_id: str) -> Verification:
        """One run's chain, against its row and against what checkpoints know of it."""
        found = Verification()
        _take(found, await self._store.story(run_id))
        return found

    async def _verify_checkpoints(
        self, found: Verification, keys: Keys, kept: Sequence[Kept]
    ) -> None:
        made = await self._store.checkpoints()
        before = None
        for each in made:
            wrong = list(_wrong_with(each, before))
            if each.number:
                confirmed = keys.confirms(each)
                if confirmed is False:
                    wrong.append("the signature is not of this text")
                found.unsigned_checkpoints += confirmed is None
                found.checkpoints += 1
                if await self._store.checkpoint_content(each.number) != each.content:
                    wrong.append("the heads and deletions kept of it are not those it was made of")
            found.note([_of(each.number, what) for what in wrong])
            before = each
        digests = {each.number: each.digest for each in made}
        for one in kept:
            if digests.get(one.number) != one.digest:
                found.note([_of(one.number, "not the one that was kept elsewhere, or gone")])
        found.last_checkpoint = before if before is not None and before.number else None


def _wrong_with(each: Checkpoint, before: Checkpoint | None) -> list[str]:
    wrong = []
    expected = 0 if before is None else before.number + 1
    if each.number != expected and not (before is None and each.number == 1):
        wrong.append(f"checkpoints {expected} to {each.number - 1}: missing")
    elif each.previous != ("" if before is None else before.digest):
        wrong.append("it does not follow on the one before")
    if each.number and sha256(each.text()).hexdigest() != each.digest:
        wrong.append("its text is not what its digest was made over")
    return wrong


def _of(number: int, what: str) -> Breach:
    return Breach(place=f"checkpoint {number}", seq=None, what=what)


def _take(found: Verification, story: Story) -> None:
    found.see(story)
    found.deleted_runs += story.claimed is None and story.deleted is not None
    found.uncovered_runs += story.claimed is not None and not story.anchors
    found.note(breaches(story))


class Checkpoints:
    """The pass of every worker: one of them makes the next checkpoint when it is due."""

    def __init__(
        self,
        store: AuditStore,
        signer: Signer | None,
        *,
        every_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store, self._signer = store, signer
        self._every, self._jitter = every_seconds, jitter

    async def run_passes(self) -> None:
        """Until cancelled. Of all workers one makes each checkpoint."""
        while True:
            await asyncio.sleep(self._every * (0.5 + self._jitter()))
            try:
                await self.make(at_least_seconds=self._every)
            except Unavailable as error:
                log.warning("audit.checkpoint_postponed", why=str(error))
            except Exception:
                # One bad pass must not end the checkpoints for good.
                log.exception("audit.checkpoint_failed")

    async def make(
        self, *, at_least_seconds: float = 0.0, everything: bool = False
    ) -> Checkpoint | None:
        """One now, unless there is a younger one. Its number and digest are logged: whoever keeps
        the log elsewhere can say later that none was taken away. Raises Unavailable."""
        made = await self._store.make_checkpoint(
            self._signer, at_least_seconds=at_least_seconds, everything=everything
        )
        if made is not None:
            log.info(
                "audit.checkpoint", number=made.number, digest=made.digest, heads=made.heads,
                deletions=made.deletions, key_id=made.key_id,
            )  # fmt: skip
        return made
