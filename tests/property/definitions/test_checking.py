"""Whatever stands in a document, a check says what is wrong with it and does not break."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.shapes import type_of
from orchestrator.definitions.checking.checker import check_document
from orchestrator.definitions.checking.schemas import ANY, Schema, local_follower
from orchestrator.definitions.document import parse_document
from orchestrator.errors import InvalidDefinition
from tests.unit.checking.mutating import mutated
from tests.unit.checking.shop import API, GOOD

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part),
    max_leaves=8,
)  # fmt: skip


def rules_of(document: Any, folder: Path) -> set[str]:
    try:
        read = parse_document(json.dumps(document), name="d.arazzo.json")
    except InvalidDefinition:
        return set()
    report = check_document(read, file="d.arazzo.json", folder=folder)
    return {f.rule for f in report.findings}


# The first document of a process waits until the official schema is read.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32), times=st.integers(1, 12))
def test_mutated_documents(tmp_path: Path, seed: int, times: int) -> None:
    (tmp_path / "shop.json").write_text(json.dumps(API))
    document = mutated(GOOD, random.Random(seed), times=times)
    assert "checker-failed" not in rules_of(document, tmp_path)


# The first document of a process waits until the official schema is read.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(seed=st.integers(0, 2**32), times=st.integers(1, 12))
def test_mutated_apis(tmp_path: Path, seed: int, times: int) -> None:
    (tmp_path / "shop.json").write_text(json.dumps(mutated(API, random.Random(seed), times=times)))
    assert "checker-failed" not in rules_of(GOOD, tmp_path)


@given(_JSON)
def test_anything_as_a_document(value: Any) -> None:
    assert "checker-failed" not in rules_of(value, Path("/nowhere"))


@given(st.sampled_from(sorted(ANY)) | st.lists(st.sampled_from(sorted(ANY)), min_size=1), _JSON)
def test_a_value_of_a_named_type_has_one_of_the_types(named: Any, value: Any) -> None:
    types = Schema({"type": named}, local_follower({})).types()
    kinds = {named} if isinstance(named, str) else set(named)
    fits = type_of(value) in kinds or (type_of(value) == "integer" and "number" in kinds)
    assert fits == (type_of(value) in types)
