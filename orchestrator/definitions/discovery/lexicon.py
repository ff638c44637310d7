"""Words of APIs: which read, which create, which undo which.

Curated by hand. A pair stands here only where the second word takes back what the first did in
every API that uses both of the same thing; `business` marks those that book a new fact instead of
removing the old one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")


@dataclass(frozen=True, slots=True)
class Pair:
    """An action and what takes it back."""

    undo: str
    business: bool = False
    """Whether the undo is a new fact beside the old one."""


READS = frozenset({
    "analyze", "calculate", "check", "compare", "compute", "count", "describe", "diff", "estimate",
    "fetch", "find", "get", "introspect", "list", "lookup", "parse", "ping", "preview", "query",
    "quote", "read", "render", "retrieve", "search", "show", "validate",
})  # fmt: skip
"""Verbs of operations that leave nothing behind, whatever their method."""

SIGNALS = frozenset({"flush", "notify", "ping", "probe", "refresh", "retrieve"})
"""Verbs that make a server look again; with an idempotent method and without a body no state."""

CREATES = frozenset({
    "add", "allocate", "authorize", "book", "buy", "charge", "create", "insert", "make", "new",
    "open", "order", "pay", "place", "post", "provision", "purchase", "register", "reserve",
    "schedule", "store", "upload",
})  # fmt: skip

PAYS = frozenset({"authorise", "authorize", "buy", "capture", "charge", "pay", "purchase"})
"""Verbs whose answers say by a status whether they took effect, not where a thing stands."""

REPLACES = frozenset({
    "change", "configure", "edit", "modify", "patch", "put", "rename", "replace", "save", "set",
    "update", "write",
})  # fmt: skip

NOT_CREATING = frozenset({
    "accept", "adopt", "apply", "approve", "assign", "attach", "claim", "clone", "complete",
    "confirm", "convert", "copy", "finalize", "fork", "import", "invite", "join", "login", "merge",
    "migrate", "move", "promote", "recover", "redeem", "reset", "restore", "retry", "rotate",
    "send", "sync", "transfer", "undelete", "upsert",
})  # fmt: skip
"""Verbs that change, move or send what is there already, or whose copy has an owner elsewhere: what
their answer names may be older than the step, so deleting it is no undo."""

SENT = frozenset({
    "call", "email", "fax", "invitation", "mail", "notification", "push", "reminder", "sms",
})  # fmt: skip
"""Things that have left when they are made: deleting them removes the record only."""

SEEN = frozenset({"announcement", "comment", "message", "note", "post", "reply", "review", "tweet"})
"""Things that others may have read when they are deleted."""

PAIRS: dict[str, tuple[Pair, ...]] = {
    "acquire": (Pair("release"),),
    "activate": (Pair("deactivate"),),
    "add": (Pair("remove"), Pair("delete")),
    "allocate": (Pair("release"), Pair("deallocate")),
    "allow": (Pair("disallow"),),
    "archive": (Pair("unarchive"), Pair("restore")),
    "assign": (Pair("unassign"),),
    "associate": (Pair("disassociate"), Pair("dissociate")),
    "attach": (Pair("detach"),),
    "authorise": (Pair("void"), Pair("cancel"), Pair("reverse")),
    "authorize": (Pair("void"), Pair("cancel"), Pair("reverse")),
    "ban": (Pair("unban"),),
    "block": (Pair("unblock"),),
    "bind": (Pair("unbind"),),
    "bookmark": (Pair("unbookmark"),),
    "capture": (Pair("refund", business=True),),
    "charge": (Pair("refund", business=True),),
    "check-in": (Pair("check-out"),),
    "close": (Pair("reopen"),),
    "connect": (Pair("disconnect"),),
    "create": (Pair("delete"), Pair("destroy"), Pair("remove")),
    "deposit": (Pair("withdraw", business=True),),
    "disable": (Pair("enable"),),
    "enable": (Pair("disable"),),
    "enroll": (Pair("unenroll"),),
    "favorite": (Pair("unfavorite"),),
    "flag": (Pair("unflag"),),
    "follow": (Pair("unfollow"),),
    "freeze": (Pair("unfreeze"),),
    "grant": (Pair("revoke"),),
    "hide": (Pair("unhide"),),
    "hold": (Pair("release"),),
    "install": (Pair("uninstall"),),
    "like": (Pair("unlike"),),
    "link": (Pair("unlink"),),
    "lock": (Pair("unlock"),),
    "mark": (Pair("unmark"),),
    "mount": (Pair("unmount"),),
    "mute": (Pair("unmute"),),
    "pause": (Pair("resume"), Pair("unpause")),
    "pin": (Pair("unpin"),),
    "publish": (Pair("unpublish"),),
    "register": (Pair("deregister"), Pair("unregister")),
    "reserve": (Pair("release"), Pair("unreserve"), Pair("cancel")),
    "schedule": (Pair("unschedule"), Pair("cancel")),
    "share": (Pair("unshare"),),
    "snooze": (Pair("unsnooze"),),
    "star": (Pair("unstar"),),
    "subscribe": (Pair("unsubscribe"),),
    "suspend": (Pair("resume"), Pair("unsuspend"), Pair("reactivate")),
    "tag": (Pair("untag"),),
    "trash": (Pair("untrash"), Pair("restore")),
    "unarchive": (Pair("archive"),),
    "unlock": (Pair("lock"),),
    "vote": (Pair("unvote"),),
    "watch": (Pair("unwatch"),),
}

UNDOES_CREATION: tuple[tuple[str, bool], ...] = (
    ("reverse", False), ("void", False), ("cancel", False), ("release", False), ("revoke", False),
    ("refund", True),
)  # fmt: skip
"""Actions on a new item that take it back, the best first, and whether they book a new fact."""

SECRET = re.compile(r"passw|secret|credential|private_?key|api_?key$|token$", re.IGNORECASE)
"""Names of fields that servers hide, mask or hash when they are read."""

RELATES = re.compile(r"associat|assign|attach|membership|relation", re.IGNORECASE)
"""What documents say of operations that tie two things together which exist already."""

OWN_KEY = re.compile(r"idempotency|client_?request_?(?:id|token)", re.IGNORECASE)
"""Names of fields that tell one request from another: an undo never repeats the step's."""

