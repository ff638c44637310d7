"""How long `workflows check` takes for hundreds of documents, and that none of them breaks it.

Copies every workflow document below some folders with its APIs, the copies spoilt at a few random
places, by seed; has the command check them all, and looks at its report. `--fuzz N` checks N
documents in this process instead, far more spoilt, and prints what made the check fail.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from orchestrator.definitions.checking.checker import check_document
from orchestrator.definitions.checking.report import DocumentReport
from orchestrator.definitions.document import parse_document
from orchestrator.errors import InvalidDefinition, NotFound
from orchestrator.service.checking import find_documents
from tests.unit.checking.mutating import mutated
from tests.unit.checking.shop import API, GOOD

ROOT = Path(__file__).resolve().parents[2]
COMMAND = str(Path(sys.executable).with_name("orchestrator"))


def originals(folders: list[Path]) -> list[Path]:
    """The documents that are spoilt."""
    found: list[Path] = []
    for folder in folders:
        try:
            found += find_documents([str(folder)])
        except NotFound:
            continue  # a folder of APIs only
    return found


def make_corpus(target: Path, folders: list[Path], *, documents: int, seed: int) -> None:
    """Spoilt copies in `target`, each with the files that stood beside its original."""
    chance = random.Random(seed)
    sources = originals(folders)
    for number in range(documents):
        original = sources[number % len(sources)]
        place = target / f"{original.parent.name}-{number % len(sources)}"
        if not place.exists():
            place.mkdir()
            for beside in original.parent.iterdir():
                if beside.is_file() and beside not in sources:
                    (place / beside.name).symlink_to(beside)
        value = parse_document(original.read_text("utf-8"), name=original.name).value
        spoilt = value if number < len(sources) else mutated(value, chance, times=number % 7)
        (place / f"{number:04}.arazzo.json").write_text(json.dumps(spoilt, indent=1))


def measure(folders: list[Path], *, documents: int, seed: int, jobs: int) -> dict[str, Any]:
    """Seconds of the command, and what it found."""
    with tempfile.TemporaryDirectory() as name:
        target = Path(name)
        make_corpus(target, folders, documents=documents, seed=seed)
        started = time.perf_counter()
        command = [COMMAND, "workflows", "check", str(target), "--json", "--jobs", str(jobs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    reports = json.loads(done.stdout)
    rules = Counter(f["rule"] for report in reports for f in report["findings"])
    return {
        "documents": len(reports), "seconds": round(seconds, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2), "jobs": jobs, "seed": seed,
        "exit_code": done.returncode, "slowest": max(r["seconds"] for r in reports),
        "failed": rules.get("checker-failed", 0), "findings": dict(rules.most_common()),
    }  # fmt: skip


def fuzz(folders: list[Path], *, documents: int, seed: int) -> dict[str, Any]:
    """Check that many spoilt documents here; `failed` has the seeds that broke the check."""
    values = [parse_document(p.read_text("utf-8"), name=p.name).value for p in originals(folders)]
    failed: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as name:
        for number in range(seed, seed + documents):
            chance = random.Random(number)
            api = API if number % 3 else mutated(API, chance, times=1 + number % 10)
            (Path(name) / "shop.json").write_text(json.dumps(api))
            original = GOOD if number % 2 else chance.choice(values)
            text = json.dumps(mutated(original, chance, times=1 + number % 30))
            for finding in _findings(text, Path(name)):
                if finding.rule == "checker-failed":
                    failed[number] = finding.found
    return {"documents": documents, "seed": seed, "failed": failed}


def _findings(text: str, folder: Path) -> Any:
    try:
        document = parse_document(text, name="spoilt.arazzo.json")
    except InvalidDefinition:
        return ()
    report: DocumentReport = check_document(document, file=document.name, folder=folder)
    return report.findings


def main() -> None:
    """Print one JSON object; exit code 1 where the check failed for a document or took too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folders", nargs="*", type=Path, default=[ROOT / "tests/data", ROOT / "config"]
    )
    parser.add_argument("--documents", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="more is a failure")
    parser.add_argument("--fuzz", type=int, metavar="N")
    parser.add_argument("--json", action="store_true", help="as it always is")
    chosen = parser.parse_args()
    if chosen.fuzz is not None:
        result = fuzz(chosen.folders, documents=chosen.fuzz, seed=chosen.seed)
    else:
        result = measure(
            chosen.folders, documents=chosen.documents, seed=chosen.seed, jobs=chosen.jobs
        )
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    sys.exit(bool(result["failed"]) or result.get("seconds", 0) > chosen.seconds)


if __name__ == "__main__":
    main()
