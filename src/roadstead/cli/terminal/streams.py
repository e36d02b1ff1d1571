"""Handles standard streams that a process was started without, and those that end before it does.

A process without descriptors 0, 1 or 2 would give these numbers to the next files and sockets that it opens, and print
into them. One whose output cannot be written any more must not end with another exit code for that, or with a traceback
of the interpreter, which tries once more at the end.
"""

import contextlib
import os
import sys
from typing import TextIO

import click


def complete_streams() -> None:
    """Opens standard streams that are closed, on ``/dev/null``."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - so it is where it was closed
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison] - likewise
        sys.stderr = os.fdopen(2, "w", closefd=False)


def tell(text: str) -> None:
    """Prints a line on stderr, if that can be written."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)


def settle() -> None:
    """Drops output that could not be written: otherwise the interpreter tries again at its end, and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            silence(stream)


def silence(stream: TextIO) -> None:
    """Redirects a stream that nobody reads any more, so that the interpreter can flush it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
