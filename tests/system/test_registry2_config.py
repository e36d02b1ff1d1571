"""One configuration, two servers: Debian's registry:2 and ours read the same file and variables, and answer alike.

Each test writes a file, starts `docker-registry serve FILE` and `roadstead serve --config FILE` on it (with a port and
a folder of its own in each), and compares what a client sees.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bcrypt
import httpx
import pytest
import yaml

from roadstead.config import SettingsInvalidError, load, require_files
from tests.system.process import Daemon, until
from tests.system.servers import free_port
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

pytestmark = pytest.mark.needs("docker-registry")

PROGRAM: Final = Path(sys.executable).parent / "roadstead"
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
IMAGE: Final = "application/vnd.docker.container.image.v1+json"
EMPTY: Final = b"{}"


class Server(Daemon):
    """A server on a configuration of registry:2's, in which `PORT`, `FOLDER` stand for its own."""

    def __init__(self, folder: Path, text: str, *, is_ours: bool, environment: Mapping[str, str], ready: str) -> None:
        folder.mkdir()
        self.is_ours = is_ours
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.file = folder / "config.yml"
        self.file.write_text(text.replace("PORT", str(self.port)).replace("FOLDER", str(folder / "store")))
        (folder / "users").write_bytes(b"alice:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
        serve = [PROGRAM, "serve", "--config"] if is_ours else [path_of("docker-registry"), "serve"]
        pairs = [f"{name}={value.replace('PORT', str(self.port))}" for name, value in environment.items()]
        self._ready = ready
        super().__init__(["env", "-C", str(folder), *pairs, *map(str, serve), "config.yml"], folder=folder,
                         is_ready=self._answers)  # fmt: skip

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}{self._ready}", timeout=1, trust_env=False).status_code > 0
        except httpx.TransportError:
            return False

    def request(self, method: str, path: str, **extra: Any) -> httpx.Response:
        """One request's answer."""
        return httpx.request(method, f"{self.url}{path}", trust_env=False, timeout=10, **extra)

    def push(self, repository: str, **extra: Any) -> str:
        """Pushes the smallest image there is, and returns its digest."""
        digest = f"sha256:{hashlib.sha256(EMPTY).hexdigest()}"
        started = self.request("POST", f"/v2/{repository}/blobs/uploads/", **extra)
        assert started.status_code == 202, started.text
        location = httpx.URL(self.url).join(started.headers["location"])
        location = location.copy_with(host="127.0.0.1", port=self.port, scheme="http")
        done = httpx.put(location.copy_merge_params({"digest": digest}), content=EMPTY, trust_env=False, **extra)
        assert done.status_code == 201, done.text
        described = {
            "digest": digest,
            "size": len(EMPTY),
            "mediaType": "application/vnd.docker.container.image.v1+json",
        }
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}
        pushed = self.request(
            "PUT",
            f"/v2/{repository}/manifests/v1",
            content=json.dumps(manifest).encode(),
            headers={"Content-Type": MANIFEST},
            **extra,
        )
        assert pushed.status_code == 201, pushed.text
        return pushed.headers["docker-content-digest"]


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Callable[..., tuple[Server, Server]]]:
    """Starts both servers on a configuration: the peer first."""
    started: list[Server] = []

    def start(text: str, environment: Mapping[str, str] | None = None, ready: str = "/v2/") -> tuple[Server, Server]:
        for name, is_ours in (("peer", False), ("ours", True)):
            server = Server(tmp_path / name, text, is_ours=is_ours, environment=environment or {}, ready=ready)
            started.append(server)
            server.start()
        return started[0], started[1]

    yield start
    for server in started:
        server.stop()


def config(storage: str = "", **sections: Any) -> str:
    """A file with a port and a folder."""
    http = {"addr": "127.0.0.1:PORT", **sections.pop("http", {})}
    document = {"version": 0.1, "http": http, **sections}
    return yaml.safe_dump(document) + f"storage: {{filesystem: {{rootdirectory: FOLDER}}{storage}}}\n"


def both_answers(servers: tuple[Server, Server], method: str, path: str, **extra: Any) -> tuple[httpx.Response, ...]:
    return tuple(server.request(method, path, **extra) for server in servers)


