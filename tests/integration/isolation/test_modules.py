"""Modules of isolated functions are imported by sandboxes alone, and described by them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.core.plan import Effects
from orchestrator.core.retry import RetryPolicy
from orchestrator.definitions.task_descriptions import described, read_descriptions
from orchestrator.definitions.task_modules import load_tasks
from orchestrator.definitions.tasks import Isolation, Task, task, task_of
from orchestrator.errors import InvalidSetting, NotLanded
from orchestrator.settings import IsolationSettings, Settings
from orchestrator.wiring_isolation import described_tasks
from tests.integration.isolation.test_isolation import possible

__all__ = ["possible"]

VENDOR = """
import os, pathlib
from orchestrator import RetryPolicy, task

try:
    pathlib.Path("{mark}").write_text("imported")  # what stands outside of functions runs too
except OSError: pass

@task(isolation="process", timeout=7, retry=RetryPolicy(max_attempts=2))
async def render(template: str, count: int = 1) -> dict[str, str]:
    \"\"\"Makes a page.

    And more.\"\"\"
    return {{"page": template * count, "where": str(os.getpid())}}

@task(isolation="process", calls=["shop"], effects="keyed", name="buy")
def order(context: object, **more: int) -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def package(folder: Path, name: str, **files: str) -> Path:
    made = folder / name
    made.mkdir()
    for each, text in {"__init__": "", **files}.items():
        (made / f"{each}.py").write_text(text)
    return made


def settings(folder: Path, **isolation: object) -> Settings:
    return Settings(
        state_dir=folder / "state", config_dir=folder / "config",
        isolation=IsolationSettings.model_validate(isolation),
    )  # fmt: skip


def test_their_tasks_are_known_and_their_modules_are_not_imported(folder: Path) -> None:
    mark = folder / "mark"
    package(
        folder, "shop_a", vendor=VENDOR.format(mark=mark),
        own="from orchestrator import task\n@task\ndef own() -> None: ...\n",
    )  # fmt: skip
    here = settings(folder)
    asked: list[str] = []

    def describe(names: Sequence[str]) -> list[Task]:
        asked.extend(names)
        return described_tasks(here, names)

    registry = load_tasks(["shop_a"], describe=describe)
    assert asked == ["shop_a.vendor"]
    assert "shop_a.own" in sys.modules
    assert "shop_a.vendor" not in sys.modules
    assert not mark.exists(), "the sandbox has no such folder, and nobody else ran it"
    assert registry.names() == ["shop_a.own.own", "shop_a.vendor.buy", "shop_a.vendor.render"]
    render, buy = registry.get("shop_a.vendor.render"), registry.operation("buy")
    assert render is not None
    assert buy is not None
    assert (render.isolation, render.effects, render.is_async) == (
        Isolation.PROCESS, Effects.NONE, True
    )  # fmt: skip
    assert (render.timeout_seconds, render.retry) == (7, RetryPolicy(max_attempts=2))
    assert render.summary == "Makes a page."
    assert render.place == f"{folder}/shop_a/vendor.py:9"
    assert (buy.calls, buy.effects, buy.takes_context) == (("shop",), Effects.KEYED, True)
    schema = registry.document()["paths"]["/shop_a.vendor.render"]["post"]["requestBody"]
    assert schema["content"]["application/json"]["schema"]["required"] == ["template"]
    with pytest.raises(NotLanded, match="outside of a sandbox"):
        render.function(template="x")


def test_what_was_said_of_the_same_sources_is_kept(folder: Path) -> None:
    made = package(folder, "shop_b", vendor=VENDOR.format(mark="mark"))
    here = settings(folder)
    first = described_tasks(here, ["shop_b.vendor"])
    (kept,) = (folder / "state" / "isolated-tasks").iterdir()
    begun = time.monotonic()
    again = described_tasks(here, ["shop_b.vendor"])
    assert time.monotonic() - begun < 1
    assert [described(each) for each in again] == [described(each) for each in first]
    kept.write_text("nonsense")
    names = {each.name for each in described_tasks(here, ["shop_b.vendor"])}
    assert names == {"shop_b.vendor.buy", "shop_b.vendor.render"}
    (made / "vendor.py").write_text("from orchestrator import task\n")
    assert described_tasks(here, ["shop_b.vendor"]) == []


