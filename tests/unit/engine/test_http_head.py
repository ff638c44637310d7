"""The head of a request."""

from __future__ import annotations

import pytest

from orchestrator.engine.http_head import HeadWriter

WRITER = HeadWriter(prefix="/v1", defaults=[("Host", "api.example"), ("Accept", "*/*")])


def lines(head: bytes) -> list[str]:
    assert head.endswith(b"\r\n\r\n")
    return head.decode().removesuffix("\r\n\r\n").split("\r\n")


def test_it_is_what_the_request_says_and_what_it_does_not_say() -> None:
    head = WRITER.write("PUT", "/a?b=c", [("X-A", "1"), ("accept", "text/plain")], 12)
    assert lines(head) == [
        "PUT /v1/a?b=c HTTP/1.1", "X-A: 1", "accept: text/plain", "Content-Length: 12",
        "Host: api.example",
    ]  # fmt: skip


def test_requests_with_the_same_names_have_their_own_values() -> None:
    first, second = (WRITER.write("GET", "/", [("X-A", value)], 0) for value in ("1", "2"))
    assert (lines(first)[1], lines(second)[1]) == ("X-A: 1", "X-A: 2")


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_an_empty_body_has_a_length_where_one_is_expected(method: str) -> None:
    has_length = "Content-Length: 0" in lines(WRITER.write(method, "/", [], 0))
    assert has_length is (method not in ("GET", "HEAD"))


def test_a_fragment_stays_here() -> None:
    assert lines(WRITER.write("GET", "/a#b", [], 0))[0] == "GET /v1/a HTTP/1.1"


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Expect", "Upgrade"])
def test_what_follows_from_the_body_cannot_be_set(name: str) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot be set"):
            WRITER.write("PUT", "/", [(name, "1")], 0)


@pytest.mark.parametrize("bad", ["a\r\nX-Admin: 1", "a\nb", "a\rb", "a\0b"])
def test_line_breaks_are_refused_wherever_they_are(bad: str) -> None:
    with pytest.raises(ValueError, match="header 'X-A' holds a line break"):
        WRITER.write("PUT", "/", [("X-B", "fine"), ("X-A", bad)], 0)
    with pytest.raises(ValueError, match="is not a header's name"):
        WRITER.write("PUT", "/", [(bad, "1")], 0)
    with pytest.raises(ValueError, match="request line holds a line break"):
        WRITER.write("PUT", f"/{bad}", [], 0)


@pytest.mark.parametrize(
    "target", ["/a b", "/a HTTP/1.1\r\nX: 1", "/ü", "/\x7f", "a", "", "//\ud800", "http://b/ c"]
)
def test_a_target_cannot_end_early(target: str) -> None:
    writer = HeadWriter(prefix="", defaults=[])
    with pytest.raises(ValueError, match="wanted a method and a percent-encoded path"):
        writer.write("GET", target, [], 0)


@pytest.mark.parametrize("method", ["GET /admin HTTP/1.1\r\nX:", "G T", "", "GÉT", "GET\0"])
def test_a_method_is_one_word(method: str) -> None:
    with pytest.raises(ValueError, match="wanted a method"):
        WRITER.write(method, "/", [], 0)


@pytest.mark.parametrize("name", ["X Y", "X:", "", "Ü", "X\t", "(X)"])
def test_the_name_of_a_header_is_one_word(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header's name"):
        WRITER.write("GET", "/", [(name, "1")], 0)


@pytest.mark.parametrize("name", ["Host", "connection", "Keep-Alive", "TE", "Proxy-Connection"])
def test_what_belongs_to_the_connection_cannot_be_set(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        WRITER.write("GET", "/", [(name, "x")], 0)


def test_a_head_longer_than_any_server_takes_is_refused() -> None:
    assert len(WRITER.write("GET", "/" + "a" * 60_000, [], 0)) > 60_000
    with pytest.raises(ValueError, match=r"its head has \d+ bytes; wanted at most 65536"):
        WRITER.write("GET", "/" + "a" * 66_000, [], 0)
    with pytest.raises(ValueError, match="wanted at most 65536"):
        WRITER.write("GET", "/", [("X-A", "a" * 66_000)], 0)


def test_text_that_has_no_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        WRITER.write("PUT", "/", [("X-A", "\ud800")], 0)


def test_many_shapes_are_not_kept_for_ever() -> None:
    writer = HeadWriter(prefix="", defaults=[("Host", "h")])
    for number in range(2500):
        assert lines(writer.write("GET", "/", [(f"X-{number}", "1")], 0))[-1] == "Host: h"
