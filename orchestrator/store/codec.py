"""Between our values and what columns hold: JSON text with its format's number, times, links.

msgspec writes and reads most of it. The standard library's codec stands in for the two things that
JSON allows and msgspec refuses: lone surrogates and numbers beyond a double.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from orchestrator.errors import InvalidSetting, Problem

if TYPE_CHECKING:
    from orchestrator.store.payloads import PayloadKeys  # brings cryptography; most seal nothing

PAYLOAD_FORMAT = 1
"""Number of the envelope `{"v": 1, "data": …}`; readers refuse what they do not know."""

SEALED_FORMAT = 2
"""Number of the envelope of a sealed one, see `payloads`."""
PLAIN_PREFIX = f'{{"v":{PAYLOAD_FORMAT},'

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_HEAD = f'{{"v":{PAYLOAD_FORMAT},"data":'
_HEAD_BYTES = _HEAD.encode()
_NUL = "\x00"


@dataclass(slots=True)
class _Sealing:
    keys: PayloadKeys | None = None


_sealing = _Sealing()


class UnknownFormat(ValueError):
    """A payload was written by a release that is newer than this one."""


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a payload holds JSON values, not {type(value).__name__}")


_encoder = msgspec.json.Encoder(enc_hook=_plain)
_decoder = msgspec.json.Decoder()


def dump(value: object) -> str:
    """A payload as text in its envelope. Raises TypeError for what JSON cannot hold."""
    return f"{_HEAD}{_dump_bare(value)}}}"


def dump_bytes(value: object) -> bytes:
    """As `dump`, in UTF-8."""
    try:
        return b"".join((_HEAD_BYTES, _encoder.encode(value), b"}"))
    except UnicodeEncodeError:
        return dump(value).encode()


def dump_together(values: Sequence[object], before: Sequence[int]) -> bytes:
    """Records of an audit that are one row (see core/chain), in UTF-8."""
    head = f'{{"v":{PAYLOAD_FORMAT},"before":[{",".join(map(str, before))}],"data":'.encode()
    try:
        return b"".join((head, _encoder.encode(values), b"}"))
    except UnicodeEncodeError:
        return b"".join((head, _dump_bare(values).encode(), b"}"))


def load(stored: str) -> Any:
    """Inverse of `dump`. Raises UnknownFormat."""
    envelope = _load_bare(stored)
    found = envelope.get("v")
    if found == SEALED_FORMAT and "dek" in envelope:
        envelope = _load_bare(_opened(envelope))
        found = envelope.get("v")
    if found != PAYLOAD_FORMAT:
        raise UnknownFormat(f"stored payload: found format {found!r}; wanted {PAYLOAD_FORMAT}")
    return envelope["data"]


def seal_with(keys: PayloadKeys | None) -> None:
    """From now on payloads of this process are sealed with these, or with none.

    Of the process, since rows are read and written by functions that know of no store; a process
    works for one deployment.
    """
    _sealing.keys = keys


def sealing() -> PayloadKeys | None:
    """The keys with which payloads are sealed."""
    return _sealing.keys


def dump_payload(value: object) -> str:
    """What a run was given, sends or gives: as `dump`, and sealed if there are keys."""
    text = dump(value)
    return text if _sealing.keys is None else _sealing.keys.seal(text)


def dump_payload_optional(value: object | None) -> str | None:
    """None stays None."""
    return None if value is None else dump_payload(value)


def resealed(stored: str) -> str:
    """The same payload as `dump_payload` would write it now."""
    return dump_payload(load(stored))


def unreadable(found: str) -> InvalidSetting:
    """A stored payload that these settings cannot open."""
    problem = Problem(
        place="a stored payload", found=found, wanted="its key in the setting payload_keys"
    )
    return InvalidSetting("a payload cannot be opened", problems=[problem])


def _opened(envelope: Any) -> str:
    if _sealing.keys is None:
        raise unreadable(f"one that was sealed with key {envelope['key']}")
    return _sealing.keys.open(envelope)


def dump_optional(value: object | None) -> str | None:
    """None stays None."""
    return None if value is None else dump(value)


def load_optional(stored: str | None) -> Any:
    """None stays None."""
    return None if stored is None else load(stored)


def _dump_bare(value: object) -> str:
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:  # a lone surrogate: written as an escape, it survives
        return json.dumps(value, ensure_ascii=True, separators=(",", ":"), default=_plain)


def _load_bare(stored: str) -> Any:
    try:
        return _decoder.decode(stored)
    except msgspec.DecodeError:
        return json.loads(stored)


# --- batches --------------------------------------------------------------------------------------


def dump_batch(rows: Sequence[Sequence[Any]]) -> str:
    """Rows as one JSON array of arrays: a statement's single parameter.

    Text that a database cannot hold (NUL, lone surrogates; both only ever come from outside) is
    replaced by U+FFFD, so that one strange answer of an API cannot stop the runs beside it.
    """
    try:
        encoded = _encoder.encode(rows)
    except UnicodeEncodeError:
        return _encoder.encode(cleaned(rows)).decode()
    if b"\\u0000" in encoded:
        encoded = _encoder.encode(cleaned(rows))
    return encoded.decode()


def storable(value: str) -> str:
    """The text without what a database cannot hold; unchanged in almost every case."""
    if _NUL in value:
        value = value.replace(_NUL, "\ufffd")
    return value.encode("utf-8", "replace").decode() if not value.isascii() else value


def cleaned(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """The rows without text that a database cannot hold."""
    return [[storable(value) if isinstance(value, str) else value for value in row] for row in rows]


# --- times ----------------------------------------------------------------------------------------


def micros(at: datetime) -> int:
    """Microseconds since 1970, exact. `at` is aware."""
    return (at - _EPOCH) // _MICROSECOND


def instant(stored: datetime | int) -> datetime:
    """A stored time, aware and in UTC."""
    if isinstance(stored, int):
        return _EPOCH + timedelta(microseconds=stored)
    return stored.astimezone(UTC)


def instant_optional(stored: datetime | int | None) -> datetime | None:
    """None stays None."""
    return None if stored is None else instant(stored)
