"""The image in a real docker and podman: whom it lets in, as whom it runs, in place of registry:2, until it stops."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from deploy.build import engines
from tests.factories.images import write_docker_archive
from tests.system.machines import NO_NETWORK
from tests.system.oracle import Stored, Witness
from tests.system.process import run, until
from tests.system.servers import RegistryServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.factories.greetings import Greeting
    from tests.system.image.building import Built
    from tests.system.machines import DockerMachine, Machine

OPEN: Final = ("-e", "ROADSTEAD_AUTHENTICATION__MODE=none")
PROGRAM: Final = Path(sys.executable).parent / "roadstead"
HEALTHCHECK: Final = "/usr/lib/roadstead/healthcheck"
ENGINE_SECONDS: Final = 300.0
"""The daemons of tests copy all of an image for each container, which a busy disk makes a matter of minutes."""
PODMAN_LIMITS: Final = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
"""Podman asks for more open files than a machine without CAP_SYS_RESOURCE may give."""

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("image"), pytest.mark.needs("docker")]


class Container:
    """A container of the image on the machine's own network, since tests make no bridges."""

    def __init__(self, engine: Machine, image: str, *options: str | Path) -> None:
        self.engine = engine
        self.name = f"registry-{secrets.token_hex(3)}"
        self.port, operations_port = free_port(), free_port()
        listen = ("-e", f"ROADSTEAD_LISTEN__MAIN=0.0.0.0:{self.port}")
        operations = ("-e", f"ROADSTEAD_LISTEN__OPERATIONS=127.0.0.1:{operations_port}")
        words = ["run", "-d", "--name", self.name, "--network", "host", *listen, *operations, *options]
        engine(*words, image, timeout_seconds=ENGINE_SECONDS)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def wait(self) -> None:
        """Wait until it answers; fails at once when it has ended."""
        until(self._answers, what=f"{self.name} answers", timeout_seconds=120)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/v2/", trust_env=False).status_code in {200, 401}
        except httpx.TransportError:
            assert self.state()["Running"], self.log()
            return False

    def state(self) -> dict[str, Any]:
        """What the engine knows of it."""
        return dict(self.engine.json("inspect", self.name)[0]["State"])

    def log(self) -> str:
        """All that it printed."""
        return self.engine("logs", self.name).both

    def exec(self, *command: str) -> str:
        """What a command in it prints."""
        return self.engine("exec", self.name, *command).text

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.engine("stop", "--time", "60", self.name, timeout_seconds=ENGINE_SECONDS)
        return int(self.state()["ExitCode"])


Start = Callable[..., Container]


@pytest.fixture
def start(dockerd: DockerMachine, docker_name: str, before_running: Callable[[], None]) -> Iterator[Start]:
    """Runs containers in docker, which are gone with their volumes after the test."""
    before_running()
    started: list[Container] = []

    def begin(*options: str | Path) -> Container:
        started.append(Container(dockerd.client, docker_name, *options))
        return started[-1]

    yield begin
    for each in started:
        dockerd.client("rm", "--force", "--volumes", each.name, timeout_seconds=ENGINE_SECONDS)


def _refusal(dockerd: DockerMachine, name: str, *options: str | Path, exit_code: int) -> str:
    command = ("run", "--rm", *NO_NETWORK, *options, name)
    return dockerd.client(*command, exit_code=exit_code, timeout_seconds=ENGINE_SECONDS).stderr


def _stored(url: str, repository: str) -> Stored:
    witness = Witness(url)
    try:
        return witness.everything(repository, "1")
    finally:
        witness.close()


def _push(dockerd: DockerMachine, container: Container, folder: Path, greeting: Greeting) -> str:
    name = f"127.0.0.1:{container.port}/app:1"
    dockerd.client("load", "--input", write_docker_archive(folder / "app.tar", name, greeting.image))
    dockerd.client("push", name)
    dockerd.client("rmi", name)
    return name


def test_it_serves_nobody_knows_whom_only_when_told(
    dockerd: DockerMachine, docker_name: str, before_running: Callable[[], None]
) -> None:
    before_running()
    said = _refusal(dockerd, docker_name, exit_code=2)

    assert "docker run -e ROADSTEAD_AUTHENTICATION__MODE=none" in said
    assert "-e ROADSTEAD_AUTHENTICATION__HTPASSWD_FILE=/etc/roadstead/htpasswd" in said


