"""What is installed is what was chosen: every package is pinned, and their list is complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import skip_or_fail

ROOT = Path(__file__).parents[3]


@cache
def pinned() -> dict[str, str]:
    """Exact versions by name, as constraints.txt has them. Fails for a line that is none."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {}
    for line in lines:
        if line.strip() and not line.startswith("#"):
            found = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+_]+)", line)
            assert found is not None, f"not an exact version: {line}"
            pins[canonicalize_name(found[1])] = found[2]
    return pins


@cache
def needed() -> dict[str, str]:
    """What the development environment needs, with all that this needs, as installed."""
    found: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [Requirement("saga-orchestrator[dev]")]
    while left:
        wanted = left.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        there = metadata.distribution(wanted.name)
        found[key[0]] = there.version
        for text in there.requires or ():
            inner = Requirement(text)
            extras = wanted.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": e}) for e in extras):
                left.append(inner)
    del found["saga-orchestrator"]
    return found


def test_whatever_is_installed_is_pinned_to_what_is_installed() -> None:
    pins = pinned()
    assert {name: version for name, version in needed().items() if pins.get(name) != version} == {}


def test_each_dependency_has_a_lower_and_most_an_upper_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = [Requirement(text) for group in groups for text in group]
    own = [item for item in wanted if canonicalize_name(item.name) != "saga-orchestrator"]
    loose = [str(item) for item in own if ">=" not in str(item.specifier)]
    assert loose == []
    assert not [item for item in own if item.url is not None]
    product = [Requirement(text) for text in project["dependencies"]]
    assert [str(item) for item in product if "<" not in str(item.specifier)] == []


def test_the_bill_of_materials_names_whatever_is_needed(tmp_path: Path) -> None:
    written = tmp_path / "sbom.json"
    program = Path(sys.prefix, "tools", "bin", "cyclonedx-py")
    if not program.exists():
        skip_or_fail("no cyclonedx-py: make sbom, or make test, sets it up")
    options = ("--pyproject", "pyproject.toml", "--no-validate", "--output-reproducible")
    asked = [program, "environment", sys.executable, *options, "--output-file", written]
    subprocess.run(asked, cwd=ROOT, check=True, timeout=100)
    bill = json.loads(written.read_text())
    named = {canonicalize_name(item["name"]): item["version"] for item in bill["components"]}
    assert {name: ver for name, ver in needed().items() if named.get(name) != ver} == {}
    assert all(item.get("purl") for item in bill["components"] if item["name"] in needed())
