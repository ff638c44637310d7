"""deploy/: checked by schema and lint, without a container engine."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.console.signing_in import ALLOWED

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    data = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(data, dict)
    return data


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [linter, DEPLOY / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_does_not_run_as_root_and_says_whether_it_is_well() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    last_stage = lines[max(i for i, line in enumerate(lines) if line.startswith("FROM ")) :]
    assert any(re.match(r"USER [1-9]\d*$", line) for line in last_stage)
    assert any(line.startswith("HEALTHCHECK ") for line in last_stage)


def test_compose_is_what_its_specification_allows(compose: dict[str, Any]) -> None:
    from compose_spec.models import ComposeSpecification

    ComposeSpecification.model_validate(
        {name: value for name, value in compose.items() if not name.startswith("x-")},
        extra="forbid",
    )


def test_the_broker_keeps_and_never_evicts(compose: dict[str, Any]) -> None:
    command = compose["services"]["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


def test_only_the_proxy_is_published_and_only_to_this_host(compose: dict[str, Any]) -> None:
    ports = {name: service.get("ports", []) for name, service in compose["services"].items()}
    published = {name: found for name, found in ports.items() if found}
    assert list(published) == ["proxy"]
    assert all(port.startswith("127.0.0.1:") for port in published["proxy"])


def test_flower_is_reached_through_the_console_s_login_alone(compose: dict[str, Any]) -> None:
    flower, api = compose["services"]["flower"], compose["services"]["api"]
    assert flower["network_mode"] == "service:proxy"
    assert "--address=127.0.0.1" in flower["command"]
    assert (
        f"--url_prefix={api['environment']['ORCHESTRATOR_FLOWER_URL'].strip('/')}"
        in (flower["command"])
    )
    assert api["environment"]["ORCHESTRATOR_API_AUTH"] == "keys"
    ways = re.split(r"^\thandle", (DEPLOY / "Caddyfile").read_text(), flags=re.MULTILINE)
    (to_flower,) = [way for way in ways if "reverse_proxy {$FLOWER" in way]
    assert to_flower.index("forward_auth {$API:api:8400}") < to_flower.index("reverse_proxy")
    assert f"uri {ALLOWED}" in to_flower


def test_the_worker_can_be_scaled(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]
    assert not {"container_name", "ports"} & worker.keys()


def test_no_secret_has_a_value(compose: dict[str, Any]) -> None:
    given = [
        (name, value)
        for service in compose["services"].values()
        for name, value in service.get("environment", {}).items()
        if re.search("PASSWORD|SECRET|KEY", name)
    ]
    assert {name for name, _ in given} >= {"POSTGRES_PASSWORD", "SESSION_KEY"}
    for name, value in given:
        assert value.startswith((f"${{{name}:?", "env:")), f"{name} must come from the environment"


def test_lanes_with_a_broker_of_their_own_are_known_to_all_who_publish() -> None:
    services = yaml.safe_load((DEPLOY / "compose.lanes.yaml").read_text())["services"]
    names = ("worker", "worker-reports", "api")
    told = [json.loads(services[each]["environment"]["ORCHESTRATOR_BROKER_URLS"]) for each in names]
    assert told[0] == told[1] == told[2] == {"reports": "redis://valkey-reports:6379/0"}
    gates = {services[each]["environment"]["ORCHESTRATOR_GATE_URL"] for each in names}
    assert gates == {"redis://valkey:6379/1"}, "limits do not go with a lane"
    lanes = json.loads(services["worker-reports"]["environment"]["ORCHESTRATOR_LANES"])
    assert set(lanes) == set(told[0]), "a worker serves the lanes of one broker"
