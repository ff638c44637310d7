"""The built wheel, in an empty environment and another folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(240)  # a slow registry is no failure of ours


def run(*command: object, cwd: Path, seconds: float = 240.0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without network: the build backend is among the development packages."""
    folder = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(sys.executable, *build, "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and its extras, nothing of this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    # Installed from outside, and compiled where it is imported: half the time that it takes.
    pip = ("-m", "pip", "--python", folder / "bin/python", "--quiet", "--disable-pip-version-check")
    wanted = f"{wheel}[demo,embedded]"
    run(
        *(sys.executable, *pip, "install", "--no-compile", "-c", ROOT / "constraints.txt", wanted),
        cwd=folder,
    )
    return folder / "bin"


def test_the_wheel_holds_the_package_and_its_metadata_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"orchestrator"}
    assert any(name.endswith("py.typed") for name in names)
    for folder in ("tasks", "config", "deploy"):
        assert any(name.startswith(f"orchestrator/_scaffold/{folder}/") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_data_files_of_the_package_are_in_the_wheel(wheel: Path) -> None:
    """Lua scripts, migrations and the like: whatever is not Python beside the modules."""
    names = set(zipfile.ZipFile(wheel).namelist())
    kept = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "orchestrator").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc") and "__pycache__" not in path.parts
    ]
    assert [path for path in kept if path not in names] == []


@pytest.mark.long
def test_the_command_answers(environment: Path, tmp_path: Path) -> None:
    shown = run(environment / "orchestrator", "--help", cwd=tmp_path).stdout
    for command in ("init", "demo", "up", "worker", "submit", "runs", "escalations", "doctor"):
        assert command in shown
    assert "orchestrator 0." in run(environment / "orchestrator", "--version", cwd=tmp_path).stdout


@pytest.mark.long
def test_init_then_demo_in_an_empty_folder(environment: Path, tmp_path: Path) -> None:
    run(environment / "orchestrator", "init", tmp_path / "mine", cwd=tmp_path)
    assert (tmp_path / "mine/config/workflows").is_dir()
    shown = run(
        *(environment / "orchestrator", "demo", "--runs", 60, "--json"),
        cwd=tmp_path / "mine",
    ).stdout
    assert '"lost": 0' in shown or '"lost":0' in shown
