"""What `bench map` says of effects that are left."""

from __future__ import annotations

from tests.bench.maps import wrong


def test_each_item_has_one_effect_and_the_refused_none() -> None:
    lines = ["do 0", "undo 0", "do 1", "do 2", "do 2", "undo 4", "do 4", "do 3", "undo 3"]
    assert list(wrong(lines, 5, 4)) == [2, 3]
    assert list(wrong(["do 0", "undo 0", "do 1"], 2, 1)) == [1]
    assert list(wrong(["do 0"], 2, 0)) == [1]
