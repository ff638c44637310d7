"""Tokens of APIs: fetched once for all workers, kept sealed, renewed without a failed call."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from cryptography.fernet import Fernet
from redis.asyncio import Redis
from structlog.testing import capture_logs

from orchestrator.engine.apis import ApiConfig
from orchestrator.engine.auth import Auth, Grant
from orchestrator.engine.http import HttpTransport
from orchestrator.engine.secret import Secret
from orchestrator.errors import NoCredential, NotLanded
from tests.encrypted import trust
from tests.integration.gate.caller import call, caller, config_of, oauth2
from tests.integration.gate.token_server import CLIENT, SECRET, TokenServer, token_server
from tests.steady import HeldStill

KEY = Fernet.generate_key().decode()
ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.broker


@asynccontextmanager
async def workers(
    server: TokenServer, redis_url: str, count: int = 2, *, key: str = KEY,
    config: ApiConfig | None = None, **more: Any,
) -> AsyncIterator[list[HttpTransport]]:  # fmt: skip
    """So many workers that share nothing but Redis."""
    config = config or config_of(server.url, Auth(default=oauth2(server.url, **more)))
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(caller(config, redis_url, key)) for _ in range(count)
        ]


async def statuses(calls: list[Awaitable[Any]]) -> set[int]:
    return {response.status for response in await asyncio.gather(*calls)}


# --- how a token is asked for ---------------------------------------------------------------------


async def test_a_token_is_asked_for_as_configured(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server:
        more = {"scopes": ("read", "write"), "audience": "https://api.example"}
        async with workers(server, valkey_url, 1, **more) as (worker,):
            assert (await call(worker)).status == 200
        async with workers(server, valkey_url, 1, client_in_body=True) as (worker,):
            assert (await call(worker)).status == 200
    first, second = server.forms
    assert first == {
        "grant_type": "client_credentials", "scope": "read write",
        "audience": "https://api.example",
    }  # fmt: skip
    assert second == {
        "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET,
    }  # fmt: skip


async def test_what_the_workers_share_is_sealed(valkey_url: str) -> None:
    async with (
        token_server(TokenServer()) as server,
        workers(server, valkey_url, grant=Grant.REFRESH_TOKEN) as (first, second),
        Redis.from_url(valkey_url) as redis,
    ):
        await call(first)
        await call(second)
        assert server.issued == 1
        texts = [key + b"=" + (await redis.dump(key) or b"") async for key in redis.scan_iter()]
        values = [str(await redis.hgetall(key)).encode() async for key in redis.scan_iter()]
    assert len(texts) >= 1
    for secret in (b"token-1", b"refresh-0", SECRET.encode()):
        assert not any(secret in text for text in [*texts, *values])


async def test_workers_with_different_keys_do_not_disturb_each_other(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server:
        auth = Auth(default=oauth2(server.url))
        config = config_of(server.url, auth)
        other = Fernet.generate_key().decode()
        async with (
            caller(config, valkey_url, KEY) as mine,
            caller(config, valkey_url, other) as theirs,
        ):
            for _ in range(3):
                assert await statuses([call(mine), call(theirs)]) == {200}
        assert server.issued == 2


async def test_without_a_key_each_worker_has_its_own_and_says_so_once(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server:
        with capture_logs() as logs:
            async with workers(server, valkey_url, 1, key="") as (worker,):
                await call(worker)
                await call(worker)
        async with Redis.from_url(valkey_url) as redis:
            assert await redis.dbsize() == 0
    assert server.issued == 1
    assert [entry["event"] for entry in logs].count("credentials.in_memory") == 1


# --- one for all ----------------------------------------------------------------------------------


async def test_a_token_that_is_revoked_in_the_middle_is_renewed_once(valkey_url: str) -> None:
    server = TokenServer(revoke_after=100)
    async with token_server(server), workers(server, valkey_url) as both:
        await asyncio.gather(*(call(worker) for worker in both))
        calls = [call(both[number % 2], number) for number in range(1, 501)]
        assert await statuses(list(calls)) == {200}
    assert server.issued == 2
    assert server.refused > 0
    keys = [(key, body) for _, key, body in server.calls if key != "key-0"]
    assert sorted(keys) == sorted((f"key-{n}", b'{"number": %d}' % n) for n in range(1, 501))


async def test_a_shared_token_that_was_revoked_as_well_is_not_the_end(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server, workers(server, valkey_url) as (one, other):
        await asyncio.gather(call(one), call(other))
        server.revoke_all()
        assert (await call(other)).status == 200  # with a second token, of which `one` hears
        server.revoke_all()  # when it is over, too
        assert (await call(one)).status == 200
    assert server.issued == 3


async def test_a_token_is_renewed_before_it_expires_and_no_call_notices(valkey_url: str) -> None:
    server = TokenServer(life_seconds=6.0)
    async with token_server(server), workers(server, valkey_url) as both:
        await call(both[0])
        ends_at = time.monotonic() + 6.3
        while time.monotonic() < ends_at:
            assert await statuses([call(worker) for worker in both]) == {200}
            await asyncio.sleep(0.02)
    assert (server.issued, server.refused) == (2, 0)


async def test_while_one_renews_the_others_go_on_with_the_old_token(valkey_url: str) -> None:
    server = TokenServer(life_seconds=8.0)
    async with token_server(server), workers(server, valkey_url) as both:
        await asyncio.gather(*(call(worker) for worker in both))
        server.asked.clear()
        server.open_for_tokens.clear()
        async with asyncio.timeout(30):
            while not server.asked.is_set():
                await asyncio.gather(*(call(worker) for worker in both))
                await asyncio.sleep(0.02)
        went = len(server.calls)
        assert await statuses([call(both[n % 2]) for n in range(20)]) == {200}
        assert len(server.calls) == went + 20
        assert len(server.forms) == 2
        server.open_for_tokens.set()
        await until_used(both, server, "token-2")
    assert server.refused == 0


async def until_used(both: list[HttpTransport], server: TokenServer, token: str) -> None:
    """Until all of them use this token."""
    async with asyncio.timeout(30):
        while True:
            server.calls.clear()
            await asyncio.gather(*(call(worker) for worker in both))
            if {used for used, _, _ in server.calls} == {token}:
                return


async def start(script: str, **task: Any) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).parent / script), json.dumps(task), cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), **trust()}, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()


async def went(process: asyncio.subprocess.Process) -> dict[str, int]:
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    answer: dict[str, int] = json.loads(output.splitlines()[-1])  # the lines before are its log
    return answer


async def test_two_processes_renew_one_token_for_all_their_calls(valkey_url: str) -> None:
    server = TokenServer(revoke_after=100)
    async with token_server(server), AsyncExitStack() as stack:
        processes = []
        for first in (1000, 2000):
            task = {"url": server.url, "redis": valkey_url, "key": KEY, "calls": 250}
            process = await start("caller.py", **task, first=first)
            stack.push_async_callback(end, process)
            processes.append(process)
        results = await asyncio.gather(*(went(process) for process in processes))
    assert results == [{"200": 250}, {"200": 250}]
    assert server.issued == 2
    assert len({key for _, key, _ in server.calls}) == len(server.calls) == 500


async def test_when_the_one_that_fetches_is_killed_another_does(
    valkey_url: str, held_still: HeldStill
) -> None:
    lock_seconds = 2.0
    async with token_server(TokenServer()) as server:
        server.open_for_tokens.clear()
        task = {"url": server.url, "redis": valkey_url, "key": KEY, "calls": 1}
        process = await start("caller.py", **task, lock_seconds=lock_seconds)
        try:
            async with asyncio.timeout(30):
                await server.asked.wait()
            config = config_of(server.url, Auth(default=oauth2(server.url)))
            async with caller(config, valkey_url, KEY, lock_seconds) as worker:
                waiting = asyncio.create_task(call(worker))
                process.kill()
                killed_at = time.monotonic()
                server.open_for_tokens.set()
                assert (await waiting).status == 200
            seconds = time.monotonic() - killed_at
        finally:
            await end(process)
    assert len(server.forms) == 2
    held_still(seconds < lock_seconds + 0.5, f"{seconds} s after the kill")


async def test_whoever_is_held_up_with_the_lock_asks_for_nothing(valkey_url: str) -> None:
    """Somebody else may have the lock by then, and a refresh token can be used only once."""
    slow = f"{sys.executable} -c 'import time; time.sleep(0.5); print(1)'"
    async with token_server(TokenServer()) as server:
        late = replace(oauth2(server.url), client_secret=Secret(reference=f"command:{slow}"))
        config = config_of(server.url, Auth(default=late))
        async with caller(config, valkey_url, KEY, lock_seconds=0.4) as worker:
            with pytest.raises(NoCredential, match="no answer in time") as error:
                await call(worker)
    assert error.value.retryable
    assert server.forms == []


async def test_a_renewal_is_logged_under_no_run(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server, workers(server, valkey_url, 1) as (worker,):
        with (
            capture_logs([structlog.contextvars.merge_contextvars]) as logs,
            structlog.contextvars.bound_contextvars(run="r1"),
        ):
            await call(worker)
    (renewed,) = [entry for entry in logs if entry["event"] == "credential.renewed"]
    assert (renewed["entry"], renewed.get("run")) == ("api: auth.oauth2", None)


# --- without Redis --------------------------------------------------------------------------------


async def test_a_wiped_redis_costs_one_token_and_no_call(valkey_url: str) -> None:
    async with (
        token_server(TokenServer()) as server,
        workers(server, valkey_url, 3) as (first, second, third),
        Redis.from_url(valkey_url) as redis,
    ):
        await asyncio.gather(call(first), call(second))
        await redis.flushdb()
        assert await statuses([call(first), call(second), call(third)]) == {200}
        assert server.issued == 2  # the third had none
        await redis.flushdb()
        server.revoke_all()
        every = [call(worker) for worker in (first, second, third)]
        assert await statuses(every) == {200}
    assert server.issued == 3


async def test_without_redis_each_fetches_for_itself(unused_tcp_port: int) -> None:
    nowhere = f"redis://127.0.0.1:{unused_tcp_port}/0"
    async with token_server(TokenServer()) as server, workers(server, nowhere) as both:
        assert await statuses([call(worker) for worker in both * 10]) == {200}
        server.revoke_all()
        assert await statuses([call(worker) for worker in both * 10]) == {200}
    assert server.issued == 4


# --- refresh tokens -------------------------------------------------------------------------------


async def test_a_refresh_token_that_rotates_is_kept_for_all(valkey_url: str) -> None:
    server = TokenServer(rotates=True)
    async with token_server(server):
        async with workers(server, valkey_url, grant=Grant.REFRESH_TOKEN) as both:
            for _ in range(3):
                assert await statuses([call(worker) for worker in both * 5]) == {200}
                server.revoke_all()
                for worker in both:  # not yet five seconds since the last refusal
                    allow_renewal(worker)
        async with workers(server, valkey_url, 1, grant=Grant.REFRESH_TOKEN) as (later,):
            assert (await call(later)).status == 200
    used = [form["refresh_token"] for form in server.forms]
    assert used == [f"refresh-{number}" for number in range(server.issued)]
    assert server.issued == 4


async def test_a_worker_that_ends_waits_for_the_refresh_token_it_has_asked_for(
    valkey_url: str,
) -> None:
    server = TokenServer(rotates=True)
    async with token_server(server):
        server.open_for_tokens.clear()
        async with workers(server, valkey_url, 1, grant=Grant.REFRESH_TOKEN) as (worker,):
            calling = asyncio.create_task(call(worker))
            async with asyncio.timeout(30):
                await server.asked.wait()
            calling.cancel()
            asyncio.get_running_loop().call_later(0.2, server.open_for_tokens.set)
        async with workers(server, valkey_url, 1, grant=Grant.REFRESH_TOKEN) as (later,):
            assert (await call(later)).status == 200
    assert server.issued == 1


async def test_rotated_without_redis_it_is_used_and_shared_later(
    valkey_url: str, unused_tcp_port: int
) -> None:
    server = TokenServer(rotates=True)
    async with token_server(server):
        nowhere = f"redis://127.0.0.1:{unused_tcp_port}/0"
        async with workers(server, nowhere, 1, grant=Grant.REFRESH_TOKEN) as (worker,):
            await call(worker)
            server.revoke_all()
            assert (await call(worker)).status == 200
    assert [form["refresh_token"] for form in server.forms] == ["refresh-0", "refresh-1"]


async def test_a_new_refresh_token_in_the_configuration_replaces_one_that_is_over(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = TokenServer(rotates=True)
    async with (
        token_server(server),
        workers(server, valkey_url, 1, grant=Grant.REFRESH_TOKEN) as (worker,),
    ):
        await call(worker)
        server.revoke_all()
        server.refresh_tokens = {"refresh-new"}
        monkeypatch.setenv("TEST_REFRESH_TOKEN", "refresh-new")
        assert (await call(worker)).status == 200


def allow_renewal(worker: HttpTransport) -> None:
    """As if the last refusal were long ago."""
    for source in worker._tokens._sources.values():
        source._renewed_after_refusal_at = float("-inf")


async def test_tokens_that_end_one_after_the_other_are_each_renewed(valkey_url: str) -> None:
    server = TokenServer(life_seconds=3600)
    async with token_server(server), workers(server, valkey_url, 2) as both:
        for number in range(4):
            for worker in both:
                assert (await call(worker)).status == 200
            assert len(server.forms) == number + 1
            server.revoke_all()


# --- refusals -------------------------------------------------------------------------------------


async def test_an_api_that_refuses_new_tokens_too_is_a_permanent_error(valkey_url: str) -> None:
    server = TokenServer(life_seconds=3600)
    async with token_server(server), workers(server, valkey_url, 1) as (worker,):
        await call(worker)
        server.revoke_all()
        server.good_until = _Never(server.good_until)
        for _ in range(5):
            with pytest.raises(
                NoCredential, match=r"credential api: auth\.oauth2 was refused"
            ) as e:
                await call(worker)
            assert (e.value.retryable, e.value.settles_doubt) == (False, False)
    assert len(server.forms) == 2  # one more, not one for each call


class _Never(dict[str, float]):
    """Tokens that are no good from the beginning."""

    def __setitem__(self, token: str, until: float) -> None:
        super().__setitem__(token, 0.0)


def refusal(code: str, status: int) -> web.Response:
    return web.json_response({"error": code, "error_description": SECRET}, status=status)


def token(text: str, **more: str) -> web.Response:
    return web.json_response({"access_token": text, **more})


@pytest.mark.parametrize(
    ("answer", "retryable", "said"),
    [
        (lambda: refusal("invalid_client", 401), False, "401 invalid_client"),
        (lambda: refusal("invalid_grant", 400), False, "400 invalid_grant"),
        (lambda: web.Response(status=404), False, "404"),
        (lambda: web.Response(status=307, headers={"Location": "/x"}), False, "307"),
        (lambda: web.Response(status=503, headers={"Retry-After": "7"}), True, "503"),
        (lambda: web.Response(status=429), True, "429"),
        (lambda: web.Response(text="<html>"), True, "no token"),
        (lambda: token("a b"), False, "cannot be sent"),
        (lambda: token("a", token_type="mac"), False, "another type"),
    ],
)  # fmt: skip
async def test_what_a_token_endpoint_refuses_names_the_credential(
    valkey_url: str, answer: Callable[[], web.Response], retryable: bool, said: str
) -> None:
    async with (
        token_server(TokenServer(answer=answer)) as server,
        workers(server, valkey_url, 1) as (worker,),
    ):
        failures = await asyncio.gather(*(call(worker) for _ in range(20)), return_exceptions=True)
    assert len(server.forms) == 1  # the others hear how it went
    for failure in failures:
        assert isinstance(failure, NoCredential)  # the gate learns nothing from it
        assert failure.retryable is retryable
        assert not failure.settles_doubt
        assert "credential api: auth.oauth2" in failure.reason
        assert said in failure.reason
        assert SECRET not in failure.reason
        assert (failure.retry_after_seconds == 7) is (said == "503")


async def test_a_token_endpoint_that_is_down_is_tried_again(
    valkey_url: str, unused_tcp_port: int
) -> None:
    async with token_server(TokenServer()) as server:
        down = replace(oauth2(server.url), token_url=f"http://127.0.0.1:{unused_tcp_port}/token")
        config = config_of(server.url, Auth(default=down))
        async with workers(server, valkey_url, 1, config=config) as (worker,):
            with pytest.raises(NotLanded, match="no connection to") as error:
                await call(worker)
    assert error.value.retryable
    assert "auth.oauth2" in error.value.reason


async def test_the_egress_rules_hold_for_token_endpoints(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server:
        config = config_of(server.url, Auth(default=oauth2(server.url)))
        strict = replace(config, allow_private_addresses=False)
        async with workers(server, valkey_url, 1, config=strict) as (worker,):
            with pytest.raises(NotLanded, match="where no request may go") as error:
                await call(worker)
    assert not error.value.retryable
    assert server.forms == []


async def test_a_call_does_not_wait_longer_for_a_token_than_it_may_take(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server, workers(server, valkey_url, 1) as (worker,):
        server.open_for_tokens.clear()
        with pytest.raises(NotLanded, match="not there in the time") as error:
            await call(worker, timeout=0.2)
        assert error.value.retryable
        server.open_for_tokens.set()
        assert (await call(worker)).status == 200
    assert server.issued == 1  # whoever gave up did not end the fetching


# --- tenants, and what is not to be seen ----------------------------------------------------------


async def test_each_tenant_has_its_own(valkey_url: str) -> None:
    async with token_server(TokenServer()) as server:
        acme = oauth2(server.url, scopes=("acme",))
        config = config_of(server.url, Auth(tenants={"acme": acme, "zeta": oauth2(server.url)}))
        async with workers(server, valkey_url, 1, config=config) as (worker,):
            await call(worker, 1, tenant="acme")
            await call(worker, 2, tenant="zeta")
            await call(worker, 3, tenant="acme")
            with pytest.raises(NotLanded, match="tenant 'other' has no credential") as error:
                await call(worker, 4, tenant="other")
    assert [token for token, _, _ in server.calls] == ["token-1", "token-2", "token-1"]
    assert not error.value.retryable


async def test_no_secret_is_in_a_log_or_an_error(
    valkey_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    errors: list[str] = []
    server = TokenServer(rotates=True)
    with capture_logs() as logs:
        async with (
            token_server(server),
            workers(server, valkey_url, 1, grant=Grant.REFRESH_TOKEN) as (worker,),
        ):
            await call(worker)
            server.refresh_tokens = set()
            server.revoke_all()
            for _ in range(2):
                with pytest.raises(NotLanded) as error:
                    await call(worker)
                errors += [repr(error.value), repr(error.value.__cause__), str(error.value)]
    said = "\n".join(
        [*errors, *map(repr, logs), *(record.getMessage() for record in caplog.records)]
    )
    assert "auth.oauth2" in said
    for secret in (SECRET, "token-1", "refresh-0", "refresh-1", KEY):
        assert secret not in said
