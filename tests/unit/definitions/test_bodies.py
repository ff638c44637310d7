"""Request bodies of every kind: the bytes that leave, and what is refused before."""

import base64
from collections.abc import Callable
from email.message import Message
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.exchange import Facts, FrozenRequest, Response
from orchestrator.core.plan import Call, Effects
from orchestrator.definitions.data_urls import Content, as_data_url, read_data_url
from orchestrator.definitions.document import Document
from orchestrator.definitions.loading import load_document
from orchestrator.definitions.openapi import OpenApiDocument
from orchestrator.definitions.problems import RequestRefused
from orchestrator.definitions.requests import request_maker
from orchestrator.definitions.scope import Exchange, Scope
from orchestrator.errors import InvalidDefinition
from tests.unit.definitions.small_api import HEAD

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
PHOTO = as_data_url(PNG, "image/png", "cät 1.png")


def sent(content_type: str, payload: Any, inputs: Any = None, **more: Any) -> FrozenRequest:
    body = {"contentType": content_type, "payload": payload, **more}
    template = {"kind": "http", "method": "POST", "path": "/t", "requestBody": body}
    call = Call(label="w.s", api="a", effects=Effects.UNKEYED, template=template)
    return request_maker(call).make(Scope(Facts(run_id="r", inputs=inputs or {})), "KEY")


def parts(request: FrozenRequest) -> list[Message]:
    (content_type,) = [value for name, value in request.headers if name == "Content-Type"]
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    return list(BytesParser(policy=HTTP).parsebytes(head + request.body).iter_parts())


def shown(part: Message) -> tuple[str, str | None, str | None, bytes]:
    """Name, file name, type and bytes."""
    name = part.get_param("name", header="content-disposition")
    data = part.get_payload(decode=True)
    assert isinstance(name, str)
    assert isinstance(data, bytes)
    return name, part.get_filename(), part["content-type"], data


def test_multipart_parts_are_of_their_values_kinds() -> None:
    payload = {
        "note": "ä\r\nb", "count": 2, "ok": True, "gone": None, "tags": ["a", "b"],
        "meta": {"a": [1]}, "photo": "$inputs.photo", "absent": "$inputs.absent",
    }  # fmt: skip
    found = [shown(part) for part in parts(sent("multipart/form-data", payload, {"photo": PHOTO}))]
    assert found == [
        ("note", None, None, "ä\r\nb".encode()),
        ("count", None, None, b"2"),
        ("ok", None, None, b"true"),
        ("tags", None, None, b"a"),
        ("tags", None, None, b"b"),
        ("meta", None, "application/json", b'{"a":[1]}'),
        ("photo", "cät 1.png", "image/png", PNG),
    ]


def test_the_same_values_give_the_same_bytes_and_others_another_boundary() -> None:
    one, again = (sent("multipart/form-data", {"a": "1", "p": PHOTO}) for _ in range(2))
    assert one == again
    other = sent("multipart/form-data", {"a": "2", "p": PHOTO})
    assert dict(one.headers)["Content-Type"] != dict(other.headers)["Content-Type"]


