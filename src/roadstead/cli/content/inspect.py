"""``roadstead inspect``: describes the manifest of a tag or digest."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from roadstead.access import visible_to_operator
from roadstead.cli.content.inspection import Child, Inspection, inspect_manifest
from roadstead.cli.terminal import session, text
from roadstead.cli.terminal.options import registry_options
from roadstead.cli.terminal.output import Column, Table, print_fields, print_json, print_line, style
from roadstead.cli.terminal.target import Target, TargetType
from roadstead.oci import Descriptor, Tag

if TYPE_CHECKING:  # see cli.terminal.session
    from roadstead.registry import Registry
    from roadstead.registry.model import Referrer

INDENT: Final = "  "

_T = TypeVar("_T")


@click.command(
    epilog="""\b
Examples:
  roadstead inspect library/app                     the tag latest
  roadstead inspect library/app:1.2
  roadstead inspect library/app@sha256:9f86d0…      as `roadstead ls --json` shows it
  roadstead inspect app:1.2 --json | jq .layers[].size
  roadstead inspect app:1.2 --raw | sha256sum       the digest, checked"""
)
@click.argument("reference", metavar="REF", type=TargetType())
@click.option("--raw", is_flag=True, help="Print the manifest's bytes, and nothing else.")
@registry_options
def inspect(*, reference: Target, raw: bool, data: Path | None, config: Path | None, as_json: bool) -> None:
    """Show what a tag or digest stands for.

    REF is REPO, REPO:TAG or REPO@DIGEST; without a tag it is REPO:latest. Shown are digest, types, sizes, the platforms
    of an index, layers, annotations, the subject, what refers to it, and the tags on the same digest.
    """
    if raw and as_json:
        raise click.UsageError("--raw prints the manifest as it is: leave out --json")

    async def work(opened: session.Session) -> None:
        if raw:
            await _print_raw(opened.registry, reference)
            return
        found = await inspect_manifest(opened.registry, reference)
        if as_json:
            print_json(found.as_record())
        else:
            _show(found)

    session.run(data, config, work, needs_storage=False)


async def _print_raw(registry: "Registry", target: Target) -> None:
    stored = await registry.manifests.get(
        target.repository, target.reference or Tag("latest"), visible=visible_to_operator()
    )
    sys.stdout.flush()
    sys.stdout.buffer.write(await registry.manifests.get_body(stored.digest))
    sys.stdout.buffer.flush()


def _show(found: Inspection) -> None:
    manifest = found.manifest
    parts = text.plural(len(manifest.layers), "layer")
    if manifest.is_index:
        parts = text.plural(len(found.children), "manifest")
    print_fields(
        [
            ("Repository", found.repository),
            ("Digest", found.digest),
            ("Tags", ", ".join(found.tags) or "none"),
            ("Media type", text.printable(manifest.media_type)),
            ("Artifact type", text.printable(found.artifact_type)),
            ("Manifest", text.size(found.size_bytes)),
            ("Content", f"{text.size(found.content_bytes)} in {parts}"),
            ("Subject", manifest.subject.digest if manifest.subject else ""),
        ]
    )
    if manifest.annotations:
        _heading("Annotations")
        annotations = ((text.printable(name), text.printable(value)) for name, value in manifest.annotations.items())
        print_fields(sorted(annotations), indent=INDENT)
    _section("Manifests", found.children, _CHILDREN)
    _section("Layers", manifest.layers, _LAYERS)
    _section("Referrers", found.referrers, _REFERRERS)


def _heading(title: str) -> None:
    print_line()
    print_line(style(title, bold=True))


def _section(title: str, rows: Sequence[_T], columns: Sequence[Column[_T]]) -> None:
    if rows:
        _heading(title)
        Table(columns, indent=INDENT).print(rows)


def _platform(child: Child) -> str:
    platform = child.descriptor.platform
    return text.printable(str(platform)) if platform else "-"


def _short_type(media_type: str) -> str:
    return text.printable(media_type).removeprefix("application/")


_CHILDREN: Final[list[Column[Child]]] = [
    Column("PLATFORM", _platform),
    Column("DIGEST", lambda child: child.descriptor.digest),
    Column(
        "CONTENT",
        lambda child: "not here" if child.content_bytes is None else text.size(child.content_bytes),
        is_number=True,
        importance=2,
    ),
    Column("TYPE", lambda child: _short_type(child.descriptor.media_type), importance=1),
]
_LAYERS: Final[list[Column[Descriptor]]] = [
    Column("DIGEST", lambda layer: layer.digest),
    Column("SIZE", lambda layer: text.size(layer.size_bytes), is_number=True, importance=2),
    Column("TYPE", lambda layer: _short_type(layer.media_type), importance=1),
]
_REFERRERS: "Final[list[Column[Referrer]]]" = [
    Column("DIGEST", lambda referrer: referrer.digest),
    Column("SIZE", lambda referrer: text.size(referrer.size_bytes), is_number=True, importance=1),
    Column("TYPE", lambda referrer: _short_type(referrer.artifact_type or referrer.media_type), importance=2),
]
