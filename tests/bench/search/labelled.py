"""The labelled intents, and how well a finder does on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.ports.finding import About, Finder, Fit

DATA = Path(__file__).parents[2] / "data" / "search"
LOOKED_AT = 5
KINDS = ("plain", "oblique")


@dataclass(frozen=True, kw_only=True, slots=True)
class Intent:
    """What somebody wants, and the workflows that do it; none where nothing does."""

    want: str
    finds: frozenset[str]
    kind: str
    tuning: bool  # looked at while weights were chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How well intents were answered; parts of 1."""

    intents: int
    recall_at_5: float  # one of the workflows that do it is among the first five
    mrr: float  # one by the place of the first of them; 0 beyond the first twenty
    refused: float  # nothing was found at all


def workflows(path: Path = DATA / "workflows.yaml") -> list[About]:
    """What a search sees of each."""
    documents = _read(path)["documents"]
    return [_about(each, item["api"]) for item in documents for each in item["workflows"]]


def intents(path: Path = DATA / "intents.yaml") -> list[Intent]:
    """All of them, with those that nothing does."""
    read = _read(path)
    found = [
        Intent(
            want=item["want"], finds=frozenset(item["finds"]), kind=kind, tuning=place % 2 == 0
        )
        for kind in KINDS
        for place, item in enumerate(read[kind])
    ]  # fmt: skip
    none = [
        Intent(want=want, finds=frozenset(), kind="none", tuning=place % 2 == 0)
        for place, want in enumerate(read["none"])
    ]
    return found + none


def ask(finder: Finder, wanted: Iterable[Intent]) -> dict[Intent, list[Fit]]:
    """The first twenty of each."""
    return {each: finder.find(each.want, limit=20, allowed=lambda _: True) for each in wanted}


def score(answers: Mapping[Intent, Sequence[Fit]]) -> Score:
    """Sum up."""
    count = max(1, len(answers))
    places = [_place(intent, found) for intent, found in answers.items()]
    return Score(
        intents=len(answers),
        recall_at_5=sum(place < LOOKED_AT for place in places if place is not None) / count,
        mrr=sum(1 / (place + 1) for place in places if place is not None) / count,
        refused=sum(not found for found in answers.values()) / count,
    )


def scores(answers: Mapping[Intent, Sequence[Fit]]) -> dict[str, Score]:
    """Of all together, of each half, of each kind, and of those that nothing does."""
    chosen: Mapping[str, Callable[[Intent], bool]] = {
        "all": lambda each: each.kind != "none",
        "tuning": lambda each: each.kind != "none" and each.tuning,
        "held_out": lambda each: each.kind != "none" and not each.tuning,
        **{kind: lambda each, kind=kind: each.kind == kind for kind in KINDS},
        "plain_held_out": lambda each: each.kind == "plain" and not each.tuning,
        "oblique_held_out": lambda each: each.kind == "oblique" and not each.tuning,
        "none_tuning": lambda each: each.kind == "none" and each.tuning,
        "none_held_out": lambda each: each.kind == "none" and not each.tuning,
    }
    return {
        name: score({each: found for each, found in answers.items() if wanted(each)})
        for name, wanted in chosen.items()
    }


def _place(intent: Intent, found: Sequence[Fit]) -> int | None:
    return next((place for place, fit in enumerate(found) if fit.name in intent.finds), None)


def _about(item: Mapping[str, Any], api: str) -> About:
    steps: Sequence[Mapping[str, Any]] = item["steps"]
    given = item.get("inputs", [])
    return About(
        name=item["name"], title=item["title"], description=item.get("description", ""), apis=api,
        steps=" ".join(f"{step['id']} {step.get('description', '')}" for step in steps),
        operations=" ".join(_operation(step) for step in steps),
        inputs=" ".join(
            [f"{name} {told or ''}" for name, told in given.items()]
            if isinstance(given, Mapping) else given
        ),
        outputs=" ".join(item.get("outputs", [])),
    )  # fmt: skip


def _operation(step: Mapping[str, Any]) -> str:
    return " ".join([step["operation"], step.get("summary", ""), *step.get("tags", ())])


def _read(path: Path) -> Any:
    return yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
