"""A certificate that is watched: taken up when it is whole, kept when the new one is not."""

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from roadstead.certificates import CertificateError, KeyMismatchError
from roadstead.certificates.folder import CertificateFolder
from roadstead.certificates.hosts import parse_hosts
from roadstead.certificates.model import DAY_MS
from roadstead.certificates.self_signed import DAYS, RENEWED_BEFORE_DAYS, SelfSigned
from roadstead.certificates.served import PairFiles, ServedCertificate
from roadstead.testing.clock import SettableClock
from roadstead.web.operations import certificate_check

HOSTS = parse_hosts(["localhost"])


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock()


def make(path: Path, clock: SettableClock, days: int = 90) -> CertificateFolder:
    folder = CertificateFolder(path)
    authority, _ = folder.ensure_authority("localhost", clock.now_ms())
    folder.issue_server(authority, HOSTS, clock.now_ms(), days)
    return folder


def served(folder: CertificateFolder, clock: SettableClock) -> ServedCertificate:
    certificate = ServedCertificate(PairFiles(certificate=folder.server_certificate, key=folder.server_key), clock)
    certificate.load()
    return certificate


def copy(source: Path, target: Path) -> None:
    """As an administrator does: another file takes the place."""
    temporary = target.with_name("new")
    shutil.copy(source, temporary)
    temporary.replace(target)


def fingerprint(certificate: ServedCertificate) -> str:
    assert certificate.facts is not None
    return certificate.facts.fingerprint


def test_a_new_pair_is_taken_up_once_it_is_still(tmp_path: Path, clock: SettableClock) -> None:
    old, new = make(tmp_path / "old", clock), make(tmp_path / "new", clock)
    certificate = served(old, clock)
    before, context = fingerprint(certificate), certificate.context()
    certificate.look()
    copy(new.server_certificate, old.server_certificate)
    with capture_logs() as logs:
        certificate.look()  # the certificate alone: its key is still being copied
        copy(new.server_key, old.server_key)
        certificate.look()
        assert fingerprint(certificate) == before
        certificate.look()
    assert [log["event"] for log in logs] == ["certificate loaded"]
    assert fingerprint(certificate) != before
    assert certificate.context() is not context


def test_a_pair_that_does_not_fit_keeps_the_old_one_and_is_told_once(tmp_path: Path, clock: SettableClock) -> None:
    old, new = make(tmp_path / "old", clock), make(tmp_path / "new", clock)
    certificate = served(old, clock)
    before = fingerprint(certificate)
    copy(new.server_certificate, old.server_certificate)
    with capture_logs() as logs:
        for _ in range(5):
            certificate.look()
    assert [log["event"] for log in logs] == ["certificate not loaded, what was served before is kept"]
    assert "not the key" in logs[0]["reason"]
    assert fingerprint(certificate) == before
    assert certificate.is_failing
    copy(new.server_key, old.server_key)
    for _ in range(2):
        certificate.look()
    assert bool(certificate.is_failing) is False
    assert fingerprint(certificate) != before


def test_a_reload_that_somebody_asks_for_is_done_at_once(tmp_path: Path, clock: SettableClock) -> None:
    folder = make(tmp_path, clock)
    certificate = served(folder, clock)
    before = fingerprint(certificate)
    make(tmp_path, clock)
    certificate.reload()
    assert fingerprint(certificate) != before


@pytest.mark.parametrize("name", ["server.crt", "server.key"])
def test_a_file_that_is_taken_away_changes_nothing(tmp_path: Path, clock: SettableClock, name: str) -> None:
    folder = make(tmp_path, clock)
    certificate = served(folder, clock)
    before = fingerprint(certificate)
    (tmp_path / name).unlink()
    for _ in range(3):
        certificate.look()
    assert certificate.is_failing
    assert fingerprint(certificate) == before


def test_links_are_followed(tmp_path: Path, clock: SettableClock) -> None:
    """As certbot and Kubernetes exchange certificates."""
    make(tmp_path / "a", clock)
    make(tmp_path / "b", clock)
    link = tmp_path / "live"
    link.symlink_to("a")
    certificate = served(CertificateFolder(link), clock)
    before = fingerprint(certificate)
    link.unlink()
    link.symlink_to("b")
    for _ in range(2):
        certificate.look()
    assert fingerprint(certificate) != before


def test_the_first_load_fails_loudly(tmp_path: Path, clock: SettableClock) -> None:
    one, other = make(tmp_path / "one", clock), make(tmp_path / "other", clock)
    copy(other.server_key, one.server_key)
    with pytest.raises(KeyMismatchError):
        served(one, clock)


def test_an_awaited_certificate_is_taken_up_when_it_comes(tmp_path: Path, clock: SettableClock) -> None:
    source = make(tmp_path / "source", clock)
    pair = tmp_path / "server.pem"
    certificate = ServedCertificate(PairFiles(certificate=pair, key=pair, is_awaited=True), clock)
    certificate.check()
    certificate.load()
    for _ in range(3):
        certificate.look()
    assert certificate.context() is None
    assert not certificate.is_failing
    pair.write_bytes(source.server_key.read_bytes() + source.server_certificate.read_bytes())
    for _ in range(2):
        certificate.look()
    assert certificate.context() is not None


@pytest.mark.anyio
async def test_readiness(tmp_path: Path, clock: SettableClock) -> None:
    pair = tmp_path / "server.pem"
    certificate = ServedCertificate(PairFiles(certificate=pair, key=pair, is_awaited=True), clock)
    check = certificate_check(certificate, clock)
    certificate.load()
    assert (await check()).state == "failed"
    source = make(tmp_path / "source", clock)
    pair.write_bytes(source.server_key.read_bytes() + source.server_certificate.read_bytes())
    certificate.load()
    assert (await check()).state == "ok"
    pair.write_bytes(b"spoilt")
    certificate.reload()
    assert (await check()).state == "degraded"
    clock.advance(80 * DAY_MS / 1000)
    assert "days" in (await check()).detail
    clock.advance(20 * DAY_MS / 1000)
    assert (await check()).state == "degraded"


# ── Self-signed ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_servers_own_certificate_is_made_once_and_renewed_in_time(tmp_path: Path, clock: SettableClock) -> None:
    own = SelfSigned(tmp_path, HOSTS)
    assert own.ensure(clock.now_ms())
    authority = own.authority_file.read_bytes()
    assert not own.ensure(clock.now_ms())
    assert own.pair_file.stat().st_mode & 0o777 == 0o600
    clock.advance((DAYS - RENEWED_BEFORE_DAYS + 1) * DAY_MS / 1000)
    assert own.ensure(clock.now_ms())
    assert own.authority_file.read_bytes() == authority


def test_another_name_makes_another_certificate(tmp_path: Path, clock: SettableClock) -> None:
    SelfSigned(tmp_path, HOSTS).ensure(clock.now_ms())
    more = SelfSigned(tmp_path, parse_hosts(["localhost", "registry.example.com"]))
    assert more.ensure(clock.now_ms())
    assert not SelfSigned(tmp_path, HOSTS).ensure(clock.now_ms()), "fewer names are no reason"


def test_a_spoilt_certificate_is_replaced_and_a_spoilt_authority_is_not(tmp_path: Path, clock: SettableClock) -> None:
    own = SelfSigned(tmp_path, HOSTS)
    own.ensure(clock.now_ms())
    own.pair_file.write_bytes(b"")
    assert own.ensure(clock.now_ms())
    own.authority_file.write_bytes(b"")
    with pytest.raises(CertificateError):
        own.ensure(clock.now_ms())
