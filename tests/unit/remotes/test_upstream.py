"""Another registry is read, whatever it answers; its credentials go nowhere else."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from roadstead.certificates.authority import issue_server, make_authority, make_key
from roadstead.certificates.model import Host
from roadstead.clock import SystemClock
from roadstead.oci import Digest
from roadstead.remotes import Upstream, UpstreamError, UpstreamUrlInvalidError
from roadstead.remotes.address_classes import Reach, reach_of

pytestmark = pytest.mark.anyio

CONTENT = b"content"
DIGEST = Digest.of(CONTENT)
BASIC = f"Basic {base64.b64encode(b'me:pass:word').decode()}"


@dataclass
class Stub:
    """An HTTP server that answers as a test says, and remembers what it was asked."""

    answer: Callable[[str, dict[str, str]], tuple[int, dict[str, str], bytes]]
    port: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def authorizations(self) -> list[str | None]:
        """What it was given, request by request."""
        return [headers.get("authorization") for _, headers in self.asked]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *rest = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
        self.asked.append((line.split(" ")[1], headers))
        status, answered, body = self.answer(line.split(" ")[1], headers)
        answered = {"content-length": str(len(body)), "connection": "close", **answered}
        lines = "".join(f"{name}: {value}\r\n" for name, value in answered.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()


@contextlib.asynccontextmanager
async def serving(stub: Stub, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stub]:
    server = await asyncio.start_server(stub.handle, "127.0.0.1", 0, ssl=tls)
    stub.port = server.sockets[0].getsockname()[1]
    async with server:
        yield stub


async def fetch(url: str) -> bytes:
    upstream = Upstream(url)
    try:
        async with upstream.open_blob("team/app", DIGEST) as body:
            return b"".join([piece async for piece in body])
    finally:
        await upstream.close()


async def test_a_blob_with_credentials_below_a_prefix() -> None:
    async with serving(Stub(lambda _path, _headers: (200, {}, CONTENT))) as stub:
        assert await fetch(f"http://me:pass%3Aword@127.0.0.1:{stub.port}/registry/") == CONTENT
    assert stub.asked[0][0] == f"/registry/v2/team/app/blobs/{DIGEST}"
    assert stub.authorizations == [BASIC]


async def test_a_redirect_elsewhere_is_followed_without_credentials() -> None:
    async with serving(Stub(lambda _path, _headers: (200, {}, CONTENT))) as bucket:
        location = {"location": f"http://127.0.0.1:{bucket.port}/signed?x=1", "set-cookie": "a=b"}
        async with serving(Stub(lambda _path, _headers: (307, location, b""))) as stub:
            assert await fetch(f"http://me:pass%3Aword@127.0.0.1:{stub.port}") == CONTENT
    assert stub.authorizations == [BASIC]
    assert bucket.authorizations == [None]
    assert "cookie" not in bucket.asked[0][1]


@pytest.mark.parametrize(
    ("upstream", "target", "is_followed"),
    [
        ("203.0.114.7", "203.0.114.8", True),
        ("203.0.114.7", "10.0.0.1", False),
        ("203.0.114.7", "127.0.0.1", False),
        ("203.0.114.7", "169.254.169.254", False),
        ("10.0.0.1", "203.0.114.8", True),
        ("10.0.0.1", "192.168.7.7", True),
        ("10.0.0.1", "127.0.0.1", False),
        ("10.0.0.1", "169.254.169.254", False),
        ("127.0.0.1", "10.0.0.1", True),
    ],
)
async def test_a_redirect_does_not_lead_into_a_narrower_network(
    monkeypatch: pytest.MonkeyPatch, upstream: str, target: str, *, is_followed: bool
) -> None:
    """CVE-2026-2376: the upstream has this server ask what only this server can reach. Names stand for addresses."""
    names = {"upstream.test": upstream, "target.test": target}
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if request.url.host == "upstream.test":
            return httpx.Response(307, headers={"location": "https://target.test/blob?x=1"})
        return httpx.Response(200, stream=httpx.ByteStream(CONTENT))

    async def look_up(host: str, _port: int) -> list[str]:
        return [names[host]]

    made = httpx.AsyncClient
    monkeypatch.setattr("roadstead.remotes.upstream.resolve", look_up)
    monkeypatch.setattr(httpx, "AsyncClient", lambda **_: made(transport=httpx.MockTransport(answer)))
    if is_followed:
        assert await fetch("https://me:secret@upstream.test") == CONTENT
        assert (asked[1].url.host, asked[1].headers["host"]) == (target, "target.test"), (
            "the address that was looked at"
        )
        assert asked[1].extensions["sni_hostname"] == "target.test"
        assert "authorization" not in asked[1].headers
    else:
        with pytest.raises(UpstreamError, match=r"leads to target\.test"):
            await fetch("https://me:secret@upstream.test")
        assert len(asked) == 1


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server that is called localhost, by an authority that this machine trusts."""
    now_ms = SystemClock().now_ms()
    authority = make_authority("localhost", make_key("ecdsa"), now_ms)
    issued = issue_server(authority, [Host("localhost", is_address=False)], make_key("ecdsa"), now_ms, 2)
    (tmp_path / "ca.crt").write_bytes(authority.certificate_pem)
    (tmp_path / "server.pem").write_bytes(issued.certificate_pem + issued.key_pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))  # stands for the system's store
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "server.pem")
    return context


