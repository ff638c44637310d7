"""Words that bench and workers share; light, so that a worker's memory is its own."""

from __future__ import annotations

STUB_VARIABLE = "BENCH_STUB"
REFUSED = "refused"

DBOS_URL, DBOS_NAME, DBOS_PORT = "BENCH_DBOS_URL", "BENCH_DBOS_NAME", "BENCH_DBOS_PORT"
DBOS_CONCURRENCY = "BENCH_DBOS_CONCURRENCY"  # of the queue in each process; 0 is without end
DBOS_POLLING_SECONDS = 0.1  # its default is 1 s, which would only add to every figure
APPLICATION = QUEUE = SERVICE = "bench"


def refused(undone: int) -> str:
    """How a run says that it was refused, and how many compensations it has done."""
    return f"{REFUSED}, {undone} undone"
