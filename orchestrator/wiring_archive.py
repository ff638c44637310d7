"""The archive that the settings, or a command, name."""

from __future__ import annotations

from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports.archiving import Archive, ArchivingStore
from orchestrator.ports.vouching import Signer
from orchestrator.service.archive_erasing import ArchiveErasing
from orchestrator.service.archive_reading import ArchiveReading
from orchestrator.service.archiving import Archiving
from orchestrator.settings import Settings
from orchestrator.store.rows import audit_of
from orchestrator.wiring_payloads import seal_payloads


def archiving_of(
    settings: Settings, store: ArchivingStore, signer: Signer | None
) -> Archiving | None:
    """None where no archive is configured. Raises InvalidSetting."""
    if not settings.archive_url:
        return None
    return Archiving(store, open_archive(settings.archive_url), signer)


def archive_erasing_of(
    settings: Settings, store: ArchivingStore, signer: Signer | None
) -> ArchiveErasing | None:
    """The same of who erases in it."""
    if not settings.archive_url:
        return None
    return ArchiveErasing(store, open_archive(settings.archive_url), signer)


def archive_reading(settings: Settings, url: str = "") -> ArchiveReading:
    """Of this archive, or of the configured one; no database is asked. Raises InvalidSetting."""
    wanted = url or settings.archive_url
    if not wanted:
        problem = Problem(
            place="setting archive_url", found="nothing", wanted="where the archive is, or --at URL"
        )
        raise InvalidSetting("there is no archive", problems=[problem])
    seal_payloads(settings)
    return ArchiveReading(open_archive(wanted), audit_of)


def open_archive(url: str) -> Archive:
    """Raises InvalidSetting for a URL that leads nowhere, and without the extra."""
    try:
        from orchestrator import archive  # noqa: PLC0415 - pyarrow takes a third of a second
    except ImportError as error:
        problem = Problem(
            place="setting archive_url", found=f"a URL, and no {error.name}",
            wanted="the extra archive: pip install 'saga-orchestrator[archive]'",
        )  # fmt: skip
        raise InvalidSetting("archives cannot be read or written", problems=[problem]) from None
    return archive.open_archive(url)
