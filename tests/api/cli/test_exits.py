"""Every error of the domain packages has its place in the table of exit codes."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import roadstead
from roadstead import config, storage
from roadstead.cli.terminal.exits import EXITS, explain
from roadstead.database import DatabaseBusyError, DatabaseDamagedError, DatabaseFullError
from roadstead.errors import RoadsteadError
from roadstead.oci import Digest
from roadstead.registry.errors import BlobQuarantinedError, ManifestUnknownError, RepositoryUnknownError
from roadstead.storage import StorageUnavailableError


def subclasses(kind: type[RoadsteadError]) -> set[type[RoadsteadError]]:
    return {kind}.union(*(subclasses(each) for each in kind.__subclasses__()))


def test_every_error_of_the_domain_has_an_entry() -> None:
    for module in pkgutil.walk_packages(roadstead.__path__, "roadstead."):
        if not module.name.startswith(("roadstead.testing", "roadstead.database.migrations", "roadstead.__main__")):
            importlib.import_module(module.name)
    outside = ("roadstead.web.", "roadstead.cli.serve.", "tests.")  # answered to clients; or an entry of its own accord
    missing: list[str] = []
    for kind in subclasses(RoadsteadError):
        if (
            kind is RoadsteadError
            or kind.__module__.startswith(outside)
            or not kind.__module__.startswith("roadstead.")
        ):
            continue
        if not any(each in EXITS for each in kind.__mro__ if each is not RoadsteadError):
            missing.append(kind.__qualname__)
    assert not missing, "add them to cli/terminal/exits.py"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (RepositoryUnknownError("app"), 1, "there is no repository app; `roadstead ls`"),
        (ManifestUnknownError("app", "1"), 1, "there is no app:1; `roadstead ls app`"),
        (ManifestUnknownError("app", "sha256:0"), 1, "there is no app@sha256:0"),
        (BlobQuarantinedError(Digest.of(b"")), 4, "push it again"),
        (DatabaseDamagedError("malformed"), 4, "(malformed); `roadstead check`"),
        (DatabaseFullError(), 3, "full"),
        (DatabaseBusyError(30), 3, "locked"),
        (StorageUnavailableError("key", "Input/output error"), 3, "Input/output error"),
    ],
)
def test_a_sentence_and_a_code(error: RoadsteadError, code: int, said: str) -> None:
    sentence, found = explain(error)
    assert found == code
    assert said in sentence


def test_in_a_container_the_remedies_are_those_of_docker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unsafe = config.ListenAddressUnsafeError("the image", "0.0.0.0:5000")
    forbidden = storage.DataFolderForbiddenError(tmp_path / "data")
    assert "docker" not in explain(unsafe)[0] + explain(forbidden)[0]

    monkeypatch.setenv("ROADSTEAD_CONTAINER", "1")

    assert "docker run -e ROADSTEAD_AUTHENTICATION__MODE=none …" in explain(unsafe)[0]
    owner = tmp_path.stat()
    assert f"docker run --user {owner.st_uid}:{owner.st_gid}" in explain(forbidden)[0]
    assert "chown" not in explain(forbidden)[0]
