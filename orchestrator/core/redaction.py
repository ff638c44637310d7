"""What is secret in a value or a text, and what it looks like without it. Pure.

A value is hidden for any of four reasons:

    its name      the usual ones (`is_secret_name`), and those that schemas or settings add
    its place     a pointer that settings name
    its looks     card numbers (issuer's prefix, length and Luhn), tokens of known forms, keys
    what it is    a text that is known to be a secret, wherever it turns up: a credential that
                  was read, an input that its schema calls secret

Whatever cannot be a secret stays: true, false, null, and numbers under names such as `max_tokens`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, quote_plus

HIDDEN = "[hidden]"
SHORTEST = 6
"""Characters. A shorter text is part of too many others to be looked for everywhere."""
_WHOLE_WORDS_BELOW = 8
"""A known secret that is shorter is only hidden where it is not part of a longer word."""
_LONGEST_KEPT = 200
"""Characters of a text of which is kept, in memory, how it looks without what is secret in it."""
LONGEST_LOOKED_INTO = 2 * 1024 * 1024
"""Characters of a text that is read as JSON; in a longer one only looks and known texts count."""

_BYTES = "body64"
_PAYLOADS = frozenset({"inputs", "outputs", "data", "show"})
_WORD_EDGE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SECRET_NAME = re.compile(
    r"(?i)(^|[-_.])(authorization|cookie|set-cookie|password|passwd|passphrase|pwd|secret"
    r"|(?<!page[-_.])(?<!next[-_.])(?<!continuation[-_.])(?<!sync[-_.])token"
    r"|api[-_]?key|private[-_]?key|access[-_]?key|signing[-_]?key|client[-_]?secret|basic[-_]?auth"
    r"|credential|card[-_]?number|cvv|cvc|pin|otp|ssn)s?$"
)
_COUNTED = re.compile(r"(?i)tokens$")

_CARD = re.compile(
    r"(?<![\w.+-])(?:3[0-9]|4\d|5[1-5]|2[2-7]|6[0245])(?:[ -]?\d){11,17}(?![\w-]|\.\d)"
)
_LOOKS = re.compile(
    r"""
    -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    | \beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*                                # JWT
    | \b(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{16,}               # payment services
    | \bsk-[\w-]{20,} | \bhf_[A-Za-z0-9]{20,}                          # model services
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,} | \bglpat-[\w-]{16,} | \bnpm_\w{30,}
    | \bxox[abeprs]-[\w-]{10,} | \bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{16,} | \bSG\.[\w-]{16,}\.[\w-]+
    | \bA(?:KI|SI)A[0-9A-Z]{16}\b | \bAIza[\w-]{30,} | \bya29\.[\w-]{16,}  # clouds
    """,
    re.VERBOSE | re.DOTALL,
)
_PARTS_OF_LOOKS = (
    "PRIVATE KEY", "eyJ", "sk_", "rk_", "whsec_", "sk-", "hf_", "gh", "glpat-", "npm_", "xox",
    "shp", "SG.", "AKIA", "ASIA", "AIza", "ya29.",
)  # fmt: skip
_SCHEME = re.compile(r"(?i)\b(?P<kept>(?:bearer|basic)[ ]+)(?=[^\s\"',;]*\d)[\w.~+/-]{8,}=*")
_NAMED = re.compile(
    r"""(?ix)
    (?P<kept>(?:\b|(?<=_))
      (?:password|passwd|passphrase|pwd|secret|api[-_]?key|(?:access|refresh|id|auth)[-_]?token
        |client[-_]?secret|private[-_]?key|authorization|cvv|cvc)
      (?:=|\\?["']\s*[:=]\s*\\?["']))
    (?!\[hidden\])[^\s"'\\,;&}]+
    """
)
_PARTS_OF_NAMES = ("pass", "pwd", "secret", "key", "token", "authorization", "cv")
_SCALARS = (str, int, float, bool, type(None))
_URL_PASSWORD = re.compile(
    r"(?P<kept>[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s/@]+(?=@)", re.IGNORECASE
)


@lru_cache(maxsize=4096)  # asked for each field of each run's inputs
def is_secret_name(name: str) -> bool:
    """Whether a field, header or parameter of this name holds a secret.

    A word at its end says so: `db_password`, `apiKey`, `X-Auth-Token`; not `next_page_token`.
    """
    return _SECRET_NAME.search(_WORD_EDGE.sub("_", name)) is not None


def is_card_number(digits: str) -> bool:
    """13 to 19 digits that pass Luhn's test (ISO/IEC 7812-1), and are not all the same."""
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (1 + place % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Texts that are secret wherever they turn up, each in the forms in which it may."""

    forms: tuple[str, ...] = ()  # longest first: one may be part of another

    @staticmethod
    def of(texts: Iterable[str]) -> Known:
        """These texts, as they are and as URLs, JSON and base64 write them."""
        forms = {form for text in texts if len(text) >= SHORTEST for form in _forms_of(text)}
        return Known(forms=tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def __or__(self, other: Known) -> Known:
        """With those besides."""
        if not (self.forms and other.forms):
            return self if self.forms else other
        forms = {*self.forms, *other.forms}
        return Known(forms=tuple(sorted(forms, key=lambda form: (-len(form), form))))

    def hidden_in(self, text: str) -> str:
        """The text without them."""
        for form in self.forms:
            if form in text:
                text = _without(form, text)
        return text


NOTHING_KNOWN = Known()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What is secret besides the usual names and looks."""

    names: frozenset[str] = frozenset()  # in lower case
    paths: tuple[tuple[str, ...], ...] = ()  # tokens of pointers; "*" is any one token
    known: Known = NOTHING_KNOWN

    def __or__(self, other: Rules) -> Rules:
        """Both together."""
        if other is USUAL:
            return self
        return Rules(
            names=self.names | other.names, paths=self.paths + other.paths,
            known=self.known | other.known,
        )  # fmt: skip

    def is_secret(self, name: str) -> bool:
        """Whether a field of this name is hidden."""
        return name.lower() in self.names or is_secret_name(name)

    def text(self, text: str) -> str:
        """A text without what is secret in it by its looks, or known to be."""
        return hidden_in_text(self.known.hidden_in(text))

    def value(self, value: Any) -> Any:
        """A JSON value without what is secret in it; the same object where nothing is."""
        return self._without(value, self.paths)

    def texts_in(
        self, value: Any, paths: tuple[tuple[str, ...], ...] | None = None
    ) -> Iterator[str]:
        """The texts that are hidden for their names or places, wherever they stand in it."""
        here = self.paths if paths is None else paths
        items = _items_of(value)
        is_object = isinstance(value, Mapping)
        for name, item in items:
            below = _below(here, name) if here else ()
            if () in below or (is_object and self.is_secret(name)):
                yield from secret_texts(item)
            elif not isinstance(item, _SCALARS):
                yield from self.texts_in(item, below)

    def _without(self, value: Any, paths: tuple[tuple[str, ...], ...]) -> Any:
        if isinstance(value, str):
            return self._of_text(value)
        if isinstance(value, Mapping):
            return self._of_mapping(value, paths)
        if isinstance(value, list | tuple):
            found = [self._without(v, _below(paths, str(n))) for n, v in enumerate(value)]
            same = all(new is old for new, old in zip(found, value, strict=True))
            return value if same else found
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = str(value)
            return value if self.text(shown) == shown else HIDDEN
        return value

    def _of_mapping(self, value: Mapping[str, Any], paths: tuple[tuple[str, ...], ...]) -> Any:
        changed: dict[str, Any] = {}
        for name, item in value.items():
            below = self._paths_below(name, paths) if self.paths else ()
            if () in below or (self.is_secret(name) and not _counts(name, item)):
                new = item if item is None or isinstance(item, bool) else HIDDEN
            elif name == _BYTES:
                new = self._of_bytes(item)
            else:
                new = self._without(item, below)
            if new is not item:
                changed[name] = new
        return {**value, **changed} if changed else value

    def _paths_below(
        self, name: str, paths: tuple[tuple[str, ...], ...]
    ) -> tuple[tuple[str, ...], ...]:
        """Pointers begin anew where a payload stands within something larger."""
        found = _below(paths, name)
        return found + self.paths if name in _PAYLOADS else found

    def _of_bytes(self, text: Any) -> Any:
        """A body that is no text, as `FrozenRequest.to_json` writes it."""
        try:
            content = base64.b64decode(text).decode("utf-8", "replace")
        except (ValueError, TypeError):
            return self._without(text, ())
        return text if self.text(content) == content else HIDDEN

    def _of_text(self, text: str) -> str:
        """A text that is JSON, as bodies of requests are, is looked into."""
        if text[:1] in ("{", "[") and len(text) <= LONGEST_LOOKED_INTO:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                return self.text(text)
            found = self.value(value)
            text = text if found is value else json.dumps(found, separators=(",", ":"))
        return self.text(text)


USUAL = Rules()


def hidden_in_text(text: str) -> str:
    """A text without what looks like a secret."""
    if len(text) < _WHOLE_WORDS_BELOW:
        return text
    if len(text) > _LONGEST_KEPT:
        return _hidden_in.__wrapped__(text)
    found = _hidden_in(text)
    return text if found == text else found  # the same object where nothing is hidden


@lru_cache(maxsize=1024)  # reasons of answers and names of functions come with every step
def _hidden_in(text: str) -> str:
    # Each expression is only tried where a part that it needs is there: most texts have none.
    if any(part in text for part in _PARTS_OF_LOOKS):
        text = _LOOKS.sub(HIDDEN, text)
    if "@" in text:
        text = _URL_PASSWORD.sub(rf"\g<kept>{HIDDEN}", text)
    lower = text.lower()
    if "bearer" in lower or "basic" in lower:
        text = _SCHEME.sub(rf"\g<kept>{HIDDEN}", text)
    if ("=" in text or '"' in text or "'" in text) and any(p in lower for p in _PARTS_OF_NAMES):
        text = _NAMED.sub(rf"\g<kept>{HIDDEN}", text)
    return _CARD.sub(_unless_a_card, text)


def secret_texts(value: Any) -> Iterator[str]:
    """The texts within a value that is secret as a whole, numbers among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secret_texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from secret_texts(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)


def at_paths(value: Any, paths: Collection[tuple[str, ...]]) -> Iterator[Any]:
    """The values at these places, as far as there are any."""
    for path in paths:
        yield from _at(value, path)


def path_of(pointer: str) -> tuple[str, ...]:
    """The tokens of a JSON pointer, in which `*` stands for any one. Raises ValueError."""
    if not pointer.startswith("/") or pointer == "/":
        raise ValueError("a JSON pointer such as /customer/iban or /cards/*/number")
    return tuple(t.replace("~1", "/").replace("~0", "~") for t in pointer[1:].split("/"))


def _items_of(value: Any) -> Iterable[tuple[str, Any]]:
    """What stands in an object or array, by the tokens of a pointer; nothing in anything else."""
    if isinstance(value, Mapping):
        return value.items()
    return ((str(n), v) for n, v in enumerate(value)) if isinstance(value, list | tuple) else ()


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    if not path:
        yield value
        return
    step, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        found: Iterable[Any] = (
            value.values() if step == "*" else [value[step]] if step in value else ()
        )
    elif isinstance(value, list | tuple):
        is_place = step.isdecimal() and int(step) < len(value)
        found = value if step == "*" else [value[int(step)]] if is_place else ()
    else:
        return
    for item in found:
        yield from _at(item, rest)


def _below(paths: tuple[tuple[str, ...], ...], name: str) -> tuple[tuple[str, ...], ...]:
    """What is left of the paths after this token."""
    return tuple(path[1:] for path in paths if path and path[0] in ("*", name))


def _counts(name: str, value: Any) -> bool:
    """`max_tokens: 500` says how many, not which."""
    return isinstance(value, int | float) and _COUNTED.search(name) is not None


def _forms_of(text: str) -> set[str]:
    raw = text.encode("utf-8", "surrogatepass")
    return {
        text, quote(raw), quote(raw, safe=""), quote_plus(raw), json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1], base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode().rstrip("="),
    }  # fmt: skip


def _without(form: str, text: str) -> str:
    if len(form) >= _WHOLE_WORDS_BELOW:
        return text.replace(form, HIDDEN)
    return re.sub(rf"(?<![\w-]){re.escape(form)}(?![\w-])", HIDDEN, text)


def _unless_a_card(match: re.Match[str]) -> str:
    digits = match[0].replace(" ", "").replace("-", "")
    return HIDDEN if is_card_number(digits) else match[0]
