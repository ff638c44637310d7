"""The README's examples are published and run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchestrator.definitions.builder import plan_of
from orchestrator.definitions.loading import load_document
from orchestrator.engine.apis import load_apis

pytest_plugins = ["pytester"]

README = Path(__file__).parents[2] / "README.md"
SHOP = """
openapi: 3.1.0
info: {title: shop, version: '1'}
paths:
  /charges:
    post: {operationId: createCharge, responses: {'201': {description: charged}}}
  /charges/{id}/refund:
    post:
      operationId: refundCharge
      parameters: [{name: id, in: path, required: true, schema: {type: string}}]
      responses: {'200': {description: refunded}}
  /orders:
    post: {operationId: createOrder, responses: {'201': {description: ordered}}}
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("language", ["yaml", "python"])
def test_examples_are_short(language: str) -> None:
    assert all(len(block.splitlines()) < 40 for block in blocks(language))


def test_the_arazzo_example_validates(tmp_path: Path) -> None:
    (tmp_path / "shop.openapi.yaml").write_text(SHOP)
    document = tmp_path / "order.arazzo.yaml"
    document.write_text(blocks("yaml")[0])
    (loaded,) = load_document(document)
    assert [step.id for step in loaded.plan.steps] == ["charge", "order"]
    assert loaded.plan.steps[0].compensation is not None


def test_the_api_example_is_read(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(blocks("yaml")[1])
    shop = load_apis(tmp_path)["shop"]
    assert (shop.concurrency, len(shop.rates)) == (20, 2)


def test_the_python_example_is_a_workflow() -> None:
    names: dict[str, object] = {"__name__": "trips"}
    exec(compile(blocks("python")[0], "trips.py", "exec"), names)
    plan = plan_of(names["trip"])
    assert [step.id for step in plan.steps] == ["book_flight", "book_hotel"]
    assert all(step.compensation is not None for step in plan.steps)


def test_the_example_of_a_test_passes(pytester: pytest.Pytester) -> None:
    text = next(block for block in blocks("python") if "orchestrator.testing" in block)
    assert len(text.splitlines()) < 30
    pytester.makepyfile(test_checkout=text)
    (pytester.path / "config").symlink_to(README.parent / "config")
    quietly = ("-o", "asyncio_default_fixture_loop_scope=function")
    pytester.runpytest_inprocess(*quietly).assert_outcomes(passed=1 + 9 + 5)
