"""A worker does not start on a Redis that may throw queues and limits away."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from orchestrator.coordination.health import refuse_eviction
from orchestrator.errors import InvalidSetting, Unavailable
from orchestrator.ports import BrokerFacts


@dataclass
class Server:
    """Says of itself what it is told to; None: it is away."""

    policy: str | None

    async def facts(self) -> BrokerFacts:
        if self.policy is None:
            raise Unavailable("broker", "redis://there", "refused")
        return BrokerFacts(
            address="redis://there", version="valkey 9", maxmemory_policy=self.policy,
            maxmemory=1 << 30, used_memory=0, append_only=True, clients=1, max_clients=100,
            round_trip_seconds=0.001,
        )  # fmt: skip


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-lfu", "allkeys-random"])
async def test_one_that_evicts_any_key_is_refused(policy: str) -> None:
    with pytest.raises(InvalidSetting) as refused:
        await refuse_eviction(Server(policy), setting="broker_url")
    assert policy in str(refused.value)
    assert "setting broker_url, the server at redis://there" in str(refused.value)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("noeviction", []), ("", []), ("volatile-lru", ["eviction.possible"]),
        (None, ["eviction.unknown"]),
    ],
)  # fmt: skip
async def test_others_are_not(policy: str | None, said: list[str]) -> None:
    with capture_logs() as logs:
        await refuse_eviction(Server(policy), setting="gate_url")
    assert [each["event"] for each in logs] == said
