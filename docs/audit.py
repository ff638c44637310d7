"""Known vulnerabilities of what constraints.txt pins, as pip-audit finds them.

    python docs/audit.py [--must-reach] [--advisories FOLDER]

Exit code 1 for a vulnerability, which is named with the version that mends it. pip-audit calls it a
success when its service knows none of the packages; here it is said how many were looked up, and
with `--must-reach` (`make audit`, before a release) all of them have to be. Where no service is
reached, a folder of advisories does as well as it is new (`advisories.py`): its date is said.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import advisories

PINNED = Path(__file__).parents[1] / "constraints.txt"
PATIENCE_SECONDS = 120


def found() -> list[dict[str, Any]]:
    """One for each package, as pip-audit tells it; none where its service was not reached."""
    command = [
        str(Path(sys.executable).with_name("pip-audit")), "--requirement", str(PINNED),
        "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    if not done.stdout.strip():
        sys.stderr.write(
            (done.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1] + "\n"
        )
        return []
    packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    return packages


def vulnerabilities(packages: list[dict[str, Any]]) -> Iterator[str]:
    """In words."""
    for package in packages:
        for each in package.get("vulns", ()):
            yield f"{package['name']} {package['version']}: {each['id']}; {_mended(each)}"


def _mended(vulnerability: Mapping[str, Any]) -> str:
    versions = ", ".join(vulnerability.get("fix_versions", ()))
    return f"mended in {versions}" if versions else "not mended yet"


def found_in(folder: Path) -> list[dict[str, Any]]:
    """The same, from advisories."""
    known = advisories.read(folder)
    print(f"audit: {len(known)} advisories, the newest of {advisories.newest(known)[:10]}")
    return advisories.looked_up(advisories.pins(PINNED.read_text()), known)


def main(arguments: list[str]) -> int:
    """Say it; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must-reach", action="store_true")
    parser.add_argument("--advisories", type=Path)
    asked = parser.parse_args(arguments)
    try:
        packages = found_in(asked.advisories) if asked.advisories else found()
    except ValueError as wrong:
        parser.error(str(wrong))
    bad = list(vulnerabilities(packages))
    known = [each for each in packages if "skip_reason" not in each]
    for line in bad:
        print(line)
    print(f"audit: {len(bad)} known vulnerabilities in {len(known)} packages that were looked up")
    missed = len(packages) - len(known)
    if missed or not packages:
        print(
            f"audit: {missed or 'all'} packages were not: the service does not know them from here"
        )
    return int(bool(bad) or (asked.must_reach and bool(missed or not packages)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
