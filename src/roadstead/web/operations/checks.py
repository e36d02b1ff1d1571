"""The checks of a registry that decide if it is ready."""

from collections.abc import Callable, Mapping
from typing import Final

from roadstead.errors import RoadsteadError
from roadstead.registry import Registry
from roadstead.registry.integrity.statistics import measure_unfinished
from roadstead.registry.operation.maintenance import MaintenanceMode
from roadstead.registry2.release.link_troubles import list_troubles
from roadstead.storage import ObjectStore
from roadstead.web.operations.health import Check, CheckResult, CheckState

NAMED: Final = 5
"""Number of repositories that a sentence names at most."""


def registry_checks(registry: Registry, *, minimum_free_bytes: int) -> Mapping[str, Check]:
    """Returns checks of catalogue, space, damaged blobs, maintenance mode and links for registry:2, by name."""

    async def catalogue() -> CheckResult:
        try:
            await measure_unfinished(registry.database)
        except RoadsteadError as error:
            return CheckResult(CheckState.FAILED, str(error))
        return CheckResult(CheckState.OK)

    async def blobs() -> CheckResult:
        quarantined = (await measure_unfinished(registry.database)).quarantined
        if quarantined:
            return CheckResult(CheckState.DEGRADED, f"{quarantined} damaged blob(s): `roadstead check` names them")
        return CheckResult(CheckState.OK)

    async def maintenance() -> CheckResult:
        state = registry.maintenance.state
        if state.mode is MaintenanceMode.CLOSED:
            return CheckResult(CheckState.FAILED, f"closed: {state.message}")
        if state.mode is MaintenanceMode.READ_ONLY:
            return CheckResult(CheckState.DEGRADED, f"read-only: {state.message}")
        return CheckResult(CheckState.OK)

    return {
        "catalogue": catalogue,
        "storage": _storage_check(registry.storage, minimum_free_bytes),
        "blobs": blobs,
        "maintenance": maintenance,
        "links": _links_check(registry),
    }


def _storage_check(store: ObjectStore, minimum_free_bytes: int) -> Check:
    """Returns a check that fails while the storage is not there; degraded while it is too full for pushes."""

    async def storage() -> CheckResult:
        if absence := store.find_absence():
            return CheckResult(CheckState.FAILED, absence)
        free = await store.free_bytes()
        if free is not None and free < minimum_free_bytes:
            return CheckResult(CheckState.DEGRADED, f"only {free >> 20} MiB are free: pushes are refused")
        return CheckResult(CheckState.OK)

    return storage


def _links_check(registry: Registry) -> Check:
    """Returns a check that is degraded while links for registry:2 cannot be written: clients of ours do not notice."""

    async def links() -> CheckResult:
        aside = await list_troubles(registry.database)
        if not aside:
            return CheckResult(CheckState.OK)
        named = ", ".join(sorted(aside)[:NAMED]) + (", …" if len(aside) > NAMED else "")
        return CheckResult(CheckState.DEGRADED, f"links for registry:2 cannot be written: {named}; the log says why")

    return links


def stopping_check(is_stopping: Callable[[], bool]) -> Check:
    """Returns a check that fails as soon as the server is asked to stop, so that no new requests are sent to it."""

    async def stopping() -> CheckResult:
        if is_stopping():
            return CheckResult(CheckState.FAILED, "the server is stopping: requests in hand are finished")
        return CheckResult(CheckState.OK)

    return stopping


def passwords_check(find_problem: Callable[[], str]) -> Check:
    """Returns a check that is degraded while nobody can log in: taking the server out of service would help nobody."""

    async def passwords() -> CheckResult:
        if problem := find_problem():
            return CheckResult(CheckState.DEGRADED, f"nobody can log in: the password file: {problem}")
        return CheckResult(CheckState.OK)

    return passwords
