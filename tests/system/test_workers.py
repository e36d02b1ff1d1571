"""Several processes on one address: each answers, one that dies is replaced, and none outlives its parent."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from roadstead.testing.images import image
from tests.system.process import until
from tests.system.servers import RegistryServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def server(scratch: Path) -> Iterator[RegistryServer]:
    with RegistryServer(scratch / f"workers-{os.urandom(4).hex()}", arguments=["--workers", "2"]) as server:
        until(lambda: readiness(server).status_code == httpx.codes.OK, what="all workers are ready")
        yield server


def readiness(server: RegistryServer) -> httpx.Response:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{server.operations_port}/readyz", trust_env=False)
    return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)


def worker_pids(server: RegistryServer) -> set[int]:
    found = subprocess.run(
        ["pgrep", "-f", f"{server.host} .*worker-descriptors"], capture_output=True, text=True, check=False
    )
    return {int(pid) for pid in found.stdout.split()}


def metrics(server: RegistryServer) -> str:
    return httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text


def push(server: RegistryServer, repository: str) -> str:
    """Pushes an image over a connection a request, so that both workers see parts of it; the manifest's digest."""
    manifest = image(os.urandom(1000))
    for blob in manifest.blobs:
        begun = httpx.post(f"{server.url}/v2/{repository}/blobs/uploads/", trust_env=False)
        location = server.url + begun.headers["location"]
        chunk = httpx.patch(location, content=blob.content, trust_env=False)
        assert chunk.status_code == httpx.codes.ACCEPTED, chunk.text
        done = httpx.put(f"{location}?digest={blob.digest}", trust_env=False)
        assert done.status_code == httpx.codes.CREATED, done.text
    answer = httpx.put(
        f"{server.url}/v2/{repository}/manifests/latest",
        content=manifest.content,
        headers={"content-type": manifest.media_type},
        trust_env=False,
    )
    assert answer.status_code == httpx.codes.CREATED, answer.text
    assert answer.headers["docker-content-digest"] == manifest.digest
    return manifest.digest


def test_workers_share_uploads_and_answer_alike(server: RegistryServer) -> None:
    digests = {f"shared/app{number}": push(server, f"shared/app{number}") for number in range(12)}
    for repository, digest in digests.items():
        for _ in range(3):
            answer = httpx.head(f"{server.url}/v2/{repository}/manifests/latest", trust_env=False)
            assert answer.headers["docker-content-digest"] == digest
    counted = re.findall(r'registry_http_requests_total\{.*worker="(\d)"\}', metrics(server))
    assert set(counted) == {"0", "1"}, "both workers have answered"


def test_a_worker_that_dies_is_replaced(server: RegistryServer) -> None:
    before = worker_pids(server)
    assert len(before) == 2
    victim = min(before)
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(worker_pids(server) - {victim}) == 2, what="the dead worker is replaced")
    until(lambda: readiness(server).status_code == httpx.codes.OK, what="all workers are ready")
    assert push(server, "after/death").startswith("sha256:")


def test_no_worker_outlives_its_parent(server: RegistryServer) -> None:
    digest = push(server, "before/death")
    server.kill()
    until(lambda: not worker_pids(server), what="the workers end with their parent")
    server.start()
    until(lambda: readiness(server).status_code == httpx.codes.OK, what="all workers are ready")
    answer = httpx.head(f"{server.url}/v2/before/death/manifests/latest", trust_env=False)
    assert answer.headers["docker-content-digest"] == digest


def test_sigterm_ends_all(server: RegistryServer) -> None:
    push(server, "to/the/end")
    server.shut_down()
    assert not worker_pids(server)
