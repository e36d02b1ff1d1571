"""A folder for the servers of the conformance runs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.process import clean

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder that is gone after the test, with whatever ran in it."""
    folder = Path(tempfile.mkdtemp(prefix="roadstead-"))
    yield folder
    clean(folder)
    shutil.rmtree(folder)
