"""What is different over TLS, on real sockets: handshakes, certificates that change, ends of both sides."""

import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roadstead.certificates.folder import CertificateFolder
from roadstead.clock import SystemClock
from roadstead.config import LimitSettings
from roadstead.web.connection.tls_peer import certificate_user
from roadstead.web.context import CERTIFICATE_USER_KEY
from tests.unit.web.connection.conftest import make_tls, running, wait_until

Serve = Callable[..., Any]
GET = b"GET /ok HTTP/1.1\r\nHost: x\r\n\r\n"
SHORT = 0.2


@pytest.fixture
def is_tls() -> bool:
    return True


def fetch(server: Any, **options: Any) -> bytes:
    client = server.client(**options)
    client.send(GET)
    return bytes(client.answer().read())


def test_the_application_sees_https(serve: Serve) -> None:
    server = serve()
    assert fetch(server) == b"/ok"
    assert server.application.scopes[0]["scheme"] == "https"
    assert CERTIFICATE_USER_KEY not in server.application.scopes[0]


def test_tls_1_3_and_http_1_1_are_chosen(serve: Serve, tls: Any) -> None:
    tls.client.set_alpn_protocols(["h2", "http/1.1"])
    client = serve().client()
    assert client.socket.version() == "TLSv1.3"
    assert client.socket.selected_alpn_protocol() == "http/1.1"
    assert client.socket.compression() is None


def test_a_long_answer_arrives_whole_and_the_next_one_after_it(serve: Serve) -> None:
    client = serve().client()
    client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
    large = client.answer()
    for _ in range(64):
        assert large.read(1 << 20) == bytes(1 << 20)
    assert client.answer().read() == b"/ok"


def test_a_client_without_tls_is_told_so(serve: Serve) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.port), 5) as plain:
        plain.sendall(GET)
        answer = plain.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"https://" in answer
    assert server.has_refused("plain_http")


@pytest.mark.parametrize("said", [b"", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], ids=["nothing", "a beginning"])
def test_a_handshake_has_the_time_of_a_header(serve: Serve, said: bytes) -> None:
    server = serve(header_timeout_seconds=SHORT)
    with socket.create_connection(("127.0.0.1", server.port), 5) as silent:
        silent.sendall(said)
        assert silent.recv(1) == b""
    assert fetch(server) == b"/ok"


def test_a_handshake_that_trickles_in_has_no_longer(serve: Serve) -> None:
    server = serve(header_timeout_seconds=SHORT)
    with socket.create_connection(("127.0.0.1", server.port), 5) as slow:
        slow.settimeout(SHORT / 8)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)
        for place in range(len(hello)):
            try:
                slow.sendall(hello[place : place + 1])
                assert slow.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                pass
            return
        pytest.fail("the server went on listening")


def test_handshakes_are_counted_before_they_are_done(serve: Serve) -> None:
    server = serve(connections=2, header_timeout_seconds=30)
    silent = [socket.create_connection(("127.0.0.1", server.port), 5) for _ in range(2)]
    try:
        with pytest.raises(OSError, match=r".") as refused:
            server.client()
        assert not isinstance(refused.value, TimeoutError)
        assert server.has_refused("connections")
    finally:
        for each in silent:
            each.close()
    assert wait_until(lambda: _is_answered(server))


def _is_answered(server: Any) -> bool:
    try:
        return fetch(server) == b"/ok"
    except OSError:
        return False


def test_a_client_that_does_not_trust_the_server_is_counted(serve: Serve) -> None:
    server = serve()
    with pytest.raises(ssl.SSLCertVerificationError):
        server.client(tls=ssl.create_default_context())
    assert server.has_refused("tls_handshake")


def test_old_tls_is_refused_with_an_alert(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_1"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=10, check=False)
    assert b"alert protocol version" in done.stderr
    assert server.has_refused("tls_handshake")


def test_a_client_that_looks_away_does_not_keep_a_closed_connection(serve: Serve) -> None:
    server = serve(keep_alive_timeout_seconds=SHORT, header_timeout_seconds=SHORT)
    client = server.client()
    client.send(GET)
    assert client.answer().read() == b"/ok"
    assert wait_until(lambda: not server.state.connections)  # although it never says that it is done too


def test_what_waits_is_sent_when_the_client_ends_its_side(serve: Serve) -> None:
    server = serve()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = server.tls.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
        _until(client.do_handshake, connection, incoming, outgoing)
        client.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.sendall(outgoing.read())
        assert wait_until(lambda: any(each.transport.get_write_buffer_size() for each in server.state.connections))
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()  # says that nothing follows
        connection.sendall(outgoing.read())
        while piece := connection.recv(1 << 16):
            incoming.write(piece)
    body = _read_all(client).partition(b"\r\n\r\n")[2]
    assert body
    assert len(body) % (1 << 20) == 0  # pieces that the application was rid of are there to their end


def _read_all(client: ssl.SSLObject) -> bytes:
    """All until the server's end."""
    pieces: list[bytes] = []
    while True:
        try:
            pieces.append(client.read(1 << 16))
        except ssl.SSLZeroReturnError:
            return b"".join(pieces)


def _until(
    step: Callable[[], Any], connection: socket.socket, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
) -> None:
    """Does a step of TLS until it is done."""
    while True:
        try:
            step()
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(1 << 16))
        else:
            connection.sendall(outgoing.read())
            return


def test_a_new_certificate_is_for_new_connections(tmp_path: Path) -> None:
    old, new = make_tls(tmp_path / "old"), make_tls(tmp_path / "new")
    with running(LimitSettings(), old) as server:
        before = server.client()
        before.send(GET)
        assert before.answer().read() == b"/ok"
        old.server = new.server
        assert fetch(server, tls=new.client) == b"/ok"
        with pytest.raises(ssl.SSLCertVerificationError):
            server.client(tls=old.client)
        before.send(GET)
        assert before.answer().read() == b"/ok"


