"""The page "From registry:2", done: a registry:2 with nginx and passwords becomes this, and is given back.

The script of the page is run as it stands, against the real registry:2 behind the real nginx, while clients pull and
push all the time. No pull may fail, every push that was acknowledged must be there on the other side, and all else must
be what it was, byte for byte.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from roadstead.testing.images import BlobContent, image, index
from tests.architecture.pages import DOCS, LANGUAGES, ROOT, Page
from tests.factories import images as factory
from tests.system.adoption.volumes import Content, read_content
from tests.system.background_load import BackgroundLoad, RefusedError, Remote
from tests.system.process import clean, run, until
from tests.system.proxies.machinery import Nginx
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.machines import DockerMachine, Machine

SCRIPT: Final = ROOT / "deploy" / "registry2" / "switch.sh"
PROGRAMS: Final = Path(sys.executable).parent
USER: Final = ("alice", "secret words")
SLOW_BYTES: Final = 40_000_000
"""More than all the buffers between a server and a client hold."""

DEBIAN: Final = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
auth:
  htpasswd:
    realm: basic-realm
    path: /etc/docker/registry
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
"""As Debian ships it, where the path of the passwords has to be completed before anybody can log in."""

IMAGE: Final = """\
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""
"""As it is in the image registry:2, which the article runs."""

ARTICLE: Final = """
server {{ listen PORT; location / {{ auth_basic "Registry Access"; auth_basic_user_file {users};
          proxy_buffering off; include {switch}; }} }}
"""
"""The article's, with the line `proxy_pass` replaced as the page says.

With buffering nginx 1.22 ends an old worker in the middle of an answer, about once in three reloads under load.
"""

PASSING: Final = """
server {{ listen PORT; client_max_body_size 0; location / {{ proxy_request_buffering off; proxy_buffering off;
          proxy_http_version 1.1; proxy_set_header Host $http_host; include {switch}; }} }}
"""
"""Where the registry asks for the password."""


class Service:
    """A server that shell commands start and stop, as systemd would."""

    def __init__(self, folder: Path, port: int, *command: str | Path) -> None:
        folder.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{port}"
        self._pid = folder / "pid"
        self._log = folder / "log"
        words = shlex.join(["setsid", *map(str, command)])
        start = folder / "start"
        start.write_text(f"{words} >> {self._log} 2>&1 < /dev/null &\necho $! > {self._pid}\n")
        stop = folder / "stop"
        stop.write_text(
            f"kill -TERM $(cat {self._pid})\nwhile grep -qs . /proc/$(cat {self._pid})/cmdline; do sleep 0.1; done\n"
        )
        self.start_command, self.stop_command = f"sh {start}", f"sh {stop}"

    def start(self) -> None:
        """Starts, and returns once it answers."""
        run(["sh", "-c", self.start_command])
        until(self.answers, what=f"{self.url} answers: {self.log()}")

    def stop(self) -> None:
        """SIGTERM, and returns once it has ended."""
        run(["sh", "-c", self.stop_command])

    def answers(self) -> bool:
        """Whether it does."""
        try:
            return httpx.get(f"{self.url}/v2/", timeout=5, trust_env=False).status_code in {200, 401}
        except httpx.TransportError:
            return False

    def log(self) -> str:
        """All that it printed."""
        return self._log.read_text() if self._log.exists() else ""


