"""Where the sources of a document lie on this machine. Nothing is ever fetched.

`sources.yaml` in the document's folder says it of urls that are no paths, or not the right ones:

    https://api.example.org/openapi.json: ./apis/example.json
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import WORKFLOWS, read_document
from orchestrator.definitions.problems import shown
from orchestrator.errors import RefusedError

MAP = "sources.yaml"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def local_path(at: Cursor, folder: Path) -> str | None:
    """A source's url as the path of a file, from the folder; noted when it is none."""
    url = str(at.value)
    mapped = _mapped(at, folder, url)
    if mapped is not None:
        return mapped
    url = url.removeprefix("file:")
    if _SCHEME.match(url):
        at.bad(
            "the path of a file beside this document, or a line for this url in "
            f"{MAP} there; nothing is fetched from elsewhere"
        )
        return None
    return url


def _mapped(at: Cursor, folder: Path, url: str) -> str | None:
    file = folder / MAP
    if not file.is_file():
        return None
    try:
        known = read_document(file, limits=WORKFLOWS).value
    except RefusedError as error:
        at.findings.problems += [one for one in error.problems if one not in at.findings.problems]
        return None
    path = known.get(url) if isinstance(known, Mapping) else known
    if path is not None and not isinstance(path, str):
        at.findings.add(f"{MAP} {url}".strip(), shown(path), "urls and the paths of their files")
        return None
    return path
