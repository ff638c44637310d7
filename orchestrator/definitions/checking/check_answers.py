"""Does each step look at answers that its API documents?"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from orchestrator.definitions.checking.apis import ApiOperation
from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Call, Criterion, Flow, Step, Use
from orchestrator.definitions.checking.schemas import Schema
from orchestrator.definitions.checking.typing_of import body_parts
from orchestrator.definitions.conditions import Both, Compare, Either, Node, Operand
from orchestrator.definitions.expressions import Expression, Root


def check_answers(flow: Flow, notes: Notes) -> None:
    """Statuses, bodies and headers that criteria and outputs refer to."""
    for step in flow.steps:
        for call in step.calls():
            if call.api is not None:
                _Answers(call, call.api, notes).run()
        if step.call.api is not None:
            for criterion in _of_actions(step):
                _statuses(criterion, step.call.api, notes)


def _of_actions(step: Step) -> Iterator[Criterion]:
    for action in (*step.on_success, *step.on_failure):
        yield from action.criteria


class _Answers:
    def __init__(self, call: Call, api: ApiOperation, notes: Notes) -> None:
        self._call, self._api, self._notes = call, api, notes

    def run(self) -> None:
        criteria = self._call.criteria()
        noted = [_statuses(criterion, self._api, self._notes) for criterion in criteria]
        if not any(noted):
            self._impossible(criteria)
        for use in self._call.seen():
            match use.expression.root:
                case Root.RESPONSE_BODY if use.expression.accessors:
                    self._body(use)
                case Root.RESPONSE_HEADER:
                    self._header(use)

    def _impossible(self, criteria: list[Criterion]) -> None:
        """No documented status meets all criteria. Says nothing where a range is documented."""
        statuses = self._api.statuses
        conditions = [c.condition for c in criteria if c.condition is not None]
        if not statuses or not conditions or not all(s.isdigit() for s in statuses):
            return
        if not any(all(c.may_hold_for(int(s)) for c in conditions) for s in statuses):
            texts = " and ".join(c.text for c in conditions)
            self._notes.add(
                "impossible-criteria", (*self._call.at.path, "successCriteria"), texts,
                f"what a status that {self._api.name} documents can meet: {', '.join(statuses)}",
            )  # fmt: skip

    def _body(self, use: Use) -> None:
        parts = body_parts(self._call, use.expression.accessors)
        if parts and all(part is None for part in parts):
            names = _names_beside(self._api, use.expression)
            last = str(use.expression.accessors[-1])
            close = difflib.get_close_matches(last, names, n=1)
            known = f": {', '.join(names[:12])}" if names else ""
            self._notes.add(
                "undocumented-output", use.at, use.expression.text,
                f"something that {self._api.name} answers with{known}",
                fix=_with_last(use.expression.text, last, close[0]) if close else "",
            )  # fmt: skip

    def _header(self, use: Use) -> None:
        if self._api.successes() and self._api.header(use.expression.name) is None:
            self._notes.add(
                "undocumented-header", use.at, use.expression.text,
                f"a header that {self._api.name} documents",
            )  # fmt: skip


def _names_beside(api: ApiOperation, expression: Expression) -> list[str]:
    """Fields that there are where the expression's last part is not."""
    names: set[str] = set()
    for answer in api.answers() or ():
        around: Schema | None = answer.at(expression.accessors[:-1])
        names |= set(around.fields()) if around is not None else set()
    return sorted(names)


def _with_last(text: str, old: str, new: str) -> str:
    before, _, after = text.rpartition(old)
    return f"{before}{new}{after}"


def _statuses(criterion: Criterion, api: ApiOperation, notes: Notes) -> bool:
    """Note statuses that are waited for and never documented; True where there is one."""
    if criterion.condition is None:
        return False
    unknown = [s for s in _compared(criterion.condition.node) if not api.documents(s)]
    for status in unknown:
        notes.add(
            "undocumented-status", criterion.at.child("condition", criterion.condition.text),
            f"the status {status}", f"one that {api.name} documents: {', '.join(api.statuses)}",
        )  # fmt: skip
    return bool(unknown)


def _compared(node: Node) -> Iterator[int]:
    """Statuses that a condition compares `$statusCode` with by `==`."""
    match node:
        case Compare(sign="==", left=Operand(value=left), right=Operand(value=right)):
            for one, other in ((left, right), (right, left)):
                if _is_status(one) and isinstance(other, int) and not isinstance(other, bool):
                    yield other
        case Both(left=first, right=second) | Either(left=first, right=second):
            yield from _compared(first)
            yield from _compared(second)


def _is_status(value: object) -> bool:
    return isinstance(value, Expression) and value.root is Root.STATUS
