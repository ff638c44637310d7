"""Targets of notices as the settings name them."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchestrator.errors import InvalidSetting
from orchestrator.ports.notices import NoticeStore
from orchestrator.service.urgency import Urgency
from orchestrator.settings import NotificationTarget, Settings
from orchestrator.wiring_notices import notifier_of

NOWHERE = cast("NoticeStore", None)  # nothing is asked of it
OPS = NotificationTarget(name="ops", url="env:OPS", decides_as="On call")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, None),
        ({"notifications": (OPS, OPS)}, "ops twice"),
        ({"link_key": ""}, "without link_key or public_url"),
        ({"public_url": ""}, "without link_key or public_url"),
        ({"link_key": "k" * 32}, "a text"),
    ],
)
async def test_links_in_notices_want_a_key_and_an_address(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], found: str | None
) -> None:
    monkeypatch.setenv("OPS", "https://chat.example.com/hook")
    monkeypatch.setenv("LINK_KEY", "k" * 32)
    said = {
        "notifications": (OPS,), "link_key": "env:LINK_KEY",
        "public_url": "https://flows.example.com", **changes,
    }  # fmt: skip
    settings = Settings(**said)
    if found is None:
        await notifier_of(settings, NOWHERE, Urgency()).aclose()
        return
    with pytest.raises(InvalidSetting) as refused:
        notifier_of(settings, NOWHERE, Urgency())
    assert found in refused.value.problems[0].found
