"""An undo hits only what the step itself made or changed; in doubt, nothing is proposed."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.definitions.discovery import Kind, Strength
from tests.unit.discovery.apis import fields, operation, proposals

THING = fields("id", "name", "size:integer")
MADE: dict[int, dict[str, Any] | None] = {201: THING}


def things(create: dict[str, Any], **more: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A collection with the creation that is asked about."""
    return {
        "POST /things": create,
        "GET /things/{thingId}": operation("getThing", answers={200: THING}),
        "DELETE /things/{thingId}": operation("deleteThing"),
        **more,
    }


def test_what_is_made_is_deleted_by_the_answers_identity() -> None:
    found = proposals(things(operation("createThing", "Create a thing", body=THING, answers=MADE)))
    proposal = found["createThing"]
    assert proposal.kind is Kind.DELETE_CREATED
    assert proposal.undo is not None
    assert proposal.undo.operation_id == "deleteThing"
    assert proposal.parameters == {"path.thingId": "$response.body#/id"}
    assert proposal.only_if is None


def test_a_fork_never_deletes_the_original() -> None:
    repository = fields("id", "full_name", "name")
    found = proposals({
        "POST /repos/{owner}/{repo}/forks": operation(
            "createFork", "Create a fork", answers={202: repository}
        ),
        "GET /repos/{owner}/{repo}": operation("getRepo", answers={200: repository}),
        "DELETE /repos/{owner}/{repo}": operation("deleteRepo", "Delete a repository"),
    })  # fmt: skip
    assert found["createFork"].undo is None


def test_making_one_never_deletes_all() -> None:
    found = proposals({
        "POST /things": operation("create_thing", "Create a thing", body=THING, answers=MADE),
        "DELETE /things": operation("delete_things", "Delete things", answers={200: None}),
        "POST /issues/{n}/labels": operation("addLabels", "Add labels", body=fields("name")),
        "DELETE /issues/{n}/labels": operation("removeLabels", "Remove all labels"),
    })  # fmt: skip
    assert found["create_thing"].undo is None
    assert found["addLabels"].undo is None


@pytest.mark.parametrize(
    ("summary", "body", "answer"),
    [
        ("Create things", {"type": "array", "items": THING}, THING),
        ("Create several things in bulk", THING, THING),
        ("Create things", fields(things={"type": "array", "items": THING}), THING),
        ("Create a thing", THING, {"type": "array", "items": THING}),
    ],
)
def test_what_makes_several_is_not_undone_by_deleting_one(
    summary: str, body: dict[str, Any], answer: dict[str, Any]
) -> None:
    create = operation("createThings", summary, body=body, answers={201: answer})
    assert proposals(things(create))["createThings"].undo is None


def test_what_may_find_an_old_thing_is_undone_only_when_the_answer_tells() -> None:
    text = "Creates a thing, or returns the thing if it already exists."
    silent = operation("createThing", "Create", body=THING, answers={200: THING}, description=text)
    assert proposals(things(silent))["createThing"].undo is None
    told = operation("createThing", "Create", body=THING, answers={200: THING, 201: THING})
    assert proposals(things(told))["createThing"].only_if == "$statusCode == 201"


def test_a_name_that_the_caller_chooses_may_be_taken() -> None:
    named = fields("name", "value")
    api = {
        "POST /tags": operation("createTag", "Create a tag", body=named, answers={201: None}),
        "DELETE /tags/{name}": operation("deleteTag"),
    }
    blind = proposals(api)["createTag"]
    assert blind.undo is None
    assert "whether it was there before" in blind.reasons[0]
    read = {"GET /tags/{name}": operation("getTag", answers={200: named, 404: None})}
    seen = proposals({**api, **read})["createTag"]
    assert seen.parameters == {"path.name": "$request.body#/name"}
    assert seen.only_if == "$before.statusCode == 404"
    assert seen.read_before is not None
    assert seen.read_before.parameters == {"path.name": "$request.body#/name"}


