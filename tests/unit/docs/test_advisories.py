"""Known vulnerabilities from a folder of advisories: what OSV says of them, and what it does."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _advisory(**affected: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": "Some_Package"}
    return {
        "id": "PYSEC-1", "modified": "2026-01-02T03:04:05Z",
        "affected": [{"package": package, **affected}],
    }  # fmt: skip


def _range(*events: dict[str, str], kind: str = "ECOSYSTEM") -> dict[str, Any]:
    return {"ranges": [{"type": kind, "events": list(events)}]}


BETWEEN = _range({"introduced": "1.2"}, {"fixed": "1.10"})
TWICE = _range({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "2.0rc1"}, {"fixed": "2.1"})
LAST = _range({"introduced": "0"}, {"last_affected": "1.4"})
OF_GIT = _range({"introduced": "0"}, kind="GIT")


@pytest.mark.parametrize(
    ("affected", "version", "is_known"),
    [
        (BETWEEN, "1.1", False),
        (BETWEEN, "1.2", True),
        (BETWEEN, "1.9.9", True),  # as a version, not as a text
        (BETWEEN, "1.10", False),
        (BETWEEN, "1.10.dev1", True),
        (TWICE, "0.9", True),
        (TWICE, "1.5", False),
        (TWICE, "2.0", True),
        (TWICE, "3.0", False),
        (LAST, "1.4", True),
        (LAST, "1.4.1", False),
        (OF_GIT, "1.0", False),
        ({"versions": ["1.7"]}, "1.7", True),
        ({"versions": ["1.7"]}, "1.8", False),
    ],
)
def test_a_version_is_affected_as_osv_says(
    advisories: ModuleType, affected: dict[str, Any], version: str, is_known: bool
) -> None:
    (found,) = advisories.looked_up([("some-package", version)], [_advisory(**affected)])
    assert bool(found["vulns"]) is is_known


def test_names_and_pins_are_compared_in_one_form(advisories: ModuleType) -> None:
    pinned = advisories.pins("# all\nSome.Package==1.3\n")
    (found,) = advisories.looked_up(pinned, [_advisory(**BETWEEN)])
    assert found["vulns"] == [{"id": "PYSEC-1", "fix_versions": ["1.10"]}]


def _kept(folder: Path, advisory: dict[str, Any], name: str = "one.json") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(advisory))


def test_what_a_folder_of_advisories_says_fails_as_well(
    audit: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pinned = tmp_path / "constraints.txt"
    pinned.write_text("some-package==1.3\nother==1\n")
    monkeypatch.setattr(audit, "PINNED", pinned)
    folder = tmp_path / "advisories"
    _kept(folder, _advisory(**BETWEEN), "one.yaml")  # JSON is YAML
    asked = ["--must-reach", "--advisories", str(folder)]
    assert audit.main(asked) == 1
    said = capsys.readouterr().out
    assert "the newest of 2026-01-02" in said
    assert "some-package 1.3: PYSEC-1; mended in 1.10" in said
    assert "1 known vulnerabilities in 2 packages" in said
    pinned.write_text("some-package==1.10\n")
    assert audit.main(asked) == 0


def test_withdrawn_ones_are_left_out(advisories: ModuleType, tmp_path: Path) -> None:
    _kept(tmp_path, _advisory() | {"withdrawn": "2026-01-03T00:00:00Z"})
    assert advisories.read(tmp_path) == []


def test_a_folder_without_any_is_no_success(
    audit: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        audit.main(["--advisories", str(tmp_path)])
    assert ended.value.code == 2
    assert "no advisories in OSV's format" in capsys.readouterr().err
