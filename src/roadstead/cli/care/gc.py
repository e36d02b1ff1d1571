"""``roadstead gc``: collects garbage now, or shows what would go and why."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli.care.confirmation import confirm, look_at_waiting, print_waiting
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, note, print_json, print_line, print_rows
from roadstead.cli.terminal.progress import ProgressBar

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.garbage.collected import Collected
    from roadstead.registry.garbage.collection import Collector
    from roadstead.registry.garbage.collection_preview import Garbage


@click.command(
    epilog="""\b
Examples:
  roadstead gc --dry-run                what is due, and why
  roadstead gc                          collect what is due
  roadstead gc --grace 0                collect all that was deleted, for good; while nobody pushes
  roadstead gc --untagged --dry-run     manifests that no tag reaches, too
  roadstead gc --confirm                after a restoration or a failover: show what waits, and ask"""
)
@click.option("--dry-run", is_flag=True, help="Show what would go and why; change nothing.")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.IntRange(min=0),
    help="Take what was deleted, or pushed without a manifest, so long ago; the settings say a week and a day.",
)
@click.option("--untagged", is_flag=True, help="Delete manifests that no tag reaches, too; they can be restored.")
@click.option("--confirm", "confirms", is_flag=True, help="Show what waits since the catalogue changed; let it go.")
@click.option("--remove-unrecorded", is_flag=True, help="With --confirm: blobs that the catalogue does not know, too.")
@click.option("--yes", is_flag=True, help="With --confirm: do not ask.")
@registry_options
def gc(
    *,
    dry_run: bool,
    grace: int | None,
    untagged: bool,
    confirms: bool,
    remove_unrecorded: bool,
    yes: bool,
    data: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Collect garbage now, or show what would go.

    A server collects by itself (garbage.collect); this does the same at once, beside it. What a tag, an index, a
    repository or an upload reaches is never taken. What can still be restored, and blobs whose client may be about to
    push their manifest, go only where --grace says so: a push that is under way then has to be repeated.

    After a restoration, a rebuild, or a failover of PostgreSQL nothing is removed until --confirm: the catalogue may
    know less than the storage has. Blobs that it does not know stay until somebody says otherwise.
    """
    if (remove_unrecorded or yes) and not confirms:
        raise click.UsageError("--remove-unrecorded and --yes go with --confirm")
    if confirms and (dry_run or untagged or grace is not None):
        raise click.UsageError("--confirm goes with none of --dry-run, --untagged and --grace")

    async def work(opened: session.Session) -> None:
        if confirms:
            await session.require_changeable(opened.registry)
            await confirm(opened.registry, removes_unrecorded=remove_unrecorded, is_sure=yes, as_json=as_json)
        elif dry_run:
            await _preview(opened.registry, grace, as_json=as_json, untagged=untagged)
        else:
            await session.require_changeable(opened.registry)
            await opened.registry.confirmation.require()
            await _collect(opened.registry, grace, as_json=as_json, untagged=untagged)

    session.run(data, config, work)


async def _preview(registry: "Registry", grace: int | None, *, as_json: bool, untagged: bool) -> None:
    from roadstead.registry.garbage.collection_preview import Preview  # noqa: PLC0415 - see cli.terminal.session

    older_than_ms = None if grace is None else grace * 1000
    preview = Preview(registry, older_than_ms, untagged)
    columns: list[Column[Garbage]] = [
        Column("KIND", lambda row: row.kind),
        Column("DIGEST", lambda row: row.digest, lambda row: text.short_digest(row.digest)),
        Column("SIZE", lambda row: str(row.size_bytes), lambda row: text.size(row.size_bytes), is_number=True),
        Column("REPOSITORY", lambda row: row.where or "-"),
        Column("WHY", lambda row: row.reason),
    ]
    total = [0, 0]

    async def counted() -> "AsyncIterator[Garbage]":
        async for found in preview.iter_garbage():
            total[0] += 1
            total[1] += found.size_bytes
            yield found

    if await print_rows(counted(), columns, dataclasses.asdict, as_json=as_json):
        note(f"{text.plural(total[0], 'item')} of {text.size(total[1])} would go")
    else:
        note("Nothing is due")
    if (reason := await registry.confirmation.notice()) is not None:
        print_waiting(reason, await look_at_waiting(registry), as_json=as_json)
        note("Nothing goes until `roadstead gc --confirm`")


async def _collect(registry: "Registry", grace: int | None, *, as_json: bool, untagged: bool) -> None:
    from roadstead.registry.garbage.collected import Collected  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.registry.garbage.collection import Collector  # noqa: PLC0415

    rules = dataclasses.replace(registry.rules, collects_untagged=registry.rules.collects_untagged or untagged)
    if grace is not None:
        rules = dataclasses.replace(rules, undo_ms=grace * 1000)
    collector = Collector(registry, rules)
    if untagged:
        await collector.review_all_untagged()
    total = Collected()
    with ProgressBar() as progress:
        progress.begin("collecting", await collector.count_due(), is_bytes=False)
        while True:
            if grace is not None:
                await collector.make_due(older_than_ms=grace * 1000)
            round_of_steps = await _collect_due(collector, progress)
            total.add(round_of_steps)
            if grace is None or not round_of_steps.untagged:
                break  # else what just went to the trash may be due by the wish for another grace time
    if as_json:
        print_json(dataclasses.asdict(total))
    else:
        print_line(_sentence(total))
    if holds := await collector.halts.list_holds():
        note(f"Blobs stay as long as this goes on: {', '.join(sorted(set(holds)))}")
    if collector.failure is not None:
        raise collector.failure


async def _collect_due(collector: "Collector", progress: ProgressBar) -> "Collected":
    total = await collector.step()
    looked_at = total.looked_at
    while looked_at:
        progress.advance(looked_at)
        done = await collector.step()
        looked_at = done.looked_at
        total.add(done)
    return total


def _sentence(total: "Collected") -> str:
    if not total.looked_at:
        return "Nothing was due."
    freed = f"Freed {text.size(total.blob_bytes)}: {text.plural(total.blobs, 'blob')}"
    also = f" and {text.plural(total.manifests, 'manifest')}"
    trashed = f"; {text.plural(total.untagged, 'untagged manifest')} went to the trash" if total.untagged else ""
    failed = f"; {text.plural(total.failed, 'object')} could not be removed" if total.failed else ""
    return f"{freed}{also}{trashed}{failed}."
