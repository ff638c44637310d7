"""Operations of the REST face about aliases of versions; `ask` has them as well."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.api.aliases import AliasesShape
from orchestrator.client.making import act, given, look
from orchestrator.client.requests import Request


def aliases(workflow: str) -> Request[AliasesShape]:
    """What the aliases of a workflow name, and who changed them."""
    return look(AliasesShape, "workflows", workflow, "aliases")


def set_alias(
    workflow: str, alias: str, version: int, *, share: float | None = None, reason: str = ""
) -> Request[AliasesShape]:
    """Have an alias name a version from the next run on. `share`: percent, for `canary` alone."""
    wish = given(version=version, share=share, reason=reason)
    request = act(AliasesShape, "workflows", workflow, "aliases", alias, **wish)
    return replace(request, method="PUT", repeatable=True)


def remove_alias(workflow: str, alias: str, *, reason: str = "") -> Request[AliasesShape]:
    """Have an alias name nothing any more."""
    return act(AliasesShape, "workflows", workflow, "aliases", alias, "remove", reason=reason)
