"""What watchers see of a run in hand: the link it is at, as a Celery task of its own.

The link that a hop stands for is shown by the hop's own message; links that continue inline get
events with the id and parent that a message of theirs would have (`ports.hop_id_of`). Each link
that was shown as begun is shown to end once: it is done, failed for good, waits for its next try,
or the run turned back before it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from orchestrator.core.saga import Saga, begun, current
from orchestrator.core.states import DONE, DUE, STUCK, LinkStatus
from orchestrator.engine.deps import Deps
from orchestrator.engine.ledger import At
from orchestrator.ports import ActiveRun, Hint, Hop, RunRecord, StepEnd, is_urgent


@dataclass(slots=True)
class _Shown:
    """The link a run is at. Its ids are worked out only when somebody looks."""

    since: float  # UNIX time
    source: Hop | Saga
    hint: Hint | None = None


class Showing:
    """The links that one hop has begun, and the one it is at."""

    def __init__(self, run: RunRecord, hop: Hop, saga: Saga, deps: Deps) -> None:
        self._run, self._events = run, deps.events
        at = current(saga)
        self._begun = [at]
        self._open = True  # begun, and not yet shown how it went
        self._shown = _Shown(time.time(), hop)
        if self._events.watched:
            self._events.step_started(self._hint(), by_message=True)
            if at is not None and begun(saga.link(*at)) and run.status in DUE:
                self._events.step_revived(self._hint())

    @property
    def activity(self) -> ActiveRun:
        """What the run is at now. Any thread may ask."""
        shown = self._shown
        hint = self._hint_of(shown)
        return ActiveRun(
            run_id=hint.run_id, epoch=hint.epoch, hop_id=hint.hop_id, label=hint.label,
            parent_hop_id=hint.parent_hop_id, task=hint.task, queue=hint.queue, since=shown.since,
        )  # fmt: skip

    @property
    def links_begun(self) -> int:
        """Links begun so far; another attempt at the same one does not count."""
        return len(self._begun)

    def is_at(self, at: At) -> bool:
        """Whether this is the link begun last; at first it is the one the hop stands for."""
        return self._begun[-1] == at

    def begin(self, at: At, saga: Saga) -> None:
        """Show a link; another attempt at the same one shows nothing new."""
        if self.is_at(at):
            return
        self.end(StepEnd.REVOKED, saga.cause)
        self._begun.append(at)
        self._shown = _Shown(time.time(), saga)
        self._open = True
        if self._events.watched:
            self._events.step_started(self._hint())

    def settled(self, at: At, saga: Saga, *, accepted: bool, reason: str) -> None:
        """Show how a link ended, if it did: between attempts in hand it is still the same task."""
        link = saga.link(*at)
        if link.status in STUCK or link.status is LinkStatus.HANDLED or not accepted:
            self.end(StepEnd.FAILED, reason)
        elif link.status in DONE:
            self.end(StepEnd.SUCCEEDED, reason)

    def end(self, how: StepEnd, detail: str) -> None:
        """Show that the link is over, unless that has been shown."""
        if self._open:
            self._open = False
            if self._events.watched:
                seconds = max(time.time() - self._shown.since, 0.0)
                self._events.step_ended(self._hint(), how, seconds=seconds, detail=detail)

    def leave(self, saga: Saga) -> None:
        """Others go on with the run: at this link, or at one before which it turned back."""
        at = current(saga)
        if at is not None and not self.is_at(at):
            self.end(StepEnd.REVOKED, saga.cause)
        if self._open:
            self._open = False
            if self._events.watched:
                self._events.step_left(self._hint())

    def _hint(self) -> Hint:
        return self._hint_of(self._shown)

    def _hint_of(self, shown: _Shown) -> Hint:
        if shown.hint is None:
            shown.hint = self._at(shown.source)
        return shown.hint

    def _at(self, source: Hop | Saga) -> Hint:
        run = self._run
        if isinstance(source, Saga):
            urgent = is_urgent(run.priority, None)
            return Hint.at(source, run_id=run.id, epoch=run.epoch, lane=run.lane, urgent=urgent)
        return Hint(
            run_id=run.id, epoch=run.epoch, hop_id=source.hop_id, label=source.label,
            parent_hop_id=source.parent_hop_id, task=source.task, queue=source.queue,
        )  # fmt: skip
