"""Everything step-shaped in an Arazzo document (step, `x-compensation`, `x-verify`) as a `Call`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.demands import security_to_json
from orchestrator.core.plan import Call, Effects
from orchestrator.core.retry import NO_RETRY, RetryPolicy
from orchestrator.definitions import waiting
from orchestrator.definitions.arazzo_actions import StepActions
from orchestrator.definitions.arazzo_bodies import read_body
from orchestrator.definitions.arazzo_criteria import conditions
from orchestrator.definitions.arazzo_parts import (
    already_done,
    argument_problems,
    check_expressions,
    filled,
    resolved,
    retry_action,
)
from orchestrator.definitions.arazzo_values import is_1_1, is_selector, value_of
from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.media_types import is_json
from orchestrator.definitions.openapi import Operation
from orchestrator.definitions.problems import Path
from orchestrator.definitions.requests import path_names
from orchestrator.definitions.sources import Sources, Target
from orchestrator.definitions.styles import STYLES
from orchestrator.definitions.tasks import Task
from orchestrator.definitions.waiting import Asking

SAFE_METHODS = frozenset({"GET", "HEAD"})
OUTPUT_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_NOT_FOR_DOCUMENTS = ("authorization", "accept", "content-type")  # set when it is sent
LOCATIONS = ("path", "query", "header", "cookie")
_LOCATIONS_1_1 = ("path", "query", "querystring", "header", "cookie")
CALL_FIELDS = frozenset({
    "operationId", "operationPath", "parameters", "requestBody", "successCriteria", "outputs",
    "description", "x-timeout", "x-effects",
})  # fmt: skip
_ASYNC = "operationId, operationPath or workflowId; steps that are messages (AsyncAPI) are not run"
NOT_YET = {
    "workflowId": "operationId or operationPath: a step alone calls a workflow",
    **dict.fromkeys(("channelPath", "action", "correlationId"), _ASYNC),
    "dependsOn": "no dependsOn: a step alone depends on others",
    "onSuccess": "no onSuccess: a step alone leads elsewhere",
    "timeout": "x-timeout, in seconds; a step of arazzo: 1.1.0 may have a timeout, in milliseconds",
}
_NOT_OF_A_WAIT = {
    "parameters": "the payload of requestBody alone",
    "timeout": "timeout in the payload, in seconds",
    "x-timeout": "timeout in the payload, in seconds",
    "x-effects": "no x-effects: waiting changes nothing",
    "x-idempotency": "no x-idempotency: waiting changes nothing",
    "x-verify": "no x-verify: waiting changes nothing",
    "x-compensation": "no x-compensation: waiting changes nothing",
    "x-undoes": "no x-undoes: waiting changes nothing",
}


@dataclass(frozen=True, slots=True)
class Context:
    """What the calls of one workflow share."""

    sources: Sources
    components: Cursor | None
    parameters: tuple[Cursor, ...] = ()  # of the workflow: they apply to every step


@dataclass(slots=True)
class Origin:
    """Where the parts of a call's template stand in the document."""

    path: Path
    parameters: list[Path] = field(default_factory=list)
    body: Path = ()

    def of(self, part: Path) -> Path:
        """The document's path of a path in the template."""
        match part:
            case ("parameters", int() as index, *rest):
                return (*self.parameters[index], *rest)
            case ("alreadyDone", *rest):
                return (*self.path, "x-idempotency", "alreadyDone", *rest)
            case ("arguments" | "requestBody", *rest):
                payload = rest if part[0] == "arguments" else rest[1:]
                return (*(self.body or (*self.path, "requestBody", "payload")), *payload)
            case ("items" | "count", *_):  # of a map
                return (*self.path, "x-each", *part)
            case _:
                return (*self.path, *part)


def retry_as_said(actions: Sequence[Mapping[str, Any]]) -> RetryPolicy:
    """What the retries of the same request come to, of which there is at least one."""
    after = max(action.get("retryAfter") or 0.0 for action in actions)
    return RetryPolicy(
        max_attempts=1 + max(int(action["retryLimit"]) for action in actions),
        first_delay_seconds=after or RetryPolicy().first_delay_seconds,
        max_delay_seconds=max(after, RetryPolicy().max_delay_seconds),
        max_elapsed_seconds=None,  # Arazzo bounds the number of retries, not their time
    )


