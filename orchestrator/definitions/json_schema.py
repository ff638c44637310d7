"""JSON Schema 2020-12, by jsonschema, which is loaded when something is really validated.

Loading it takes a second or two of a processor where rfc3987-syntax is installed (other tools may
bring it along): more than all else that a command or a worker needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from referencing import Registry

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


def closed_validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """One that refers to nothing but itself: with the default registry it would fetch."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow, see above

    return Draft202012Validator(schema, registry=Registry())


def standard_validator(schema: Mapping[str, Any] | None = None) -> Draft202012Validator:
    """One that knows JSON Schema's own documents; without a schema: of schemas themselves."""
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - slow, see above

    return Draft202012Validator(Draft202012Validator.META_SCHEMA if schema is None else schema)
