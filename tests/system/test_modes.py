"""Maintenance, the switch for deletions, health checks, draining: real servers, beside registry:2 where it has them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest
import yaml

from tests.system.process import Daemon, run, until
from tests.system.servers import RegistryServer, free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM: Final = Path(sys.executable).parent / "roadstead"
ABSENT: Final = f"sha256:{'a' * 64}"
OCI: Final = "application/vnd.oci.image.manifest.v1+json"


class Peer(Daemon):
    """`docker-registry` with more settings; its debug listener is where ours has operations."""

    def __init__(self, folder: Path, *, storage: dict[str, object] | None = None, **settings: object) -> None:
        self.port, self.operations_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True)
        config = {
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, **(storage or {})},
            "http": {
                "addr": f"127.0.0.1:{self.port}",
                "debug": {"addr": f"127.0.0.1:{self.operations_port}"},
            },
            **settings,
        }
        (folder / "config.yml").write_text(yaml.safe_dump(config))
        command = [path_of("docker-registry"), "serve", str(folder / "config.yml")]
        super().__init__(command, folder=folder, is_ready=self._answers)

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=1, trust_env=False).status_code > 0
        except httpx.TransportError:
            return False


class Ours(RegistryServer):
    """`roadstead serve` with a file of settings, ready once it listens, whatever it answers."""

    def __init__(self, folder: Path, settings: dict[str, object], *arguments: str) -> None:
        folder.mkdir(parents=True)
        file = folder / "roadstead.yaml"
        file.write_text(yaml.safe_dump(settings))
        super().__init__(folder, arguments=["--config", str(file), *arguments], peer="")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=1, trust_env=False).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


@pytest.fixture
def folder(scratch: Path) -> Path:
    return scratch / f"modes-{os.urandom(4).hex()}"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False) as client:
        yield client


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def push_blob(client: httpx.Client, server: Peer | Ours, repository: str, content: bytes) -> None:
    begun = client.post(f"{server.url}/v2/{repository}/blobs/uploads/")
    location = httpx.URL(server.url).join(begun.headers["location"]).copy_merge_params({"digest": digest_of(content)})
    assert client.put(location, content=content).status_code == httpx.codes.CREATED


def push(client: httpx.Client, server: Peer | Ours, repository: str, urls: list[str] | None = None) -> httpx.Response:
    """An image with an empty configuration and, with ``urls``, a layer that is elsewhere."""
    push_blob(client, server, repository, b"{}")
    layer = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar", "size": 1, "digest": ABSENT}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest_of(b"{}")},
        "layers": [layer | {"urls": urls}] if urls is not None else [],
    }
    target = f"{server.url}/v2/{repository}/manifests/latest"
    return client.put(target, content=json.dumps(document), headers={"content-type": OCI})


REQUESTS: Final = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/v2/"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/app/tags/list"),
    ("GET", "/v2/app/manifests/latest"),
    ("PUT", "/v2/app/manifests/latest"),
    ("DELETE", f"/v2/app/manifests/{ABSENT}"),
    ("DELETE", f"/v2/app/blobs/{ABSENT}"),
    ("POST", "/v2/app/blobs/uploads/"),
    ("POST", f"/v2/app/blobs/uploads/?mount={ABSENT}&from=other"),
]


@pytest.mark.needs("docker-registry")
def test_read_only_is_registry_2s(folder: Path, client: httpx.Client) -> None:
    maintenance: dict[str, object] = {"maintenance": {"readonly": {"enabled": True}}, "delete": {"enabled": True}}
    with (
        Peer(folder / "peer", storage=maintenance) as peer,
        Ours(folder / "ours", {"maintenance": {"mode": "read-only"}}) as ours,
    ):
        for method, path in REQUESTS:
            theirs, mine = (client.request(method, f"{server.url}{path}") for server in (peer, ours))
            assert mine.status_code == theirs.status_code, (method, path)
            assert mine.headers.get("allow") == theirs.headers.get("allow"), (method, path)


@pytest.mark.needs("docker-registry")
def test_without_deletion_the_answers_are_registry_2s(folder: Path, client: httpx.Client) -> None:
    with Peer(folder / "peer") as peer, Ours(folder / "ours", {"content": {"deletion": False}}) as ours:
        answers: list[list[tuple[int, str]]] = []
        for server in (peer, ours):
            digest = push(client, server, "app").headers["docker-content-digest"]
            paths = [f"/v2/app/manifests/{digest}", f"/v2/app/blobs/{digest_of(b'{}')}"]
            paths += [f"/v2/app/manifests/{ABSENT}", f"/v2/app/blobs/{ABSENT}"]
            refused = [client.delete(f"{server.url}{path}") for path in paths]
            answers.append([(answer.status_code, answer.json()["errors"][0]["code"]) for answer in refused])
            begun = client.post(f"{server.url}/v2/app/blobs/uploads/")
            cancelled = client.delete(httpx.URL(server.url).join(begun.headers["location"]))
            assert cancelled.status_code == httpx.codes.NO_CONTENT
            assert client.get(f"{server.url}/v2/app/manifests/{digest}", headers={"accept": OCI}).is_success
        assert answers[0] == answers[1] == [(405, "UNSUPPORTED")] * 4
        assert client.delete(f"{ours.url}/v2/app/manifests/latest").status_code == 405, "CVE-2026-41888"


URLS: Final = [
    ["https://example.com/x"],
    ["http://example.com/x"],
    ["https://example.com/x", "http://bad.example.com/x"],
    ["ftp://example.com/x"],
    ["https://example.com/x#fragment"],
    ["file:///x"],
    [""],
    ["https:///x"],
]


@pytest.mark.needs("docker-registry")
@pytest.mark.parametrize(("allow", "deny"), [([], ["^http://bad"]), (["^https?://example"], ["bad", "ftp"])])
def test_rules_for_urls_are_registry_2s(folder: Path, client: httpx.Client, allow: list[str], deny: list[str]) -> None:
    validation = {"manifests": {"urls": {"allow": allow, "deny": deny}}}
    content = {"foreign_urls_allow": allow, "foreign_urls_deny": deny}
    with Peer(folder / "peer", validation=validation) as peer, Ours(folder / "ours", {"content": content}) as ours:
        for number, urls in enumerate(URLS):
            theirs, mine = (push(client, server, f"app{number}", urls) for server in (peer, ours))
            assert mine.is_success == theirs.is_success, (urls, mine.text)
            assert mine.is_success or mine.status_code == 400, "where registry:2 says 500"


@pytest.mark.needs("docker-registry")
def test_a_failing_health_check_is_told_as_by_registry_2(folder: Path, client: httpx.Client) -> None:
    file, port = folder / "down", free_port()
    settings = {"files": [str(file)], "addresses": [f"127.0.0.1:{port}"], "interval_seconds": 0.2, "threshold": 2}
    health = {
        "file": [{"file": str(file), "interval": "200ms"}],
        "tcp": [{"addr": f"127.0.0.1:{port}", "interval": "200ms", "threshold": 2, "timeout": "1s"}],
    }
    with (
        socket.create_server(("127.0.0.1", port)) as listening,
        Peer(folder / "peer", health=health) as peer,
        Ours(folder / "ours", {"health": settings}) as ours,
    ):
        for server in (peer, ours):
            assert client.get(f"{server.url}/").status_code == 200
            answer = client.get(f"http://127.0.0.1:{server.operations_port}/debug/health")
            assert (answer.status_code, answer.json()) == (200, {})
        file.touch()
        listening.close()
        for server in (peer, ours):
            debug = f"http://127.0.0.1:{server.operations_port}/debug/health"
            until(lambda debug=debug: len(client.get(debug).json()) == 2, what="both checks fail")  # type: ignore[misc]
            answer = client.get(debug)
            expected = {str(file): "file exists", f"127.0.0.1:{port}": f"connection to 127.0.0.1:{port} failed"}
            assert (answer.status_code, answer.json()) == (503, expected)
            for path in ("/", "/v2/", "/v2/_catalog"):
                answer = client.get(f"{server.url}{path}")
                assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "UNAVAILABLE")
        assert client.get(f"{ours.url}/healthz").status_code == 200, "it lives all the same"
        ready = client.get(f"http://127.0.0.1:{ours.operations_port}/readyz")
        assert (ready.status_code, ready.json()["checks"][str(file)]["status"]) == (503, "failed")


def tree(server: Ours) -> dict[str, tuple[int, int]]:
    """Every file below the data folder's objects, with length and time of change."""
    root = server.data / "registry"
    files = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def test_after_waiting_for_read_only_nothing_changes_any_more(folder: Path, client: httpx.Client) -> None:
    """Two workers, clients that push without end, an upload whose client has stalled."""
    stop, failures, pushed = threading.Event(), list[str](), list[str]()

    def push_on(number: int) -> None:
        with httpx.Client(trust_env=False) as mine:
            count = 0
            while not stop.is_set():
                count += 1
                repository = f"app{number}-{count}"
                try:
                    answer = push(mine, ours, repository)
                except (AssertionError, KeyError):  # refused on the way
                    continue
                if answer.status_code == httpx.codes.CREATED:
                    pushed.append(repository)
                elif answer.status_code != httpx.codes.METHOD_NOT_ALLOWED:
                    failures.append(answer.text)

    command: list[str | Path] = [PROGRAM, "maintenance", "--data", folder / "ours" / "data"]
    with Ours(folder / "ours", {"health": {"storage_interval_seconds": 0.05}}, "--workers", "2") as ours:
        threads = [threading.Thread(target=push_on, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        until(lambda: len(pushed) > 5, what="clients push")
        begun = client.post(f"{ours.url}/v2/stalled/blobs/uploads/").headers["location"]
        with socket.create_connection(("127.0.0.1", ours.port)) as stalled:
            stalled.sendall(
                f"PATCH {httpx.URL(begun).raw_path.decode()} HTTP/1.1\r\nHost: x\r\n"
                f"Content-Length: 1000\r\n\r\n{'x' * 100}".encode()
            )
            answer = run([*command, "read-only", "--wait", "--message", "copying", "--json"], timeout_seconds=30)
            assert all(server["obeys"] for server in json.loads(answer.text)["servers"])
            assert len(json.loads(answer.text)["servers"]) == 2
            debug = client.get(f"http://127.0.0.1:{ours.operations_port}/debug/health")
            assert (debug.status_code, debug.json()) == (200, {}), "it is well, and says so for both workers"
            before, known = tree(ours), len(pushed)
            time.sleep(0.5)  # in which the clients ask for some hundred changes
            assert tree(ours) == before
            assert stalled.recv(4096).startswith(b"HTTP/1.1 405 ")
        assert len(pushed) <= known + 3, "an answer that was on its way when we counted"
        assert client.get(f"{ours.url}/v2/{pushed[0]}/manifests/latest", headers={"accept": OCI}).is_success
        run([*command, "off", "--wait"])
        stop.set()
        for thread in threads:
            thread.join()
        status = client.get(httpx.URL(ours.url).join(begun))
        assert (status.status_code, status.headers["range"]) == (204, "0-99")
        content = b"x" * 100 + b"y"
        location = httpx.URL(ours.url).join(begun).copy_merge_params({"digest": digest_of(content)})
        assert client.put(location, content=b"y").status_code == httpx.codes.CREATED
        assert not failures
        ours.shut_down()


def test_the_mode_outlives_the_server_and_is_obeyed_from_the_first_request(folder: Path, client: httpx.Client) -> None:
    with Ours(folder / "ours", {}) as ours:
        command: list[str | Path] = [PROGRAM, "maintenance", "--data", ours.data]
        run([*command, "closed", "--message", "moving"])
        ours.kill()
        ours.start()
        answer = client.get(f"{ours.url}/v2/")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert client.get(f"{ours.url}/healthz").status_code == 200
        until(
            lambda: client.get(f"http://127.0.0.1:{ours.operations_port}/readyz").status_code == 503,
            what="it is not ready",
        )
        run([*command, "off"])
        until(lambda: client.get(f"{ours.url}/v2/").status_code == 200, what="it is open again", timeout_seconds=5)


def test_workers_that_begin_closed_say_that_they_serve(folder: Path, client: httpx.Client) -> None:
    with Ours(folder / "ours", {"maintenance": {"mode": "closed"}}, "--workers", "2") as ours:
        until(lambda: "docker pull" in ours.log(), what="the greeting", timeout_seconds=20)
        debug = client.get(f"http://127.0.0.1:{ours.operations_port}/debug/health")
        assert (debug.status_code, list(debug.json())) == (503, ["maintenance"])


@pytest.mark.parametrize("workers", [1, 2])
def test_draining_lets_a_pull_finish_and_takes_no_new_ones(folder: Path, client: httpx.Client, workers: int) -> None:
    content = os.urandom(24 << 20)  # more than the sockets between us hold
    with Ours(folder / "ours", {}, "--workers", str(workers)) as ours:
        push_blob(client, ours, "app", content)
        with (
            httpx.Client(trust_env=False) as idle,
            httpx.stream("GET", f"{ours.url}/v2/app/blobs/{digest_of(content)}", trust_env=False) as pull,
        ):
            idle.get(f"{ours.url}/v2/")
            pieces = pull.iter_raw()
            received = bytearray(next(pieces))
            os.kill(ours.pid, signal.SIGTERM)
            ready = f"http://127.0.0.1:{ours.operations_port}/readyz"
            until(lambda: client.get(ready).status_code == 503, what="readiness ends at once", timeout_seconds=5)
            assert '"stopping": {"status": "failed"' in client.get(ready).text

            def is_refused() -> bool:
                try:
                    with socket.create_connection(("127.0.0.1", ours.port), timeout=5):
                        return False
                except ConnectionRefusedError:
                    return True

            until(is_refused, what="new connections are refused", timeout_seconds=5)
            assert ours.exit_code is None, "it waits for the pull"
            for piece in pieces:
                received += piece
        assert bytes(received) == content
        until(lambda: ours.exit_code is not None, what="the server ends after the last request", timeout_seconds=10)
        assert ours.exit_code == 0


def test_a_pull_of_docker_is_not_limited_by_default_and_one_beyond_the_rate_is(
    folder: Path, client: httpx.Client
) -> None:
    limits = {"requests_per_second": 0.01, "request_burst": 20}
    with Ours(folder / "ours", {"limits": limits}) as ours:
        answers = [client.get(f"{ours.url}/v2/") for _ in range(21)]
        assert [answer.status_code for answer in answers] == [200] * 20 + [429]
        refused = answers[-1]
        assert (refused.json()["errors"][0]["code"], int(refused.headers["retry-after"])) == ("TOOMANYREQUESTS", 100)
        assert client.get(f"{ours.url}/healthz").status_code == 200
        counted = client.get(f"http://127.0.0.1:{ours.operations_port}/metrics").text
        assert 'roadstead_refused_requests_total{reason="rate"} 1.0' in counted


def test_an_expression_that_is_none_stops_the_start(folder: Path) -> None:
    folder.mkdir()
    file = folder / "roadstead.yaml"
    file.write_text('content: {foreign_urls_allow: ["("]}')
    ended = subprocess.run(
        [PROGRAM, "serve", "--config", file, "--data", folder / "data", "--listen", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert ended.returncode == 2, ended.stderr
    assert "is no regular expression" in ended.stderr
