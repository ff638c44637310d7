"""What the audit keeps of each request and its answer, so that a run can be told from it alone.

`request` stands in the record of an intent (`step.begun`) when it may be another one than the
intent before told of, `call` in the record of how an attempt ended. Both are in the run's hash
chain with all else. Bodies are there as SHA-256 in hex, so that whoever has one can prove that it
was this one, and whoever has none learns nothing.

    request  {method, target, key?, body?, bytes?}      key: of idempotency; body: digest
    call     {seconds, sent?, base?, status?, body?, bytes?, credential?, waited?,
              verify?, request?, calls?}

`sent` is the number of requests that may have left, `seconds` from then to the end of the answer,
`waited` the seconds before the gate of the API. What is empty is left out. A verification has no
intent, so its `call` has the `request`; a Python function has no `sent`, and method TASK. `calls`
are those that an isolated function had made, in their order: {api, operation, outcome, key?, sent?,
base?, credential?, status?, seconds?}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from orchestrator.core.exchange import FrozenRequest, Response


def of_request(request: FrozenRequest, target: str = "") -> dict[str, Any]:
    """What is asked for; `target`: the request's own as it may be told, where it is another."""
    told: dict[str, Any] = {"method": request.method, "target": target or request.target}
    if request.key:
        told["key"] = request.key
    body = request.body
    if body:
        told["body"], told["bytes"] = sha256(body).hexdigest(), len(body)
    return told


def of_answer(
    response: Response | None,
    *,
    sent: int,
    seconds: float,
    base: str = "",
    credential: str = "",
    waited: float = 0.0,
    calls: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """What came of it. `base` is told only where a request may have left."""
    told: dict[str, Any] = {"seconds": round(seconds, 6)}
    if sent:
        told["sent"], told["base"] = sent, base
    if credential:
        told["credential"] = credential
    if waited:
        told["waited"] = round(waited, 6)
    if calls:
        told["calls"] = list(calls)
    if response is None:
        return told
    told["status"], body = response.status, response.body
    if body:
        told["body"], told["bytes"] = sha256(body).hexdigest(), len(body)
    return told
