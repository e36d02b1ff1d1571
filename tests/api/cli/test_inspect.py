"""``roadstead inspect``."""

from __future__ import annotations

import pytest

from roadstead.oci import Digest
from roadstead.registry import Registry
from tests.api.cli.conftest import APP, PLATFORMS, Command
from tests.databases import BOTH
from tests.factories.images import encode
from tests.factories.registries import SIGNATURE, on_registry, push_manifest

DATABASES = BOTH

INDEX = "application/vnd.oci.image.index.v1+json"


def test_an_image_for_scripts(command: Command) -> None:
    (found,) = command.json("inspect", "library/app")
    assert found["repository"] == "library/app"
    assert found["digest"] == APP.digest
    assert found["media_type"] == APP.media_type
    assert found["artifact_type"] == ""
    assert found["size_bytes"] == len(APP.manifest)
    assert found["content_bytes"] == sum(len(blob) for blob in APP.blobs().values())
    assert found["tags"] == ["1.0", "latest"]
    assert [layer["digest"] for layer in found["layers"]] == [layer.digest for layer in APP.layers]
    assert found["config"]["digest"] == APP.image_id
    assert found["manifests"] == []
    assert found["subject"] is None
    (referrer,) = found["referrers"]
    assert referrer["artifact_type"] == SIGNATURE
    assert referrer["annotations"] == {"note": "two\nlines \x1b[31mred"}


@pytest.mark.parametrize("reference", ["library/app:1.0", f"library/app@{APP.digest}"])
def test_by_tag_and_by_digest(command: Command, reference: str) -> None:
    assert command.json("inspect", reference)[0]["digest"] == APP.digest


def test_an_index_for_scripts(command: Command) -> None:
    (found,) = command.json("inspect", "library/app:multi")
    assert [child["platform"]["architecture"] for child in found["manifests"]] == ["amd64", "arm64"]
    assert all(child["is_present"] for child in found["manifests"])
    blobs = {digest: len(blob) for each in PLATFORMS.images for digest, blob in each.blobs().items()}
    assert found["content_bytes"] == sum(blobs.values())
    assert found["layers"] == []
    assert found["config"] is None


def test_a_sparse_index_says_what_is_not_here(command: Command) -> None:
    child = {"mediaType": APP.media_type, "digest": Digest.of(b"elsewhere"), "size": 9}
    body = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [child]})
    on_registry(command.folder, lambda registry: push_manifest(registry, "sparse", body, "latest"))
    assert command.json("inspect", "sparse")[0]["manifests"][0]["is_present"] is False
    assert "not here" in command("inspect", "sparse").stdout


def test_raw_is_byte_for_byte(command: Command) -> None:
    assert command("inspect", "library/app", "--raw").stdout_bytes == APP.manifest
    assert command.process("inspect", "library/app:1.0", "--raw").stdout.encode() == APP.manifest


def test_an_artifact_shows_its_subject_and_cannot_steer_the_terminal(command: Command) -> None:
    referrer = command.json("inspect", "library/app")[0]["referrers"][0]["digest"]
    seen = command.terminal("inspect", f"library/app@{referrer}", columns=160, NO_COLOR="1")
    assert "\x1b" not in seen
    assert "two\\nlines \\x1b[31mred" in seen
    assert f"Subject        {APP.digest}" in seen
    assert f"Artifact type  {SIGNATURE}" in seen


def test_for_a_person(command: Command) -> None:
    seen = command.terminal("inspect", "library/app", columns=160, NO_COLOR="1")
    assert seen.startswith(f"Repository  library/app\nDigest      {APP.digest}\nTags        1.0, latest\n")
    assert "in 2 layers" in seen
    for each in APP.layers:
        assert each.digest in seen
    narrow = command.terminal("inspect", "library/app", columns=78, NO_COLOR="1")
    assert "TYPE" not in narrow
    assert all(each.digest in narrow for each in APP.layers)


@pytest.mark.parametrize("option", ["--json", "--raw"])
def test_what_is_not_there(command: Command, option: str) -> None:
    result = command("inspect", "library/app:2.0", option)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no library/app:2.0; `roadstead ls library/app`" in result.stderr
    assert "there is no repository nothing" in command("inspect", "nothing", option).stderr


def test_many_referrers(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roadstead.cli.content.inspection.PAGE", 2)

    async def fill(registry: Registry) -> None:
        subject = {"mediaType": APP.media_type, "digest": APP.digest, "size": len(APP.manifest)}
        for number in range(5):
            document = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject}
            await push_manifest(registry, "library/app", encode(document | {"annotations": {"n": str(number)}}))

    on_registry(command.folder, fill)
    assert len(command.json("inspect", "library/app")[0]["referrers"]) == 6
