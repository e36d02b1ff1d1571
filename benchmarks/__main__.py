"""The command: `python -m benchmarks [--quick] [--only ROW …] [--json FILE] [--markdown FILE]`."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import Run, table, write_docs, write_json
from benchmarks.rows import ROWS
from benchmarks.runner import Bench, remove, say
from benchmarks.scale import FULL, QUICK

if TYPE_CHECKING:
    from types import FrameType

    from benchmarks.model import Result

RESULTS = Path(__file__).resolve().parent / "results" / "latest.json"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller counts, under ten minutes")
    parser.add_argument("--only", nargs="+", choices=sorted(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument(
        "--before", metavar="COMMIT", help="measure roadstead as it was then too, in the rows it can do"
    )
    parser.add_argument("--rounds", type=int, help="rounds a row, instead of the form's own number")
    parser.add_argument("--folder", type=Path, help="where the servers keep their data (a temporary folder)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store all samples in FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table to FILE")
    parser.add_argument("--no-store", action="store_true", help="leave latest.json and the docs as they are")
    return parser.parse_args(argv)


def measure(bench: Bench, rows: list[str]) -> list[Result]:
    """Measure the rows in order; a row that fails is reported and does not end the run."""
    results = []
    for key in rows:
        row, run = ROWS[key]
        began = time.perf_counter()
        say(f"{key}: {row.title}")
        result = row.result()
        try:
            run(bench, result)
        except Exception as error:  # noqa: BLE001 - the other rows are still worth having
            say(f"  failed: {type(error).__name__}: {error}")
            result.failures["*"] = f"{type(error).__name__}: {error}"
        result.seconds = time.perf_counter() - began
        say(f"  {result.seconds:.0f} s")
        results.append(result)
    return results


def end_on_signal(_number: int, _frame: FrameType | None) -> None:
    """Leave by an exception, so that every process and folder is cleaned up."""
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run; return 0 when every target was met, 1 when one was missed, 2 when a row failed."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, end_on_signal)
    scale = QUICK if options.quick else FULL
    folder = Path(tempfile.mkdtemp(prefix="roadstead-bench-", dir=options.folder))
    bench = Bench(folder, scale, rounds=options.rounds or scale.rounds, before=options.before or "")
    try:
        results = measure(bench, options.only or list(ROWS))
    finally:
        remove(folder)
    run = Run.now(bench, results, command=command(options))
    store(run, options)
    print(table(run))
    return run.exit_code()


def command(options: argparse.Namespace) -> str:
    """Return the command that makes such a run again."""
    parts = (
        ["make bench"]
        if not (options.quick or options.only or options.rounds or options.before)
        else ["python -m benchmarks"]
    )
    parts += ["--quick"] if options.quick else []
    parts += ["--only", *options.only] if options.only else []
    parts += ["--before", options.before] if options.before else []
    parts += ["--rounds", str(options.rounds)] if options.rounds else []
    return " ".join(parts)


def store(run: Run, options: argparse.Namespace) -> None:
    """Write what was asked for; a whole run in the full form also becomes the one in the docs."""
    if options.json:
        write_json(run, options.json)
    if options.markdown:
        options.markdown.write_text(table(run))
    if not (options.quick or options.only or options.no_store):
        write_json(run, RESULTS)
        write_docs(run)


if __name__ == "__main__":
    sys.exit(main())
