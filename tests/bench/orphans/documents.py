"""The one Arazzo document that everybody runs, over the shop's OpenAPI document."""

from __future__ import annotations

import json
from pathlib import Path

DOCUMENT, WORKFLOW = "checkout.arazzo.yaml", "checkout"
INPUTS = {"name": "Ada", "amount": 1250}
INPUT_FILE = "inputs.json"
_API_DOCUMENT, _WRITTEN_ADDRESS = "shop.openapi.yaml", "http://127.0.0.1:8080"
_HERE = Path(__file__).parent


def write_documents(folder: Path, address: str) -> None:
    """Both of them, with this address of the shop, and the inputs as a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DOCUMENT).write_text((_HERE / DOCUMENT).read_text())
    api = (_HERE / _API_DOCUMENT).read_text().replace(_WRITTEN_ADDRESS, address)
    (folder / _API_DOCUMENT).write_text(api)
    (folder / INPUT_FILE).write_text(json.dumps(INPUTS))
