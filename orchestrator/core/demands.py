"""What an API's document asks of a request so that its server knows who calls. No secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class DemandKind(StrEnum):
    """How a security scheme wants to be satisfied."""

    API_KEY = "apiKey"  # a secret as it is, in a header, the query or a cookie
    BASIC = "basic"
    BEARER = "bearer"
    OAUTH2 = "oauth2"
    MUTUAL_TLS = "mutualTLS"  # the certificate of the connection
    UNSUPPORTED = "unsupported"  # `why` says what it would need


@dataclass(frozen=True, kw_only=True, slots=True)
class Demand:
    """One security scheme of a document, as one operation requires it."""

    scheme: str  # its name in the document
    kind: DemandKind
    place: str = ""  # of an apiKey: header, query or cookie
    name: str = ""  # of an apiKey: of that header, parameter or cookie
    token_url: str = ""  # of oauth2, for client credentials
    refresh_url: str = ""  # of oauth2, for refresh tokens
    scopes: tuple[str, ...] = ()  # of oauth2, as this operation requires them
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON form; empty fields are left out."""
        fields = {
            "scheme": self.scheme, "kind": str(self.kind), "place": self.place, "name": self.name,
            "token_url": self.token_url, "refresh_url": self.refresh_url,
            "scopes": list(self.scopes), "why": self.why,
        }  # fmt: skip
        return {name: value for name, value in fields.items() if value}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Demand:
        """Inverse of `to_json`."""
        fields = {**data, "kind": DemandKind(data["kind"]), "scopes": tuple(data.get("scopes", ()))}
        return Demand(**fields)


Security = tuple[tuple[Demand, ...], ...]
"""Any one of these will do, each with all of its demands; none at all: no credential is wanted."""


def security_to_json(security: Security) -> list[list[dict[str, Any]]]:
    """JSON form."""
    return [[demand.to_json() for demand in together] for together in security]


def security_from_json(data: Sequence[Sequence[Mapping[str, Any]]]) -> Security:
    """Inverse of `security_to_json`."""
    return tuple(tuple(Demand.from_json(item) for item in together) for together in data)
