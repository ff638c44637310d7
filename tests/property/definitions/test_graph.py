"""What a graph of steps says, beside what walking along every way finds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.definitions.graph import END, Edge, Graph, members, set_of


@st.composite
def edges(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    count = draw(st.integers(1, 5))
    step = st.integers(0, count - 1)
    one = st.builds(Edge, step, step | st.just(END), st.booleans())
    return count, draw(st.lists(one, max_size=10))


def walked(ways: list[Edge]) -> set[tuple[int, int]]:
    """Every step, or the end, with every set of what has landed when it begins."""
    seen, todo = {(0, 0)}, [(0, 0)]
    while todo:
        step, known = todo.pop()
        for edge in (each for each in ways if each.start == step):
            state = (edge.to, known | (1 << step if edge.landed else 0))
            if state not in seen:
                seen.add(state)
                todo.append(state)
    return seen


@given(edges())
def test_it_says_what_walking_finds(made: tuple[int, list[Edge]]) -> None:
    count, ways = made
    graph, states = Graph(count, ways), walked(ways)
    assert graph.reached == {step for step, _ in states} - {END}
    for step in {step for step, _ in states}:
        sets = [members(known) for at, known in states if at == step]
        assert members(graph.surely(step)) == set.intersection(*sets)
        assert members(graph.perhaps(step)) == set.union(*sets)
    for step in range(count):
        onward = {to for to in (*range(count), END) if _leads(ways, step, to)}
        assert all(graph.leads(step, to) is (to in onward) for to in range(count))
        assert (step in graph.endless()) is (step in graph.reached and END not in onward)


def _leads(ways: list[Edge], start: int, to: int) -> bool:
    seen, todo = set[int](), [start]
    while todo:
        at = todo.pop()
        more = {edge.to for edge in ways if edge.start == at} - seen
        seen |= more
        todo += more
    return to in seen


def test_what_a_step_needs_has_landed_before_it() -> None:
    graph = Graph(3, [Edge(0, 2, False), Edge(2, END, True)], needed={2: set_of([1])})
    assert graph.reached == {0, 1, 2}
    assert (members(graph.surely(2)), members(graph.surely(END))) == ({1}, {1, 2})


def test_no_steps() -> None:
    graph = Graph(0, [])
    assert (graph.reached, graph.endless()) == (frozenset(), [])