def test_nobody_may_delete_unless_the_file_says_so(both: Callable[..., tuple[Server, Server]]) -> None:
    for server in both(config()):
        digest = server.push("app")
        answer = server.request("DELETE", f"/v2/app/manifests/{digest}")
        assert answer.status_code == 405
        assert answer.json()["errors"][0]["code"] == "UNSUPPORTED"
        assert server.request("GET", f"/v2/app/manifests/{digest}", headers={"Accept": MANIFEST}).status_code == 200


def test_whoever_may_by_the_file_or_a_variable_does(both: Callable[..., tuple[Server, Server]]) -> None:
    for server in both(config(), {"REGISTRY_STORAGE_DELETE_ENABLED": "true", "REGISTRY_LOG_LEVEL": "debug"}):
        digest = server.push("app")
        assert server.request("DELETE", f"/v2/app/manifests/{digest}").status_code == 202


def test_a_variable_moves_the_address(both: Callable[..., tuple[Server, Server]]) -> None:
    text = config().replace("127.0.0.1:PORT", "127.0.0.1:1")
    for server in both(text, {"REGISTRY_HTTP_ADDR": "127.0.0.1:PORT"}):
        assert server.request("GET", "/v2/").status_code == 200


def test_an_address_without_a_host_is_every_one_of_both_kinds(both: Callable[..., tuple[Server, Server]]) -> None:
    servers = both(config(http={"addr": ":PORT"}))
    for server in servers:
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{server.port}/v2/", trust_env=False).status_code == 200
    until(lambda: '"client":"127.0.0.1"' in servers[1].log(), what="the request is in the log")


def test_headers_are_on_every_answer(both: Callable[..., tuple[Server, Server]]) -> None:
    headers = {"X-Content-Type-Options": ["nosniff"], "X-Two": ["one", "two"]}
    for server in both(config(http={"headers": headers})):
        for path in ("/v2/", "/v2/none/manifests/none"):
            answer = server.request("GET", path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers.get_list("x-two", split_commas=True) == ["one", "two"]


@pytest.mark.parametrize("prefix", ["/my/registry/", "/my/registry"])
def test_everything_is_below_the_prefix(both: Callable[..., tuple[Server, Server]], prefix: str) -> None:
    servers = both(config(http={"prefix": prefix}), ready="/my/registry/v2/")
    assert [answer.status_code for answer in both_answers(servers, "GET", "/my/registry/v2/")] == [200, 200]
    assert [answer.status_code for answer in both_answers(servers, "GET", "/v2/")] == [404, 404]
    for answer in both_answers(servers, "POST", "/my/registry/v2/app/blobs/uploads/"):
        assert httpx.URL("http://x").join(answer.headers["location"]).path.startswith("/my/registry/v2/app/")


def test_the_host_is_in_locations(both: Callable[..., tuple[Server, Server]]) -> None:
    servers = both(config(http={"host": "https://registry.example.com:8443"}))
    for answer in both_answers(servers, "POST", "/v2/app/blobs/uploads/"):
        assert answer.headers["location"].startswith("https://registry.example.com:8443/v2/app/blobs/uploads/")


def test_relative_locations(both: Callable[..., tuple[Server, Server]]) -> None:
    for answer in both_answers(both(config(http={"relativeurls": True})), "POST", "/v2/app/blobs/uploads/"):
        assert answer.headers["location"].startswith("/v2/app/blobs/uploads/")


def test_locations_that_are_not_relative(both: Callable[..., tuple[Server, Server]]) -> None:
    """Whole URLs, with the scheme and host that the client asked for."""
    for server in both(config(http={"relativeurls": False})):
        answer = server.request("POST", "/v2/app/blobs/uploads/", headers={"Host": "registry.example.com:8443"})
        assert answer.headers["location"].startswith("http://registry.example.com:8443/v2/app/blobs/uploads/")
        server.push("app")


def test_the_catalogue_comes_in_pages_of_the_files_size(both: Callable[..., tuple[Server, Server]]) -> None:
    for server in both(config(catalog={"maxentries": 2})):
        for name in ("a", "b", "c"):
            server.push(name)
        answer = server.request("GET", "/v2/_catalog")
        assert answer.json() == {"repositories": ["a", "b"]}
        assert 'rel="next"' in answer.headers["link"]


def test_read_only(both: Callable[..., tuple[Server, Server]]) -> None:
    servers = both(config(", maintenance: {readonly: {enabled: true}}"))
    assert [answer.status_code for answer in both_answers(servers, "GET", "/v2/")] == [200, 200]
    assert [answer.status_code for answer in both_answers(servers, "POST", "/v2/app/blobs/uploads/")] == [405, 405]


def test_users_of_the_files_htpasswd(both: Callable[..., tuple[Server, Server]]) -> None:
    servers = both(config(auth={"htpasswd": {"realm": "our home", "path": "users"}}))
    for answer in both_answers(servers, "GET", "/v2/"):
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].lower() == 'basic realm="our home"'
    assert [each.status_code for each in both_answers(servers, "GET", "/v2/", auth=("alice", "wrong"))] == [401, 401]
    for server in servers:
        server.push("app", auth=("alice", "secret"))