def test_an_answer_that_describes_the_owner_does_not_name_the_new_thing() -> None:
    cart = fields("id", "total")
    found = proposals({
        "GET /carts/{cartId}": operation("getCart", answers={200: cart}),
        "POST /carts/{cartId}/items": operation(
            "addItem", "Add an item", body=fields("sku"), answers={201: cart}
        ),
        "DELETE /carts/{cartId}/items/{itemId}": operation("removeItem"),
    })  # fmt: skip
    assert found["addItem"].undo is None


def test_a_member_is_named_by_its_user_and_may_have_been_one_before() -> None:
    member = fields("user_id", "role")
    api = {
        "POST /teams/{team}/members": operation(
            "addMember", "Add a member", body=fields("user_id"), answers={201: member}
        ),
        "DELETE /teams/{team}/members/{user_id}": operation("removeMember"),
    }
    assert proposals(api)["addMember"].undo is None
    read = {"GET /teams/{team}/members/{user_id}": operation("getMember", answers={200: member})}
    found = proposals({**api, **read})["addMember"]
    assert found.only_if == "$before.statusCode == 404"
    assert found.parameters["path.user_id"] == "$request.body#/user_id"


def test_what_is_attached_is_named_by_the_caller_although_the_answer_repeats_it() -> None:
    service = fields("type", id={"type": "string", "readOnly": True}, required=("id",))
    wrapped = fields(service=service, required=("service",))
    found = proposals({
        "POST /actions/{id}/services": operation(
            "attachService", "Create an association", body=wrapped, answers={201: wrapped}
        ),
        "DELETE /actions/{id}/services/{service_id}": operation("detachService"),
    })  # fmt: skip
    assert found["attachService"].undo is None


def test_a_user_that_is_added_may_have_been_there_whatever_the_answer_calls_it() -> None:
    body = fields("user_id", "role", "email", "note")
    found = proposals({
        "POST /projects/{project}/users": operation(
            "addUser", "Add a user", body=body, answers={200: fields("id", "role")}
        ),
        "DELETE /projects/{project}/users/{user_id}": operation("removeUser"),
    })  # fmt: skip
    assert found["addUser"].undo is None


def test_a_switch_of_several_may_find_some_as_they_will_be() -> None:
    body = fields(ids={"type": "array", "items": {"type": "string"}}, required=("ids",))
    found = proposals({
        "POST /keys/activate": operation("activateKeys", "Activate keys", body=body),
        "POST /keys/deactivate": operation("deactivateKeys", "Deactivate keys", body=body),
    })  # fmt: skip
    assert found["activateKeys"].undo is None


def test_two_fields_that_may_be_the_identity_are_none() -> None:
    ticket = fields("id", "ticket_id", "subject")
    found = proposals({
        "POST /tickets": operation("createTicket", "Create", body=THING, answers={200: ticket}),
        "DELETE /tickets/{ticket_id}": operation("deleteTicket"),
    })["createTicket"]  # fmt: skip
    assert found.undo is None
    assert "nothing tells which" in found.reasons[0]


def test_put_of_a_collection_restores_nothing() -> None:
    page = fields("total:integer", "next", "from", invoices={"type": "array", "items": THING})
    groups = fields("start", "end", "total", "next", groups={"type": "array", "items": THING})
    found = proposals({
        "GET /groups": operation("getGroups", answers={200: groups}),
        "PUT /groups": operation("updateGroups", "Update groups", body=groups),
        "GET /invoices": operation("getInvoices", answers={200: page}),
        "PUT /invoices": operation("createInvoices", "Create invoices", body=page),
        "PUT /invoices/{id}/history": operation("createHistory", "Create history", body=page),
        "GET /invoices/{id}/history": operation("getHistory", answers={200: page}),
        "GET /invoices/{id}": operation("getInvoice", answers={200: THING}),
    })  # fmt: skip
    assert found["updateGroups"].undo is None
    assert found["createInvoices"].undo is None
    assert found["createHistory"].undo is None


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_what_a_server_hides_is_never_written_back(method: str) -> None:
    client = fields("name", "url", "client_secret")
    found = proposals({
        "GET /clients/{id}": operation("getClient", answers={200: client}),
        f"{method} /clients/{{id}}": operation("setClient", body=client, answers={200: client}),
    })["setClient"]  # fmt: skip
    if method == "PUT":
        assert found.undo is None
    else:
        assert "body./client_secret" not in found.parameters
        assert found.parameters["body./name"] == "$before.body#/name"


