"""Which credentials a request to an API carries: by tenant, and by what its document demands.

auth of the configuration      security of the operation       what is sent
one form ({bearer: …})         nothing said, or any demand     that form
one form, or schemes           []                              nothing
schemes                        nothing said                    nothing
schemes                        [{a, b}, {c}]                   the first of which all are known
schemes                        [{a}, {}]                       a if it is known, else nothing
none                           whatever                        nothing
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from orchestrator.core.demands import Demand, DemandKind, Security
from orchestrator.core.exchange import FrozenRequest
from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import (
    Auth,
    Form,
    Grant,
    OAuth2,
    Place,
    Schemes,
    SchemeSecret,
    Static,
    checked_token_url,
)
from orchestrator.engine.credentials import Credential, Header, Source, StaticSource
from orchestrator.engine.tokens import Ask, TokenDesk
from orchestrator.errors import NoCredential


@dataclass(frozen=True, slots=True, eq=False)
class Worn:
    """All credentials of one request."""

    parts: tuple[Credential, ...]

    def dress(self, request: FrozenRequest) -> tuple[str, tuple[Header, ...]]:
        """Target and headers of a request that carries them."""
        target, headers = request.target, request.headers
        for part in self.parts:
            target, headers = part.dress(replace(request, target=target, headers=headers))
        return target, headers


class Wanted:
    """The sources of all credentials of some requests; at least one."""

    def __init__(self, sources: tuple[Source, ...]) -> None:
        self._sources = sources
        self.name = " and ".join(source.name for source in sources)

    def now(self) -> Worn | None:
        """All of them if they are at hand; without I/O."""
        found = [source.now() for source in self._sources]
        parts = tuple(part for part in found if part is not None)
        return Worn(parts) if len(parts) == len(found) else None

    def ready(self) -> bool:
        """Whether `get` would not wait."""
        # All of them are asked: each begins its renewal.
        states = [source.ready() for source in self._sources]
        return all(states)

    async def get(self) -> Worn:
        """All of them. Raises NoCredential when one cannot be had."""
        return Worn(tuple([await source.get() for source in self._sources]))

    async def instead_of(self, refused: Worn) -> Worn:
        """With others in place of some that were refused together. Raises NoCredential: none is."""
        found: list[Credential] = []
        failures: list[NoCredential] = []
        for source, part in zip(self._sources, refused.parts, strict=True):
            try:
                found.append(await source.instead_of(part))
            except NoCredential as error:
                failures.append(error)
                found.append(part)
        if len(failures) == len(found):
            raise next((error for error in failures if error.retryable), failures[0])
        return Worn(tuple(found))

    def worked(self, taken: Worn) -> None:
        """The API has taken them."""
        for source, part in zip(self._sources, taken.parts, strict=True):
            source.worked(part)

    def refusal(self) -> NoCredential:
        """What an API's refusal of the newest ones means for a run."""
        if len(self._sources) == 1:
            return self._sources[0].refusal()
        why = f"credentials {self.name} were refused (401 Unauthorized)"
        return NoCredential(why, retryable=False)


class ApiCredentials:
    """The credentials of one API. Used by one event loop."""

    def __init__(self, config: ApiConfig, auth: Auth, desk: TokenDesk, ask: Ask) -> None:
        self._config, self._desk, self._ask = config, desk, ask
        named = auth.named(config.name)
        self._entries = {tenant: (name, form) for name, tenant, form in named}
        self._wanted: dict[tuple[str, Security | None], Wanted | None] = {}
        self._sources: dict[tuple[str, Demand | None], Source] = {}

    def of(self, tenant: str, security: Security | None) -> Wanted | None:
        """What a tenant's requests carry; None: nothing. Raises NoCredential, never retryable."""
        name, form = self._entry(tenant)
        if not isinstance(form, Schemes):
            security = () if security == () else None  # whatever it demands gets this form
        try:
            return self._wanted[name, security]
        except KeyError:
            found = tuple(self._sources_of(name, form, security))
            wanted = self._wanted[name, security] = Wanted(found) if found else None
            return wanted

    def ready(self, tenant: str, security: Security | None) -> bool:
        """Whether they are at hand, or certainly not to be had."""
        try:
            wanted = self.of(tenant, security)
        except NoCredential:  # the call itself will say it
            return True
        return wanted is None or wanted.ready()

    async def aclose(self) -> None:
        """End what is being read. What is fetched is shared with others and goes on."""
        reading = [one for one in self._sources.values() if isinstance(one, StaticSource)]
        await asyncio.gather(*(source.aclose() for source in reading))

    def _entry(self, tenant: str) -> tuple[str, Form]:
        entry = self._entries.get(tenant) or self._entries.get(None)
        if entry is None:
            api = self._config.name
            why = f"{api}: tenant {tenant!r} has no credential, and there is no default"
            raise NoCredential(why, retryable=False)
        return entry

    def _sources_of(self, name: str, form: Form, security: Security | None) -> Iterator[Source]:
        if security == ():
            return
        if not isinstance(form, Schemes):
            yield self._source(name, None, form)
        elif security is not None:
            for demand in _chosen(name, self._config, form, security):
                if demand.kind is not DemandKind.MUTUAL_TLS:  # the connection has it
                    entry = f"{name}.{demand.scheme}"
                    found = _form_of(self._config, demand, form.by_name[demand.scheme])
                    assert not isinstance(found, str), "it was chosen since nothing is lacking"
                    yield self._source(entry, demand, found)

    def _source(self, name: str, demand: Demand | None, form: Static | OAuth2) -> Source:
        found = self._sources.get((name, demand))
        if found is None:
            found = self._sources[name, demand] = self._desk.source(name, form, self._ask)
        return found


