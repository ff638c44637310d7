"""Sessions of people who logged in elsewhere: who they are, until when, signed by this deployment.

Nothing is kept of one: it is good until it ends, or until the key is another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from orchestrator.errors import InvalidSetting, NotAuthenticated, Problem
from orchestrator.ports import Role
from orchestrator.service.principal import Principal

PREFIX = "ors_"
"""Begins every session, so that it is told from keys and tokens."""
SHORTEST_KEY = 32


class Signed:
    """What is signed with the deployment's key, for one purpose, until some time."""

    def __init__(self, key: str, *, purpose: str, wall_seconds: Callable[[], float]) -> None:
        """Raises InvalidSetting for a key that is too short to be one."""
        if len(key) < SHORTEST_KEY:
            problem = Problem(
                place="setting session_key", found=f"{len(key)} characters",
                wanted=f"at least {SHORTEST_KEY}, from a random source",
            )  # fmt: skip
            raise InvalidSetting("the settings are not valid", problems=[problem])
        self._wall_seconds = wall_seconds
        self._signer = URLSafeSerializer(
            key, salt=purpose, signer_kwargs={"digest_method": hashlib.sha256}
        )

    def dumps(self, value: Mapping[str, Any], *, seconds: float) -> str:
        """The text that says so for so long."""
        until = int(self._wall_seconds() + seconds)
        return str(self._signer.dumps({**value, "until": until}))

    def loads(self, text: str) -> Mapping[str, Any] | None:
        """What it says; None: it is not ours, or its time is over."""
        try:
            value: Mapping[str, Any] = self._signer.loads(text)
        except BadSignature:
            return None
        return value if self._wall_seconds() < value["until"] else None


class Sessions:
    """Makes and reads sessions."""

    def __init__(self, key: str, *, seconds: float, wall_seconds: Callable[[], float]) -> None:
        """Raises InvalidSetting for a key that is too short to be one."""
        self._signed = Signed(key, purpose="console-session", wall_seconds=wall_seconds)
        self._seconds = seconds

    def of(self, who: Principal) -> str:
        """A session of theirs, as they are now."""
        told = {"name": who.name, "role": str(who.role), "tenant": who.tenant}
        return PREFIX + self._signed.dumps(told, seconds=self._seconds)

    def read(self, text: str) -> Principal:
        """Whose it is. Raises NotAuthenticated."""
        told = self._signed.loads(text.removeprefix(PREFIX))
        if told is None:
            raise NotAuthenticated("the session is over; log in again")
        return Principal(name=told["name"], role=Role(told["role"]), tenant=told["tenant"])
