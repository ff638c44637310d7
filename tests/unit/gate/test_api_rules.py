"""Rules of an API: what files and operators may say, and which calls are under them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.core.health import HealthRules
from orchestrator.engine.api_document import api_schema, field_names, path_of
from orchestrator.engine.api_files import ApiFolder
from orchestrator.engine.api_rules import Per, Rule, ScopeFinder, operation_pattern
from orchestrator.engine.apis import ApiConfig, read_api
from orchestrator.engine.auth import Auth, Static
from orchestrator.engine.rates import parse_rates
from orchestrator.engine.secret import Secret
from orchestrator.errors import InvalidSetting
from orchestrator.ports import ApiField, Visit

RULES = """\
rate: 200/second
rules:
  charges: {operation: POST /charges, rate: 20/second}
  search:
    operation: /search/*
    rate: 5/second; 100/minute
    concurrency: 4
  each-tenant: {per: tenant, concurrency: 8, waiting: 500}
"""


def config(folder: Path, text: str = RULES, **overrides: object) -> ApiConfig:
    path = folder / "shop.yaml"
    path.write_text(text)
    return read_api(path).config(overrides)


def test_rules_have_names_and_limits(tmp_path: Path) -> None:
    assert config(tmp_path).rules == (
        Rule(name="charges", operation="POST /charges", rates=parse_rates("20/second")),
        Rule(
            name="search", operation="/search/*", rates=parse_rates("5/second; 100/minute"),
            concurrency=4,
        ),
        Rule(name="each-tenant", per=Per.TENANT, concurrency=8, waiting=500),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "found", "wanted"),
    [
        ("rules:\n  a:\n    per: user\n    rate: 1/second\n", "3: rules.a.per", "'user'", "tenant"),
        ("rules:\n  a:\n    rate: often\n", "3: rules.a.rate", "'often'", "200/second"),
        ("rules:\n  a: {per: tenant}\n", "2: rules.a", "", "at least one of rate, concurrency"),
        ("rules:\n  a: {rate: 1/second}\n", "2: rules.a", "", "operation, tenant or per"),
        ("rules:\n  a:\n    operation: charges\n", "3: rules.a.operation", "'charges'", "a path"),
        ("rules:\n  a:\n    operation: get /x\n", "3: rules.a.operation", "'get /x'", "a path"),
        (
            "rules:\n  a:\n\n    match: x\n",
            "4: rules.a.match",
            "an unknown field",
            "operation, tenant, per",
        ),
        ("rules:\n  a b: {per: tenant, rate: 1/second}\n", "2: rules.a b", "'a b'", "pattern"),
        ("rules:\n  a: on\n", "2: rules.a", "True", ""),
        (
            "rules:\n  a:\n    per: tenant\n    breaker:\n      open: 3\n",
            "5: rules.a.breaker.open",
            "an unknown field",
            "failure_rate, slow_seconds",
        ),
        ("rules: [1]\n", "1: rules", "[1]", "dictionary"),
        ("rules:\n  a: {}\n  a: {}\n", "3: a", "a second one", "once"),
    ],
)
def test_a_wrong_rule_is_named(
    tmp_path: Path, text: str, place: str, found: str, wanted: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        config(tmp_path, text)
    problem = caught.value.problems[0]
    assert problem.place == f"{tmp_path}/shop.yaml:{place}"
    assert found in problem.found
    assert wanted in problem.wanted


def test_operators_override_a_rule_by_field_or_as_a_whole(tmp_path: Path) -> None:
    changed = config(tmp_path, **{
        "rules.charges.rate": "50/second", "rules.search": False,
        "rules.refunds": {"operation": "/refunds", "rate": "1/second"},
        "rules.refunds.per": "tenant",
    }).rules  # fmt: skip
    assert [rule.name for rule in changed] == ["charges", "each-tenant", "refunds"]
    assert changed[0].rates == parse_rates("50/second")
    assert (changed[2].operation, changed[2].per) == ("/refunds", Per.TENANT)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        (
            "rules",
            {},
            "wanted one of rules.RULE.operation, rules.RULE.tenant",
        ),
        ("rules.charges.rate", "often", "set rules.charges.rate: found 'often'; wanted rates"),
        (
            "rules.charges.rat",
            "1/second",
            "an unknown field; wanted one of operation, tenant",
        ),
        ("rules.other.rate", "1/second", "set rules.other.rate: found"),
    ],
)
def test_a_wrong_override_of_a_rule_is_named(
    tmp_path: Path, field: str, value: object, wanted: str
) -> None:
    with pytest.raises(InvalidSetting) as caught:
        config(tmp_path, **{field: value})
    assert wanted in str(caught.value)


def test_fields_of_rules_have_names_and_places(tmp_path: Path) -> None:
    assert path_of("rules.each-tenant.rate") == ("rules", "each-tenant", "rate")
    assert "rules.RULE.concurrency" in field_names()
    config(tmp_path)
    folder = ApiFolder(tmp_path)
    folder.take(folder.read())
    overrides = {"rules.charges.concurrency": 3, "rules.search": False}
    shown = [each for each in folder.fields("shop", overrides) if each.name.startswith("rules.")]
    place = f"{tmp_path}/shop.yaml"
    assert shown == [
        ApiField(name="rules.charges.operation", value="POST /charges", origin=f"{place}:3"),
        ApiField(name="rules.charges.rate", value="20/second", origin=f"{place}:3"),
        ApiField(name="rules.charges.concurrency", value=3, origin="override"),
        ApiField(name="rules.each-tenant.per", value="tenant", origin=f"{place}:8"),
        ApiField(name="rules.each-tenant.concurrency", value=8, origin=f"{place}:8"),
        ApiField(name="rules.each-tenant.waiting", value=500, origin=f"{place}:8"),
        ApiField(name="rules.search", value=False, origin="override"),
    ]


def test_the_schema_knows_rules() -> None:
    schema = api_schema()
    assert {"operation", "per", "rate"} < set(schema["$defs"]["RuleFile"]["properties"])
    assert "rules" in schema["properties"]


# --- which calls are under a rule -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (
            "POST /charges",
            ["POST /charges"],
            ["GET /charges", "POST /charges/1", "POST /a"],
        ),
        ("/charges", ["GET /charges", "POST /charges"], ["GET /charges/1"]),
        ("* /charges", ["GET /charges"], ["GET /charge"]),
        ("GET /a/{id}/b", ["GET /a/1/b"], ["GET /a/b", "GET /a/1/2/b", "GET /a//b"]),
        ("/search/*", ["GET /search/", "PUT /search/a/b"], ["GET /search"]),
        ("/a.b", ["GET /a.b"], ["GET /aXb"]),
        ("/*", ["GET /", "DELETE /a/b"], []),
    ],
)
def test_patterns_of_operations(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = operation_pattern(pattern)
    assert [each for each in (*yes, *no) if compiled.fullmatch(each)] == yes


def test_a_call_is_under_every_rule_that_is_about_it(tmp_path: Path) -> None:
    finder = ScopeFinder(config(tmp_path).rules, None)

    def keys(operation: str) -> list[str]:
        visit = Visit(api="shop", operation=operation, tenant="acme")
        return [scope.key for scope in finder.scopes_of(visit)]

    assert keys("POST /charges") == ["charges", "each-tenant:acme"]
    assert keys("GET /search/x") == ["search", "each-tenant:acme"]
    assert keys("GET /other") == ["each-tenant:acme"]


def test_a_rule_may_be_about_some_tenants() -> None:
    finder = ScopeFinder(
        [
            Rule(name="guests", tenant="guest-*", concurrency=1),
            Rule(name="each", tenant="guest-*", operation="/x", per=Per.TENANT, concurrency=1),
            Rule(name="acme", tenant="acme.eu", concurrency=1),
        ],
        None,
    )

    def keys(tenant: str, operation: str = "GET /x") -> list[str]:
        visit = Visit(api="shop", operation=operation, tenant=tenant)
        return [scope.key for scope in finder.scopes_of(visit)]

    assert keys("guest-1") == ["guests", "each:guest-1"]
    assert keys("guest-1", "GET /y") == ["guests"]
    assert keys("acme.eu") == ["acme"]
    assert keys("acme-eu") == keys("guest") == []


def test_tenants_with_one_credential_share_its_limits() -> None:
    shared, own = (Static(secret=Secret(reference=f"env:{name}")) for name in ("SHARED", "OWN"))
    auth = Auth(default=shared, tenants={"acme": own, "beta": shared, "acme-eu": own})
    finder = ScopeFinder([Rule(name="key", per=Per.CREDENTIAL, concurrency=1)], auth)
    by_tenant = {
        tenant: finder.scopes_of(Visit(api="shop", tenant=tenant))[0].of
        for tenant in ("acme", "beta", "acme-eu", "other")
    }
    assert by_tenant["acme"] == by_tenant["acme-eu"] == "tenant acme"
    assert by_tenant["beta"] == by_tenant["other"] == "default"


@pytest.mark.parametrize(
    ("breaker", "health"),
    [
        ("on", HealthRules(longest_pause_seconds=60.0)),
        ("{calls: 5}", HealthRules(calls=5, longest_pause_seconds=60.0)),
    ],
)
def test_a_rule_may_have_a_breaker_of_its_own(
    tmp_path: Path, breaker: str, health: HealthRules
) -> None:
    text = f"longest_pause_seconds: 60\nrules:\n  a: {{operation: /x, breaker: {breaker}}}\n"
    (rule,) = config(tmp_path, text).rules
    assert rule.health == health
