"""The documentation as a site: whole, without a broken link, and without anybody else's server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import errors
from orchestrator.settings import Settings
from orchestrator.telemetry.metrics import METRICS
from tests.unit.docs.snippets import ROOT, commands, snippets

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: any broken link, anchor or forgotten page fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "-f", ROOT / ".mkdocs.yml", "-d", folder]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_reached(site: Path) -> None:
    navigation = (ROOT / ".mkdocs.yml").read_text()
    pages = [str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if page not in navigation and "decisions/" not in page] == []
    assert len(list(site.rglob("*.html"))) > len(pages)


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    loading = re.compile(r"""<(?:script|link|img|iframe)[^>]*?(?:src|href)="(https?://[^"]+)""")
    found = {url for page in site.rglob("*.html") for url in loading.findall(page.read_text())}
    assert found == set()


def test_the_readme_and_decisions_link_to_what_is_there() -> None:
    own = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
    pages = [ROOT / "README.md", *ROOT.glob(".github/*.md"), *(DOCS / "decisions").glob("*.md")]
    links = [(page, target) for page in pages for target in own.findall(page.read_text())]
    assert [str(link) for link in links if not (link[0].parent / link[1]).exists()] == []
    assert len(links) > 20


def _all_commands() -> set[str]:
    lines = (DOCS / "reference" / "cli.md").read_text().splitlines()
    return {line.strip("# ") for line in lines if line.startswith("##")}


def test_the_reference_has_all_there_is() -> None:
    texts = {page.name: page.read_text() for page in (DOCS / "reference").glob("*.md")}
    assert [name for name in Settings.model_fields if f"`{name}`" not in texts["settings.md"]] == []
    kinds = [
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    kinds.remove("OrchestratorError")
    assert [name for name in kinds if f"`{name}`" not in texts["errors.md"]] == []
    metrics = (DOCS / "metrics.md").read_text()
    assert [each.name for each in METRICS if f"`{each.name}`" not in metrics] == []


def test_commands_on_the_pages_are_in_the_reference() -> None:
    known = _all_commands()
    used = {
        next((name for name in (" ".join(words[:2]), words[0]) if name in known), " ".join(words))
        for each in snippets()
        if each.kind == "bash"
        for words in commands(each.text, "orchestrator")
        if words and not words[0].startswith("-")
    }
    assert used <= known
    assert len(used) > 40
