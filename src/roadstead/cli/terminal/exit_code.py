"""The exit codes that scripts may rely on; ``exits`` has the table from errors to codes."""

import enum
from typing import Final


class ExitCode(enum.IntEnum):
    """The exit code of a command, which says how it ended."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    DAMAGED = 4
    UNEXPECTED = 70
    INTERRUPTED = 130
    PIPE_CLOSED = 141


MEANINGS: Final = {
    ExitCode.DONE: "done",
    ExitCode.REFUSED: "what was asked for was not found, or was refused",
    ExitCode.USAGE: "the command line or the settings are wrong",
    ExitCode.UNREACHABLE: "something could not be reached, read or written",
    ExitCode.DAMAGED: "damaged data was found",
    ExitCode.UNEXPECTED: "an error in roadstead itself",  # EX_SOFTWARE of sysexits.h
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",  # 128 + SIGINT, as shells have it
    ExitCode.PIPE_CLOSED: "whoever read the output went away",  # 128 + SIGPIPE
}
