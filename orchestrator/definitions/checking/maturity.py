"""How far a workflow can be trusted: structured, transactional, managed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from orchestrator.core.demands import Security
from orchestrator.definitions.checking.check_safety import lacks_key, lacks_undo
from orchestrator.definitions.checking.reading import Flow
from orchestrator.definitions.checking.report import Finding, Level, Maturity, Severity
from orchestrator.definitions.problems import pointer

_STRUCTURE = frozenset({"unreachable-step", "perhaps-not-known", "impossible-criteria"})
_SAFETY = frozenset({"pivot-order", "undo-by-hand"})


def _nothing_lacks(api: str, security: Security) -> str:
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """What is known about where the workflows would run.

    `limits`: APIs whose rates are set. `lacking`: why calls of an API cannot carry the credentials
    that its document demands; "" if they can.
    """

    limits: Collection[str] = ()
    lacking: Callable[[str, Security], str] = _nothing_lacks


def maturity_of(flow: Flow, findings: list[Finding], deployment: Deployment) -> Maturity:
    """The level, and what the next one lacks."""
    where = pointer(flow.at.path)
    own = [f for f in findings if f.pointer == where or f.pointer.startswith(where + "/")]
    own += [f for f in findings if not f.pointer.startswith("/workflows/")]
    steps = (
        (Level.STRUCTURED, _structure(own)),
        (Level.TRANSACTIONAL, _transactional(flow, own)),
        (Level.MANAGED, _managed(flow, deployment)),
    )
    level = Level.UNSTRUCTURED
    for reached, lacking in steps:
        lacks = tuple(dict.fromkeys(lacking))
        if lacks:
            return Maturity(workflow=flow.id, level=level, next=reached, lacks=lacks)
        level = reached
    return Maturity(workflow=flow.id, level=level, next=None)


def _structure(findings: list[Finding]) -> Iterator[str]:
    errors = sum(f.severity is Severity.ERROR for f in findings)
    if errors:
        yield f"{errors} error{'s' if errors > 1 else ''} mended"
    for finding in findings:
        if finding.rule in _STRUCTURE and finding.severity is not Severity.ERROR:
            yield f"{finding.found}: {finding.wanted}"


def _transactional(flow: Flow, findings: list[Finding]) -> Iterator[str]:
    for step in flow.steps:
        if lacks_undo(flow, step):
            yield f"an undo of {step.id}"
        if lacks_key(step.call, step.verify):
            yield f"a key or verification of {step.id}"
        undos = zip(step.undos, step.undo_verifies, strict=True)
        if any(lacks_key(undo, verify) for undo, verify in undos):
            yield f"a key or verification of the undo of {step.id}"
        if step.call.has_effect is None and step.call.workflow is None:
            yield f"a known operation at {step.id}"
    for finding in findings:
        if finding.rule in _SAFETY:
            yield f"another place: {finding.found}"


def _managed(flow: Flow, deployment: Deployment) -> Iterator[str]:
    apis = {
        call.target.api for step in flow.steps for call in step.calls()
        if call.target is not None and call.target.task is None
    }  # fmt: skip
    for api in sorted(apis - set(deployment.limits)):
        yield f"limits of the API {api} (config/apis/{api}.yaml, rates or concurrency)"
    for step in flow.steps:
        for call in step.calls():
            operation = None if call.target is None else call.target.operation
            if call.target is None or operation is None or not operation.security:
                continue
            if why := deployment.lacking(call.target.api, operation.security):
                yield f"a credential: {why}"
    value: Mapping[str, object] = flow.at.value
    if not (value.get("x-slo") or value.get("x-deadline")):
        yield "a promise: x-slo: {success: {target: 0.999}}, or x-deadline"
    if not value.get("x-owner"):
        yield "x-owner: who answers for it"
    if not value.get("x-rehearsed"):
        yield "x-rehearsed: orchestrator workflows rehearse --note writes it when all is well"
