"""What APIs say in their headers about how they want to be called: forms seen in the wild."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.exchange import Response
from orchestrator.engine.api_advice import NO_ADVICE, Advice, advice_of

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
THROTTLED = Advice(throttled=True)


def pause(seconds: float) -> Advice:
    return Advice(pause_seconds=seconds)


@pytest.mark.parametrize(
    ("status", "headers", "wanted"),
    [
        # Retry-After
        (429, {"retry-after": "120"}, pause(120)),
        (503, {"retry-after": "3"}, pause(3)),
        (429, {"retry-after": " 1.5 "}, pause(1.5)),
        (503, {"retry-after": "Tue, 14 Nov 2023 22:14:20 GMT"}, pause(60)),
        (503, {"retry-after": "Tuesday, 14-Nov-23 22:14:20 GMT"}, pause(60)),
        (
            503,
            {
                "retry-after": "Tue, 14 Nov 2023 23:00:30 GMT",
                "date": "Tue, 14 Nov 2023 23:00:00 GMT",
            },
            pause(30),  # by the API's clock
        ),
        (429, {"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, THROTTLED),  # it has passed
        (429, {"retry-after": "0"}, THROTTLED),
        (429, {"retry-after": "soon"}, THROTTLED),
        (429, {"retry-after": "-5"}, THROTTLED),
        (503, {"retry-after": "soon"}, NO_ADVICE),
        (301, {"retry-after": "120"}, NO_ADVICE),
        (429, {}, THROTTLED),
        (503, {}, NO_ADVICE),
        (200, {}, NO_ADVICE),
        # RateLimit, structured
        (200, {"ratelimit": '"default";r=50;t=30'}, NO_ADVICE),
        (200, {"ratelimit": '"default";r=0;t=30'}, pause(30)),
        (200, {"ratelimit": "default;r=0;t=30"}, pause(30)),
        (429, {"ratelimit": '"burst";r=0;t=2, "daily";r=100;t=3600'}, pause(2)),
        (200, {"ratelimit": '"a";r=0;t=2, "b";r=0;t=60'}, pause(60)),
        (
            200,
            {"ratelimit": '"default";r=0', "ratelimit-policy": '"default";q=100;w=60'},
            pause(60),
        ),
        (200, {"ratelimit": '"default";r=0'}, NO_ADVICE),  # until when?
        (429, {"ratelimit": '"default";r=50;t=30'}, THROTTLED),
        (200, {"ratelimit": '"problem";r=0;t='}, NO_ADVICE),
        (200, {"ratelimit": "\u00e4"}, NO_ADVICE),
        # RateLimit, older
        (200, {"ratelimit": "limit=100, remaining=0, reset=5"}, pause(5)),
        (200, {"ratelimit": "limit=100, remaining=7, reset=5"}, NO_ADVICE),
        (
            200,
            {"ratelimit-limit": "100", "ratelimit-remaining": "0", "ratelimit-reset": "50"},
            pause(50),
        ),
        # X-RateLimit: GitHub, GitLab (epoch), Zendesk, Twitter, milliseconds, dates, OpenAI
        (403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000090"}, pause(90)),
        (200, {"x-ratelimit-remaining": "59", "x-ratelimit-reset": "1700000090"}, NO_ADVICE),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "12"}, pause(12)),
        (200, {"x-rate-limit-remaining": "0", "x-rate-limit-reset": "1700000900"}, pause(900)),
        (200, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1700000001500"}, pause(1.5)),
        (
            200,
            {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2023-11-14T22:13:50Z"},
            pause(30),
        ),
        (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": DATE}, THROTTLED),
        (
            429,
            {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m30s"},
            pause(90),
        ),
        (
            200,
            {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "250ms"},
            pause(0.25),
        ),
        (200, {"x-ratelimit-remaining": "0"}, NO_ADVICE),
        (200, {"x-ratelimit-remaining": "none", "x-ratelimit-reset": "12"}, NO_ADVICE),
        # Both: what is said of this answer goes first
        (
            429,
            {"retry-after": "2", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "50"},
            pause(2),
        ),
    ],
)
def test_forms(status: int, headers: dict[str, str], wanted: Advice) -> None:
    found = advice_of(Response(status=status, headers=headers), now=NOW)
    assert found.throttled is (status == 429)
    assert found.pause_seconds == pytest.approx(wanted.pause_seconds)


LATIN = [chr(code) for code in range(256)]  # what a header can hold
NAMES = [
    "retry-after", "ratelimit", "ratelimit-policy", "ratelimit-remaining", "ratelimit-reset",
    "x-ratelimit-remaining", "x-ratelimit-reset", "date",
]  # fmt: skip


@given(
    status=st.sampled_from([200, 429, 503]),
    headers=st.dictionaries(
        st.sampled_from(NAMES),
        st.one_of(st.text(LATIN, max_size=20), st.sampled_from(["0", '"a";r=0;t=1', DATE])),
    ),
)
def test_whatever_they_say_it_is_read_or_passed_over(status: int, headers: dict[str, str]) -> None:
    assert advice_of(Response(status=status, headers=headers), now=NOW).pause_seconds >= 0
