"""Links with which one person decides one approval, once, without a key.

The link holds what it is good for, signed (HMAC-SHA-256 of itsdangerous) with the deployment's key:
the approval, whom it was made for, and until when. Nothing of it is kept: an approval is decided
once, so a link that was used says who decided and when, and so does every other link to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from orchestrator.errors import Conflict, InvalidInput, InvalidSetting, NotFound, Problem
from orchestrator.ports import Asks, Decision, Store, WaitRecord
from orchestrator.service.waiting import Waiting

SHORTEST_KEY = 32
LONGEST_LIFE = timedelta(days=90)
PATH = "/approve"


class LinkSigner:
    """Makes and reads links. Without a key there are none."""

    def __init__(self, *, key: str, public_url: str) -> None:
        """Raises InvalidSetting for a key that is too short to be one."""
        if key and len(key) < SHORTEST_KEY:
            problem = Problem(
                place="setting link_key", found=f"{len(key)} characters",
                wanted=f"at least {SHORTEST_KEY}, from a random source",
            )  # fmt: skip
            raise InvalidSetting("the settings are not valid", problems=[problem])
        self._url = public_url.rstrip("/") + PATH
        self._signer = (
            URLSafeSerializer(
                key, salt="approval-link", signer_kwargs={"digest_method": hashlib.sha256}
            )
            if key
            else None
        )

    def address(self, wait_id: str, *, name: str, until: datetime) -> str:
        """The address at which this person decides, until then. Raises InvalidSetting."""
        told = {"wait": wait_id, "for": name, "until": int(until.timestamp())}
        return f"{self._url}/{self._signed.dumps(told)}"

    def read(self, token: str) -> Mapping[str, Any]:
        """`wait`, `for` and `until`. Raises NotFound for what is no link of ours."""
        try:
            told: Mapping[str, Any] = self._signed.loads(token)
        except BadSignature:
            problem = Problem(place="link", found="another one", wanted="one as it was made here")
            raise NotFound("no such link", problems=[problem]) from None
        return told

    @property
    def _signed(self) -> URLSafeSerializer:
        if self._signer is None:
            problem = Problem(
                place="setting link_key", found="nothing",
                wanted="a reference to a secret: env:NAME, file:/path or command:…",
            )  # fmt: skip
            raise InvalidSetting("links to approvals are not set up", problems=[problem])
        return self._signer


class Links:
    """Makes links for who asks, and decides for those who follow them."""

    def __init__(self, store: Store, waiting: Waiting, signer: LinkSigner) -> None:
        self._store, self._waiting, self._signer = store, waiting, signer

    async def make(self, wait_id: str, *, name: str, lives: timedelta) -> str:
        """The address to send to somebody, whose name the decision will bear.

        Raises NotFound, InvalidInput, InvalidSetting; Conflict when it is decided already.
        """
        if not name.strip() or not timedelta(0) < lives <= LONGEST_LIFE:
            problem = Problem(
                place="link", found=f"{name!r}, {lives}",
                wanted=f"whom it is for, and at most {LONGEST_LIFE.days} days",
            )  # fmt: skip
            raise InvalidInput("no such link can be made", problems=[problem])
        wait = await self._waiting.approval(wait_id)
        if wait.asks is not Asks.APPROVAL or not wait.is_open:
            problem = Problem(
                place=f"approval {wait.id}", found=str(wait.outcome or wait.asks),
                wanted="an open approval",
            )  # fmt: skip
            raise Conflict("the approval cannot be decided", problems=[problem])
        until = await self._store.now() + lives
        return self._signer.address(wait.id, name=name.strip(), until=until)

    async def read(self, token: str) -> tuple[WaitRecord, str, bool]:
        """The approval, whom the link is for, and whether it is still good.

        Raises NotFound for what is no link of ours.
        """
        told = self._signer.read(token)
        wait = await self._waiting.approval(told["wait"])
        until = datetime.fromtimestamp(told["until"], UTC)
        return wait, told["for"], await self._store.now() < until

    async def decide(self, token: str, decision: Decision, *, reason: str) -> WaitRecord:
        """Decide in the name of whom the link is for.

        Raises NotFound, InvalidInput; Conflict when the link or the approval is over.
        """
        wait, name, is_good = await self.read(token)
        if not is_good:
            problem = Problem(place="link", found="one whose time is over", wanted="a new one")
            raise Conflict("the link is not good any more", problems=[problem])
        return await self._waiting.decide(wait.id, decision, by=name, via="link", reason=reason)
