"""Which keys seal the payloads of this process."""

from __future__ import annotations

import re

from orchestrator.engine.secret import Secret, checked_reference
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import Settings
from orchestrator.store import codec
from orchestrator.telemetry.redact import remember

_WANTED = "keys that `orchestrator payloads new-key` has made"


def seal_payloads(settings: Settings) -> None:
    """As the setting `payload_keys` says. Raises InvalidSetting."""
    if not settings.payload_keys:
        codec.seal_with(None)
        return
    from orchestrator.store.payloads import PayloadKeys  # noqa: PLC0415 -- brings cryptography

    try:
        text = Secret(reference=checked_reference(settings.payload_keys)).read()
        texts = [remember(each) for each in re.split(r"[\s,]+", text)]
        codec.seal_with(PayloadKeys.read(texts))
    except ValueError as error:
        problem = Problem(
            place="setting payload_keys", found="something else", wanted=f"{_WANTED}: {error}"
        )
        raise InvalidSetting("the settings are not valid", problems=[problem]) from None
