"""Tokens that all workers share, and what an operator may know of credentials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Turn(StrEnum):
    """What whoever wants another token is to do."""

    USE = "use"  # the one that is here
    FETCH = "fetch"  # a new one: nobody else does, until the lock expires or the caller puts it
    WAIT = "wait"  # somebody else fetches one


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedToken:
    """What the workers share of one credential, and whose turn it is."""

    turn: Turn
    version: str = ""  # of the sealed text; "": there is none
    sealed: str = field(default="", repr=False)
    valid_seconds: float = 0.0  # left of the token's life; 0: over, or an API has refused it


class SharedTokens(Protocol):
    """Sealed tokens, by name, the same for all workers. Every method raises Unavailable.

    Each method is atomic, and may be called again with the same arguments when its answer was lost.
    """

    async def take(
        self, name: str, *, owner: str, known: str, refused: bool, lock_seconds: float
    ) -> SharedToken:
        """A token of another version than `known`, or whose turn it is to fetch one.

        `refused`: an API has refused the known one, so that nobody may use it any more. `owner` is
        unique to this wish; a lock that it gets ends after `lock_seconds`, unless put or released.
        """

    async def put(
        self, name: str, *, owner: str, base: str, version: str, sealed: str,
        valid_seconds: float, keep_seconds: float,
    ) -> bool:  # fmt: skip
        """Share a new token and give the lock back.

        False, and nothing is written: the lock has expired, and somebody else holds it or has
        replaced the version `base`.
        """

    async def release(self, name: str, *, owner: str) -> None:
        """Give the lock back, if it is still this owner's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialFact:
    """One credential as an operator may see it."""

    name: str  # "inventory: auth.oauth2"
    problem: str = ""  # why it cannot be had in this environment, if so


@dataclass(frozen=True, kw_only=True, slots=True)
class CredentialFacts:
    """All credentials of this deployment."""

    credentials: Sequence[CredentialFact]
    fetched: int = 0  # of them come from token endpoints
    shared: bool = False  # whether workers share these, sealed


class CredentialInspector(Protocol):
    """Looks at the configured credentials."""

    async def facts(self) -> CredentialFacts:
        """What there is. Raises InvalidSetting when the configuration is not valid."""
