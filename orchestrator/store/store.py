"""The store: one database behind the ports, put together from its parts."""

from __future__ import annotations

from orchestrator.store.acceptances import Acceptances
from orchestrator.store.accepting import Accepting
from orchestrator.store.access import Access
from orchestrator.store.advances import Advances
from orchestrator.store.aliases import Aliases
from orchestrator.store.api_windows import ApiWindows
from orchestrator.store.apis import Apis
from orchestrator.store.archiving import Archiving
from orchestrator.store.attributes import Attributes
from orchestrator.store.auditing import Auditing
from orchestrator.store.cancelling import Cancelling
from orchestrator.store.children import Children
from orchestrator.store.claiming import Claiming
from orchestrator.store.code_waits import CodeWaits
from orchestrator.store.counting import Counting
from orchestrator.store.editing import Editing
from orchestrator.store.engine import Database, open_database
from orchestrator.store.erasing import Erasing
from orchestrator.store.escalations import Escalations
from orchestrator.store.exporting import Exporting
from orchestrator.store.guarding import Guarding
from orchestrator.store.history import Histories
from orchestrator.store.jobs import Jobs
from orchestrator.store.journal import Journal
from orchestrator.store.lanes import Lanes
from orchestrator.store.looking import LookedAt, open_replica
from orchestrator.store.maps import Maps
from orchestrator.store.moving import Moving
from orchestrator.store.notices import Notices
from orchestrator.store.part import Shared
from orchestrator.store.pausing import Pausing
from orchestrator.store.proposals import Proposals
from orchestrator.store.recovering import Recovering
from orchestrator.store.replica import Replica
from orchestrator.store.rerunning import Rerunning
from orchestrator.store.resealing import Resealing
from orchestrator.store.restoring import Restoring
from orchestrator.store.retention import Retention
from orchestrator.store.runs import Runs
from orchestrator.store.scheduling import Scheduling
from orchestrator.store.slo import Slos
from orchestrator.store.standings import Standings
from orchestrator.store.surveying import Surveying
from orchestrator.store.tracing import Traces
from orchestrator.store.vectors import SearchVectors
from orchestrator.store.waiting import Waiting
from orchestrator.store.workers import POOL_SIZE, Workers
from orchestrator.store.workflows import Workflows


