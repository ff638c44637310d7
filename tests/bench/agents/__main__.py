"""`orchestrator bench agents`: a thousand agents at once before one API with a limit.

Each has a connection and a key of its own over `orchestrator mcp --http`, looks for one of fifty
workflows, has it run and waits for its end; four tenants. The API is a process that counts what
arrives against its limit; workers, broker, database and server are real, and ended again. Exit
code 1: a run did not end as it had to, or the limit was exceeded.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from orchestrator.embedded.address import free_port
from orchestrator.embedded.process import Child, ChildSpec, stop_all
from orchestrator.ports import Role
from orchestrator.service.access import Access
from orchestrator.settings import Settings
from orchestrator.telemetry.logging import configure_logging
from tests.bench.agents.crowd import Agent, know_schemas, play
from tests.bench.engine import cores
from tests.bench.engine.figures import percentile
from tests.bench.gate import flows, judging
from tests.bench.gate.flows import TENANTS
from tests.bench.gate.judging import Call, Limit
from tests.bench.gate.stage import Asked, Stage, set_up
from tests.bench.gate.steering import ApiProcess
from tests.faults.chaos.stage import new_folder, remove

COMMAND = str(Path(sys.executable).with_name("orchestrator"))
_CONTENDED_SHARE = 0.9  # of a tenant's calls; at its end it may have fewer waiting than its share
_CONFIGURED = ("database_url", "broker_url", "gate_url", "state_dir", "config_dir")


@contextmanager
def face(settings: Settings, log: Path) -> Iterator[str]:
    """`orchestrator mcp --http` as a process of its own; its address."""
    port = free_port()
    env = {f"ORCHESTRATOR_{name.upper()}": str(getattr(settings, name)) for name in _CONFIGURED}
    child = Child(
        ChildSpec(
            name="mcp", argv=(COMMAND, "mcp", "--http", "--port", str(port)),
            env={**env, "ORCHESTRATOR_API_AUTH": "keys"}, ready=lambda: _listens(port),
        ),
        log,
    )  # fmt: skip
    child.start()
    try:
        child.wait_ready()
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        stop_all([child])


def _listens(port: int) -> bool:
    with socket.socket() as link:
        return link.connect_ex(("127.0.0.1", port)) == 0


async def measure(stage: Stage, options: argparse.Namespace) -> dict[str, Any]:
    """All of it, once."""
    limit = Limit(amount=options.rate)
    each = options.agents // len(TENANTS)
    by_tenant = [flows.runs("bench", each, tenant=tenant) for tenant in TENANTS]
    wanted = [one for together in zip(*by_tenant, strict=True) for one in together]
    calls = sum(each.calls for each in wanted)
    patience = max(options.patience, 4 * calls / limit.per_second)
    with ApiProcess(stage.folder, name="bench", limit=limit) as api:
        scene = stage.scene({api: {"rate": limit.notation}}, workers=options.workers)
        async with scene as there:
            settings = there.crew.place.settings
            agents = await _invited(there.crew.services.access, wanted)
            with face(settings, stage.folder / "logs" / "mcp.log") as url:
                assert urlsplit(url).hostname == "127.0.0.1"
                seconds = await play(url, agents, patience=patience)
            seen, violations = api.calls(), api.statistics().violations
    return {
        **_judged(agents), **_of_api(seen, limit), "violations": violations,
        "seconds": round(seconds, 1), "limit": limit.notation, "tenants": len(TENANTS),
        "workflows": len({each.flow.name for each in wanted}), "workers": options.workers,
    }  # fmt: skip


async def _invited(access: Access, wanted: Sequence[flows.Wanted]) -> list[Agent]:
    agents = []
    for number, each in enumerate(wanted):
        _, key = await access.create(
            f"agent-{number:04}", role=Role.SUBMITTER, tenant=each.tenant, lives_seconds=None,
            by="bench",
        )  # fmt: skip
        agents.append(Agent(key=key, wanted=each))
    return agents


def _judged(agents: Sequence[Agent]) -> dict[str, Any]:
    """What became of the agents, as they saw it."""
    done = [each.seconds for each in agents if each.seconds is not None]
    wrong = Counter(each.status for each in agents if each.status != each.wanted.ending)
    quick = [seconds for each in agents for seconds in each.calls]
    by_tenant = {
        tenant: percentile(
            [a.seconds for a in agents if a.wanted.tenant == tenant and a.seconds is not None], 0.99
        )
        for tenant in TENANTS
        if any(a.wanted.tenant == tenant and a.seconds is not None for a in agents)
    }
    return {
        "agents": len(agents), "finished": len(done), "wrong": dict(wrong.most_common(5)),
        "compensated": sum(each.status == "compensated" for each in agents),
        "p50_seconds": round(percentile(done, 0.5), 2) if done else None,
        "p99_seconds": round(percentile(done, 0.99), 2) if done else None,
        "p99_seconds_by_tenant": {name: round(found, 2) for name, found in by_tenant.items()},
        "call_p50_ms": round(1000 * percentile(quick, 0.5)) if quick else None,
        "call_p99_ms": round(1000 * percentile(quick, 0.99)) if quick else None,
        "asked_again": sum(each.asked_again for each in agents),
    }  # fmt: skip


def _of_api(seen: Sequence[Call], limit: Limit) -> dict[str, Any]:
    """What the API saw: how full its limit was, and whom it served while all wanted something."""
    if not seen:
        return {"calls": 0}
    begin, end = judging.contended(seen, TENANTS, share=_CONTENDED_SHARE)
    served = Counter(call.tenant for call in judging.between(seen, begin, end))
    lasted = seen[-1].at - seen[0].at
    return {
        "calls": len(seen), "jain": round(judging.jain([served[name] for name in TENANTS]), 4),
        "utilization": round((len(seen) - 1) / lasted / limit.per_second, 3) if lasted else None,
        "most_in_a_second": judging.most_in_a_window(seen, 1.0),
    }  # fmt: skip


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="orchestrator bench agents", description=__doc__)
    parser.add_argument("--agents", type=int, default=1000, help="a multiple of four")
    parser.add_argument("--rate", type=int, default=200, help="calls a second that the API takes")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument(
        "--patience", type=float, default=300.0, help="seconds after which an agent has failed"
    )
    parser.add_argument("--db", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    configure_logging(level="ERROR")
    know_schemas()
    files, load = cores.open_many_files(), round(os.getloadavg()[0], 1)
    folder, begun = new_folder(), time.monotonic()
    asked = Asked(workers=(options.workers,), runs=options.agents, database=options.db)
    with set_up(asked, folder) as stage:
        found = uvloop.run(measure(stage, options))
    remove(folder)
    machine = {"cores": os.cpu_count(), "load_average": load, "open_files": files}
    found |= {"db": options.db, "machine": machine, "all_seconds": round(time.monotonic() - begun)}
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', ' '):24}{value}")
    kept = found["finished"] == found["agents"] and not found["wrong"] and not found["violations"]
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
