"""What schemas call secret: places of inputs, names of an operation's fields and parameters."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from orchestrator.core.redaction import at_paths, is_secret_name, path_of

Path = tuple[str, ...]
_DEEPEST = 8
MOST_PARTS = 2_000
"""Of one operation's schemas. What a larger one says after that is not looked at."""


def is_secret_schema(part: Mapping[str, Any]) -> bool:
    """Whether a schema says that its value is secret: shown to nobody, or never read back."""
    return part.get("format") == "password" or part.get("writeOnly") is True


def secret_names(definition: Mapping[str, Any], follow: Callable[[Any], Any]) -> tuple[str, ...]:
    """Sorted, of an operation with the parameters of its path: `follow` resolves references.

    By name and not by place, since answers and requests repeat each other's fields; the nearest
    schemas first.
    """
    found: set[str] = set()
    for raw in definition.get("parameters", ()):
        parameter = follow(raw)
        if isinstance(parameter, Mapping) and "name" in parameter:
            schema = follow(parameter.get("schema", parameter))
            if isinstance(schema, Mapping) and is_secret_schema(schema):
                found.add(str(parameter["name"]))
    bodies = [raw for raw in definition.get("parameters", ()) if isinstance(raw, Mapping)]
    queue = deque([definition.get("requestBody"), definition.get("responses"), *bodies])
    seen: set[int] = set()
    while queue and len(seen) < MOST_PARTS:
        part = follow(queue.popleft())
        if isinstance(part, Mapping) and id(part) not in seen:
            seen.add(id(part))
            found |= _secret_properties(part, follow)
            queue += _inside(part)
        elif isinstance(part, list):
            queue += part
    return tuple(sorted(found))


def _secret_properties(part: Mapping[str, Any], follow: Callable[[Any], Any]) -> set[str]:
    properties = part.get("properties")
    if not isinstance(properties, Mapping):
        return set()
    resolved = ((str(name), follow(child)) for name, child in properties.items())
    return {name for name, child in resolved if _is_secret(child)}


def _is_secret(schema: Any) -> bool:
    return isinstance(schema, Mapping) and is_secret_schema(schema)


def _inside(part: Mapping[str, Any]) -> Iterable[Any]:
    """What a schema, body or answer holds; examples are values and hold no schemas."""
    return (
        value for name, value in part.items()
        if name not in ("example", "examples", "default", "enum", "headers", "links")
        and isinstance(value, Mapping | list)
    )  # fmt: skip


def secret_paths(schema: Any, names: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
    """Places of a schema's values that are secret, by its word or by their names.

    `names`, in lower case, are so besides the usual ones. References lead within the schema.
    """
    root = schema if isinstance(schema, Mapping) else {}
    queue: deque[tuple[Any, Path]] = deque([(root, ())])
    seen: set[tuple[int, Path]] = set()  # schemas may lead to themselves
    while queue and len(seen) < MOST_PARTS:
        part, at = queue.popleft()
        part = _within(root, part)
        if not isinstance(part, Mapping) or len(at) > _DEEPEST or (id(part), at) in seen:
            continue
        seen.add((id(part), at))
        if at and is_secret_schema(part):
            yield at
            continue
        for name, child in _mapping(part.get("properties")).items():
            if is_secret_name(name) or name.lower() in names:
                yield (*at, name)
            else:
                queue.append((child, (*at, name)))
        queue += [(part.get(each), (*at, "*")) for each in ("items", "additionalProperties")]
        parts = [part.get(keyword) for keyword in ("allOf", "anyOf", "oneOf")]
        queue += [(child, at) for part in parts if isinstance(part, list) for child in part]


def _within(root: Mapping[str, Any], part: Any) -> Any:
    reference = part.get("$ref") if isinstance(part, Mapping) else None
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return part
    return next(at_paths(root, [path_of(reference[1:])]), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
