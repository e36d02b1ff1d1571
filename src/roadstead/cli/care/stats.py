"""``roadstead stats``: shows what the registry holds, and the space it takes."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.care.scrub_text import describe_scrub, scrub_record
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_fields, print_json

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.integrity.scrub import ScrubState
    from roadstead.registry.integrity.statistics import Waiting
    from roadstead.registry.model import Statistics


@click.command(
    epilog="""\b
Examples:
  roadstead stats
  roadstead stats --json | jq .free_bytes"""
)
@registry_options
def stats(*, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show what the registry holds and the space it takes.

    Blobs are counted once, however many repositories share them. Of these, "deleted" are kept while what was deleted
    can be restored, and "unneeded" wait for a manifest that names them or for the collector. Sizes are those that the
    records have; `roadstead check` compares them with the disk.
    """
    found = session.run(data, config, _measure, needs_storage=False)
    if as_json:
        print_json(_record(found))
        return
    totals, free = found.totals, found.free_bytes
    blobs = f"{text.number(totals.blobs)} ({text.size(totals.blob_bytes)})"
    print_fields(
        [
            ("Repositories", text.number(totals.repositories)),
            ("Tags", text.number(totals.tags)),
            ("Manifests", f"{text.number(totals.manifests)} ({text.size(totals.manifest_bytes)})"),
            ("Blobs", blobs + (f", {text.number(totals.quarantined)} in quarantine" if totals.quarantined else "")),
            ("Deleted", _deleted(found.waiting)),
            ("Unneeded", _unneeded(found.waiting)),
            ("Uploads", f"{text.number(totals.uploads)} not finished ({text.size(totals.upload_bytes)})"),
            ("Catalogue", text.size(found.catalogue_bytes)),
            ("Free space", "unlimited" if free is None else text.size(free)),
            ("Pulls", f"{text.number(found.pulls_today)} today, {text.number(found.pulls_week)} in seven days"),
            ("Scrub", describe_scrub(found.scrub, totals.blob_bytes)),
            ("Waiting", f"nothing is removed until `gc --confirm`: {found.unconfirmed}" if found.unconfirmed else ""),
        ]
    )


def _deleted(waiting: "Waiting") -> str:
    """Describes the deleted manifests that can be restored, and the blobs that they keep."""
    if not waiting.deleted_manifests:
        return ""
    kept = f"{text.plural(waiting.deleted_blobs, 'blob')} ({text.size(waiting.deleted_blob_bytes)})"
    return f"{text.plural(waiting.deleted_manifests, 'manifest')} that can be restored, keeping {kept}"


def _unneeded(waiting: "Waiting") -> str:
    """Describes the blobs that nothing needs, and that are to be collected."""
    if not waiting.unneeded_blobs:
        return ""
    return f"{text.plural(waiting.unneeded_blobs, 'blob')} ({text.size(waiting.unneeded_blob_bytes)}), to be collected"


@dataclasses.dataclass(frozen=True, slots=True)
class _Measured:
    totals: "Statistics"
    waiting: "Waiting"
    scrub: "ScrubState"
    catalogue_bytes: int
    free_bytes: int | None
    pulls_today: int
    pulls_week: int
    unconfirmed: str


async def _measure(opened: session.Session) -> _Measured:
    from roadstead.app import Installation  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.content.traffic import sum_pulls  # noqa: PLC0415
    from roadstead.registry.integrity.scrub import find_scrub  # noqa: PLC0415
    from roadstead.registry.integrity.statistics import measure, measure_waiting  # noqa: PLC0415
    from roadstead.registry.operation.confirmation import find_unconfirmed  # noqa: PLC0415

    database = opened.registry.database
    installation = Installation(opened.settings)
    unconfirmed = await find_unconfirmed(database)
    return _Measured(
        totals=await measure(database),
        waiting=await measure_waiting(database),
        scrub=await find_scrub(database),
        catalogue_bytes=(await installation.look_at_server()).bytes
        if installation.is_shared
        else _size_of(installation.folder.catalogue),
        free_bytes=await opened.registry.storage.free_bytes(),
        pulls_today=await sum_pulls(database, opened.registry.clock, 1),
        pulls_week=await sum_pulls(database, opened.registry.clock, 7),
        unconfirmed=unconfirmed.reason if unconfirmed else "",
    )


def _size_of(catalogue: Path) -> int:
    """Returns the bytes of the catalogue's file and of its log, which holds the latest changes."""
    files = (catalogue, catalogue.with_name(f"{catalogue.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _record(found: _Measured) -> dict[str, object]:
    return {
        **dataclasses.asdict(found.totals),
        **dataclasses.asdict(found.waiting),
        "catalogue_bytes": found.catalogue_bytes,
        "free_bytes": found.free_bytes,
        "pulls_today": found.pulls_today,
        "pulls_week": found.pulls_week,
        "scrub": scrub_record(found.scrub),
        "unconfirmed": found.unconfirmed or None,
    }
