"""How a command that failed ends: one sentence on stderr, and an exit code."""

import json
import os
import sys
import traceback

import click

from roadstead.cli.exit_code import ExitCode
from roadstead.cli.refusal import PipeClosedError
from roadstead.errors import RoadsteadError


def end(error: BaseException, *, as_json: bool, is_debugging: bool) -> int:
    """Tells of ``error`` and returns the exit code that goes with it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.UNEXPECTED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError | PipeClosedError):
        _silence_output()
        return ExitCode.PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    if is_debugging and not isinstance(error, click.ClickException):
        traceback.print_exception(error)
    _drop_unwritable_output()
    sentence, code = _explain(error)
    click.echo(json.dumps({"error": sentence}) if as_json else click.style("error: ", fg="red") + sentence, err=True)
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, click.ClickException):
        return _usage(error), error.exit_code
    if isinstance(error, RoadsteadError):
        from roadstead.cli.exits import explain  # noqa: PLC0415 - imports every package that has errors

        return explain(error)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"could not read or write: {where}{error.strerror or error}", ExitCode.UNREACHABLE
    what = f"something unexpected happened ({type(error).__name__}: {error})"
    remedy = "please report it, with what the same command prints when ROADSTEAD_DEBUG=1 is set"
    return f"{what}; {remedy}", ExitCode.UNEXPECTED


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see `{context.command_path} --help`" if context else message


def _drop_unwritable_output() -> None:
    """What could not be written now will not be written at the end: the interpreter must not try, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        _silence_output()


def _silence_output() -> None:
    """Gives the interpreter somewhere to flush what nobody reads any more."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