def test_as_any_user_on_a_read_only_root(
    start: Start, dockerd: DockerMachine, greeting: Greeting, tmp_path: Path
) -> None:
    volume = f"registry-{secrets.token_hex(3)}"
    locked = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    container = start(*OPEN, *locked, "--user", "12345", "-v", f"{volume}:/var/lib/registry")
    container.wait()

    name = _push(dockerd, container, tmp_path, greeting)
    dockerd.client("pull", name)

    assert dockerd.client("run", "--rm", *NO_NETWORK, name).text == greeting.text
    assert container.exec("roadstead", "ls").split()[0] == "app"
    assert container.stop() == 0, container.log()
    again = start(*OPEN, *locked, "--user", "12345", "-v", f"{volume}:/var/lib/registry")
    again.wait()
    assert _stored(again.url, "app").document["config"]["digest"] == greeting.image.image_id


def test_several_workers_on_a_read_only_root(start: Start) -> None:
    container = start(*OPEN, "--read-only", "-e", "ROADSTEAD_LISTEN__WORKERS=2")
    container.wait()

    assert container.stop() == 0, container.log()


def test_a_volume_of_roots_is_refused_with_the_command_that_helps(
    start: Start, dockerd: DockerMachine, docker_name: str, scratch: Path
) -> None:
    folder = scratch / f"volume-{secrets.token_hex(3)}"
    folder.mkdir(mode=0o755)
    said = _refusal(dockerd, docker_name, *OPEN, "-v", f"{folder}:/var/lib/registry", exit_code=3)
    remedy = said[said.index("docker run ") :].split()[2:-1]
    assert remedy == ["--user", "0:0", "--cap-drop", "ALL"]

    container = start(*OPEN, *remedy, "-v", f"{folder}:/var/lib/registry")
    container.wait()

    assert container.stop() == 0
    shutil.rmtree(folder)


@pytest.mark.needs("docker-registry")
def test_it_takes_the_place_of_registry2(
    start: Start, dockerd: DockerMachine, greeting: Greeting, scratch: Path, tmp_path: Path
) -> None:
    name = f"volume-{secrets.token_hex(3)}"
    with RegistryServer(scratch / name, peer="docker-registry") as registry2:
        pushed = f"{registry2.host}/team/app:1"
        dockerd.client("load", "--input", write_docker_archive(tmp_path / "a.tar", pushed, greeting.image))
        dockerd.client("push", pushed)
        before = _stored(registry2.url, "team/app")
    volume = f"{registry2.data}:/var/lib/registry"

    container = start(*OPEN, "--user", "0:0", "--cap-drop", "ALL", "--read-only", "-v", volume)
    container.wait()

    assert _stored(container.url, "team/app") == before
    dockerd.client("pull", f"127.0.0.1:{container.port}/team/app@{before.digest}")
    assert container.stop() == 0
    shutil.rmtree(scratch / name)


def test_registry2s_variables_count_as_they_did(start: Start, users: Path) -> None:
    variables = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
    }
    options = [word for name, value in variables.items() for word in ("-e", f"{name}={value}")]
    container = start(*options, "-v", f"{users}:/auth:ro")
    container.wait()

    _requires_password(container)
    assert httpx.get(f"{container.url}/v2/", trust_env=False).headers["WWW-Authenticate"].endswith('"Registry Realm"')


def test_registry2s_file_is_found_in_its_place(start: Start, users: Path) -> None:
    file = users / "config.yml"
    auth = "auth: {htpasswd: {realm: r, path: /auth/htpasswd}}"
    storage = "storage: {filesystem: {rootdirectory: /var/lib/registry}}"
    file.write_text(f"version: 0.1\n{storage}\n{auth}\n")
    container = start("-v", f"{users}:/auth:ro", "-v", f"{file}:/etc/docker/registry/config.yml:ro")
    container.wait()

    _requires_password(container)


