"""``roadstead stats``: what the registry holds, and the space it takes."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli import session, text
from roadstead.cli.options import registry_options
from roadstead.cli.output import print_fields, print_json

if TYPE_CHECKING:  # see cli.session
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

    Blobs are counted once, however many repositories share them. Sizes are those that the records have; `roadstead
    check` compares them with the disk.
    """
    totals, catalogue_bytes, free_bytes = session.run(data, config, _measure)
    if as_json:
        print_json(_record(totals) | {"catalogue_bytes": catalogue_bytes, "free_bytes": free_bytes})
        return
    blobs = f"{text.number(totals.blobs)} ({text.size(totals.blob_bytes)})"
    print_fields(
        [
            ("Repositories", text.number(totals.repositories)),
            ("Tags", text.number(totals.tags)),
            ("Manifests", f"{text.number(totals.manifests)} ({text.size(totals.manifest_bytes)})"),
            ("Blobs", blobs + (f", {text.number(totals.quarantined)} in quarantine" if totals.quarantined else "")),
            ("Uploads", f"{text.number(totals.uploads)} not finished ({text.size(totals.upload_bytes)})"),
            ("Catalogue", text.size(catalogue_bytes)),
            ("Free space", "unlimited" if free_bytes is None else text.size(free_bytes)),
        ]
    )


async def _measure(opened: session.Session) -> "tuple[Statistics, int, int | None]":
    from roadstead.app import data_folder  # noqa: PLC0415 - see cli.session
    from roadstead.registry.statistics import measure  # noqa: PLC0415

    totals = await measure(opened.registry.database)
    catalogue = data_folder(opened.settings).catalogue
    return totals, _size_of(catalogue), await opened.registry.storage.free_bytes()


def _size_of(catalogue: Path) -> int:
    """Bytes of the catalogue's file and of its log, which holds the latest changes."""
    files = (catalogue, catalogue.with_name(f"{catalogue.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _record(totals: "Statistics") -> dict[str, object]:
    return dataclasses.asdict(totals)
