"""The command line: a module for each command, imported when the command is called."""

from roadstead.cli.group import main, program

__all__ = ["main", "program"]
