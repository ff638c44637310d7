"""How an API wants to be shown who calls: the `auth` and `tls` of its configuration.

    auth: {bearer: env:TOKEN}
    auth: {basic: {user: me, password: file:/run/secrets/inventory}}
    auth: {header: {name: X-Api-Key, value: env:KEY}}
    auth: {query: {name: key, value: env:KEY}}
    auth: {cookie: {name: session, value: 'command:vault kv get -field=session secret/inventory'}}
    auth: {schemes: {apiKey: {value: env:KEY}}}   # by name in the API's document: see `Schemes`
    auth:
      oauth2: {token_url: …, client_id: …, client_secret: env:SECRET, scopes: [read, write]}
      tenants:
        acme: {bearer: env:ACME_TOKEN}     # the same forms, instead of the default

Here are only values; what a credential is at the moment is found out by `credentials.py`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from orchestrator.engine.base_url import checked_base_url
from orchestrator.engine.secret import Secret, checked_reference
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.telemetry.redact import remember


class Place(StrEnum):
    """Which part of a request carries the credential."""

    HEADER = "header"
    QUERY = "query"
    COOKIE = "cookie"


@dataclass(frozen=True, kw_only=True, slots=True)
class Static:
    """A secret that somebody gave us, sent as it is."""

    secret: Secret
    place: Place = Place.HEADER
    name: str = "Authorization"  # of the header, parameter or cookie
    scheme: str = ""  # "Bearer", "Basic" or nothing
    user: str = ""  # of "Basic"

    @property
    def form(self) -> str:
        """The field of `auth` that says it."""
        return self.scheme.lower() or self.place

    def value(self) -> str:
        """What is sent, secret included. Blocks. Raises InvalidSetting when it cannot be read."""
        secret = self.secret.read()
        if self.scheme == "Basic":
            secret = remember(base64.b64encode(f"{self.user}:{secret}".encode()).decode())
        return f"{self.scheme} {secret}".strip()


class Grant(StrEnum):
    """What a token is asked for with."""

    CLIENT_CREDENTIALS = "client_credentials"
    REFRESH_TOKEN = "refresh_token"  # noqa: S105 - the grant's name


@dataclass(frozen=True, kw_only=True, slots=True)
class OAuth2:
    """A token that a token endpoint issues to a client (RFC 6749)."""

    token_url: str
    client_id: Secret | str  # the id itself, or where it is found
    client_secret: Secret
    scopes: tuple[str, ...] = ()
    audience: str = ""
    grant: Grant = Grant.CLIENT_CREDENTIALS
    refresh_token: Secret | None = None  # the first one; the endpoint may issue others
    client_in_body: bool = False  # client id and secret: in the body, or as HTTP Basic

    @property
    def form(self) -> str:
        """The field of `auth` that says it."""
        return "oauth2"


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemeSecret:
    """What one security scheme of an API's document is satisfied with; one of the three."""

    value: Secret | None = None  # the key, or the token
    basic: Static | None = None
    oauth2: OAuth2 | None = None  # without a token_url or scopes: those of the document


@dataclass(frozen=True, kw_only=True, slots=True)
class Schemes:
    """Secrets by the names of security schemes; where they go, the API's document says."""

    by_name: Mapping[str, SchemeSecret]

    @property
    def form(self) -> str:
        """The field of `auth` that says it."""
        return "schemes"


Form = Static | OAuth2 | Schemes


@dataclass(frozen=True, kw_only=True, slots=True)
class Auth:
    """The credentials of one API."""

    default: Form | None = None  # None: tenants that are not named here may not call
    tenants: Mapping[str, Form] = field(default_factory=dict)

    def named(self, api: str) -> list[tuple[str, str | None, Form]]:
        """Each with a name for people, and its tenant (None: the default)."""
        found: list[tuple[str, str | None, Form]] = []
        if self.default is not None:
            found.append((f"{api}: auth.{self.default.form}", None, self.default))
        for tenant, form in self.tenants.items():
            found.append((f"{api}: auth.tenants.{tenant}.{form.form}", tenant, form))
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Tls:
    """Files in PEM that a connection needs: our own certificate and key, and whom we trust."""

    cert: Path | None = None
    key: Path | None = None  # None: in the certificate's file
    ca: Path | None = None  # None: the system's
    password: Secret | None = None  # of the key

    def changed_at(self) -> tuple[int, ...]:
        """Other numbers when a file is another. Raises InvalidSetting when one cannot be read."""
        try:
            return tuple(path.stat().st_mtime_ns for path in self._files())
        except OSError as error:
            raise self._invalid(error) from None

    def context(self) -> ssl.SSLContext:
        """For connections from now on. Blocks. Raises InvalidSetting."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key, self._key_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise self._invalid(error) from None
        return context

    def _key_password(self) -> str:
        """Without one OpenSSL would ask at the terminal."""
        return "" if self.password is None else self.password.read()

    def _files(self) -> list[Path]:
        return [path for path in (self.cert, self.key, self.ca) if path is not None]

    def _invalid(self, error: Exception) -> InvalidSetting:
        files = ", ".join(str(path) for path in self._files())
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None)
        found = f"{type(error).__name__} ({reason or 'unusable'})"
        problem = Problem(place=files, found=found, wanted="PEM files that belong together")
        return InvalidSetting(f"the TLS files {files} cannot be used", problems=[problem])


# --- as it is written -----------------------------------------------------------------------------


def one_line(text: str) -> str:
    """Text without line breaks. Raises ValueError."""
    if any(char in text for char in "\r\n\0"):
        raise ValueError("one line of text")
    return text


def _reference_or_text(text: str) -> str:
    return checked_reference(text) if _is_reference(text) else one_line(text)


def _is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:", "command:"))


def checked_token_url(text: str) -> str:
    """The address of a token endpoint as it is. Raises ValueError that says what is wanted."""
    address, _, query = text.partition("?")
    checked_base_url(address)
    if not query.isascii() or not query.isprintable() or " " in query or "#" in query:
        raise ValueError("an address whose query is visible ASCII, without a fragment")
    return text


Reference = Annotated[str, AfterValidator(checked_reference)]
ReferenceOrText = Annotated[str, Field(min_length=1), AfterValidator(_reference_or_text)]
HeaderText = Annotated[str, AfterValidator(one_line)]
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
Scope = Annotated[str, Field(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]+$")]
PemFile = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """A mapping of the file with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BasicFile(Strict):
    """`basic`"""

    user: Annotated[HeaderText, Field(pattern="^[^:]+$")]  # a colon would end it (RFC 7617)
    password: Reference

    def form(self) -> Static:
        """The value."""
        return Static(scheme="Basic", user=self.user, secret=Secret(reference=self.password))


