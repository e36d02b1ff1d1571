"""What a build says of its sources, and what it needs to be repeatable."""

from pathlib import Path

import pytest

from deploy.build.commands import BuildError, run
from deploy.build.source import describe

GIT = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    package = tmp_path / "clone" / "src" / "roadstead"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__: Final = "1.2.3"\n')
    return tmp_path / "clone"


def test_of_a_checkout_it_is_the_commit_and_its_time(folder: Path) -> None:
    run([*GIT, "-C", folder, "init", "-q"])
    run([*GIT, "-C", folder, "add", "-A"])
    run([*GIT, "-C", folder, "commit", "-qm", "one"], variables={"GIT_COMMITTER_DATE": "1700000000 +0000"})
    source = describe(folder)

    assert (source.version, source.epoch, len(source.revision)) == ("1.2.3", 1_700_000_000, 40)
    assert source.created == "2023-11-14T22:13:20Z"

    (folder / "src/roadstead/new.py").touch()
    assert describe(folder).revision == f"{source.revision}-dirty"


def test_the_time_may_be_given(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")

    assert describe(folder).epoch == 1_600_000_000
    assert not describe(folder).revision


def test_without_any_time_it_says_what_to_set(folder: Path) -> None:
    with pytest.raises(BuildError, match="SOURCE_DATE_EPOCH"):
        describe(folder)