def test_an_undo_never_repeats_the_steps_own_key() -> None:
    body = fields("amount:integer", "idempotency_key", required=("amount", "idempotency_key"))
    found = proposals({
        "POST /ledger/deposit": operation("deposit", "Deposit", body=body),
        "POST /ledger/withdraw": operation("withdraw", "Withdraw", body=body),
    })["deposit"]  # fmt: skip
    assert found.undo is None


def test_what_has_left_is_not_undone_by_deleting_its_record() -> None:
    found = proposals({
        "POST /calls": operation("createCall", "Create a call", body=THING, answers=MADE),
        "DELETE /calls/{id}": operation("deleteCall"),
        "POST /messages": operation("createMessage", "Create", body=THING, answers=MADE),
        "DELETE /messages/{id}": operation("deleteMessage"),
    })  # fmt: skip
    assert found["createCall"].undo is None
    assert found["createMessage"].strength is Strength.BUSINESS


@pytest.mark.parametrize("verb", ["Import", "Transfer", "Restore", "Accept", "Merge"])
def test_what_is_moved_or_restored_is_not_deleted(verb: str) -> None:
    create = operation(f"{verb.lower()}Thing", f"{verb} a thing", body=THING, answers=MADE)
    assert proposals(things(create))[f"{verb.lower()}Thing"].undo is None


def test_put_and_delete_of_a_path_need_to_know_what_was_there() -> None:
    member = {
        "PUT /teams/{team}/members/{user}": operation("addMember", "Add a member"),
        "DELETE /teams/{team}/members/{user}": operation("removeMember", "Remove a member"),
    }
    assert proposals(member)["addMember"].undo is None
    check = operation("checkMember", "Check membership", answers={204: None, 404: None})
    known = proposals({**member, "GET /teams/{team}/members/{user}": check})["addMember"]
    assert known.only_if == "$before.statusCode == 404"
    assert known.parameters == {
        "path.team": "$request.path.team", "path.user": "$request.path.user",
    }  # fmt: skip


def test_a_flag_that_was_set_before_stays() -> None:
    found = proposals({
        "GET /issues/{n}": operation("getIssue", answers={200: fields("title", "locked:boolean")}),
        "PUT /issues/{n}/lock": operation("lockIssue", "Lock an issue"),
        "DELETE /issues/{n}/lock": operation("unlockIssue", "Unlock an issue"),
    })  # fmt: skip
    assert found["lockIssue"].only_if == "$before.body#/locked != true"


def test_a_deleted_thing_comes_back_only_where_put_makes_it_and_nothing_was_in_it() -> None:
    api = {
        "GET /boxes/{id}": operation("getBox", answers={200: THING}),
        "PUT /boxes/{id}": operation("putBox", body=THING, answers={200: THING, 201: THING}),
        "DELETE /boxes/{id}": operation("deleteBox"),
    }
    whole = proposals(api)["deleteBox"]
    assert whole.kind is Kind.RESTORE_PREVIOUS
    assert whole.parameters["body.*"] == "$before.body#"
    inside = {"POST /boxes/{id}/items": operation("addItem", body=THING, answers=MADE)}
    assert proposals({**api, **inside})["deleteBox"].undo is None
    update = operation("putBox", "Update a box", body=THING, answers={200: THING})
    assert proposals({**api, "PUT /boxes/{id}": update})["deleteBox"].undo is None


