"""The catalogue of rules: what each finds, how grave it is, and why that matters."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.definitions.checking.report import Severity


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule. `why` says what happens to whoever does not care."""

    id: str
    severity: Severity
    title: str
    why: str


_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

_ALL = (
    # --- the document as such
    Rule(
        id="unreadable", severity=_ERROR,
        title="the document cannot be read",
        why=(
            "Nothing else can be said about it. YAML 1.2 or JSON, UTF-8, within the limits of "
            "size and nesting."
        ),
    ),
    Rule(
        id="refused", severity=_ERROR,
        title="publishing refuses this",
        why="What does not validate cannot be published, and so not run.",
    ),
    Rule(
        id="advice", severity=_WARNING,
        title="publishing warns about this",
        why="It can be published; whoever publishes it is told the same.",
    ),
    Rule(
        id="checker-failed", severity=_ERROR,
        title="the check itself failed here",
        why=(
            "A fault of the checker, not of the document. The rest of the document was not looked "
            "at."
        ),
    ),
    # --- references
    Rule(
        id="undeclared-input", severity=_ERROR,
        title="an input that is not declared",
        why=(
            "The schema of the inputs is the promise to callers; what it does not name never "
            "arrives."
        ),
    ),
    Rule(
        id="unknown-step", severity=_ERROR,
        title="a step that does not exist",
        why="The reference leads nowhere in any run.",
    ),
    Rule(
        id="unknown-workflow", severity=_ERROR,
        title="a workflow that does not exist",
        why="The reference leads nowhere in any run.",
    ),
    Rule(
        id="unknown-output", severity=_ERROR,
        title="an output that its step does not have",
        why="The reference leads nowhere in any run.",
    ),
    Rule(
        id="unknown-operation", severity=_ERROR,
        title="an operation that the API does not have",
        why="The step cannot call anything.",
    ),
    Rule(
        id="not-known-yet", severity=_ERROR,
        title="something that is not known when it is needed",
        why="No way through the workflow has given this value by then.",
    ),
    Rule(
        id="perhaps-not-known", severity=_WARNING,
        title="something that only some ways through the workflow give",
        why="On the other ways the run fails here, and undoes what it has done.",
    ),
    # --- requests
    Rule(
        id="missing-parameter", severity=_ERROR,
        title="a required parameter is missing",
        why="The API refuses the call.",
    ),
    Rule(
        id="missing-body", severity=_ERROR,
        title="a required body is missing",
        why="The API refuses the call.",
    ),
    Rule(
        id="missing-field", severity=_WARNING,
        title="a required field of the body is missing",
        why="The API refuses the call.",
    ),
    Rule(
        id="unknown-parameter", severity=_WARNING,
        title="a parameter that the operation does not declare",
        why="Most APIs ignore it in silence; often it is a misspelt one.",
    ),
    Rule(
        id="unknown-field", severity=_NOTE,
        title="a field that the body's schema does not declare",
        why="Ignored or refused, as the API likes; often it is a misspelt one.",
    ),
    Rule(
        id="type-mismatch", severity=_WARNING,
        title="a value of another type than the API takes",
        why="The API refuses the call, or takes the value for something else.",
    ),
    # --- answers
    Rule(
        id="undocumented-status", severity=_WARNING,
        title="a status that the API never documents",
        why="A criterion that waits for a status which never comes fails, or never holds.",
    ),
    Rule(
        id="impossible-criteria", severity=_WARNING,
        title="criteria that no documented status meets",
        why="Every answer of the API makes this step fail.",
    ),
    Rule(
        id="undocumented-output", severity=_WARNING,
        title="something that the answer's schema does not have",
        why="The output stays empty, and what uses it fails.",
    ),
    Rule(
        id="undocumented-header", severity=_NOTE,
        title="a header that the answer does not document",
        why="If the API does not send it, the output stays empty.",
    ),
    # --- the way through
    Rule(
        id="unreachable-step", severity=_WARNING,
        title="a step that no way leads to",
        why="It never runs, and nothing says so.",
    ),
    Rule(
        id="dead-action", severity=_WARNING,
        title="an action that is never reached",
        why="Actions are tried in order; one without criteria before it always wins.",
    ),
    Rule(
        id="endless-goto", severity=_ERROR,
        title="steps that lead back to each other without a way out",
        why="Only the bound on visits ends such a run, and then undoes it.",
    ),
    # --- safety
    Rule(
        id="effect-without-undo", severity=_WARNING,
        title="an effect that nothing undoes",
        why=(
            "When a later step fails, what this one did stays: the orphan that a saga is there to "
            "prevent."
        ),
    ),
    Rule(
        id="undo-needs-unknown", severity=_ERROR,
        title="an undo that needs what is not known when it would run",
        why="An undo runs when a later step failed; what later steps give may not exist then.",
    ),
    Rule(
        id="undo-after-pivot", severity=_ERROR,
        title="an undo after the pivot",
        why="From the pivot on a run only goes forward; it would never run.",
    ),
    Rule(
        id="undo-case-missing", severity=_WARNING,
        title="a way that a step may go for which nobody says what undoes it",
        why="A run that turns back after it stops there and waits for a person.",
    ),
    Rule(
        id="pivot-order", severity=_WARNING,
        title="what cannot be undone comes before what can",
        why=(
            "When a later step fails this effect stays. Held until the others have settled, it "
            "happens only in runs that succeed."
        ),
    ),
    Rule(
        id="in-doubt", severity=_WARNING,
        title="an effect that can be neither repeated nor verified",
        why=(
            "After a timeout or a crash nobody knows whether it happened: the run waits for a "
            "person."
        ),
    ),
    Rule(
        id="undo-by-hand", severity=_WARNING,
        title="an undo by hand",
        why=(
            "The undo runs for this one failure only, not when the run is cancelled or a later "
            "step fails; and with x-compensation beside it the same thing would be undone twice."
        ),
    ),
    Rule(
        id="retry-in-doubt", severity=_NOTE,
        title="a retry of an effect that is neither keyed nor verified",
        why=(
            "It is repeated only where the API says that nothing happened; after a timeout it "
            "goes to a person instead."
        ),
    ),
    # --- tidiness
    Rule(
        id="unused-input", severity=_NOTE,
        title="an input that nothing uses",
        why="Callers have to give it for nothing.",
    ),
    Rule(
        id="unused-component", severity=_NOTE,
        title="a component that nothing uses",
        why="It can go.",
    ),
)  # fmt: skip

RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""By id, in the order of the catalogue."""
