"""All SQL: the truth about every run, on PostgreSQL or on the embedded SQLite.

`open_store` gives ports.Store, `open_worker_locks` ports.WorkerLocks; `migrate` prepares the
database.
"""

from orchestrator.store.locks import open_worker_locks
from orchestrator.store.looking import Looks
from orchestrator.store.migrating import migrate
from orchestrator.store.sessions import Sessions
from orchestrator.store.store import SqlStore, open_store
from orchestrator.store.workers import HEARTBEAT_POOL_SIZE

__all__ = [
    "HEARTBEAT_POOL_SIZE",
    "Looks",
    "Sessions",
    "SqlStore",
    "migrate",
    "open_store",
    "open_worker_locks",
]
