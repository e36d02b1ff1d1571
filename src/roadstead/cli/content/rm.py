"""``roadstead rm``: deletes a tag, a manifest, or all of a repository."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.cli.terminal.target import Target, TargetType
from roadstead.oci import Digest, RepositoryName, Tag

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry

MOST_TAGS: Final = 1000
"""Number of tags of a deleted manifest that are named at most."""


@click.command(
    epilog="""\b
Examples:
  roadstead rm library/app:1.2              the tag; its manifest stays
  roadstead rm library/app@sha256:9f86d0…   the manifest, and every tag on it
  roadstead rm library/app --all            everything, after a question
  roadstead rm library/app --all --yes      everything, in a script"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@click.option("--all", "everything", is_flag=True, help="Delete all tags and manifests of the repository.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@registry_options
def rm(
    *, reference: Target, everything: bool, yes: bool, data: Path | None, config: Path | None, as_json: bool
) -> None:
    """Delete a tag, a manifest, or all of a repository.

    REPO:TAG deletes the tag and leaves the manifest; REPO@DIGEST deletes the manifest and the tags on it; REPO --all
    deletes every tag and manifest of the repository. A running server knows at once. `roadstead restore` undoes it
    until the grace time (garbage.grace_seconds, a week) is over; then the server frees the space. `roadstead gc --grace
    0` frees it now, for good.
    """
    if everything == (reference.reference is not None):
        name = reference.repository
        hint = (
            f"{name} with --all, or {reference} without" if everything else f"{name}:TAG, {name}@DIGEST or {name} --all"
        )
        raise click.UsageError(f"say what to delete: {hint}")
    if everything and not yes and not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise click.UsageError("nobody is here to be asked: add --yes to delete the whole repository")

    async def work(opened: session.Session) -> _Done:
        await session.require_changeable(opened.registry)
        if isinstance(reference.reference, Tag):
            return await _remove_tag(opened.registry, reference.repository, reference.reference)
        if reference.reference is not None:
            return await _remove_manifest(opened.registry, reference.repository, reference.reference)
        return await _remove_all(opened.registry, reference.repository, is_sure=yes)

    done = session.run(data, config, work)
    if as_json:
        print_json(done.record)
    else:
        print_line(done.sentence)


@dataclass(frozen=True, slots=True)
class _Done:
    """The outcome of a deletion, for people and for scripts."""

    sentence: str
    record: dict[str, object]


async def _remove_tag(registry: "Registry", repository: RepositoryName, tag: Tag) -> _Done:
    await registry.tags.delete(repository, tag, cause=session.cause_of("rm"))
    return _Done(f"Deleted the tag {repository}:{tag}.", {"repository": repository, "tags": [tag], "manifests": []})


async def _remove_manifest(registry: "Registry", repository: RepositoryName, digest: Digest) -> _Done:
    tags = await registry.tags.list_of_manifest(repository, digest, visible=visible_to_operator(), limit=MOST_TAGS)
    await registry.manifests.delete(repository, digest, cause=session.cause_of("rm"))
    also = f" and its {'tag' if len(tags) == 1 else 'tags'} {', '.join(tags)}" if tags else ", which had no tag"
    return _Done(
        f"Deleted the manifest {repository}@{digest}{also}.",
        {"repository": repository, "tags": list(tags), "manifests": [digest]},
    )


async def _remove_all(registry: "Registry", repository: RepositoryName, *, is_sure: bool) -> _Done:
    from roadstead.registry.garbage.repository_removal import remove_repository  # noqa: PLC0415 - see cli.terminal.session

    found = await registry.repositories.summarise(repository, visible=visible_to_operator())
    extent = f"{text.plural(found.tags, 'tag')} and {text.plural(found.manifests, 'manifest')}"
    if not is_sure and not click.confirm(f"Delete {repository} with {extent}?", err=True):
        raise CommandRefusedError("nothing was deleted")
    removed = await remove_repository(registry, repository, cause=session.cause_of("rm"))
    extent = f"{text.plural(removed.tags, 'tag')} and {text.plural(removed.manifests, 'manifest')}"
    return _Done(
        f"Deleted {repository} with {extent}.",
        {"repository": repository, "tag_count": removed.tags, "manifest_count": removed.manifests},
    )
