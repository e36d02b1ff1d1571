"""``roadstead ls``: lists repositories, or the tags of one."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, note, print_rows, width
from roadstead.cli.terminal.target import RepositoryType
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest, RepositoryName, parse_manifest

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.model import RepositorySummary, TagSummary

PAGE: Final = 500
"""Number of records that are asked of the catalogue at once."""

REMEMBERED: Final = 1024
"""Number of indexes whose platforms are remembered: a listing has the same index under several tags."""

WIDE: Final = 150
"""Number of columns from which a terminal shows whole digests."""

_T = TypeVar("_T")


@click.command(
    epilog="""\b
Examples:
  roadstead ls                              all repositories
  roadstead ls library/app                  its tags
  roadstead ls --json | jq -r .name         for scripts: one object a line
  roadstead ls library/app | cut -f1        a pipe gets tabs and no heading"""
)
@click.argument("repository", metavar="[REPO]", required=False, type=RepositoryType())
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Show only the first N.  [default: all]")
@registry_options
def ls(
    *, repository: RepositoryName | None, limit: int | None, data: Path | None, config: Path | None, as_json: bool
) -> None:
    """List repositories, or the tags of one.

    In order of their names. A repository is shown with the numbers of its tags and manifests; a tag with the digest it
    stands for, its type (image, index or the type of another artifact), the number of platforms and when it was last
    set.
    """

    async def work(opened: session.Session) -> None:
        if repository is None:
            await _list_repositories(opened.registry, limit, as_json=as_json)
        else:
            await _list_tags(opened.registry, repository, limit, as_json=as_json)

    session.run(data, config, work, needs_storage=False)


async def _list_repositories(registry: "Registry", limit: int | None, *, as_json: bool) -> None:
    columns: list[Column[RepositorySummary]] = [
        Column("REPOSITORY", lambda row: row.name),
        Column("TAGS", lambda row: str(row.tags), lambda row: text.number(row.tags), is_number=True),
        Column("MANIFESTS", lambda row: str(row.manifests), lambda row: text.number(row.manifests), is_number=True),
    ]

    def as_record(row: "RepositorySummary") -> dict[str, object]:
        return {"name": row.name, "tags": row.tags, "manifests": row.manifests}

    if not await print_rows(_limited(iter_repositories(registry), limit), columns, as_record, as_json=as_json):
        note("There are no repositories yet; push one: docker push localhost:5000/app")


async def iter_repositories(registry: "Registry") -> AsyncIterator["RepositorySummary"]:
    """Yields all repositories that hold a manifest, in order."""
    after = ""
    while True:
        page = await registry.repositories.list_names(visible=visible_to_operator(), after=after, limit=PAGE)
        for name in page.items:
            yield await registry.repositories.summarise(RepositoryName(name), visible=visible_to_operator())
        after = page.last
        if not after:
            return


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the listing: a tag, and the number of its platforms (None if the manifest does not say)."""

    tag: "TagSummary"
    platforms: int | None

    @property
    def kind(self) -> str:
        return text.printable(text.kind(self.tag.media_type, self.tag.artifact_type))


async def _list_tags(registry: "Registry", repository: RepositoryName, limit: int | None, *, as_json: bool) -> None:
    from roadstead.registry.errors import RepositoryUnknownError  # noqa: PLC0415 - see cli.terminal.session

    summary = await registry.repositories.summarise(repository, visible=visible_to_operator())
    if not summary.tags and not summary.manifests:
        raise RepositoryUnknownError(repository)
    digest = str if width() >= WIDE else text.short_digest
    columns: list[Column[_Row]] = [
        Column("TAG", lambda row: row.tag.name),
        Column("DIGEST", lambda row: row.tag.digest, lambda row: digest(row.tag.digest), importance=2),
        Column("TYPE", lambda row: row.kind, lambda row: row.kind.removeprefix("application/"), importance=1),
        Column("PLATFORMS", lambda row: _count(row.platforms), is_number=True, importance=3),
        Column(
            "UPDATED",
            lambda row: text.utc(row.tag.updated_ms),
            lambda row: text.local_time(row.tag.updated_ms),
            importance=4,
        ),
    ]
    rows = _limited(_iter_tags(registry, repository), limit)
    if not await print_rows(rows, columns, _tag_record, as_json=as_json):
        note(f"{repository} has no tags, but {text.plural(summary.manifests, 'manifest')} that no tag points at")


def _count(platforms: int | None) -> str:
    return "-" if platforms is None else str(platforms)


def _tag_record(row: _Row) -> dict[str, object]:
    return {
        "name": row.tag.name,
        "digest": row.tag.digest,
        "media_type": row.tag.media_type,
        "artifact_type": row.tag.artifact_type,
        "platforms": row.platforms,
        "updated": text.utc(row.tag.updated_ms),
    }


async def _iter_tags(registry: "Registry", repository: RepositoryName) -> AsyncIterator[_Row]:
    counts: dict[Digest, int | None] = {}
    after = ""
    while page := await registry.tags.list_summaries(
        repository, visible=visible_to_operator(), after=after, limit=PAGE
    ):
        for tag in page:
            if tag.digest not in counts:
                if len(counts) >= REMEMBERED:
                    counts.clear()
                counts[tag.digest] = await _count_platforms(registry, tag)
            yield _Row(tag, counts[tag.digest])
        after = page[-1].name


async def _count_platforms(registry: "Registry", tag: "TagSummary") -> int | None:
    """Returns 1 for an image, the number of distinct platforms of an index, None if the manifest does not say."""
    kind = text.kind(tag.media_type, tag.artifact_type)
    if kind != "index":
        return 1 if kind == "image" else None
    try:
        manifest = parse_manifest(await registry.manifests.get_body(tag.digest), tag.media_type)
    except RoadsteadError:
        return None  # deleted meanwhile, or damaged: not what a listing is there to say
    return len({child.platform for child in manifest.children if child.platform and child.platform.os != "unknown"})


async def _limited(rows: AsyncIterator[_T], limit: int | None) -> AsyncIterator[_T]:
    left = limit
    async for row in rows:
        yield row
        if left is not None:
            left -= 1
            if not left:
                return
