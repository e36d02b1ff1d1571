"""``roadstead secrets new-key``: makes a master key."""

from pathlib import Path

import click

from roadstead.cli.terminal.output import note, print_json, print_line


@click.command(
    "new-key",
    epilog="""\b
Examples:
  roadstead secrets new-key /etc/roadstead/master.key    made, or added above the older ones
  roadstead secrets new-key | kubectl create secret generic master-key --from-file=master.key=/dev/stdin""",
)
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")
def new_key(*, file: Path | None, as_json: bool) -> None:
    """Make a master key, and add it to FILE as the newest; without FILE print it.

    FILE is for its owner alone if it is new. A catalogue uses the new key from `roadstead secrets rotate` on, or if it
    has no secrets yet. Keep a copy of the file where no backup of the registry is: without it what is sealed is lost.
    """
    from roadstead.secrets import keyring  # noqa: PLC0415 - see cli.terminal.session
    from roadstead.secrets.key_file import add_key_to  # noqa: PLC0415

    if file is None:
        text = keyring.new_key()
        if as_json:
            print_json({"master_key": text, "id": keyring.Keyring.parse(text, "").newest.id})
        else:
            print_line(text)
        return
    key_id = add_key_to(file)
    if as_json:
        print_json({"file": str(file), "id": key_id})
    else:
        print_line(f"Added master key {key_id} to {file}.")
        note(f"Name it in the settings: secrets.master_key_file: {file.absolute()}")
