"""Encrypts what leaves this process's memory to be shared with other workers.

Fernet (AES-128-CBC and HMAC-SHA256) of `cryptography`. The key is the setting `credentials_key`, a
reference; several keys, separated by white space or commas, let it be changed: the first one seals,
each of them opens. What is sealed under one name does not open under another.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from orchestrator.engine.secret import Secret, checked_reference
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.telemetry.redact import remember

_WANTED = (
    'a key made by python -c "from cryptography.fernet import Fernet; '
    'print(Fernet.generate_key().decode())"'
)


class Sealer:
    """Seals and opens texts."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Raises ValueError when there is no key, or one that is none."""
        if not keys:
            raise ValueError("no key")
        self._fernet = MultiFernet([Fernet(remember(key)) for key in keys])

    def seal(self, name: str, value: object) -> str:
        """A value that JSON can hold, as an unreadable text."""
        return self._fernet.encrypt(orjson.dumps([name, value])).decode()

    def open(self, name: str, sealed: str) -> object | None:
        """The value; None when it was sealed with another key, or under another name."""
        try:
            found, value = orjson.loads(self._fernet.decrypt(sealed))
        except (InvalidToken, ValueError):
            return None
        return value if found == name else None


def sealer_of(reference: str) -> Sealer | None:
    """What the setting `credentials_key` says; None when it is empty. Raises InvalidSetting."""
    if not reference:
        return None
    try:
        text = Secret(reference=checked_reference(reference)).read()
    except ValueError as error:
        problem = Problem(place="setting credentials_key", found="a text", wanted=str(error))
        raise InvalidSetting("the settings are not valid", problems=[problem]) from None
    try:
        return Sealer(re.findall(r"[^\s,]+", text))
    except ValueError:
        problem = Problem(place="setting credentials_key", found="no such key", wanted=_WANTED)
        raise InvalidSetting("the settings are not valid", problems=[problem]) from None
