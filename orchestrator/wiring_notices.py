"""Builds from the settings what tells people of escalations and approvals."""

from __future__ import annotations

import time

from orchestrator.engine.secret import Secret, checked_reference
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports.notices import NoticeSender, NoticeStore
from orchestrator.service.links import LinkSigner
from orchestrator.service.notifying import Invitations, Notifier
from orchestrator.service.urgency import Urgency
from orchestrator.settings import NotificationTarget, Settings

CONSOLE = "/console"


def notifier_of(settings: Settings, store: NoticeStore, urgency: Urgency) -> Notifier:
    """The pass that tells all targets. Raises InvalidSetting."""
    targets = settings.notifications
    names = [target.name for target in targets]
    for name in names:
        if names.count(name) > 1:
            raise _refused(f"{name} twice", "other names")
    invitations = _invitations(settings) if targets else None
    senders = {target.name: _sender(target) for target in targets}
    return Notifier(store, senders, urgency, invitations=invitations)


def link_signer(settings: Settings) -> LinkSigner:
    """What signs links to approvals. Raises InvalidSetting for its key."""
    return LinkSigner(key=_link_key(settings.link_key), public_url=settings.public_address)


def _invitations(settings: Settings) -> Invitations:
    decides_as = {each.name: each.decides_as for each in settings.notifications if each.decides_as}
    if decides_as and not (settings.link_key and settings.public_url):
        found = f"decides_as of {', '.join(decides_as)}, without link_key or public_url"
        raise _refused(found, "both of them, for a link that works elsewhere")
    return Invitations(link_signer(settings), console=console_of(settings), decides_as=decides_as)


def console_of(settings: Settings) -> str | None:
    """Where people reach the console; None: nobody has said."""
    url = settings.public_url.rstrip("/")
    return url + CONSOLE if url else None


def _sender(target: NotificationTarget) -> NoticeSender:
    from orchestrator.engine.notices import sender_for  # noqa: PLC0415 -- most have no targets

    return sender_for(
        target.name, Secret(reference=target.url).read(),
        Secret(reference=target.secret).read() if target.secret else None,
        allow_private_addresses=target.allow_private_addresses, wall_seconds=time.time,
    )  # fmt: skip


def _link_key(reference: str) -> str:
    """The secret that signs links; nothing where none is named. Raises InvalidSetting."""
    if not reference:
        return ""
    try:
        return Secret(reference=checked_reference(reference)).read()
    except ValueError as error:
        problem = Problem(place="setting link_key", found="a text", wanted=str(error))
        raise InvalidSetting("the settings are not valid", problems=[problem]) from None


def _refused(found: str, wanted: str) -> InvalidSetting:
    problem = Problem(place="setting notifications", found=found, wanted=wanted)
    return InvalidSetting("the settings are not valid", problems=[problem])
