"""A folder as a tar whose bytes depend on names, contents and executable bits alone."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FOLDER_MODE: Final = 0o755
PROGRAM_MODE: Final = 0o755
FILE_MODE: Final = 0o644
GZIP_LEVEL: Final = 6  # of 9: the last per cent of size would cost half of the build


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a path, and what everybody may do with it."""

    user: int = 0
    group: int = 0
    mode: int = FOLDER_MODE


@dataclass(frozen=True, slots=True)
class Packed:
    """A tar and its gzip."""

    path: Path
    """Of the gzip."""
    digest: str
    """Of the gzip: what a manifest names."""
    diff_id: str
    """Of the tar: what a configuration names."""
    size_bytes: int
    """Of the gzip."""
    unpacked_bytes: int
    """Of all files in it."""


@dataclass(slots=True)
class _Hashing:
    """Passes bytes on and hashes them."""

    target: BinaryIO | gzip.GzipFile
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        return self.target.write(data)


def pack(folder: Path, target: Path, owners: Mapping[str, Owner] | None = None) -> Packed:
    """Writes all below ``folder`` as a gzipped tar: in order, owned by root, without times.

    ``owners`` names, by their path below ``folder``, those that belong to somebody else.
    """
    unpacked = 0
    with target.open("wb") as file:
        outer = _Hashing(file)
        with gzip.GzipFile("", "wb", GZIP_LEVEL, outer, mtime=0) as compressed:  # type: ignore[call-overload]
            inner = _Hashing(compressed)
            with tarfile.open(fileobj=inner, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for path in _below(folder):
                    unpacked += _add(tar, path, str(path.relative_to(folder)), owners or {})
    return Packed(
        target,
        f"sha256:{outer.digest.hexdigest()}",
        f"sha256:{inner.digest.hexdigest()}",
        target.stat().st_size,
        unpacked,
    )


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def _add(tar: tarfile.TarFile, path: Path, name: str, owners: Mapping[str, Owner]) -> int:
    entry = tarfile.TarInfo(name)
    if path.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
    elif path.is_dir():
        entry.type, entry.mode = tarfile.DIRTYPE, FOLDER_MODE
    else:
        entry.size = path.stat().st_size
        entry.mode = mode_of(path)
    if (owner := owners.get(name)) is not None:
        entry.uid, entry.gid, entry.mode = owner.user, owner.group, owner.mode
    if not entry.isreg():
        tar.addfile(entry)
        return 0
    with path.open("rb") as content:
        tar.addfile(entry, content)
    return entry.size


def mode_of(path: Path) -> int:
    """What a file may have been for its builder shrinks to: a program or not."""
    return PROGRAM_MODE if path.stat().st_mode & 0o100 else FILE_MODE


def remove(folder: Path, patterns: Sequence[str]) -> None:
    """Removes what matches any of the patterns of ``Path.glob`` below ``folder``."""
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
