"""What `doctor` may know of credentials: whether they can be had here, never what they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Form, OAuth2, Static
from orchestrator.engine.sealing import sealer_of
from orchestrator.engine.secret import Secret
from orchestrator.errors import InvalidSetting
from orchestrator.ports import CredentialFact, CredentialFacts


class ConfiguredCredentials:
    """Implements CredentialInspector."""

    def __init__(self, load: Callable[[], Mapping[str, ApiConfig]], credentials_key: str) -> None:
        self._load, self._key = load, credentials_key

    async def facts(self) -> CredentialFacts:
        """See CredentialInspector."""
        return await asyncio.to_thread(self._facts)

    def _facts(self) -> CredentialFacts:
        found = [
            (name, form)
            for api in self._load().values() if api.auth is not None
            for name, _, form in api.auth.named(api.name)
        ]  # fmt: skip
        return CredentialFacts(
            credentials=[CredentialFact(name=name, problem=_problem(form)) for name, form in found],
            fetched=sum(isinstance(form, OAuth2) for _, form in found),
            shared=sealer_of(self._key) is not None,
        )


def _problem(form: Form) -> str:
    """Why the first of its secrets that cannot be read cannot. Commands are not run for a look."""
    for secret in _secrets(form):
        if secret.reference.startswith("command:"):
            continue
        try:
            secret.read()
        except InvalidSetting as error:
            return "; ".join(str(problem) for problem in error.problems)
    return ""


def _secrets(form: Form) -> Iterator[Secret]:
    if isinstance(form, Static):
        yield form.secret
        return
    for found in (form.client_id, form.client_secret, form.refresh_token):
        if isinstance(found, Secret):
            yield found
