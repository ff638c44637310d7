"""One change of a setting, made in the text of a workflow document or of an API's file.

All else stays as it is, to the byte, so that the difference is what a person would have written.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.core.insights import Change
from orchestrator.definitions.document import Document
from orchestrator.definitions.editing import CannotEdit, Editor
from orchestrator.definitions.problems import Path

AGAIN = {"name": "again", "type": "retry", "retryAfter": 0.5, "retryLimit": 7}
"""What holds of an undo that says nothing of retries (see `core/retry`), as far as Arazzo can."""


def amended_document(document: Document, workflow: str, change: Change) -> str:
    """The workflow document's new text. Raises CannotEdit where a person has to write it."""
    path = _step(document.value, workflow, change.step)
    at = _at(document.value, path)
    if change.undo:
        path = (*path, "x-compensation")
        at = at.get("x-compensation")
    if not isinstance(at, Mapping):
        raise CannotEdit(f"{change.step} has no x-compensation of its own")
    how = _HOW.get(change.field.split()[0])
    if how is None or change.value is None:
        raise CannotEdit(f"{change.field} is for somebody to write who knows the API")
    editor = Editor(document.text)
    how(editor, path, at, change)
    return editor.text


def amended_api(text: str, change: Change) -> str:
    """The new text of an API's file; of an API without one (""), a new file. Raises CannotEdit."""
    group, _, field = change.field.partition(".")
    value = _plain(change.value)
    if not text:
        return f"api: {change.api}\n{group}: " + (f"{{{field}: {value}}}\n" if field
                                                  else f"{value}\n")  # fmt: skip
    editor = Editor(text)
    editor.put((), group, {field: value} if field else value)
    return editor.text


def amended_responses(document: Document, change: Change) -> str:
    """The new text of an API's own document. Raises CannotEdit."""
    method, _, path = change.operation.partition(" ")
    at = ("paths", path, method.lower(), "responses")
    try:
        responses = _at(document.value, at)
    except (KeyError, TypeError):
        raise CannotEdit(f"{document.name} describes {change.operation} elsewhere") from None
    if not isinstance(responses, Mapping) or "$ref" in responses:
        raise CannotEdit(f"the answers of {change.operation} stand elsewhere")
    editor = Editor(document.text)
    for status in str(change.value).split(", "):
        editor.put(at, status, {"description": "Answered, and not documented before."})
    return editor.text


def unified(name: str, before: str, after: str) -> str:
    """The difference, as `git apply` and `patch -p1` take it. `name`: of the file, with slashes."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True),
        f"a/{name}" if before else "/dev/null", f"b/{name}",
    )  # fmt: skip
    told = []
    for line in lines:
        told.append(line)
        if not line.endswith("\n"):  # the file's last line
            told.append("\n\\ No newline at end of file\n")
    return "".join(told)


# --- places in a document -------------------------------------------------------------------------


def _step(value: Any, workflow: str, step: str) -> Path:
    """Raises CannotEdit where the document has no such step: it may be of a called workflow."""
    workflows = value.get("workflows") if isinstance(value, Mapping) else None
    for number, one in enumerate(workflows or ()):
        if one.get("workflowId") != workflow:
            continue
        for index, item in enumerate(one.get("steps", ())):
            if item.get("stepId") == step:
                return ("workflows", number, "steps", index)
    raise CannotEdit(f"the document has no step {step} in a workflow {workflow}")


def _at(value: Any, path: Path) -> Any:
    for token in path:
        value = value[token]
    return value


# --- changes --------------------------------------------------------------------------------------


def _timeout(editor: Editor, path: Path, at: Mapping[str, Any], change: Change) -> None:
    if "timeout" in at:  # of Arazzo 1.1, in milliseconds
        editor.put(path, "timeout", round(float(change.value or 0) * 1000))
    else:
        editor.put(path, "x-timeout", _plain(change.value))


def _attempts(editor: Editor, path: Path, at: Mapping[str, Any], change: Change) -> None:
    """No more after one status; after all others as it is.

    What an action with criteria names is not tried again by itself. Undos have retries alone, and
    a step that names its retries has no others.
    """
    if change.undo:
        _retries_but(editor, path, at.get("onFailure"), f"$statusCode != {change.value}")
        return
    end = {
        "name": f"in-vain-after-{change.value}", "type": "end",
        "criteria": [{"condition": f"$statusCode == {change.value}"}],
    }  # fmt: skip
    if at.get("onFailure"):
        editor.at_own(path, "onFailure")
        editor.insert((*path, "onFailure"), 0, end)
    else:
        editor.put(path, "onFailure", [end])


def _retries_but(editor: Editor, path: Path, actions: Any, condition: str) -> None:
    if not actions:
        editor.put(path, "onFailure", [AGAIN | {"criteria": [{"condition": condition}]}])
        return
    editor.at_own(path, "onFailure")
    for number, action in enumerate(actions):
        if not isinstance(action, Mapping) or "reference" in action:
            raise CannotEdit("its retries stand among the components")
        criteria = [*action.get("criteria", ()), {"condition": condition}]
        editor.put((*path, "onFailure", number), "criteria", criteria)


def _key(editor: Editor, path: Path, at: Mapping[str, Any], change: Change) -> None:
    editor.put(path, "x-idempotency", {"in": "header", "name": change.value})


_HOW: Mapping[str, Callable[[Editor, Path, Mapping[str, Any], Change], None]] = {
    "timeout": _timeout, "attempts": _attempts, "x-idempotency": _key,
}  # fmt: skip


def _plain(value: Any) -> Any:
    """Whole numbers without a point."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
