"""Reading YAML and JSON: plain values, lines, and limits."""

import time

import pytest

from orchestrator.definitions.document import Limits, parse_document
from orchestrator.errors import InvalidDefinition, Problem
from tests.steady import HeldStill


def refused(text: str, *, limits: Limits | None = None, with_lines: bool = True) -> Problem:
    given = limits or Limits(bytes=10**6, values=10_000)
    with pytest.raises(InvalidDefinition) as caught:
        parse_document(text, name="d.yaml", limits=given, with_lines=with_lines)
    return caught.value.problems[0]


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    text = (
        "{a: no, b: 012, c: 0x1F, d: 1.5, e: 2024-01-01, f: 12:30, g: ~, h: true, i: '1', j: .inf}"
    )
    assert parse_document(text, name="d").value == {
        "a": "no", "b": "012", "c": 31, "d": 1.5, "e": "2024-01-01", "f": "12:30", "g": None,
        "h": True, "i": "1", "j": ".inf",
    }  # fmt: skip


def test_keys_are_text() -> None:
    assert parse_document("{200: a, true: b, '<<': c}", name="d").value == {
        "200": "a", "true": "b", "<<": "c",
    }  # fmt: skip


def test_aliases_and_merge_keys() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\nlist: [*b, *b]\n"
    value = parse_document(text, name="d").value
    assert value["more"] == {"x": 1, "y": 3}
    assert value["list"] == [{"x": 1, "y": 2}] * 2


def test_places_have_lines() -> None:
    document = parse_document("a:\n  - x: 1\n    y: 2\n  - 3\n", name="d.yaml")
    assert document.place(("a", 0, "y")) == "d.yaml:3 (/a/0/y)"
    assert document.place(("a", 1)) == "d.yaml:4 (/a/1)"
    assert document.place(("a", 0, "y", "not", "there")) == "d.yaml:3 (/a/0/y/not/there)"
    assert document.place(()) == "d.yaml:1"


@pytest.mark.parametrize(
    ("text", "place", "found"),
    [
        ("a: 1\nb: 2\na: 3\n", "d.yaml:3:1", "the key 'a' a second time"),
        ("a: [1\n", "d.yaml:2:1", "did not find expected"),
        ("a: !!python/object:os.system x\n", "d.yaml:1:4", "the tag tag:yaml.org,2002:python"),
        ("? [a]\n: 1\n", "d.yaml:1:3", "a key that is not a string"),
        ("a: *b\n", "d.yaml:1:4", "*b"),
        ("a: 1\n---\nb: 2\n", "d.yaml:2:1", "a second document"),
        ("a: {<<: 5}\n", "d.yaml:1:9", "something else after"),
        ("[" * 200, "d.yaml:1:101", "deeper nesting"),
        ("a: &a [*a]\n", "d.yaml:1:8", "*a"),
    ],
)
def test_refuses_with_line_and_column(text: str, place: str, found: str) -> None:
    problem = refused(text)
    assert problem.place == place
    assert found in problem.found


def test_a_bomb_of_aliases_is_refused_before_it_is_built(held_still: HeldStill) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    started = time.monotonic()
    assert "more values" in refused("\n".join(lines)).found
    seconds = time.monotonic() - started
    held_still(seconds < 1, f"after {seconds} s")


def test_a_bomb_of_merges_is_refused_too() -> None:
    lines = ["a0: &a0 {k: v}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 50)}]}}" for n in range(1, 20)]
    assert "more values" in refused("\n".join(lines)).found


def test_json_without_lines_is_as_strict() -> None:
    assert "twice" in refused('{"a": 1, "a": 2}', with_lines=False).found
    assert refused('{"a": 1,\n "b" 2}', with_lines=False).place == "d.yaml:2:6"
    assert "nesting" in refused('{"a": ' + "[" * 100_000, with_lines=False).found


def test_json_with_lines() -> None:
    document = parse_document('{"a": [\n {"b": true}\n]}', name="d.json")
    assert document.value == {"a": [{"b": True}]}
    assert document.place(("a", 0, "b")) == "d.json:2 (/a/0/b)"
