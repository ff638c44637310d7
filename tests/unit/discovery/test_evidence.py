"""What discovery reads, where values come from, and how it says what it thinks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.definitions.discovery import Kind, Suggestion, discover
from orchestrator.definitions.discovery.lexicon import (
    CREATES,
    NOT_CREATING,
    PAIRS,
    READS,
    REPLACES,
    UNDO_WORDS,
    joined,
    lemma,
    words_of,
)
from orchestrator.definitions.discovery.survey import Facts, Survey
from orchestrator.definitions.document import Document
from tests.unit.discovery.apis import document, fields, operation, proposals

THING = fields("id", "name", "size:integer")


def test_the_lexicon_does_not_contradict_itself() -> None:
    assert not READS & (CREATES | NOT_CREATING | REPLACES | UNDO_WORDS)
    assert not CREATES & NOT_CREATING
    assert not CREATES & UNDO_WORDS
    for verb, pairs in PAIRS.items():
        assert lemma(verb) == verb
        assert verb not in [pair.undo for pair in pairs]
        assert all(lemma(pair.undo) == pair.undo for pair in pairs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("createTSIGKey", ("create", "tsig", "key")),
        ("post-payments-paymentPspReference-reversals", None),
        ("get_record", ("get", "record")),
        ("repos/create-fork", ("repos", "create", "fork")),
    ],
)
def test_words_of_every_spelling(text: str, words: tuple[str, ...] | None) -> None:
    assert words_of(text) == words or words is None
    assert joined("payment_psp-Reference") == joined("paymentPspReferences")


def test_an_operation_that_only_reads_needs_no_undo() -> None:
    found = proposals({
        "POST /things/search": operation("searchThings", "Search things", answers={200: THING}),
        "PUT /zones/{id}/notify": operation("notifyZone", "Send a NOTIFY", answers={200: None}),
        "POST /people/{id}/notify": operation("notifyPerson", "Notify a person"),
        "PUT /zones/{id}/transfer": operation("pullZone", "Retrieve a zone from its master"),
        "POST /tokens/{id}/reset": operation("token", "Get a new token", answers={200: THING}),
        "POST /things/read": operation("editThings", "Bulk edit", answers={200: THING}),
    })  # fmt: skip
    assert found["searchThings"].kind is Kind.NONE_NEEDED
    assert found["notifyZone"].kind is Kind.NONE_NEEDED
    for name in ("notifyPerson", "pullZone", "token", "editThings"):
        assert found[name].kind is Kind.NONE_FOLLOW_UP, name


def test_a_link_of_the_answer_names_undo_and_values() -> None:
    create = operation("openTab", "Open a tab", body=THING, answers={201: THING})
    create["responses"]["201"]["links"] = {
        "close": {"operationId": "dropTab", "parameters": {"tab": "$response.body#/id"}}
    }
    found = proposals({
        "POST /open": create,
        "DELETE /tabs/{tab}": operation("dropTab", "Drop it"),
    })["openTab"]  # fmt: skip
    assert found.rule == "linked"
    assert found.parameters == {"path.tab": "$response.body#/id"}


def test_an_undo_in_another_document() -> None:
    authorize = {
        "POST /v2/authorizations": operation(
            "authorize", "Authorize a payment", body=fields("amount"), answers={201: THING}
        )
    }
    void = {
        "POST /v1/payments/authorizations/{authorization_id}/void": operation(
            "void", "Void an authorization"
        )
    }
    documents = [document(authorize, "orders.yaml"), document(void, "payments.yaml")]
    (found, _) = discover(documents)
    assert found.undo is not None
    assert (found.undo.api, found.undo.operation_id) == ("payments.yaml", "void")
    assert found.parameters == {"path.authorization_id": "$response.body#/id"}
    assert found.as_json()["compensation"]["api"] == "payments.yaml"
    assert "two documents" in " ".join(found.reasons)


def test_required_values_come_from_the_request_or_nothing_is_proposed() -> None:
    body = fields("shop", "note", required=("shop",))
    api = {
        "POST /things": operation("createThing", "Create", body=body, answers={201: THING}),
        "DELETE /things/{id}": operation("deleteThing", query=("shop",)),
    }
    found = proposals(api)["createThing"]
    assert found.parameters["query.shop"] == "$request.body#/shop"
    api["DELETE /things/{id}"] = operation("deleteThing", query=("reason",))
    missing = proposals(api)["createThing"]
    assert missing.undo is None
    assert "query.reason" in missing.reasons[0]


def test_an_outcome_in_the_answer_becomes_a_condition() -> None:
    answer = fields("id", status={"type": "string", "enum": ["authorised", "refused", "pending"]})
    found = proposals({
        "POST /payments": operation("pay", "Pay", body=THING, answers={200: answer}),
        "POST /payments/{id}/cancels": operation("cancel", "Cancel a payment"),
    })["pay"]  # fmt: skip
    assert found.only_if == "$response.body#/status == 'authorised'"


class Scripted:
    """A proposer that always says the same."""

    name = "scripted"

    def __init__(self, *suggestions: Suggestion) -> None:
        self._suggestions = suggestions

    def suggest(self, forward: Facts, survey: Survey) -> Sequence[Suggestion]:
        return self._suggestions if forward.operation_id == "enlist" else ()


def test_a_proposer_is_judged_as_the_rules_are() -> None:
    api = {
        "POST /recruits": operation("enlist", "Create", body=THING, answers={201: THING}),
        "DELETE /soldiers/{id}": operation("discharge", "Discharge a soldier"),
        "DELETE /soldiers": operation("disband", "Discharge all soldiers"),
    }
    assert proposals(api)["enlist"].undo is None

    def suggested(undo: str, **parameters: str) -> Suggestion:
        values = {name.replace("_", "."): value for name, value in parameters.items()}
        return Suggestion(
            undo_operation_id=undo, kind=Kind.DELETE_CREATED, parameters=values, why="it seems so"
        )

    good = Scripted(suggested("discharge", path_id="$response.body#/id"))
    found = proposals(api, proposer=good)["enlist"]
    assert found.undo is not None
    assert (found.rule, found.undo.operation_id) == ("proposer:scripted", "discharge")
    bad = [
        suggested("disband"),
        suggested("discharge", path_id="$request.body#/name"),
        suggested("discharge", path_id="$response.body#/number"),
        suggested("discharge", path_number="$response.body#/id"),
        suggested("promote", path_id="$response.body#/id"),
    ]
    for each in bad:
        assert proposals(api, proposer=Scripted(each))["enlist"].undo is None, each


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "allOf", "oneOf", "$ref", "required",
                         "enum", "schema", "content", "application/json", "parameters", "name",
                         "in", "responses", "200", "201", "requestBody", "operationId", "get",
                         "post", "put", "delete", "links", "tags", "summary"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, JSON, JSON)
def test_broken_documents_are_no_evidence(first: object, second: object, third: object) -> None:
    value = {
        "openapi": "3.0.0",
        "paths": {"/a": first, "/a/{id}": {"post": second, "delete": third, "put": second}},
    }
    for proposal in discover([Document(name="broken", text="", value=value)]):
        assert proposal.reasons
