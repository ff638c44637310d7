"""What an answer means for its link: landed, not landed, or unknown.

Success criteria have the last word, whatever the status. Without them 2xx succeeds, and so does a
status that the step declares as "already done". For the rest see `_by_status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from orchestrator.core.exchange import Judgement, Outcome
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions.actions import Actions, Places
from orchestrator.definitions.criteria import Criterion, parse_criterion
from orchestrator.definitions.expressions import Expression, Value, compile_value
from orchestrator.definitions.problems import Path, UnresolvedExpression
from orchestrator.definitions.scope import Exchange, Scope, UnreadableBody
from orchestrator.definitions.values import ABSENT
from orchestrator.telemetry import redact

_TRY_LATER = frozenset({408, 425, 429, 503})  # the API did nothing and says so
_WHO_ARE_YOU = frozenset({401, 403, 407})
_ABSENT_THERE = frozenset({404, 410})
_GO_AND_SEE = frozenset({302, 303})  # often said of something that was done
_IN_PROGRESS = 409  # perhaps our own earlier attempt is still being worked on
_MOST_LOOKED_AT = 4_000  # characters of what an API says is wrong
_STATUS_TEXTS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class AnswerRules:
    """The compiled rules of one call."""

    def __init__(self, call: Call, places: Places | None = None) -> None:
        template = call.template
        self._effects = call.effects
        self._criteria = _conditions(template.get("successCriteria", ()))
        self.actions = Actions(template, places)
        self._already_done = {
            item["status"]: _outputs(item.get("outputs", {}), ("alreadyDone", index, "outputs"))
            for index, item in enumerate(template.get("alreadyDone", ()))
        }
        self._outputs = _outputs(template.get("outputs", {}), ("outputs",))
        self._result_is_outputs = bool(template.get("resultIsOutputs"))

    def expressions(self) -> Iterator[tuple[Path, Expression]]:
        """Every expression, with its place in the template."""
        for index, condition in enumerate(self._criteria):
            for expression in condition.expressions():
                yield ("successCriteria", index, "condition"), expression
        yield from self.actions.expressions()
        for outputs in (self._outputs, *self._already_done.values()):
            for value in outputs.values():
                yield from value.expressions()

    def never_hold_for(self) -> Iterator[int]:
        """Statuses declared as already done for which the success criteria cannot hold."""
        for status in self._already_done:
            if not all(condition.may_hold_for(status) for condition in self._criteria):
                yield status

    def judge(self, scope: Scope, exchange: Exchange) -> Judgement:
        """What the answer says about the call's effect."""
        try:
            return self._judge(scope, exchange)
        except UnreadableBody as error:
            return Judgement(
                outcome=Outcome.UNKNOWN,
                reason=f"{status_text(exchange)}, but its body cannot be read: {error}",
            )

    def judge_verification(self, scope: Scope, exchange: Exchange) -> Judgement:
        """What the answer to the question "does it exist?" says about the doubtful effect."""
        reason = f"verification: {status_text(exchange)}"
        try:
            if self._succeeds(scope, exchange) and not self._says_nothing(exchange):
                outputs = self.outputs(scope, exchange)
                return Judgement(outcome=Outcome.LANDED, outputs=outputs, reason=reason)
        except UnreadableBody:
            return Judgement(outcome=Outcome.UNKNOWN, reason=reason)
        if exchange.succeeded or exchange.response.status in _ABSENT_THERE:
            # It certainly does not exist, so that another attempt does no harm.
            return Judgement(
                outcome=Outcome.NOT_LANDED, retryable=True, settles_doubt=True, reason=reason
            )
        return Judgement(
            outcome=Outcome.UNKNOWN, reason=reason, retry_after_seconds=retry_after(exchange)
        )

    @property
    def output_names(self) -> frozenset[str] | None:
        """Names that are declared; None: whatever the result holds."""
        if self._result_is_outputs:
            return None
        return frozenset(self._outputs).union(*self._already_done.values())

    def outputs(self, scope: Scope, exchange: Exchange) -> dict[str, Any]:
        """The outputs of a landed call; those that lead nowhere are left out."""
        if self._result_is_outputs:
            body = exchange.body
            return dict(body) if isinstance(body, Mapping) else {}
        values = self._outputs
        if self._already_done:
            values = {**values, **self._already_done.get(exchange.response.status, {})}
        return resolved(values, scope)

    # --- judging ----------------------------------------------------------------------------------

    def _judge(self, scope: Scope, exchange: Exchange) -> Judgement:
        if self._succeeds(scope, exchange):
            outputs = self.outputs(scope, exchange)
            landed = Judgement(
                outcome=Outcome.LANDED, outputs=outputs, reason=status_text(exchange)
            )
            return self.actions.landed(landed, scope)
        if exchange.succeeded and self._effects is not Effects.NONE:
            return self._unwanted(scope, exchange)
        return self._failure(scope, exchange)

    def _succeeds(self, scope: Scope, exchange: Exchange) -> bool:
        if self._criteria:
            return all(condition.holds(scope) for condition in self._criteria)
        return exchange.succeeded or exchange.response.status in self._already_done

    def _says_nothing(self, exchange: Exchange) -> bool:
        """A function that is asked whether an effect exists returns nothing when it does not."""
        return self._result_is_outputs and not exchange.body

    def _unwanted(self, scope: Scope, exchange: Exchange) -> Judgement:
        """It happened, but not as the criteria want it."""
        unwanted = Judgement(
            outcome=Outcome.LANDED, accepted=False, outputs=self.outputs(scope, exchange),
            reason=f"{status_text(exchange)}, but {self._broken(scope)}",
        )  # fmt: skip
        return self.actions.failed(unwanted, scope)

    def _failure(self, scope: Scope, exchange: Exchange) -> Judgement:
        judgement = self._by_status(exchange, self._reason(scope, exchange))
        return self.actions.failed(judgement, scope)

    def _by_status(self, exchange: Exchange, reason: str) -> Judgement:
        status, after = exchange.response.status, retry_after(exchange)
        server_failed = status >= 500 and status not in _TRY_LATER
        perhaps_done = server_failed or status in _GO_AND_SEE
        if perhaps_done and self._effects is not Effects.NONE:
            return Judgement(outcome=Outcome.UNKNOWN, retry_after_seconds=after, reason=reason)
        retryable = server_failed or status in _TRY_LATER
        return Judgement(
            outcome=Outcome.NOT_LANDED, retryable=retryable, retry_after_seconds=after,
            settles_doubt=not retryable and self._settles_doubt(status), reason=reason,
        )  # fmt: skip

    def _settles_doubt(self, status: int) -> bool:
        """Whether a refusal also speaks for earlier attempts with the same key."""
        if status in _WHO_ARE_YOU or status == _IN_PROGRESS or status in self._already_done:
            return False
        return 400 <= status < 500

    def _reason(self, scope: Scope, exchange: Exchange) -> str:
        detail = _redirection(exchange) or _detail(exchange)
        if not detail and exchange.succeeded:
            detail = self._broken(scope)
        return f"{status_text(exchange)}: {detail}" if detail else status_text(exchange)

    def _broken(self, scope: Scope) -> str:
        broken = next((c.said for c in self._criteria if not c.holds(scope)), "")
        return f"not {broken}"


