"""Names of versions: what they mean, and what is wrong with one."""

from __future__ import annotations

import pytest

from orchestrator.core.aliases import (
    Asked,
    Named,
    Offered,
    Way,
    Ways,
    alias_problems,
    asked,
    ways,
)
from orchestrator.errors import InvalidInput, NotFound

OLD, NEW = Named(version=1, workflow_id="one"), Named(version=2, workflow_id="two")
FIRST, SECOND = Way(version=1, workflow_id="one"), Way(version=2, workflow_id="two")


def offered(**aliases: Named) -> Offered:
    return Offered(workflow="order", latest=NEW, aliases=aliases)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("order", Asked(workflow="order")),
        ("order@3", Asked(workflow="order", version=3)),
        ("order@v3", Asked(workflow="order", version=3)),
        ("order@stable", Asked(workflow="order", alias="stable")),
        ("order@latest", Asked(workflow="order", alias="latest")),
        ("order@v3-beta", Asked(workflow="order", alias="v3-beta")),
    ],
)
def test_what_a_text_asks_for(text: str, found: Asked) -> None:
    assert asked(text) == found
    assert asked(str(found)) == found


@pytest.mark.parametrize("text", ["order@", "@stable", "@3", "order@Stable", "order@a b", "a@b@c"])
def test_what_names_no_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        asked(text)
    assert text in str(refused.value)
    assert "WORKFLOW@3" in str(refused.value)


def test_a_version_said_twice_is_refused() -> None:
    assert asked("order", 4) == Asked(workflow="order", version=4)
    with pytest.raises(InvalidInput, match="order@3, and version 4"):
        asked("order@3", 4)


@pytest.mark.parametrize(
    ("text", "aliases", "found"),
    [
        ("order", {}, Ways(workflow="order", plain=SECOND)),
        ("order@latest", {"stable": OLD}, Ways(workflow="order", plain=SECOND)),
        (
            "order", {"stable": OLD},
            Ways(workflow="order", plain=Way(version=1, workflow_id="one", alias="stable")),
        ),
        (
            "order@canary", {"canary": Named(version=1, workflow_id="one", share=5.0)},
            Ways(workflow="order", plain=Way(version=1, workflow_id="one", alias="canary")),
        ),
        ("order", {"canary": OLD}, Ways(workflow="order", plain=SECOND)),
        (
            "order", {"canary": Named(version=1, workflow_id="one", share=5.0)},
            Ways(
                workflow="order", plain=SECOND, share=5.0,
                canary=Way(version=1, workflow_id="one", alias="canary"),
            ),
        ),
    ],
)  # fmt: skip
def test_where_a_wish_leads(text: str, aliases: dict[str, Named], found: Ways) -> None:
    assert ways(asked(text), offered(**aliases)) == found


def test_an_alias_that_is_none_is_told_with_those_there_are() -> None:
    with pytest.raises(NotFound) as refused:
        ways(asked("order@beta"), offered(stable=OLD))
    told = "alias of workflow order: found beta; wanted one of latest, stable, or a version: 1 to 2"
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("alias", "share", "wrong"),
    [
        ("stable", None, []), ("canary", 0.0, []), ("canary", 100.0, []), ("team-a_2", None, []),
        ("latest", None, ["alias"]), ("v3", None, ["alias"]), ("3", None, ["alias"]),
        ("Stable", None, ["alias"]), ("x" * 51, None, ["alias"]), ("", None, ["alias"]),
        ("stable", 10.0, ["share"]), ("canary", 100.5, ["share"]), ("canary", -1.0, ["share"]),
        ("canary", float("nan"), ["share"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_alias(alias: str, share: float | None, wrong: list[str]) -> None:
    assert [each.place for each in alias_problems(alias, share)] == wrong