def test_no_value_can_end_a_part_or_a_header() -> None:
    first = sent("multipart/form-data", {"a": "x"})
    boundary = dict(first.headers)["Content-Type"].partition("=")[2]
    evil = {"a": f"x\r\n--{boundary}--\r\n", 'n"\r\nX-Evil: 1': "y"}
    found = [shown(part) for part in parts(sent("multipart/form-data", evil))]
    assert [(name, data) for name, _, _, data in found] == [
        ("a", evil["a"].encode()), ("n%22%0D%0AX-Evil: 1", b"y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "rules", "found"),
    [
        (PHOTO, {"contentType": "image/*"}, ("cät 1.png", "image/png", PNG)),
        (PHOTO, {"contentType": "image/gif, image/*"}, ("cät 1.png", "image/png", PNG)),
        (PHOTO, {"contentType": "application/pdf"}, ("cät 1.png", "application/pdf", PNG)),
        ("a,b", {"bytes": True, "contentType": "text/csv"}, ("f", "text/csv", b"a,b")),
        ("a,b", {"bytes": True}, ("f", "application/octet-stream", b"a,b")),
        ({"a": 1}, {"contentType": "application/a+json"}, (None, "application/a+json", b'{"a":1}')),
        (PHOTO, {"base64": "standard"}, (None, None, base64.b64encode(PNG))),
        (PHOTO, {"base64": "url"}, (None, None, base64.urlsafe_b64encode(PNG))),
        ([1, 2], {"style": "form", "explode": False}, (None, None, b"1,2")),
        (["a b", "c"], {"style": "pipeDelimited", "explode": False}, (None, None, b"a b|c")),
    ],
)  # fmt: skip
def test_what_the_encoding_object_says_of_a_part(value: Any, rules: Any, found: Any) -> None:
    request = sent("multipart/form-data", {"f": value}, encoding={"f": rules})
    assert [shown(part)[1:] for part in parts(request)] == [found]


def test_objects_in_styles_are_several_parts() -> None:
    rules = {"f": {"style": "deepObject", "explode": True, "headers": {"X-Kind": "k"}}}
    found = parts(sent("multipart/form-data", {"f": {"a": 1, "b": "x&y"}}, encoding=rules))
    assert [(shown(part)[0], shown(part)[3]) for part in found] == [
        ("f[a]", b"1"),
        ("f[b]", b"x&y"),
    ]
    assert [part["x-kind"] for part in found] == ["k", "k"]


@pytest.mark.parametrize(
    ("content_type", "payload", "body"),
    [
        ("application/octet-stream", PHOTO, PNG),
        ("image/png", "$inputs.photo", PNG),
        ("application/octet-stream", "ä", "ä".encode()),
        ("application/x-ndjson", '{"a":1}\n', b'{"a":1}\n'),
        ("text/plain", PHOTO, PHOTO.encode()),
        ("text/plain; charset=ISO-8859-1", "ä", b"\xe4"),
        ("application/xml", "<a>{$inputs.n}</a>", b"<a>7</a>"),
        ("application/x-www-form-urlencoded", "a={$inputs.odd}&b=1", b"a=x%26y%3D%20z&b=1"),
        ("application/x-www-form-urlencoded", "a=1&b=%20", b"a=1&b=%20"),
    ],
)
def test_bytes_and_texts(content_type: str, payload: Any, body: bytes) -> None:
    request = sent(content_type, payload, {"photo": PHOTO, "n": 7, "odd": "x&y= z"})
    assert request.body == body
    assert dict(request.headers)["Content-Type"] == content_type


def test_a_form_in_the_styles_of_its_encoding_object() -> None:
    rules = {
        "ids": {"style": "form", "explode": False}, "where": {"contentType": "application/json"},
        "url": {"style": "form", "explode": True, "allowReserved": True},
    }  # fmt: skip
    payload = {"ids": [1, 2], "where": {"a": 1}, "url": "/a?b", "plain": ["x", "y"], "no": None}
    request = sent("application/x-www-form-urlencoded", payload, encoding=rules)
    wanted = "ids=1,2&where=%7B%22a%22%3A1%7D&url=/a?b&plain=x&plain=y"
    assert request.body.decode() == wanted


@pytest.mark.parametrize(
    ("content_type", "payload", "found"),
    [
        ("application/octet-stream", "data:image/png;base64,a$b", "base64 is broken"),
        ("application/octet-stream", {"a": 1}, "an object"),
        ("text/plain; charset=ascii", "ä", "'\\xe4'"),
        ("multipart/form-data", "$inputs.text", "a str"),
    ],
)
def test_what_cannot_be_sent_is_refused(content_type: str, payload: Any, found: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        sent(content_type, payload, {"text": "x"})
    assert found in caught.value.problems[0].found


def test_an_object_for_xml_names_the_place() -> None:
    with pytest.raises(RequestRefused) as caught:
        sent("application/xml", {"a": 1})
    assert caught.value.problems[0].place == "requestBody/payload"


# --- what the run keeps, and what is read back ----------------------------------------------------


@pytest.mark.parametrize("body", [PNG, b"a\0b", b"plain", "ü".encode()])
def test_a_frozen_request_is_kept_to_the_byte(body: bytes) -> None:
    request = FrozenRequest(method="PUT", target="/", body=body)
    kept = request.to_json()
    assert "\0" not in kept.get("body", "")
    assert FrozenRequest.from_json(kept) == request


@pytest.mark.parametrize("data", [PNG, b"\0", b"text", "ü".encode(), b"\xff"])
def test_what_an_answer_holds_is_sent_on_to_the_byte(data: bytes) -> None:
    answer = Response(status=200, headers={"content-type": "application/pdf"}, body=data)
    value = Exchange(FrozenRequest(method="GET", target="/"), answer).whole_body
    assert sent("application/pdf", "$inputs.file", {"file": value}).body == data


def test_the_fields_of_a_multipart_request_can_be_asked_for() -> None:
    request = sent("multipart/form-data", {"a": "x", "p": PHOTO, "m": {"b": 1}})
    body = Exchange(request, Response(status=200)).request_body
    assert body["a"] == "x"
    assert read_data_url(body["p"], "p") == Content(data=PNG, media_type="image/png")
    assert body["m"] == '{"b":1}'


def test_data_urls_as_browsers_write_them() -> None:
    assert read_data_url("data:,hello", "p") is None
    assert read_data_url("data: nothing", "p") is None
    found = read_data_url("data:text/csv;charset=utf-8;name=a%20b.csv;base64,YSxi\n", "p")
    assert found == Content(data=b"a,b", media_type="text/csv", name="a b.csv")
    assert read_data_url("data:;base64,YQ", "p") == Content(data=b"a")


# --- documents ------------------------------------------------------------------------------------

UPLOADS = """\
openapi: 3.1.0
info: {title: things, version: '1'}
servers: [{url: 'http://127.0.0.1:1'}]
paths:
  /upload:
    post:
      operationId: upload
      requestBody:
        content:
          multipart/form-data:
            schema: {$ref: '#/components/schemas/Upload'}
            encoding:
              photo:
                contentType: image/png, image/*
                headers: {X-Part: {schema: {type: string, const: photo}}, X-Free: {schema: {}}}
              ids: {style: form, explode: false}
          application/x-www-form-urlencoded:
            encoding: {where: {contentType: application/json}, deep: {style: deepObject}}
          image/*: {}
      responses: {'201': {description: made}}
components:
  schemas:
    Upload:
      allOf: [{properties: {photo: {type: string, format: binary}}}]
      properties:
        files: {type: array, items: {type: string, contentMediaType: application/pdf}}
        packed: {type: string, contentEncoding: base64}
"""
SWAGGER = """\
swagger: '2.0'
info: {title: things, version: '1'}
paths:
  /upload:
    post:
      operationId: upload
      parameters:
        - {name: photo, in: formData, type: file, required: true}
        - {name: note, in: formData, type: string}
      responses: {'201': {description: made}}
"""
WANTED = {
    "photo": {"bytes": True, "contentType": "image/png, image/*", "headers": {"X-Part": "photo"}},
    "ids": {"style": "form", "explode": False},
    "files": {"bytes": True, "contentType": "application/pdf"},
    "packed": {"base64": "standard"},
}


@pytest.fixture
def body(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The `requestBody` in the template of a step over an API that takes uploads."""

    def read(text: str, api: str = UPLOADS) -> dict[str, Any]:
        (tmp_path / "things.yaml").write_text(api)
        step = (
            "      - {stepId: u, operationId: upload, x-compensation: {none: 'nobody minds'}, "
            f"requestBody: {text}}}\n"
        )
        path = tmp_path / "w.arazzo.yaml"
        path.write_text(HEAD.replace("1.0.1", "1.1.0") + step)
        template = load_document(path)[0].plan.steps[0].call.template
        found: dict[str, Any] = template["requestBody"]
        return found

    return read


def test_what_an_api_document_says_of_its_parts(body: Callable[..., Any]) -> None:
    found = body("{contentType: multipart/form-data, payload: {photo: $inputs.note}}")
    assert found["encoding"] == WANTED
    found = body("{contentType: application/x-www-form-urlencoded, payload: {where: {a: 1}}}")
    assert found["encoding"] == {"where": {"contentType": "application/json"}}
    assert found["deep"] == ["deep"]


def test_files_of_swagger_are_bytes_and_make_it_multipart(body: Callable[..., Any]) -> None:
    found = body("{payload: {photo: $inputs.note}}", SWAGGER)
    assert found["contentType"] == "multipart/form-data"
    assert found["encoding"] == {"photo": {"bytes": True}}


@pytest.mark.parametrize(
    ("text", "found", "wanted"),
    [
        ("{contentType: 'image/*', payload: x}", "image/*", "one media type"),
        ("{contentType: multipart/mixed, payload: {}}", "multipart/mixed", "multipart/form-data"),
        ("{contentType: multipart/form-data, payload: [1]}", "[1]", "an object"),
        ("{contentType: image/png, payload: {a: 1}}", "{'a': 1}", "data:TYPE;base64"),
        ("{contentType: application/xml, payload: {a: 1}}", "{'a': 1}", "a text for"),
        ("{contentType: text/plain; charset=rot13, payload: x}", "rot13", "a known charset"),
    ],
)  # fmt: skip
def test_bodies_that_no_run_could_send(
    body: Callable[..., Any], text: str, found: str, wanted: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        body(text)
    (problem,) = caught.value.problems
    assert "/requestBody" in problem.place
    assert found in problem.found
    assert wanted in problem.wanted


def test_a_style_that_no_form_has(body: Callable[..., Any]) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        body(
            "{contentType: multipart/form-data, payload: {ids: [1]}}",
            UPLOADS.replace("style: form", "style: matrix"),
        )
    assert caught.value.problems[0].found == "matrix"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("const: photo", 'const: "a\\r\\nb: c"'),
        ("X-Part:", "X Part:"),
        ("contentType: image/png, image/*", 'contentType: "image/png\\r\\nX: y"'),
    ],
)
def test_no_document_can_add_lines_to_a_part(body: Callable[..., Any], old: str, new: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        body("{contentType: multipart/form-data, payload: {}}", UPLOADS.replace(old, new))
    assert "on one line" in caught.value.problems[0].wanted


def test_a_circle_of_schemas_ends(body: Callable[..., Any]) -> None:
    circle = UPLOADS.replace("allOf: [", "allOf: [{$ref: '#/components/schemas/Upload'}, ")
    assert body("{contentType: multipart/form-data, payload: {}}", circle)["encoding"] == WANTED


# --- replacements ---------------------------------------------------------------------------------

SOAP = (
    '<?xml version="1.0"?><s:E xmlns:s="urn:s"><s:Id kind="old">{$inputs.note}<b/>t</s:Id><r>1</r>'
    "<r>2</r></s:E>"
)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/s:E/s:Id", '<s:Id kind="old">a&amp;&lt;b</s:Id>'),
        ("/s:E/s:Id/@kind", '<s:Id kind="a&amp;&lt;b">n<b/>t</s:Id>'),
        ("//s:Id/text()[1]", '<s:Id kind="old">a&amp;&lt;b<b/>t</s:Id>'),
        ("//s:Id/b/following-sibling::text()", '<s:Id kind="old">n<b/>a&amp;&lt;b</s:Id>'),
        ("/*/r", "<r>a&amp;&lt;b</r><r>a&amp;&lt;b</r>"),
    ],
)
def test_xpath_targets(body: Callable[..., Any], target: str, found: str) -> None:
    text = (
        f"{{contentType: application/soap+xml, payload: '{SOAP}', "
        f"replacements: [{{target: '{target}', value: $inputs.id}}]}}"
    )
    api = UPLOADS.replace("image/*: {}", "application/soap+xml: {}")
    template = body(text, api)
    assert template["replacements"] == [{"target": target, "type": "xpath", "value": "$inputs.id"}]
    request = sent(
        inputs={"id": "a&<b", "note": "n"}, content_type=template.pop("contentType"), **template
    )
    assert request.body.startswith(b"<?xml version='1.0' encoding='utf-8'?>")
    assert found in request.body.decode()


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ("<a/>", "nothing there"),
        ("<a", "not well-formed XML"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>", "document type"),
    ],
)
def test_xml_in_which_nothing_can_be_put(payload: str, found: str) -> None:
    later = [{"target": "/a/b", "type": "xpath", "value": "x"}]
    with pytest.raises(RequestRefused) as caught:
        sent("application/xml", payload, replacements=later)
    assert found in caught.value.problems[0].found
    assert "/a/b" in caught.value.problems[0].wanted


def test_targets_in_what_only_a_run_knows(body: Callable[..., Any]) -> None:
    text = (
        "{contentType: multipart/form-data, payload: {meta: $inputs.note}, replacements: ["
        "{target: /meta/a, value: 1}, {target: '$.meta.items[?@.id == 2].n', "
        "targetSelectorType: jsonpath, value: $inputs.id}]}"
    )
    template = body(text)
    assert [item["type"] for item in template["replacements"]] == ["jsonpointer", "jsonpath"]
    note = {"items": [{"id": 1, "n": 0}, {"id": 2, "n": 0}]}
    request = sent(
        inputs={"note": note, "id": 9}, content_type=template.pop("contentType"), **template
    )
    (part,) = parts(request)
    assert shown(part)[3] == b'{"items":[{"id":1,"n":0},{"id":2,"n":9}],"a":1}'
    assert note["items"][1]["n"] == 0


@pytest.mark.parametrize(
    ("replacement", "found"),
    [
        ("{target: /gone/a, value: 1}", "/gone/a"),
        ("{target: '$.a', value: 1}", "'$.a'"),
        ("{target: '$.a[', targetSelectorType: jsonpath, value: 1}", "unbalanced"),
        ("{target: /a, targetSelectorType: xpath, value: 1}", "xpath in a body of the type"),
        (
            "{target: /a, targetSelectorType: {type: xpath, version: xpath-99}, value: 1}",
            "xpath-99",
        ),
    ],
)
def test_targets_that_no_run_could_use(
    body: Callable[..., Any], replacement: str, found: str
) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        body(
            "{contentType: multipart/form-data, payload: {a: 1}, "
            f"replacements: [{replacement}]}}"
        )
    assert any(found in problem.found for problem in caught.value.problems)


def test_an_api_document_with_strange_media_types_can_be_read() -> None:
    strange: dict[str, Any] = {
        "openapi": "3.0.0",
        "paths": {"/a": {"post": {"operationId": "a", "requestBody": {"content": {
            "multipart/form-data": {"schema": [], "encoding": {"x": 1, "y": {"headers": 2}}},
            "application/x-www-form-urlencoded": None,
        }}}}},
    }  # fmt: skip
    operation = OpenApiDocument(Document(name="a.yaml", text="", value=strange)).operation("a")
    assert operation is not None
    assert not any(operation.fields.values())
