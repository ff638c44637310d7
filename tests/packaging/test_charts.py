"""What Helm makes of the chart, held to Kubernetes' own schemas and to rules of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from helm_python import Chart, HelmError

from orchestrator.settings import Settings
from orchestrator.telemetry.metrics import METRICS
from tests.packaging.charts import CHART, PLAIN, VALUES, findings, rendered

OF_OTHERS = {"ScaledObject", "PodMonitor", "ServiceMonitor", "PrometheusRule"}
"""Kinds of operators that are installed beside it, which Kubernetes has no schema for."""


def _manifests(name: str) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all((PLAIN / f"{name}.yaml").read_text()) if each]


def _pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for each in _manifests(name):
        if each["kind"] in {"Deployment", "Job"}:
            yield each["metadata"]["name"], each["spec"]["template"]


@pytest.mark.parametrize("name", VALUES)
def test_the_plain_manifests_are_what_helm_renders(name: str) -> None:
    assert rendered(name) == (PLAIN / f"{name}.yaml").read_text()


@pytest.mark.parametrize("name", VALUES)
def test_the_chart_passes_its_linter(name: str) -> None:
    assert findings(name) == []


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("version", ["1.27", "1.31"])
def test_each_manifest_is_what_kubernetes_takes(name: str, version: str) -> None:
    kinds = set()
    for each in _manifests(name):
        kinds.add(each["kind"])
        if each["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(each, version, strict=True)
    assert {"Deployment", "Job", "PodDisruptionBudget", "Service", "ServiceAccount"} <= kinds


@pytest.mark.parametrize("name", VALUES)
def test_no_pod_may_more_than_it_needs(name: str) -> None:
    pods = dict(_pods(name))
    assert pods
    for template in pods.values():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] >= 1000
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not any("hostPath" in volume for volume in spec["volumes"])
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])


@pytest.mark.parametrize("name", VALUES)
def test_secrets_are_referred_to_and_each_role_has_its_own(name: str) -> None:
    of_roles: dict[str, set[str]] = {}
    for pod, template in _pods(name):
        (container,) = template["spec"]["containers"]
        secret = {
            each["valueFrom"]["secretKeyRef"]["name"]
            for each in container["env"]
            if each["name"].endswith(("_URL", "_URLS")) and "valueFrom" in each
        }
        assert len(secret) == 1, pod
        if pod.endswith("-preflight"):  # looks as the faces will
            assert "SESSION_KEY" not in {each["name"] for each in container["env"]}
            continue
        of_roles.setdefault(template["spec"]["serviceAccountName"], set()).update(secret)
        assert not [
            each
            for each in container["env"]
            if "://" in str(each.get("value", "")) and "@" in each["value"]
        ]
    assert all(len(names) == 1 for names in of_roles.values())
    assert len({next(iter(names)) for names in of_roles.values()}) == len(of_roles)
    migrator = next(pod for name_, pod in _pods(name) if name_.endswith("-migrate"))
    assert "BROKER" not in json.dumps(migrator)


@pytest.mark.parametrize("name", ["managed", "production"])
def test_the_preflight_comes_between_the_migration_and_all_else(name: str) -> None:
    jobs = {each["metadata"]["name"]: each for each in _manifests(name) if each["kind"] == "Job"}
    weights = {
        job: int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
        for job, each in jobs.items()
    }
    assert weights["orders-migrate"] < weights["orders-preflight"]
    template = jobs["orders-preflight"]["spec"]["template"]
    (container,) = template["spec"]["containers"]
    assert container["args"] == ["orchestrator", "doctor", "--preflight"]
    env = {each["name"]: each for each in container["env"]}
    faces = next(pod for pod_name, pod in _pods(name) if pod_name.endswith("-api"))
    of_faces = {each["name"]: each for each in faces["spec"]["containers"][0]["env"]}
    assert env.items() <= of_faces.items()
    # What it needs has to be there before it: hooks do not wait for what is no hook.
    account = template["spec"]["serviceAccountName"]
    needed = [
        each for each in _manifests(name)
        if (each["kind"], each["metadata"]["name"]) in dict.fromkeys(
            (kind, account) for kind in ("ServiceAccount", "NetworkPolicy")
        )
    ]  # fmt: skip
    assert len(needed) == 2
    for each in needed:
        assert each["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert (
            int(each["metadata"]["annotations"]["helm.sh/hook-weight"])
            < weights["orders-preflight"]
        )


def test_without_a_preflight_nothing_of_it_is_there() -> None:
    assert "preflight" not in (PLAIN / "small.yaml").read_text()


@pytest.mark.parametrize("name", VALUES)
def test_workers_have_time_to_hand_their_runs_back(name: str) -> None:
    grace = Settings.model_fields["shutdown_grace_seconds"].default
    workers = [pod for pod_name, pod in _pods(name) if "-worker-" in pod_name]
    assert workers
    for pod in workers:
        assert pod["spec"]["terminationGracePeriodSeconds"] >= 2 * grace
        assert pod["spec"]["containers"][0]["livenessProbe"]["httpGet"]["port"] == "metrics"


@pytest.mark.parametrize("name", VALUES)
def test_each_selector_finds_its_pods(name: str) -> None:
    labels = [template["metadata"]["labels"] for _, template in _pods(name)]
    for each in _manifests(name):
        chosen = (
            each["spec"].get("selector", {})
            if each["kind"] in {"PodDisruptionBudget", "Service"}
            else {}
        )
        wanted = chosen.get("matchLabels", chosen)
        if wanted:
            assert any(wanted.items() <= found.items() for found in labels), each["metadata"][
                "name"
            ]
    for _, template in _pods(name):
        for spread in template["spec"].get("topologySpreadConstraints", []):
            assert spread["labelSelector"]["matchLabels"] == template["metadata"]["labels"]


@pytest.mark.parametrize("name", VALUES)
def test_settings_are_known(name: str) -> None:
    known = {f"ORCHESTRATOR_{field.upper()}" for field in Settings.model_fields}
    for _, template in _pods(name):
        names = {each["name"] for each in template["spec"]["containers"][0]["env"]}
        assert {each for each in names if each.startswith("ORCHESTRATOR_")} <= known


def test_workers_are_scaled_by_what_there_is_for_them_to_do() -> None:
    scaled = [each["spec"] for each in _manifests("production") if each["kind"] == "ScaledObject"]
    assert scaled
    known = {metric.name: metric.labels for metric in METRICS}
    for spec in scaled:
        (trigger,) = spec["triggers"]
        query = re.fullmatch(r'max\((\w+)\{(\w+)="[\w-]+"\}\)', trigger["metadata"]["query"])
        assert query is not None
        assert query[1] == "orchestrator_wanted_workers"
        assert known[query[1]] == (query[2],)
        # So that the autoscaler wants as many as the metric says, and keeps those it has when
        # nobody says any: the fallback of KEDA goes with averages alone.
        assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
        assert trigger["metadata"]["ignoreNullValues"] == "false"
        assert spec["fallback"]["replicas"] >= spec["minReplicaCount"]


def test_nothing_gets_in_or_out_that_is_not_named() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in _manifests("production")
        if each["kind"] == "NetworkPolicy"
    }
    assert set(policies) == {
        f"orders-{role}" for role in ("worker", "api", "flower", "migrator", "preflight")
    }
    assert all(spec["policyTypes"] == ["Ingress", "Egress"] for spec in policies.values())
    assert policies["orders-flower"]["ingress"] == policies["orders-migrator"]["ingress"] == []
    assert "0.0.0.0/0" not in json.dumps([policies["orders-flower"], policies["orders-migrator"]])
    outside = json.dumps(policies["orders-worker"]["egress"])
    assert '"except": ["10.0.0.0/8"' in outside
    assert "169.254.0.0/16" in outside


@pytest.mark.parametrize(
    "wrong",
    [
        {"imagee": {}},
        {"ingress": {"enabled": True}},
        {
            "lanes": {
                "Bad_Lane": {
                    "replicas": 1,
                    "resources": {"requests": {}, "limits": {"memory": "1Gi"}},
                }
            }
        },
        {"lanes": {"default": {"autoscaling": {"kind": "magic"}}}},
        {"image": {"digest": "latest"}},
        {"terminationGracePeriodSeconds": 1},
    ],
    ids=str,
)
def test_values_that_are_not_right_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(HelmError):
        Chart.load(CHART).validate_schema(wrong)
