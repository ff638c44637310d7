"""Keep secrets out of logs and messages."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.])(authorization|cookie|set-cookie|password|passwd|secret|token|api[-_]?key"
    r"|client[-_]?secret|basic[-_]?auth|credential)s?$"
)
_URL_PASSWORD = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a field, header or parameter of this name holds a secret."""
    return _SECRET_NAME.search(name) is not None


def hide_secrets(
    logger: Any, method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: values under secret names, and passwords inside addresses."""
    for name, value in event_dict.items():
        if is_secret_name(name):
            event_dict[name] = HIDDEN
        elif isinstance(value, str) and "@" in value:
            event_dict[name] = hide_url_passwords(value)
    return event_dict


def hide_url_passwords(text: str) -> str:
    """`redis://:pw@host` anywhere in a text becomes `redis://:[hidden]@host`."""
    return _URL_PASSWORD.sub(rf"\g<scheme>:{HIDDEN}@", text)


def address_of(url: str) -> str:
    """An address for people: no user, password or query."""
    parts = urlsplit(url)
    if not parts.scheme:
        return hide_url_passwords(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