async def test_what_this_machine_trusts_is_trusted_also_behind_a_redirect(tls: ssl.SSLContext) -> None:
    async with serving(Stub(lambda _path, _headers: (200, {}, CONTENT)), tls) as bucket:
        assert await fetch(f"https://localhost:{bucket.port}") == CONTENT
        location = {"location": f"https://localhost:{bucket.port}/x"}
        async with serving(Stub(lambda _path, _headers: (307, location, b""))) as stub:
            assert await fetch(f"http://127.0.0.1:{stub.port}") == CONTENT
        location["location"] = f"https://127.0.0.1:{bucket.port}/x"
        async with serving(Stub(lambda _path, _headers: (307, location, b""))) as stub:
            with pytest.raises(UpstreamError, match=r"(?i)certificate"):
                await fetch(f"http://127.0.0.1:{stub.port}")


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("::ffff:10.1.2.3", Reach.PRIVATE),
        ("127.1.2.3", Reach.LOCAL),
        ("0.0.0.0", Reach.LOCAL),
        ("::1", Reach.LOCAL),
        ("::", Reach.LOCAL),
        ("::ffff:127.0.0.1", Reach.LOCAL),
        ("2002:7f00:1::", Reach.LOCAL),
        ("169.254.169.254", Reach.LOCAL),
        ("fe80::1", Reach.LOCAL),
        ("224.0.0.1", Reach.LOCAL),
        ("fe80::1%eth0", Reach.LOCAL),
        ("192.0.0.9", Reach.PRIVATE),
        ("240.0.0.1", Reach.PRIVATE),
        ("fec0::1", Reach.PRIVATE),
        ("2001:db8::1", Reach.PRIVATE),
        # metadata of clouds
        ("100.100.100.200", Reach.LOCAL),
        ("168.63.129.16", Reach.LOCAL),
        ("192.0.0.192", Reach.LOCAL),
        ("fd00:ec2::254", Reach.LOCAL),
        ("fd20:ce::254", Reach.LOCAL),
        # what gateways pass on to an IPv4 address
        ("::ffff:169.254.169.254", Reach.LOCAL),
        ("::ffff:0:169.254.169.254", Reach.LOCAL),
        ("::169.254.169.254", Reach.LOCAL),
        ("64:ff9b::169.254.169.254", Reach.LOCAL),
        ("64:ff9b::10.1.2.3", Reach.PRIVATE),
        ("64:ff9b::8.8.8.8", Reach.PUBLIC),
        ("64:ff9b:1::169.254.169.254", Reach.LOCAL),
        ("64:ff9b:1:a9fe:a9:fe00::", Reach.LOCAL),
        ("64:ff9b:1:a9:fe:a9fe::", Reach.LOCAL),
        ("64:ff9b:1:0:a9:fea9:fe00:0", Reach.LOCAL),
        ("64:ff9b:1::8.8.8.8", Reach.PRIVATE),
        ("2002:a9fe:a9fe::", Reach.LOCAL),
        ("2002:808:808::", Reach.PUBLIC),
        ("2001:0:808:808::5601:5601", Reach.LOCAL),  # Teredo: the client's address is the complement of the last bits
        ("2001:0:808:808::f7f7:f7f7", Reach.PUBLIC),
    ],
)
def test_who_can_reach_an_address(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


async def test_a_target_that_is_not_known_is_an_error() -> None:
    location = {"location": "http://nowhere.invalid/"}
    async with serving(Stub(lambda _path, _headers: (307, location, b""))) as stub:
        with pytest.raises(UpstreamError, match=r"nowhere\.invalid"):
            await fetch(f"http://127.0.0.1:{stub.port}")


async def test_a_token_of_another_host_is_not_asked_for() -> None:
    """CVE-2026-33540: the upstream chose who gets its credentials."""
    async with serving(Stub(lambda _path, _headers: (200, {}, b'{"token": "t"}'))) as thief:
        challenge = {"www-authenticate": f'Bearer realm="http://127.0.0.1:{thief.port}/token",service="s"'}
        async with serving(Stub(lambda _path, _headers: (401, challenge, b""))) as stub:
            with pytest.raises(UpstreamError, match="token of") as caught:
                await fetch(f"http://me:pass%3Aword@127.0.0.1:{stub.port}")
    assert thief.asked == []
    assert "pass" not in str(caught.value)


async def test_a_token_of_its_own_is_fetched_and_used() -> None:
    def answer(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        if path.startswith("/token"):
            assert "scope=repository%3Ateam%2Fapp%3Apull" in path
            return (200, {}, b'{"token": "abc"}') if headers.get("authorization") == BASIC else (401, {}, b"")
        if headers.get("authorization") == "Bearer abc":
            return 200, {}, CONTENT
        return 401, {"www-authenticate": f'Bearer realm="http://127.0.0.1:{stub.port}/token",service="s"'}, b""

    async with serving(Stub(answer)) as stub:
        assert await fetch(f"http://me:pass%3Aword@127.0.0.1:{stub.port}") == CONTENT


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (404, {}, "404"),
        (500, {}, "500"),
        (401, {}, "credentials"),
        (401, {"www-authenticate": "Basic realm=x"}, "credentials"),
        (302, {"location": "/again"}, "redirects more than"),
        (302, {"location": "file:///etc/passwd"}, "leads"),
    ],
)
async def test_refusals_are_said(status: int, headers: dict[str, str], said: str) -> None:
    async with serving(Stub(lambda _path, _headers: (status, headers, b""))) as stub:
        with pytest.raises(UpstreamError, match=said):
            await fetch(f"http://127.0.0.1:{stub.port}")


