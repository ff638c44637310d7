"""Every block of code on the pages is what it claims to be, says the real thing that takes it."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from orchestrator.cli.main import app
from orchestrator.definitions.agent_policies import read_policies
from orchestrator.definitions.document import WORKFLOWS, read_document
from orchestrator.definitions.json_schema import standard_validator
from orchestrator.definitions.official.patches import patched
from orchestrator.engine.apis import load_apis
from orchestrator.settings import Settings, load_settings
from tests.unit.docs.snippets import ROOT, Snippet, commands, snippets

PICTURES = {
    # what a page draws or quotes: the beginning of each
    "docs/architecture.md": ("orchestrator/ ", "cli, demo, mcp", "submit ──►", "workload.py"),
    "docs/checks.md": ("error[undeclared-input]",),
    "docs/operating.md": ("# yaml-language-server",),
    "README.md": ("     step",),
}
FOREIGN = {"docs/from-celery.md": ("@app.task",)}  # code that is not ours, for comparison
CODE = "\n".join(path.read_text() for path in (ROOT / "orchestrator/definitions").rglob("*.py"))
FIELDS = set(re.findall(r'"(x-[a-z-]+)"', CODE))


def _of(kind: str) -> list[Any]:
    return [pytest.param(each, id=str(each)) for each in snippets() if each.kind == kind]


def test_each_block_is_of_a_kind_that_is_checked() -> None:
    plain = [
        each for each in snippets()
        if each.kind not in {"bash", "yaml", "python", "json", "mermaid", "text"}
        and not each.text.startswith(PICTURES.get(each.page, ("\0",)))
    ]  # fmt: skip
    assert [f"{each}: {each.text.splitlines()[0]}" for each in plain] == []
    assert len(snippets()) > 100


@cache
def _root() -> Any:
    return typer.main.get_command(app)


def _parse(words: list[str]) -> None:
    command: Any = _root()
    context: Any = None
    name = "orchestrator"
    while True:
        context = command.make_context(name, list(words), parent=context, resilient_parsing=False)
        if not hasattr(command, "commands"):
            return
        rest = (
            [*context._protected_args, *context.args]
            if hasattr(context, "_protected_args")
            else context.args
        )
        name, command, words = command.resolve_command(context, rest)


@pytest.mark.parametrize("snippet", _of("bash"))
def test_commands_are_understood(snippet: Snippet) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in commands(snippet.text, "orchestrator"):
        _parse([_filled(word) for word in words])
    for words in commands(snippet.text, "make"):
        assert words[0] in targets
    for words in commands(snippet.text, "pip"):
        named = re.findall(r"saga-orchestrator\[([\w,]+)\]", " ".join(words))
        assert set(",".join(named).split(",")) <= {*extras, ""}


def _filled(word: str) -> str:
    """With something in place of what a reader has to fill in."""
    return word.replace("…", "x").strip("[]").split("|")[0]


@pytest.mark.parametrize("snippet", _of("yaml"))
def test_documents_are_taken(snippet: Snippet, tmp_path: Path) -> None:
    unknown = [name for name in re.findall(r"\bx-[a-z-]+", snippet.text) if name not in FIELDS]
    assert unknown == []
    for text in _alternatives(snippet.text.replace("…", "x")):
        value = yaml.safe_load(text)
        if isinstance(value, list):
            _steps(value)
        elif "agents" in value:
            (tmp_path / "agents.yaml").write_text(text)
            assert read_policies(read_document(tmp_path / "agents.yaml", limits=WORKFLOWS))
        elif set(value) <= set(Settings.model_fields):
            assert load_settings(**value)
        elif "openapi" not in value and "arazzo" not in value and not _is_fragment(value):
            given = {"api": "shop", "base_url": "https://shop.example", **value}
            (tmp_path / "shop.yaml").write_text(yaml.safe_dump(given))
            assert set(load_apis(tmp_path)) == {given["api"]}


def _alternatives(text: str) -> list[str]:
    """A block that says the same field several times shows what it may be, one after the other."""
    parts = [
        part for part in re.split(r"^(?=\w+:)", text, flags=re.MULTILINE) if part.strip(" \n#")
    ]
    names = [part.partition(":")[0] for part in parts]
    return parts if len(set(names)) < len(names) else [text]


def _is_fragment(value: dict[str, Any]) -> bool:
    """A part of a workflow document, or of objectives, whose fields are named elsewhere."""
    parts = {"workflows", "workflowId", "sourceDescriptions", "requestBody", "*", "checkout"}
    return bool(parts & set(value)) or all(name.startswith("x-") for name in value)


def _steps(steps: list[Any]) -> None:
    schema = {"$defs": patched("1.0")["$defs"], "$ref": "#/$defs/step-object"}
    validator = standard_validator(schema)
    for step in steps:
        if "stepId" in step:
            whole = (
                step
                if {"operationId", "workflowId", "operationPath"} & set(step)
                else {**step, "operationId": "x"}
            )
            assert [error.message for error in validator.iter_errors(whole)] == []


@pytest.mark.parametrize("snippet", _of("python"))
def test_programs_name_what_there_is(snippet: Snippet) -> None:
    tree = ast.parse(snippet.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator"):
            _imported(node.module or "", [each.name for each in node.names])
    whole = any(
        isinstance(node, ast.ImportFrom) and node.module in ("orchestrator", "orchestrator.testing")
        for node in tree.body
    )
    if whole and "Client(" not in snippet.text:
        names: dict[str, object] = {"__name__": f"snippet_{snippet.line}"}
        exec(compile(tree, str(snippet), "exec"), names)


def _imported(module: str, names: list[str]) -> None:
    try:
        given = importlib.import_module(module)
    except ModuleNotFoundError as error:  # of an extra that the tests do not install
        if str(error.name).startswith("orchestrator"):
            raise
        source = (ROOT / (module.replace(".", "/") + ".py")).read_text()
        there = {getattr(node, "name", "") for node in ast.parse(source).body}
        assert set(names) <= there
    else:
        assert [name for name in names if not hasattr(given, name)] == []


@pytest.mark.parametrize("snippet", _of("json"))
def test_json_is_json(snippet: Snippet) -> None:
    assert json.loads(re.sub(r",?\s*…", "", snippet.text))


def test_addresses_are_operations() -> None:
    table = (ROOT / "docs/reference/rest.md").read_text()
    paths = re.findall(r"`[A-Z]+ (/v1/[^`]*)`", table)
    known = [re.compile(re.sub(r"\{\w+\}", "[^/:]+", path)) for path in paths]
    named = {
        path
        for each in snippets()
        for path in re.findall(r"https?://[^/\s'\"]+(/v1/[^\s?'\"\\]*)", each.text)
        if each.kind == "bash" and "sandbox" not in each.text
    }
    assert named
    assert [path for path in named if not any(each.fullmatch(path) for each in known)] == []
