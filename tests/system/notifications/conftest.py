"""Servers of one test that tell of events, and clients that cause them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from roadstead.testing.images import BlobContent, ManifestContent
from tests.factories.receivers import ReceivingServer
from tests.system.process import Daemon
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

Serve = Callable[..., RegistryServer]


class PeerServer(Daemon):
    """registry:2 or registry:3 that tells an endpoint."""

    def __init__(self, folder: Path, tool: str, url: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        folder.mkdir(parents=True)
        config = folder / "config.yml"
        document = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.url.removeprefix("http://")},
            "notifications": {
                "events": {"includereferences": True},
                "endpoints": [
                    {
                        "name": "ci",
                        "url": url,
                        "timeout": "5s",
                        "threshold": 5,
                        "backoff": "1s",
                        "headers": {"X-Key": ["4f1c"]},
                    }
                ],
            },
        }
        config.write_text(yaml.safe_dump(document), encoding="utf-8")
        super().__init__([path_of(tool), "serve", config], folder=folder, is_ready=self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/", timeout=1, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.fixture
def receiver() -> Iterator[ReceivingServer]:
    """An endpoint that takes everything, unless told otherwise."""
    with ReceivingServer() as receiver:
        yield receiver


def endpoint_of(receiver: ReceivingServer, **more: object) -> dict[str, object]:
    """An endpoint's settings, with back-off that does not keep a test waiting."""
    return {"name": "ci", "url": receiver.url, "timeout_seconds": 5, "threshold": 2, "backoff_seconds": 0.05, **more}


@pytest.fixture
def serve(scratch: Path) -> Iterator[Serve]:
    """Starts servers with ``notifications`` and other settings and arguments; each ends well, or the test fails."""
    with ExitStack() as stack:
        started: list[RegistryServer] = []

        def start(notifications: Mapping[str, Any], *arguments: str, **sections: Any) -> RegistryServer:
            folder = scratch / f"told-{os.urandom(4).hex()}"
            folder.mkdir()
            stack.callback(shutil.rmtree, folder)
            config = folder / "roadstead.yaml"
            config.write_text(yaml.safe_dump({"notifications": dict(notifications), **sections}), encoding="utf-8")
            server = RegistryServer(folder, arguments=["--config", str(config), *arguments], peer="")
            started.append(stack.enter_context(server))
            return server

        yield start
        for server in started:
            server.shut_down()


@pytest.fixture
def peer(scratch: Path) -> Iterator[Callable[[str, str], PeerServer]]:
    """Starts a peer that tells a URL."""
    with ExitStack() as stack:

        def start(tool: str, url: str) -> PeerServer:
            folder = scratch / f"peer-{os.urandom(4).hex()}"
            stack.callback(shutil.rmtree, folder)
            return stack.enter_context(PeerServer(folder, tool, url))

        yield start


class Client:
    """A client with a connection that it keeps."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"user-agent": "roadstead-test/1"}, timeout=30, trust_env=False)

    def push_blob(self, repository: str, content: bytes) -> str:
        """Pushes a blob by POST and PUT, as docker does; its digest."""
        digest = BlobContent(content).digest
        location = self.http.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        joint = "&" if "?" in location else "?"
        answer = self.http.put(f"{location}{joint}digest={digest}", content=content)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return digest

    def push(self, repository: str, manifest: ManifestContent, reference: str) -> None:
        """Pushes an image."""
        for blob in manifest.blobs:
            self.push_blob(repository, blob.content)
        self.put_manifest(repository, manifest, reference)

    def put_manifest(self, repository: str, manifest: ManifestContent, reference: str) -> None:
        """Pushes a manifest alone."""
        answer = self.http.put(
            f"/v2/{repository}/manifests/{reference}",
            content=manifest.content,
            headers={"content-type": manifest.media_type},
        )
        assert answer.status_code == httpx.codes.CREATED, answer.text

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