class NamedFile(Strict):
    """`header`, `query` and `cookie`"""

    name: HeaderName
    value: Reference

    def form(self, place: Place) -> Static:
        """The value."""
        return Static(place=place, name=self.name, secret=Secret(reference=self.value))


class OAuth2File(Strict):
    """`oauth2`"""

    token_url: Annotated[str, AfterValidator(checked_token_url)]
    client_id: ReferenceOrText
    client_secret: Reference
    scopes: list[Scope] = []
    audience: HeaderText = ""
    grant: Literal["client_credentials", "refresh_token"] = "client_credentials"
    refresh_token: Reference | None = None
    client_auth: Literal["basic", "post"] = "basic"

    @model_validator(mode="after")
    def _refresh_token_where_it_is_used(self) -> OAuth2File:
        if (self.grant == "refresh_token") != (self.refresh_token is not None):
            raise ValueError("refresh_token with grant: refresh_token, and only with it")
        return self

    def form(self) -> OAuth2:
        """The value."""
        plain = not _is_reference(self.client_id)
        refresh = self.refresh_token
        return OAuth2(
            token_url=self.token_url, scopes=tuple(self.scopes), audience=self.audience,
            client_id=self.client_id if plain else Secret(reference=self.client_id),
            client_secret=Secret(reference=self.client_secret), grant=Grant(self.grant),
            refresh_token=None if refresh is None else Secret(reference=refresh),
            client_in_body=self.client_auth == "post",
        )  # fmt: skip


class SchemeOAuth2File(OAuth2File):
    """`oauth2` of a scheme: the document may say where tokens are, and each operation its scopes"""

    token_url: Annotated[str, AfterValidator(checked_token_url)] = ""


class SchemeFile(Strict):
    """What one security scheme is satisfied with."""

    value: Reference | None = None
    basic: BasicFile | None = None
    oauth2: SchemeOAuth2File | None = None

    @model_validator(mode="after")
    def _one(self) -> SchemeFile:
        if sum(each is not None for each in (self.value, self.basic, self.oauth2)) != 1:
            raise ValueError(f"one of {', '.join(SchemeFile.model_fields)}")
        return self

    def secret(self) -> SchemeSecret:
        """The value."""
        return SchemeSecret(
            value=None if self.value is None else Secret(reference=self.value),
            basic=None if self.basic is None else self.basic.form(),
            oauth2=None if self.oauth2 is None else self.oauth2.form(),
        )


class FormFile(Strict):
    """One way to show who calls."""

    basic: BasicFile | None = None
    bearer: Reference | None = None
    header: NamedFile | None = None
    query: NamedFile | None = None
    cookie: NamedFile | None = None
    oauth2: OAuth2File | None = None
    schemes: Annotated[dict[str, SchemeFile], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one(self) -> FormFile:
        if len(self._said()) != 1:
            raise ValueError(f"one of {', '.join(FormFile.model_fields)}")
        return self

    def form(self) -> Form | None:
        """The one that is said."""
        if self.bearer is not None:
            return Static(scheme="Bearer", secret=Secret(reference=self.bearer))
        for place in Place:
            named: NamedFile | None = getattr(self, place)
            if named is not None:
                return named.form(place)
        if self.schemes is not None:
            return Schemes(by_name={name: each.secret() for name, each in self.schemes.items()})
        said = self.basic or self.oauth2
        return None if said is None else said.form()

    def _said(self) -> set[str]:
        return {name for name in FormFile.model_fields if getattr(self, name) is not None}


class AuthFile(FormFile):
    """`auth`"""

    tenants: dict[str, FormFile] = {}

    @model_validator(mode="after")
    def _one(self) -> AuthFile:
        if len(self._said()) > 1 or not (self._said() or self.tenants):
            raise ValueError(f"one of {', '.join(FormFile.model_fields)}; or tenants, or both")
        return self

    def auth(self) -> Auth:
        """The value."""
        forms = {tenant: file.form() for tenant, file in self.tenants.items()}
        return Auth(
            default=self.form(),
            tenants={tenant: form for tenant, form in forms.items() if form is not None},
        )


class TlsFile(Strict):
    """`tls`"""

    cert: PemFile | None = None
    key: PemFile | None = None
    ca: PemFile | None = None
    password: Reference | None = None

    @model_validator(mode="after")
    def _something(self) -> TlsFile:
        if self.cert is None and self.ca is None:
            raise ValueError("cert (with key), or ca, or both")
        if self.cert is None and (self.key is not None or self.password is not None):
            raise ValueError("cert beside key and password")
        return self

    def tls(self) -> Tls:
        """The value."""
        return Tls(
            cert=_path(self.cert), key=_path(self.key), ca=_path(self.ca),
            password=None if self.password is None else Secret(reference=self.password),
        )  # fmt: skip


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
