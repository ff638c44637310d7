"""Which rows are meant: conditions that indexes and questions share, as SQL."""

from __future__ import annotations

DUE = "status IN ('pending', 'running', 'compensating')"
TIMED = "status IN ('waiting', 'parked')"
STANDING = (
    f"CASE WHEN {DUE} THEN 'due' WHEN {TIMED} THEN 'timed' ELSE status END"  # which the rest keep
)
UNENDED = "standing NOT IN ('succeeded', 'compensated', 'abandoned')"
UNTOLD = "wait_id IS NOT NULL AND standing IN ('abandoned', 'compensated', 'succeeded')"
"""Of a child: it has ended, and the run that waits for it has not been told."""
CHILD = "parent_id IS NOT NULL AND map_id IS NULL"
"""Of a run that a step began, but for items of maps: these are found by their map alone."""
ASIDE = "(direction = 'backward' OR path IS NOT NULL OR rerun_of IS NOT NULL)"
"""Where a run stands is told by its links alone, not by its row: see `standings`."""
UNDER_WAY = "standing IN ('due', 'timed')"
AT_REST = "standing NOT IN ('due', 'timed')"
ANNOUNCED = f"owner IS NULL AND published_at IS NOT NULL AND {UNDER_WAY}"
SLEEPING = "owner IS NULL AND published_at IS NULL AND standing = 'timed'"
OWNED = "owner IS NOT NULL"
OPEN = "closed_at IS NULL"
ASKING = "closed_at IS NULL AND asks = 'approval'"
HOLDS = "ended_at IS NULL"
HOLDING = "waits.closed_at IS NULL AND waits.attempt = 0"
"""Of an approval without which its run does not begin: see `holding`."""
WORDS = r"to_tsvector('simple', regexp_replace(left({0}, 2000), '[\W_]+', ' ', 'g'))"
"""Of a text, on PostgreSQL: letters and digits alone, so that all see the same words in it. What
follows 2000 characters is not looked for."""
FAILED = "cause <> ''"
UNCLAIMED = "closed_at IS NULL AND claimed_by IS NULL"

IN_FORCE = f"{HOLDS} AND (pauses.until IS NULL OR pauses.until > {{now}})"
_AND_ITS_WAY = (
    "(pauses.also_undoing OR (runs.direction = 'forward'"
    " AND runs.cancel_wish IS NULL AND runs.cancel IS NULL))"
)
STOPPED = (
    f"(EXISTS (SELECT 1 FROM pauses WHERE {IN_FORCE} AND pauses.run_id IS NULL"
    " AND (pauses.workflow IS NULL OR pauses.workflow = runs.workflow)"
    " AND (pauses.tenant IS NULL OR pauses.tenant = runs.tenant)"
    f" AND {_AND_ITS_WAY})"
    f" OR EXISTS (SELECT 1 FROM pauses WHERE {IN_FORCE}"
    " AND (pauses.run_id = runs.id OR pauses.run_id = runs.whole_id)"
    f" AND {_AND_ITS_WAY}))"
)
"""Whether a pause stops the row of `runs` at hand. One that goes back, or is to be cancelled, is
stopped by those alone that say so."""
HELD = f"EXISTS (SELECT 1 FROM waits WHERE waits.run_id = runs.id AND {HOLDING})"
"""Whether the row of `runs` at hand waits for a person before it begins."""