def status_text(exchange: Exchange) -> str:
    """`402 Payment Required`."""
    status = exchange.response.status
    return _STATUS_TEXTS.get(status) or str(status)


def retry_after(exchange: Exchange) -> float | None:
    """Seconds that the API asks to wait (a number, or a date against the answer's own Date)."""
    text = exchange.response.headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return min(float(text), 1e9)
    until, now = _date(text), _date(exchange.response.headers.get("date", ""))
    # Without the server's own clock a date says nothing that could be trusted.
    return None if until is None or now is None else max((until - now).total_seconds(), 0.0)


def _date(text: str) -> datetime | None:
    try:
        parsed = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    return parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def _detail(exchange: Exchange) -> str:
    """What the API itself says is wrong, if it says so in one of the usual places."""
    try:
        body = exchange.body
    except UnreadableBody:
        return ""
    if not isinstance(body, Mapping):
        return ""
    error = body.get("error")
    places = [error, body] if isinstance(error, Mapping) else [body]
    names = ("code", "message", "detail", "title", "error")
    found = [place[name] for place in places for name in names if isinstance(place.get(name), str)]
    said = ": ".join(dict.fromkeys(found[:2]))[:_MOST_LOOKED_AT]
    # Hidden before it is cut: nobody would know the beginning of a secret for what it is.
    return _printable(redact.hidden_text(said)[:300])


def _redirection(exchange: Exchange) -> str:
    """Where a 3xx answer points; only the host, since a query may hold a secret."""
    target = exchange.response.headers.get("location")
    if target is None or not 300 <= exchange.response.status < 400:
        return ""
    try:
        host = urlsplit(target).hostname
    except ValueError:
        host = None
    where = f"to {_printable(host[:100])}" if host else "elsewhere"
    return f"it points {where}, and redirects are not followed; wanted the right base_url or path"


def _printable(text: str) -> str:
    """Text of an API as it may be shown: nothing that moves a cursor or breaks a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def _conditions(items: Any) -> tuple[Criterion, ...]:
    return tuple(parse_criterion(item) for item in items)


def _outputs(data: Mapping[str, Any], path: Path) -> dict[str, Value]:
    return {name: compile_value(value, (*path, name)) for name, value in data.items()}


def resolved(values: Mapping[str, Value], scope: Scope) -> dict[str, Any]:
    """The values by name, without those that lead nowhere."""
    found = {}
    for name, one in values.items():
        try:
            value = one.resolve(scope)
        except UnresolvedExpression:
            continue
        if value is not ABSENT:
            found[name] = value
    return found