def test_users_by_variables_alone(both: Callable[..., tuple[Server, Server]]) -> None:
    variables = {
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
        "REGISTRY_AUTH_HTPASSWD_PATH": "users",
    }
    servers = both(config(), variables)
    assert [answer.status_code for answer in both_answers(servers, "GET", "/v2/")] == [401, 401]
    assert [each.status_code for each in both_answers(servers, "GET", "/v2/", auth=("alice", "secret"))] == [200, 200]


DESCRIBED: Final = {"mediaType": IMAGE, "digest": f"sha256:{hashlib.sha256(EMPTY).hexdigest()}", "size": len(EMPTY)}
OCI: Final = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
ARTIFACT: Final = "application/vnd.oci.artifact.manifest.v1+json"
WHOLE: Final[dict[str, Any]] = {"schemaVersion": 2, "mediaType": OCI, "config": DESCRIBED, "layers": [DESCRIBED]}
INDEX: Final[dict[str, Any]] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [DESCRIBED]}
DOCUMENTS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "no layers": ({key: value for key, value in WHOLE.items() if key != "layers"}, OCI),
    "null layers": (WHOLE | {"layers": None}, OCI),
    "null manifests": (WHOLE | {"manifests": None}, OCI),
    "null annotations": (WHOLE | {"annotations": None}, OCI),
    "null annotation": (WHOLE | {"annotations": {"a": None}}, OCI),
    "null artifactType": (WHOLE | {"artifactType": None}, OCI),
    "null mediaType": (WHOLE | {"mediaType": None}, OCI),
    "null config": (WHOLE | {"config": None}, OCI),
    "Docker, null mediaType": (WHOLE | {"mediaType": None}, MANIFEST),
    "Docker, null layers": (WHOLE | {"mediaType": MANIFEST, "layers": None}, MANIFEST),
    "nothing but a digest": (WHOLE | {"layers": [{"digest": DESCRIBED["digest"]}]}, OCI),
    "nulls in a layer": (WHOLE | {"layers": [DESCRIBED | {"mediaType": None, "size": None, "urls": None}]}, OCI),
    "another size": (WHOLE | {"layers": [DESCRIBED | {"size": 3}]}, OCI),
    "a null layer": (WHOLE | {"layers": [None]}, OCI),
    "a number for an annotation": (WHOLE | {"annotations": {"a": 1}}, OCI),
    "image and index": (WHOLE | {"manifests": [DESCRIBED]}, OCI),
    "an index of a blob": (INDEX, OCI_INDEX),
    "an index of null": (INDEX | {"manifests": None}, OCI_INDEX),
    "an index of nothing": ({"schemaVersion": 2, "mediaType": OCI_INDEX}, OCI_INDEX),
    "an index with nulls": (INDEX | {"config": None, "layers": None, "annotations": {"a": None}}, OCI_INDEX),
    "index and image": (INDEX | {"config": DESCRIBED}, OCI_INDEX),
    "an artifact manifest": ({"mediaType": ARTIFACT, "artifactType": "a/b", "blobs": [DESCRIBED]}, ARTIFACT),
}


