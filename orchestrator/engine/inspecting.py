"""What `doctor` may know of credentials: whether they can be had here, never what they are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

from orchestrator.core.demands import Security
from orchestrator.engine.api_credentials import lacking
from orchestrator.engine.apis import ApiConfig, config_of
from orchestrator.engine.auth import Form, OAuth2, Schemes, Static
from orchestrator.engine.sealing import sealer_of
from orchestrator.engine.secret import Secret
from orchestrator.errors import InvalidSetting
from orchestrator.ports import CredentialFact, CredentialFacts

Demanded = tuple[str, str, Security]
"""A call's label, its API, and what that API's document demands of it."""


async def _nothing() -> Iterable[Demanded]:
    return ()


class ConfiguredCredentials:
    """Implements CredentialInspector. `demanded`: the calls of the published workflows."""

    def __init__(
        self,
        load: Callable[[], Mapping[str, ApiConfig]],
        credentials_key: str,
        demanded: Callable[[], Awaitable[Iterable[Demanded]]] = _nothing,
    ) -> None:
        self._load, self._key, self._demanded = load, credentials_key, demanded

    async def facts(self) -> CredentialFacts:
        """See CredentialInspector."""
        return await asyncio.to_thread(self._facts, list(await self._demanded()))

    def _facts(self, demanded: list[Demanded]) -> CredentialFacts:
        apis = self._load()
        found = [
            one
            for api in apis.values() if api.auth is not None
            for name, _, form in api.auth.named(api.name)
            for one in _single(name, form)
        ]  # fmt: skip
        return CredentialFacts(
            credentials=[
                *(CredentialFact(name=name, problem=_problem(form)) for name, form in found),
                *_lacking(apis, demanded),
            ],
            fetched=sum(isinstance(form, OAuth2) for _, form in found),
            shared=sealer_of(self._key) is not None,
        )


def _lacking(
    apis: Mapping[str, ApiConfig], demanded: Iterable[Demanded]
) -> Iterator[CredentialFact]:
    """What calls demand and do not get, each once, with the calls that it keeps from leaving."""
    found: dict[str, list[str]] = {}
    for label, api, security in demanded:
        config = config_of(apis, api)
        for tenant in (None, *(config.auth.tenants if config.auth else ())):
            if why := lacking(config, tenant, security):
                labels = found.setdefault(why if tenant is None else f"tenant {tenant}: {why}", [])
                labels.append(label)
    for why, labels in found.items():
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        yield CredentialFact(name=f"{labels[0]}{more}", problem=why)


def _single(name: str, form: Form) -> Iterator[tuple[str, Static | OAuth2]]:
    """Each credential of an entry by itself."""
    if not isinstance(form, Schemes):
        yield name, form
        return
    for scheme, secret in form.by_name.items():
        one = secret.basic or secret.oauth2
        if one is None and secret.value is not None:
            one = Static(secret=secret.value)  # its place makes no difference here
        assert one is not None, "a scheme has one of the three"
        yield f"{name}.{scheme}", one


def _problem(form: Static | OAuth2) -> str:
    """Why the first of its secrets that cannot be read cannot. Commands are not run for a look."""
    for secret in _secrets(form):
        if secret.reference.startswith("command:"):
            continue
        try:
            secret.read()
        except InvalidSetting as error:
            return "; ".join(str(problem) for problem in error.problems)
    return ""


def _secrets(form: Static | OAuth2) -> Iterator[Secret]:
    if isinstance(form, Static):
        yield form.secret
        return
    for found in (form.client_id, form.client_secret, form.refresh_token):
        if isinstance(found, Secret):
            yield found