def lacking(config: ApiConfig, tenant: str | None, security: Security | None) -> str:
    """Why a tenant's (None: any other's) requests to an operation cannot carry what its document
    demands; "" if they can. An API without `auth` lacks what the document demands as well."""
    if not security or () in security:
        return ""
    auth = config.auth
    form = None if auth is None else auth.tenants.get(tenant or "", auth.default)
    if auth is None or (form is None and not auth.tenants):
        names = " or ".join(" and ".join(each.scheme for each in one) for one in security)
        return f"{config.name}: its document demands {names}; there is no auth"
    if not isinstance(form, Schemes):
        return ""
    try:
        _chosen(f"{config.name}: auth.schemes", config, form, security)
    except NoCredential as error:
        return error.reason
    return ""


def _chosen(
    name: str, config: ApiConfig, form: Schemes, security: Security
) -> tuple[Demand, ...]:  # fmt: skip
    """The first alternative that lacks nothing; one without demands is the last resort."""
    lacks: list[str] = []
    for together in sorted(security, key=lambda demands: not demands):
        found = [why for demand in together if (why := _lack(config, demand, form))]
        if not found:
            return together
        lacks.append(" and ".join(found))
    why = f"{name}: no credential for this operation: {'; or '.join(lacks)}"
    raise NoCredential(why, retryable=False)


def _lack(config: ApiConfig, demand: Demand, form: Schemes) -> str:
    """Why a demand cannot be satisfied; "" if it can."""
    where = f"scheme {demand.scheme}"
    if demand.kind is DemandKind.UNSUPPORTED:
        return f"{where}: {demand.why}"
    if demand.kind is DemandKind.MUTUAL_TLS:
        has = config.tls is not None and config.tls.cert is not None
        return "" if has else f"{where}: no certificate; wanted tls: {{cert: …, key: …}}"
    secret = form.by_name.get(demand.scheme)
    if secret is None:
        return f"{where} ({demand.kind}): nothing there; wanted {_WANTED[demand.kind]}"
    found = _form_of(config, demand, secret)
    return f"{where} ({demand.kind}): {found}" if isinstance(found, str) else ""


_WANTED = {
    DemandKind.API_KEY: "{value: env:…}",
    DemandKind.BASIC: "{basic: {user: …, password: env:…}}",
    DemandKind.BEARER: "{value: env:…}",
    DemandKind.OAUTH2: "{oauth2: {client_id: …, client_secret: env:…}}",
}


def _form_of(config: ApiConfig, demand: Demand, secret: SchemeSecret) -> Static | OAuth2 | str:
    """What is sent, or why nothing can be."""
    match demand.kind, secret:
        case DemandKind.API_KEY, SchemeSecret(value=value) if value is not None:
            return Static(place=Place(demand.place), name=demand.name, secret=value)
        case DemandKind.BEARER | DemandKind.OAUTH2, SchemeSecret(value=value) if value is not None:
            return Static(scheme="Bearer", secret=value)
        case DemandKind.BASIC, SchemeSecret(basic=basic) if basic is not None:
            return basic
        case DemandKind.OAUTH2, SchemeSecret(oauth2=oauth2) if oauth2 is not None:
            return _completed(config, demand, oauth2)
        case _:
            said = "value" if secret.value else "basic" if secret.basic else "oauth2"
            return f"{said} does not go with it; wanted {_WANTED[demand.kind]}"


def _completed(config: ApiConfig, demand: Demand, oauth2: OAuth2) -> OAuth2 | str:
    """With the document's token endpoint and the operation's scopes where nothing else is said."""
    refreshes = oauth2.grant is Grant.REFRESH_TOKEN
    url = oauth2.token_url or (demand.refresh_url if refreshes else demand.token_url)
    if not url:
        return f"the document has no token endpoint for {oauth2.grant}; wanted oauth2.token_url"
    try:
        checked_token_url(url)
    except ValueError as error:
        return f"the document's token endpoint {url!r}: wanted {error}; or oauth2.token_url"
    if not url.startswith("https:") and not config.allow_private_addresses:
        return f"the document's token endpoint {url!r}: wanted https"
    return replace(oauth2, token_url=url, scopes=oauth2.scopes or demand.scopes)
