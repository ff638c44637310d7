"""The checkout published as it is, and one run of it on a real worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.core.states import RunStatus
from orchestrator.service.submitting import Submission
from tests.bench.orphans.documents import DOCUMENT, WORKFLOW, write_documents
from tests.bench.orphans.shop import Shop
from tests.integration.stripe.stack import settle, stack


async def check_out(shop: Shop, folder: Path, inputs: Mapping[str, Any]) -> RunStatus:
    """How the run ended. Broker, worker and database are private to it, below `folder`."""
    config = folder / "config"
    (config / "apis").mkdir(parents=True)
    write_documents(config / "workflows", shop.address)
    api = {"api": "shop", "base_url": shop.address, "allow_private_addresses": True}
    (config / "apis" / "shop.yaml").write_text(yaml.safe_dump(api))
    async with stack(folder / "state", config, [DOCUMENT], {}) as services:
        wanted = Submission(workflow=WORKFLOW, idempotency_key="one", inputs=inputs)
        runs = await settle(services, [wanted])
    return runs["one"].status
