"""What is said of known vulnerabilities, and what it does to `make check` and `make audit`."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

KNOWN = {"name": "good", "version": "1.0", "vulns": []}
BAD = {"name": "bad", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "strange", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "check", "release"),
    [
        ([KNOWN], 0, 0),
        ([KNOWN, BAD], 1, 1),
        ([KNOWN, UNKNOWN], 0, 1),
        ([UNKNOWN], 0, 1),
        ([], 0, 1),
    ],
)
def test_a_vulnerability_fails_and_what_was_not_looked_up_fails_a_release(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    packages: list[dict[str, Any]],
    check: int,
    release: int,
) -> None:
    monkeypatch.setattr(audit, "found", lambda: packages)
    assert (audit.main([]), audit.main(["--must-reach"])) == (check, release)


def test_it_is_named_with_what_mends_it(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "found", lambda: [KNOWN, BAD, UNKNOWN])
    audit.main([])
    said = capsys.readouterr().out
    assert "bad 1.0: PYSEC-1; mended in 1.1" in said
    assert "1 known vulnerabilities in 2 packages" in said
    assert "audit: 1 packages were not" in said