class Installation:
    """A folder, a configuration of registry:2's, users, and both servers over it; nobody runs yet."""

    def __init__(self, folder: Path, config: str, registry: str = "docker-registry") -> None:
        self.folder = folder
        self.root = folder / "volume"
        self.root.mkdir(parents=True)
        self.users = folder / "htpasswd"
        is_passing = "htpasswd" in config
        kind = (
            "-B -C 4" if is_passing else "-m"
        )  # registry:2 reads bcrypt alone; apr1 is what htpasswd makes unless told
        run([path_of("htpasswd"), "-c", *kind.split(), "-b", self.users, *USER])
        folder.chmod(0o755)
        port, other = free_port(), free_port()
        text = config.replace("/var/lib/docker-registry", str(self.root)).replace("/var/lib/registry", str(self.root))
        text = text.replace("/etc/docker/registry", str(self.users)).replace(":5000", f"127.0.0.1:{port}")
        self.config = folder / "config.yml"
        self.config.write_text(text)
        quiet = "OTEL_TRACES_EXPORTER=none"  # registry:3 would look for somebody to send traces to
        self.old = Service(folder / "old", port, "env", quiet, path_of(registry), "serve", self.config)
        serve: list[str | Path] = [PROGRAMS / "roadstead", "serve", "--config", self.config]
        listen = ["--listen", f"127.0.0.1:{other}", "--ops-listen", f"127.0.0.1:{free_port()}"]
        self.new = Service(folder / "new", other, *serve, *listen)
        self.switch = folder / "registry-switch.conf"
        self.switch.write_text(f"proxy_pass {self.old.url};\n")
        http = (PASSING if is_passing else ARTICLE).format(users=self.users, switch=self.switch)
        self.nginx = Nginx(folder / "nginx", http)
        self.url = f"http://{self.nginx.host}"

    def run_script(self, who: str, *, exit_code: int = 0, **variables: str) -> str:
        """Runs the page's script; returns all that it said."""
        nginx = f"{path_of('nginx')} -c {self.nginx.file} -p {self.nginx.folder} -e stderr"
        environment = {
            "PATH": os.pathsep.join([str(PROGRAMS), "/usr/sbin", "/usr/bin", "/sbin", "/bin"]),
            "FOLDER": str(self.root),
            "SWITCH": str(self.switch),
            "OLD": self.old.url,
            "START_OLD": self.old.start_command,
            "STOP_OLD": self.old.stop_command,
            "NEW": self.new.url,
            "START_NEW": self.new.start_command,
            "STOP_NEW": self.new.stop_command,
            "NGINX_PROGRAM": nginx,
            "NGINX_PID": str(self.nginx.folder / "nginx.pid"),
            "PATIENCE": "40",
        } | variables
        return run(["sh", SCRIPT, who], env=environment, exit_code=exit_code).both

    def logs(self) -> str:
        """What all three have printed, each under its name."""
        said = {"nginx": self.nginx.log(), "registry:2": self.old.log(), "roadstead": self.new.log()}
        return "\n".join(f"{name}:\n{lines}" for name, lines in said.items())

    def content(self) -> Content:
        """All that clients can pull, through nginx."""
        return read_content(self.url.replace("://", f"://{USER[0]}:{USER[1].replace(' ', '%20')}@"))


@pytest.fixture
def install(scratch: Path) -> Iterator[Callable[..., Installation]]:
    """Makes installations; what they started has ended after the test."""
    made: list[Installation] = []

    def make(*arguments: str) -> Installation:
        made.append(Installation(scratch / f"from-{secrets.token_hex(3)}", *arguments))
        return made[-1]

    yield make
    for each in made:
        print(each.logs())  # shown where the test failed
        each.nginx.stop()
        clean(each.folder)
        shutil.rmtree(each.folder)


def fill(url: str) -> tuple[dict[str, str], str]:
    """Pushes images; returns their digests by `repository:tag`, and a blob that takes a while."""
    large = secrets.token_bytes(700_000)
    contents = {
        "app:v1": image(b"one", b"common"),
        "app:latest": image(b"two", b"common", docker=True),
        "team/multi/arch:1.0": index(image(b"amd64"), image(b"arm64")),
        "big:1": image(large),
    }
    with Remote(url, USER) as client:
        for name, content in contents.items():
            repository, _, tag = name.rpartition(":")
            client.push(repository, content, tag)
    return {name: content.digest for name, content in contents.items()}, f"big@{contents['big:1'].blobs[1].digest}"


class SlowPull:
    """A pull through nginx that has begun, and that its client does not go on with until told."""

    def __init__(self, place: Installation, digest: str) -> None:
        """Returns when the first bytes have come."""
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        host, port = place.nginx.host.split(":")
        self._socket.connect((host, int(port)))
        token = base64.b64encode(":".join(USER).encode()).decode()
        head = f"GET /v2/slow/blobs/{digest} HTTP/1.0\r\nHost: {host}\r\nAuthorization: Basic {token}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._received = self._socket.recv(1000)
        assert b" 200 OK" in self._received, self._received

    def end(self) -> bytes:
        """The whole content."""
        with self._socket:
            while piece := self._socket.recv(1 << 20):
                self._received += piece
        return self._received.partition(b"\r\n\r\n")[2]


