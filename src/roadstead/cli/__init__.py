"""The command line: a module a command, imported when it is asked for."""

from roadstead.cli.group import main, program

__all__ = ["main", "program"]
