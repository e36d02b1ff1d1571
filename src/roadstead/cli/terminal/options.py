"""Options that many commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

_C = TypeVar("_C", bound=Callable[..., Any])


def registry_options(command: _C) -> _C:
    """Adds ``--data``, ``--config`` and ``--json``; the command is given ``data``, ``config`` and ``as_json``."""
    command = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line; errors too.")(
        command
    )
    command = click.option(
        "--config",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Settings in YAML, as for `roadstead serve`.",
    )(command)
    return click.option(
        "--data",
        metavar="DIR",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the registry.  [default: data]",
    )(command)
