"""API configuration as YAML, with the line of each field: an error says where it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import InvalidSetting, Problem

Lines = Mapping[tuple[Any, ...], int]
"""The line of each field of a document; of () the first."""
INVALID = "the API configuration is not valid"


def read_yaml(path: Path, content: bytes | None) -> tuple[Any, Lines]:
    """The document and the line of each of its fields; its content given or read.

    Raises InvalidSetting when it is no YAML in UTF-8, or says a field twice.
    """
    try:
        text = (path.read_bytes() if content is None else content).decode("utf-8")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines = dict[tuple[Any, ...], int]({(): 1})
        _note_lines(path, node, (), lines)
        return ({} if node is None else loader.construct_document(node)), lines
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found = error.problem or "a syntax error"
        raise invalid(path, line, "document", found, "YAML") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise invalid(path, 1, "document", str(error), "YAML in UTF-8") from None


def _note_lines(
    path: Path, node: yaml.Node | None, at: tuple[Any, ...], lines: dict[tuple[Any, ...], int]
) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        field = (*at, key.value)
        line = key.start_mark.line + 1
        if field in lines:
            raise invalid(path, line, str(key.value), "a second one", "each field once")
        lines[field] = line
        _note_lines(path, value, field, lines)


def problem_at(path: Path, line: int, field: str, found: str, wanted: str) -> Problem:
    """What is wrong with a field of a file."""
    return Problem(place=f"{path}:{line}: {field}", found=found, wanted=wanted)


def invalid(path: Path, line: int, field: str, found: str, wanted: str) -> InvalidSetting:
    """The error for one thing that is wrong."""
    problem = problem_at(path, line, field, found, wanted)
    return InvalidSetting(INVALID, problems=[problem])
