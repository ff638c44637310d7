"""A function's signature as JSON schemas. Types that JSON does not have are left open."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Union, get_args, get_origin, is_typeddict

from orchestrator.errors import InvalidSetting, Problem

CONTEXT = "context"
_PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_MAX_DEPTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One keyword argument."""

    name: str
    schema: Mapping[str, Any]
    required: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Signature:
    """What a function takes and gives."""

    parameters: tuple[Parameter, ...]
    takes_any: bool  # it has **kwargs
    takes_context: bool
    result: Mapping[str, Any]
    _required: frozenset[str] = field(init=False, repr=False, compare=False)
    _known: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        context = {CONTEXT} if self.takes_context else set()
        required = frozenset(p.name for p in self.parameters if p.required)
        object.__setattr__(self, "_required", required)
        object.__setattr__(self, "_known", frozenset({p.name for p in self.parameters} | context))

    @property
    def result_names(self) -> frozenset[str] | None:
        """Names in the result, None when its type does not tell."""
        properties = self.result.get("properties")
        return None if properties is None else frozenset(properties)

    def parameter(self, name: str) -> Parameter | None:
        """The parameter with this name."""
        return next((item for item in self.parameters if item.name == name), None)

    def bind(self, arguments: Mapping[str, Any]) -> None:
        """Check that the function can be called with these. Raises TypeError."""
        given = arguments.keys()
        if self._required <= given and (self.takes_any or given <= self._known):
            return
        missing = [p.name for p in self.parameters if p.required and p.name not in arguments]
        if missing:
            raise TypeError(f"no {', '.join(missing)}")
        unknown = [name for name in arguments if name not in self._known]
        raise TypeError(f"it does not take {', '.join(unknown)}")

    def arguments_schema(self) -> dict[str, Any]:
        """JSON schema of the keyword arguments."""
        return {
            "type": "object",
            "properties": {item.name: dict(item.schema) for item in self.parameters},
            "required": [item.name for item in self.parameters if item.required],
            "additionalProperties": self.takes_any,
        }

    def result_schema(self) -> dict[str, Any]:
        """JSON schema of what it returns."""
        return dict(self.result)


def read_signature(function: Callable[..., Any]) -> Signature:
    """Read it. Raises InvalidSetting for parameters that cannot be given by name."""
    signature = inspect.signature(function)
    hints = _hints(function)
    parameters = []
    takes_any = False
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise _positional(function, str(parameter))
        if parameter.kind is parameter.VAR_KEYWORD:
            takes_any = True
        elif name != CONTEXT:
            required = parameter.default is parameter.empty
            parameters.append(
                Parameter(name=name, schema=schema_of(hints.get(name, Any)), required=required)
            )
    return Signature(
        parameters=tuple(parameters),
        takes_any=takes_any,
        takes_context=CONTEXT in signature.parameters,
        result=schema_of(hints.get("return", Any)),
    )


def _positional(function: Callable[..., Any], parameter: str) -> InvalidSetting:
    code = inspect.unwrap(function).__code__
    problem = Problem(
        place=f"{code.co_filename}:{code.co_firstlineno}", found=f"the parameter {parameter}",
        wanted="parameters that can be given by name",
    )  # fmt: skip
    return InvalidSetting(f"{function.__qualname__} cannot be a task", problems=[problem])


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # noqa: BLE001 - a hint that does not evaluate says nothing
        return {}


def schema_of(hint: Any, depth: int = 0) -> dict[str, Any]:
    """JSON schema of a type hint; {} for what it does not know."""
    if hint in _PLAIN:
        return {"type": _PLAIN[hint]}
    if depth > _MAX_DEPTH:
        return {}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [member.value for member in hint]}
    if is_typeddict(hint):
        return _object(_hints(hint), hint.__required_keys__, depth)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        required = [
            item.name for item in dataclasses.fields(hint)
            if item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
        ]  # fmt: skip
        return _object(_hints(hint), frozenset(required), depth)
    return _generic(hint, depth)


def _generic(hint: Any, depth: int) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema_of(item, depth + 1) for item in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if origin in (typing.Annotated, typing.Required, typing.NotRequired):
        return schema_of(arguments[0], depth)
    kind = origin or hint
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, Mapping):
        return {"type": "object"}
    if issubclass(kind, Sequence) and not issubclass(kind, bytes):
        items = schema_of(arguments[0], depth + 1) if len(arguments) == 1 else {}
        return {"type": "array", "items": items} if items else {"type": "array"}
    return {}


def _object(hints: Mapping[str, Any], required: frozenset[str], depth: int) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: schema_of(hint, depth + 1) for name, hint in hints.items()},
        "required": [name for name in hints if name in required],
    }
