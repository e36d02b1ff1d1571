"""A folder packs to the same bytes whatever its times, umask and order of creation."""

import os
import tarfile
from pathlib import Path

from deploy.build.files import Owner, pack, remove


def make(folder: Path, names: list[str], *, mode: int, time: int) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        path.chmod(mode | (0o100 if name.endswith("program") else 0))
        os.utime(path, (time, time))
    (folder / "data").mkdir()
    (folder / "link").symlink_to("a/one")
    return folder


def test_the_bytes_depend_on_names_contents_and_programs_alone(tmp_path: Path) -> None:
    names = ["a/one", "a/program", "b", "a.c"]
    first = make(tmp_path / "first", names, mode=0o644, time=1)
    second = make(tmp_path / "second", names[::-1], mode=0o600, time=1_700_000_000)
    packed = [pack(each, tmp_path / f"{each.name}.tar.gz") for each in (first, second)]

    assert packed[0].digest == packed[1].digest
    assert packed[0].diff_id == packed[1].diff_id
    assert packed[0].path.read_bytes() == packed[1].path.read_bytes()
    assert packed[0].unpacked_bytes == sum(map(len, names))


def test_owners_modes_and_links_are_what_was_said(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder", ["a/one", "a/program"], mode=0o600, time=1)
    packed = pack(folder, tmp_path / "it.tar.gz", {"data": Owner(65532, 0, 0o770)})

    with tarfile.open(packed.path) as tar:
        found = {each.name: (oct(each.mode), each.uid, each.gid, each.linkname) for each in tar}
    assert found == {
        "a": ("0o755", 0, 0, ""),
        "a/one": ("0o644", 0, 0, ""),
        "a/program": ("0o755", 0, 0, ""),
        "data": ("0o770", 65532, 0, ""),
        "link": ("0o777", 0, 0, "a/one"),
    }


def test_what_matches_is_removed_and_nothing_behind_links(tmp_path: Path) -> None:
    folder = make(tmp_path / "folder", ["a/one", "b/two.c", "b/three"], mode=0o600, time=1)
    (folder / "elsewhere").symlink_to("a")

    remove(folder, ["**/*.c", "elsewhere"])

    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "a/one",
        "b/three",
        "link",
    ]
