"""The use cases on one store and broker, built from the settings, for the faces."""

from __future__ import annotations

import resource
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from orchestrator.coordination.connect import connect, without_secrets
from orchestrator.coordination.health import RedisInspector
from orchestrator.coordination.high_water import RedisHighWaterMark
from orchestrator.coordination.looking import RedisGateView
from orchestrator.core.demands import Security
from orchestrator.definitions.checking.maturity import Deployment
from orchestrator.definitions.programs import Programs
from orchestrator.embedded.simulator import ProcessSimulator
from orchestrator.engine.api_credentials import lacking
from orchestrator.engine.apis import ApiConfig, config_of, load_apis
from orchestrator.engine.inspecting import ConfiguredCredentials
from orchestrator.engine.rates import parse_rates
from orchestrator.engine.slo_file import read_slos
from orchestrator.errors import InvalidSetting
from orchestrator.ports import (
    BrokerInspector,
    DeadLetterQueue,
    HintPublisher,
    Reads,
    WorkerStore,
)
from orchestrator.ports.finding import Finder
from orchestrator.ports.gate_view import GateView
from orchestrator.ports.looking import Looking
from orchestrator.ports.restoring import HighWaterMark
from orchestrator.service.access import Access
from orchestrator.service.agent_policies import AgentPolicies
from orchestrator.service.agents import Agents
from orchestrator.service.aliases import Aliases
from orchestrator.service.api_health import ApiHealth
from orchestrator.service.apis import Apis
from orchestrator.service.archive_erasing import ArchiveErasing
from orchestrator.service.archiving import Archiving
from orchestrator.service.auditing import Auditing, Checkpoints
from orchestrator.service.briefing import Briefings
from orchestrator.service.catalogue import Catalogue
from orchestrator.service.checking import Checking
from orchestrator.service.checking_runs import CheckingRuns
from orchestrator.service.comparing import Comparing
from orchestrator.service.consistency import Consistency
from orchestrator.service.deriving import Accepting
from orchestrator.service.doctor import Doctor
from orchestrator.service.dry_runs import DryRuns
from orchestrator.service.editing import Editing
from orchestrator.service.erasing import Erasing
from orchestrator.service.escalations import Escalations
from orchestrator.service.explaining import Explaining
from orchestrator.service.exporting import Exporting
from orchestrator.service.four_eyes import FourEyes
from orchestrator.service.guarding import Guards
from orchestrator.service.high_water import HighWaterWatch
from orchestrator.service.impact import Impacts
from orchestrator.service.insights import Insights
from orchestrator.service.job_kinds import job_kinds
from orchestrator.service.jobs import Jobs
from orchestrator.service.links import Links
from orchestrator.service.measuring import Measuring
from orchestrator.service.moving import Moving
from orchestrator.service.pausing import Pausing
from orchestrator.service.planning import Planning
from orchestrator.service.proposals import Proposals
from orchestrator.service.queues import Queues
from orchestrator.service.redelivery import Redeliverer
from orchestrator.service.rehearsing import Rehearsable, Rehearsal, Rehearsing
from orchestrator.service.rerunning import Rerunning
from orchestrator.service.restoring import Restoring
from orchestrator.service.retention import Retention
from orchestrator.service.runs import Runs
from orchestrator.service.scaling import Scaling
from orchestrator.service.schedules import Schedules
from orchestrator.service.simulating import Simulating
from orchestrator.service.sizing import read_costs
from orchestrator.service.slos import Slos
from orchestrator.service.submitting import Submitter
from orchestrator.service.vouching import Vouching
from orchestrator.service.waiting import Waiting
from orchestrator.service.watching import RunWatch
from orchestrator.service.workflows import Definitions, Workflows
from orchestrator.settings import Settings
from orchestrator.store import Looks, Sessions, SqlStore, migrate, open_store, open_worker_locks
from orchestrator.telemetry.logging import configure_logging
from orchestrator.telemetry.redact import address_of
from orchestrator.wiring import (
    about_people,
    checkpoint_signer,
    demanded,
    deployment_tasks,
    gate_url,
    new_id,
    plan_loader,
    read_api_files,
    submitter_of,
)
from orchestrator.wiring_archive import archive_erasing_of, archiving_of
from orchestrator.wiring_brokers import apps_of_brokers, broker_url, publisher_of
from orchestrator.wiring_looking import open_looking
from orchestrator.wiring_notices import console_of, link_signer
from orchestrator.wiring_payloads import seal_payloads
from orchestrator.wiring_reading import ReadsWhenAsked
from orchestrator.wiring_tokens import open_sign_in, open_tokens
from orchestrator.wiring_vouching import programs_of, vouching_of
from orchestrator.worker.absent import AbsentBroker
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.dead_letters import dead_letter_queue
from orchestrator.worker.inspecting import KombuInspector
from orchestrator.worker.redis_link import is_plain_redis