@dataclass(frozen=True, slots=True)
class CallReader:
    """Reads one step-shaped object. Problems are noted; what cannot be read is None."""

    at: Cursor
    context: Context
    label: str
    actions: StepActions | None = None  # of a step; None: only retries have a place

    def read(self) -> tuple[Call, Origin] | None:
        """The call, with the origin of its parts."""
        target = self._target()
        origin = Origin(self.at.path)
        criteria = conditions(self.at, "successCriteria")
        outputs = self.outputs("outputs")
        flow = self.actions or StepActions(failure=self._retry_actions())
        timeout = self._timeout()
        if target is None or not target.is_read:
            self._check_the_rest()
            return None
        template = self._template(target, origin, outputs)
        template |= filled(successCriteria=criteria, outputs=outputs) | flow.fields()
        call = Call(
            label=self.label, api=target.api, effects=self._effects(target, template),
            template=template, retry=self._retry(target, flow.retries_of_the_request()),
            timeout_seconds=timeout or (target.task.timeout_seconds if target.task else None),
            task_name=target.task.name if target.task else None,
        )  # fmt: skip
        return call, origin

    def _timeout(self) -> float | None:
        """In seconds; `timeout`, of Arazzo 1.1, is in milliseconds."""
        seconds = self.at.number("x-timeout", least=0.001)
        said = self.at.number("timeout", least=1, whole=True) if is_1_1(self.at) else None
        if said is None:
            return seconds
        if seconds is not None:
            self.at.bad("timeout or x-timeout", found="both")
        return said / 1000

    def _target(self) -> Target | None:
        by_id, by_path = self.at.get("operationId"), self.at.get("operationPath")
        if by_id is not None and by_path is not None:
            by_path.bad("operationId or operationPath, not both")
        if by_id is not None:
            return self.context.sources.by_id(by_id)
        if by_path is not None:
            return self.context.sources.by_path(by_path)
        if not any(self.at.has(name) for name in ("workflowId", "channelPath")):
            self.at.bad("operationId or operationPath", found="neither")
        return None

    def _check_the_rest(self) -> None:
        """Without an operation, find at least what is wrong with the expressions."""
        for item in self._parameters():
            value = item.get("value")
            if value is not None:
                check_expressions(value)
        body = self.at.get("requestBody")
        payload = None if body is None else body.get("payload")
        if payload is not None:
            check_expressions(payload)

    # --- request ----------------------------------------------------------------------------------

    def _template(
        self, target: Target, origin: Origin, outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        if target.task is not None:
            return self._task_template(target.task, origin)
        if target.asking is not None:
            return self._wait_template(target.asking, origin, outputs)
        operation = target.operation
        assert operation is not None
        parameters = self._http_parameters(operation, origin)
        template = {"kind": "http", "method": operation.method, "path": operation.path} | filled(
            baseUrl=operation.base_url, parameters=parameters, secrets=list(target.secrets)
        )
        if operation.security is not None:
            template["security"] = security_to_json(operation.security)
        body = self._body(operation, origin)
        if body is not None:
            template["requestBody"] = body
        return template | self._idempotency(parameters)

    def _parameters(self) -> list[Cursor]:
        """Own parameters, then those of the workflow that the step does not set itself."""
        own = [resolved(item, self.context.components) for item in self.at.items("parameters")]
        items = [item for item in own if item is not None and item.is_object()]
        taken = {_name_and_place(item) for item in items}
        shared = [item for item in self.context.parameters if _name_and_place(item) not in taken]
        return [*items, *shared]

    def _http_parameters(self, operation: Operation, origin: Origin) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for item in self._parameters():
            parameter = self._parameter(item, operation)
            if parameter is None:
                continue
            if any(_same_place(parameter, other) for other in found):
                item.bad("each parameter once")
                continue
            found.append(parameter)
            origin.parameters.append(item.path)
        self._check_missing(operation, found)
        whole = [item for item in found if item["in"] == "querystring"]
        if len(whole) > 1 or (whole and any(item["in"] == "query" for item in found)):
            self.at.bad("one querystring, and no parameters in: query beside it", found="more")
        return found

    def _parameter(self, item: Cursor, operation: Operation) -> dict[str, Any] | None:
        item.only({"name", "in", "value", "reference"})
        name, value = item.text("name", required=True), item.get("value")
        place = item.choice("in", _LOCATIONS_1_1 if is_1_1(item) else LOCATIONS)
        if place is None and not item.has("in"):
            item.bad("in: " + ", ".join(LOCATIONS), found="no in")
        if value is None:
            item.bad("the field value", found="no value")
        if name is None or place is None or value is None:
            return None
        template_value = value_of(value)
        if place == "path" and name not in path_names(operation.path):
            item.bad(f"a parameter of the path {operation.path}", found=f"path parameter {name}")
            return None
        if name.lower() in ("authorization", "proxy-authorization") and place == "header":
            item.warn(
                "credentials in a document are stored with each run; "
                "better auth: in the API's configuration"
            )
        return {"name": name, "in": place, "value": template_value} | _style(
            item, operation, name, place
        )

    def _check_missing(self, operation: Operation, found: list[dict[str, Any]]) -> None:
        given = {(item["in"], item["name"].lower()) for item in found}
        for name in path_names(operation.path):
            if ("path", name.lower()) not in given:
                self.at.bad(f"a value for the path parameter {name}", found=f"no {name}")
        places = {(place, "") for place, _ in given}
        key_header = _key_header(self.at)
        for declared in operation.parameters:
            elsewhere = declared.place in ("path", "cookie") or (
                declared.place == "header"
                and declared.name.lower() in (key_header.lower(), *_NOT_FOR_DOCUMENTS)
            )
            missing = (declared.place, declared.name.lower()) not in given
            whole = declared.place == "query" and ("querystring", "") in places
            if declared.required and missing and not elsewhere and not whole:
                self.at.bad(
                    f"the {declared.place} parameter {declared.name}, which "
                    f"{operation.operation_id} requires", found=f"no {declared.name}",
                )  # fmt: skip

    def _body(self, operation: Operation, origin: Origin) -> dict[str, Any] | None:
        body = self.at.get("requestBody")
        if body is None:
            if operation.body_required:
                wanted = f"a requestBody, which {operation.operation_id} requires"
                self.at.bad(wanted, found="no requestBody")
            return None
        read = read_body(body, operation)
        if read is None:
            return None
        origin.body = read.payload
        return dict(read.template)

    def _task_template(self, task: Task, origin: Origin) -> dict[str, Any]:
        """A function's keyword arguments: the payload's fields and the parameters."""
        arguments, at = self._payload()
        for item in self._parameters():
            name, value = item.text("name", required=True), item.get("value")
            if name is not None and value is not None:
                arguments[name] = value_of(value)
        for found, wanted in argument_problems(task, arguments):
            at.bad(wanted, found=found)
        return {"kind": "task", "arguments": arguments}

    def _wait_template(
        self, asking: Asking, origin: Origin, outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        for name, wanted in _NOT_OF_A_WAIT.items():
            if self.at.has(name):
                self.at.child(name, self.at.value[name]).bad(wanted)
        arguments, at = self._payload()
        for problem in waiting.argument_problems(asking, arguments):
            at.bad(problem.wanted, found=f"{problem.place.lstrip('/')}: {problem.found}")
        return waiting.wait_template(asking, arguments, outputs=outputs)

    def _payload(self) -> tuple[dict[str, Any], Cursor]:
        """The payload's fields, and where they stand."""
        arguments: dict[str, Any] = {}
        body = self.at.get("requestBody")
        payload = None if body is None else body.get("payload")
        if body is not None:
            body.only({"contentType", "payload"})
        if payload is not None and payload.is_object():
            arguments |= value_of(payload)
        return arguments, payload or body or self.at

    # --- answers ----------------------------------------------------------------------------------

    def outputs(self, name: str) -> dict[str, Any]:
        """Output names and their expressions."""
        found: dict[str, Any] = {}
        for key, value in self.at.entries(name):
            if not OUTPUT_NAME.fullmatch(key):
                value.bad("an output's name of letters, digits, '.', '-' and '_'", found=key)
            elif isinstance(value.value, str) or (is_selector(value.value) and is_1_1(value)):
                found[key] = value_of(value)
            elif is_selector(value.value):
                value.bad("a runtime expression; selector objects are of arazzo: 1.1.0")
            else:
                value.bad("a runtime expression")
        return found

    def _retry_actions(self) -> list[dict[str, Any]]:
        items = [resolved(item, self.context.components) for item in self.at.items("onFailure")]
        read = [retry_action(item) for item in items if item is not None]
        return [action for action in read if action is not None]

    def _retry(self, target: Target, actions: list[Mapping[str, Any]]) -> RetryPolicy:
        if not actions:
            if target.asking is not None:
                return NO_RETRY  # who did not answer in time is not asked again by itself
            return (target.task and target.task.retry) or RetryPolicy()
        return retry_as_said(actions)

    def _idempotency(self, parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        at = self.at.get("x-idempotency")
        if at is None or not at.is_object():
            return {}
        if at.has("in"):
            return self._key_in_header(at, parameters)
        if at.choice("by", ("client-id",)) is None:
            at.bad("{in: header, name: NAME} or {by: client-id, alreadyDone: [STATUS]}")
            return {}
        at.only({"by", "alreadyDone"})
        done = [already_done(item) for item in at.items("alreadyDone")]
        return filled(alreadyDone=[item for item in done if item is not None])

    def _key_in_header(self, at: Cursor, parameters: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        at.only({"in", "name"})
        place, name = at.choice("in", ("header",)), at.text("name", required=True)
        if place is None or name is None:
            return {}
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            at.child("name", name).bad("a header's name")
        if any(p["in"] == "header" and p["name"].lower() == name.lower() for p in parameters):
            at.bad("the key in x-idempotency alone", found=f"{name} among the parameters as well")
        return {"idempotencyHeader": name}

    def _effects(self, target: Target, template: Mapping[str, Any]) -> Effects:
        said = self.at.choice("x-effects", tuple(Effects))
        if target.task is not None and self.at.has("x-idempotency"):
            self.at.child("x-idempotency", self.at.value["x-idempotency"]).bad(
                "x-effects: a function gets its key in its context"
            )
        if said is not None:
            return Effects(said)
        if target.task is not None:
            return target.task.effects
        if target.asking is not None:
            return Effects.NONE
        if self.at.has("x-idempotency"):
            return Effects.KEYED
        return Effects.NONE if template["method"] in SAFE_METHODS else Effects.UNKEYED


def _style(item: Cursor, operation: Operation, name: str, place: str) -> dict[str, Any]:
    """How the operation wants it, as far as that is not the usual way."""
    declared = operation.parameter(name, place)
    if declared is None:
        return {}
    if declared.content is not None:
        if not is_json(declared.content):
            item.bad(f"a parameter of JSON or with a style: {name}", found=declared.content)
        return {"content": declared.content}
    if declared.style not in STYLES[place]:
        item.bad(f"style {' or '.join(STYLES[place])} in the API's document", found=declared.style)
    found: dict[str, Any] = {}
    if declared.style != STYLES[place][0]:
        found["style"] = declared.style
    if declared.explode is not (place in ("query", "cookie")) and declared.style != "deepObject":
        found["explode"] = declared.explode
    return found | ({"allowReserved": True} if declared.reserved and place == "query" else {})


def _key_header(at: Cursor) -> str:
    how = at.value.get("x-idempotency")
    return str(how.get("name", "")) if isinstance(how, Mapping) else ""


def _name_and_place(at: Cursor) -> tuple[str, str]:
    """As texts, whatever they are: what they should be is said where they are read."""
    return str(at.value.get("name")), str(at.value.get("in"))


def _same_place(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return (left["in"], left["name"].lower()) == (right["in"], right["name"].lower())
