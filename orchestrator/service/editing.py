"""Edits of steps that have not begun: one person proposes other values, a second one confirms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from orchestrator.core.redaction import Rules
from orchestrator.definitions.programs import Programs
from orchestrator.definitions.secrets import Secrets
from orchestrator.definitions.step_edits import Editable, check_edits, editable, edited_program
from orchestrator.definitions.values import ABSENT
from orchestrator.errors import InvalidInput, Problem
from orchestrator.ports import (
    Confirmation,
    Proposal,
    ProposalStore,
    Role,
    RunRecord,
    RunStore,
    Subject,
    facts_of,
    not_begun,
    visits_ahead,
)
from orchestrator.service.escalations import require_reason
from orchestrator.service.four_eyes import FourEyes, Wish
from orchestrator.service.privacy import Veil

MAY_CONFIRM = Role.APPROVER


class Editing:
    """Other values for what a step will send."""

    def __init__(
        self,
        store: ProposalStore,
        runs: RunStore,
        programs: Programs,
        four_eyes: FourEyes,
        *,
        max_bytes: int,
    ) -> None:
        self._store, self._runs, self._programs = store, runs, programs
        self._four_eyes, self._max_bytes = four_eyes, max_bytes

    async def ahead(self, run_id: str) -> Mapping[str, Sequence[Editable]]:
        """What can be given other values, by step that has not begun; nothing that is secret.

        Raises NotFound.
        """
        run = await self._runs.run(run_id)
        program = await self._programs.of_run(run.workflow_id, run.edits)
        steps = await self._runs.steps(run.id)
        facts, secrets = facts_of(run, steps), program.secrets
        rules = Veil(secrets, run, steps).rules
        found = {
            step.id: [e for e in editable(step, facts) if not _is_secret(e, secrets, rules)]
            for step in program.plan.steps if visits_ahead(run, steps, step.id)
        }  # fmt: skip
        return {step: values for step, values in found.items() if values}

    async def propose(
        self, run_id: str, step: str, values: Mapping[str, Any], *, by: str, reason: str, via: str
    ) -> Proposal:
        """Propose them, by name of a parameter or field, or JSON pointer into the payload.

        Always for a second person, whatever the workflow says. Raises NotFound; InvalidInput naming
        each value that does not fit; Conflict when the step has begun, or something is proposed.
        """
        require_reason(reason)
        self._check_size(values)
        run = await self._runs.run(run_id)
        program = await self._programs.get(run.workflow_id)
        planned = {each.id: each for each in program.plan.steps}
        if step not in planned:
            problem = Problem(place="step", found=step, wanted=f"one of: {', '.join(planned)}")
            raise InvalidInput("the workflow has no such step", problems=[problem])
        steps = await self._runs.steps(run.id)
        not_begun(run, steps, step)
        check_edits(program, planned[step], values, facts_of(run, steps))
        edited_program(program, {step: values})  # it can be read, whatever was checked
        wish = Wish(
            subject=Subject.EDIT, subject_id=step, act="edited", arguments={"set": dict(values)},
            reason=reason, by=by, via=via,
        )  # fmt: skip
        return await self._four_eyes.propose(run, wish)

    async def confirm(self, proposal: Proposal, confirmation: Confirmation) -> RunRecord:
        """Let the step send them. Raises Conflict: it has begun, or a worker is at the run."""
        values = proposal.arguments["set"]
        return await self._store.confirm_edit(
            confirmation, proposal.run_id, proposal.subject_id, values
        )

    def _check_size(self, values: Mapping[str, Any]) -> None:
        size = len(msgspec.json.encode(dict(values)))
        if size > self._max_bytes:
            wanted = f"at most {self._max_bytes:,}"
            problem = Problem(place="set", found=f"{size:,} bytes as JSON", wanted=wanted)
            raise InvalidInput("the values are too large", problems=[problem])


def _is_secret(value: Editable, secrets: Secrets, rules: Rules) -> bool:
    """By its name, by what it is read from, or by what stands in it."""
    shown = None if value.now is ABSENT else value.now
    return (
        rules.is_secret(value.name)
        or secrets.tells(str(value.planned))
        or rules.value({value.name: shown}) != {value.name: shown}
    )
