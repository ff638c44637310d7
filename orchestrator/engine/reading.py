"""Requests of dry runs: those that only read, through the gate, and nothing else ever.

What may leave is looked at here once more, at the last place before the gate, whatever plan and
document said: so no mistake before it sends anything that has an effect.
"""

from __future__ import annotations

import time
from functools import partial

from orchestrator.core.exchange import FrozenRequest, Outcome, Response
from orchestrator.core.states import Direction
from orchestrator.errors import HeldUp, InDoubt, NoCredential, NotLanded, NotSent
from orchestrator.ports import AttemptContext, Gate, GateBusy, Permit, Seen, Transport, Visit

METHODS = frozenset({"GET", "HEAD"})
PATIENCE_SECONDS = 10.0
"""For a place at the gate; a dry run is not worth more."""


class GatedReads:
    """Implements Reads. Used by one event loop."""

    def __init__(
        self, gate: Gate, http: Transport, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._gate, self._http, self._patience = gate, http, patience_seconds

    async def read(
        self, api: str, request: FrozenRequest, *, operation: str, tenant: str, step: str,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        """See Reads."""
        if request.method not in METHODS:
            raise NotSent(f"{request.method} may have an effect; a dry run sends GET and HEAD")
        visit = Visit(api=api, operation=operation, tenant=tenant)
        until = time.monotonic() + self._patience
        while True:
            permit = await self._permit(visit, until - time.monotonic())
            context = AttemptContext(
                run_id="", step_id=step, attempt=1, direction=Direction.FORWARD, tenant=tenant,
                may_leave=partial(_is_fresh, permit),
            )  # fmt: skip
            try:
                return await self._sent(api, request, context, permit, timeout_seconds)
            except HeldUp:  # nothing left: this process was too slow for its place
                if time.monotonic() >= until:
                    raise

    async def _permit(self, visit: Visit, patience_seconds: float) -> Permit:
        try:
            return await self._gate.enter(visit, patience_seconds=max(0.0, patience_seconds))
        except GateBusy as busy:
            raise NotSent(f"{visit.api} is {busy}") from busy

    async def _sent(
        self, api: str, request: FrozenRequest, context: AttemptContext, permit: Permit,
        timeout_seconds: float | None,
    ) -> Response:  # fmt: skip
        seen: Seen | None = None
        begun = time.monotonic()
        try:
            response = await self._http.send(api, request, context, timeout_seconds=timeout_seconds)
            seen = _seen(Outcome.LANDED, response, begun)
            return response
        except HeldUp:
            permit.hand_back()
            raise
        except (NotLanded, InDoubt) as error:
            if not isinstance(error, NoCredential | NotSent):
                landed = Outcome.NOT_LANDED if isinstance(error, NotLanded) else Outcome.UNKNOWN
                seen = _seen(landed, None, begun)
            raise
        except BaseException:  # given up: the API may still be at it
            permit.give_up(after_seconds=time.monotonic() - begun, timeout_seconds=timeout_seconds)
            raise
        finally:
            permit.release(seen)


def _is_fresh(permit: Permit) -> bool:
    return permit.fresh


def _seen(outcome: Outcome, response: Response | None, begun: float) -> Seen:
    return Seen(outcome=outcome, response=response, seconds=time.monotonic() - begun)
