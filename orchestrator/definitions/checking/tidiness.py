"""What is there and nothing uses."""

from __future__ import annotations

import json
import re

from orchestrator.definitions.checking.noting import Notes
from orchestrator.definitions.checking.reading import Flow, ReadDocument


def check_tidiness(read: ReadDocument, notes: Notes) -> None:
    """Inputs and components that nothing refers to."""
    for flow in read.flows:
        _unused_inputs(flow, notes)
    text = _text(read.root.value)
    components = read.root.get("components")
    if components is None or not isinstance(components.value, dict):
        return
    for kind in components.value:
        for name, at in components.entries(str(kind)):
            used = f'"$components.{kind}.{name}"' in text or f'"#/components/{kind}/{name}"' in text
            if not used and not str(kind).startswith("x-"):
                notes.add("unused-component", at, f"{kind}/{name}", "a reference to it, or nothing")


def _unused_inputs(flow: Flow, notes: Notes) -> None:
    inputs = flow.at.get("inputs")
    if inputs is None or not isinstance(inputs.value, dict):
        return
    text = _text({key: value for key, value in flow.at.value.items() if key != "inputs"})
    names = [name for name, _ in inputs.entries("properties")]
    if not names or re.search(r"\$inputs(?![.\w])", text):  # all of them, as a whole
        return
    for name, at in inputs.entries("properties"):
        if not re.search(rf"\$inputs\.{re.escape(name)}(?![\w-])", text):
            notes.add("unused-input", at, f"the input {name}", "a use of it, or nothing")


def _text(value: object) -> str:
    """Compact JSON in which references can be searched for."""
    return json.dumps(value, ensure_ascii=False, default=str)
