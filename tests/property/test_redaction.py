"""Nothing secret is left in what may be shown, and nothing else is lost from it."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any
from urllib.parse import quote, quote_plus
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.redaction import (
    HIDDEN,
    USUAL,
    Known,
    Rules,
    hidden_in_text,
    is_card_number,
    path_of,
)

QUICK = settings(max_examples=50, deadline=None)  # how long one takes says how busy the machine is
NAMES = st.sampled_from(["id", "amount", "items", "customer", "next_page_token", "a/b", "~"])
PLAIN = st.one_of(
    st.none(), st.booleans(), st.integers(-1000, 1000), st.sampled_from(["", "paid", "o-17", "€ 3"])
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)
# Whatever a person may have chosen; it begins so that it is no part of what stands around it.
SECRETS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=6, max_size=20
).map(lambda text: f"Zq{text}")
SECRET_NAMES = st.sampled_from(
    ["password", "db_password", "apiKey", "X-Api-Key", "Authorization", "clientSecret", "cvv"]
)
AROUND = st.sampled_from(["", " ", "at ", "x=", '{"a":"', "\n", ": "])
WRITTEN = st.sampled_from([
    str, quote, quote_plus, lambda s: quote(s, safe=""), lambda s: json.dumps(s)[1:-1],
    lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    lambda s: base64.b64encode(s.encode()).decode(),
])  # fmt: skip


@QUICK
@given(SECRETS, WRITTEN, AROUND, AROUND)
def test_a_known_secret_is_found_however_it_is_written(
    secret: str, write: Any, before: str, after: str
) -> None:
    told = Rules(known=Known.of([secret])).text(f"{before}{write(secret)}{after}")
    assert write(secret) not in told
    assert HIDDEN in told


@QUICK
@given(VALUES, SECRETS, SECRET_NAMES, st.randoms(use_true_random=False))
def test_a_secret_in_a_value_is_hidden_and_nothing_else_changes(
    value: Any, secret: str, name: str, chance: Any
) -> None:
    planted = copy.deepcopy({"all": [value], "end": {}})
    chance.choice(objects_in(planted))[name] = chance.choice([secret, [secret], {"x": secret}])
    found = USUAL.value(planted)
    assert secret not in strings_of(found)
    assert without(found, name) == without(planted, name)
    assert USUAL.value(found) == found


@QUICK
@given(VALUES)
def test_a_value_without_secrets_stays_the_same_object(value: Any) -> None:
    assert USUAL.value(value) is value
    assert hidden_in_text(json.dumps(value)) == json.dumps(value)


@QUICK
@given(SECRETS, SECRET_NAMES, st.sampled_from(["body", "body64"]))
def test_bodies_are_looked_into(secret: str, name: str, field: str) -> None:
    body = json.dumps({name: secret, "amount": 3, "said": secret})
    kept = body if field == "body" else base64.b64encode(body.encode()).decode()
    rules = Rules(known=Known.of([secret]))
    shown = rules.value({"request": {field: kept}})["request"][field]
    if field == "body64":
        assert shown == HIDDEN
    else:
        assert json.loads(shown)["amount"] == 3
        assert secret not in strings_of(json.loads(shown))


@QUICK
@given(st.lists(st.sampled_from(["a", "b", "0", "*"]), min_size=1, max_size=4), SECRETS)
def test_a_place_that_settings_name_is_hidden_there_alone(path: list[str], secret: str) -> None:
    tokens = ["b" if token == "*" else token for token in path]
    value: Any = secret
    for token, wanted in zip(reversed(tokens), reversed(path), strict=True):
        value = {token: value} | ({} if wanted == "*" else {"other": "stays"})
    rules = Rules(paths=(path_of("/" + "/".join(path)),))
    found = rules.value(value)
    assert secret not in json.dumps(found, ensure_ascii=False)
    assert json.dumps(found).count("stays") == len(path) - path.count("*")
    assert list(rules.texts_in(value)) == [secret]
    assert USUAL.value(value) is value


@QUICK
@given(
    st.sampled_from(["4", "51", "34", "6011", "2221"]), st.integers(0, 10**9),
    st.sampled_from(["", " ", "-"]),
)  # fmt: skip
def test_card_numbers_are_hidden_and_others_with_a_wrong_digit_are_not(
    issuer: str, number: int, between: str
) -> None:
    digits = f"{issuer}{number:0{15 - len(issuer)}d}"
    wrong, right = (
        [f"{digits}{c}" for c in range(10) if luhn(f"{digits}{c}") is w] for w in (False, True)
    )
    (card,) = right
    assert is_card_number(card)
    spaced = between.join(card[n : n + 4] for n in range(0, 16, 4))
    assert hidden_in_text(f"card={spaced}, please") == f"card={HIDDEN}, please"
    assert USUAL.value({"n": int(card)}) == {"n": HIDDEN}
    for other in wrong:
        assert not is_card_number(other)
        assert hidden_in_text(f"order {other}") == f"order {other}"


@QUICK
@given(st.integers(0, 2**128 - 1), st.integers(1_500_000_000_000_000, 2_000_000_000_000_000))
def test_ids_digests_and_times_are_no_card_numbers(number: int, micros: int) -> None:
    text = f"run {UUID(int=number)} {number:032x} at {micros} after 0.{micros}"
    assert hidden_in_text(text) == text


def luhn(digits: str) -> bool:
    """The rule as it is told: double every second digit from the right, add up all digits."""
    doubled = [
        str(int(digit) * 2) if place % 2 else digit for place, digit in enumerate(digits[::-1])
    ]
    return sum(int(digit) for text in doubled for digit in text) % 10 == 0


def objects_in(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(found for item in value.values() for found in objects_in(item))]
    items = value if isinstance(value, list) else []
    return [found for item in items for found in objects_in(item)]


def strings_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return {found for item in value.values() for found in strings_of(item)}
    if isinstance(value, list):
        return {found for item in value for found in strings_of(item)}
    return {value} if isinstance(value, str) else set()


def without(value: Any, name: str) -> Any:
    """The value, whatever stands under a name left out."""
    if isinstance(value, dict):
        return {key: without(item, name) for key, item in value.items() if key != name}
    return [without(item, name) for item in value] if isinstance(value, list) else value


def test_a_short_secret_does_not_tear_names_that_begin_with_it() -> None:
    """Who acts on `backup-000085` needs all of it."""
    rules = Rules(known=Known.of(["demo", "backup"]))
    assert rules.text("demo-000085 and backup-000085") == "demo-000085 and backup-000085"
    assert rules.text("the demo of a backup") == f"the demo of a {HIDDEN}"
