"""Routes by which a test steers a running ledger. They are neither recorded nor treated badly.

GET    /_ledger/statistics   counts so far
PUT    /_ledger/faults       {"seed": 7, "rate": 0.1, "weights": {"late": 3, …}}: by chance
DELETE /_ledger/faults       treat every request well
POST   /_ledger/table        {"run", "step", "direction", "question", "fates": [{"fault", …}]}
PUT    /_ledger/limits       [{"amount": 20, "seconds": 1.0, "routes": [...]}, …]
PUT    /_ledger/latency      [0.0, 0.02]
PUT    /_ledger/weather      {"away": true} | {"retry_after": "2"} | {"most_per_second": 50} | {}
DELETE /_ledger/tokens       none that was given out is good any more
POST   /_ledger/token        a token, for a form with client_secret (RFC 6749, section 4.4)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson

from tests.faults.ledger.desk import Desk
from tests.faults.ledger.faults import WEIGHTS, Fate, Fault
from tests.faults.ledger.limits import Limit

PREFIX = "/_ledger/"
TOKEN_ENDPOINT = f"{PREFIX}token"


def control(desk: Desk, method: str, target: str, body: bytes) -> tuple[int, bytes]:
    """Status and JSON body of the answer."""
    if (method, target) == ("POST", TOKEN_ENDPOINT):
        return _token(desk, body)
    act = _ROUTES.get((method, target.removeprefix(PREFIX)))
    if act is None:
        return 404, orjson.dumps(
            {"found": f"{method} {target}", "wanted": sorted(map(str, _ROUTES))}
        )
    try:
        return 200, orjson.dumps(act(desk, orjson.loads(body or b"null")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        found = body[:500].decode(errors="replace")
        problem = {"found": found, "wanted": act.__doc__, "why": f"{type(error).__name__}: {error}"}
        return 400, orjson.dumps(problem)


def _statistics(desk: Desk, _: None) -> Mapping[str, Any]:
    return desk.statistics()


def _by_chance(desk: Desk, wish: Mapping[str, Any]) -> None:
    """{"seed": int, "rate": 0 to 1, "weights": {fault: number}}"""
    weights = wish.get("weights")
    made = WEIGHTS if weights is None else {Fault(name): float(weights[name]) for name in weights}
    desk.faults.reseed(seed=int(wish["seed"]), rate=float(wish["rate"]), weights=made)


def _heal(desk: Desk, _: None) -> None:
    desk.faults.heal()
    desk.weather.set({})


def _table(desk: Desk, wish: Mapping[str, Any]) -> None:
    """{"run", "step", "direction", "question", "fates": [{"fault", …}]}"""
    fates = [Fate.from_json(fate) for fate in wish["fates"]]
    desk.faults.will(
        wish["run"], wish["step"], wish["direction"], *fates, question=wish.get("question", False)
    )


def _limits(desk: Desk, wish: list[Mapping[str, Any]]) -> None:
    """[{"amount": int, "seconds": number or null, "routes": [name]}]"""
    desk.limits.replace([Limit.from_json(limit) for limit in wish])


def _latency(desk: Desk, wish: list[float]) -> None:
    """[least, most] in seconds"""
    low, high = wish
    desk.settings.latency_seconds = (float(low), float(high))


def _weather(desk: Desk, wish: Mapping[str, Any]) -> None:
    """{"away": bool, "retry_after": text, "most_per_second": int}, each may be missing"""
    desk.weather.set(wish)


def _end_tokens(desk: Desk, _: None) -> None:
    """nothing; the ledger gives out tokens"""
    if desk.settings.tokens is None:
        raise ValueError("this ledger gives out no tokens")
    desk.settings.tokens.end()


def _token(desk: Desk, body: bytes) -> tuple[int, bytes]:
    tokens = desk.settings.tokens
    shown = parse_qs(body.decode("latin-1")).get("client_secret", [""])[0]
    if tokens is None or shown != tokens.secret:
        return 401, orjson.dumps({"error": "invalid_client"})
    return 200, orjson.dumps(tokens.issue())


_ROUTES: Mapping[tuple[str, str], Callable[[Desk, Any], Any]] = {
    ("GET", "statistics"): _statistics,
    ("PUT", "faults"): _by_chance,
    ("DELETE", "faults"): _heal,
    ("POST", "table"): _table,
    ("PUT", "limits"): _limits,
    ("PUT", "latency"): _latency,
    ("PUT", "weather"): _weather,
    ("DELETE", "tokens"): _end_tokens,
}
