"""Who asks over the network, and what is allowed to them."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import NotAllowed, Problem
from orchestrator.ports import Role


@dataclass(frozen=True, kw_only=True, slots=True)
class Principal:
    """Who asks, and what is allowed to them."""

    name: str
    role: Role
    tenant: str | None  # the only one they reach; None: all

    def require(self, role: Role) -> None:
        """Raises NotAllowed unless they have this role."""
        if not self.role.covers(role):
            problem = Problem(place=f"key of {self.name}", found=self.role, wanted=role)
            raise NotAllowed("the key's role does not allow this", problems=[problem])

    def require_all_tenants(self) -> None:
        """Raises NotAllowed for who is bound to one: the thing asked for belongs to all."""
        if self.tenant is not None:
            problem = Problem(
                place=f"key of {self.name}", found=f"bound to tenant {self.tenant}",
                wanted="a key for all tenants",
            )  # fmt: skip
            raise NotAllowed("this concerns all tenants", problems=[problem])

    def tenant_of(self, wanted: str | None) -> str | None:
        """The tenant to look at: the one asked for, else the own. Raises NotAllowed."""
        if self.tenant is not None and wanted not in (None, self.tenant):
            problem = Problem(
                place=f"key of {self.name}",
                found=f"tenant {wanted}",
                wanted=f"tenant {self.tenant}",
            )
            raise NotAllowed("the key does not reach this tenant", problems=[problem])
        return wanted if self.tenant is None else self.tenant

    def sees(self, tenant: str) -> bool:
        """Whether things of this tenant exist for them."""
        return self.tenant in (None, tenant)


LOCAL = Principal(name="local", role=Role.ADMIN, tenant=None)
"""Who asks where no key is wanted: whoever is on this machine."""
