"""``roadstead restore``: brings back a deleted or overwritten tag, a manifest, or all of a repository."""

import contextlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from click.shell_completion import CompletionItem

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.local_names import find_states
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError
from roadstead.cli.terminal.target import Target, TargetType, parse_target
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest, Tag
from roadstead.oci.errors import DigestInvalidError

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.content.undo import Restored

PAGE: Final = 500
"""Number of entries of history that are asked of the catalogue at once."""

_BEGINNING: Final = re.compile(r"[a-z0-9]+:[0-9a-f]{4,128}")


class _StateType(click.ParamType[str]):
    """A parameter that takes a digest, or as much of its beginning as `roadstead history` shows on a terminal."""

    name = "digest"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        if _BEGINNING.fullmatch(text) is None:
            self.fail(f"{text!r} is neither a digest nor the beginning of one (sha256:9f86d081884c)", param, ctx)
        return text

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's
        """Proposes the digests that the tag has pointed at, the newest first."""
        try:
            target = parse_target(ctx.args[0])  # an option that waits for its value keeps click from reading arguments
        except (IndexError, ValueError, RoadsteadError):
            return []
        if target.reference is None:
            return []
        names = find_states(ctx.params.get("data"), target.repository, target.reference)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    epilog="""\b
Examples:
  roadstead restore library/app:1.2                     a deleted or overwritten tag
  roadstead restore library/app:1.2 --to sha256:9f86d   to a state that `roadstead history` shows
  roadstead restore library/app@sha256:9f86…            a deleted manifest, with its tags
  roadstead restore library/app                         all that was deleted of a repository"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@click.option(
    "--to", type=_StateType(), metavar="DIGEST", help="The state that a tag goes back to; its beginning will do."
)
@registry_options
def restore(*, reference: Target, to: str | None, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Restore what was deleted or overwritten.

    REPO:TAG goes back to what it stood for before its last change, which a second time undoes the first; REPO@DIGEST
    comes back with its children and the tags that it lost and nothing has taken since; REPO brings back all its deleted
    manifests likewise. Possible until the grace time (garbage.grace_seconds) is over. A running server knows at once.
    """
    if to is not None and not isinstance(reference.reference, Tag):
        raise click.UsageError("--to says where a tag goes: name REPO:TAG")

    async def work(opened: session.Session) -> "Restored":
        await session.require_changeable(opened.registry)
        undo = opened.registry.undo
        cause = session.cause_of("restore")
        if isinstance(reference.reference, Tag):
            state = None if to is None else await _find_state(opened.registry, reference, reference.reference, to)
            return await undo.restore_tag(reference.repository, reference.reference, to=state, cause=cause)
        if reference.reference is not None:
            return await undo.restore_manifest(reference.repository, reference.reference, cause=cause)
        return await undo.restore_repository(reference.repository, cause=cause)

    restored = session.run(data, config, work)
    if as_json:
        tags = [{"tag": tag, "digest": digest} for tag, digest in restored.tags]
        print_json({"repository": reference.repository, "tags": tags, "manifests": list(restored.manifests)})
        return
    print_line(_sentence(reference, restored))


async def _find_state(registry: "Registry", reference: Target, tag: Tag, wanted: str) -> Digest:
    """Returns the digest in a tag's history that is ``wanted`` or begins with it."""
    from roadstead.registry.content.undo import NEWEST  # noqa: PLC0415 - see cli.terminal.session

    with contextlib.suppress(DigestInvalidError):
        return Digest.parse(wanted)
    found: set[Digest] = set()
    before = NEWEST
    while entries := await registry.undo.list_history(
        reference.repository, tag, visible=visible_to_operator(), before=before, limit=PAGE
    ):
        found |= {entry.digest for entry in entries if entry.digest.startswith(wanted)}
        before = entries[-1].id
    if len(found) == 1:
        return found.pop()
    if found:
        raise CommandRefusedError(f"{wanted} begins several: {', '.join(sorted(found))}")
    raise CommandRefusedError(f"{reference} never was {wanted}; `roadstead history {reference}` lists what it was")


def _sentence(reference: Target, restored: "Restored") -> str:
    if isinstance(reference.reference, Tag):
        return f"{reference} is {restored.tags[0][1]} again."
    if reference.reference is not None:
        names = [tag for tag, _ in restored.tags]
        also = f" and its {'tag' if len(names) == 1 else 'tags'} {', '.join(names)}" if names else ""
        return f"Restored the manifest {reference}{also}."
    extent = f"{text.plural(len(restored.manifests), 'manifest')} and {text.plural(len(restored.tags), 'tag')}"
    return f"Restored {reference.repository} with {extent}."