def require_same(before: Content, after: Content, acknowledged: dict[str, str]) -> None:
    """What was there is there, what was acknowledged is there, and nothing else is."""
    moved = {name for name in acknowledged if name.endswith(":latest")}
    assert {name: entry for name, entry in before.tags.items() if name not in moved}.items() <= after.tags.items()
    assert before.manifests.items() <= after.manifests.items()
    assert before.blobs.items() <= after.blobs.items()
    assert {name: digest for name, (digest, _) in after.tags.items() if name.startswith("load/")} == acknowledged
    assert set(after.tags) == set(before.tags) | set(acknowledged)


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl", "skopeo")
@pytest.mark.parametrize(
    ("config", "way"),
    [(IMAGE, ("roadstead", "registry2", "roadstead")), (DEBIAN, ("roadstead", "registry2"))],
    ids=["password-at-nginx", "password-at-the-registry"],
)
def test_there_and_back_under_load_without_one_failed_pull(
    install: Callable[..., Installation], client: Callable[..., Machine], config: str, way: tuple[str, ...]
) -> None:
    place = install(config)
    skopeo = client("skopeo")
    copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--src-creds", ":".join(USER)]

    def pull_with_skopeo() -> None:
        skopeo(*copy, f"docker://{place.nginx.host}/app:latest", f"dir:{skopeo.home / 'pulled'}")

    place.old.start()
    with place.nginx:
        images, large = fill(place.url)
        content = place.content()
        load = BackgroundLoad(place.url, USER, images, large, pull_with_skopeo)
        with load:
            for who in way:
                load.goes_on()
                pulled = load.pulled
                said = place.run_script(who)
                assert load.pulled > pulled + 4, "pulls went on meanwhile"
                load.goes_on()
                load.hold_pushes()
                after = place.content()
                require_same(content, after, load.acknowledged)
                content = after
                load.go_on_pushing()
                assert (place.old.answers(), place.new.answers()) == (who == "registry2", who == "roadstead"), said
        load.check()
    assert load.refused, "pushes were held back, and came again"
    assert "Traceback" not in place.new.log()
    if way[-1] == "registry2":
        run([PROGRAMS / "roadstead", "adopt", place.root])  # nothing is damaged
    else:
        place.new.stop()
    checked = run([PROGRAMS / "roadstead", "check", "--deep", "--data", place.root, "--json"]).stdout
    assert '"damage": 0' in checked


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl", "docker")
def test_docker_does_not_notice(install: Callable[..., Installation], dockerd: DockerMachine, tmp_path: Path) -> None:
    place = install(IMAGE)
    host = place.nginx.host
    name = f"{host}/myapp:v1"
    content = factory.image([factory.layer({"data": secrets.token_bytes(100_000)})])
    dockerd.client("load", "--input", factory.write_docker_archive(tmp_path / "image.tar", name, content))
    place.old.start()
    with place.nginx:
        dockerd.client("login", "-u", USER[0], "--password-stdin", host, stdin=USER[1])
        dockerd.client("push", name)
        for who in ("roadstead", "registry2"):
            place.run_script(who)
            dockerd.client("rmi", name)
            dockerd.client("pull", name)
            assert dockerd.inspect(name)["Id"] == content.image_id
            dockerd.client("push", name)
        dockerd.client("rmi", name)
        dockerd.client("logout", host)


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl")
def test_a_pull_that_outlasts_the_switch_is_waited_for(install: Callable[..., Installation]) -> None:
    """What has begun with a server ends with it, however long it takes; whoever loses patience runs the script again.

    The pull begins when the other server has just started, so that nothing but the last step can wait for it.
    """
    place = install(DEBIAN)
    blob = BlobContent(secrets.token_bytes(SLOW_BYTES))
    place.old.start()
    with place.nginx, Remote(place.url, USER) as remote:
        remote.push("slow", image(blob.content), "1")
        for who, before, after, start in (
            ("roadstead", place.old, place.new, "START_NEW"),
            ("registry2", place.new, place.old, "START_OLD"),
        ):
            has_begun = place.folder / f"begun-{who}"
            waiting = f"{after.start_command}; until test -e {has_begun}; do sleep 0.1; done"
            with ThreadPoolExecutor(1) as pool:
                first = pool.submit(place.run_script, who, exit_code=1, **{start: waiting, "PATIENCE": "3"})
                until(after.answers, what=f"{after.url} answers: {after.log()}")
                pull = SlowPull(place, blob.digest)
                has_begun.touch()
                assert "switched, but requests from before are still running: run this again" in first.result()
                second = pool.submit(place.run_script, who)
                with pytest.raises(TimeoutError):
                    second.result(timeout=3)
                assert before.answers()
                assert pull.end() == blob.content
                assert "already" in second.result()
            assert not before.answers()
            remote.push("slow", image(who.encode()), who)
            assert "already" in place.run_script(who)  # once more does no harm
        place.run_script("roadstead")
        remote.push("slow", image(b"again"), "again")  # nothing is left over from the way back
    assert "Traceback" not in place.new.log()


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl")
def test_the_script_stops_before_harm(install: Callable[..., Installation]) -> None:
    """Whatever fails on the way, clients go on with the server that they had; then it can be run again."""
    place = install(IMAGE)
    place.old.start()
    with place.nginx, Remote(place.url, USER) as remote:
        fill(place.url)
        before = place.content()

        def can_push() -> bool:
            try:
                remote.push("app", image(secrets.token_bytes(10)), "scratch")
            except RefusedError:
                return False
            return True

        def goes_on_as_before(who: str, said: str, **variables: str) -> None:
            assert said in place.run_script(who, exit_code=1, **variables)
            until(can_push, what="nginx lets pushes through again")
            assert before.tags.items() <= place.content().tags.items()

        goes_on_as_before("roadstead", "not the folder of a registry:2", FOLDER=str(place.folder))
        goes_on_as_before("roadstead", "nginx's own files are not in order", NGINX_PROGRAM="false")
        goes_on_as_before("roadstead", "nobody answers", OLD=f"http://127.0.0.1:{free_port()}")
        goes_on_as_before("roadstead", "nginx does not include", SWITCH=str(place.folder / "other.conf"))
        goes_on_as_before("nobody", "say who is to serve")
        goes_on_as_before("roadstead", "roadstead does not answer", START_NEW="true", STOP_NEW="true", PATIENCE="1")
        elsewhere = f"http://127.0.0.1:{free_port()}"
        goes_on_as_before("roadstead", "nothing was switched", NEW=elsewhere, PATIENCE="1")
        said = place.run_script("roadstead", exit_code=1, STOP_OLD="false")
        assert "switched, but this failed: false" in said
        place.run_script("roadstead")
        assert not place.old.answers()
        goes_on_as_before("registry2", "registry:2 does not answer", START_OLD="true", STOP_OLD="true", PATIENCE="1")
        place.run_script("registry2")
        assert before.tags.items() <= place.content().tags.items()
        assert before.blobs.items() <= place.content().blobs.items()


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl")
@pytest.mark.parametrize("who", ["roadstead", "registry2"])
def test_two_switches_at_once_are_one(install: Callable[..., Installation], who: str) -> None:
    """The second is told so, and neither changes nginx nor stops a server; what was started keeps no lock."""
    place = install(IMAGE)
    place.old.start()
    with place.nginx:
        fill(place.url)
        before = place.content()
        if who == "registry2":
            place.run_script("roadstead")
        started = place.new if who == "roadstead" else place.old
        may_go_on = place.folder / "go-on"
        waiting = f"{started.start_command}; until test -e {may_go_on}; do sleep 0.1; done"
        with ThreadPoolExecutor(1) as pool:
            if who == "roadstead":
                first = pool.submit(place.run_script, who, START_NEW=waiting)
            else:
                first = pool.submit(place.run_script, who, START_OLD=waiting)
            until(started.answers, what="the first has come so far")
            for other in ("roadstead", "registry2"):
                assert "is running already" in place.run_script(other, exit_code=1)
            assert place.content().tags.items() >= before.tags.items(), "pulls go on"
            may_go_on.touch()
            assert "done" in first.result()
        assert (place.new.answers(), place.old.answers()) == (who == "roadstead", who == "registry2")
        assert place.content().tags.items() >= before.tags.items()
        place.run_script("registry2" if who == "roadstead" else "roadstead")
        assert place.content().tags.items() >= before.tags.items()


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl")
def test_undo_asks_who_answers(install: Callable[..., Installation]) -> None:
    """A server that stopped during the switch gets no requests: the other goes on, or it is started again."""
    place = install(IMAGE)
    place.old.start()
    with place.nginx:
        fill(place.url)
        before = place.content()

        def serves_all() -> bool:
            try:
                return place.content().tags == before.tags
            except httpx.HTTPError:
                return False  # nginx is still taking up the change

        answering = f"until curl -fs {place.new.url}/v2/; do sleep 0.1; done"
        dies = f"{place.new.start_command}; {answering}; {place.old.stop_command}; false"
        said = place.run_script("roadstead", exit_code=1, START_NEW=dies)
        assert "it serves from now on" in said
        until(serves_all, what="nginx asks roadstead")
        assert "already" in place.run_script("roadstead")
        said = place.run_script("registry2", exit_code=1, START_OLD=f"{place.new.stop_command}; false")
        assert "nobody answers" in said
        assert place.new.answers()
        until(serves_all, what="nginx asks roadstead again")
        place.run_script("registry2")
        until(serves_all, what="nginx asks registry:2")


