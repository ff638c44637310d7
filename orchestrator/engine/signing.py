"""Signatures under checkpoints and workflow versions: Ed25519 (RFC 8032) of `cryptography`.

The private key is one line, as secrets are: PKCS 8 in base64, what `openssl genpkey -algorithm
ed25519 -outform der | base64 -w0` writes. The public one is PEM (`openssl pkey -pubout`).
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_public_key,
)

from orchestrator.engine.secret import Secret, checked_reference
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports.vouching import Signed

_WANTED = "an Ed25519 private key: PKCS 8 in base64, as `orchestrator audit new-key` makes it"


class Signer:
    """A private key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.key_id = _id_of(key.public_key())

    @property
    def public_key(self) -> Ed25519PublicKey:
        """What confirms its signatures."""
        return self._key.public_key()

    def sign(self, text: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(text)


class TrustedKeys:
    """Public keys whose signatures count."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys = {_id_of(key): key for key in keys}

    def know(self, key_id: str) -> bool:
        """Whether it is among them."""
        return key_id in self._keys

    def confirms(self, signed: Signed) -> bool | None:
        """Whether its signature is right; None: the key is not known, or it has none."""
        key = self._keys.get(signed.key_id or "")
        if key is None or signed.signature is None:
            return None
        try:
            key.verify(signed.signature, signed.text())
        except InvalidSignature:
            return False
        return True


def signer_of(reference: str, *, setting: str) -> Signer:
    """The private key that this setting refers to. Raises InvalidSetting."""
    try:
        encoded = Secret(reference=checked_reference(reference)).read()
        key = load_der_private_key(b64decode(encoded, validate=True), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause may quote a part of the secret.
        raise _unusable(setting, "something else") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _unusable(setting, f"a key of another kind ({type(key).__name__})")
    return Signer(key)


def trusted_keys(lines: Iterable[str], *, setting: str) -> TrustedKeys:
    """Public keys as lines: what stands between the first and the last line of their PEM.

    Raises InvalidSetting.
    """
    head, foot = b"-----BEGIN PUBLIC KEY-----\n", b"\n-----END PUBLIC KEY-----\n"
    return TrustedKeys(
        public_key_of(head + line.strip().encode() + foot, place=f"setting {setting}.{number}")
        for number, line in enumerate(lines)
    )


def line_of(pem: bytes) -> str:
    """A public key's PEM as one line, for `trusted_keys`."""
    return "".join(line for line in pem.decode().splitlines() if not line.startswith("-----"))


def public_key_of(pem: bytes, *, place: str) -> Ed25519PublicKey:
    """Raises InvalidSetting for what is no public key of Ed25519."""
    wanted = "an Ed25519 public key as PEM"
    try:
        key = load_pem_public_key(pem)
    except ValueError:
        problem = Problem(place=place, found="something else", wanted=wanted)
        raise InvalidSetting("the key cannot be used", problems=[problem]) from None
    if not isinstance(key, Ed25519PublicKey):
        problem = Problem(place=place, found=f"a {type(key).__name__}", wanted=wanted)
        raise InvalidSetting("the key cannot be used", problems=[problem])
    return key


def new_key_pair() -> tuple[bytes, bytes]:
    """A new private key in base64, and its public one as PEM."""
    key = Ed25519PrivateKey.generate()
    private = b64encode(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return private + b"\n", public


def _id_of(key: Ed25519PublicKey) -> str:
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _unusable(setting: str, found: str) -> InvalidSetting:
    problem = Problem(place=f"setting {setting}", found=found, wanted=_WANTED)
    return InvalidSetting("the settings are not valid", problems=[problem])
