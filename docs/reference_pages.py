"""Write docs/reference/: every command, setting, operation of REST and error, from the code itself.

Run it after changing one; `make check` runs it with --check, so that no page can drift. What is
said stands in the code (docstrings of commands and settings, REST's own OpenAPI document); what to
do about an error, in reference_texts.yaml.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from orchestrator import errors
from orchestrator.api.problems import status_of
from orchestrator.cli.api import openapi
from orchestrator.cli.main import app
from orchestrator.cli.output import exit_code_of
from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import DUE_MINUTES, SEVERITIES
from orchestrator.settings import Settings

FOLDER = Path(__file__).with_name("reference")
TEXTS = yaml.safe_load(Path(__file__).with_name("reference_texts.yaml").read_text("utf-8"))
SOURCE = Path(__file__).parents[1] / "orchestrator" / "settings.py"
HEAD = "<!-- Written by docs/reference_pages.py; change the code instead. -->\n"
LEFT_OUT = {"help", "as_json", "install_completion", "show_completion"}
USUAL_STATUSES = {"401", "403", "429", "503"}
SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def commands() -> Iterator[str]:
    """Each command with its arguments and options, by their groups."""
    yield from _begin("Commands", "commands")
    root = typer.main.get_command(app)
    yield from ("", "Before any command:", "")
    yield from _options(root)
    yield from _below("orchestrator", root)


def _below(path: str, group: Any) -> Iterator[str]:
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        level = "##" if path == "orchestrator" else "###"
        yield from ("", f"{level} {whole.removeprefix('orchestrator ')}", "")
        yield inspect.cleandoc(command.help or "").replace("<", "\\<")
        if hasattr(command, "commands"):
            yield from _below(whole, command)
            continue
        wants = [_metavar(each) for each in command.params if each.param_type_name == "argument"]
        yield from ("", f"    {' '.join([whole, *wants])}", "")
        yield from _options(command)


def _options(command: Any) -> Iterator[str]:
    shown = [each for each in command.params if each.name not in LEFT_OUT and not each.hidden]
    if shown:
        yield from _table("argument, option | means | default", map(_option, shown))


def _option(option: Any) -> Sequence[str]:
    names = f"`{_metavar(option)}`" if option.param_type_name == "argument" else _spelled(option)
    default = option.default
    if option.required:
        return names, option.help or "", "*required*"
    plain = default not in (None, False, ()) and not callable(default)
    return names, option.help or "", f"`{default}`" if plain else ""


def _metavar(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name} …" if argument.nargs != 1 else name
    return name if argument.required else f"[{name}]"


def _spelled(option: Any) -> str:
    names = ", ".join(f"`{each}`" for each in [*option.opts, *option.secondary_opts])
    if option.is_flag:
        return names
    kind = option.metavar or _kind(option.type_descriptor.annotation)
    limits = [_limit(SIGNS["ge"], option.min), _limit(SIGNS["le"], option.max)]
    return f"{names} *{kind}*{_in_brackets(limits)}"


def settings() -> Iterator[str]:
    """Each setting under the heading that it has in the code."""
    yield from _begin("Settings", "settings")
    for heading, names in _sections():
        yield from ("", f"## {heading}", "")
        rows = [_setting(Settings, name) for name in names]
        yield from _table("setting | kind | default | means", rows)
    for name, field in Settings.model_fields.items():
        for kind in _models(field.annotation):
            yield from ("", f"## In `{name}`", "")
            rows = [_setting(kind, each) for each in kind.model_fields]
            yield from _table("field | kind | default | means", rows)


def _sections() -> Iterator[tuple[str, list[str]]]:
    heading, names = "", list[str]()
    for line in SOURCE.read_text("utf-8").partition("class Settings(")[2].splitlines():
        if found := re.match(r"    # ([A-Z].*)$", line):
            if names:
                yield heading, names
            heading, names = found[1], []
        elif (found := re.match(r"    (\w+): ", line)) and found[1] in Settings.model_fields:
            names.append(found[1])
    yield heading, names


def _setting(model: type[BaseModel], name: str) -> Sequence[str]:
    field = model.model_fields[name]
    default = "*required*" if field.is_required() else f"`{_default(field)}`"
    limits = [
        _limit(sign, getattr(each, key, None))
        for each in field.metadata
        for key, sign in SIGNS.items()
    ]
    patterns = [getattr(each, "pattern", None) for each in field.metadata]
    limits += [f"`{pattern}`" for pattern in patterns if pattern]
    kind = _kind(field.annotation) + _in_brackets(limits)
    return f"`{name}`", kind, default, _said_of_fields(model)[name]


@functools.cache
def _said_of_fields(model: type[BaseModel]) -> dict[str, str]:
    """What stands below each field. (pydantic can read this too, at each start of a process.)"""
    (body,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(body, ast.ClassDef)
    said = {}
    for field, below in itertools.pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            is_text = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            said[field.target.id] = str(below.value.value) if is_text else ""
    return said


def _limit(sign: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{sign} {value:,}" if isinstance(value, int) else f"{sign} {value}"


def _in_brackets(limits: Iterable[str]) -> str:
    said = ", ".join(filter(None, limits))
    return f" ({said})" if said else ""


def _kind(annotation: Any) -> str:
    text = annotation.__name__ if inspect.isclass(annotation) else str(annotation)
    text = re.sub(r"typing\.Annotated\[([\w.]+), .*?\)\]", r"\1", text)
    return re.sub(r"\b(?:[a-z_]+\.)+(?=\w)", "", text).replace("NoneType", "None")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value) if value != "" else '""'


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)


def operations() -> Iterator[str]:
    """Each operation of REST, by what it is about."""
    yield from _begin("Operations of REST", "operations")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        openapi()
    tags: dict[str, list[Sequence[str]]] = {}
    for path, methods in json.loads(printed.getvalue())["paths"].items():
        for method, operation in methods.items():
            rows = tags.setdefault((operation.get("tags") or ["others"])[0], [])
            rows.append(_operation(f"{method.upper()} {path}", operation))
    for tag, rows in tags.items():
        yield from ("", f"## {tag.capitalize()}", "")
        yield from _table("operation | does | parameters | answers", rows)


def _operation(name: str, operation: Mapping[str, Any]) -> Sequence[str]:
    says = (operation.get("description") or operation["summary"]).split("\n\n")[0]
    given = [
        f"`{each['name']}`" for each in operation.get("parameters", []) if each["in"] != "path"
    ]
    answers = [each for each in operation["responses"] if each not in USUAL_STATUSES]
    return f"`{name}`", says, ", ".join(given) or "–", ", ".join(answers)


def problems() -> Iterator[str]:
    """Each kind of error with its codes and what to do."""
    yield from _begin("Errors", "errors")
    yield from ("", "## Kinds", "")
    kinds = _kinds(errors.OrchestratorError)
    yield from _table("kind | HTTP | exit code | means | what to do", map(_problem, kinds))
    yield from ("", "## HTTP statuses besides", "")
    rows = [
        (str(status), f"`/problems/{_slug(status)}`", text)
        for status, text in TEXTS["statuses"].items()
    ]
    yield from _table("status | problem | what to do", rows)
    yield from ("", "## Exit codes", "")
    yield from _table(
        "code | means", [(str(code), text) for code, text in TEXTS["exit_codes"].items()]
    )
    yield from ("", "## Why a run is escalated", "", TEXTS["intro"]["escalations"], "")
    yield from _table(
        "reason | severity | decide within | what to do", map(_reason, EscalationReason)
    )
    yield from (
        "",
        "What `orchestrator workflows check` finds, rule by rule: [checks](../checks.md).",
    )


def _problem(kind: type[Exception]) -> Sequence[str]:
    means = (inspect.getdoc(kind) or "").split("\n\n")[0]
    name, what_to_do = f"`{kind.__name__}`", TEXTS["kinds"][kind.__name__]
    if issubclass(kind, errors.StepError | errors.StaleOwner):
        return name, "–", "–", means, what_to_do
    one = kind.__new__(kind)  # its class says it all; constructors want more
    return name, str(status_of(one)), str(exit_code_of(one)), means, what_to_do


def _reason(reason: EscalationReason) -> Sequence[str]:
    severity = SEVERITIES[reason]
    return f"`{reason}`", severity, f"{DUE_MINUTES[severity]:,g} min", TEXTS["reasons"][reason]


def _kinds(base: type[Exception]) -> Iterator[type[Exception]]:
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
            yield from _kinds(kind)


def _slug(status: int) -> str:
    return HTTPStatus(status).phrase.lower().replace(" ", "-")


def _begin(title: str, intro: str) -> Iterator[str]:
    yield from (f"# {title}", "", TEXTS["intro"][intro])


def _table(head: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield from (f"| {head} |", "|" + "---|" * (head.count("|") + 1))
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in rows)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


PAGES = {
    "cli.md": commands, "settings.md": settings, "rest.md": operations, "errors.md": problems,
}  # fmt: skip


def main() -> None:
    """Rewrite the pages, or with --check end with 1 when one would change."""
    FOLDER.mkdir(exist_ok=True)
    for name, lines in PAGES.items():
        page, text = FOLDER / name, HEAD + "\n".join(lines()) + "\n"
        if "--check" not in sys.argv:
            page.write_text(text, "utf-8")
        elif not page.is_file() or page.read_text("utf-8") != text:
            sys.exit(
                f"docs/reference/{name} is not as the code; run: python docs/reference_pages.py"
            )


if __name__ == "__main__":
    main()
