"""``roadstead why``: shows the references that keep a blob or manifest from being collected."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from roadstead.access import visible_to_operator
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import is_terminal, print_json, print_line
from roadstead.cli.terminal.target import Target, TargetType
from roadstead.oci import Digest, Tag

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry.garbage.why import Explanation, Reason

_SENTENCES: Final = {
    "tag": "the tag {where} points at it",
    "manifest": "the manifest {where} names it",
    "link": "the repository has it as {where}",
    "index": "the index {where} names it",
    "subject": "it refers to {where}",
    "trash": "{where} was deleted and can be restored until {until}",
    "waiting": "{where} got it lately and may push a manifest that names it until {until}",
    "upload": "the upload {where} is being finished with the same content",
}


@click.command(
    epilog="""\b
Examples:
  roadstead why library/app@sha256:9f86d0…       a blob or a manifest
  roadstead why library/app:1.2                  the manifest of a tag
  roadstead why library/app@sha256:9f86d0… --json | jq -r .keeper"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@registry_options
@click.pass_context
def why(context: click.Context, *, reference: Target, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Say what keeps a blob or manifest.

    REPO@DIGEST names a blob or a manifest, REPO:TAG the manifest of a tag. All that keeps it is listed, in whatever
    repository: a blob stays as long as one of them needs it. With exit code 1 nothing does, and the next collection
    takes it.
    """
    if reference.reference is None:
        raise click.UsageError(f"name a digest or a tag: {reference.repository}@sha256:… or {reference.repository}:TAG")

    named, is_tag = reference.reference, isinstance(reference.reference, Tag)

    async def work(opened: session.Session) -> "tuple[Digest, Explanation]":
        from roadstead.registry.garbage.why import explain  # noqa: PLC0415 - see cli.terminal.session

        digest = (
            (await opened.registry.manifests.get(reference.repository, named, visible=visible_to_operator())).digest
            if is_tag
            else Digest(named)
        )
        return digest, await explain(opened.registry, digest)

    digest, explanation = session.run(data, config, work, needs_storage=False)
    _print(digest, explanation, as_json=as_json)
    if not explanation.reasons:
        context.exit(ExitCode.REFUSED)


def _print(digest: Digest, explanation: "Explanation", *, as_json: bool) -> None:
    if as_json:
        for reason in explanation.reasons:
            print_json({"digest": digest, "keeper": reason.keeper, "where": reason.where, "until": _until(reason)})
        return
    if explanation.reasons:
        kind = "blob" if explanation.is_blob else "manifest"
        print_line(f"The {kind} {digest} is kept, since")
        for reason in explanation.reasons:
            print_line(f"  {_SENTENCES[reason.keeper].format(where=reason.where, until=_shown(reason))}")
    elif explanation.is_blob or explanation.is_manifest:
        state = "its bytes are being removed" if explanation.is_deleting else "the next collection takes it"
        print_line(f"Nothing keeps {digest}: {state}.")
    else:
        print_line(f"There is no blob or manifest {digest}.")


def _until(reason: "Reason") -> str | None:
    return None if reason.until_ms is None else text.utc(reason.until_ms)


def _shown(reason: "Reason") -> str:
    if reason.until_ms is None:
        return ""
    return text.local_time(reason.until_ms) if is_terminal() else text.utc(reason.until_ms)