log = structlog.get_logger(__name__)

LARGEST_COMMIT = 500
LARGEST_PUBLISH = 500

if TYPE_CHECKING:
    from orchestrator.service.signing_in import SignIn  # brings cryptography


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The use cases, ready to be called."""

    workflows: Workflows
    comparing: Comparing
    aliases: Aliases
    submitter: Submitter
    runs: Runs
    pausing: Pausing
    rerunning: Rerunning
    moving: Moving
    checking_runs: CheckingRuns
    escalations: Escalations
    briefings: Briefings
    jobs: Jobs
    queues: Queues
    doctor: Doctor
    consistency: Consistency
    archiving: Archiving | None  # None: no archive is configured
    archive_erasing: ArchiveErasing | None  # the same
    retention: Retention
    restoring: Restoring
    reseal_payloads: Callable[[], Awaitable[int]]
    apis: Apis
    access: Access
    watch: RunWatch
    workers: WorkerStore
    accepting: Accepting
    agents: Agents
    dry_runs: DryRuns
    policies: AgentPolicies
    waiting: Waiting
    proposals: Proposals
    editing: Editing
    links: Links
    measuring: Measuring
    impacts: Impacts
    insights: Insights
    api_health: ApiHealth
    slos: Slos
    schedules: Schedules
    auditing: Auditing
    erasing: Erasing
    explaining: Explaining
    exporting: Exporting
    checkpoints: Checkpoints
    sign_in: SignIn | None  # None: keys and tokens alone
    looking: Looking  # begins looks, whose reads a replica may answer


@dataclass(frozen=True, kw_only=True, slots=True)
class _Broker:
    """The broker as the services see it."""

    publisher: HintPublisher
    dead_letters: DeadLetterQueue
    inspector: BrokerInspector
    others: Sequence[BrokerInspector] = ()  # of lanes that have their own
    gate: GateView
    mark: HighWaterMark


@asynccontextmanager
async def _open_broker(settings: Settings) -> AsyncIterator[_Broker]:
    """The configured broker; where none is known, one that says so when it is needed."""
    try:
        url = broker_url(settings)
    except InvalidSetting:
        absent = AbsentBroker("set ORCHESTRATOR_BROKER_URL, or start `orchestrator up`")
        yield _Broker(
            publisher=absent, dead_letters=absent, inspector=absent, gate=absent, mark=absent
        )
        return
    app = make_app(broker_url=url, lanes=settings.lanes)
    async with AsyncExitStack() as stack:
        apps = apps_of_brokers(settings, app, url)
        publisher, dead_letters = publisher_of(settings, apps, url), dead_letter_queue(app)
        gate = connect(where := gate_url(settings, url))
        inspector, *others = [_inspector(each, at, stack) for at, each in apps.items()]
        for end in (gate.aclose, dead_letters.close, publisher.close):
            stack.push_async_callback(end)
        yield _Broker(
            publisher=publisher, dead_letters=dead_letters,
            inspector=inspector, others=others,
            gate=RedisGateView(gate, where=without_secrets(where)),
            mark=RedisHighWaterMark(gate, where=without_secrets(where)),
        )  # fmt: skip


def _inspector(app: OrchestratorApp, url: str, stack: AsyncExitStack) -> BrokerInspector:
    if not is_plain_redis(app):
        return KombuInspector(app)
    redis = connect(url)
    stack.push_async_callback(redis.aclose)
    return RedisInspector(redis, without_secrets(url))


def open_definitions(settings: Settings) -> Definitions:
    """Load and validate workflows without a database or a broker."""
    return Definitions(deployment_tasks(settings))


async def rehearse(
    settings: Settings,
    found: Rehearsable,
    inputs: Mapping[str, Any],
    *,
    against: Mapping[str, str],
    allow_private_addresses: bool,
) -> Rehearsal:
    """Rehearse a workflow at these addresses, by API. Raises InvalidInput, InvalidSetting.

    Everything else about an API (credentials, headers, time limits) is as configured.
    """
    from orchestrator.engine.http import HttpTransport  # noqa: PLC0415 -- as above

    configured = read_api_files(settings.config_dir / "apis").configs({})
    apis = {
        name: replace(
            known := config_of(configured, name), base_url=url,
            allow_private_addresses=allow_private_addresses or known.allow_private_addresses,
        )
        for name, url in against.items()
    }  # fmt: skip
    http = HttpTransport(apis)
    try:
        rehearsing = Rehearsing(found.program, found.survey, http, rehearsal_id=new_id())
        return await rehearsing.run(inputs)
    finally:
        await http.aclose()


def _lacking(apis: Mapping[str, ApiConfig], api: str, security: Security) -> str:
    return lacking(config_of(apis, api), None, security)


def open_checking(settings: Settings) -> Checking:
    """Check workflow documents without a database or a broker."""
    configured = read_api_files(settings.config_dir / "apis").configs({})
    limits = [name for name, api in configured.items() if api.rates or api.concurrency is not None]
    return Checking(
        open_tasks=partial(deployment_tasks, settings),
        deployment=Deployment(limits=frozenset(limits), lacking=partial(_lacking, configured)),
        begin_process=partial(configure_logging, level="WARNING"),
    )


@asynccontextmanager
async def open_services(
    settings: Settings, *, pool_wait_seconds: float = 10.0
) -> AsyncIterator[Services]:
    """All use cases on one store and broker; closed on leaving.

    `pool_wait_seconds`: for a connection to the database while others of this process use them all.
    """
    async with AsyncExitStack() as stack:
        seal_payloads(settings)
        await migrate(settings.session_database)
        store = open_store(
            settings.database, pool_wait_seconds=pool_wait_seconds,
            shares_sessions=settings.shares_sessions,
        )  # fmt: skip
        stack.push_async_callback(store.close)
        shown, looking = open_looking(settings, store, stack, pool_wait_seconds=pool_wait_seconds)
        broker = await stack.enter_async_context(_open_broker(settings))
        vouching = vouching_of(settings, store, signs=True)
        programs = programs_of(vouching, plan_loader(store))
        reads = ReadsWhenAsked(settings, store, programs) if settings.dry_run_reads else None
        if reads is not None:
            stack.push_async_callback(reads.aclose)
        yield _services(settings, store, shown, looking, broker, vouching, programs, reads)


async def migrate_only(settings: Settings) -> bool:
    """Bring the database to this release's tables; False when it was there already."""
    return await migrate(settings.session_database)


