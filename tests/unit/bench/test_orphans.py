"""What `bench orphans` counts, and what it says of a runner that did not come as far."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from orchestrator.errors import Unavailable
from tests.bench.orphans.__main__ import Outcome, drawn, of_other, outcome
from tests.bench.orphans.documents import DOCUMENT, write_documents
from tests.bench.orphans.runners import RUNNERS, Runner
from tests.bench.orphans.shop import Shop, open_shop

POST_ALL = """#!{python}
import json, pathlib, re, urllib.request
base = re.search(r"http://[0-9.:]+", pathlib.Path("shop.openapi.yaml").read_text())[0]
def post(path, **body):
    url, content = base + path, json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, content, method="POST")) as answer:
        return json.load(answer)["id"]
charge = post("/charges", customer=post("/customers"))
{last}
"""


def runner(state_dir: Path, script: str = "") -> Runner:
    """One whose program is this script; without a script nothing is installed."""
    made = Runner(package="some", version="1", registry="PyPI", program="some", arguments=())
    if script:
        program = made.folder(state_dir) / "bin" / "some"
        program.parent.mkdir(parents=True)
        program.write_text(script)
        program.chmod(0o755)
    return made


def test_the_shop_counts_what_is_made_and_what_is_undone() -> None:
    shop = Shop()
    assert shop.answer("POST", "/charges", {"customer": "cus_1"})[0] == 422
    assert shop.answer("POST", "/customers", {}) == (201, {"id": "cus_1"})
    assert shop.answer("POST", "/charges", {"customer": "cus_1"}) == (201, {"id": "ch_2"})
    assert shop.answer("POST", "/orders", {"charge": "nothing"})[0] == 422
    assert shop.answer("POST", "/orders", {"charge": "ch_2"})[0] == 402
    assert (shop.customers, shop.charges) == ({"cus_1"}, {"ch_2"})
    assert shop.answer("POST", "/charges/ch_2/void", {})[0] == 200
    assert shop.answer("DELETE", "/customers/cus_1", {}) == (204, None)
    assert shop.answer("DELETE", "/customers/cus_1", {})[0] == 404
    assert shop.answer("GET", "/customers", {})[0] == 404
    assert (shop.customers, shop.charges) == (set(), set())


def test_the_shop_answers_over_http() -> None:
    with open_shop() as shop:
        made = urllib.request.Request(f"{shop.address}/customers", b"{}", method="POST")
        with urllib.request.urlopen(made) as answer:
            assert (answer.status, answer.read()) == (201, b'{"id": "cus_1"}')
        gone = urllib.request.Request(f"{shop.address}/customers/cus_2", method="DELETE")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(gone)
    assert shop.seen == ["POST /customers", "DELETE /customers/cus_2"]


def test_a_runner_that_is_absent_is_neither_good_nor_bad(tmp_path: Path) -> None:
    found = of_other(runner(tmp_path), tmp_path, install=False)
    assert found.ended == "not run: not installed: make orphans"
    assert (found.reached, found.customers, found.charges, found.orphans) == (
        False,
        None,
        None,
        None,
    )


def test_neither_is_one_that_stops_before_the_third_step(tmp_path: Path) -> None:
    script = POST_ALL.format(python=sys.executable, last="raise SystemExit(3)")
    found = of_other(runner(tmp_path, script), tmp_path, install=False)
    assert found.ended == "not run: exit 3; it asked for POST /customers, POST /charges"
    assert found.orphans is None


def test_what_one_leaves_is_counted_once_it_was_declined(tmp_path: Path) -> None:
    script = POST_ALL.format(python=sys.executable, last='post("/orders", charge=charge)')
    found = of_other(runner(tmp_path, script), tmp_path, install=False)
    assert (found.reached, found.ended) == (True, "exit 1")
    assert (found.customers, found.charges, found.orphans) == (1, 1, 2)


def test_one_that_cannot_be_started_is_said_to_be_so() -> None:
    def work(_: Shop) -> str:
        raise Unavailable("npm", "some 1", "no such host")

    assert "no such host" in outcome("some", "1", work).ended


@pytest.mark.parametrize(
    ("status", "why"), [(1, "no such package"), (0, "not installed: make orphans")]
)
def test_a_failed_installation_leaves_nothing_that_looks_like_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, why: str
) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        '#!/bin/sh\nmkdir -p "$6/node_modules"; echo "no such package" >&2; exit ' + str(status)
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    made = Runner(package="some", version="1", registry="npm", program="x", arguments=())
    with pytest.raises(Unavailable, match=why):
        made.install(tmp_path)
    assert not list((tmp_path / "orphans").iterdir())


def test_all_run_the_same_document(tmp_path: Path) -> None:
    write_documents(tmp_path, "http://127.0.0.1:1")
    assert "http://127.0.0.1:1}" in (tmp_path / "shop.openapi.yaml").read_text().replace('"', "")
    assert all(DOCUMENT in one.arguments for one in RUNNERS)


def test_what_was_not_counted_is_drawn_as_a_dash() -> None:
    absent = Outcome(runner="some", version="1", reached=False, ended="not run: absent")
    cells = [list(column.cells) for column in drawn([absent]).columns]
    assert cells == [["some"], ["1"], ["–"], ["not run: absent"], ["–"], ["–"]]
