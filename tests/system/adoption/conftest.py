"""Volumes of real registries, to be damaged by tests."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import skips
from tests.system.adoption.volumes import PROGRAMS, Registry2, Volume, fill

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=list(PROGRAMS))
def written(request: pytest.FixtureRequest) -> Iterator[tuple[Path, dict[str, str]]]:
    """A volume with a bit of everything, written by the real thing; tests work on copies."""
    skips.require(PROGRAMS[request.param])
    folder = Path(tempfile.mkdtemp(prefix="roadstead-volume-"))
    root = folder / "volume"
    root.mkdir()
    with Registry2(request.param, root, folder / "registry") as registry:
        digests = fill(registry.url)
    yield root, digests
    shutil.rmtree(folder)


@pytest.fixture
def volume(written: tuple[Path, dict[str, str]], tmp_path: Path) -> Volume:
    root, digests = written
    shutil.copytree(root, tmp_path / "volume", symlinks=True)
    return Volume(tmp_path / "volume", tmp_path / "data", digests)