def _services(
    settings: Settings, store: SqlStore, shown: SqlStore, looking: Looks, broker: _Broker,
    vouching: Vouching, programs: Programs, reads: Reads | None,
) -> Services:  # fmt: skip
    """`shown`: for those who show things to people, within looks. It is the same store for all that
    is done outside of these; whoever decides, or keeps what it read for later, has `store` alone.
    """
    redeliverer = Redeliverer(broker.publisher, programs)
    queues = Queues(store, broker.publisher, lanes=settings.lanes)
    read_files = partial(read_api_files, settings.config_dir / "apis")
    definitions = open_definitions(settings)
    workflows = Workflows(shown, definitions, vouching)
    guards = Guards(store, monotonic=time.monotonic)
    submitter = submitter_of(settings, store, programs, broker.publisher, guards)
    four_eyes = FourEyes(store, programs, new_id=new_id)
    waiting = Waiting(
        shown, redeliverer, max_data_bytes=settings.max_output_bytes, four_eyes=four_eyes
    )
    runs = Runs(shown, programs, redeliverer)
    simulating = Simulating(
        store, programs, ProcessSimulator(), lambda: workflows.tasks,
        folder=str((settings.config_dir / "workflows").absolute()),
    )  # fmt: skip
    planning = Planning(programs, partial(_base_url_of, settings), guards, reads, simulating)
    editing = Editing(store, store, programs, four_eyes, max_bytes=settings.max_input_bytes)
    watch, explaining = RunWatch(store), Explaining(shown)
    catalogue = Catalogue(
        store,
        _open_finder,
        monotonic=time.monotonic,
        successes=store.count_recent_successes,
        vectors=store,
        doubt=vouching.doubt,
    )
    pausing = Pausing(shown, redeliverer, new_id=new_id)
    moving = Moving(store, programs, redeliverer)
    rerunning = Rerunning(store, programs, broker.publisher, new_id=new_id)
    escalations = Escalations(
        shown, broker.dead_letters, programs, redeliverer, four_eyes=four_eyes,
        **about_people(settings),
    )  # fmt: skip
    kinds = job_kinds(store, programs, broker.publisher, redeliverer, escalations, new_id=new_id)
    jobs = Jobs(shown, broker.publisher, kinds, new_id=new_id)
    apis = Apis(shown, read_files, broker.gate)
    slos = Slos(shown, partial(read_slos, settings.config_dir))
    signer = checkpoint_signer(settings)
    archiving = archiving_of(settings, store, signer)
    return Services(
        workflows=workflows,
        comparing=Comparing(shown, definitions),
        aliases=Aliases(shown, vouching),
        submitter=submitter,
        runs=runs,
        pausing=pausing,
        rerunning=rerunning,
        moving=moving,
        checking_runs=CheckingRuns(store, kinds, moving, rerunning),
        agents=Agents(
            workflows, submitter, runs, catalogue, watch, explaining, waiting, guards=guards,
            planning=planning,
            most_output_bytes=settings.agent_output_bytes, console=console_of(settings) or "",
        ),
        dry_runs=DryRuns(workflows, planning, guards),
        policies=AgentPolicies(shown, jobs),
        escalations=escalations,
        measuring=Measuring(
            store, broker.inspector, queues, escalations.urgency, slos,
            Scaling(store, apis, read_costs()[0], parse_rates), looking,
            lanes=settings.lanes, now=time.monotonic,
        ),
        briefings=Briefings(shown, programs, partial(_base_url_of, settings), escalations),
        jobs=jobs,
        queues=queues,
        doctor=Doctor(
            store, broker.inspector, queues, others=broker.others,
            database=address_of(settings.database),
            wall_clock=wall_clock, dead_after_seconds=settings.dead_after_seconds,
            read_files=read_files, open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            credentials=ConfiguredCredentials(
                lambda: load_apis(settings.config_dir / "apis"), settings.credentials_key,
                partial(demanded, store),
            ),
            age=HighWaterWatch(store, broker.mark),
            sessions=Sessions(settings.database, settings.database_session_url),
            looking=looking,
        ),
        consistency=Consistency(store, Auditing(store).verify_run),
        archiving=archiving, archive_erasing=archive_erasing_of(settings, store, signer),
        retention=Retention(store, archiving), reseal_payloads=store.reseal_payloads,
        restoring=Restoring(
            store, store, open_worker_locks(settings.session_database), broker.mark,
            plan_loader(store),
            dead_after_seconds=settings.dead_after_seconds,
        ),
        auditing=Auditing(store),
        erasing=Erasing(store, store),
        explaining=explaining,
        exporting=Exporting(shown),
        checkpoints=Checkpoints(
            store, signer, every_seconds=settings.audit_checkpoint_seconds
        ),
        apis=apis,
        impacts=Impacts(shown, apis),
        api_health=ApiHealth(shown),
        insights=Insights(shown, apis, workflows, settings.config_dir / "workflows"),
        slos=slos,
        schedules=Schedules(shown, shown, programs, new_id=new_id),
        access=Access(
            store, new_id=new_id, monotonic=time.monotonic, tokens=open_tokens(settings)
        ),
        watch=watch,
        workers=store,
        accepting=Accepting(shown),
        waiting=waiting,
        editing=editing,
        proposals=Proposals(shown, shown, escalations, waiting, editing),
        links=Links(store, waiting, link_signer(settings)),
        sign_in=open_sign_in(settings),
        looking=looking,
    )  # fmt: skip


def _open_finder() -> Finder:
    """Imported when somebody searches: numpy alone takes a quarter of a second."""
    from orchestrator.search import open_finder  # noqa: PLC0415 - as said above

    return open_finder()


def _base_url_of(settings: Settings, api: str) -> str | None:
    """Where an API is by its configuration, which may have changed since the last question."""
    return config_of(read_api_files(settings.config_dir / "apis").configs({}), api).base_url


def wall_clock() -> datetime:
    """This machine's clock, for `doctor` to compare with the database's."""
    return datetime.now(UTC)  # noqa: TID251 - the one place that wants it
