"""The schemas as the specification's text has them: the files stay as they were published.

Each change says what the file refuses, and which words of the specification allow it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

FILES = {"1.0": "arazzo-1.0-2025-10-15.json", "1.1": "arazzo-1.1-2026-04-15.json"}
"""By the first two numbers of a document's version."""
ANY = ["string", "boolean", "object", "array", "number", "null"]


@cache
def published(version: str) -> Mapping[str, Any]:
    """A schema as it was published."""
    text = files(__package__).joinpath(FILES[version]).read_text("utf-8")
    schema: Mapping[str, Any] = json.loads(text)
    return schema


@cache
def patched(version: str) -> Mapping[str, Any]:
    """The schema that documents of a version are held against."""
    schema = copy.deepcopy(dict(published(version)))
    _say_which_schema(schema)
    if version == "1.0":
        _types_of_criteria(schema)
        _constants_as_replacements(schema)
    else:
        _objects_as_values(schema)
    return schema


def _say_which_schema(schema: dict[str, Any]) -> None:
    """`$schema` at the root tells editors what to check with; it means nothing to a run."""
    schema["properties"]["$schema"] = {"type": "string"}


def _types_of_criteria(schema: dict[str, Any]) -> None:
    """1.0 refuses `type: {type: jsonpath, version: …}`, the specification's own example.

    Its definition has the two fields in the criterion itself ("Criterion Expression Type Object" is
    what stands under `type`). The definitions of 1.1 have them where they belong.
    """
    newer = published("1.1")["$defs"]
    for name in ("criterion-object", "expression-type-object"):
        schema["$defs"][name] = newer[name]
    del schema["$defs"]["criterion-expression-type-object"]


def _constants_as_replacements(schema: dict[str, Any]) -> None:
    """1.0 wants texts, the specification "Any | {expression}", with `value: 10` as its example."""
    schema["$defs"]["payload-replacement-object"]["properties"]["value"] = {"type": ANY}


def _objects_as_values(schema: dict[str, Any]) -> None:
    """1.1 takes no other object than a selector for a parameter, no other than a text or a selector
    for a replacement; the specification has "Any | {expression} | Selector Object" for both.

    What looks like a Selector Object must still be a whole one.
    """
    fields = ["context", "selector", "type"]
    looks_like = {"required": fields[:2], "propertyNames": {"enum": fields}, "type": "object"}
    value = {"type": ANY, "if": looks_like, "then": {"$ref": "#/$defs/selector-object"}}
    for name in ("parameter-object", "payload-replacement-object"):
        schema["$defs"][name]["properties"]["value"] = value
