"""Every command of the pages is run as it stands, with something real where a reader fills it in.

But for servers, benchmarks and what is somebody's own, see `ELSEWHERE`.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from itertools import groupby

import pytest

from orchestrator.service.sizing import read_costs, to_json
from tests.acceptance.pages.lines import Line, lines
from tests.acceptance.pages.world import LAB, World, example, world

pytestmark = [pytest.mark.broker, pytest.mark.long, pytest.mark.timeout(600)]

ELSEWHERE = {
    r"docs/tutorial.md .*": "tests/acceptance/test_tutorial.py",
    r"\S+ (up|worker|api|mcp|init)\b.*": "goes on until it is ended: tests/acceptance/test_*.py",
    r"\S+ demo\b.*": "tests/integration/demo, tests/packaging/newcomer",
    r"\S+ bench .*": "takes minutes to hours; short ones are in tests/acceptance/test_bench_*.py",
    r"docs/insights.md .* --accept .*": "tests/integration/learning/test_learning.py",
}
ENDED = 5
CODES = {
    # Exit codes that say something else than that all is well, as the pages tell.
    r"--fail-at": {1},
    r"^jobs (pause|resume|cancel)": {ENDED},
}
Means = Callable[[World], str]
MEANINGS: tuple[tuple[str, str, Means], ...] = (
    # What a word stands for, by its command; the first that fits. What a snippet has once had
    # made for it stays so.
    (r"escalations release ", "ID", World.claimed),
    (r"escalations .*--outputs", "ID", World.lost),
    (r"escalations ", "ID", World.stuck),
    (r"approvals ", "ID", World.approval),
    (r"approvals ", "4f9a21", lambda world: world.approval()[-12:]),
    (r"proposals ", "ID", World.proposal),
    (r"keys revoke", "ID", World.key),
    (r"jobs ", "JOB", World.job),
    (r"runs (signal|edit|migrate|pause|cancel) ", "RUN", World.waiting),
    (r"runs rerun ", "RUN", World.abandoned),
    (r"audit verify ", "412:9f3c…", World.checkpoint),
    (r"archive ", "RUN", World.archived),
    (r"(audit|submit) ", "RUN", World.succeeded),
    (r"runs show ", "…", World.succeeded),
    (r"agents ", "NAME", World.agent),
    (r"apis health ", "NAME", lambda _: "shop"),
    (r"insights ", "WORKFLOW", lambda _: "checkout"),
    (r".*--reason …", "…", lambda _: "as the page says"),
    (r".*", "/run/secrets/publisher", lambda _: "publisher"),
    (r".*", "audit.key.pub", lambda _: "keys/audit.key.pub"),
    (r".*", "s3://records/orchestrator", lambda w: f"file://{w.deployment.folder}/records"),
    (r".*", "https://sandbox.example/v1", lambda world: world.shop),
    (r".*", "pay=http://127.0.0.1:8001", lambda world: f"pay={world.shop}"),
    (r".*", "shop=http://127.0.0.1:8002", lambda world: f"shop={world.shop}"),
)  # fmt: skip
OPTIONS = {"--where": "api=payments", "--workflow": "checkout", "--tenant": "acme", "--api": "shop"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("pages")) as found:
        yield found


@pytest.mark.parametrize("page", list(dict.fromkeys(line.snippet.page for line in lines())))
def test_each_command_is_run(page: str, place: World) -> None:
    _prepare(page, place)
    failed = []
    for _, some in groupby(_lines_of(page), key=lambda line: line.snippet):
        filled: dict[str, str] = {}
        for line in some:
            words = _words(line, place, filled)
            said = place.run(*words)
            fits_nothing = "--where" in words and "nothing fits the filter" in said.err
            if said.code not in _codes(line) and not fits_nothing:
                failed.append(f"{shlex.join(words)}: {said.code}: {said.out[-600:]}{said.err}")
    assert failed == [], "\n".join(failed)


def _lines_of(page: str) -> list[Line]:
    return [
        line for line in lines()
        if line.snippet.page == page
        and not any(re.fullmatch(pattern, f"{page} {line}") for pattern in ELSEWHERE)
    ]  # fmt: skip


def _codes(line: Line) -> set[int]:
    return next((codes for words, codes in CODES.items() if re.search(words, str(line))), {0})


def _prepare(page: str, world: World) -> None:
    """The files that a page speaks of."""
    folder = world.deployment.folder
    match page:
        case "docs/discovery.md":
            shutil.copytree(LAB, folder, dirs_exist_ok=True)
        case "docs/python.md":
            workflows = folder / "config" / "workflows"
            (workflows / "orders.py").write_text(example(page, "# config/workflows/orders.py"))
            document = example("docs/tutorial.md", "openapi: 3.1.0")
            (workflows / "shop.openapi.yaml").write_text(document)
        case "docs/recipes.md":
            wanted = ({"inputs": {"customer": str(number)}} for number in range(3))
            (folder / "customers.jsonl").write_text("\n".join(map(json.dumps, wanted)))
        case "docs/scaling.md":
            (folder / "costs.json").write_text(json.dumps(to_json(read_costs()[0])))


def _words(line: Line, world: World, filled: dict[str, str]) -> list[str]:
    """As they are typed: with something real in place of what stands for it, and a yes."""
    text, words = " ".join(line.words), list[str]()
    for before, word in zip(("", *line.words), line.words, strict=False):
        if word == "…" and before in OPTIONS:
            words.append(OPTIONS[before])
        elif "*" in word and line.words[:2] == ("workflows", "discover"):
            folder = world.deployment.folder  # as the shell does
            words += (str(file.relative_to(folder)) for file in folder.glob(word))
        else:
            words.append(_meant(text, word, world, filled))
    asks = "erase" in words or (
        "--where" in words and "--dry-run" not in words and words[1] != "list"
    )
    sandbox = "rehearse" in words and "--allow-private-addresses" not in words
    return [*words, *["--yes"] * asks, *["--allow-private-addresses"] * sandbox]


def _meant(text: str, word: str, world: World, filled: dict[str, str]) -> str:
    for pattern, name, means in MEANINGS:
        if word == name and re.match(pattern, text):
            filled[word] = means(world)
            return filled[word]
    return filled.get(word, word)
