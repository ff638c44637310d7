"""Documents that others have written, published as they are."""

from pathlib import Path

import pytest

from orchestrator.definitions.arazzo_validation import NOT_DECLARED
from orchestrator.definitions.loading import load_document, load_path
from orchestrator.errors import InvalidDefinition
from tests.unit.definitions.small_api import API, HEAD
from tests.unit.definitions.test_wild import VALID

DATA = Path(__file__).parents[2] / "data"
WITHOUT_UNDO = {name for name in VALID if "checkout.arazzo" not in name and "Login" not in name}


@pytest.mark.parametrize("name", sorted(WITHOUT_UNDO))
def test_a_document_without_compensations(name: str) -> None:
    """Refused, unless somebody says that effects may stay; then each of them is warned of."""
    with pytest.raises(InvalidDefinition) as caught:
        load_document(DATA / name)
    assert {problem.wanted[:14] for problem in caught.value.problems} == {"x-compensation"}
    loaded = load_document(DATA / name, effects_may_stay=True)
    for item in loaded:
        stay = [s.id for s in item.plan.steps if s.no_compensation_reason == NOT_DECLARED]
        for step_id in (one for one in stay if "/" not in one):  # others are of a called workflow
            assert any(f"{step_id} has no compensation" in text for text in item.warnings)
    assert any(s.no_compensation_reason for item in loaded for s in item.plan.steps)


def test_in_a_folder_as_well() -> None:
    assert [one.plan.workflow for one in load_path(DATA / "maestro-1.1.0", effects_may_stay=True)]
    with pytest.raises(InvalidDefinition):
        load_path(DATA / "maestro-1.1.0")


def test_what_is_declared_stays_as_it_is() -> None:
    name = DATA / "stripe-mock" / "checkout.arazzo.yaml"
    assert load_document(name, effects_may_stay=True) == load_document(name)


def test_other_faults_are_refused_all_the_same() -> None:
    with pytest.raises(InvalidDefinition) as caught:
        load_document(DATA / "wso2-petstore/01-basic-sequential.arazzo.yaml", effects_may_stay=True)
    (problem,) = caught.value.problems
    assert problem.place.endswith("(/workflows/0/inputs/properties/petName/required)")


def test_a_workflow_without_steps_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "things.yaml").write_text(API)
    (tmp_path / "w.arazzo.yaml").write_text(HEAD.replace("steps:", "steps: []"))
    with pytest.raises(InvalidDefinition) as caught:
        load_document(tmp_path / "w.arazzo.yaml", effects_may_stay=True)
    assert caught.value.problems[0].found == "0 steps"