@pytest.mark.needs("docker-registry", "nginx", "htpasswd", "curl")
def test_damaged_images_stop_it_until_somebody_says_to_leave_them(install: Callable[..., Installation]) -> None:
    place = install(IMAGE)
    place.old.start()
    with place.nginx:
        fill(place.url)
        tag = place.root / "docker/registry/v2/repositories/app/_manifests/tags/v1/current/link"
        tag.write_bytes(b"")  # as a power cut leaves it
        said = place.run_script("roadstead", exit_code=1)
        assert "link-empty" in said
        assert "ACCEPT_DAMAGE=yes" in said
        place.run_script("roadstead", ACCEPT_DAMAGE="yes")
        assert set(place.content().tags) == {"app:latest", "team/multi/arch:1.0", "big:1"}


@pytest.mark.needs("docker-registry", "htpasswd", "skopeo")
@pytest.mark.parametrize(
    ("config", "registry"),
    [
        pytest.param(DEBIAN, "docker-registry", id="debian"),
        pytest.param(IMAGE, "docker-registry", id="image"),
        pytest.param(DEBIAN, "registry3", id="registry3", marks=pytest.mark.needs("registry3")),
    ],
)
def test_the_short_way(
    install: Callable[..., Installation], client: Callable[..., Machine], config: str, registry: str
) -> None:
    """Stop, start on the same folder, port and file; and back: a client sees the pause and nothing else."""
    place = install(config, registry)
    skopeo = client("skopeo")
    has_password = "htpasswd" in config
    credentials = ["--src-creds", ":".join(USER)] if has_password else []
    source = f"docker://{place.old.url.removeprefix('http://')}/app:latest"
    copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", *credentials, source]

    def pull() -> bytes:
        target = skopeo.home / secrets.token_hex(4)
        skopeo(*copy, f"dir:{target}")
        return (target / "manifest.json").read_bytes()

    place.old.start()
    fill(place.old.url)
    before = pull()
    deletion = try_to_delete(place.old.url)
    place.old.stop()

    file = place.folder / "ours"
    again = Service(
        file,
        int(place.old.url.rpartition(":")[2]),
        PROGRAMS / "roadstead",
        "serve",
        "--config",
        place.config,
        "--adopt",
    )
    assert run([PROGRAMS / "roadstead", "config", "check", place.config]).stdout
    again.start()
    assert pull() == before
    assert try_to_delete(again.url) == deletion == (202 if "delete" in config else 405)
    with Remote(again.url, USER if has_password else ("anybody", "")) as remote:
        remote.push("app", image(b"pushed here"), "v3")
        assert httpx.get(f"{again.url}/v2/", trust_env=False).status_code == (401 if has_password else 200)
        assert httpx.get(f"{again.url}/v2/", trust_env=False).headers["x-content-type-options"] == "nosniff"
    again.stop()

    run([PROGRAMS / "roadstead", "release", place.root])
    run([PROGRAMS / "roadstead", "release", place.root])  # a second time does no harm
    place.old.start()
    assert pull() == before
    with Remote(place.old.url, USER) as remote:
        assert remote.pull("app", "v3") == image(b"pushed here").digest
    place.old.stop()


