"""Ways to tell: a signed webhook over the same way out as all requests, and what apprise knows.

The signature is that of the Standard Webhooks: HMAC-SHA256 over "id.timestamp.body" as base64, in
`webhook-signature: v1,…`. Receivers have libraries for it, and refuse old timestamps.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import orjson

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.engine.apis import ApiConfig
from orchestrator.errors import InvalidSetting, Problem, StepError
from orchestrator.ports import AttemptContext
from orchestrator.ports.notices import NoticeSender, Untold

SEND_SECONDS = 10.0
_TAKEN = range(200, 300)
_SECRET_PREFIX = "whsec_"  # noqa: S105 - what a secret of this format begins with


def signature(secret: str, notice_id: str, timestamp: int, body: bytes) -> str:
    """As the Standard Webhooks have it. A secret without their prefix is taken as it is."""
    key = secret.encode()
    if secret.startswith(_SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(_SECRET_PREFIX), validate=True)
        except binascii.Error:
            key = secret.encode()
    said = f"{notice_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode()


class WebhookSender:
    """Implements NoticeSender: a POST that wants a 2xx."""

    def __init__(
        self,
        name: str,
        url: str,
        secret: str | None,
        *,
        allow_private_addresses: bool,
        wall_seconds: Callable[[], float],
    ) -> None:
        parts = urlsplit(url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._name, self._secret, self._wall_seconds = name, secret, wall_seconds
        config = ApiConfig(
            name=name, base_url=f"{parts.scheme}://{parts.netloc}", total_seconds=SEND_SECONDS,
            allow_private_addresses=allow_private_addresses,
        )  # fmt: skip
        from orchestrator.engine.http import HttpTransport  # noqa: PLC0415 -- no command needs it

        self._http = HttpTransport({name: config})

    async def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        """Raises Untold."""
        content, timestamp = orjson.dumps(body), int(self._wall_seconds())
        headers = [
            ("Content-Type", "application/json"), ("webhook-id", notice_id),
            ("webhook-timestamp", str(timestamp)),
        ]  # fmt: skip
        if self._secret is not None:
            signed = signature(self._secret, notice_id, timestamp, content)
            headers.append(("webhook-signature", signed))
        request = FrozenRequest(
            method="POST", target=self._target, headers=tuple(headers), body=content
        )
        context = AttemptContext(
            run_id=notice_id, step_id=self._name, attempt=1, direction=Direction.FORWARD, tenant=""
        )
        try:
            answer = await self._http.send(
                self._name, request, context, timeout_seconds=SEND_SECONDS
            )
        except StepError as error:
            raise Untold(str(error)) from error
        if answer.status not in _TAKEN:
            raise Untold(f"it answered {answer.status}")

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()


class AppriseSender:
    """Implements NoticeSender: chat, mail and all else that apprise has an address for."""

    def __init__(self, name: str, url: str) -> None:
        try:
            apprise = import_module("apprise")
        except ImportError:
            problem = Problem(
                place=f"setting notifications, target {name}", found="no package apprise",
                wanted="pip install 'saga-orchestrator[notify]'",
            )  # fmt: skip
            raise InvalidSetting("the target cannot be told", problems=[problem]) from None
        self._desk = apprise.Apprise()
        if not self._desk.add(url):
            problem = Problem(
                place=f"setting notifications, target {name}", found="an address it does not know",
                wanted="one of apprise's, such as slack://… or mailto://…",
            )  # fmt: skip
            raise InvalidSetting("the target cannot be told", problems=[problem])

    async def send(self, notice_id: str, body: Mapping[str, Any]) -> None:
        """Raises Untold. In a thread: apprise waits."""
        taken = await asyncio.to_thread(self._desk.notify, title=title_of(body), body=text_of(body))
        if not taken:
            raise Untold("apprise could not deliver it")

    async def aclose(self) -> None:
        """Nothing is kept open."""


def title_of(body: Mapping[str, Any]) -> str:
    """What it is about, in a line."""
    told = body["data"]
    if body["type"] == "escalation.opened":
        return f"{told['severity']}: {told['workflow']} needs a person ({told['reason']})"
    if body["type"] == "slo.alarm":
        return f"{told['urgency']}: {told['workflow']} uses up its error budget too fast"
    if body["type"] == "proposal.opened":
        return f"{told['proposed_by']} proposes for {told['workflow']}: {told['act']}"
    said = {"approval.asked": "asks", "approval.reminded": "still asks"}
    return f"{told['workflow']} {said.get(body['type'], 'got no answer')}: {told['message']}"


def text_of(body: Mapping[str, Any]) -> str:
    """All that is told, a line each."""
    told = body["data"].items()
    return "\n".join(
        f"{name}: {', '.join(value) if isinstance(value, list) else value}"
        for name, value in told
        if value not in (None, [])
    )


def sender_for(
    name: str,
    url: str,
    secret: str | None,
    *,
    allow_private_addresses: bool,
    wall_seconds: Callable[[], float],
) -> NoticeSender:
    """The way that its address wants: a webhook for http and https, else apprise's."""
    if urlsplit(url).scheme in ("http", "https"):
        return WebhookSender(
            name, url, secret, allow_private_addresses=allow_private_addresses,
            wall_seconds=wall_seconds,
        )  # fmt: skip
    return AppriseSender(name, url)
