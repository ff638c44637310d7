"""How fast the ledger is: `python -m tests.faults.ledger.measure`."""

from __future__ import annotations

import asyncio
import time

from orchestrator.core.exchange import FrozenRequest
from orchestrator.core.states import Direction
from orchestrator.ports import AttemptContext
from tests.faults.ledger.desk import Desk
from tests.faults.ledger.transport import LedgerTransport
from tests.faults.ledger.writing import MemoryWriter
from tests.faults.workload import KEY_HEADER

IN_PROCESS = 50_000
CONTEXT = AttemptContext(
    run_id="r", step_id="s1", attempt=1, direction=Direction.FORWARD, tenant="t"
)


async def in_process(count: int) -> float:
    """Seconds for each request, well treated, one after the other."""
    transport = LedgerTransport(Desk(MemoryWriter(), time.time))
    begun = time.perf_counter()
    for number in range(count):
        request = FrozenRequest(
            method="POST", target=f"/keyed/k1-{number:06d}/s1", headers=((KEY_HEADER, str(number)),)
        )
        await transport.send("ledger", request, CONTEXT, timeout_seconds=3.0)
    return (time.perf_counter() - begun) / count


if __name__ == "__main__":
    print(f"in process: {asyncio.run(in_process(IN_PROCESS)) * 1e6:.1f} µs for each request")
