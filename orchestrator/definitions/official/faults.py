"""What a JSON schema does not take of a document, in the words of this house.

A validator says that a value is "not valid under any of the given schemas"; here the one that was
meant is looked up, and what it misses is said: place, found, wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.definitions.problems import Path, shown

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

_TYPES = {
    "string": "a text", "object": "an object", "array": "an array", "number": "a number",
    "integer": "a whole number", "boolean": "true or false", "null": "null",
}  # fmt: skip
_BRANCHING = ("oneOf", "anyOf")
_NESTED = (*_BRANCHING, "allOf", "then")
_LONGEST = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that a schema does not take."""

    path: Path
    found: str
    wanted: str
    missing: str | None = None  # the field that is not there
    broad: bool = False  # about all that stands below: who says more there says the same


def faults_of(validator: Draft202012Validator, value: Any) -> Iterator[Fault]:
    """Everything that the schema does not take, each once."""
    seen: set[Fault] = set()
    for error in validator.iter_errors(value):
        for fault in _faults(validator, error):
            if fault not in seen:
                seen.add(fault)
                yield fault


def _faults(validator: Draft202012Validator, error: ValidationError) -> Iterator[Fault]:
    path = tuple(error.absolute_path)
    match error.validator:
        case "oneOf" | "anyOf":
            yield from _of_branches(validator, error, path)
        case "unevaluatedProperties":
            yield from _unknown_fields(validator, error, path)
        case "required" | "dependentRequired":
            name = _missing(error)
            yield Fault(path=path, found=f"no {name}", wanted=f"the field {name}", missing=name)
        case "uniqueItems":
            yield Fault(path=path, found="the same item twice", wanted="each once", broad=True)
        case "minItems":
            yield Fault(path=path, found=shown(error.instance), wanted="at least one item")
        case _:
            yield Fault(path=path, found=shown(error.instance), wanted=_wanted(error))


def _wanted(error: ValidationError) -> str:
    value: Any = error.validator_value
    match error.validator:
        case "type" if "required" in error.absolute_path and isinstance(error.instance, bool):
            return "the names of what is required, as an array beside `properties`"
        case "type":
            return " or ".join(_TYPES[name] for name in _listed(value))
        case "enum":
            return "one of: " + ", ".join(map(str, value))
        case "const":
            return str(value)
        case "pattern":
            return f"a text like {value}"
        case "minimum":
            return f"a number of at least {value}"
        case _:
            return error.message[:_LONGEST]


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


def _missing(error: ValidationError) -> str:
    """The validator makes one error for each name; only its text says which."""
    wanted: Any = error.validator_value
    if isinstance(wanted, Mapping):  # of dependentRequired
        wanted = [name for names in wanted.values() for name in names]
    return next(
        (str(name) for name in wanted if error.message.startswith(f"{name!r} is")),
        "",
    )


# --- one of several -------------------------------------------------------------------------------


def _of_branches(
    validator: Draft202012Validator, error: ValidationError, path: Path
) -> Iterator[Fault]:
    """Those of the branch that was most likely meant."""
    value: Any = error.instance
    kinds: Any = error.validator_value
    if all(set(kind) == {"required"} for kind in kinds):  # one of these fields, and only one
        fields = [str(name) for kind in kinds for name in kind["required"]]
        if not isinstance(value, Mapping):
            return  # its type is another fault
        there = [name for name in fields if name in value]
        wanted = ("one of: " if there else "one of the fields: ") + ", ".join(fields)
        found = " and ".join(there) or "none of them"
        yield Fault(path=path, found=found, wanted=wanted, broad=True)
        return
    branches: dict[int, list[ValidationError]] = {}
    for inner in error.context or ():
        branches.setdefault(int(inner.relative_schema_path[0]), []).append(inner)
    read = [
        ([fault for inner in errors for fault in _faults(validator, inner)], number)
        for number, errors in branches.items()
    ]
    meant = [(_distance(found, path), number, found) for found, number in read if found]
    if not meant:  # it fits more than one of them
        yield Fault(path=path, found=shown(error.instance), wanted="one kind only", broad=True)
        return
    yield from min(meant, key=lambda each: each[:2])[2]


def _distance(faults: Sequence[Fault], path: Path) -> tuple[int, int, int]:
    """How far a value is from one kind: not even its type, its fields, then all the rest."""
    return (
        sum(fault.path == path and fault.missing is None and not fault.broad for fault in faults),
        sum(len(fault.path) <= len(path) + 1 for fault in faults),
        len(faults),
    )


# --- fields that mean nothing ---------------------------------------------------------------------


def _unknown_fields(
    validator: Draft202012Validator, error: ValidationError, path: Path
) -> Iterator[Fault]:
    """One for each. A field with a fault of its own counts as unknown for the validator as well."""
    fields: Any = error.instance
    known = sorted(_names(validator, error.schema, depth=0))
    for name in fields:
        if name not in known and not str(name).startswith("x-"):
            wanted = "one of: " + ", ".join(known)
            yield Fault(path=(*path, str(name)), found=f"the field {name}", wanted=wanted)


def _names(validator: Draft202012Validator, schema: Any, depth: int) -> set[str]:
    """Of all fields that an object of the schema may have."""
    if not isinstance(schema, Mapping) or depth > 10:
        return set()
    found = set(schema.get("properties", ()))
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        root: Any = validator.schema
        definition = root["$defs"][reference.removeprefix("#/$defs/")]
        found |= _names(validator, definition, depth + 1)
    for keyword in _NESTED:
        branches = schema.get(keyword, ())
        for branch in branches if isinstance(branches, list) else [branches]:
            found |= _names(validator, branch, depth + 1)
    return found
