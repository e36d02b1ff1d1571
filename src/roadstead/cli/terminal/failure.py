"""Ends a command that failed: one sentence on stderr, and an exit code."""

import json
import sys
import traceback

import click

from roadstead.cli.terminal.exit_code import ExitCode
from roadstead.cli.terminal.refusal import PipeClosedError
from roadstead.cli.terminal.streams import settle, silence, tell
from roadstead.errors import RoadsteadError


def end(error: BaseException, *, as_json: bool, is_debugging: bool) -> int:
    """Prints ``error``, if stderr can be written, and returns the exit code that goes with it."""
    code = _tell(error, as_json=as_json, is_debugging=is_debugging)
    settle()
    return code


def _tell(error: BaseException, *, as_json: bool, is_debugging: bool) -> int:
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ExitCode.UNEXPECTED
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError | PipeClosedError):
        silence(sys.stdout)
        return ExitCode.PIPE_CLOSED
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        tell(error.format_message())
        return ExitCode.USAGE
    if is_debugging and not isinstance(error, click.ClickException):
        tell("".join(traceback.format_exception(error)).rstrip())
    sentence, code = _explain(error)
    tell(json.dumps({"error": sentence}) if as_json else click.style("error: ", fg="red") + sentence)
    return code


def _explain(error: BaseException) -> tuple[str, int]:
    if isinstance(error, click.ClickException):
        return _usage(error), error.exit_code
    if isinstance(error, RoadsteadError):
        from roadstead.cli.terminal.exits import explain  # noqa: PLC0415 - imports every package that has errors

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
    if context is None:
        return message
    return f"{message}{' Otherwise' if message.endswith('?') else ';'} see `{context.command_path} --help`"
