"""HTTPS as openssl and curl see it: whom they trust, what is refused, certificates that change under traffic."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roadstead.certificates.folder import CertificateFolder
from roadstead.certificates.hosts import parse_hosts
from tests.skips import skip
from tests.system.faults.server import FaultyServer
from tests.system.process import run, until
from tests.system.tls.machinery import PROGRAM, UNTRUSTED, Certificates, TlsServer

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.needs("openssl", "curl")

Words = list[str | Path]
DAY_MS = 24 * 3600 * 1000


def test_trusted_works_untrusted_and_wrong_host_are_refused(
    start: Callable[..., TlsServer], certificates: Certificates
) -> None:
    server = start()
    trusting: Words = ["--cacert", certificates.authority]
    assert server.curl(*trusting).text == "{}"
    assert server.curl(*trusting, "-I").text.startswith("HTTP/1.1 200")
    assert "certificate" in server.curl(exit_code=UNTRUSTED).stderr
    elsewhere: Words = ["--connect-to", f"127.0.0.1:{server.port}:127.0.0.1:{server.port}"]
    wrong = f"https://wrong.example.com:{server.port}/v2/"
    resolve: Words = ["--resolve", f"wrong.example.com:{server.port}:127.0.0.1"]
    said = run(["curl", "-sS", "--noproxy", "*", *trusting, *resolve, wrong], exit_code=UNTRUSTED)
    assert "wrong.example.com" in said.stderr
    assert server.curl(*trusting, *elsewhere).text == "{}"


def test_openssl_finds_nothing_wrong(start: Callable[..., TlsServer], certificates: Certificates) -> None:
    server = start()
    verify: Words = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", certificates.authority]
    for name in (["-verify_hostname", "localhost"], ["-verify_ip", "127.0.0.1"]):
        run([*verify, *name, certificates.certificate])
    run([*verify, "-verify_hostname", "other.example.com", certificates.certificate], exit_code=None)
    connect: Words = ["openssl", "s_client", "-connect", server.host, "-CAfile", certificates.authority, "-brief"]
    assert "Verification: OK" in run([*connect, "-verify_return_error"]).both
    assert "TLSv1.2" in run([*connect, "-tls1_2"]).both
    for old in ("-tls1_1", "-tls1"):
        assert "alert" in run([*connect, old], exit_code=None).both
    weak: Words = [*connect, "-tls1_2", "-cipher", "AES256-SHA256:AES128-SHA:@SECLEVEL=0"]
    assert "handshake failure" in run(weak, exit_code=None).both


def test_only_tls_1_3(start: Callable[..., TlsServer], certificates: Certificates, place: Path) -> None:
    config = place / "roadstead.yaml"
    config.write_text("tls: {minimum_version: '1.3'}\n")
    server = start("--config", str(config))
    server.curl("--cacert", certificates.authority, "--tls-max", "1.2", exit_code=None)
    assert server.curl("--cacert", certificates.authority).text == "{}"


def test_a_client_without_tls_is_told_what_to_do(start: Callable[..., TlsServer]) -> None:
    server = start()
    said = run(["curl", "-sS", "--noproxy", "*", "-i", f"http://{server.host}/v2/"])
    assert said.text.startswith("HTTP/1.1 400")
    assert "https://" in said.text


# ── Starts that are refused ───────────────────────────────────────────────────────────────────────────────────


def refused(place: Path, *flags: str | Path, code: int) -> str:
    server = FaultyServer(place / f"refused-{secrets.token_hex(2)}")
    server.command += [str(flag) for flag in flags]
    found, said = server.launch()
    assert found == code, said
    assert "Traceback" not in said
    return said


def test_wrong_files_stop_the_start_and_are_named(place: Path, certificates: Certificates) -> None:
    other = Certificates.make(place / "other")
    certificate: Words = ["--tls-cert", certificates.certificate]
    assert "not the key" in refused(place, *certificate, "--tls-key", other.key, code=3)
    locked = place / "locked.key"
    run(["openssl", "pkey", "-in", certificates.key, "-aes256", "-passout", "pass:x", "-out", locked])
    said = refused(place, *certificate, "--tls-key", locked, code=3)
    assert str(locked) in said
    assert "openssl pkey" in said
    spoilt = place / "spoilt.crt"
    spoilt.write_bytes(certificates.certificate.read_bytes()[40:])
    assert str(spoilt) in refused(place, "--tls-cert", spoilt, "--tls-key", certificates.key, code=3)


def test_half_a_pair_is_a_wrong_command_line(place: Path, certificates: Certificates) -> None:
    assert "tls.key" in refused(place, "--tls-cert", certificates.certificate, code=2)
    assert "tls.certificate" in refused(place, "--tls-key", certificates.key, code=2)
    absent = place / "absent.crt"
    assert str(absent) in refused(place, "--tls-cert", absent, "--tls-key", certificates.key, code=2)


def test_a_key_that_may_not_be_read(place: Path, certificates: Certificates) -> None:
    if os.geteuid() != 0:
        skip("the server is started as another user", enable_with="sudo make test")
    folder = place / "nobody"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    place.chmod(0o755)
    place.parent.chmod(0o755)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    server = FaultyServer(folder, wrapper=nobody)
    server.command += certificates.flags
    code, said = server.launch()
    assert code in {2, 3}
    assert f"{certificates.key}" in said
    assert "cannot be read" in said


# ── Certificates that change or end ───────────────────────────────────────────────────────────────────────────


def test_an_ended_certificate_is_served_and_complained_about(place: Path) -> None:
    """The server must come up after a restart: clients that do not look, and health checks, go on."""
    past = int(time.time() * 1000) - 40 * DAY_MS
    folder = CertificateFolder(place / "ended")
    authority, _ = folder.ensure_authority("localhost", past)
    folder.issue_server(authority, parse_hosts(["127.0.0.1"]), past, 30)
    ended = Certificates(folder.path)
    with TlsServerIgnoringEnds(place / "server", ended.authority, ended.flags) as server:
        server.curl("--cacert", ended.authority, exit_code=UNTRUSTED)
        assert server.readiness()["status"] == "degraded"
        assert -11 < server.days_left() < -9
        until(lambda: "certificate is not valid now" in server.log(), what="the log says so")


class TlsServerIgnoringEnds(TlsServer):
    """Ready although its certificate is not accepted."""

    def _answers(self) -> bool:
        command: Words = ["curl", "-sS", "-k", "--noproxy", "*", f"{self.url}/v2/"]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).stdout == b"{}\n"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_new_certificate_under_traffic(
    start: Callable[..., TlsServer], certificates: Certificates, place: Path, workers: str
) -> None:
    """A pull that goes on across the change ends whole, and no request is refused meanwhile."""
    server = start("--workers", workers)
    content = secrets.token_bytes(24 << 20)
    digest = hashlib.sha256(content).hexdigest()
    path = server.push(content, f"sha256:{digest}")
    before = server.fingerprint()
    pulled = place / "pulled"
    slow = [
        *("curl", "-sS", "--noproxy", "*", "--cacert", str(certificates.authority), "--limit-rate", "8M"),
        *("-o", str(pulled), f"{server.url}{path}"),
    ]
    with subprocess.Popen(slow, stderr=subprocess.PIPE) as puller:
        until(lambda: pulled.exists() and pulled.stat().st_size > 1 << 20, what="the pull is on its way")
        puller.send_signal(signal.SIGSTOP)  # however slow this machine is, the change comes in the middle of it
        try:
            certificates.renew()
            for _ in range(int(workers) * 2):  # as many as it takes to reach all of them is up to the kernel
                until(lambda: server.fingerprint() != before, what="a new connection sees the new certificate")
                assert server.curl("--cacert", certificates.authority).text == "{}"
            assert pulled.stat().st_size < len(content), "the pull ended before the change"
        finally:
            puller.send_signal(signal.SIGCONT)
        _, said = puller.communicate(timeout=60)
        assert puller.returncode == 0, said
    assert hashlib.sha256(pulled.read_bytes()).hexdigest() == digest


def test_a_signal_is_enough(start: Callable[..., TlsServer], certificates: Certificates) -> None:
    server = start()
    before = server.fingerprint()
    certificates.renew()
    os.kill(server.pid, signal.SIGHUP)
    until(lambda: server.fingerprint() != before, what="the new certificate is shown")


def test_a_broken_pair_keeps_the_old_one(
    start: Callable[..., TlsServer], certificates: Certificates, place: Path
) -> None:
    server = start()
    before = server.fingerprint()
    good = certificates.key.read_bytes()
    other = Certificates.make(place / "other")
    certificates.key.write_bytes(other.key.read_bytes())
    until(lambda: "certificate not loaded, what was served before is kept" in server.log(), what="the log says so")
    assert "not the key of the certificate" in server.log()
    assert server.fingerprint() == before
    assert server.readiness()["status"] == "degraded"
    certificates.key.write_bytes(good)
    until(lambda: server.readiness()["status"] == "ok", what="all is well again")
    assert server.curl("--cacert", certificates.authority).text == "{}"


# ── Self-signed ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_first_try(place: Path) -> None:
    authority = place / "server" / "data" / "secrets" / "tls" / "ca.crt"
    with TlsServer(place / "server", authority, ["--tls", "self-signed"]) as server:
        assert server.curl("--cacert", authority).text == "{}"
        server.curl(exit_code=UNTRUSTED)
        assert f"at https://{server.host}" in server.log()
        assert f"roadstead certs trust {authority}" in server.log()
        before = server.fingerprint()
        server.shut_down()
        server.start()
        assert server.fingerprint() == before
        server.shut_down()
    assert (authority.parent / "ca.key").stat().st_mode & 0o777 == 0o600
    assert (authority.parent / "server.pem").stat().st_mode & 0o777 == 0o600


# ── Certificates of clients ───────────────────────────────────────────────────────────────────────────────────


def test_clients_show_certificates_too(
    start: Callable[..., TlsServer], certificates: Certificates, place: Path
) -> None:
    certificate, key = certificates.client("alice")
    config = place / "roadstead.yaml"
    config.write_text(f"tls: {{client_certificates: optional, client_authorities: [{certificates.authority}]}}\n")
    server = start("--config", str(config))
    trusting: Words = ["--cacert", certificates.authority]
    assert server.curl(*trusting).text == "{}"
    assert server.curl(*trusting, "--cert", certificate, "--key", key).text == "{}"
    config.write_text(f"tls: {{client_certificates: required, client_authorities: [{certificates.authority}]}}\n")
    server = MutualServer(place / "strict", certificates.authority, [*certificates.flags, "--config", str(config)])
    server.client = [*trusting, "--cert", certificate, "--key", key]
    stranger = Certificates.make(place / "strangers").client("alice")
    with server:
        assert server.curl(*server.client).text == "{}"
        assert "alert" in server.curl(*trusting, exit_code=None).stderr
        assert "alert" in server.curl(*trusting, "--cert", stranger[0], "--key", stranger[1], exit_code=None).stderr
        server.shut_down()


class MutualServer(TlsServer):
    """Asked with a certificate whether it is ready."""

    client: list[str | Path]

    def _answers(self) -> bool:
        command: Words = ["curl", "-sS", "--noproxy", "*", *self.client, f"{self.url}/v2/"]
        return subprocess.run(command, capture_output=True, timeout=10, check=False).stdout == b"{}\n"


# ── Commands ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_show_says_what_a_client_would_say(start: Callable[..., TlsServer], certificates: Certificates) -> None:
    server = start()
    show: Words = [PROGRAM, "certs", "show", "--json"]
    said = run([*show, server.host], exit_code=1)
    assert '"problem": "self-signed certificate in certificate chain"' in said.stdout
    said = run([*show, server.host, "--ca", certificates.authority])
    assert '"problem": ""' in said.stdout
    assert '"names": ["localhost", "127.0.0.1"]' in said.stdout
    run([*show, certificates.certificate])
    run([*show, "127.0.0.1:1"], exit_code=3)
    run([*show, certificates.folder / "absent.crt"], exit_code=3)


def test_openssl_and_show_agree(certificates: Certificates) -> None:
    command: Words = ["openssl", "x509", "-in", certificates.certificate, "-noout", "-fingerprint", "-sha256"]
    fingerprint = run(command).text.partition("=")[2]
    assert fingerprint in run([PROGRAM, "certs", "show", certificates.certificate]).stdout
