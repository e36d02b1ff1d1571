"""The Python client of artifacts pushes files, also in chunks, and another process's copy of it pulls them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.factories.images import digest_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

# The client tries again for minutes when the server fails.
pytestmark = [pytest.mark.needs("oras-python"), pytest.mark.timeout(60)]

CHUNK_BYTES = 1 << 20


@pytest.fixture
def make_client(server: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes clients that know nothing of the user's logins."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    oras = importlib.import_module("oras.client")
    return lambda: oras.OrasClient(hostname=server.host, insecure=True)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "in chunks"])
def test_files_are_pushed_and_pulled(
    server: RegistryServer, witness: Witness, repository: str, make_client: Any, tmp_path: Path, *, chunked: bool
) -> None:
    name = f"{server.host}/{repository}:v1"
    content = (repository.encode() * (3 * CHUNK_BYTES // len(repository)))[: 2 * CHUNK_BYTES + 7]
    source = tmp_path / "a.bin"
    source.write_bytes(content)

    pushed = make_client().push(
        target=name,
        files=[str(source)],
        disable_path_validation=True,
        do_chunked=chunked,
        chunk_size=CHUNK_BYTES,
        quiet=True,
    )
    source.unlink()
    pulled = make_client().pull(target=name, outdir=str(tmp_path / "out"))

    stored = witness.everything(repository, "v1")
    assert pushed.headers["Docker-Content-Digest"] == stored.digest
    assert digest_of(content) in stored.blobs
    assert [cast("str", each) for each in pulled] == [str(tmp_path / "out" / "a.bin")]
    assert (tmp_path / "out" / "a.bin").read_bytes() == content


def test_tags_and_manifests(
    server: RegistryServer, witness: Witness, repository: str, make_client: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(repository)
    client = make_client()
    for tag in ("v1", "v2", "v3"):
        client.push(
            target=f"{server.host}/{repository}:{tag}",
            files=[f"{tmp_path / 'a.txt'}:text/plain"],
            manifest_annotations={"tag": tag},
            disable_path_validation=True,
            quiet=True,
        )

    assert client.get_tags(f"{server.host}/{repository}") == ["v1", "v2", "v3"]
    assert client.get_manifest(f"{server.host}/{repository}:v2") == witness.manifest(repository, "v2").document


@pytest.mark.usefixtures("ours_only")
def test_an_artifact_with_a_subject_is_listed_as_its_referrer(
    server: RegistryServer, witness: Witness, repository: str, make_client: Any, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(repository)
    push = {"files": [f"{tmp_path / 'a.txt'}:text/plain"], "disable_path_validation": True, "quiet": True}
    make_client().push(target=f"{server.host}/{repository}:v1", **push)
    subject = witness.manifest(repository, "v1")

    described = importlib.import_module("oras.oci").Subject(subject.media_type, subject.digest, len(subject.body))
    answer = make_client().push(target=f"{server.host}/{repository}:note", subject=described, **push)

    assert answer.headers["OCI-Subject"] == subject.digest
    found = witness.referrers(repository, subject.digest)
    assert [each["digest"] for each in found] == [witness.manifest(repository, "note").digest]
