"""Background work; knows nothing of what it does."""

from roadstead.jobs.errors import LeaseLostError
from roadstead.jobs.grace import keep_clock, keep_shared_clock, open_clock, open_shared_clock
from roadstead.jobs.lease import Lease, delete_leases, require_fence, run_alone
from roadstead.jobs.presence import Presence
from roadstead.jobs.states import (
    FIND_STATE,
    delete_state,
    delete_states,
    find_state,
    list_states,
    lock_state,
    save_state,
)

__all__ = [
    "FIND_STATE",
    "Lease",
    "LeaseLostError",
    "Presence",
    "delete_leases",
    "delete_state",
    "delete_states",
    "find_state",
    "keep_clock",
    "keep_shared_clock",
    "list_states",
    "lock_state",
    "open_clock",
    "open_shared_clock",
    "require_fence",
    "run_alone",
    "save_state",
]
