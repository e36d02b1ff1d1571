"""What a removal that died has left aside is swept once it is old; what bars somebody stays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from roadstead.storage import ObjectBarredError
from roadstead.storage.set_aside import ASIDE, SetAside

if TYPE_CHECKING:
    from pathlib import Path

KEY = "blobs/ab/data"
DAY_MS = 86_400_000


class _KilledError(Exception):
    pass


def put(root: Path, key: str = KEY) -> Path:
    file = root / key
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"content")
    return file


def die_in_the_middle(aside: SetAside, token: str, key: str = KEY) -> None:
    with pytest.raises(_KilledError), aside.taken(token, key):
        raise _KilledError


def left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ASIDE).rglob("*") if path.is_file())


def test_what_was_left_goes_when_it_is_old(tmp_path: Path) -> None:
    aside = SetAside(tmp_path)
    assert aside.sweep(0) == 0, "nothing was ever removed here"
    put(tmp_path)
    die_in_the_middle(aside, "killed")
    assert left(tmp_path) == ["data"]
    assert aside.sweep(DAY_MS) == 0, "it is young"
    time.sleep(0.02)
    assert aside.sweep(0) == 1
    assert list((tmp_path / ASIDE).iterdir()) == []


def test_what_stands_in_its_place_stays(tmp_path: Path) -> None:
    """Also the same object, pushed again after its removal died."""
    aside = SetAside(tmp_path)
    put(tmp_path)
    die_in_the_middle(aside, "killed")
    file = put(tmp_path)
    time.sleep(0.02)
    assert aside.sweep(0) == 1
    assert file.read_bytes() == b"content"


def test_a_bar_stays_and_what_lies_in_it_goes(tmp_path: Path) -> None:
    """One who was frozen after he took the object away, and was then barred."""
    aside = SetAside(tmp_path)
    put(tmp_path)
    die_in_the_middle(aside, "frozen")
    aside.bar("frozen", KEY)
    assert left(tmp_path) == ["barred", "data"]
    time.sleep(0.02)
    assert aside.sweep(0) == 1
    assert left(tmp_path) == ["barred"]
    file = put(tmp_path)
    with pytest.raises(ObjectBarredError):
        aside.remove("frozen", KEY)
    assert file.exists()


def test_a_removal_that_wakes_up_after_the_sweep_finds_nothing(tmp_path: Path) -> None:
    aside = SetAside(tmp_path)
    put(tmp_path)
    with aside.taken("frozen", KEY) as taken:
        time.sleep(0.02)
        assert aside.sweep(0) == 1
        assert not (tmp_path / taken).exists()
    assert not aside.remove("frozen", KEY)