async def test_an_answer_that_breaks_off_is_an_error() -> None:
    async with serving(Stub(lambda _path, _headers: (200, {"content-length": "100"}, CONTENT))) as stub:
        with pytest.raises(UpstreamError):
            await fetch(f"http://127.0.0.1:{stub.port}")


async def test_nobody_there_is_an_error() -> None:
    with pytest.raises(UpstreamError):
        await fetch("http://127.0.0.1:1")


async def test_a_manifest_is_not_read_without_end() -> None:
    async with serving(Stub(lambda _path, _headers: (200, {"content-type": "a/b; c=d"}, bytes(5000)))) as stub:
        upstream = Upstream(f"http://127.0.0.1:{stub.port}")
        assert await upstream.fetch_manifest("app", DIGEST, 5000) == (bytes(5000), "a/b")
        with pytest.raises(UpstreamError, match="more than 4999"):
            await upstream.fetch_manifest("app", DIGEST, 4999)
        await upstream.close()


@pytest.mark.parametrize(
    "url", ["", "registry.example.com", "ftp://host", "http://", "http://host:port", "http://[", "https://host/?a=b"]
)
def test_what_is_no_url_of_a_registry_is_refused(url: str) -> None:
    with pytest.raises(UpstreamUrlInvalidError):
        Upstream(url)


def test_credentials_stay_out_of_what_is_said() -> None:
    assert Upstream("https://me:secret@registry.example.com:5000/x/").url == "https://registry.example.com:5000/x"
