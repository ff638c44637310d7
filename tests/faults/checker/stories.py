"""One run as three witnesses tell it: what was submitted, what the API saw, what the tables say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from tests.faults.checker.tables import (
    AttemptRow,
    AuditRow,
    EscalationRow,
    LinkRow,
    RunRow,
    Tables,
)
from tests.faults.ledger.records import Effect, Exceeded, Records, Request
from tests.faults.workload import Kind, RunSeed

FINAL = frozenset({"succeeded", "compensated", "abandoned"})
SETTLED = FINAL | {"escalated"}
HAPPENED = frozenset({"landed", "resolved"})
OUTCOMES = frozenset({"landed", "pending", "failed", "unknown", "not_needed"})
CLOCKS_APART = 1.0
"""Seconds by which the clocks of two processes may differ."""


@dataclass(slots=True)
class LinkStory:
    """A step's forward action (`do`) or its undo."""

    step: str
    direction: str
    kind: Kind | None  # None: no such link in the run's workflow
    row: LinkRow | None = None
    requests: list[Request] = field(default_factory=list)  # without questions
    questions: list[Request] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    records: list[AuditRow] = field(default_factory=list)
    attempts: list[AttemptRow] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For people."""
        return self.step if self.direction == "do" else f"undo of {self.step}"

    @property
    def status(self) -> str:
        """As the table has it."""
        return "pending" if self.row is None else self.row.status

    @property
    def has_effect(self) -> bool:
        """Whether this link changes anything when it is performed."""
        return self.kind is not None and self.kind.changes

    @property
    def asks(self) -> bool:
        """Whether it waits for somebody's answer and calls nothing."""
        return self.kind is not None and self.kind.asks

    @property
    def may_not_be_repeated(self) -> bool:
        """No key is honoured there."""
        return self.kind in (Kind.VERIFIED, Kind.UNKEYED)

    def told(self, what: str) -> list[AuditRow]:
        """Its audit records `step.<what>` or `undo.<what>`."""
        return [record for record in self.records if word_of(record) == what]

    @property
    def intents(self) -> int:
        """Attempts that were begun and not withdrawn."""
        words = [word_of(record) for record in self.records]
        return words.count("begun") - words.count("withdrawn")

    @property
    def lost_intents(self) -> int:
        """Attempts that were begun and of which nothing is recorded: their worker was lost."""
        return self.intents - sum(attempt.kind == "call" for attempt in self.attempts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Act:
    """What a person did about an escalation."""

    seq: int
    at: float
    what: str  # "retried", "resolved", "skipped", "abandoned"
    link: tuple[str, str] | None  # step and direction at which the run had stopped
    landed: bool  # of "resolved": it is done; else it has certainly no effect


@dataclass
class Story:
    """A run."""

    name: str
    seed: RunSeed | None = None
    acknowledged: bool = False
    run: RunRow | None = None
    others: list[RunRow] = field(default_factory=list)  # of the same name: there must be none
    links: dict[tuple[str, str], LinkStory] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    exceeded: list[Exceeded] = field(default_factory=list)
    audit: Sequence[AuditRow] = ()
    escalations: Sequence[EscalationRow] = ()

    @property
    def status(self) -> str:
        """The run's, "" when there is no run."""
        return "" if self.run is None else self.run.status

    @property
    def settled(self) -> bool:
        """Whether the machine is through with it."""
        return self.status in SETTLED

    @cached_property
    def acts(self) -> list[Act]:
        """What persons did about its escalations, each about the latest one before it."""
        made: list[Act] = []
        stops = 0
        for record in self.audit if self.escalations else ():
            stops += record.kind == "run.escalated"
            if record.kind.startswith("operator."):
                made.append(_act(record, self.escalations[: max(stops, 1)][-1]))
        return made

    def acts_on(self, link: LinkStory) -> list[Act]:
        """Those about one link."""
        return [act for act in self.acts if act.link == (link.step, link.direction)]

    def left_to_a_person(self, link: LinkStory) -> bool:
        """Somebody vouched for it, or left it as it is."""
        return link.status in ("resolved", "skipped") and bool(self.acts_on(link))

    @cached_property
    def completed(self) -> list[str]:
        """Steps that are recorded as done or vouched for by a person, in this order."""
        vouched = {act.seq: act.link for act in self.acts if act.what == "resolved" and act.landed}
        done: dict[str, None] = {}
        for record in self.audit:
            link = vouched.get(record.seq)
            if record.kind == "step.landed":
                done.setdefault(str(record.data.get("step")))
            elif link is not None and link[1] == "do":
                done.setdefault(link[0])
        return list(done)

    @cached_property
    def steps(self) -> list[tuple[LinkStory, LinkStory]]:
        """Each step that anybody knows of, in order: its forward link and its undo."""
        names = sorted({key[0] for key in self.links}, key=lambda name: (len(name), name))
        return [(self.link(name, "do"), self.link(name, "undo")) for name in names]

    def link(self, step: str, direction: str) -> LinkStory:
        """One link, made when nobody has told of it yet."""
        known = self.links.get((step, direction))
        if known is None:
            kind = kind_of(self.seed, step, direction)
            known = self.links[step, direction] = LinkStory(step, direction, kind)
        return known


def kind_of(seed: RunSeed | None, step: str, direction: str) -> Kind | None:
    """How a link may be repeated, None when the workflow has none such."""
    number = step.removeprefix("s")
    if seed is None or not number.isdigit() or not 0 < int(number) <= len(seed.shape.steps):
        return None
    return seed.shape.steps[int(number) - 1][direction == "undo"]


def _act(record: AuditRow, letter: EscalationRow) -> Act:
    link = None if letter.step is None else (letter.step, letter.direction)
    landed = bool(record.data.get("landed", True))
    return Act(seq=record.seq, at=record.at, what=word_of(record), link=link, landed=landed)


def word_of(record: AuditRow) -> str:
    """`landed` of `step.landed`."""
    return record.kind.partition(".")[2]


def events_of(record: AuditRow) -> list[str] | None:
    """Names of what was decided on with this record, None when it does not say."""
    events = record.data.get("events")
    return None if events is None else [str(event.get("event")) for event in events]


def stories(
    seeds: Iterable[RunSeed], records: Records, tables: Tables, acknowledged: Iterable[str] | None
) -> dict[str, Story]:
    """By name: of everything that was submitted, is in the tables, or was seen by the API."""
    found = _Stories({seed.name: Story(seed.name, seed) for seed in seeds})
    for name in list(found) if acknowledged is None else acknowledged:
        found[name].acknowledged = True
    for run in tables.runs:
        _add_run(found[run.name], run, tables)
    _add_records(found, records)
    return found


class _Stories(dict[str, Story]):
    """Begins a story at the first word of it."""

    def __missing__(self, name: str) -> Story:
        self[name] = story = Story(name)
        return story


def _add_run(story: Story, run: RunRow, tables: Tables) -> None:
    if story.run is not None:
        story.others.append(run)
        return
    story.run = run
    story.audit = tables.audit.get(run.id, ())
    story.escalations = tables.escalations.get(run.id, ())
    for number in range(len(story.seed.shape.steps) if story.seed else 0):
        story.link(f"s{number + 1}", "do")
    for row in tables.links.get(run.id, ()):
        story.link(row.step, row.direction).row = row
    for attempt in tables.attempts.get(run.id, ()):
        story.link(attempt.step, attempt.direction).attempts.append(attempt)
    for record in story.audit:
        way = _WAYS.get(record.kind.partition(".")[0])
        if way is not None:
            story.link(str(record.data.get("step")), way).records.append(record)


def _add_records(found: _Stories, records: Records) -> None:
    by_number: dict[int, Request] = {}
    for request in sorted(records.requests, key=lambda request: request.number):
        by_number[request.number] = request
        story = found[request.run]
        story.requests.append(request)
        link = story.link(request.step, request.direction)
        (link.questions if request.question else link.requests).append(request)
    for effect in records.effects:
        story = found[effect.run]
        story.effects.append(effect)
        story.link(effect.step, effect.direction).effects.append(effect)
    for exceeded in records.exceeded:
        run = by_number[exceeded.request].run if exceeded.request in by_number else "?"
        found[run].exceeded.append(exceeded)


_WAYS: Mapping[str, str] = {"step": "do", "undo": "undo"}
