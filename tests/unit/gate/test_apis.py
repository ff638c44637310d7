"""API configuration files: what they say, and how wrong ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.health import HealthRules
from orchestrator.definitions.sources import TASKS_API
from orchestrator.engine.apis import ApiConfig, config_of, load_apis
from orchestrator.engine.auth import Static
from orchestrator.engine.rates import parse_rates
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import Rate

FULL = """\
api: inventory
base_url: https://inventory.example/v1/
rate: 200/second; 5000 per hour
concurrency: 20
rate_headroom_seconds: 0.1
connections: 30
timeouts: {connect: 2, read: 10, total: 20.5}
keep_alive_seconds: 4
headers: {X-Client: checkout}
auth: {basic: {user: me, password: "env:INVENTORY_PASSWORD"}}
max_response_bytes: 1000
allow_private_addresses: true
"""


def load(folder: Path, text: str, name: str = "api.yaml") -> ApiConfig:
    (folder / name).write_text(text)
    (config,) = load_apis(folder).values()
    return config


def static(config: ApiConfig) -> Static:
    """The default credential, which somebody gave us."""
    assert config.auth is not None
    assert isinstance(config.auth.default, Static)
    return config.auth.default


def problem(folder: Path, text: str) -> Problem:
    with pytest.raises(InvalidSetting) as caught:
        load(folder, text)
    (found,) = caught.value.problems
    return found


def test_everything_that_can_be_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(tmp_path, FULL)
    assert (config.name, config.base_url) == ("inventory", "https://inventory.example/v1")
    assert config.rates == (Rate(amount=200, seconds=1.0), Rate(amount=5000, seconds=3600.0))
    assert (config.concurrency, config.connections, config.headroom_seconds) == (20, 30, 0.1)
    assert (config.connect_seconds, config.read_seconds, config.total_seconds) == (2, 10, 20.5)
    assert config.keep_alive_seconds == 4
    assert config.headers == (("X-Client", "checkout"),)
    assert config.max_response_bytes == 1000
    assert config.allow_private_addresses
    monkeypatch.setenv("INVENTORY_PASSWORD", "secret")
    assert static(config).value() == "Basic bWU6c2VjcmV0"


def test_how_it_is_left_alone_and_taken_up_again(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "breaker: {failure_rate: 0.3, slow_seconds: 2, probes: 5, ramp_seconds: 0}\n"
        "retries: {share: 0.1, per_second: 3}\nlongest_pause_seconds: 60\n",
    )
    assert config.breaker
    assert config.health == HealthRules(
        failure_rate=0.3, slow_seconds=2.0, probes=5, ramp_seconds=0.0, longest_pause_seconds=60.0
    )
    assert (config.retry_share, config.retries_a_second) == (0.1, 3.0)
    off = load(tmp_path, "breaker: off\n")
    assert (off.breaker, off.health) == (False, HealthRules())


def test_functions_are_always_taken_to_be_well() -> None:
    assert config_of({}, TASKS_API).health is None


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("api: x\nbreaker: {probes: 0}\n", "2: breaker.probes", "0"),
        ("api: x\nbreaker:\n  open: 3\n", "3: breaker.open", "an unknown field"),
        ("api: x\nbreaker: on\n", "2: breaker", "True"),
        ("retries: {share: 2}\n", "1: retries.share", "2"),
        ("longest_pause_seconds: never\n", "1: longest_pause_seconds", "'never'"),
    ],
)
def test_wrong_rules_of_health(tmp_path: Path, text: str, place: str, found: str) -> None:
    wrong = problem(tmp_path, text)
    assert wrong.place.endswith(place)
    assert wrong.found == found


def test_an_empty_file_and_none_at_all_mean_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "# nothing\n", "kinto.yaml") == ApiConfig(name="kinto")
    assert load_apis(tmp_path / "nowhere") == {}
    assert config_of({}, "kinto") == ApiConfig(name="kinto")


def test_the_environment_overrides_base_urls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_API_MY_API_BASE_URL", "http://127.0.0.1:9999/v1")
    config = load(tmp_path, "base_url: https://elsewhere.example\n", "my-api.yaml")
    assert config.base_url == "http://127.0.0.1:9999/v1"
    assert config_of({}, "my-api").base_url == "http://127.0.0.1:9999/v1"
    monkeypatch.setenv("ORCHESTRATOR_API_MY_API_BASE_URL", "nonsense")
    with pytest.raises(InvalidSetting, match="ORCHESTRATOR_API_MY_API_BASE_URL: found 'nonsense'"):
        load_apis(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "field", "found", "wanted"),
    [
        ("api: a\nrate: often\n", 2, "rate", "'often'", "200/second"),
        ("api: a\n\nconcurency: 2\n", 3, "concurency", "an unknown field", "concurrency"),
        ("concurrency: 0\n", 1, "concurrency", "0", "greater than or equal to 1"),
        ("concurrency: many\n", 1, "concurrency", "'many'", "a valid integer"),
        ("timeouts:\n  connect: 1\n  read: -1\n", 3, "timeouts.read", "-1", "greater than 0"),
        ("timeouts:\n  wait: 1\n", 2, "timeouts.wait", "an unknown field", "connect, read, total"),
        ("base_url: inventory.example\n", 1, "base_url", "'inventory.example'", "an address"),
        ("base_url: ftp://x.example\n", 1, "base_url", "'ftp://x.example'", "an address"),
        ("base_url: https://a.example/?q=1\n", 1, "base_url", "'https", "without query"),
        ("base_url: http://127.1\n", 1, "base_url", "'http://127.1'", "four decimal numbers"),
        ("api: a\nbase_url: http://127。0。0。1\n", 2, "base_url", "'http", "visible ASCII"),
        ('base_url: "http://a.example\\n"\n', 1, "base_url", "'http", "visible ASCII"),
        ("api: a\napi: b\n", 2, "api", "a second one", "each field once"),
        ("api: [\n", 2, "document", "", "YAML"),
        ("- a\n", 1, "document", "['a']", ""),
        ("auth: {}\n", 1, "auth", "", "one of basic, bearer, header"),
        ("headers:\n  'X Y': a\n", 2, "headers.X Y", "", "match pattern"),
        ('headers:\n  X-Y: "a\\nb"\n', 2, "headers.X-Y", "", "one line of text"),
        ("api: a b\n", 1, "api", "'a b'", "match pattern"),
    ],
)
def test_errors_name_file_line_field_found_and_wanted(
    tmp_path: Path, text: str, line: int, field: str, found: str, wanted: str
) -> None:
    error = problem(tmp_path, text)
    assert error.place == f"{tmp_path / 'api.yaml'}:{line}: {field}"
    assert found in error.found
    assert wanted in error.wanted


@pytest.mark.parametrize(
    "text",
    [
        "auth:\n  bearer: s3cret\n",
        "auth:\n  basic: {user: me, password: s3cret}\n",
        "auth:\n  header: {name: X-Key, value: s3cret}\n",
        "base_url: https://me:s3cret@a.example\n",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    error = problem(tmp_path, text)
    assert "s3cret" not in str(error)


def test_all_problems_of_all_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rate: often\nconcurrency: 0\n")
    (tmp_path / "b.yaml").write_text("nothing: 1\n")
    with pytest.raises(InvalidSetting) as caught:
        load_apis(tmp_path)
    assert len(caught.value.problems) == 3


def test_two_files_for_one_api_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("api: a\n")
    (tmp_path / "b.yaml").write_text("api: a\n")
    with pytest.raises(InvalidSetting, match="a name no other file has"):
        load_apis(tmp_path)


@pytest.mark.parametrize("reference", ["env:MISSING_SECRET", "file:/nowhere/at/all"])
def test_a_missing_secret_is_an_error_that_names_its_place(tmp_path: Path, reference: str) -> None:
    config = load(tmp_path, f"auth: {{bearer: '{reference}'}}\n")
    with pytest.raises(InvalidSetting, match=reference):
        static(config).value()


def test_secrets_come_from_files_without_their_line_end(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("abc\n")
    config = load(tmp_path, f"auth: {{header: {{name: X-Key, value: 'file:{secret}'}}}}\n")
    assert (static(config).name, static(config).value()) == ("X-Key", "abc")
    assert "abc" not in repr(config)


@pytest.mark.parametrize(
    ("text", "rates"),
    [
        (None, ()),
        ("5/2 minutes", (Rate(amount=5, seconds=120.0),)),
        ("10 per second, 1/day", (Rate(amount=10, seconds=1.0), Rate(amount=1, seconds=86400.0))),
    ],
)
def test_rates_are_in_the_notation_of_limits(text: str | None, rates: Any) -> None:
    assert parse_rates(text) == rates