def test_put_restores_only_what_it_replaced() -> None:
    api = {
        "GET /boxes/{id}": operation("getBox", answers={200: THING}),
        "PUT /boxes/{id}": operation("putBox", body=THING, answers={200: THING, 201: THING}),
    }
    assert proposals(api)["putBox"].only_if == "$statusCode == 200"
    both = {**api, "DELETE /boxes/{id}": operation("deleteBox")}
    twofold = proposals(both)["putBox"]
    assert (twofold.kind, twofold.only_if) == (Kind.RESTORE_PREVIOUS, "$statusCode == 200")
    assert twofold.otherwise is not None
    assert twofold.otherwise.only_if == "$statusCode == 201"
    assert twofold.otherwise.undo is not None
    assert twofold.otherwise.undo.operation_id == "deleteBox"
    assert twofold.otherwise.parameters == {"path.id": "$request.path.id"}
    assert twofold.as_json()["otherwise"]["kind"] == "delete-created"
    mute = operation("putBox", "Create or update a box", body=THING, answers={200: THING})
    quiet = proposals({**api, "PUT /boxes/{id}": mute})["putBox"]
    assert quiet.only_if == "$before.statusCode == 200"
    looked = proposals({**both, "PUT /boxes/{id}": mute})["putBox"].otherwise
    assert looked is not None
    assert looked.only_if == "$before.statusCode == 200"


@pytest.mark.parametrize(
    "change",
    [
        {"PUT /boxes/{id}": operation("putBox", "Update", body=THING, answers={200: THING})},
        {"DELETE /boxes/{id}": operation("deleteBox", query=("reason",))},
        {"DELETE /boxes/{id}": None},
    ],
)
def test_nothing_is_deleted_where_nothing_says_that_it_is_new(change: dict[str, Any]) -> None:
    api = {
        "GET /boxes/{id}": operation("getBox", answers={200: THING}),
        "PUT /boxes/{id}": operation("putBox", body=THING, answers={200: THING, 201: THING}),
        "DELETE /boxes/{id}": operation("deleteBox"),
    }
    found = proposals({name: one for name, one in {**api, **change}.items() if one is not None})
    assert found["putBox"].otherwise is None
    is_due = "DELETE /boxes/{id}" in change and change["DELETE /boxes/{id}"] is not None
    assert any("not covered" in reason for reason in found["putBox"].reasons) is is_due


def test_what_cannot_be_read_is_not_written_back() -> None:
    secret = fields("name", "password", required=("password",))
    found = proposals({
        "GET /users/{id}": operation("getUser", answers={200: THING}),
        "PUT /users/{id}": operation("putUser", "Update a user", body=secret, answers={200: THING}),
    })  # fmt: skip
    assert found["putUser"].undo is None
    assert "password" in found["putUser"].reasons[0]


def test_a_status_that_cannot_be_set_back_is_not_set_back() -> None:
    read = fields("id", status={"type": "string", "enum": ["active", "expired"]})
    write = fields(status={"type": "string", "enum": ["expired"]})
    found = proposals({
        "POST /links": operation("createLink", "Create a link", body=THING, answers={201: read}),
        "GET /links/{linkId}": operation("getLink", answers={200: read}),
        "PATCH /links/{linkId}": operation("expireLink", "Expire", body=write, answers={200: read}),
    })  # fmt: skip
    assert found["expireLink"].undo is None
    assert found["createLink"].kind is Kind.SELF_INVERSE
    assert found["createLink"].parameters["body./status"] == "literal:expired"


def test_an_undo_is_not_undone() -> None:
    found = proposals({
        "POST /payments/{id}/refunds": operation("refund", "Refund a payment", body=THING),
        "POST /payments/{id}/captures": operation("capture", "Capture a payment", body=THING),
    })  # fmt: skip
    assert found["refund"].undo is None
    assert found["capture"].kind is Kind.INVERSE_ACTION