class SqlStore:
    """Implements ports.Store, AccessStore, GuardStore, ProposalStore, ScheduleStore and
    SurveyStore.

    Belongs to one event loop, the first.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        shared = Shared(database)

        workflows = Workflows(shared)
        self.publish = workflows.publish
        self.keep_signature = workflows.keep_signature
        self.workflow = workflows.workflow
        self.workflow_by_id = workflows.workflow_by_id
        self.workflows = workflows.workflows
        self.versions = workflows.versions
        self.changes_published = workflows.changes_published
        self.offered_ids = workflows.offered_ids
        aliases = Aliases(shared)
        self.offered, self.change_alias = aliases.offered, aliases.change_alias
        self.aliases, self.alias_changes = aliases.aliases, aliases.alias_changes

        restoring = Restoring(shared)
        self.restorable, self.restore = restoring.restorable, restoring.restore
        self.forget_workers = restoring.forget_workers
        self.high_water, self.was_deleted = restoring.high_water, restoring.was_deleted

        journal, runs = Journal(shared), Runs(shared)
        accepting = Accepting(shared)
        self.accept, self.backlog = accepting.accept, accepting.backlog
        self.accept_rerun = Rerunning(shared, accepting).accept_rerun
        self.migrate_run = Moving(shared).migrate_run
        guarding = Guarding(shared, accepting)
        self.policies, self.policies_of = guarding.policies, guarding.policies_of
        self.change_policy, self.policy_changes = guarding.change_policy, guarding.policy_changes
        self.uses, self.judged = guarding.uses, guarding.judged
        self.accept_guarded, self.expire_holds = guarding.accept_guarded, guarding.expire_holds
        self.claim = Claiming(shared).claim
        self.record = journal.record
        cancelling = Cancelling(shared)
        self.request_cancel = cancelling.request_cancel
        self.now = runs.now
        self.run = runs.run
        self.steps = runs.steps
        self.attempts = runs.attempts
        self.audit = runs.audit
        self.progress = runs.progress
        self.runs = runs.runs
        self.attributes = Attributes(shared).attributes
        self.count_by_status = runs.count_by_status
        self.flow = runs.flow

        code = CodeWaits(shared)
        self.wait_for_code, self.take_coded = code.wait_for_code, code.take_coded
        self.code_waits, self.code_wanted = code.code_waits, code.code_wanted

        counting = Counting(shared)
        self.count_unfinished = counting.count_unfinished
        self.count_recent_successes = counting.count_recent_successes
        self.count_open_escalations = counting.count_open_escalations

        search = SearchVectors(shared)
        self.vectors, self.keep_vectors = search.vectors, search.keep_vectors
        self.forget_vectors = search.forget_vectors

        windows = ApiWindows(shared)
        self.write_api_windows = windows.write_api_windows
        self.api_windows = windows.api_windows
        self.merge_api_windows = windows.merge_api_windows

        self.run_groups = Standings(shared).run_groups
        self.lanes_seen = Lanes(shared).lanes_seen

        escalations = Escalations(shared, journal, cancelling)
        self.escalation = escalations.escalation
        self.escalations = escalations.escalations
        self.escalations_of = escalations.escalations_of
        self.open_unclaimed = escalations.open_unclaimed
        self.claim_escalation = escalations.claim_escalation
        self.release_escalation = escalations.release_escalation
        self.assign_escalation = escalations.assign_escalation
        self.comment_escalation = escalations.comment_escalation
        self.release_expired_claims = escalations.release_expired_claims
        self.act = escalations.act
        self.escalated_run = escalations.escalated_run

        jobs = Jobs(shared)
        self.count_things = jobs.count_things
        self.add_job = jobs.add_job
        self.job = jobs.job
        self.jobs = jobs.jobs
        self.job_items = jobs.job_items
        self.order_job = jobs.order_job
        self.take_job_turn = jobs.take_job_turn
        self.refuse_item = jobs.refuse_item
        self.end_job_if_through = jobs.end_job_if_through
        self.take_silent_jobs = jobs.take_silent_jobs

        children = Children(shared, accepting, cancelling)
        self.tell_parents, self.untold_children = children.tell_parents, children.untold_children
        self.cancel_forsaken = children.cancel_forsaken
        maps = Maps(shared, children)
        self.tell_map, self.admit, self.stop_map = maps.tell_map, maps.admit, maps.stop_map
        self.map, self.map_parent, self.maps_of = maps.map, maps.map_parent, maps.maps_of
        self.map_values, self.map_items = maps.map_values, maps.map_items
        self.map_to_undo, self.count_to_undo = maps.map_to_undo, maps.count_to_undo
        self.map_leftovers, self.open_maps = maps.map_leftovers, maps.open_maps
        waiting = Waiting(shared, journal, children, maps)
        self.await_answers = waiting.await_answers
        self.send_signal = waiting.send_signal
        self.signals_of = waiting.signals_of
        self.wait = waiting.wait
        self.waits_of = waiting.waits_of
        self.approvals = waiting.approvals
        self.decide = waiting.decide

        proposals = Proposals(shared, escalations, waiting)
        self.propose, self.proposal = proposals.propose, proposals.proposal
        self.proposals, self.refuse_proposal = proposals.proposals, proposals.refuse_proposal
        self.confirm_act = proposals.confirm_act
        self.confirm_decision = proposals.confirm_decision
        self.confirm_edit = Editing(shared, proposals).confirm_edit
        self.lapse_proposals = proposals.lapse_proposals

        notices = Notices(shared)
        self.add_notices = notices.add_notices
        self.take_notices = notices.take_notices
        self.note_told = notices.note_told
        self.note_untold = notices.note_untold

        self.history = Histories(shared).history

        slos = Slos(shared)
        self.told_objectives, self.count_events = slos.told_objectives, slos.count_events
        self.event_counts, self.alarms = slos.event_counts, slos.alarms
        self.open_alarms, self.touch_alarms = slos.open_alarms, slos.touch_alarms
        self.close_alarms = slos.close_alarms

        scheduling = Scheduling(shared)
        self.schedules, self.schedule = scheduling.schedules, scheduling.schedule
        self.change_schedule = scheduling.change_schedule
        self.schedule_changes = scheduling.schedule_changes
        self.firings, self.add_firings = scheduling.firings, scheduling.add_firings
        self.schedules_to_look_at = scheduling.schedules_to_look_at
        self.record_turn, self.to_begin = scheduling.record_turn, scheduling.to_begin
        self.note_begun, self.note_ending = scheduling.note_begun, scheduling.note_ending
        self.retire_firings = scheduling.retire_firings

        traces = Traces(shared)
        self.take_traces, self.wake_traces = traces.take_traces, traces.wake_traces
        self.note_traced, self.note_untraced = traces.note_traced, traces.note_untraced
        self.forget_trace = traces.forget_trace

        recovering = Recovering(shared)
        workers = Workers(shared, recovering)
        self.register = workers.register
        self.heartbeat = workers.heartbeat
        self.deregister = workers.deregister
        self.workers = workers.workers
        self.room = workers.room
        self.recover_dead = recovering.recover_dead
        self.take_due = recovering.take_due
        self.due_in_seconds = recovering.due_in_seconds
        self.recall = recovering.recall
        self.take_lost = recovering.take_lost
        self.queue_counts = recovering.queue_counts

        apis = Apis(shared)
        self.api_overrides = apis.api_overrides
        self.change_api = apis.change_api
        self.api_changes = apis.api_changes

        advances = Advances(shared)
        self.write_advances, self.advances = advances.write_advances, advances.advances

        access = Access(shared)
        self.add_key = access.add_key
        self.keys = access.keys
        self.usable_keys = access.usable_keys
        self.revoke_key = access.revoke_key
        acceptances = Acceptances(shared)
        self.note_acceptances = acceptances.note_acceptances
        self.acceptances = acceptances.acceptances

        pausing = Pausing(shared)
        self.pause, self.end_pause = pausing.pause, pausing.end_pause
        self.pauses = pausing.pauses
        self.hold_paused, self.release_paused = pausing.hold_paused, pausing.release_paused

        self.survey = Surveying(
            shared, recovering.looks, children.looks, pausing.looks, scheduling.looks,
            escalations.looks, proposals.looks, guarding.looks, jobs.looks, maps.looks,
            code.looks,
        ).survey  # fmt: skip

        auditing = Auditing(shared)
        self.story, self.stories = auditing.story, auditing.stories
        self.checkpoints = auditing.checkpoints
        self.checkpoint_content = auditing.checkpoint_content
        self.make_checkpoint = auditing.make_checkpoint
        erasing = Erasing(shared)
        self.erase, self.erase_parts = erasing.erase, erasing.erase_parts
        self.children_to_erase = erasing.children_to_erase
        self.maps_to_erase, self.items_to_erase = erasing.maps_to_erase, erasing.items_to_erase
        self.forget_values = erasing.forget_values
        exporting = Exporting(shared)
        self.covered, self.last_checkpoint = exporting.covered, exporting.last_checkpoint

        self.reseal_payloads = Resealing(shared).reseal_payloads

        retention = Retention(shared)
        self.make_partitions = retention.make_partitions
        self.retire_runs = retention.retire_runs
        self.retire_jobs = retention.retire_jobs
        self.retire_partitions = retention.retire_partitions
        self.count_expired = retention.count_expired
        archiving = Archiving(shared, retention)
        self.archived_tables, self.schema = archiving.archived_tables, archiving.schema
        self.plan_batches, self.take_batch = archiving.plan_batches, archiving.take_batch
        self.erased_columns = archiving.erased_columns
        self.erasure_data, self.has_run = archiving.erasure_data, archiving.has_run
        self.release_batch = archiving.release_batch
        self.rows_of, self.older_until = archiving.rows_of, archiving.older_until
        self.note_archived, self.batch = archiving.note_archived, archiving.batch
        self.changed_batches = archiving.changed_batches
        self.give_up_batch = archiving.give_up_batch
        self.archived_batches = archiving.archived_batches

    def looked_at(self, replica: Replica) -> SqlStore:
        """The same store for those who show things to people: looks are answered by the replica.

        It shares this one's connections, which this one closes.
        """
        return SqlStore(LookedAt(self._database, replica))

    def replica(
        self, url: str, *, max_lag_seconds: float, pool_wait_seconds: float = 10.0
    ) -> Replica:
        """A replica of this database; connects with the first look. Raises InvalidSetting."""
        return open_replica(
            self._database, url, max_lag_seconds=max_lag_seconds,
            pool_wait_seconds=pool_wait_seconds,
        )  # fmt: skip

    @property
    def address(self) -> str:
        """Where the database is, without secrets."""
        return self._database.where

    async def close(self) -> None:
        """Return all connections."""
        await self._database.close()


def open_store(
    database_url: str,
    *,
    pool_size: int = POOL_SIZE,
    pool_wait_seconds: float = 10.0,
    shares_sessions: bool = False,
) -> SqlStore:
    """A store on this database; connects with the first call and migrates nothing.

    `shares_sessions`: through a pooler that lends a session for one transaction. Raises
    InvalidSetting for a URL that is neither a SQLite file nor PostgreSQL.
    """
    return SqlStore(open_database(
        database_url, pool_size=pool_size, pool_wait_seconds=pool_wait_seconds,
        shares_sessions=shares_sessions,
    ))  # fmt: skip
