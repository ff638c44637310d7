"""Builds what tells of traces, where somebody wants them."""

from __future__ import annotations

from orchestrator.definitions.programs import Programs
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports.tracing import Tracing
from orchestrator.service.tracing import TraceTeller
from orchestrator.settings import Settings
from orchestrator.store import SqlStore


def tracing_of(settings: Settings) -> Tracing | None:
    """Of which runs traces are kept; None: of none, and nothing is done for them."""
    return Tracing(ratio=settings.trace_ratio) if settings.otlp_endpoint else None


def trace_teller(
    settings: Settings, store: SqlStore, programs: Programs, *, broker: str, version: str
) -> TraceTeller | None:
    """None without an endpoint. Raises InvalidSetting for a wrong one, or without the packages."""
    endpoint = settings.otlp_endpoint
    if not endpoint:
        return None
    require_otlp(endpoint)
    from orchestrator.telemetry.otlp import OtlpSpans  # noqa: PLC0415 - an extra, and slow

    sink, system = OtlpSpans(endpoint, version=version), broker.partition(":")[0]
    return TraceTeller(store, sink, programs=programs, broker=system)


def require_otlp(endpoint: str) -> None:
    """Raises InvalidSetting where nothing can be sent there."""
    if not endpoint.startswith(("http://", "https://")):
        raise _refused(endpoint or "nothing", "an address such as http://127.0.0.1:4318")
    try:
        import orchestrator.telemetry.otlp  # noqa: F401, PLC0415 - whether it is there; an extra, and slow
    except ImportError as error:
        raise _refused(
            f"{endpoint}, but {error}", "OpenTelemetry's packages: saga-orchestrator[otel]"
        ) from error


def _refused(found: str, wanted: str) -> InvalidSetting:
    problem = Problem(
        place="setting otlp_endpoint (ORCHESTRATOR_OTLP_ENDPOINT)", found=found, wanted=wanted
    )
    return InvalidSetting("traces and metrics cannot be sent", problems=[problem])
