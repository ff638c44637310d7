"""Known vulnerabilities of pinned packages, from a folder of advisories instead of a service.

For machines without a way to one: a checkout of PyPI's advisory database, or the unpacked archive
of another one. Format: OSV (https://ossf.github.io/osv-schema/, `affected` and its evaluation).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")


def pins(text: str) -> list[tuple[str, str]]:
    """Canonical names and versions of a constraints file."""
    found = map(_PIN.match, text.splitlines())
    return [(canonicalize_name(each[1]), each[2]) for each in found if each]


def read(folder: Path) -> list[Mapping[str, Any]]:
    """All advisories below it that were not withdrawn. ValueError for a folder without any."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in {".yaml", ".json"})
    documents = [_parsed(path) for path in files]
    advisories = [each for each in documents if isinstance(each, Mapping) and "affected" in each]
    if not advisories:
        raise ValueError(f"{folder}: no advisories in OSV's format, as *.yaml or *.json")
    return [each for each in advisories if "withdrawn" not in each]


def _parsed(path: Path) -> Any:
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else yaml.load(text, yaml.CSafeLoader)


def newest(advisories: Sequence[Mapping[str, Any]]) -> str:
    """When the newest of them was changed, ISO 8601."""
    return max(str(each.get("modified", "")) for each in advisories)


def looked_up(
    pinned: Sequence[tuple[str, str]], advisories: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """One for each package, in the form of pip-audit."""
    about: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for advisory in advisories:
        for affected in advisory["affected"]:
            package = affected.get("package", {})
            if package.get("ecosystem") == "PyPI":
                about[canonicalize_name(package["name"])].append((advisory["id"], affected))
    return [
        {"name": name, "version": version, "vulns": list(_vulnerabilities(version, about[name]))}
        for name, version in pinned
    ]


def _vulnerabilities(
    version: str, about: Sequence[tuple[str, Mapping[str, Any]]]
) -> Iterator[dict[str, Any]]:
    for identifier, affected in about:
        ranges = [each for each in affected.get("ranges", ()) if each["type"] == "ECOSYSTEM"]
        if version in affected.get("versions", ()) or any(_is_in(version, each) for each in ranges):
            mended = [e["fixed"] for each in ranges for e in each["events"] if "fixed" in e]
            yield {"id": identifier, "fix_versions": mended}


def _is_in(version: str, range_: Mapping[str, Any]) -> bool:
    """What the last event at or before the version says of it."""
    mine, is_affected = Version(version), False
    for kind, bound in sorted(_events(range_), key=lambda each: each[1]):
        if kind == "introduced":
            is_affected = is_affected or bound <= mine
        elif bound < mine or (kind == "fixed" and bound == mine):
            is_affected = False
    return is_affected


def _events(range_: Mapping[str, Any]) -> Iterator[tuple[str, Version]]:
    for event in range_["events"]:
        for kind, bound in event.items():
            if kind in {"introduced", "fixed", "last_affected"}:
                yield kind, Version(bound)
