"""The users of deploy/valkey/users.acl, on a real server: each can do its work, and no more."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import kombu.pools
import pytest
import redis
import redis.asyncio
from hints import a_hint, letters
from workbench import ROOT, Process, eventually

from orchestrator.coordination.health import RedisInspector
from orchestrator.coordination.limits import RedisLimits
from orchestrator.coordination.looking import RedisGateView
from orchestrator.coordination.tokens import RedisTokens
from orchestrator.ports import Rate
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.dead_letters import dead_letter_queue
from orchestrator.worker.messages import hint_publisher

pytestmark = pytest.mark.broker

FILE = ROOT / "deploy" / "valkey" / "users.acl"
ROLES = ("worker", "api", "flower")
_NOTES = ("~seen", "~started", "~drained")  # what the workers of these tests write down

Url = Callable[[str], str]


def _rules() -> dict[str, list[str]]:
    """By user, with the user's name as password."""
    users = {}
    for line in FILE.read_text().splitlines():
        kind, name, *rules = line.split()
        assert kind == "user"
        digest = "#" + hashlib.sha256(name.encode()).hexdigest()
        users[name] = [digest if rule == f"#{name.upper()}_SHA256" else rule for rule in rules]
    return users


@pytest.fixture
def url(broker_url: str, client: redis.Redis) -> Iterator[Url]:
    """The broker's address for a role. What was refused is a failure."""
    for name, rules in _rules().items():
        if name != "default":  # the tests' own
            client.acl_deluser(name)
            more = _NOTES if name == "worker" else ()
            client.execute_command("ACL", "SETUSER", name, *rules, *more)
    client.acl_log_reset()
    own = urlsplit(broker_url)
    yield lambda role: own._replace(netloc=f"{role}:{role}@{own.hostname}:{own.port}").geturl()
    client.acl_deluser(*ROLES, "admin")


def _refused(client: redis.Redis) -> list[tuple[str, str, str]]:
    return [(entry["username"], entry["reason"], entry["object"]) for entry in client.acl_log()]


@pytest.fixture
def app_of(url: Url) -> Iterator[Callable[[str], OrchestratorApp]]:
    made: list[OrchestratorApp] = []

    def make(role: str) -> OrchestratorApp:
        made.append(make_app(broker_url=url(role)))
        return made[-1]

    yield make
    for app in made:
        app.close()
    kombu.pools.reset()


async def test_runs_go_their_way_under_these_users(
    url: Url, app_of: Callable[[str], OrchestratorApp], client: redis.Redis,
    start_worker: Callable[..., Process],
) -> None:  # fmt: skip
    start_worker(TINY_BROKER_URL=url("worker"))
    heard = redis.Redis.from_url(url("flower")).pubsub()
    heard.psubscribe("/0.celeryev/*")
    api, flower = app_of("api"), app_of("flower")
    publisher, dead = hint_publisher(api), dead_letter_queue(api)
    await publisher.publish([a_hint(), a_hint(queue="default.compensation")])
    eventually(lambda: client.llen("seen") == 2, what="the worker has run both")
    assert {json.loads(text)["queue"] for text in client.lrange("seen", 0, -1)} == {
        "default.forward", "default.compensation",
    }  # fmt: skip
    await dead.publish(letters("e1", "e2"))
    assert await dead.take_next() == "e1"
    assert await dead.listed() == ["e2"]
    assert flower.control.inspect(timeout=20, limit=1).ping() == {"w1@test": {"ok": "pong"}}
    eventually(
        lambda: (heard.get_message(timeout=1) or {}).get("type") == "pmessage",
        what="an event of the worker",
    )
    heard.close()
    await publisher.close()
    await dead.close()
    assert _refused(client) == []


async def test_limits_and_tokens_are_the_workers(url: Url, client: redis.Redis) -> None:
    worker = redis.asyncio.Redis.from_url(url("worker"), decode_responses=True)
    api = redis.asyncio.Redis.from_url(url("api"), decode_responses=True)
    async with worker, api:
        limits = RedisLimits(worker, holder_id="w1")
        await limits.lease("shop", limit=4, wanted=2, held=0)
        await limits.reserve(
            "shop", rates=[Rate(amount=5, seconds=1)], count=2, waiting=2, headroom_seconds=0.01,
            spacing_seconds=0.1, closest_seconds=0.1,
        )  # fmt: skip
        tokens = RedisTokens(worker)
        await tokens.take("shop", owner="w1", known="", refused=False, lock_seconds=5)
        await tokens.put(
            "shop", owner="w1", base="", version="1", sealed="x", valid_seconds=60, keep_seconds=60
        )
        states = await RedisGateView(api).states(["shop"])
        assert set(states) == {"shop"}
        assert (await RedisInspector(api, "here").facts()).round_trip_seconds > 0
    assert client.keys("orchestrator:token:*")
    assert _refused(client) == []


NOT_THEIRS: dict[str, list[tuple[str, ...]]] = {
    "worker": [
        ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("SHUTDOWN",),
        ("ACL", "LIST"), ("MODULE", "LIST"), ("SAVE",), ("MONITOR",),
        ("REPLICAOF", "NO", "ONE"), ("CLIENT", "KILL", "ID", "999999"), ("FUNCTION", "FLUSH"),
        ("SET", "somebody", "1"), ("GET", "somebody"), ("SCRIPT", "FLUSH"),
        ("EVAL", "return redis.call('GET', 'somebody')", "0"), ("PUBLISH", "news", "x"),
    ],
    "api": [
        ("RPOP", "default.forward"), ("LRANGE", "default.forward", "0", "-1"), ("FLUSHALL",),
        ("DEL", "orchestrator:gate:shop:holders"),
        ("HSET", "orchestrator:gate:shop:pace", "a", "1"),
        ("GET", "orchestrator:token:shop"), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "1"),
        ("GET", "unacked"), ("EVAL", "return redis.call('RPOP', 'default.forward')", "0"),
    ],
    "flower": [
        ("LPUSH", "default.forward", "x"), ("RPOP", "default.forward"), ("DEL", "dead_letter"),
        ("LRANGE", "dead_letter", "0", "-1"), ("GET", "orchestrator:token:shop"), ("FLUSHALL",),
        ("HGETALL", "orchestrator:gate:shop:health"), ("CONFIG", "GET", "*"), ("KEYS", "*"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_what_is_not_theirs_is_refused(role: str, url: Url, client: redis.Redis) -> None:
    with redis.Redis.from_url(url(role)) as theirs:
        assert theirs.ping()
        for command in NOT_THEIRS[role]:
            client.acl_log_reset()
            with pytest.raises(redis.exceptions.ResponseError):
                theirs.execute_command(*command)
            # Each server has its own words for it; what it refused for a rule it writes down.
            assert [name for name, _, _ in _refused(client)] == [role], command


def test_nobody_without_a_password_gets_in(url: Url, broker_url: str) -> None:
    wrong = url("worker").replace(":worker@", ":wrong@")
    with (
        redis.Redis.from_url(wrong) as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()
    assert _rules()["default"] == ["off", "resetchannels", "-@all"]


def test_the_file_has_no_password_of_its_own() -> None:
    text = Path(FILE).read_text()
    assert "nopass" not in text
    assert ">" not in text
    for name in (*ROLES, "admin"):
        assert f"user {name} on #{name.upper()}_SHA256 " in text
