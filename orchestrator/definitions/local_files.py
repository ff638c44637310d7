"""Where the sources of a document lie on this machine. Nothing is ever fetched.

`sources.yaml` in the document's folder says it of urls that are no paths, or not the right ones:

    https://api.example.org/openapi.json: ./apis/example.json
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from urllib.parse import urljoin

from orchestrator.definitions.cursor import Cursor
from orchestrator.definitions.document import WORKFLOWS, read_document
from orchestrator.definitions.problems import shown
from orchestrator.errors import RefusedError

MAP = "sources.yaml"
_MOST_FILES = 200  # of a folder that are looked at for the one that calls itself by an address
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def local_path(at: Cursor, folder: Path) -> str | None:
    """A source's url as the path of a file, from the folder; noted when it is none.

    A relative url counts from the document's `$self`. Where that is an address, `sources.yaml` may
    say it of the address that the two make; else the files lie here as they do there.
    """
    base, url = own_address(at), str(at.value)
    is_address = _SCHEME.match(base) is not None
    if base and not _SCHEME.match(url):
        whole = urljoin(base, url) if is_address else posixpath.normpath(_beside(base, url))
        url = url if is_address else whole
    else:
        whole = url
    mapped = _mapped(at, folder, whole) or (_mapped(at, folder, url) if url != whole else None)
    if mapped is not None:
        return mapped
    url = url.removeprefix("file:")
    if _SCHEME.match(url):
        same = _of_that_name(folder, url)
        if same is not None:
            return same
        at.bad(
            "the path of a file beside this document, or a line for this url in "
            f"{MAP} there; nothing is fetched from elsewhere"
        )
        return None
    return url


def own_address(at: Cursor) -> str:
    """The `$self` of a document: its own URI, or a part of one; empty where it has none."""
    root = at.document.value
    found = root.get("$self") if isinstance(root, Mapping) else None
    return found if isinstance(found, str) else ""


def _beside(base: str, url: str) -> str:
    return posixpath.join(posixpath.dirname(base), url)


def _of_that_name(folder: Path, url: str) -> str | None:
    """A workflow document in the folder whose `$self` is that url."""
    for path in islice(sorted(folder.glob("*.arazzo.*")), _MOST_FILES):
        try:
            # Looked at as text first: most documents name no such url, and need not be read.
            if url not in path.read_text(errors="replace"):
                continue
            value = read_document(path, limits=WORKFLOWS, with_lines=False).value
        except (OSError, RefusedError):  # who calls that document is told what is wrong with it
            continue
        if isinstance(value, Mapping) and value.get("$self") == url:
            return path.name
    return None


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
