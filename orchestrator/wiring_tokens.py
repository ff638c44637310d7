"""The tokens of the identity provider that the settings name."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.service.tokens import Tokens


def open_tokens(settings: Settings) -> Tokens | None:
    """None without an issuer. Raises InvalidSetting."""
    if not settings.api_token_issuer:
        return None
    # Cryptography and an HTTP client, which most deployments do not load.
    from orchestrator.engine.fetching import fetch  # noqa: PLC0415 - see above
    from orchestrator.service.issuer_keys import IssuerKeys  # noqa: PLC0415 - see above
    from orchestrator.service.tokens import Tokens  # noqa: PLC0415 - see above
    from orchestrator.token_rules import token_rules  # noqa: PLC0415 - see above

    rules = token_rules(settings)
    keys = IssuerKeys(
        rules.issuer, settings.api_token_keys_url, fetch=fetch, monotonic=time.monotonic
    )
    return Tokens(rules, keys)
