"""The probe of a folder of objects."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from roadstead.storage.probe import PROBE, Probed, probe_folder

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_is_well(tmp_path: Path) -> None:
    for _ in range(2):
        assert probe_folder(tmp_path, is_writing=True) == Probed()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["probe"]


def test_looking_alone_changes_nothing(tmp_path: Path) -> None:
    assert probe_folder(tmp_path, is_writing=False) == Probed()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_taken_away(tmp_path: Path) -> None:
    probed = probe_folder(tmp_path / "gone", is_writing=True)
    assert "cannot be reached" in probed.unreachable
    assert str(tmp_path) not in probed.unreachable


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "locks").write_bytes(b"no folder")
    probed = probe_folder(tmp_path, is_writing=True)
    assert not probed.unreachable
    assert "cannot be written" in probed.unwritable


@pytest.mark.parametrize(("code", "is_fault"), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)])
def test_a_full_disk_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, *, is_fault: bool) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("roadstead.storage.probe.os.pwrite", fail)
    assert bool(probe_folder(tmp_path, is_writing=True).unwritable) == is_fault
    assert (tmp_path / PROBE).exists()
