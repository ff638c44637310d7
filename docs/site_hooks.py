"""What MkDocs needs besides: diagrams drawn by files of ours, and links to files of the source.

Material would fetch Mermaid from elsewhere; the console's NiceGUI brings it along, so it is copied
from there. Pages link to files beside docs/ (`../deploy/Caddyfile`), which no site has: there they
are shown as what they are, names of files.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MERMAID = Path("elements") / "mermaid" / "dist"
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!decisions/|reference/)([\w./-]+)\)")
DOCS = Path(__file__).parent


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page with links to what is outside of docs/ as names of files."""
    folder = (DOCS / page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        target = (folder / link[0].rpartition("(")[2].rstrip(")")).resolve()
        return link[0] if target.is_relative_to(DOCS) else f"{link[1]} (`{link[2]}`)"

    return OUTSIDE.sub(shown, markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Mermaid's files beside the pages."""
    spec = find_spec("nicegui")
    if spec is None or spec.origin is None:
        raise SystemExit("the site's diagrams need NiceGUI's copy of Mermaid: pip install nicegui")
    source = Path(spec.origin).parent / MERMAID
    shutil.copytree(source, Path(config["site_dir"]) / "mermaid", dirs_exist_ok=True)