def test_documents_that_leave_things_out_or_get_them_wrong(both: Callable[..., tuple[Server, Server]]) -> None:
    """Each is taken, and given back, by ours if and only if registry:2 takes it."""
    answers: list[dict[str, int]] = []
    for server in both(config()):
        server.push("app")
        taken: dict[str, int] = {}
        for name, (document, media_type) in DOCUMENTS.items():
            body = json.dumps(document).encode()
            answer = server.request("PUT", "/v2/app/manifests/odd", content=body, headers={"Content-Type": media_type})
            taken[name] = answer.status_code
            if answer.status_code == 201:
                got = server.request("GET", "/v2/app/manifests/odd", headers={"Accept": f"{media_type}, */*"})
                assert (got.content, got.headers["content-type"]) == (body, media_type), name
        answers.append(taken)
    assert answers[0] == answers[1]
    assert answers[0]["another size"] == 201


def test_layers_that_name_urls(both: Callable[..., tuple[Server, Server]]) -> None:
    layer = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": f"sha256:{'a' * 64}",
        "size": 1,
    }
    urls = {"allow": [r"^https?://([^/]+\.)*example\.com/"], "deny": [r"^https?://www\.example\.com/"]}
    for server in both(config(validation={"manifests": {"urls": urls}})):
        server.push("app")
        described = {"digest": f"sha256:{hashlib.sha256(EMPTY).hexdigest()}", "size": 2,
                     "mediaType": "application/vnd.docker.container.image.v1+json"}  # fmt: skip
        codes = []
        for url in ("https://a.example.com/x", "https://www.example.com/x", "https://a.example.org/x"):
            manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described,
                        "layers": [{**layer, "urls": [url]}]}  # fmt: skip
            answer = server.request("PUT", "/v2/app/manifests/foreign", content=json.dumps(manifest).encode(),
                                    headers={"Content-Type": MANIFEST})  # fmt: skip
            codes.append(answer.status_code)
        assert codes == ([201, 400, 400] if server.is_ours else [201, 500, 500])  # what registry:2 calls a bad URL


@pytest.mark.parametrize(
    "text",
    [
        "version: 0.2\nstorage: {filesystem: {rootdirectory: FOLDER}}\n",
        "version: 0.1\nstorage: {filesystem: {}, inmemory: {}}\n",
        "version: 0.1\nhttp: {addr: '127.0.0.1:PORT'}\n",
        config(log={"level": "loud"}),
        config(log={"formatter": "xml"}),
        config(http={"draintimeout": "soon"}),
        config(http={"headers": {"X-A": "b"}}),
        config(http={"tls": {"certificate": "none.pem", "key": "none.key"}}),
        config(http={"tls": {"certificate": "users", "key": "users", "minimumtls": "tls9"}}),
        config(auth={"htpasswd": {"path": "users"}, "silly": {"realm": "a", "service": "b"}}),
        config(auth={"htpasswd": {"realm": "x"}}),
        config(auth={"unheard": {"realm": "x"}}),
        config(", maintenance: {uploadpurging: {enabled: true, age: 168, interval: 24h, dryrun: false}}"),
        config(", maintenance: {readonly: {enabled: maybe}}"),
        config(", s5: {}"),
        "version: 0.1\nhttp: {\n",
    ],
)
def test_neither_starts_with_a_file_that_is_wrong(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path / "peer", text, is_ours=False, environment={}, ready="/v2/")
    monkeypatch.chdir(server.folder)
    peer = subprocess.run(
        [path_of("docker-registry"), "serve", "config.yml"], capture_output=True, timeout=20, check=False
    )
    assert peer.returncode != 0

    def start_ours() -> None:
        loaded = load(Path("config.yml"), {})
        require_files(loaded.settings, loaded.sources)

    with pytest.raises(SettingsInvalidError, match=r"config\.yml"):
        start_ours()


def test_keys_that_we_do_not_honour_are_named_at_the_start(both: Callable[..., tuple[Server, Server]]) -> None:
    text = config(http={"secret": "x", "nonsense": 1}, log={"fields": {"a": "b"}}, redis={"addr": "127.0.0.1:1"})
    _, ours = both(text, {"REGISTRY_HTTP_SECRET": "y"})
    named = {
        line["key"]: line["where"]
        for line in map(json.loads, filter(lambda line: line.startswith("{"), ours.log().splitlines()))
        if line["event"] == "not as with registry:2"
    }
    assert set(named) == {"http.secret", "http.nonsense", "log.fields", "redis"}
    assert named["http.secret"] == "REGISTRY_HTTP_SECRET"
    assert named["redis"].startswith("config.yml:")
