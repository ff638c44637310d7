"""Registering functions, and finding them in a deployment's modules."""

import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from orchestrator import TaskContext, task
from orchestrator.core.plan import Effects
from orchestrator.definitions.openapi import OpenApiDocument
from orchestrator.definitions.signatures import schema_of
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.definitions.tasks import TaskRegistry, task_of
from orchestrator.errors import InvalidSetting


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An importable, empty package `shoptasks`, forgotten afterwards."""
    folder = tmp_path / "shoptasks"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


GOOD = "from orchestrator import task\n@task(effects='none')\ndef price(n: int): ...\n"


def test_the_decorator_leaves_the_function_alone() -> None:
    @task(effects="none")
    def double(n: int) -> dict[str, int]:
        """Twice as much."""
        return {"n": 2 * n}

    assert double(4) == {"n": 8}
    made = task_of(double)
    assert made is not None
    assert made.effects is Effects.NONE
    assert not made.is_async
    assert made.operation_id == "double"


def test_without_arguments_it_is_careful() -> None:
    @task
    async def act(context: TaskContext, n: int = 1, **more: Any) -> None: ...

    made = task_of(act)
    assert made is not None
    assert (made.effects, made.is_async, made.takes_context) == (Effects.UNKEYED, True, True)
    assert [item.name for item in made.signature.parameters] == ["n"]
    assert made.signature.takes_any


def test_a_call_is_checked_before_it_is_made() -> None:
    @task
    def act(a: int, context: TaskContext, b: int = 1) -> None: ...

    made = task_of(act)
    assert made is not None
    made.signature.bind({"a": 1, "context": None})
    with pytest.raises(TypeError, match="no a"):
        made.signature.bind({"b": 1})
    with pytest.raises(TypeError, match="does not take c"):
        made.signature.bind({"a": 1, "c": 2})


def test_positional_parameters_are_refused() -> None:
    with pytest.raises(InvalidSetting) as caught:

        @task
        def act(n: int, /) -> None: ...

    assert f"{Path(__file__).name}:" in caught.value.problems[0].place


def test_all_modules_of_a_package_are_found(package: Path) -> None:
    (package / "a.py").write_text(GOOD)
    inner = package / "inner"
    inner.mkdir()
    (inner / "__init__.py").touch()
    (inner / "b.py").write_text(
        "from orchestrator import task\nfrom shoptasks.a import price\n"
        "@task(name='mail.send')\nasync def send(): ...\n"
    )
    registry = load_tasks(["shoptasks"])
    assert registry.names() == ["mail.send", "shoptasks.a.price"]
    found = registry.get("shoptasks.a.price")
    assert found is not None
    assert found is registry.operation("price")
    assert registry.get("price") is None


def test_the_same_operation_twice_is_refused_with_both_places(package: Path) -> None:
    (package / "a.py").write_text(GOOD)
    (package / "b.py").write_text("\n\n" + GOOD)
    with pytest.raises(InvalidSetting) as caught:
        load_tasks(["shoptasks"])
    problem = caught.value.problems[0]
    assert "b.py:4" in problem.place
    assert "a.py:2" in problem.wanted


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("x = 1\nimport nothing_like_this\n", "bad.py:2", "ModuleNotFoundError"),
        ("x = 1\n\ny = 1 / 0\n", "bad.py:3", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "bad.py:1", "SyntaxError"),
        ("from orchestrator import task\n@task(effects='some')\ndef f(): ...\n", "", "'some'"),
        ("def f():\n    return 1 + ''\nf()\n", "bad.py:2", "TypeError"),
    ],
)
def test_a_module_that_does_not_import_is_named_with_its_line(
    package: Path, text: str, place: str, found: str
) -> None:
    (package / "bad.py").write_text(text)
    with pytest.raises(InvalidSetting) as caught:
        load_tasks(["shoptasks"])
    assert place in caught.value.problems[0].place
    assert found in caught.value.problems[0].found
    assert "shoptasks.bad does not import" in str(caught.value)


def test_a_missing_module_is_refused_but_the_default_one_may_be_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InvalidSetting):
        load_tasks(["no_such_tasks"])
    monkeypatch.delitem(sys.modules, "tasks", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert load_tasks(["tasks"]).names() == []


def test_the_generated_document_is_an_openapi_document(package: Path) -> None:
    (package / "a.py").write_text(GOOD)
    from orchestrator.definitions.document import Document

    document = OpenApiDocument(
        Document(name="tasks", text="", value=load_tasks(["shoptasks"]).document())
    )
    operation = document.operation("price")
    assert operation is not None
    assert (operation.method, operation.body_required) == ("POST", True)


def test_an_empty_registry() -> None:
    assert TaskRegistry().names() == []
    assert list(TaskRegistry()) == []


class Colour(Enum):
    RED = "red"


class Item(TypedDict):
    name: str
    size: NotRequired[int]


@pytest.mark.parametrize(
    ("hint", "schema"),
    [
        (int, {"type": "integer"}),
        (bool, {"type": "boolean"}),
        (None, {}),
        (Any, {}),
        (object, {}),
        ("text", {}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (dict[str, Any], {"type": "object"}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        (Colour, {"enum": ["red"]}),
        (Item, {
            "type": "object", "required": ["name"],
            "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        }),
        (bytes, {}),
        (set[int], {}),
    ],
)  # fmt: skip
def test_schemas_of_hints(hint: Any, schema: dict[str, Any]) -> None:
    assert schema_of(hint) == schema
