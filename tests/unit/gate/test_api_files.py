"""Files that change while workers run, and what operators override."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.api_document import api_schema, default_of, field_names, path_of
from orchestrator.engine.api_files import ApiFolder
from orchestrator.engine.apis import ApiFile, read_api
from orchestrator.engine.rates import parse_rates
from orchestrator.errors import InvalidSetting
from orchestrator.ports import HOLD, ApiOverride, ApiSetting

SECRET = "not-for-anybody"


def override(api: str, **values: Any) -> ApiOverride:
    settings = {name: ApiSetting(value=value, change=1) for name, value in values.items()}
    return ApiOverride(api=api, version=1, settings=settings, changed_at=datetime.now(UTC))


def taken(folder: Path, **files: str) -> ApiFolder:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    made = ApiFolder(folder)
    made.take(made.read())
    return made


# --- overrides ------------------------------------------------------------------------------------


def test_an_override_goes_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text("rate: 200/second\ntimeouts: {read: 7, total: 9}\nweights: {acme: 3}\n")
    overrides = {"rate": "5/second", "timeouts.read": 2, "weights.b.c": 4, "concurrency": 1}
    config = read_api(path).config(overrides)
    assert config.rates == parse_rates("5/second")
    assert (config.read_seconds, config.total_seconds, config.concurrency) == (2, 9, 1)
    assert config.weights == {"acme": 3, "b.c": 4}
    assert read_api(path).config().rates == parse_rates("200/second")


def test_an_empty_value_takes_a_limit_away(tmp_path: Path) -> None:
    (path := tmp_path / "shop.yaml").write_text("rate: 200/second\nconcurrency: 3\n")
    config = read_api(path).config({"rate": None, "concurrency": None})
    assert not config.limited


def test_an_override_without_a_file() -> None:
    config = ApiFile(name="shop").config({"rate": "5/second", "timeouts.connect": 1.5})
    assert (config.name, config.connect_seconds) == ("shop", 1.5)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("rate", "fast", "set rate: found 'fast'; wanted rates such as"),
        ("concurrency", 0, "set concurrency: found 0; wanted greater than or equal to 1"),
        ("concurrency", "5", "set concurrency: found '5'; wanted a valid integer"),
        ("timeouts", 3, "wanted one of timeouts.connect, timeouts.read, timeouts.total"),
        ("timeouts.raed", 3, "set timeouts.raed: found an unknown field; wanted one of connect,"),
        ("timeouts.read.x", 3, "set timeouts.read.x: found"),
        ("weights", 3, "set weights: found several fields; wanted one of weights.TENANT"),
        ("weights.acme", 0, "set weights.acme: found 0; wanted greater than 0"),
        ("colour", "red", "set colour: found an unknown field; wanted one of rate, concurrency,"),
        ("", "red", "set : found an unknown field"),
        ("base_url", "http://elsewhere", "base_url cannot be overridden at run time"),
        ("auth.bearer", "env:X", "auth cannot be overridden at run time"),
        ("headers.X-A", "b", "headers cannot be overridden at run time"),
        ("allow_private_addresses", True, "cannot be overridden at run time"),
        ("api", "other", "api cannot be overridden at run time"),
        (HOLD, True, "set hold: found an unknown field"),
    ],
)
def test_a_wrong_override_is_named(field: str, value: object, wanted: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        ApiFile(name="shop").config({field: value})
    assert wanted in str(caught.value)


def test_fields_have_paths_and_defaults() -> None:
    assert path_of("weights.acme.eu") == ("weights", "acme.eu")
    assert path_of("timeouts.read") == ("timeouts", "read")
    assert {"rate", "timeouts.total", "weights.TENANT"} < set(field_names())
    assert not {"auth", "base_url", "api"} & set(field_names())
    assert default_of("timeouts.read") == 30.0
    assert default_of("weights.acme") is None


def test_the_schema_knows_every_field_of_a_file() -> None:
    schema = api_schema()
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert {"rate", "auth", "timeouts", "weights"} < set(schema["properties"])


# --- files that change ----------------------------------------------------------------------------


def test_what_is_broken_leaves_things_as_they_were(tmp_path: Path) -> None:
    folder = taken(tmp_path, shop="concurrency: 3\n", bank="concurrency: 4\n")
    (tmp_path / "shop.yaml").write_text("api: shop\nconcurrency: many\n")
    (tmp_path / "bank.yaml").write_text("concurrency: 5\n")
    contents = folder.read()
    assert folder.differs(contents)
    folder.take(contents)
    assert not folder.differs(folder.read())
    configs = folder.configs({})
    assert (configs["shop"].concurrency, configs["bank"].concurrency) == (3, 5)
    (broken,) = folder.broken()
    assert f"{tmp_path}/shop.yaml:2: concurrency: found 'many'" in str(broken.problems[0])
    with pytest.raises(InvalidSetting, match="found 'many'"):
        folder.require_valid()
    (tmp_path / "shop.yaml").write_text("concurrency: 6\n")
    folder.take(folder.read())
    assert folder.configs({})["shop"].concurrency == 6
    assert folder.broken() == []


@pytest.mark.parametrize("content", ["rate: [", "- a list\n", "\x00"])
def test_what_is_no_document_is_broken(tmp_path: Path, content: str) -> None:
    folder = taken(tmp_path, shop="concurrency: 3\n")
    (tmp_path / "shop.yaml").write_text(content)
    folder.take(folder.read())
    assert folder.configs({})["shop"].concurrency == 3
    assert len(folder.problems()) == 1


def test_what_cannot_be_read_is_broken_and_not_as_if_it_were_not_there(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").mkdir()
    folder = taken(tmp_path)
    with pytest.raises(InvalidSetting, match=r"shop\.yaml:1: document: found Is a directory"):
        folder.require_valid()


def test_a_file_that_is_gone_holds_on(tmp_path: Path) -> None:
    folder = taken(tmp_path, shop="concurrency: 3\n")
    (tmp_path / "shop.yaml").unlink()
    folder.take(folder.read())
    assert folder.configs({})["shop"].concurrency == 3
    assert folder.missing() == [tmp_path / "shop.yaml"]
    (tmp_path / "renamed.yaml").write_text("api: shop\nconcurrency: 4\n")
    folder.take(folder.read())
    assert folder.configs({})["shop"].concurrency == 4
    assert folder.missing() == []


def test_two_files_of_one_name(tmp_path: Path) -> None:
    folder = taken(tmp_path, a="api: shop\nconcurrency: 3\n", b="api: shop\nconcurrency: 4\n")
    assert folder.configs({})["shop"].concurrency == 3
    assert "a name no other file has" in str(folder.problems()[0])


def test_overrides_that_do_not_go_with_a_file_leave_things_as_they_were(tmp_path: Path) -> None:
    folder = taken(tmp_path, shop="concurrency: 3\n")
    assert folder.configs({"shop": override("shop", concurrency=7)})["shop"].concurrency == 7
    wrong = override("shop", concurrency="many", **{HOLD: True})
    config = folder.configs({"shop": wrong})["shop"]
    assert (config.concurrency, config.held) == (7, True)
    assert [each.of for each in folder.broken()] == ["overrides of shop"]
    assert folder.configs({})["shop"].concurrency == 3


def test_of_each_field_it_is_said_where_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        f"rate: 9/second\nheaders: {{X-Key: {SECRET}}}\n"
        "auth: {bearer: env:SHOP_TOKEN}\nweights:\n  acme: 3\n"
    )
    folder = taken(tmp_path, shop=text)
    found = folder.fields("shop", {"concurrency": 5, "weights.b": 2})
    origins = {field.name: (field.value, field.origin) for field in found}
    path = tmp_path / "shop.yaml"
    assert origins["rate"] == ("9/second", f"{path}:1")
    assert origins["weights.acme"] == (3, f"{path}:5")
    assert origins["weights.b"] == (2, "override")
    assert origins["concurrency"] == (5, "override")
    assert origins["timeouts.read"] == (30.0, "default")
    assert origins["base_url"] == (None, "the API's document")
    assert origins["headers"] == ("set", f"{path}:2")
    assert SECRET not in str(found)
    assert "SHOP_TOKEN" not in str(found)
    monkeypatch.setenv("ORCHESTRATOR_API_SHOP_BASE_URL", "http://127.0.0.1:1")
    base_url = folder.fields("shop", {})[0]
    assert base_url.origin == "ORCHESTRATOR_API_SHOP_BASE_URL"
