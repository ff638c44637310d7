"""The REST face in this process, over real services: SQLite, a broker, the shipped workflows."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from orchestrator.api.app import make_app
from orchestrator.core.guarding import Charge
from orchestrator.core.maps import Counts
from orchestrator.core.saga import Saga
from orchestrator.core.states import Direction, RunStatus
from orchestrator.ports import (
    Agent,
    Asks,
    AuditRecord,
    Awaiting,
    ClaimedRun,
    NewEscalation,
    NewRun,
    NewWait,
    Role,
    RunWrite,
    WaitRecord,
    WorkflowVersion,
)
from orchestrator.ports.maps import NewMap
from orchestrator.settings import Settings
from orchestrator.store import SqlStore, open_store
from orchestrator.wiring_services import Services, open_services
from tests.integration.api.documented import Documented, Promises, documented
from tests.store.making import AT, ME, new_id, registered

ROOT = Path(__file__).parents[3]
WORKFLOW = "payments"
INPUTS = {
    "order_id": "o-1", "email": "ada@example.org", "deposit": 100, "balance": 200,
    "deposit_source": "tok_visa", "balance_source": "tok_visa",
}  # fmt: skip


@dataclass(kw_only=True)
class Face:
    """The application with its services, and clients that talk to it."""

    app: FastAPI
    services: Services
    store: SqlStore
    version: WorkflowVersion
    client: Callable[..., httpx.AsyncClient]

    async def key(self, role: Role, *, tenant: str | None = None, name: str = "ada") -> str:
        _, text = await self.services.access.create(
            name, role=role, tenant=tenant, lives_seconds=None, by="root"
        )
        return text

    async def asker(self, role: Role, *, tenant: str | None = None) -> httpx.AsyncClient:
        """A client with a key of its own."""
        return self.client(await self.key(role, tenant=tenant))

    async def accepted(self, **changes: Any) -> str:
        run_id = new_id()
        fields: dict[str, Any] = {
            "id": run_id, "workflow_id": self.version.id, "workflow": self.version.workflow,
            "version": self.version.version, "inputs": INPUTS, "inputs_digest": run_id,
            "idempotency_key": run_id, **changes,
        }  # fmt: skip
        await self.store.accept([NewRun(**fields)])
        return run_id

    async def guarded(self, agent: Agent, *under: Agent, amount: int = 0) -> str:
        """A run of this agent that counts under its policy, or these; `amount`: millionths."""
        run_id = new_id()
        run = NewRun(
            id=run_id, workflow_id=self.version.id, workflow=self.version.workflow,
            version=self.version.version, inputs=INPUTS, inputs_digest=run_id,
            idempotency_key=run_id, tenant=agent.tenant, actor=agent.name,
        )  # fmt: skip
        charge = Charge(
            run_id=run_id, workflow=run.workflow, amount=amount, currency="EUR" if amount else ""
        )
        await self.store.accept_guarded([run], [charge], {run_id: under or (agent,)})
        return run_id

    async def claimed(self, run_id: str) -> ClaimedRun:
        if not [each for each in await self.store.workers() if each.id == ME]:
            await registered(self.store, ME)
        (taken,) = await self.store.claim([(run_id, 0)], owner=ME)
        return taken

    async def write(self, taken: ClaimedRun, **changes: Any) -> None:
        """What a worker would write of it."""
        about_saga = {k: changes.pop(k) for k in ("status", "direction", "steps") if k in changes}
        base = taken.saga(self.version.plan)
        saga = Saga(**{
            **{name: getattr(base, name) for name in base.__dataclass_fields__}, **about_saga
        })  # fmt: skip
        seq = taken.run.audit_seq + changes.pop("said", 1)
        audit = (AuditRecord(seq=seq, at=AT, kind=f"run.{saga.status}", actor=ME),)
        await self.store.record([RunWrite(
            run_id=taken.run.id, owner=ME, epoch=taken.run.epoch, saga=saga, audit=audit,
            **changes,
        )])  # fmt: skip

    async def stuck(self, **changes: Any) -> tuple[str, str]:
        """(escalation, run): a run whose first step is in doubt."""
        taken = await self.claimed(await self.accepted(**changes))
        opened = NewEscalation(
            id=new_id(), reason="in_doubt", detail="no answer", step=0,
            direction=Direction.FORWARD, context={"unknown": ["customer"]},
        )  # fmt: skip
        await self.write(taken, status=RunStatus.ESCALATED, escalation=opened, release=True)
        return opened.id, taken.run.id

    async def mapping(self, **changes: Any) -> WaitRecord:
        """A map over data of two items, none of which has begun, that a run waits for."""
        version = self.version
        counts = Counts(total=2, parallel=1)
        items = NewMap(
            workflow_id=version.id, workflow=version.workflow, version=version.version,
            counts=counts, given={"counted": True},
        )  # fmt: skip
        return await self.asking(asked={"items": 2}, asks=Asks.MAP, items=items, **changes)

    async def asking(
        self, *, asked: dict[str, Any] | None = None, asks: Asks = Asks.APPROVAL,
        items: NewMap | None = None, **changes: Any,
    ) -> WaitRecord:  # fmt: skip
        """An approval that a run waits for at its first step."""
        taken = await self.claimed(await self.accepted(**changes))
        base = taken.saga(self.version.plan)
        saga = dataclasses.replace(base, status=RunStatus.WAITING, wake_at=AT)
        wait = NewWait(
            id=new_id(), run_id=taken.run.id, step=0, attempt=1, step_id="ask",
            asks=asks, signal=None, asked=asked or {"message": "pay?"}, expires_at=None,
        )  # fmt: skip
        write = RunWrite(
            run_id=taken.run.id, owner=ME, epoch=taken.run.epoch, saga=saga, release=True
        )
        (found,) = await self.store.await_answers([Awaiting(wait=wait, write=write, map=items)])
        assert found is not None
        return found.wait


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shipped configuration, and a database in which a workflow is published."""
    folder = tmp_path_factory.mktemp("deployment")
    shutil.copytree(ROOT / "config", folder / "config")
    asyncio.run(_publish(Settings(config_dir=folder / "config", state_dir=folder)))
    return folder


