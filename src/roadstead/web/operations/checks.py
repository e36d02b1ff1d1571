"""What readiness asks of a registry."""

from collections.abc import Mapping

from roadstead.errors import RoadsteadError
from roadstead.registry import Registry
from roadstead.registry.statistics import measure_unfinished
from roadstead.web.operations.health import Check, CheckResult, CheckState


def registry_checks(registry: Registry, *, minimum_free_bytes: int) -> Mapping[str, Check]:
    """Checks of the catalogue, of space, and of blobs found damaged, by name."""

    async def catalogue() -> CheckResult:
        try:
            await measure_unfinished(registry.database)
        except RoadsteadError as error:
            return CheckResult(CheckState.FAILED, str(error))
        return CheckResult(CheckState.OK)

    async def storage() -> CheckResult:
        free = await registry.storage.free_bytes()
        if free is not None and free < minimum_free_bytes:
            return CheckResult(CheckState.DEGRADED, f"only {free >> 20} MiB are free: pushes are refused")
        return CheckResult(CheckState.OK)

    async def blobs() -> CheckResult:
        quarantined = (await measure_unfinished(registry.database)).quarantined
        if quarantined:
            return CheckResult(CheckState.DEGRADED, f"{quarantined} damaged blob(s): `roadstead check` names them")
        return CheckResult(CheckState.OK)

    return {"catalogue": catalogue, "storage": storage, "blobs": blobs}
