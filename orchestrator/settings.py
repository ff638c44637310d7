"""One frozen settings object: environment `ORCHESTRATOR_*`, `config/settings.yaml`, defaults."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from orchestrator.core.redaction import path_of
from orchestrator.core.saga import EscalationReason
from orchestrator.core.severity import Severity
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.telemetry import redact

CONFIG_DIR_VARIABLE = "ORCHESTRATOR_CONFIG_DIR"


def _pointer(text: str) -> str:
    path_of(text)
    return text


class NotificationTarget(BaseModel):
    """Somebody who is told of escalations and approvals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    """For logs, metrics and the record of who was told."""
    url: str
    """Reference (env:NAME, file:/path, command:…) to an address: http(s) is a webhook, anything
    else one of apprise's (extra `notify`). A reference, since such addresses often hold a key."""
    secret: str = ""
    """Reference to the key that signs a webhook; empty: it is not signed."""
    allow_private_addresses: bool = False
    """It may be at a private or loopback address."""
    decides_as: str = Field(default="", max_length=200)
    """Notices of approvals bear a link with which whoever is told decides, under this name; empty:
    no link. Wants `link_key` and `public_url`."""


class IsolationSettings(BaseModel):
    """How tasks with `isolation="process"` run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: str = Field(default="sandbox", pattern="^(sandbox|limits)$")
    """sandbox: namespaces and a filter of system calls (extra `isolation`); a worker that cannot
    have them does not start. limits: resource limits alone, which do not hold up attackers."""
    processes: int = Field(default=4, ge=1, le=1000)
    """At once, of one worker process; further calls wait for their turn within their time."""
    spares: int = Field(default=1, ge=0, le=100)
    """Started before they are needed, which saves most of a call's start."""
    memory_bytes: int = Field(default=512 * 1024 * 1024, ge=128 * 1024 * 1024)
    """Address space of one."""
    cpu_seconds: int = Field(default=60, ge=1)
    """Processor time of one call; what takes more is killed."""
    file_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """What one may write into its folder, which is in memory and goes with it."""
    readable: tuple[Path, ...] = ()
    """Files and folders that they may read besides Python, its packages and the task modules."""
    modules: tuple[str, ...] = ()
    """Task modules, or packages of them, that only sandboxes import: all of their functions are
    isolated, whatever they say. So are those in whose source `isolation="process"` is written."""
    calls: dict[str, dict[str, str]] = {}
    """Which APIs the functions of a module (or package) may call, if they say so themselves, and
    the header in which that API honours idempotency keys; "": none, so only GET and HEAD unless the
    function's effects are `unkeyed`."""


