"""`x-parallel` of a workflow: which of its steps are branches of blocks.

    x-parallel:
      - block: fan
        fail: fast                       or collect
        branches:
          pay: [charge, receipt]         steps by their ids, or other blocks
          stock: [reserve]

The steps stand in `steps` as ever, those of one block together, and those of one branch in its
order: whoever does not know the extension runs them one after the other, which does the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.definitions.arazzo_parts import ID, identifier
from orchestrator.definitions.blocks import Fail
from orchestrator.definitions.cursor import Cursor


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch, with its steps and blocks in their order."""

    name: str
    at: Cursor
    entries: tuple[Cursor | Block, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A block where it stands."""

    id: str
    at: Cursor
    fail: Fail
    branches: tuple[Branch, ...]

    def items(self) -> Iterator[Cursor]:
        """All its steps, those of blocks in it as well."""
        for branch in self.branches:
            yield from items_of(branch.entries)


Entry = Cursor | Block


def items_of(entries: Sequence[Entry]) -> Iterator[Cursor]:
    """The steps of a chain, those in its blocks as well."""
    for entry in entries:
        if isinstance(entry, Block):
            yield from entry.items()
        else:
            yield entry


def entries_of(at: Cursor, items: Sequence[Cursor]) -> list[Entry]:
    """The steps of a workflow as a chain with blocks in it; what is wrong is noted."""
    return _Reader(items).read(at) if at.has("x-parallel") else list(items)


@dataclass(slots=True)
class _Reader:
    """Reads the blocks of one workflow."""

    items: Sequence[Cursor]
    _places: dict[str, int] = field(default_factory=dict)  # of steps, by id
    _given: dict[str, Cursor] = field(default_factory=dict)  # blocks by id, as written
    _taken: set[str] = field(default_factory=set)  # names that stand in a branch
    _open: list[str] = field(default_factory=list)  # blocks that are being read

    def read(self, at: Cursor) -> list[Entry]:
        self._places = {str(item.value.get("stepId")): n for n, item in enumerate(self.items)}
        for item in at.items("x-parallel"):
            self._name(item)
        inner = {name for item in self._given.values() for name in _names(item)}
        outermost = [self._block(name) for name in self._given if name not in inner]
        for name in self._given.keys() - {block.id for block in outermost} - self._taken:
            self._given[name].bad("blocks that do not stand in each other", found=name)
        begins = {self._first(block): block for block in outermost if self._is_whole(block)}
        within = {id(item) for block in begins.values() for item in block.items()}
        found: list[Entry] = []
        for place, item in enumerate(self.items):
            if place in begins:
                found.append(begins[place])
            elif id(item) not in within:
                found.append(item)
        return found

    def _name(self, item: Cursor) -> None:
        if not item.is_object():
            return
        item.only({"block", "fail", "branches"})
        name = identifier(item, "block")
        if name in self._places or name in self._given:
            item.child("block", name).bad("an id that no step and no other block has")
        elif name:
            self._given[name] = item

    def _block(self, name: str) -> Block:
        item = self._given[name]
        self._open.append(name)
        fail = Fail(item.choice("fail", tuple(Fail)) or Fail.FAST)
        if not item.has("branches"):
            item.bad("branches: names, each with the steps of one branch", found="no branches")
        branches = []
        for branch, at in item.entries("branches"):
            if not ID.fullmatch(branch):
                at.bad("a name of letters, digits, - and _, at most 100", found=branch)
            elif isinstance(at.value, list) and at.value:
                branches.append(Branch(branch, at, tuple(self._entries(at))))
            else:
                at.bad("an array of at least one stepId")
        self._open.pop()
        return Block(name, item, fail, tuple(branches))

    def _entries(self, at: Cursor) -> Iterator[Entry]:
        latest = -1
        for index, value in enumerate(at.value):
            one, name = at.child(index, value), str(value)
            if name in self._taken or name in self._open:
                one.bad("a step or block that stands in no other branch")
            elif name in self._given:
                self._taken.add(name)
                block = self._block(name)
                latest = self._in_order(one, latest, self._first(block))
                yield block
            elif name in self._places:
                self._taken.add(name)
                latest = self._in_order(one, latest, self._places[name])
                yield self.items[self._places[name]]
            else:
                one.bad("the stepId of a step of this workflow, or the id of a block")

    def _in_order(self, one: Cursor, latest: int, place: int) -> int:
        if place < latest:
            one.bad("the order in which they stand in steps", found=f"{one.value} out of it")
        return max(latest, place)

    def _places_of(self, block: Block) -> list[int]:
        return sorted(self._places[str(item.value.get("stepId"))] for item in block.items())

    def _first(self, block: Block) -> int:
        return min(self._places_of(block), default=-1)

    def _is_whole(self, block: Block) -> bool:
        """Whether its steps stand together."""
        places = self._places_of(block)
        if not places:
            return False  # which is noted
        between = set(range(places[0], places[-1] + 1)) - set(places)
        if between:
            names = ", ".join(str(self.items[n].value.get("stepId")) for n in sorted(between))
            block.at.bad(
                "steps of a block that follow each other", found=f"{names} between its steps"
            )
        return not between


def _names(item: Cursor) -> Iterator[str]:
    branches = item.value.get("branches")
    for names in branches.values() if isinstance(branches, Mapping) else ():
        yield from map(str, names if isinstance(names, list) else ())
