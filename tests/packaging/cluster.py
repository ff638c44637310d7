"""`make cluster-check`: the chart in a real cluster, judged by what runs left behind in it.

    python -m tests.packaging.worlds --base orchestrator:7 --image registry.example/world:7
    docker push registry.example/world:7                # or: kind load docker-image …
    python -m tests.packaging.cluster --image registry.example/world:7 [--context kind-kind]

Works on whatever cluster KUBECONFIG names, in a namespace of its own, which is deleted in the end.
PostgreSQL and Valkey come with the users of deploy/; the chart is installed by Helm's own engine,
with its pre-flight; an upgrade onto a broker that may evict has to be refused. While runs are sent
through the service, the release is upgraded, a worker is evicted as `kubectl drain` does it,
another worker and a face are deleted by force. No submission may fail; ledger, tables and audit
have to agree; nothing of the release may be left once it is uninstalled. Needs kubectl.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from helm_python import Config, HelmError

from tests.packaging import worlds
from tests.packaging.charts import CHART
from tests.packaging.cluster_objects import (
    ADMIN,
    RELEASE,
    Images,
    Passwords,
    surroundings,
    values,
)
from tests.packaging.image import DEPLOY, Unfit, say, timed, until

NAMESPACE = "orchestrator-check"
RELEASE_SECONDS = 420
ROLLOUT_SECONDS = 300
WORKERS = "app.kubernetes.io/component=worker-default"
FACES = "app.kubernetes.io/component=api"
LEFT = "serviceaccounts,networkpolicies,deployments,services,jobs,pods,poddisruptionbudgets"


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster, and the namespace of the check in it."""

    context: str = ""
    kubeconfig: str = ""

    def ask(self, *words: str, text: str = "", seconds: float = 120) -> str:
        """What kubectl printed, given this text. Raises Unfit."""
        done = subprocess.run(
            [*self.kubectl, *words], input=text, capture_output=True, text=True, timeout=seconds,
            check=False,
        )  # fmt: skip
        if done.returncode:
            said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
            raise Unfit(f"kubectl {' '.join(words[:3])}: ended with {done.returncode}\n{said}")
        return done.stdout

    @property
    def kubectl(self) -> list[str]:
        """Its command line up to what is wanted."""
        options = [("--context", self.context), ("--kubeconfig", self.kubeconfig)]
        given = [f"{name}={value}" for name, value in options if value]
        return ["kubectl", *given, f"--namespace={NAMESPACE}"]

    def helm(self) -> Config:
        """Helm's engine on the same cluster."""
        return Config(
            kubeconfig_path=self.kubeconfig or None, kube_context=self.context or None,
            namespace=NAMESPACE,
        )  # fmt: skip

    def pods(self, labels: str) -> list[str]:
        """Names of those that are ready and not about to end, in the order of their names."""
        found = json.loads(self.ask("get", "pods", f"--selector={labels}", "--output=json"))
        return sorted(each["metadata"]["name"] for each in found["items"] if _is_up(each))

    def inside(self, workload: str, *command: str, seconds: float = 120) -> str:
        """What a command in a pod of it printed. Raises Unfit."""
        return self.ask("exec", workload, "--", *command, seconds=seconds)

    def settle(self, name: str) -> None:
        """Wait until a deployment is as it was asked for. Raises Unfit."""
        self.ask(
            "rollout", "status", f"deployment/{name}", f"--timeout={ROLLOUT_SECONDS}s",
            seconds=ROLLOUT_SECONDS + 30,
        )  # fmt: skip

    def evict(self, pod: str) -> None:
        """As whoever drains nodes does it, within the disruption budget. Raises Unfit."""
        wish = {
            "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": {"name": pod, "namespace": NAMESPACE},
        }  # fmt: skip
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
        with TemporaryDirectory() as folder:
            file = Path(folder) / "eviction.json"
            file.write_text(json.dumps(wish))
            self.ask("create", "--raw", path, f"--filename={file}")

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """A kubectl in the background, with what it prints."""
        return subprocess.Popen(
            [*self.kubectl, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


def _is_up(pod: Mapping[str, Any]) -> bool:
    is_ready = any(
        each["type"] == "Ready" and each["status"] == "True"
        for each in pod["status"].get("conditions", ())
    )
    return is_ready and "deletionTimestamp" not in pod["metadata"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What is played."""

    images: Images
    runs: int
    seconds: float


def prepare(cluster: Cluster, wish: Wish, passwords: Passwords) -> None:
    """Servers with their users, and tables. Raises Unfit."""
    objects = surroundings(wish.images, passwords)
    cluster.ask("apply", "--filename=-", text=yaml.safe_dump_all(objects))
    for name in ("postgres", "valkey", "ledger"):
        cluster.settle(name)
    cluster.inside("deploy/ledger", *worlds.INSIDE, "prepare", seconds=ROLLOUT_SECONDS)
    roles = (DEPLOY / "postgres/roles.sql").read_text() + passwords.statements()
    psql = ("psql", "--username=orchestrator", "--set=ON_ERROR_STOP=1", "--quiet")
    cluster.ask("exec", "--stdin", "deploy/postgres", "--", *psql, text=roles)


def released(act: Callable[..., Any], said: Mapping[str, Any]) -> None:
    """Install or upgrade, and wait until all is ready. Raises HelmError."""
    act(str(CHART), RELEASE, dict(said), namespace=NAMESPACE, timeout=RELEASE_SECONDS,
        wait="watcher")  # fmt: skip


def refused(cluster: Cluster, helm: Config, said: Mapping[str, Any], broker: str) -> None:
    """A broker that may evict: the pre-flight ends the upgrade before a change. Raises Unfit."""
    before = cluster.pods(WORKERS)
    cluster.inside("deploy/ledger", *evicting(broker, "allkeys-lru"))
    try:
        released(helm.upgrade, said)
    except HelmError:
        why = cluster.ask("logs", f"job/{RELEASE}-preflight")
    else:
        raise Unfit("a broker that may evict: the pre-flight let it pass")
    finally:
        cluster.inside("deploy/ledger", *evicting(broker, "noeviction"))
    if "noeviction" not in why or cluster.pods(WORKERS) != before:
        raise Unfit(f"the pre-flight's refusal: {why[-2000:]}")


def evicting(broker: str, policy: str) -> tuple[str, ...]:
    """The command that has the broker do so with what has no room."""
    change = "import redis, sys; redis.from_url(sys.argv[1]).config_set(*sys.argv[2:])"
    return ("python", "-c", change, broker, "maxmemory-policy", policy)


def disturb(cluster: Cluster, helm: Config, said: Mapping[str, Any]) -> None:
    """Upgrade, evict, delete by force. Raises Unfit, HelmError."""
    say("upgraded", timed(lambda: released(helm.upgrade, said)))
    drained, lost, *_ = cluster.pods(WORKERS)
    log = cluster.begin("logs", "--follow", f"pod/{drained}")
    say("a worker drained", timed(lambda: _drained(cluster, drained)))
    tail = log.communicate(timeout=60)[0]
    if "Traceback" in tail:
        raise Unfit(f"the drained worker: {tail[-4000:]}")
    face = cluster.pods(FACES)[0]
    cluster.ask("delete", "pod", lost, face, "--force", "--grace-period=0")
    for part in ("worker-default", "api"):
        cluster.settle(f"{RELEASE}-{part}")


def _drained(cluster: Cluster, pod: str) -> None:
    cluster.evict(pod)
    cluster.ask("wait", f"pod/{pod}", "--for=delete", "--timeout=90s")


def play(cluster: Cluster, helm: Config, wish: Wish) -> None:
    """All of it but the end. Raises Unfit, HelmError."""
    passwords = Passwords()
    say("servers", timed(lambda: prepare(cluster, wish, passwords)))
    first, second = (values(wish.images, NAMESPACE, release=number) for number in (1, 2))
    say("installed and ready", timed(lambda: released(helm.install, first)))
    admin = passwords.broker(ADMIN)
    say("an upgrade refused", timed(lambda: refused(cluster, helm, second, admin)))
    made = cluster.inside(
        f"deploy/{RELEASE}-api", "orchestrator", "keys", "create", "check", "--role", "admin",
        "--json",
    )  # fmt: skip
    key = json.loads(made)["key"]
    submit = (
        "env", f"ORCHESTRATOR_KEY={key}", *worlds.INSIDE, "submit", "--url",
        f"http://{RELEASE}-api", "--runs", str(wish.runs), "--seconds", str(wish.seconds),
    )  # fmt: skip
    sending = cluster.begin("exec", "deploy/ledger", "--", *submit)
    time.sleep(wish.seconds / 10)
    try:
        disturb(cluster, helm, second)
    finally:
        printed = sending.communicate(timeout=wish.seconds + 600)[0]
    if sending.returncode:
        raise Unfit(f"what sends runs ended with {sending.returncode}: {printed[-4000:]}")
    sys.stderr.write(printed)
    judge = ("judge", "--file", worlds.LEDGER_FILE, "--runs", str(wish.runs))
    found = cluster.inside("deploy/ledger", *worlds.INSIDE, *judge, seconds=300)
    sys.stderr.write(f"{worlds.told(worlds.verdict(found))}\n")
    until("the doctor", lambda: _well(cluster))


def _well(cluster: Cluster) -> None:
    cluster.inside(f"deploy/{RELEASE}-api", "orchestrator", "doctor", "--deep")


def uninstalled(cluster: Cluster, helm: Config) -> None:
    """Nothing of the release may be left. Raises Unfit, HelmError."""
    helm.uninstall(RELEASE, timeout=RELEASE_SECONDS, wait="watcher")
    left = f"app.kubernetes.io/instance={RELEASE}"
    until("what is left of the release", lambda: _nothing(cluster, left))


def _nothing(cluster: Cluster, labels: str) -> None:
    found = cluster.ask("get", LEFT, f"--selector={labels}", "--output=name")
    if found.strip():
        raise Unfit(found)


def told(cluster: Cluster) -> str:
    """What helps to see why something is not as it should be."""
    asked: Sequence[tuple[str, ...]] = (
        ("get", "pods,jobs", "--output=wide"),
        ("get", "events", "--sort-by=.lastTimestamp"),
        ("logs", f"--selector=app.kubernetes.io/instance={RELEASE}", "--tail=15", "--prefix"),
    )
    return "\n".join(_or_why(cluster, words) for words in asked)


def _or_why(cluster: Cluster, words: Sequence[str]) -> str:
    try:
        return cluster.ask(*words)[-6000:]
    except Unfit as error:
        return str(error)


def check(cluster: Cluster, wish: Wish, *, keep: bool) -> None:
    """In a namespace of its own. Raises Unfit, HelmError."""
    cluster.ask("create", "namespace", NAMESPACE)
    try:
        with cluster.helm() as helm:
            play(cluster, helm, wish)
            say("uninstalled", timed(lambda: uninstalled(cluster, helm)))
    except (Unfit, HelmError, subprocess.TimeoutExpired):
        sys.stderr.write(told(cluster))
        raise
    finally:
        if not keep:
            cluster.ask("delete", "namespace", NAMESPACE, seconds=300)


def main() -> None:
    """Exits with 1 when something is not as it should be."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--image", required=True, help="what tests.packaging.worlds built")
    parser.add_argument("--postgres", default=Images.postgres, help="its image")
    parser.add_argument("--valkey", default=Images.valkey, help="its image")
    parser.add_argument("--context", default="", help="of the kubeconfig")
    parser.add_argument("--kubeconfig", default="", help="default: KUBECONFIG")
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=60.0, help="over which they are sent")
    parser.add_argument("--keep", action="store_true", help="the namespace, to look around in")
    given = parser.parse_args()
    images = Images(world=given.image, postgres=given.postgres, valkey=given.valkey)
    cluster = Cluster(context=given.context, kubeconfig=given.kubeconfig)
    try:
        wish = Wish(images=images, runs=given.runs, seconds=given.seconds)
        check(cluster, wish, keep=given.keep)
    except (Unfit, HelmError, subprocess.TimeoutExpired) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
