"""The story of one run, from what all witnesses say, in order of time."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.testing.ids import EPOCH
from tests.faults.checker.stories import Story
from tests.faults.simulation.house import House

_BEGIN = EPOCH.timestamp()


def timeline(house: House, story: Story) -> list[str]:
    """Lines: virtual seconds, witness, what it says."""
    run_id = "" if story.run is None else story.run.id
    told = [*_api(story), *_audit(story)]
    if house.tale is not None:
        told += [
            (at, "house", "  ".join(words)) for at, words in house.tale.about(story.name, run_id)
        ]
    told.sort(key=lambda line: line[0])
    return [
        f"the story of {story.name} ({run_id}):",
        *(f"{at:9.3f}  {witness:5}  {what}" for at, witness, what in told),
    ]


def _api(story: Story) -> Iterator[tuple[float, str, str]]:
    for request in story.requests:
        asks = "? " if request.question else ""
        became = f"fault={request.fault} status={request.status} applied={request.applied}"
        what = f"request {request.number}: {asks}{request.direction} {request.step} {became}"
        yield request.at - _BEGIN, "api", what
    for effect in story.effects:
        what = f"EFFECT {effect.direction} {effect.step} (request {effect.request})"
        yield effect.at - _BEGIN, "api", what


def _audit(story: Story) -> Iterator[tuple[float, str, str]]:
    for record in story.audit:
        events = [event.get("event") for event in record.data.get("events", ())]
        data = {name: value for name, value in record.data.items() if name != "events"}
        said = f"{record.seq}. {record.kind} by {record.actor[-6:]} {data} {events}"
        yield record.at - _BEGIN, "audit", said
