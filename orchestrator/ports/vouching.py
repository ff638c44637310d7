"""Who vouches for a workflow version: signed when it is published, looked at before it is run."""

from __future__ import annotations

from typing import Protocol


class Signer(Protocol):
    """A private key."""

    @property
    def key_id(self) -> str:
        """First 16 hex digits of the SHA-256 of its public key's 32 bytes."""

    def sign(self, text: bytes) -> bytes:
        """64 bytes of Ed25519; the same for the same text."""


class Signed(Protocol):
    """Something that may bear a signature."""

    @property
    def key_id(self) -> str | None:
        """Whose it is; None: it has none."""

    @property
    def signature(self) -> bytes | None:
        """64 bytes."""

    def text(self) -> bytes:
        """What it is made over."""


class Keys(Protocol):
    """The public keys that are trusted."""

    def confirms(self, signed: Signed) -> bool | None:
        """Whether its signature is right; None: the key is not known, or it has none."""