class Settings(BaseSettings):
    """All settings of one process. Durations in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(env_prefix="ORCHESTRATOR_", frozen=True, extra="forbid")

    # Where things are
    config_dir: Path = Path("config")
    """Folder with settings.yaml, apis/ and workflows/."""
    state_dir: Path = Path(".orchestrator")
    """Folder of the embedded servers' data, logs and up.json."""
    database_url: str = ""
    """SQLAlchemy URL; empty: SQLite in `state_dir`."""
    database_session_url: str = ""
    """The same PostgreSQL without a pooler in between, for what needs a session of its own (each
    worker's lock, migrations). To be given where `database_url` leads through PgBouncer in
    transaction mode, or the like: statements are then not prepared, and settings of sessions are
    the pooler's. Empty: there is no such pooler."""
    database_read_url: str = ""
    """A streaming replica of the same PostgreSQL, for what people only look at over REST, the
    console and commands: lists, runs, statistics. Empty: the database itself answers all of it."""
    database_read_max_lag_seconds: float = Field(default=10.0, gt=0, le=3600)
    """While what the replica shows is older than this, or it is away, the database answers."""
    broker_url: str = ""
    """Celery broker; empty: the embedded Valkey that `orchestrator up` started."""
    broker_urls: dict[str, str] = Field(default_factory=dict)
    """By lane: a broker of its own, for what one cannot carry; lanes that are not named here are
    broker_url's. The same for all processes of a deployment."""
    gate_url: str = ""
    """Redis for limits and slots; empty: the broker's server, database 1."""
    credentials_key: str = ""
    """Reference (env:NAME, file:/path, command:…) to the key that seals the tokens which workers
    share in the gate's Redis; empty: each worker fetches its own and keeps them in memory."""
    task_modules: tuple[str, ...] = ("tasks",)
    """Packages or modules with Python step functions, imported by every worker."""
    lanes: tuple[str, ...] = ("default",)
    """Lanes this worker serves."""

    # How a worker drives runs
    concurrency: int = Field(default=500, ge=1, le=20_000)
    """Active runs per worker process."""
    max_inline_steps: int = Field(default=50, ge=0)
    """Steps a run continues in the same worker before it goes through the broker; 0: never."""
    max_inline_seconds: float = Field(default=60.0, ge=0)
    """The same as a time."""
    short_wait_seconds: float = Field(default=2.0, ge=0)
    """Waits up to this stay in the worker; longer ones are kept in the table alone."""
    gate_patience_seconds: float = Field(default=30.0, ge=0)
    """A run that the gate keeps longer is parked in the table."""
    api_reload_seconds: float = Field(default=5.0, ge=0.1, le=3600)
    """Between two looks at config/apis and at what operators have changed of APIs."""
    plain_task_threads: int = Field(default=16, ge=1)
    """Threads for plain `def` step functions."""
    isolation: IsolationSettings = IsolationSettings()
    """Of tasks with `isolation="process"`."""
    shutdown_grace_seconds: float = Field(default=10.0, ge=0)
    """Time that calls in flight get at a warm shutdown."""
    event_budget_per_second: int = Field(default=500, ge=0)
    """Task events of inline steps per worker; failures and compensations always go out."""
    max_claims: int = Field(default=12, ge=2)
    """Claims without progress after which a run is escalated as poisonous."""

    # Ownership and recovery
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    """Between two signs of life of a worker process."""
    dead_after_seconds: float = Field(default=6.0, gt=0)
    """A worker silent for so long loses its runs to others."""
    recovery_seconds: float = Field(default=1.0, gt=0)
    """Between two passes over dead workers and due waits."""
    lost_hint_seconds: float = Field(default=5.0, gt=0)
    """A run that is due, in nobody's hands and silent for so long is published again."""
    stuck_loop_seconds: float = Field(default=30.0, gt=0)
    """A worker whose loop stands still for so long beats no more; it ends after as long again."""
    canary_seconds: float = Field(default=5.0, ge=0)
    """Between two messages that a worker sends itself through the broker; 0: none."""
    deaf_seconds: float = Field(default=30.0, gt=0)
    """A worker that takes none of them for so long ends, to be started again."""

    # People
    escalation_severity: dict[EscalationReason, Severity] = Field(default_factory=dict)
    """By reason, where it is not the usual one: critical, high, normal or low."""
    escalation_due_minutes: dict[Severity, Annotated[float, Field(gt=0, le=525_600)]] = Field(
        default_factory=dict
    )
    """By severity: how soon somebody should have decided. Usually 15, 60, 480 and 2,880."""
    claim_hours: float = Field(default=8, ge=0, le=8760)
    """A claimed escalation goes back to the queue after so long; 0: never."""

    notifications: tuple[NotificationTarget, ...] = ()
    """Who outside is told of each escalation, once."""

    # What is kept
    retention_days: float = Field(default=0, ge=0)
    """Finished runs are deleted so long after they settled; 0: never."""
    archive_url: str = ""
    """Where they go before that, as Parquet files: file:///folder, s3://bucket/folder, whatever
    fsspec knows; only what was read back there is deleted. Empty: nowhere. Wants the extra
    `archive`."""
    audit_checkpoint_seconds: float = Field(default=60.0, ge=0, le=86_400)
    """Between two checkpoints over the chains of audit, of all workers together; 0: none."""
    audit_key: str = ""
    """Reference (env:NAME, file:/path, command:…) to the Ed25519 key that signs them (`orchestrator
    audit new-key` makes one); empty: they are not signed."""

    # Who vouches for workflows
    workflow_key: str = ""
    """Reference (env:NAME, file:/path, command:…) to the Ed25519 key that signs what is published
    with these settings (`orchestrator workflows new-key` makes one); empty: it is not signed."""
    workflow_keys: tuple[str, ...] = ()
    """Public keys, each a line as `workflows new-key` prints it: versions that none of them has
    signed are not run. Empty: whatever is stored is run."""

    # Limits on input
    max_pending_runs: int = Field(default=1_000_000, ge=1)
    """Runs that may wait for a worker; while there are more, new ones are refused."""
    max_pending_runs_per_tenant: int | None = Field(default=None, ge=1)
    """The same for each tenant; None: as many as in all."""
    max_input_bytes: int = Field(default=1024 * 1024, ge=1)
    """Largest inputs of one run as JSON."""
    max_output_bytes: int = Field(default=1024 * 1024, ge=1)
    """Largest outputs of one step as JSON."""
    max_child_depth: int = Field(default=8, ge=0)
    """Most runs above one that a step of a run begins."""
    max_branches: int = Field(default=50, ge=1)
    """Most branches of one parallel block."""
    max_map_items: int = Field(default=1_000_000, ge=1)
    """Most items of one map over data (`x-each`)."""
    agent_output_bytes: int = Field(default=2048, ge=128, le=65_536)
    """Largest outputs of one run that an agent is shown at once as JSON; it reads more in parts."""

    dry_run_reads: bool = False
    """Whether dry runs may ask what only reads (GET and HEAD without effects): from the process
    that is asked (`mcp`, a command), with the credentials that it finds, at the gate of all."""

    # What is secret
    payload_keys: str = ""
    """Reference (env:NAME, file:/path, command:…) to the keys that seal stored payloads, made by
    `orchestrator payloads new-key` and separated by white space or commas: the first seals, each
    opens. Empty: payloads are stored as they are."""
    secret_names: tuple[str, ...] = ()
    """Names of fields, headers and parameters that are hidden besides the usual ones."""
    secret_paths: tuple[Annotated[str, AfterValidator(_pointer)], ...] = ()
    """JSON pointers into inputs, outputs and bodies that are hidden; `*` is any one token."""

    # Faces
    api_address: str = "127.0.0.1"
    """Where `orchestrator api` listens."""
    api_port: int = Field(default=8400, ge=0, le=65535)
    """There."""
    api_connections: int = Field(default=2000, ge=10)
    """That this face, or that of agents, has open at once in one process; for a new one the oldest
    idle one goes. Half of them may be streams of one tenant's runs."""
    api_auth: str = Field(default="none", pattern="^(none|keys)$")
    """none: whoever is on this machine may do everything; keys: each request shows one, required
    when api_address is not loopback."""
    api_token_issuer: str = ""
    """An identity provider (OpenID Connect) whose tokens are good beside keys; empty: none."""
    api_token_audience: str = ""
    """What its tokens must be made out for; wanted with an issuer."""
    api_token_keys_url: str = ""
    """Its key set (JWKS); empty: where its discovery document says."""
    api_token_algorithms: tuple[str, ...] = ("RS256", "ES256")
    """With which its tokens may be signed."""
    api_token_role_claim: str = "roles"  # noqa: S105 - a claim's name
    """Where roles stand in a token; a path by dots (realm_access.roles)."""
    api_token_roles: dict[str, str] = Field(default_factory=dict)
    """Our role by what stands there; empty: our roles under their own names."""
    api_token_tenant_claim: str = "tenant"  # noqa: S105 - a claim's name
    """Where the tenant stands, `*` for all of them; empty: every token reaches all tenants."""
    api_token_name_claim: str = "sub"  # noqa: S105 - a claim's name
    """Who it is: the actor of what is done with the token."""
    api_login_client_id: str = ""
    """The console's client at that provider: people log in there. Empty: with a key or a token."""
    api_login_client_secret: str = ""
    """Reference (env:NAME, file:/path, command:…) to its secret; empty: a public client."""
    api_login_scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What the console asks for; `openid` is needed."""
    api_login_hours: float = Field(default=8.0, gt=0, le=24 * 7)
    """After which one has to log in again."""
    session_key: str = ""
    """Reference to the secret that signs these sessions; empty: one of this process, so that they
    end with it and are good at no other."""
    public_url: str = ""
    """Where people reach this face, for links; empty: api_address and api_port."""
    link_key: str = ""
    """Reference (env:NAME, file:/path, command:…) to the secret that signs links to approvals; none
    can be made without."""
    metrics_address: str = "127.0.0.1"
    """Where each worker process serves its metrics to Prometheus."""
    metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """There; the next worker of the machine takes the next free one. None: workers listen nowhere.
    What is read from the tables, `orchestrator api` serves at /metrics."""
    otlp_endpoint: str = ""
    """Who takes traces: the beginning of its OTLP/HTTP address (http://collector:4318); empty: none
    are made. Wants the extra `otel`."""
    otlp_metrics_seconds: float | None = Field(default=None, ge=1, le=3600)
    """Every so many seconds workers and `orchestrator api` send it their metrics as well. None:
    they do not; with neither this nor metrics_port, workers count nothing."""
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    """Part of the runs of which traces are kept; of failed and escalated ones all are. What was
    submitted within a trace is kept as that one is."""
    flower_address: str = "127.0.0.1"
    """Where Flower listens; elsewhere than on this machine it wants flower_basic_auth."""
    flower_port: int = Field(default=5555, ge=0, le=65535)
    """There."""
    flower_url: str = ""
    """Where people reach Flower, for the console's link to it; empty: no link."""
    flower_basic_auth: str = ""
    """user:password; required when flower_address is not loopback."""
    log_format: str = Field(default="json", pattern="^(json|console)$")
    """json: one object a line; console: for people."""
    log_level: str = "INFO"
    """The least that is logged: DEBUG, INFO, WARNING, ERROR."""

    @property
    def public_address(self) -> str:
        """The beginning of links to this face."""
        return self.public_url or f"http://{self.api_address}:{self.api_port}"

    def passwords(self) -> Iterator[str]:
        """Those that stand in these settings themselves."""
        for url in (
            self.database_url, self.database_session_url, self.database_read_url,
            self.broker_url, self.gate_url, *self.broker_urls.values(),
        ):  # fmt: skip
            if password := urlsplit(url).password:
                yield password
                yield unquote(password)
        yield self.flower_basic_auth.partition(":")[2]

    @property
    def keep_for(self) -> timedelta | None:
        """How long finished runs are kept; None: for ever."""
        return timedelta(days=self.retention_days) if self.retention_days else None

    @property
    def database(self) -> str:
        """The database URL with its default filled in."""
        default = (self.state_dir / "orchestrator.db").absolute()
        return self.database_url or f"sqlite+aiosqlite:///{default}"

    @property
    def session_database(self) -> str:
        """The URL of the same database for what needs a session of its own."""
        return self.database_session_url or self.database

    @property
    def shares_sessions(self) -> bool:
        """Whether `database` leads through a pooler that lends sessions for a transaction."""
        return bool(self.database_session_url)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over environment over the YAML file."""
        folder = Path(os.environ.get(CONFIG_DIR_VARIABLE, "config"))
        yaml = YamlConfigSettingsSource(settings_cls, yaml_file=folder / "settings.yaml")
        return init_settings, env_settings, yaml


def load_settings(**overrides: Any) -> Settings:
    """Read the settings. Raises InvalidSetting naming each setting, what was found and wanted."""
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems = [
            Problem(
                place="setting " + ".".join(str(part) for part in item["loc"]),
                found=_shown(item["loc"], item.get("input")),
                wanted=item["msg"],
            )
            for item in error.errors()
        ]
        raise InvalidSetting("the settings are not valid", problems=problems) from None
    redact.configure(names=settings.secret_names, paths=settings.secret_paths)
    for text in settings.passwords():
        redact.remember(text)
    return settings


def _shown(place: tuple[int | str, ...], value: Any) -> str:
    if any(redact.is_secret_name(str(part)) for part in place):
        return redact.HIDDEN
    return redact.hidden_text(repr(value))[:200]
