"""The names under which a worker registers functions."""

from __future__ import annotations

from orchestrator.worker.app import make_app


def test_versions_of_a_function_are_registered_beside_each_other() -> None:
    names = ["tasks.shop.price", "tasks.shop.price@2"]
    app = make_app(broker_url="memory://", python_tasks=names)
    app.finalize()
    assert set(names) <= app.tasks.keys()
    assert set(names) <= app.hop_names
