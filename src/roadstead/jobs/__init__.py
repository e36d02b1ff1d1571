"""Background work; knows nothing of what it does."""

from roadstead.jobs.grace import keep_clock, open_clock
from roadstead.jobs.lease import Lease, delete_leases, run_alone
from roadstead.jobs.states import delete_state, delete_states, find_state, list_states, lock_state, save_state

__all__ = [
    "Lease",
    "delete_leases",
    "delete_state",
    "delete_states",
    "find_state",
    "keep_clock",
    "list_states",
    "lock_state",
    "open_clock",
    "run_alone",
    "save_state",
]
