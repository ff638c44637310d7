"""The keys that vouch for workflows, as the settings name them."""

from __future__ import annotations

from orchestrator.definitions.programs import Load, Programs
from orchestrator.errors import InvalidSetting, Problem
from orchestrator.ports import WorkflowStore
from orchestrator.service.vouching import Vouching
from orchestrator.settings import Settings


def vouching_of(settings: Settings, store: WorkflowStore, *, signs: bool) -> Vouching:
    """What is trusted, and with `signs` what signs. Raises InvalidSetting for what is no key.

    Without keys `cryptography` is not loaded.
    """
    reference = settings.workflow_key if signs else ""
    if not reference and not settings.workflow_keys:
        return Vouching(store, None, signer=None)
    from orchestrator.engine import signing  # noqa: PLC0415 -- loads cryptography

    keys = None
    if settings.workflow_keys:
        keys = signing.trusted_keys(settings.workflow_keys, setting="workflow_keys")
    signer = signing.signer_of(reference, setting="workflow_key") if reference else None
    if signer is not None and keys is not None and not keys.know(signer.key_id):
        problem = Problem(
            place="setting workflow_key", found=f"the key {signer.key_id}",
            wanted="one of workflow_keys, else nothing that it signs is run",
        )  # fmt: skip
        raise InvalidSetting("the settings are not valid", problems=[problem])
    return Vouching(store, keys, signer=signer)


def programs_of(vouching: Vouching, look: Load) -> Programs:
    """Programs that are driven when they may be, and looked at in any case."""
    return Programs(vouching.plan, look=look)