def test_without_a_certificate_clients_are_turned_away(tls: Any) -> None:
    sides = type(tls)(None, tls.client)
    with running(LimitSettings(), sides) as server:
        with pytest.raises(OSError, match=r"."):
            server.client()
        sides.server = tls.server
        assert fetch(server) == b"/ok"


# ── Certificates of clients ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def folder(tmp_path: Path) -> CertificateFolder:
    """An authority of clients."""
    return CertificateFolder(tmp_path / "clients")


@pytest.fixture
def identified(folder: CertificateFolder, tmp_path: Path) -> Callable[[str], ssl.SSLContext]:
    """Makes the contexts of clients that show a certificate of their user."""
    make_tls(tmp_path / "server")  # whose authority clients trust
    now_ms = SystemClock().now_ms()
    authority, _ = folder.ensure_authority("clients", now_ms)

    def make(user: str) -> ssl.SSLContext:
        files = folder.issue_client(authority, user, now_ms, 1)
        context = ssl.create_default_context(cafile=tmp_path / "server" / "ca.crt")
        context.load_cert_chain(files / "client.cert", files / "client.key")
        return context

    return make


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_scope_names_the_user_of_a_certificate(
    folder: CertificateFolder,
    identified: Callable[[str], ssl.SSLContext],
    tmp_path: Path,
    version: ssl.TLSVersion,
) -> None:
    alice, bob = identified("alice"), identified("bob")
    for context in (alice, bob):
        context.maximum_version = version
    sides = make_tls(tmp_path / "server", client_certificates="optional", client_authorities=[folder.authority_file])
    with running(LimitSettings(), sides, "common-name") as server:
        for context in (alice, bob, sides.client, alice):
            assert fetch(server, tls=context) == b"/ok"
        users = [scope.get(CERTIFICATE_USER_KEY) for scope in server.application.scopes]
        assert users == ["alice", "bob", None, "alice"]


def test_a_required_certificate_must_be_of_the_authority(
    folder: CertificateFolder, identified: Callable[[str], ssl.SSLContext], tmp_path: Path
) -> None:
    alice = identified("alice")
    sides = make_tls(tmp_path / "server", client_certificates="required", client_authorities=[folder.authority_file])
    stranger = CertificateFolder(tmp_path / "strangers")
    now_ms = SystemClock().now_ms()
    authority, _ = stranger.ensure_authority("strangers", now_ms)
    files = stranger.issue_client(authority, "alice", now_ms, 1)
    foreign = ssl.create_default_context(cafile=tmp_path / "server" / "ca.crt")
    foreign.load_cert_chain(files / "client.cert", files / "client.key")
    with running(LimitSettings(), sides, "common-name") as server:
        assert fetch(server, tls=alice) == b"/ok"
        for context, alert in ((sides.client, "CERTIFICATE_REQUIRED"), (foreign, "UNKNOWN_CA")):
            with pytest.raises(ssl.SSLError, match=alert):  # the server says why, instead of a reset
                fetch(server, tls=context)
        assert len(server.application.scopes) == 1


def test_an_ended_session_is_nobody_else(
    folder: CertificateFolder, identified: Callable[[str], ssl.SSLContext], tmp_path: Path
) -> None:
    """A resumed session still names its user, and only its own."""
    alice = identified("alice")
    alice.maximum_version = ssl.TLSVersion.TLSv1_2
    sides = make_tls(tmp_path / "server", client_certificates="required", client_authorities=[folder.authority_file])
    with running(LimitSettings(), sides, "common-name") as server:
        first = server.client(tls=alice)
        first.send(GET)
        assert first.answer().read() == b"/ok"
        raw = socket.create_connection(("127.0.0.1", server.port), 5)
        session: Any = getattr(first.socket, "session")  # noqa: B009 - of a TLS socket
        with alice.wrap_socket(raw, server_hostname="localhost", session=session) as again:
            assert again.session_reused
            again.sendall(GET)
            assert again.recv(4096).endswith(b"/ok")
        assert [scope[CERTIFICATE_USER_KEY] for scope in server.application.scopes] == ["alice", "alice"]


SUBJECT = ((("commonName", "alice"),),)


@pytest.mark.parametrize(
    ("certificate", "part", "user"),
    [
        (None, "common-name", None),
        ({}, "common-name", None),
        ({"subject": SUBJECT}, "none", None),
        ({"subject": SUBJECT}, "common-name", "alice"),
        ({"subject": SUBJECT}, "email", None),
        ({"subject": ((("commonName", "alice"),), (("commonName", "bob"),))}, "common-name", None),
        ({"subject": ((("commonName", "a\x00b"),),)}, "common-name", None),
        ({"subject": ((("commonName", " alice"),),)}, "common-name", None),
        ({"subject": ((("commonName", "alice:x"),),)}, "common-name", None),
        ({"subject": ((("commonName", "a" * 257),),)}, "common-name", None),
        ({"subject": ((("commonName", ""),),)}, "common-name", None),
        ({"subject": ((("commonName", "-"),),)}, "common-name", None),
        ({"subjectAltName": (("email", "a@example.com"), ("DNS", "a.example.com"))}, "email", "a@example.com"),
        ({"subjectAltName": (("email", "a@example.com"), ("DNS", "a.example.com"))}, "dns", "a.example.com"),
        ({"subjectAltName": (("DNS", "a.example.com"), ("DNS", "b.example.com"))}, "dns", None),
    ],
)
def test_who_a_certificate_is(certificate: Any, part: Any, user: str | None) -> None:
    assert certificate_user(certificate, part) == user
