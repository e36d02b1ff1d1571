"""The one table from error class to exit code, with what the command line says where the error itself says too little."""

from roadstead.cli.exit_code import ExitCode
from roadstead.errors import RoadsteadError


def explain(error: RoadsteadError) -> tuple[str, ExitCode]:
    """A sentence that says what to do, and the exit code."""
    return str(error), ExitCode.UNREACHABLE
