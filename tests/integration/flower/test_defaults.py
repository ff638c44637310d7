"""What Flower finds when it is started without options, and what is refused."""

from __future__ import annotations

import pytest

from orchestrator.errors import InvalidSetting
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.flower import is_flower, prepare_flower

FLOWER = ["celery", "-A", "orchestrator", "flower"]


def an_app() -> OrchestratorApp:
    return make_app(broker_url="redis://127.0.0.1:1/0")


def queues(app: OrchestratorApp) -> list[str]:
    return [queue.name for queue in app.conf.task_queues]


def test_only_flower_is_prepared() -> None:
    assert is_flower(FLOWER)
    assert not is_flower(["/opt/flower", "-A", "orchestrator", "worker"])


def test_defaults_give_way_to_the_environment() -> None:
    environment = {"FLOWER_MAX_TASKS": "7"}
    app = an_app()
    prepare_flower(app, FLOWER, environment)
    assert environment["FLOWER_MAX_TASKS"] == "7"
    assert environment["FLOWER_ADDRESS"] == "127.0.0.1"
    assert environment["FLOWER_READ_ONLY"] == "True"
    assert environment["FLOWER_UNAUTHENTICATED_API"] == "true"
    assert "dead_letter" in queues(app)
    assert "dead_letter" not in queues(an_app())  # of workers, which must not consume it


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--address=0.0.0.0"], {}),
        ([], {"FLOWER_ADDRESS": "10.0.0.7"}),
        (["--address="], {}),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": ""}),
    ],
)
def test_others_do_not_get_in_without_a_password(
    options: list[str], environment: dict[str, str]
) -> None:
    with pytest.raises(InvalidSetting, match="which other machines can reach"):
        prepare_flower(an_app(), [*FLOWER, *options], environment)


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        (["--address=0.0.0.0", "--basic-auth=me:secret"], {}),
        (["--address=0.0.0.0"], {"FLOWER_BASIC_AUTH": "me:secret"}),
        (["--address=::1"], {}),
    ],
)
def test_with_a_password_or_on_this_machine_it_starts(
    options: list[str], environment: dict[str, str]
) -> None:
    prepare_flower(an_app(), [*FLOWER, *options], environment)
    assert ("FLOWER_UNAUTHENTICATED_API" in environment) is ("::1" in options[0])
