"""The group of all commands, and the handling of every error that one of them raises.

Promises: a command's module is imported only when the command is asked for (``roadstead --help`` needs no database and
no web server); no traceback reaches a person, unless ROADSTEAD_DEBUG=1 asks for it; every way to end has its exit code.
"""

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from roadstead import __version__
from roadstead.cli.terminal.exit_code import MEANINGS, ExitCode
from roadstead.cli.terminal.refusal import PipeClosedError
from roadstead.cli.terminal.shells import COMPLETION_VARIABLE, register
from roadstead.cli.terminal.streams import complete_streams, settle

COMMANDS: Final = {
    "serve": "Serve the registry.",
    "ls": "List repositories, or the tags of one.",
    "inspect": "Show what a tag or digest stands for.",
    "rm": "Delete a tag, a manifest, or all of a repository.",
    "history": "Show the history of a tag, or of all tags of a repository.",
    "restore": "Restore what was deleted or overwritten.",
    "why": "Say what keeps a blob or manifest.",
    "gc": "Collect garbage now, or show what would go.",
    "stats": "Show what the registry holds and the space it takes.",
    "check": "Look for damage in the stored data.",
    "adopt": "Take over a folder of registry:2 or registry:3.",
    "release": "Give a folder back to registry:2 or registry:3.",
    "rebuild": "Make a new catalogue in place of a lost or damaged one.",
    "htpasswd": "Add a user to a password file, or change, delete or check one.",
    "access": "Say who may do what, and why.",
    "certs": "Make certificates, look at them, and have clients trust them.",
    "notifications": "Show what endpoints were told of, and tell them again.",
    "maintenance": "Show or set what clients may do, while servers run.",
    "scrub": "Read everything again, and put aside what rotted.",
    "backup": "Copy catalogue and blobs while the server goes on.",
    "restore-backup": "Bring a backup up in an empty folder or database.",
    "db": "Show the catalogue's database, migrate or copy it.",
    "secrets": "Show keys and credentials that servers share, and renew them.",
    "config": "Check settings, convert registry:2's, or show those in effect.",
    "completion": "Print a script that completes commands in your shell.",
}
"""Each command with the line that the group's help has of it; a test compares it with the command's own."""

ROOMS: Final = {
    "serve": ("serve",),
    "content": ("ls", "inspect", "rm", "history", "restore", "why"),
    "care": ("gc", "check", "rebuild", "stats", "maintenance", "scrub"),
    "registry2": ("adopt", "release"),
    "backup": ("backup", "restore-backup"),
    "notifications": ("notifications",),
    "passwords": ("htpasswd",),
    "access": ("access",),
    "certs": ("certs",),
    "db": ("db",),
    "secrets": ("secrets",),
    "config": ("config",),
    "terminal": ("completion",),
}
"""The folder of each command's module."""

_ROOM_OF: Final = {command: room for room, commands in ROOMS.items() for command in commands}

DEBUG_VARIABLE: Final = "ROADSTEAD_DEBUG"

_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:<4} {meaning}" for code, meaning in MEANINGS.items())


class LazyGroup(click.Group):
    """A group whose commands live in modules of the same name, a folder for what belongs together."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Returns the commands' names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Imports and returns a command."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = f"roadstead.cli.{_ROOM_OF[cmd_name]}.{name}"
        command = getattr(importlib.import_module(module), name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module} must define a command {name}")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Returns the command that was asked for; click would propose similar names of imported commands only: none."""
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            raise click.NoSuchCommand(error.command_name, possibilities=COMMANDS, ctx=ctx) from None

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - what the command returns
        """Runs the command; click would answer a closed pipe with exit code 1, which means something else here."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise PipeClosedError from error

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Proposes names of commands and the group's own options, without importing a command."""
        commands = [CompletionItem(name, help=line) for name, line in COMMANDS.items() if name.startswith(incomplete)]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Writes the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]  # noqa: ANN401 - passed on
        """Runs a command and ends the process with its exit code."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        complete_streams()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # names that the locale cannot spell are no failure
        try:
            if COMPLETION_VARIABLE in os.environ:
                register()
            code = super().main(arguments, prog_name or "roadstead", **extra)
            sys.stdout.flush()
            settle()
        except BaseException as error:  # noqa: BLE001 - this is the last one to see it
            from roadstead.cli.terminal.failure import end  # noqa: PLC0415 - only when something went wrong

            code = end(error, as_json="--json" in arguments, is_debugging=bool(os.environ.get(DEBUG_VARIABLE)))
        sys.exit(code or ExitCode.DONE)


def _print_version(context: click.Context, _parameter: click.Parameter, is_asked: bool) -> None:  # noqa: FBT001 - click's
    if is_asked:
        click.echo(f"roadstead {__version__}")
        context.exit()


@click.group("roadstead", cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def program() -> None:
    """A private container registry that is complete on its own.

    \b
    Begin with:
      roadstead serve                     serve ./data at http://127.0.0.1:5000
      docker push localhost:5000/app      in another terminal
      roadstead ls                        what was pushed

    Commands that look at data are safe beside a running server. `roadstead COMMAND --help` shows examples.
    """  # noqa: D301 - click's mark for text that keeps its lines


def main() -> NoReturn:
    """Runs the program ``roadstead``."""
    program.main()
