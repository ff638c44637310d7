"""The step, cut at every point: in both directions, at the first, a middle and the last step.

For calls that honour keys, that can be asked about, and that allow neither. Twice: the
process dies, or it hangs, is taken over, and wakes up. On SQLite all cells, each with one of the
three kinds unless there is time for all (`-m long`); on PostgreSQL the middle ones, likewise.
"""

from __future__ import annotations

import pytest

from orchestrator.core.states import Direction
from tests.integration.engine.cells import At, cells, dies, each_with_a_kind, hangs
from tests.integration.engine.house import House
from tests.integration.engine.world import Kind

every_cell = pytest.mark.parametrize(("point", "direction", "at", "kind"), each_with_a_kind())
middle_cells = pytest.mark.parametrize(
    ("point", "direction", "at"), [cell for cell in cells() if "middle" in str(cell.id)]
)
middle_cells_with_a_kind = pytest.mark.parametrize(
    ("point", "direction", "at", "kind"),
    [cell for cell in each_with_a_kind() if "middle" in str(cell.id)],
)


@every_cell
async def test_its_process_dies(
    house: House, point: str, direction: Direction, at: At | None, kind: Kind
) -> None:
    await dies(house, point, direction, at, kind)


@every_cell
async def test_it_hangs_and_is_taken_over(
    house: House, point: str, direction: Direction, at: At | None, kind: Kind
) -> None:
    await hangs(house, point, direction, at, kind)


@pytest.mark.postgres
@middle_cells_with_a_kind
async def test_its_process_dies_on_postgres(
    postgres_house: House, point: str, direction: Direction, at: At | None, kind: Kind
) -> None:
    await dies(postgres_house, point, direction, at, kind)


@pytest.mark.postgres
@pytest.mark.parametrize("kind", [Kind.VERIFIED])
@middle_cells
async def test_it_hangs_and_is_taken_over_on_postgres(
    postgres_house: House, point: str, direction: Direction, at: At | None, kind: Kind
) -> None:
    await hangs(postgres_house, point, direction, at, kind)
