"""Which workflow versions may be run: those that a trusted key has signed, where keys are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.plan import Plan
from orchestrator.errors import NotAllowed, Problem, Untrusted
from orchestrator.ports import WorkflowStore, WorkflowVersion
from orchestrator.ports.vouching import Keys, Signer


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """One version, and whether it may be run."""

    workflow: str
    version: int
    published_by: str
    key_id: str | None  # whose signature
    doubt: str = ""  # why it may not be run; empty: it may
    signed_now: bool = False


class Vouching:
    """Looks at signatures when versions are loaded, and has them made."""

    def __init__(self, store: WorkflowStore, keys: Keys | None, *, signer: Signer | None) -> None:
        """`keys` None: whatever is stored may be run. `signer` None: nothing is signed here."""
        self._store, self._keys, self.signer = store, keys, signer

    @property
    def is_wanted(self) -> bool:
        """Whether versions have to be signed."""
        return self._keys is not None

    def doubt(self, version: WorkflowVersion) -> str:
        """Why it may not be run; empty: it may."""
        if version.parts:
            return "; ".join(
                f"v{each.version}: {doubt}" for each in version.parts if (doubt := self.doubt(each))
            )
        unread = [] if version.unread is None else [str(each) for each in version.unread.problems]
        return "; ".join(each for each in (self._doubt_of_signature(version), *unread) if each)

    def _doubt_of_signature(self, version: WorkflowVersion) -> str:
        confirmed = True if self._keys is None else self._keys.confirms(version)
        if confirmed:
            return ""
        if version.key_id is None or version.signature is None:
            return "no signature"
        if confirmed is None:
            return f"a signature of the key {version.key_id}, which is not trusted"
        return f"something else than the key {version.key_id} has signed: it was changed since"

    def require(self, version: WorkflowVersion) -> None:
        """Raises Untrusted for one that may not be run.

        InvalidDefinition for one that a newer release has written, whose workers may run it.
        """
        for each in version.parts:
            self.require(each)
        doubt = "" if version.parts else self._doubt_of_signature(version)
        if version.unread is not None and not doubt:
            raise version.unread
        if doubt:
            name = f"{version.workflow} v{version.version}"
            wanted = "what one of workflow_keys has signed (orchestrator workflows verify)"
            problem = Problem(place=f"workflow {name}", found=doubt, wanted=wanted)
            unread = () if version.unread is None else version.unread.problems
            raise Untrusted(f"{name} may not be run", problems=[problem, *unread])

    async def plan(self, workflow_id: str) -> Plan:
        """The plan of a version that may be run. Raises NotFound, Untrusted."""
        version = await self._store.workflow_by_id(workflow_id)
        self.require(version)
        return version.plan

    async def current(self, version: WorkflowVersion) -> WorkflowVersion:
        """This version as it is now, if it may be run. Raises NotFound, Untrusted."""
        if self.doubt(version):  # as this process has it in mind; it may have been mended since
            version = await self._store.workflow_by_id(version.id)
            self.require(version)
        return version

    async def verify(self) -> list[Verdict]:
        """All versions of all workflows, newest first."""
        return [verdict_on(each, self.doubt(each)) for each in await self._all()]

    async def sign(self, *, unsigned: bool) -> list[Verdict]:
        """Sign anew what a trusted key has signed, and with `unsigned` what nobody has signed.

        What was changed since it was signed, or is of a key that is not trusted, stays as it is.
        Raises NotAllowed without a key to sign with.
        """
        if self.signer is None:
            wanted = "a reference to the key that signs, as `workflows new-key` makes it"
            problem = Problem(place="setting workflow_key", found="nothing", wanted=wanted)
            raise NotAllowed("nothing can be signed here", problems=[problem])
        return [await self._sign(each, self.signer, unsigned) for each in await self._all()]

    async def _sign(self, version: WorkflowVersion, signer: Signer, unsigned: bool) -> Verdict:
        doubt = self.doubt(version)
        is_bare = version.signature is None
        signature = signer.sign(version.text())
        if (is_bare and not unsigned) or (doubt and not is_bare) or version.signature == signature:
            return verdict_on(version, doubt or ("no signature" if is_bare else ""))
        await self._store.keep_signature(version.id, key_id=signer.key_id, signature=signature)
        return Verdict(
            workflow=version.workflow, version=version.version, signed_now=True,
            published_by=version.published_by, key_id=signer.key_id,
        )  # fmt: skip

    async def _all(self) -> Sequence[WorkflowVersion]:
        names = [each.workflow for each in await self._store.workflows()]
        return [each for name in names for each in await self._store.versions(name)]


def plan_to_see(version: WorkflowVersion) -> Plan:
    """The plan of a version whose runs are only looked at, whether it may be run or not.

    Raises InvalidDefinition, Untrusted where it cannot be read: what is secret in its runs is not
    known then.
    """
    if version.unread is not None:
        raise version.unread
    return version.plan


def verdict_on(version: WorkflowVersion, doubt: str) -> Verdict:
    """What is thought of a version as it stands."""
    return Verdict(
        workflow=version.workflow, version=version.version, doubt=doubt,
        published_by=version.published_by, key_id=version.key_id,
    )  # fmt: skip
