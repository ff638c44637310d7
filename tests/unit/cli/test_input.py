"""What people type, as inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli.input import parse_inputs, read_lines
from orchestrator.errors import InvalidInput, NotFound


def test_values_are_json_where_they_are_json() -> None:
    inputs = parse_inputs(["item=book", "quantity=2", 'code="7"', "gift=true", "note="], None)
    assert inputs == {"item": "book", "quantity": 2, "code": "7", "gift": True, "note": ""}


def test_single_inputs_go_over_the_document() -> None:
    assert parse_inputs(["a=1"], '{"a": 0, "b": 2}') == {"a": 1, "b": 2}


@pytest.mark.parametrize("pairs", [["no-equals"], ["=value"]])
def test_a_pair_without_a_name_is_refused(pairs: list[str]) -> None:
    with pytest.raises(InvalidInput, match="name=value"):
        parse_inputs(pairs, None)


@pytest.mark.parametrize("document", ["{", "[1]", "3"])
def test_a_document_that_is_no_object_is_refused(document: str) -> None:
    with pytest.raises(InvalidInput, match="JSON object"):
        parse_inputs([], document)


def write(folder: Path, *lines: object) -> Path:
    path = folder / "runs.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts) + "\n")
    return path


def test_lines_of_a_file(tmp_path: Path) -> None:
    given = {"inputs": {"a": 1}, "idempotency_key": "k", "tenant": "acme", "priority": 5}
    path = write(tmp_path, given, "", {"inputs": {"a": 1}})
    first, second = read_lines(path)
    assert (first.idempotency_key, first.tenant, first.priority) == ("k", "acme", 5)
    assert second.place == "runs.jsonl, line 3"


def test_the_same_file_gives_the_same_keys_and_each_line_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, {"inputs": {}}, {"inputs": {}})
    keys = [line.idempotency_key for line in read_lines(path)]
    assert keys == [line.idempotency_key for line in read_lines(path)]
    assert len(set(keys)) == 2
    again = [line.idempotency_key for line in read_lines(path, key_prefix="again-")]
    assert again == [f"again-{key}" for key in keys]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("nonsense", "line 1"),
        ("[1]", "JSON object"),
        ({"input": {}}, "only attributes, idempotency_key, inputs"),
        ({"inputs": [1]}, "an object"),
        ({"inputs": {}, "priority": "high"}, "int"),
        ({"inputs": {}, "tenant": 3}, "str"),
        ({"inputs": {}, "attributes": ["a"]}, "dict"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: object, wanted: str) -> None:
    with pytest.raises(InvalidInput, match=wanted):
        list(read_lines(write(tmp_path, line)))


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        list(read_lines(tmp_path / "absent.jsonl"))
