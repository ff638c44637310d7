"""`orchestrator apis`, as people and scripts use it; nothing is up but the database file."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Deployment

FILE = "rate: 200/second\nconcurrency: 20\nauth: {bearer: env:SHOP_TOKEN}\n"


@pytest.fixture
def shop(deployment: Deployment) -> Deployment:
    folder = deployment.folder / "config" / "apis"
    folder.mkdir(parents=True)
    (folder / "shop.yaml").write_text(FILE)
    return deployment


def values(answer: dict[str, object]) -> dict[str, tuple[object, str]]:
    fields = answer["fields"]
    assert isinstance(fields, list)
    return {field["name"]: (field["value"], field["origin"]) for field in fields}


def test_set_show_and_reset(shop: Deployment) -> None:
    made = shop.ask("apis", "set", "shop", "rate=50/second; 900/minute", "weights.acme=3",
                    "--reason", "they asked", "--by", "ada")  # fmt: skip
    assert values(made)["rate"] == ("50/second; 900/minute", "override")
    shown = shop.ask("apis", "show", "shop")
    assert values(shown)["weights.acme"] == (3, "override")
    assert values(shown)["concurrency"] == (20, "config/apis/shop.yaml:2")
    assert values(shown)["keep_alive_seconds"] == (10.0, "default")
    (change,) = shown["changes"]
    assert (change["by"], change["reason"]) == ("ada", "they asked")
    assert change["before"] == {"rate": "200/second", "weights.acme": None}
    shop.ask("apis", "reset", "shop", "rate")
    said = shop.run("apis", "show", "shop")
    assert "config/apis/shop.yaml:1" in said.out
    assert "rate: 50/second; 900/minute → 200/second" in said.out
    assert "SHOP_TOKEN" not in said.out


def test_a_held_api_is_to_be_seen(shop: Deployment) -> None:
    said = shop.run("apis", "hold", "shop", "--reason", "it burns [again]", "--by", "ada")
    assert said.code == 0
    assert "■ held" in said.out
    assert "■ held" in shop.run("apis", "list").out
    assert "by ada" in (shown := shop.run("apis", "show", "shop").out)
    assert "it burns [again]" in shown
    checks = {check["name"]: check for check in json.loads(shop.run("doctor", "--json").out)}
    assert checks["api shop"]["verdict"] == "warning"
    assert shop.run("apis", "hold", "shop", "--reason", "x").code == 5
    assert shop.run("apis", "release", "shop", "--reason", "it is out").code == 0
    assert shop.run("apis", "release", "shop", "--reason", "x").code == 5


def test_what_is_wrong_is_named(shop: Deployment) -> None:
    said = shop.run("apis", "set", "shop", "rate=fast", "concurrency=0", "x", "--reason", "r")
    assert said.code == 3
    assert "FIELD=VALUE" in said.err
    said = shop.run("apis", "set", "shop", "rate=fast", "concurrency=0", "--reason", "r")
    assert said.code == 3
    assert "set rate" in said.err
    assert "set concurrency" in said.err
    assert shop.run("apis", "set", "shop", "rate=1/second").code == 2
    assert shop.run("apis", "show", "shopp").code == 4
    said = shop.run("apis", "set", "shop", "auth.bearer=s3cret", "--reason", "r")
    assert said.code == 3
    assert "s3cret" not in said.err
    assert shop.ask("apis", "show", "shop")["changes"] == []


def test_a_broken_file_is_shown_with_its_line(shop: Deployment) -> None:
    (shop.folder / "config" / "apis" / "bank.yaml").write_text("\nconcurrency: many\n")
    said = shop.run("apis", "list")
    assert said.code == 0
    assert "config/apis/bank.yaml:2: concurrency" in said.out
    (problem,) = shop.ask("apis", "list")["problems"]
    assert problem["found"] == "'many'"
    assert shop.run("doctor").code == 1


def test_the_schema_is_one_json_value(shop: Deployment) -> None:
    assert "rate" in json.loads(shop.run("apis", "schema").out)["properties"]
