"""The oras CLI pushes artifacts, attaches others to them, discovers these, and copies the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.factories.images import digest_of, write_oci_layout

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.factories.images import Index
    from tests.system.machines import Machine
    from tests.system.oracle import Witness
    from tests.system.servers import RegistryServer

pytestmark = pytest.mark.needs("oras")

KIND = "application/vnd.example.report"


def _write(machine: Machine, name: str, text: str) -> str:
    (machine.home / name).write_text(text)
    return name


def _discovered(oras: Machine, name: str) -> list[dict[str, Any]]:
    document = oras.json("discover", "--plain-http", "--format", "json", "--depth", "1", name)
    return list(document.get("referrers") or document.get("manifests") or [])


def test_files_are_pushed_and_pulled(
    server: RegistryServer, witness: Witness, repository: str, client: Callable[..., Machine]
) -> None:
    name = f"{server.host}/{repository}:v1"
    here, there = client("oras"), client("oras")
    files = [f"{_write(here, each, f'{each} of {repository}')}:text/plain" for each in ("a.txt", "b.txt")]

    pushed = here.json("push", "--plain-http", "--format", "json", "--artifact-type", KIND, name, *files)
    there("pull", "--plain-http", name)

    stored = witness.everything(repository, "v1")
    assert stored.digest == pushed["digest"]
    assert stored.document["artifactType"] == KIND
    for each in ("a.txt", "b.txt"):
        assert (there.home / each).read_text() == f"{each} of {repository}"
        assert digest_of((there.home / each).read_bytes()) in stored.blobs


def test_attach_discover_and_copy_the_whole(
    server: RegistryServer,
    witness: Witness,
    repository: str,
    client: Callable[..., Machine],
    platforms: Index,
    tmp_path: Path,
) -> None:
    here, there = client("oras"), client("oras")
    name, copy = f"{server.host}/{repository}:v1", f"{server.host}/{repository}/copy:v1"
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)
    here("cp", "--from-oci-layout", "--to-plain-http", f"{layout}:v1", name)
    report = _write(here, "report.txt", repository)
    attached = here.json("attach", "--plain-http", "--format", "json", "--artifact-type", KIND, name, report)["digest"]
    here("attach", "--plain-http", "--artifact-type", "application/vnd.example.other", name, "--annotation", "a=b")

    there("cp", "--recursive", "--from-plain-http", "--to-plain-http", name, copy)

    assert witness.everything(f"{repository}/copy", "v1").body == platforms.manifest
    for each in (name, copy):
        found = _discovered(there, each)
        assert attached in [entry["digest"] for entry in found]
        assert {entry["artifactType"] for entry in found} == {KIND, "application/vnd.example.other"}
    there("pull", "--plain-http", f"{server.host}/{repository}/copy@{attached}")
    assert (there.home / report).read_text() == repository
    if server.has_referrers:
        answer = witness.get(f"/v2/{repository}/referrers/{platforms.digest}?artifactType={KIND}")
        assert [entry["digest"] for entry in answer.json()["manifests"]] == [attached]
        assert answer.headers["OCI-Filters-Applied"] == "artifactType"
        assert witness.tags(repository) == ["v1"]


@pytest.mark.usefixtures("ours_only")
def test_a_referrer_that_is_deleted_is_no_longer_discovered(
    server: RegistryServer, repository: str, client: Callable[..., Machine], platforms: Index, tmp_path: Path
) -> None:
    oras, base = client("oras"), f"{server.host}/{repository}"
    layout = write_oci_layout(tmp_path / "layout", v1=platforms)
    oras("cp", "--from-oci-layout", "--to-plain-http", f"{layout}:v1", f"{base}:v1")
    report = _write(oras, "report.txt", repository)
    attach = ("attach", "--plain-http", "--format", "json", "--artifact-type", KIND, f"{base}:v1", report)
    attached = oras.json(*attach)["digest"]

    oras("manifest", "delete", "--plain-http", "--force", f"{base}@{attached}")

    assert _discovered(oras, f"{base}:v1") == []


def test_tags_blobs_and_manifests_by_hand(
    server: RegistryServer, witness: Witness, repository: str, client: Callable[..., Machine]
) -> None:
    oras, base = client("oras"), f"{server.host}/{repository}"
    _write(oras, "a.txt", repository)
    oras("push", "--plain-http", f"{base}:v1", "a.txt:text/plain")
    digest = digest_of(repository.encode())

    oras("tag", "--plain-http", f"{base}:v1", "v2", "v3")

    assert oras("repo", "tags", "--plain-http", base).text.split() == ["v1", "v2", "v3"]
    assert oras("blob", "fetch", "--plain-http", "--output", "-", f"{base}@{digest}").stdout == repository
    assert (
        oras("manifest", "fetch", "--plain-http", f"{base}:v2").stdout.encode()
        == witness.manifest(repository, "v3").body
    )


def test_a_blob_that_nothing_names_is_deleted(
    server: RegistryServer, witness: Witness, repository: str, client: Callable[..., Machine]
) -> None:
    oras, base = client("oras"), f"{server.host}/{repository}"
    digest = digest_of(repository.encode())
    oras("blob", "push", "--plain-http", f"{base}@{digest}", _write(oras, "a.txt", repository))
    assert witness.blob(repository, digest) == repository.encode()

    oras("blob", "delete", "--plain-http", "--force", f"{base}@{digest}")

    assert witness.status(f"/v2/{repository}/blobs/{digest}") == 404
