"""An installation for each test of replicas."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.system.database.replicas import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def installation(scratch: Path, postgres_url: str) -> Iterator[Installation]:
    found = Installation(scratch / f"two-{os.urandom(4).hex()}", postgres_url)
    yield found
    found.close()
