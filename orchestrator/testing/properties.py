"""Every failure of a workflow, one by one, or any few of them together (with Hypothesis).

@pytest.mark.parametrize("failing", every_failure("order.arazzo.yaml"), ids=str)
def test_whatever_fails(lab: OpenLab, failing: Failing) -> None:
    order = lab("order.arazzo.yaml")
    order.fail_as(failing)
    assert_safe(order.run(amount=500, item="book"))
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

from orchestrator.testing.definitions import Definition, Source, read
from orchestrator.testing.faults import Failing, Fault, Link, Way

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def every_failure(
    source: Source, *, workflow: str | None = None, kinds: Sequence[Fault] = tuple(Fault),
    undos: bool = True, tasks: Sequence[str] = ("tasks",),
) -> list[Failing]:  # fmt: skip
    """Each call of a workflow (of all of a source, where none is named) with each kind of fault.

    A fault of an undo comes with a refusal of the last step, because of which the run turns back;
    the undo of that step itself is left out, since nothing after it could fail. Raises as `Lab`.
    """
    definitions, _ = read(source, tasks)
    return [
        failing
        for each in definitions
        if workflow in (None, each.name)
        for failing in _failures(each, kinds, undos=undos)
    ]


def _failures(definition: Definition, kinds: Sequence[Fault], *, undos: bool) -> Iterator[Failing]:
    links = list(definition.links())
    forward = [link for link in links if link.way is Way.DO]
    last = forward[-1] if forward else None
    pivot = next((Link(step.id) for step in definition.steps if step.pivot), None)
    if pivot in forward:  # what follows it does not lead back
        last = pivot
    for link, kind in product(links, kinds):
        if link.way is Way.DO:
            yield Failing(link=link, fault=kind)
        elif link.way is Way.UNDO and undos and last is not None and link.step != last.step:
            reason = Failing(link=last, fault=Fault.REFUSED)
            yield Failing(link=link, fault=kind, after=reason)


def failures(
    source: Source, *, workflow: str | None = None, kinds: Sequence[Fault] = tuple(Fault),
    most: int = 3, tasks: Sequence[str] = ("tasks",),
) -> SearchStrategy[list[Failing]]:  # fmt: skip
    """A Hypothesis strategy: up to `most` faults at once, each one to three times in a row.

    What an API has done it does not refuse afterwards. Needs the extra `testing`. Raises as `Lab`.
    """
    from hypothesis import strategies as st  # noqa: PLC0415 - of an extra

    ones = every_failure(source, workflow=workflow, kinds=kinds, tasks=tasks)
    one = st.builds(
        lambda each, times: replace(each, times=times),
        st.sampled_from(ones), st.integers(min_value=1, max_value=3),
    )  # fmt: skip
    return st.lists(one, max_size=most).filter(can_happen)


def can_happen(failing: Sequence[Failing]) -> bool:
    """Whether no call is refused for good that an API has done before, its answer lost.

    An API that honours keys answers a repeated call as the first one; after any other the step is
    in doubt, and is not repeated.
    """
    faults: dict[Link, set[Fault]] = {}
    for each in failing:
        for one in (each, each.after):
            if one is not None:
                faults.setdefault(one.link, set()).add(one.fault)
    return not any(
        Fault.REFUSED in kinds and any(kind.has_effect for kind in kinds)
        for kinds in faults.values()
    )
