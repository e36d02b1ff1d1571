"""``roadstead restore``: brings back a deleted or overwritten tag, a manifest, or all of a repository."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from roadstead.cli import session, text
from roadstead.cli.options import registry_options
from roadstead.cli.output import print_json, print_line
from roadstead.cli.target import Target, TargetType
from roadstead.oci import Digest, Tag
from roadstead.oci.errors import DigestInvalidError

if TYPE_CHECKING:  # see cli.session
    from roadstead.registry.undo import Restored


class _DigestType(click.ParamType[Digest]):
    name = "digest"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Digest:
        try:
            return Digest.parse(str(value))
        except DigestInvalidError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


@click.command(
    epilog="""\b
Examples:
  roadstead restore library/app:1.2                     a deleted or overwritten tag
  roadstead restore library/app:1.2 --to sha256:9f86…   to a state that `roadstead history` shows
  roadstead restore library/app@sha256:9f86…            a deleted manifest, with its tags
  roadstead restore library/app                         all that was deleted of a repository"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@click.option("--to", type=_DigestType(), metavar="DIGEST", help="The state that a tag goes back to.")
@registry_options
def restore(*, reference: Target, to: Digest | None, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Restore what was deleted or overwritten.

    REPO:TAG goes back to what it stood for before its last change; REPO@DIGEST comes back with its children and the
    tags that nothing has taken since; REPO brings back everything of it. Possible until the grace time
    (garbage.grace_seconds) is over. A running server knows at once.
    """
    if to is not None and not isinstance(reference.reference, Tag):
        raise click.UsageError("--to says where a tag goes: name REPO:TAG")

    async def work(opened: session.Session) -> "Restored":
        undo = opened.registry.undo
        if isinstance(reference.reference, Tag):
            return await undo.restore_tag(reference.repository, reference.reference, to=to)
        if reference.reference is not None:
            return await undo.restore_manifest(reference.repository, reference.reference)
        return await undo.restore_repository(reference.repository)

    restored = session.run(data, config, work)
    if as_json:
        tags = [{"tag": tag, "digest": digest} for tag, digest in restored.tags]
        print_json({"repository": reference.repository, "tags": tags, "manifests": list(restored.manifests)})
        return
    print_line(_sentence(reference, restored))


def _sentence(reference: Target, restored: "Restored") -> str:
    if isinstance(reference.reference, Tag):
        return f"{reference} is {restored.tags[0][1]} again."
    if reference.reference is not None:
        names = [tag for tag, _ in restored.tags]
        also = f" and its {'tag' if len(names) == 1 else 'tags'} {', '.join(names)}" if names else ""
        return f"Restored the manifest {reference}{also}."
    extent = f"{text.plural(len(restored.manifests), 'manifest')} and {text.plural(len(restored.tags), 'tag')}"
    return f"Restored {reference.repository} with {extent}."