@pytest.mark.needs("docker-registry", "htpasswd")
def test_what_commands_say_on_the_way(install: Callable[..., Installation]) -> None:
    place = install(DEBIAN)
    shipped = place.folder / "shipped.yml"
    shipped.write_text(place.config.read_text().replace(str(place.users), str(place.folder)))
    said = run([PROGRAMS / "roadstead", "config", "check", shipped], exit_code=1).stdout
    assert f"{place.folder} is a folder; give the file in it" in said
    place.old.start()
    fill(place.old.url)
    place.old.stop()
    adopt: list[str | Path] = [PROGRAMS / "roadstead", "adopt", place.root, "--json"]
    (summary,) = [json.loads(line)["summary"] for line in run([*adopt, "--config", place.config]).stdout.splitlines()]
    assert summary["serve"] == f"roadstead serve --config {place.config} --adopt"
    (summary,) = [json.loads(line)["summary"] for line in run(adopt).stdout.splitlines()]
    assert summary["serve"] == f"roadstead serve --data {place.root} --adopt"
    run([PROGRAMS / "roadstead", "release", place.root], exit_code=1)  # it never had it


def try_to_delete(url: str) -> int:
    """The answer to the deletion of an image that is pushed for it."""
    content = image(secrets.token_bytes(8))
    with Remote(url, USER) as remote:
        remote.push("gone", content, "1")
        return remote.delete(f"/v2/gone/manifests/{content.digest}").status_code


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_the_script(language: str) -> None:
    page = Page.read(DOCS / language / "how-to" / "from-registry2.md")
    shown = [block.text.strip() for block in page.blocks() if block.language == "sh"]
    assert SCRIPT.read_text().strip() in shown, f"copy {SCRIPT.relative_to(ROOT)} into {page.name}"
