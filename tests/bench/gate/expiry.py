"""A token that ends in the middle of many runs: how often is a new one asked for?"""

from __future__ import annotations

import asyncio
import base64
import os
from typing import Any

from tests.bench.gate import flows
from tests.bench.gate.judging import Limit
from tests.bench.gate.stage import Stage, failed, until
from tests.bench.gate.steering import ApiProcess

RUNS = 500
LIMIT = Limit(amount=200)
_START_SECONDS = 30.0
_SETTLE_SECONDS = 1.0


async def measure(stage: Stage) -> dict[str, Any]:
    """Raises InvalidSetting where the product knows no OAuth2."""
    wanted = flows.runs("bench", min(RUNS, stage.asked.runs))
    calls = sum(run.calls for run in wanted)
    secret, key = stage.folder / "client-secret", stage.folder / "credentials-key"
    secret.write_text("of the bench alone")
    key.write_text(base64.urlsafe_b64encode(os.urandom(32)).decode())
    with ApiProcess(stage.folder, name="bench", limit=LIMIT) as api:
        api.set(wants_token=True)
        oauth2 = {
            "token_url": f"{api.address}/token", "client_id": "bench",
            "client_secret": f"file:{secret}",
        }  # fmt: skip
        limits = {"rate": LIMIT.notation, "auth": {"oauth2": oauth2}}
        async with stage.scene(
            {api: limits}, workers=stage.asked.usual_workers, credentials_key=f"file:{key}"
        ) as scene:
            await scene.submit(wanted)
            await until(lambda: api.statistics().calls > calls / 2, seconds=_START_SECONDS)
            before = api.statistics().token_requests
            api.revoke()
            done = await until(
                lambda: all(run.seconds is not None for run in scene.runs()),
                seconds=stage.asked.seconds + _START_SECONDS,
            )
            await asyncio.sleep(_SETTLE_SECONDS)
            wrong, after = failed(wanted, scene.runs()), api.statistics()
            refused = sum(call.status == 401 for call in api.calls())
    return {
        "runs": len(wanted), "all_ended": done, "violations": after.violations,
        "first_token_requests": before, "refreshes": after.token_requests - before,
        "calls_refused_401": refused, "failed_runs": sum(wrong.values()), "failed": wrong,
    }  # fmt: skip
