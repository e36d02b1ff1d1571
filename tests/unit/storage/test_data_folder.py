"""The data folder: made by whoever comes first."""

from pathlib import Path

import pytest

from roadstead.storage import DataFolder, DataFolderError
from roadstead.storage.modes import TreeModes


def test_a_folder_of_objects_that_another_server_makes_at_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder = TreeModes.make_folder

    def make_after_another(modes: TreeModes, path: str, parent: int | None = None) -> None:
        make_folder(modes, path, parent)
        make_folder(modes, path, parent)

    monkeypatch.setattr(TreeModes, "make_folder", make_after_another)
    folder = DataFolder(tmp_path / "data", objects=tmp_path / "objects")
    folder.prepare_objects()
    assert folder.objects.is_dir()
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataFolderError, match="cannot be used"):
        folder.prepare()
