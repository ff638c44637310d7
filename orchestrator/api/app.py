"""The application: routes, errors, guards, and the services behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from orchestrator.api import (
    agents,
    aliases,
    api_health,
    approvals,
    audit,
    escalations,
    impact,
    insights,
    jobs,
    links,
    metrics,
    moving,
    pauses,
    problems,
    proposals,
    runs,
    schedules,
    slos,
    system,
    tools,
    workflows,
)
from orchestrator.api.describing import describe
from orchestrator.api.guard import AnnouncedSize, ForBrowsers, LocalOnly
from orchestrator.api.streams import Streams
from orchestrator.wiring_services import Services

TITLE = "Orchestrator"
DESCRIPTION = """\
Start durable workflow runs, follow them, and decide what software cannot.

Errors are problem documents (RFC 9457) that name the place, what was found and what was wanted.
Pages carry the cursor of the next one. Decisions on escalations carry `If-Match`, so that of two
people who decide at once one wins and the other is told.
"""
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MORE_THAN_INPUTS = 64 * 1024
MOST_STREAMS = 1000


def make_app(
    open_services: Callable[[], AbstractAsyncContextManager[Services]],
    *,
    version: str,
    wants_keys: bool,
    max_input_bytes: int,
    most_streams: int = MOST_STREAMS,
    beside: Callable[[Services], Awaitable[None]] | None = None,
) -> FastAPI:
    """The REST face. Services are opened when it starts, and closed with it; `beside` runs until
    then. `most_streams` of one tenant may be open at once.

    Without keys whoever reaches it may do everything, so only loopback names are answered.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_services() as services:
            app.state.services = services
            task = None if beside is None else asyncio.ensure_future(beside(services))
            yield
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    largest = max_input_bytes + MORE_THAN_INPUTS
    app = FastAPIOffline(  # its page of documentation asks nobody else for its script
        title=TITLE, description=DESCRIPTION, version=version, lifespan=lifespan,
        docs_url="/docs", redoc_url=None,
        license_info={"name": "Apache-2.0"},
    )  # fmt: skip
    app.state.wants_keys = wants_keys
    app.state.streams = Streams(most_streams)
    problems.install(app)
    routes = (
        workflows, runs, pauses, approvals, links, escalations, proposals, jobs, system, impact,
        slos, insights, metrics, api_health, audit, agents, tools, schedules, aliases,
        moving,
    )  # fmt: skip
    for module in routes:
        app.include_router(module.router, max_body_size=largest)
    app.add_middleware(AnnouncedSize, most=largest, streamed=["/v1/runs:bulk"])
    if not wants_keys:
        app.add_middleware(LocalOnly, names=LOOPBACK_NAMES)
    app.add_middleware(ForBrowsers)
    describe(app, without_database=system.WITHOUT_DATABASE)
    return app
