"""Which broker a lane's messages go over, and who publishes to all of them."""

from __future__ import annotations

from collections import defaultdict

from orchestrator.coordination.connect import without_secrets
from orchestrator.embedded.upstate import read_up_state
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.settings import Settings
from orchestrator.worker.app import OrchestratorApp, make_app
from orchestrator.worker.lanes import LaneHints, OpenPublisher
from orchestrator.worker.messages import hint_publisher


def broker_url(settings: Settings) -> str:
    """The configured broker, or the embedded one that is up. Raises InvalidSetting."""
    if settings.broker_url:
        return settings.broker_url
    up = read_up_state(settings.state_dir)
    if up is not None:
        return up.broker_url
    problem = Problem(
        place="setting broker_url (ORCHESTRATOR_BROKER_URL)",
        found=f"nothing, and no embedded broker is up in {settings.state_dir}",
        wanted="an address such as redis://127.0.0.1:6379/0, or `orchestrator up` running",
    )
    raise InvalidSetting("no broker is known", problems=[problem])


def broker_of_lanes(settings: Settings) -> str:
    """The one broker of all lanes that a worker with these settings serves.

    Raises InvalidSetting where they have several: a worker listens to one.
    """
    home = broker_url(settings)
    lanes: defaultdict[str, list[str]] = defaultdict(list)
    for lane in settings.lanes:
        lanes[settings.broker_urls.get(lane, home)].append(lane)
    if len(lanes) == 1:
        return next(iter(lanes))
    problems = [
        Problem(
            place="setting lanes", found=f"{', '.join(some)} on {without_secrets(url)}",
            wanted="lanes of one broker: start workers for each (orchestrator worker --lanes …)",
        )
        for url, some in lanes.items()
    ]  # fmt: skip
    raise InvalidSetting("a worker cannot serve lanes of several brokers", problems=problems)


def apps_of_brokers(
    settings: Settings, app: OrchestratorApp, home: str
) -> dict[str, OrchestratorApp]:
    """By URL, `home` first: an app to publish with. `app` is used for its own broker."""
    lanes: defaultdict[str, list[str]] = defaultdict(list)
    lanes[home] = [lane for lane in settings.lanes if lane not in settings.broker_urls]
    for lane, url in settings.broker_urls.items():
        lanes[url].append(lane)
    own = str(app.conf.broker_url)
    return {
        url: app if url == own else make_app(broker_url=url, lanes=some or ["default"])
        for url, some in lanes.items()
    }


def publisher_of(settings: Settings, apps: dict[str, OrchestratorApp], home: str) -> OpenPublisher:
    """Publishes to the broker of each lane."""
    publishers: dict[str, OpenPublisher] = {url: hint_publisher(app) for url, app in apps.items()}
    if len(publishers) == 1:
        return publishers[home]
    by_lane = {lane: publishers[url] for lane, url in settings.broker_urls.items()}
    return LaneHints(publishers[home], by_lane)
