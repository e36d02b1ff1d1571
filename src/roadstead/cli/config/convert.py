"""``roadstead config convert``: turns registry:2's configuration into ours."""

import os
import secrets
from pathlib import Path

import click

from roadstead.cli.terminal import text
from roadstead.cli.terminal.output import note, print_json, print_line
from roadstead.cli.terminal.refusal import CommandRefusedError


@click.command(
    epilog="""\b
Examples:
  roadstead config convert config.yml
  roadstead config convert /etc/docker/registry/config.yml -o roadstead.yaml"""
)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@click.option("-o", "--output", metavar="OUT", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--force", is_flag=True, help="Replace OUT if it is there.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
def convert(*, file: Path, output: Path | None, force: bool, as_json: bool) -> None:
    """Write registry:2's configuration as settings of ours.

    Each setting has the key and line that it comes from above it; what is not carried over stands at the end. REGISTRY_
    variables in this shell count too. The file may hold secrets, so only you may read it. What keeps a server from
    starting keeps the conversion from being written: nothing becomes open by it.
    """
    from roadstead.config import load  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.config.writing import write_converted  # noqa: PLC0415

    theirs = {name: value for name, value in os.environ.items() if name.startswith("REGISTRY_")}
    loaded = load(file, environment=theirs)
    if loaded.registry2 is None:
        raise CommandRefusedError(f"{file} is no configuration of registry:2 (it has no version: 0.1)")
    written = write_converted(loaded.registry2, loaded.settings, str(file))
    if output is not None:
        _write(output, written, is_forced=force)
        note(f"{text.printable(str(output))} written; `roadstead serve --config {text.printable(str(output))}` uses it")
    if as_json:
        print_json({"file": str(file), "output": None if output is None else str(output), "text": written})
    elif output is None:
        print_line(written.rstrip("\n"))


def _write(output: Path, written: str, *, is_forced: bool) -> None:
    """Writes the file in one step: it is whole, and readable by its owner alone, or not there at all."""
    draft = output.with_name(f".{output.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(written)
            stream.flush()
            os.fsync(stream.fileno())
        if is_forced:
            draft.replace(output)
        else:
            output.hardlink_to(draft)
    except FileExistsError:
        raise CommandRefusedError(f"{output} is there already; --force replaces it") from None
    finally:
        draft.unlink(missing_ok=True)
