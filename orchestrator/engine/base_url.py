"""Base URLs of APIs, in the one spelling that everybody reads alike.

Readers of URLs disagree about odd ones: `http://api.example\\@10.0.0.1`, `http://127.1`, dots of
other scripts, line breaks in the middle. Where one reader checks and another connects, every
difference is a way around the check. So what is odd is refused, and nothing is left to disagree on.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

_VISIBLE = re.compile(
    r"[!-\[\]-~]+"
)  # ASCII without spaces and the backslash, which some take for /
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_IN_BRACKETS = re.compile(r"\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LONGEST_NAME = 253
_EXAMPLE = "an address such as https://api.example/v1"


def checked_base_url(text: str) -> str:
    """The URL without slashes at its end. Raises ValueError that says what is wanted."""
    if not _VISIBLE.fullmatch(text):
        raise ValueError(f"{_EXAMPLE}: visible ASCII only (host names as xn--…, paths as %XX)")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{_EXAMPLE}, with a port from 1 to 65535 if any") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(_EXAMPLE)
    if "@" in parts.netloc:
        raise ValueError("an address without credentials; they belong to auth")
    if "?" in text or "#" in text:
        raise ValueError("an address without query and fragment")
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError(f"{_EXAMPLE}, with a port from 1 to 65535 if any")
    _check_host(parts)
    return text.rstrip("/")


def shown_base_url(text: str) -> str:
    """For errors: the URL, unless it may hold a secret."""
    return "an address with credentials" if "@" in text else repr(text)[:200]


def _check_host(parts: SplitResult) -> None:
    host = parts.hostname or ""
    if parts.netloc.startswith("["):
        if _IN_BRACKETS.fullmatch(parts.netloc) and _is_ipv6(host):
            return
        raise ValueError("an IPv6 address without a zone, such as [2001:db8::1]")
    if not _NAME.fullmatch(host) or len(host.rstrip(".")) > _LONGEST_NAME:
        raise ValueError("a host name of letters, digits, - and _ (other scripts as xn--…)")
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _is_ipv4(host):
        raise ValueError("a host name, or an IPv4 address as four decimal numbers")


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
