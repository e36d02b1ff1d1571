"""The program `roadstead`, forked for each command from a process that has imported it: a start takes milliseconds.

One thread in each pool, as in `single_threaded.py`. Reads from stdin, line by line: a JSON list of arguments, upon
which it answers with the process id of the child that waits; any other line, upon which the child runs the command;
then it answers with JSON of `code` (negative: the signal that killed it) and `said`, what it printed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile

import tests.system.faults.single_threaded  # noqa: F401 - replaces the pools
from roadstead.cli import program
from roadstead.cli.group import COMMANDS


def run(arguments: list[str]) -> None:
    """One command, as the module says."""
    ready, go = os.pipe()
    with tempfile.TemporaryFile() as output:
        child = os.fork()
        if child == 0:
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            os.close(go)
            os.read(ready, 1)
            program.main(arguments)
        os.close(ready)
        print(child, flush=True)
        sys.stdin.readline()
        os.close(go)
        _, status = os.waitpid(child, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")
    print(json.dumps({"code": os.waitstatus_to_exitcode(status), "said": said}), flush=True)


def main() -> None:
    """Commands until stdin ends."""
    for name in ("gc", "check"):
        assert name in COMMANDS
        program.get_command(None, name)  # type: ignore[arg-type]
    for module in ("roadstead.app", "roadstead.registry.integrity.check", "roadstead.registry.garbage.collection"):
        importlib.import_module(module)  # so that children need not

    while line := sys.stdin.readline():
        run(json.loads(line))


if __name__ == "__main__":
    main()
