"""Clients log in, and do what their user may: docker, podman, skopeo, crane and curl, as people use them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.factories.images import write_docker_archive, write_oci_layout
from tests.system.guarded import PASSWORD, RULES, USERS, GuardedServer, authorization, write_users
from tests.system.machines import containers_machine
from tests.system.process import run
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.factories.greetings import Greeting
    from tests.system.machines import DockerMachine, Machine


@pytest.fixture(scope="module")
def guarded(scratch: Path) -> Iterator[GuardedServer]:
    """A registry where `admin` may everything, the others what their names say in `team/*`, all pull `public/*`."""
    server = GuardedServer(scratch / "guarded-clients", settings=RULES)
    write_users(server.users, *USERS)
    with server:
        yield server
        server.shut_down()


@pytest.fixture
def team() -> str:
    """A repository of this test, where rules say who may do what."""
    return f"team/{secrets.token_hex(4)}"


def digest(guarded: GuardedServer, repository: str, tag: str = "v1") -> str:
    answer = guarded.get(f"/v2/{repository}/manifests/{tag}", authorization("admin"), "HEAD")
    return str(answer.headers.get("docker-content-digest", ""))


@pytest.mark.needs("docker", "busybox-static")
def test_docker(guarded: GuardedServer, team: str, dockerd: DockerMachine, greeting: Greeting, tmp_path: Path) -> None:
    name, docker = f"{guarded.host}/{team}:v1", dockerd.client

    def login(user: str, password: str = PASSWORD, exit_code: int = 0) -> str:
        return docker(
            "login", "--username", user, "--password-stdin", guarded.host, stdin=password, exit_code=exit_code
        ).both

    docker("load", "--input", write_docker_archive(tmp_path / "image.tar", name, greeting.image))
    try:
        assert "no basic auth credentials" in docker("push", name, exit_code=1).both
        assert "401 Unauthorized" in login("developer", "wrong", exit_code=1)
        assert "Login Succeeded" in login("puller")
        assert "denied" in docker("push", name, exit_code=1).both
        assert "Login Succeeded" in login("pusher")
        docker("push", name)
        assert digest(guarded, team)
        docker("rmi", name)
        assert "denied" in docker("pull", name, exit_code=1).both
        login("puller")
        docker("pull", name)
        assert dockerd.inspect(name)["Id"] == greeting.image.image_id
        assert "denied" in docker("pull", f"{guarded.host}/other/app:v1", exit_code=1).both
    finally:
        docker("logout", guarded.host)


@pytest.mark.needs("podman", "busybox-static")
def test_podman(guarded: GuardedServer, team: str, scratch: Path, greeting: Greeting, tmp_path: Path) -> None:
    name = f"{guarded.host}/{team}:v1"
    podman = containers_machine("podman", scratch / f"m{secrets.token_hex(3)}", guarded)
    podman("load", "--input", write_docker_archive(tmp_path / "image.tar", name, greeting.image))
    assert "authentication required" in podman("push", name, exit_code=None).both
    assert (
        "invalid username/password"
        in podman("login", "--username", "pusher", "--password-stdin", guarded.host, stdin="wrong", exit_code=None).both
    )
    podman("login", "--username", "pusher", "--password-stdin", guarded.host, stdin=PASSWORD)
    podman("push", name)
    assert digest(guarded, team)
    assert "denied" in podman("pull", name, exit_code=None).both
    podman("login", "--username", "puller", "--password-stdin", guarded.host, stdin=PASSWORD)
    podman("pull", "--quiet", name)
    podman("rmi", "--all", "--force")


@pytest.mark.needs("skopeo", "busybox-static")
def test_skopeo(guarded: GuardedServer, team: str, scratch: Path, greeting: Greeting, tmp_path: Path) -> None:
    public = f"public/{secrets.token_hex(4)}"
    skopeo = containers_machine("skopeo", scratch / f"m{secrets.token_hex(3)}", guarded)
    layout = f"oci:{write_oci_layout(tmp_path / 'layout', v1=greeting.image)}:v1"
    there, open_to_all = f"docker://{guarded.host}/{team}:v1", f"docker://{guarded.host}/{public}:v1"

    def creds(user: str) -> tuple[str, str]:
        return "--creds", f"{user}:{PASSWORD}"

    assert "denied" in skopeo("copy", f"--dest-creds=puller:{PASSWORD}", layout, there, exit_code=None).both
    skopeo("copy", f"--dest-creds=pusher:{PASSWORD}", layout, there)
    assert digest(guarded, team) == greeting.image.digest
    assert "denied" in skopeo("inspect", *creds("pusher"), there, exit_code=None).both
    assert skopeo.json("inspect", *creds("puller"), there)["Digest"] == greeting.image.digest
    assert "authentication required" in skopeo("inspect", there, exit_code=None).both

    skopeo("copy", f"--dest-creds=admin:{PASSWORD}", layout, open_to_all)
    assert skopeo.json("inspect", open_to_all)["Digest"] == greeting.image.digest, "nobody has to log in"
    skopeo("delete", *creds("developer"), there, exit_code=None)
    assert digest(guarded, team)
    skopeo("delete", *creds("admin"), there)
    assert not digest(guarded, team)


@pytest.mark.needs("crane", "busybox-static")
def test_crane(
    guarded: GuardedServer, team: str, client: Callable[..., Machine], greeting: Greeting, tmp_path: Path
) -> None:
    layout = write_oci_layout(tmp_path / "layout", v1=greeting.image)
    name, public = f"{guarded.host}/{team}:v1", f"{guarded.host}/public/{secrets.token_hex(4)}:v1"
    machines = {user: client("crane") for user in ("admin", "pusher", "puller")}
    for user, crane in machines.items():
        crane("auth", "login", "--username", user, "--password-stdin", guarded.host, stdin=PASSWORD)
    nobody = client("crane")

    machines["pusher"]("push", layout, name)
    assert machines["puller"]("digest", name).text == greeting.image.digest
    assert "UNAUTHORIZED" in nobody("manifest", name, exit_code=1).both
    assert "DENIED" in machines["pusher"]("manifest", name, exit_code=1).both
    machines["admin"]("copy", name, public)
    assert nobody("digest", public).text == greeting.image.digest
    assert machines["pusher"]("catalog", guarded.host).text.split() == nobody("catalog", guarded.host).text.split()
    assert team in machines["puller"]("catalog", guarded.host).text.split()


@pytest.mark.needs("curl")
def test_curl(guarded: GuardedServer) -> None:
    curl = [path_of("curl"), "--silent", "--include", "--user"]
    assert run([*curl, f"puller:{PASSWORD}", f"{guarded.url}/v2/"]).stdout.startswith("HTTP/1.1 200")
    assert run([*curl, "puller:wrong", f"{guarded.url}/v2/"]).stdout.startswith("HTTP/1.1 401")
    anyauth = run(
        [path_of("curl"), "--silent", "--anyauth", "--user", f"puller:{PASSWORD}", f"{guarded.url}/v2/_catalog"]
    )
    assert anyauth.stdout.startswith('{"repositories"')