async def _publish(settings: Settings) -> None:
    async with open_services(settings) as services:
        document = settings.config_dir / "workflows" / f"{WORKFLOW}.arazzo.yaml"
        await services.workflows.publish(document, by="root")


@pytest.fixture
def settings(deployment: Path, tmp_path: Path, broker_settings: dict[str, str]) -> Settings:
    shutil.copy(deployment / "orchestrator.db", tmp_path)
    key = tmp_path / "link-key"
    key.write_text("k" * 32)
    return Settings(
        config_dir=deployment / "config", state_dir=tmp_path, **broker_settings,
        max_input_bytes=10_000, link_key=f"file:{key}", public_url="http://localhost",
    )  # fmt: skip


@asynccontextmanager
async def face_of(settings: Settings, *, wants_keys: bool) -> AsyncIterator[Face]:
    async with open_services(settings) as services:
        published = await services.workflows.show(WORKFLOW)

        @asynccontextmanager
        async def given() -> AsyncIterator[Services]:
            yield services

        app = make_app(
            given, version="1", wants_keys=wants_keys, max_input_bytes=settings.max_input_bytes
        )
        store = open_store(settings.database, pool_size=2)
        clients: list[httpx.AsyncClient] = []
        promises = promises_of(wants_keys=wants_keys)

        def client(key: str | None = None, **headers: str) -> httpx.AsyncClient:
            if key is not None:
                headers["authorization"] = f"Bearer {key}"
            made = httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers,
                event_hooks={"response": [promises.check]},
            )  # fmt: skip
            clients.append(made)
            return made

        async with app.router.lifespan_context(app):
            yield Face(app=app, services=services, store=store, version=published, client=client)
        for each in clients:
            await each.aclose()
        await store.close()


@pytest.fixture
async def face(settings: Settings) -> AsyncIterator[Face]:
    """One that wants keys."""
    async with face_of(settings, wants_keys=True) as made:
        yield made


@pytest.fixture
async def open_face(settings: Settings) -> AsyncIterator[Face]:
    """One that does not."""
    async with face_of(settings, wants_keys=False) as made:
        yield made


@pytest.fixture(scope="session")
def openapi() -> list[Documented]:
    """All operations of the document, without anything behind them."""
    return documented(document_of(wants_keys=True))


def promises_of(*, wants_keys: bool) -> Promises:
    """What answers are held against."""
    return Promises(document_of(wants_keys=wants_keys))


@cache
def document_of(*, wants_keys: bool) -> dict[str, Any]:
    """The document of any such application: half of what one takes to begin is writing it."""

    @asynccontextmanager
    async def never() -> AsyncIterator[Services]:
        raise AssertionError("nothing is asked")
        yield

    app = make_app(never, version="1", wants_keys=wants_keys, max_input_bytes=10_000)
    return app.openapi()