def test_our_file_is_found_in_its_place_and_needs_no_address(start: Start, users: Path) -> None:
    file = users / "roadstead.yaml"
    file.write_text("authentication: {htpasswd_file: /auth/htpasswd}\n")
    container = start("-v", f"{users}:/auth:ro", "-v", f"{file}:/etc/roadstead/roadstead.yaml:ro")
    container.wait()

    _requires_password(container)
    shown = container.exec("roadstead", "config", "show", "--changed", "--json").splitlines()
    sources = {entry["key"]: entry["source"] for entry in map(json.loads, shown)}
    assert sources["data.folder"] == "the image"
    assert sources["authentication.htpasswd_file"].startswith("/etc/roadstead/roadstead.yaml")


@pytest.fixture
def users(scratch: Path) -> Iterator[Path]:
    """A folder with a file of users, which the image's user may read; alice's password is secret."""
    folder = scratch / f"users-{secrets.token_hex(3)}"
    folder.mkdir(mode=0o755)
    run([PROGRAM, "htpasswd", folder / "htpasswd", "alice", "--password-stdin"], stdin="secret word\n")
    (folder / "htpasswd").chmod(0o644)
    yield folder
    shutil.rmtree(folder)


def _requires_password(container: Container) -> None:
    ask = f"{container.url}/v2/"
    assert httpx.get(ask, trust_env=False).status_code == 401
    assert httpx.get(ask, auth=("alice", "wrong"), trust_env=False).status_code == 401
    assert httpx.get(ask, auth=("alice", "secret word"), trust_env=False).status_code == 200


def test_docker_sees_its_health(start: Start) -> None:
    container = start(*OPEN, "--health-interval", "1s")

    until(lambda: container.state()["Health"]["Status"] == "healthy", what="docker says healthy", timeout_seconds=120)
    container.engine("kill", "--signal", "STOP", container.name)  # a server that hangs
    until(lambda: container.state()["Health"]["FailingStreak"] > 0, what="docker notices", timeout_seconds=120)
    container.engine("kill", "--signal", "CONT", container.name)


def test_sigterm_before_it_serves_ends_it_too(start: Start, dockerd: DockerMachine) -> None:
    container = start(*OPEN)
    dockerd.client("kill", "--signal", "TERM", container.name)

    code = int(dockerd.client("wait", container.name, timeout_seconds=60).text)
    assert code in {0, 128 + 15}, container.log()


def test_a_push_in_hand_ends_before_the_container_does(start: Start, dockerd: DockerMachine) -> None:
    container = start(*OPEN)
    container.wait()
    told = threading.Event()

    def body() -> Iterator[bytes]:
        yield b"first half, "
        dockerd.client("kill", "--signal", "TERM", container.name)
        told.set()
        time.sleep(1)
        yield b"second half"

    with httpx.Client(base_url=container.url, trust_env=False, timeout=60) as client:
        session = client.post("/v2/app/blobs/uploads/").headers["Location"]
        answer = client.patch(session, content=body())

    assert told.is_set()
    assert (answer.status_code, answer.headers["Range"]) == (202, "0-22")
    assert dockerd.client("wait", container.name, timeout_seconds=ENGINE_SECONDS).text == "0"


def test_docker_is_given_the_image_and_the_command_is_shown(
    image: Built, dockerd: DockerMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in dockerd.client.environment().items():
        monkeypatch.setenv(name, value)

    engines.load(image.file("*.docker.tar"), "roadstead", image.version)

    said = capsys.readouterr().out
    assert "loaded into docker" in said
    assert f"-e ROADSTEAD_AUTHENTICATION__MODE=none roadstead:{image.version}" in said
    assert dockerd.has(f"roadstead:{image.version}")


@pytest.mark.needs("podman")
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_podman_runs_it(image: Built, podman: Machine, before_running: Callable[[], None], *, kind: str) -> None:
    loaded = podman("load", "--input", image.file(f"*.{kind}.tar"), timeout_seconds=300).text
    name = loaded.rpartition("Loaded image: ")[2].split()[0]
    before_running()
    locked = ("--read-only", "--read-only-tmpfs=false", "--user", "12345:0", *PODMAN_LIMITS)
    container = Container(podman, name, *OPEN, *locked)
    try:
        container.wait()
        podman("exec", container.name, HEALTHCHECK)
        if kind == "docker":  # OCI's configuration has no health check, so podman reads none from it
            podman("healthcheck", "run", container.name)
        assert container.stop() == 0, container.log()
    finally:
        podman("rm", "--force", "--volumes", container.name, timeout_seconds=ENGINE_SECONDS)
