"""What APIs say about the operations of a document is known when it is published."""

from __future__ import annotations

from pathlib import Path

from orchestrator.definitions.loading import load_document

DATA = Path(__file__).parents[2] / "data"


def test_summaries_and_tags_of_the_operations_of_each_workflow() -> None:
    loaded = load_document(
        DATA / "museum/arazzo/museum-api.arazzo.yaml", effects_may_stay=True
    )  # fmt: skip
    said = {each.plan.workflow: each.operations for each in loaded}
    assert "Get museum hours" in said["get-museum-hours"]
    assert "Create special events" in said["events-crud"]
    assert "Create special events" not in said["get-museum-hours"]
    assert "Events" in said["events-crud"]  # a tag
