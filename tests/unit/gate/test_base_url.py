"""Base URLs: one spelling, and every trick with another is refused by its name."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from orchestrator.engine.base_url import checked_base_url, shown_base_url

GOOD = {
    "a name": "https://api.example",
    "a path": "https://api.example/v1/x%20y",
    "a port": "http://api.example:8080/v1",
    "mixed case": "HTTPS://API.Example/V1",
    "a trailing dot": "https://api.example./v1",
    "an underscore": "http://my_service:8080",
    "an encoded script": "https://xn--bcher-kva.example",
    "IPv4": "http://93.184.215.14/v1",
    "IPv6": "http://[2606:2800::1]:8080/v1",
    "digits in a name": "https://1.2.3.4.example",
}
BAD = {
    "decimal IPv4": ("http://2130706433/", "four decimal numbers"),
    "hexadecimal IPv4": ("http://0x7f000001/", "four decimal numbers"),
    "hexadecimal parts": ("http://0x7f.1/", "four decimal numbers"),
    "a hexadecimal part last": ("http://127.0.0.0x1/", "four decimal numbers"),
    "octal parts": ("http://0177.0.0.1/", "four decimal numbers"),
    "two parts": ("http://127.1/", "four decimal numbers"),
    "three parts": ("http://127.0.1/", "four decimal numbers"),
    "five parts": ("http://127.0.0.0.1/", "four decimal numbers"),
    "parts above 255": ("http://127.0.0.256/", "four decimal numbers"),
    "IPv4 with a trailing dot": ("http://127.0.0.1./", "four decimal numbers"),
    "two trailing dots": ("http://api.example../", "letters, digits"),
    "an empty label": ("http://api..example/", "letters, digits"),
    "an ideographic full stop": ("http://127。0。0。1/", "visible ASCII"),
    "fullwidth digits": ("http://１２７.0.0.1/", "visible ASCII"),
    "circled digits": ("http://①②⑦.0.0.1/", "visible ASCII"),
    "a homograph": ("https://аpi.example/", "visible ASCII"),
    "a soft hyphen": ("https://api\u00ad.example/", "visible ASCII"),
    "a percent-encoded dot": ("http://127%2e0.0.1/", "letters, digits"),
    "a percent-encoded name": ("http://%6c%6f%63%61%6c%68%6f%73%74/", "letters, digits"),
    "a zone": ("http://[fe80::1%25eth0]/", "without a zone"),
    "a bare zone": ("http://[fe80::1%eth0]/", "without a zone"),
    "a future IP version": ("http://[v1.fe80]/", ""),
    "unclosed brackets": ("http://[::1/", "a port from 1 to 65535"),
    "something after brackets": ("http://[::1]evil.example/", ""),
    "user and password": ("https://me:s3cret@api.example", "without credentials"),
    "a name before @": ("https://api.example@10.0.0.1", "without credentials"),
    "nothing before @": ("https://@10.0.0.1", "without credentials"),
    "an encoded name before @": ("https://api.example%2f@10.0.0.1", "without credentials"),
    "a backslash": ("http://api.example\\@10.0.0.1", "visible ASCII"),
    "a backslash for a slash": ("http:\\\\10.0.0.1", "visible ASCII"),
    "a tab": ("http://10.0\t.0.1", "visible ASCII"),
    "a line break": ("http://api.example/\r\nX: 1", "visible ASCII"),
    "NUL": ("http://api.example\0.evil", "visible ASCII"),
    "a space": ("http://api.example /", "visible ASCII"),
    "a space in front": (" http://api.example", "visible ASCII"),
    "a query": ("https://api.example/?a=1", "without query"),
    "an empty query": ("https://api.example/?", "without query"),
    "a fragment": ("https://api.example#@10.0.0.1", "without query"),
    "an empty fragment": ("https://api.example/#", "without query"),
    "another scheme": ("file:///etc/passwd", "an address such as"),
    "no scheme": ("api.example/v1", "an address such as"),
    "no host": ("http:///v1", "an address such as"),
    "one slash": ("http:/10.0.0.1", "an address such as"),
    "port 0": ("http://api.example:0", "a port"),
    "no port": ("http://api.example:/", "a port"),
    "a large port": ("http://api.example:65536", "a port"),
    "a port of letters": ("http://api.example:http", "a port"),
    "a signed port": ("http://api.example:+80", "a port"),
    "a template": ("https://{region}.api.example", "letters, digits"),
    "a long label": (f"https://{'a' * 64}.example", "letters, digits"),
    "a long name": (f"https://{'a.' * 127}example", "letters, digits"),
    "nothing": ("", "an address such as"),
}


@pytest.mark.parametrize("name", GOOD)
def test_taken_as_it_is(name: str) -> None:
    assert checked_base_url(GOOD[name]) == GOOD[name]


def test_slashes_at_the_end_go() -> None:
    assert checked_base_url("https://api.example/v1//") == "https://api.example/v1"


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    url, wanted = BAD[name]
    with pytest.raises(ValueError, match=r".") as caught:
        checked_base_url(url)
    assert wanted in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_url_with_a_secret_is_not_shown() -> None:
    assert shown_base_url("https://me:s3cret@a.example") == "an address with credentials"
    assert shown_base_url("http://127.1") == "'http://127.1'"


_PIECES = st.sampled_from(
    [
        "http://", "https://", "a", "a.example", "127.0.0.1", "127.1", "0x7f", "1", "[::1]", "[",
        "]", "[fe80::1%25eth0]", ":", ":80", "::", "@", "/", "//", "\\", "?", "#", "%",
        "%2e", "%00",
        ".", "..", "。", "x", "-", "_", "xn--a", " ", "\t", "\r\n", "\0",
        ";", ",", "!", "~", "{",
    ]
)  # fmt: skip


@given(st.lists(_PIECES | st.characters(), max_size=8).map("".join))
@example("[::1]evil.example/")
def test_whoever_reads_a_url_that_is_taken_sees_the_same(rest: str) -> None:
    try:
        url = checked_base_url(f"http://{rest}")
    except ValueError:
        return
    ours, theirs = urlsplit(url), URL(url, encoded=True)
    assert (ours.hostname or "") == (theirs.raw_host or "").lower()
    assert (ours.port or 80) == theirs.port
    assert (ours.username, ours.password) == (theirs.user, theirs.password) == (None, None)
    assert url.lower().startswith(f"http://{ours.netloc.lower()}{ours.path.lower()}")
