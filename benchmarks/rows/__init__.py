"""The rows of the table, one module a kind of work; `ROWS` is all of them in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.rows.beside import BESIDE_ROWS
from benchmarks.rows.garbage import GARBAGE_ROWS
from benchmarks.rows.listings import LISTING_ROWS
from benchmarks.rows.manifests import MANIFEST_ROWS
from benchmarks.rows.many import MANY_ROWS
from benchmarks.rows.memory import MEMORY_ROWS
from benchmarks.rows.pulls import PULL_ROWS
from benchmarks.rows.pushes import PUSH_ROWS
from benchmarks.rows.secured import SECURED_ROWS
from benchmarks.rows.small import SMALL_ROWS
from benchmarks.rows.starts import START_ROWS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.runner import Row, RowRun

ROWS: Mapping[str, tuple[Row, RowRun]] = {
    row.key: (row, run)
    for row, run in (
        *MANIFEST_ROWS,
        *SMALL_ROWS,
        *PUSH_ROWS,
        *PULL_ROWS,
        *BESIDE_ROWS,
        *SECURED_ROWS,
        *GARBAGE_ROWS,
        *LISTING_ROWS,
        *MEMORY_ROWS,
        *START_ROWS,
        *MANY_ROWS,
    )
}
