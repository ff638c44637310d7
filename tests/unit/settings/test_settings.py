"""Settings: the shipped file names all of them with their defaults, and mistakes are located."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from orchestrator.errors import InvalidSetting
from orchestrator.settings import Settings, load_settings

SHIPPED = Path(__file__).parents[3] / "config" / "settings.yaml"


def shipped() -> dict[str, object]:
    """The shipped file with its settings switched on."""
    text = re.sub(r"^# (?=[a-z_]+:)", "", SHIPPED.read_text(), flags=re.MULTILINE)
    found: dict[str, object] = yaml.safe_load(text)
    return found


def test_the_shipped_file_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(SHIPPED.parent))
    assert load_settings() == Settings()


def test_the_shipped_file_names_every_setting_with_its_default() -> None:
    defaults = Settings().model_dump(mode="json", exclude={"config_dir"})
    assert shipped() == defaults


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.yaml").write_text("concurrency: 7\nlost_hint_seconds: 9\n")
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ORCHESTRATOR_CONCURRENCY", "8")
    settings = load_settings()
    assert (settings.concurrency, settings.lost_hint_seconds) == (8, 9)


@pytest.mark.parametrize(
    ("line", "place"),
    [("concurrency: none", "setting concurrency"), ("concurency: 5", "setting concurency")],
)
def test_a_mistake_is_named(
    line: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "settings.yaml").write_text(line)
    monkeypatch.setenv("ORCHESTRATOR_CONFIG_DIR", str(tmp_path))
    with pytest.raises(InvalidSetting) as caught:
        load_settings()
    assert caught.value.problems[0].place == place