def test_a_deployment_may_say_so_of_modules_that_do_not(folder: Path) -> None:
    package(
        folder, "shop_c",
        liar="import os\nfrom orchestrator import task\nos.environ['OWNED'] = '1'\n"
        "@task(effects='unkeyed')\ndef innocent() -> None: ...\n",
    )  # fmt: skip
    here = settings(folder)
    registry = load_tasks(
        ["shop_c"], apart=["shop_c.liar"], describe=lambda names: described_tasks(here, names)
    )
    assert "shop_c.liar" not in sys.modules
    found = registry.get("shop_c.liar.innocent")
    assert found is not None
    assert (found.isolation, found.effects) == (Isolation.PROCESS, Effects.NONE)
    whole = load_tasks(
        ["shop_c"], apart=["shop_c"], describe=lambda names: described_tasks(here, names)
    )
    assert whole.apart == ("shop_c", "shop_c.liar")


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"a": "from orchestrator import task\n@task(isolation='process')\ndef f() -> None: ...\n"
               "@task\ndef g() -> None: ...\n"}, "g beside f, which is isolated"),
        ({"b": "from shop_d import c\n",
          "c": "import orchestrator as o\n1 / 0\n@o.task(isolation=o.Isolation.PROCESS)\n"
               "def f() -> None: ...\n"}, "ZeroDivisionError"),
        ({"e": "from shop_d import z\n",
          "z": "from orchestrator import task\n@task(isolation='process')\n"
               "def f() -> None: ...\n"}, "an import of it by another task module"),
        ({"y": "from orchestrator import task\nimport nowhere\n@task(isolation='process')\n"
               "def f() -> None: ...\n"}, "No module named 'nowhere'"),
        ({"x": "from orchestrator import task\nwhile True: pass\n@task(isolation='process')\n"
               "def f() -> None: ...\n"}, "used up its CPU time"),
        ({"w": "import os\nfrom orchestrator import task\n"
               "os.write(3, b'{\\\"tasks\\\": [7]}\\n')\n@task(isolation='process')\n"
               "def f() -> None: ...\n"}, "Expected `object`"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded_is_refused_with_its_place(
    folder: Path, files: dict[str, str], found: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("shop_d")]:
        del sys.modules[name]
    package(folder, "shop_d", **files)
    here = settings(folder, cpu_seconds=1)
    with pytest.raises(InvalidSetting) as refused:
        load_tasks(["shop_d"], describe=lambda names: described_tasks(here, names))
    assert found in str(refused.value)
    assert "shop_d" in refused.value.problems[0].place


def test_a_description_is_believed_as_far_as_its_form() -> None:
    @task(isolation="process")
    def mine() -> None: ...

    own = task_of(mine)
    assert own is not None
    said = described(own)
    assert read_descriptions([said], [own.module])[0].name == own.name
    for wrong in (
        [said | {"module": "tasks.checkout"}], [said | {"effects": "anything"}], [{}], {}, None,
        [said | {"code": "import os"}], [said | {"retry": {"max_attempts": "many"}}],
        [said | {"timeout_seconds": "x"}], [said | {"parameters": [{"name": 1}]}],
    ):  # fmt: skip
        with pytest.raises(InvalidSetting, match="is not taken"):
            read_descriptions(wrong, [own.module])


def test_a_command_runs_nothing_of_it(folder: Path) -> None:
    """As people call it: another process, whose own environment the module would have seen."""
    mark = folder / "mark"
    package(folder, "tasks", vendor=VENDOR.format(mark=mark))
    text = (
        "arazzo: 1.0.1\ninfo: {title: t, version: '1'}\n"
        "sourceDescriptions: [{name: tasks, url: 'tasks:', type: openapi}]\n"
        "workflows: [{workflowId: w, steps: [{stepId: a, operationId: render,"
        " requestBody: {payload: {template: x}}}]}]\n"
    )
    (folder / "w.arazzo.yaml").write_text(text)
    program = Path(sys.executable).with_name("orchestrator")
    done = subprocess.run(
        [program, "workflows", "validate", "w.arazzo.yaml"], cwd=folder, capture_output=True,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert not mark.exists()
