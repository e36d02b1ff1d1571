"""What a manifest names stays with it, whoever collects, deletes, restores, adopts, releases, rebuilds or upgrades.

Build tools keep their cache in an index of blobs, and foreign layers are pushed on purpose for closed networks. Each
test drives real servers and the installed command.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from roadstead.testing.images import (
    OCI_FOREIGN_LAYER,
    OCI_INDEX,
    OCI_MANIFEST,
    BlobContent,
    ManifestContent,
    build_cache,
    describe,
    encode,
    foreign_image,
    image,
)
from tests.api.test_garbage_upgrade import downgrade
from tests.system.adoption.volumes import TREE, Client, Registry2
from tests.system.process import run
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROADSTEAD: Final = Path(sys.executable).parent / "roadstead"
CACHE: Final = build_cache(b"cached layer", b"another")
WINDOWS: Final = foreign_image(b"windows", b"own layer")


def command(*words: str | Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run([ROADSTEAD, *words, "--json"]).stdout.splitlines()]


def collect(data: Path) -> None:
    """Everything that may go, goes."""
    for _ in range(2):
        command("gc", "--grace", "0", "--untagged", "--data", data)


def absent(client: Client, repository: str, manifests: Iterable[ManifestContent]) -> list[str]:
    """What of manifests and their blobs is not given byte for byte."""
    found: list[str] = []
    for manifest in manifests:
        wanted = {f"manifests/{manifest.digest}": manifest.content}
        wanted |= {f"blobs/{blob.digest}": blob.content for blob in manifest.blobs}
        found += [path for path, body in wanted.items() if client.get(f"/v2/{repository}/{path}").content != body]
    return found


def test_a_build_cache_and_foreign_layers_live_as_long_as_their_manifests(tmp_path: Path) -> None:
    both = {"cache": CACHE, "windows": WINDOWS}
    with RegistryServer(tmp_path) as server, Client(server.url) as client:
        for tag, manifest in both.items():
            client.push("team/app", manifest, tag)
        collect(server.data)
        assert absent(client, "team/app", both.values()) == []
        for manifest in both.values():
            for blob in manifest.blobs:
                assert client.delete(f"/v2/team/app/blobs/{blob.digest}").status_code == 405
            reasons = command("why", f"team/app@{manifest.blobs[1].digest}", "--data", server.data)
            assert f"team/app@{manifest.digest}" in json.dumps(reasons)
        for tag, manifest in both.items():
            command("rm", f"team/app@{manifest.digest}", "--yes", "--data", server.data)
            command("gc", "--data", server.data)
            command("restore", f"team/app:{tag}", "--data", server.data)
        assert absent(client, "team/app", both.values()) == []
        assert command("check", "--deep", "--data", server.data)[-1]["summary"]["damage"] == 0
        command("rm", "team/app", "--all", "--yes", "--data", server.data)
        collect(server.data)
        assert list((server.data / "registry" / TREE / "blobs").rglob("data")) == []
        server.shut_down()


def test_an_upgrade_repairs_before_anything_is_collected(tmp_path: Path) -> None:
    """The catalogue of the version before, in which the collector is about to take what need not be there."""
    both = (CACHE, WINDOWS)
    config = tmp_path / "roadstead.yaml"
    config.write_text("garbage: {interval_seconds: 0.1}\n")
    with RegistryServer(tmp_path) as server, Client(server.url) as client:
        for manifest in both:
            client.push("app", manifest, f"v{both.index(manifest)}")
        server.shut_down()
    catalogue = server.data / "roadstead.db"
    downgrade(catalogue, "0002")
    with closing(sqlite3.connect(catalogue)) as connection:
        due = "SELECT 1, repository_id, blob_id, 0, 0 FROM repository_blobs"
        connection.executescript(f"INSERT OR IGNORE INTO reviews {due}")
    refused = run([ROADSTEAD, "gc", "--grace", "0", "--data", server.data], exit_code=None)
    assert "start the server once" in refused.stderr
    with RegistryServer(tmp_path, arguments=["--config", str(config)]) as server, Client(server.url) as client:
        collect(server.data)
        assert absent(client, "app", both) == []
        with closing(sqlite3.connect(catalogue)) as connection:
            assert connection.execute("SELECT count(*) FROM reviews WHERE kind = 1").fetchone() == (0,)
        server.shut_down()


def odd(document: Mapping[str, object], media_type: str, *blobs: BlobContent) -> ManifestContent:
    """A manifest of a real client that leaves something out, or gets it wrong."""
    return ManifestContent(encode({"schemaVersion": 2, **document}), media_type, blobs)


CONFIG: Final = BlobContent(b"{}")
LAYER: Final = BlobContent(b"layer")
FOREIGN: Final = BlobContent(b"windows", OCI_FOREIGN_LAYER)
TAKEN_BY_REGISTRY_2: Final = {
    "cache": CACHE,
    "foreign": odd({"config": describe(CONFIG), "layers": [describe(FOREIGN)]}, OCI_MANIFEST, CONFIG, FOREIGN),
    "no-layers": odd({"mediaType": OCI_MANIFEST, "config": describe(CONFIG)}, OCI_MANIFEST, CONFIG),
    "null-layers": odd({"config": describe(CONFIG), "layers": None, "manifests": None}, OCI_MANIFEST, CONFIG),
    "null-manifests": odd({"mediaType": OCI_INDEX, "manifests": None, "layers": None}, OCI_INDEX),
    "nulls": odd(
        {
            "mediaType": None,
            "artifactType": None,
            "config": describe(CONFIG, annotations=None),
            "layers": [describe(LAYER, annotations={"a": None}, urls=None, platform=None)],
            "annotations": {"a": None},
        },
        OCI_MANIFEST,
        CONFIG,
        LAYER,
    ),
    "no-types": odd(
        {"config": {"digest": CONFIG.digest, "size": 2}, "layers": [{"digest": LAYER.digest, "size": 5}]},
        OCI_MANIFEST,
        CONFIG,
        LAYER,
    ),
    "wrong-size": odd({"config": describe(CONFIG), "layers": [describe(LAYER, size=7)]}, OCI_MANIFEST, CONFIG, LAYER),
    "no-size": odd({"config": describe(CONFIG), "layers": [{"digest": LAYER.digest}]}, OCI_MANIFEST, CONFIG, LAYER),
    "whole": image(b"layer"),
}


@pytest.mark.needs("docker-registry")
def test_what_registry_2_takes_comes_along_stays_and_goes_back(tmp_path: Path) -> None:
    """Adopted, collected, rebuilt from nothing, collected, released, and served by registry:2 again."""
    root, ours = tmp_path / "volume", tmp_path / "ours"
    root.mkdir()
    everything = TAKEN_BY_REGISTRY_2.values()
    with Registry2("registry:2", root, tmp_path / "first") as theirs, Client(theirs.url) as client:
        for tag, manifest in TAKEN_BY_REGISTRY_2.items():
            client.push("app", manifest, tag)
    *findings, _ = command("adopt", root, "--data", ours / "data")
    assert {finding["kind"] for finding in findings} == {"manifest-sizes"}
    config = tmp_path / "roadstead.yaml"
    config.write_text(f"storage: {{url: {root.as_uri()}}}\n")
    for is_rebuilt in (False, True):
        arguments = ["--config", str(config), "--adopt"]
        with RegistryServer(ours, arguments=arguments) as server, Client(server.url) as client:
            if is_rebuilt:
                command("gc", "--confirm", "--yes", "--data", server.data)
            collect(server.data)
            assert absent(client, "app", everything) == []
            assert command("check", "--deep", "--data", server.data)[-1]["summary"]["damage"] == 0
            command("rm", "app", "--all", "--yes", "--data", server.data)
            command("gc", "--data", server.data)
            command("restore", "app", "--data", server.data)
            assert absent(client, "app", everything) == []
            assert client.tags("app") == sorted(TAKEN_BY_REGISTRY_2)
            server.shut_down()
        run([ROADSTEAD, "release", "--data", ours / "data"])
        (ours / "data" / "roadstead.db").unlink()
        run([ROADSTEAD, "rebuild", "--data", ours / "data", "--config", config])
    with Registry2("registry:2", root, tmp_path / "second") as theirs, Client(theirs.url) as client:
        run([theirs.program, "garbage-collect", theirs.config])
        assert absent(client, "app", everything) == []
