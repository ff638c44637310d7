"""What runs are given, send and give, sealed where it is stored (AES-256-GCM), if there are keys.

Envelope encryption: each process makes data keys, seals payloads with them, and puts the data key,
itself sealed with a key of the settings, beside each payload:

    {"v": 2, "key": id, "dek": sealed data key, "data": sealed `{"v": 1, "data": …}`}

Both sealed parts are nonce (12 bytes, random) and ciphertext in base64; the id of the key is bound
to the data key, and the data key to the payload, as associated data. A data key seals a million
payloads at most, far below the 2^32 that random nonces allow (NIST SP 800-38D, 8.3).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from orchestrator.store.codec import SEALED_FORMAT, unreadable

KEY_BYTES = 32
_NONCE_BYTES = 12
_MOST_BY_DATA_KEY = 1_000_000
_MOST_DATA_KEYS = 1_000  # of other processes, kept open


class PayloadKeys:
    """The keys of the settings: the first one seals, each of them opens."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Raises ValueError unless there is at least one, each of KEY_BYTES."""
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"keys of {KEY_BYTES} bytes in base64")
        self._keys = {hashlib.sha256(key).hexdigest()[:12]: AESGCM(key) for key in keys}
        self.id = next(iter(self._keys))
        self._opened: OrderedDict[str, AESGCM] = OrderedDict()
        self._new_data_key()

    @staticmethod
    def read(texts: Sequence[str]) -> PayloadKeys:
        """From base64. Raises ValueError, which repeats nothing of them."""
        try:
            return PayloadKeys([base64.b64decode(text, validate=True) for text in texts])
        except binascii.Error:
            raise ValueError(f"keys of {KEY_BYTES} bytes in base64") from None

    def _new_data_key(self) -> None:
        key = AESGCM.generate_key(bit_length=256)
        self._wrapped = _sealed(self._keys[self.id], key, self.id)
        self._data_key, self._left = AESGCM(key), _MOST_BY_DATA_KEY

    def seal(self, text: str) -> str:
        """A payload as it is stored."""
        if self._left <= 0:
            self._new_data_key()
        self._left -= 1
        data = _sealed(self._data_key, text.encode("utf-8", "surrogatepass"), self._wrapped)
        return f'{{"v":{SEALED_FORMAT},"key":"{self.id}","dek":"{self._wrapped}","data":"{data}"}}'

    def open(self, envelope: Mapping[str, Any]) -> str:
        """Inverse of `seal`. Raises InvalidSetting without its key, or where it was changed."""
        key_id, wrapped = str(envelope["key"]), str(envelope["dek"])
        try:
            data = _opened(self._data_key_of(key_id, wrapped), envelope["data"], wrapped)
        except (InvalidTag, ValueError):
            raise unreadable(f"one that was changed after key {key_id} had sealed it") from None
        return data.decode("utf-8", "surrogatepass")

    def _data_key_of(self, key_id: str, wrapped: str) -> AESGCM:
        known = self._opened.get(wrapped)
        if known is None:
            if key_id not in self._keys:
                raise unreadable(f"one that was sealed with key {key_id}")
            known = AESGCM(_opened(self._keys[key_id], wrapped, key_id))
            self._opened[wrapped] = known
            if len(self._opened) > _MOST_DATA_KEYS:
                self._opened.popitem(last=False)
        return known

    def stored_prefix(self) -> str:
        """With which payloads begin that the first key has sealed."""
        return f'{{"v":{SEALED_FORMAT},"key":"{self.id}",'


def new_key() -> str:
    """A key in base64."""
    return base64.b64encode(os.urandom(KEY_BYTES)).decode()


def _sealed(key: AESGCM, content: bytes, bound_to: str) -> str:
    nonce = os.urandom(_NONCE_BYTES)
    return base64.b64encode(nonce + key.encrypt(nonce, content, bound_to.encode())).decode()


def _opened(key: AESGCM, sealed: str, bound_to: str) -> bytes:
    content = base64.b64decode(sealed, validate=True)
    return key.decrypt(content[:_NONCE_BYTES], content[_NONCE_BYTES:], bound_to.encode())