_UNDO = re.compile(r"(un|de|dis)")

UNDO_WORDS = frozenset(
    {"abort", "delete", "destroy", "detach", "reject", "remove", "revert", "rollback", "undo"}
    | {word for word, _ in UNDOES_CREATION}
    | {pair.undo for pairs in PAIRS.values() for pair in pairs if _UNDO.match(pair.undo)}
)  # fmt: skip
"""Words of operations that are undos themselves; to undo an undo is nobody's guess to make."""

OVER = frozenset({
    "abandoned", "canceled", "cancelled", "deactivated", "expired", "revoked", "terminated",
    "void", "voided", "withdrawn",
})  # fmt: skip
"""Values of a status after which a thing has no effect any more."""

TOOK_EFFECT = frozenset({
    "accepted", "approved", "authorised", "authorized", "captured", "completed", "confirmed",
    "paid", "settled", "succeeded",
})  # fmt: skip
BEGINS = frozenset({"created", "draft", "initial", "new", "open", "scheduled", "unpaid"})
"""States in which things are when they have just been made."""

FAILED = frozenset({
    "cancelled", "canceled", "declined", "denied", "error", "failed", "refused", "rejected",
})  # fmt: skip

UPSERTS = re.compile(
    r"upsert|create[sd]? (?:a |an |the |new )*(?:\w+ )?or (?:update|replace|overwrite|return)"
    r"|add(?:s|ed)? or update|update[sd]?[ /]?or[ /]?create|find or create|create[-_ ]?if[-_ ]?not"
    r"|if (?:it |the \w+ |one |a \w+ )?already exists?"
    r"|already exist(?:s|ing)?,? (?:it|the|is|will)"
    r"|existing \w+ (?:is|are|will be) (?:updated|replaced|returned)"
    r"|or updates? (?:an |the )?existing|creates?/(?:updates|modifies)|create[-_ ]?or[-_ ]?update"
    r"|idempotent",
    re.IGNORECASE,
)
"""What documents say of operations that create, or find something that was there."""

VERBS = (
    READS | SIGNALS | CREATES | REPLACES | NOT_CREATING | UNDO_WORDS | PAIRS.keys()
    | {"mark", "transition"}
)  # fmt: skip
"""All that is known here."""


@lru_cache(maxsize=65_536)
def words_of(text: str) -> tuple[str, ...]:
    """Words in small letters: of camelCase, kebab-case, snake_case or a sentence."""
    return tuple(word.lower() for word in _CAMEL.findall(text))


@lru_cache(maxsize=65_536)
def lemma(word: str) -> str:
    """The verb or singular that a word is a form of, as far as these lists need it."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    return singular(word)


_IRREGULAR = {
    "adds": "add", "auth": "authorize", "authorization": "authorize", "authorizations": "authorize",
    "cancellation": "cancel", "cancellations": "cancel", "cancels": "cancel", "captures": "capture",
    "changes": "change", "creates": "create", "creation": "create", "deletes": "delete",
    "deletion": "delete", "modifies": "modify", "places": "place", "refunds": "refund",
    "releases": "release", "removal": "remove", "removes": "remove", "replaces": "replace",
    "reservation": "reserve", "returns": "get", "reversal": "reverse", "reversals": "reverse",
    "reverses": "reverse", "revocation": "revoke", "searches": "search", "updates": "update",
    "uploads": "upload", "validates": "validate", "voids": "void",
}  # fmt: skip


@lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """A singular good enough to compare names: policies → policy, addresses → address."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def stemmed(words: Iterable[str]) -> tuple[str, ...]:
    """Words without plural and endings."""
    return tuple(lemma(word) for word in words)


def joined(text: str) -> str:
    """A name without case, separators or plural of its last word, to compare spellings."""
    words = words_of(text)
    return "".join((*words[:-1], singular(words[-1]))) if words else text.lower()
