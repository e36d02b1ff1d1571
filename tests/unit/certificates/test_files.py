"""Files of certificates and keys: read with plain words about what is wrong, written without losing anything."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from roadstead.certificates import (
    CertificateExistsError,
    CertificateInvalidError,
    CertificateNameInvalidError,
    CertificateUnreadableError,
    KeyEncryptedError,
    KeyMismatchError,
)
from roadstead.certificates.authority import issue_client, key_pem, make_authority, make_key
from roadstead.certificates.context import ContextRules, build_context
from roadstead.certificates.folder import CertificateFolder
from roadstead.certificates.hosts import parse_host, parse_hosts, this_machine
from roadstead.certificates.model import DAY_MS
from roadstead.certificates.reading import facts_of, read_certificates, read_key, read_pair

NOW_MS = 1_800_000_000_000
HOSTS = parse_hosts(["registry.example.com", "192.0.2.10", "2001:db8::1"])


def made(path: Path) -> CertificateFolder:
    folder = CertificateFolder(path)
    authority, _ = folder.ensure_authority("registry.example.com", NOW_MS)
    folder.issue_server(authority, HOSTS, NOW_MS, 90)
    return folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_for_their_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = made(tmp_path)
        authority, _ = folder.ensure_authority("", NOW_MS)
        client = folder.issue_client(authority, "ci", NOW_MS, 90)
    finally:
        os.umask(before)
    assert {mode(file) for file in (tmp_path / "ca.key", folder.server_key, client / "client.key")} == {0o600}
    assert not list(tmp_path.rglob(".*")), "a temporary file is left"


def test_the_same_authority_signs_again_with_the_same_key(tmp_path: Path) -> None:
    folder = made(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    again, is_new = folder.ensure_authority("other.example.com", NOW_MS + DAY_MS)
    folder.issue_server(again, HOSTS, NOW_MS + DAY_MS, 90)
    assert not is_new
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == {"server.crt"}
    assert facts_of(read_pair(folder.server_certificate, folder.server_key)).not_after_ms > NOW_MS + 90 * DAY_MS


@pytest.mark.parametrize("absent", ["ca.key", "ca.crt"])
def test_half_an_authority_is_not_replaced(tmp_path: Path, absent: str) -> None:
    folder = made(tmp_path)
    (tmp_path / absent).unlink()
    with pytest.raises(CertificateExistsError, match=absent):
        folder.ensure_authority("registry.example.com", NOW_MS)
    assert not (tmp_path / absent).exists()


def test_a_certificate_without_its_key_is_not_replaced(tmp_path: Path) -> None:
    folder = made(tmp_path)
    folder.server_key.unlink()
    authority, _ = folder.ensure_authority("", NOW_MS)
    with pytest.raises(CertificateExistsError, match=r"server\.key"):
        folder.issue_server(authority, HOSTS, NOW_MS, 90)


def test_an_authority_that_has_ended_signs_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path)
    with pytest.raises(CertificateInvalidError, match="ended"):
        folder.ensure_authority("", NOW_MS + 4000 * DAY_MS)


def test_a_certificate_does_not_outlive_its_authority(tmp_path: Path) -> None:
    folder = made(tmp_path)
    authority, _ = folder.ensure_authority("", NOW_MS)
    issued = folder.issue_server(authority, HOSTS, NOW_MS + 3600 * DAY_MS, 825)
    assert issued.certificate.not_valid_after_utc == authority.certificate.not_valid_after_utc


def test_facts(tmp_path: Path) -> None:
    folder = made(tmp_path)
    leaf, authority = (facts_of(each) for each in read_certificates(folder.server_certificate))
    assert leaf.names == ("registry.example.com", "192.0.2.10", "2001:db8::1")
    assert leaf.key == "ECDSA P-256"
    assert (leaf.is_authority, authority.is_authority) == (False, True)
    assert leaf.issuer == authority.subject
    assert not leaf.is_over(NOW_MS)
    assert leaf.is_over(NOW_MS + 91 * DAY_MS)
    assert leaf.is_over(NOW_MS - DAY_MS)
    assert not leaf.is_near_end(NOW_MS + 75 * DAY_MS)
    assert leaf.is_near_end(NOW_MS + 77 * DAY_MS)


def test_rsa_for_old_clients(tmp_path: Path) -> None:
    folder = CertificateFolder(tmp_path, "rsa")
    authority, _ = folder.ensure_authority("x.example.com", NOW_MS)
    assert facts_of(folder.issue_server(authority, HOSTS, NOW_MS, 1).certificate).key == "RSA 3072"


# ── What is wrong with files ──────────────────────────────────────────────────────────────────────────────────


def test_a_key_with_a_password(tmp_path: Path) -> None:
    folder = made(tmp_path)
    key = read_key(folder.server_key)
    for kind in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        folder.server_key.write_bytes(key.private_bytes(Encoding.PEM, kind, BestAvailableEncryption(b"x")))
        with pytest.raises(KeyEncryptedError, match="openssl pkey"):
            read_pair(folder.server_certificate, folder.server_key)


def test_a_key_of_another(tmp_path: Path) -> None:
    one, other = made(tmp_path / "one"), made(tmp_path / "other")
    with pytest.raises(KeyMismatchError, match="come first"):
        read_pair(one.server_certificate, other.server_key)


def test_der_is_told_how_to_become_pem(tmp_path: Path) -> None:
    folder = made(tmp_path)
    file = tmp_path / "server.der"
    file.write_bytes(read_certificates(folder.server_certificate)[0].public_bytes(Encoding.DER))
    with pytest.raises(CertificateInvalidError, match="-inform der"):
        read_certificates(file)


@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_no_certificate(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.crt"
    file.write_bytes(content)
    with pytest.raises(CertificateInvalidError, match=r"x\.crt"):
        read_certificates(file)
    with pytest.raises(CertificateInvalidError, match="no key"):
        read_key(file)


def test_absent_and_endless_files(tmp_path: Path) -> None:
    with pytest.raises(CertificateUnreadableError, match="no such file"):
        read_certificates(tmp_path / "absent")
    with pytest.raises(CertificateUnreadableError, match="is a directory"):
        read_certificates(tmp_path)
    with pytest.raises(CertificateUnreadableError, match="too large"):
        read_certificates(Path("/dev/zero"))


def test_a_suite_that_does_not_exist(tmp_path: Path) -> None:
    folder = made(tmp_path)
    pair = folder.server_certificate, folder.server_key
    with pytest.raises(CertificateInvalidError, match="NULL-ROT13"):
        build_context(*pair, ContextRules(cipher_suites=["ECDHE-ECDSA-AES256-GCM-SHA384", "NULL-ROT13"]))


def test_suites_without_forward_secrecy_are_not_offered(tmp_path: Path) -> None:
    folder = made(tmp_path)
    context = build_context(folder.server_certificate, folder.server_key, ContextRules())
    names = [str(suite["name"]) for suite in context.get_ciphers()]
    assert names
    assert all(name.startswith(("ECDHE-", "TLS_")) for name in names)
    assert all("GCM" in name or "POLY1305" in name for name in names)


def test_clients_authorities_that_are_none(tmp_path: Path) -> None:
    folder = made(tmp_path)
    rules = ContextRules(client_certificates="required", client_authorities=[folder.server_key])
    with pytest.raises(CertificateInvalidError, match=r"server\.key"):
        build_context(folder.server_certificate, folder.server_key, rules)


# ── Names ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "name", "is_address"),
    [
        ("registry.example.com", "registry.example.com", False),
        ("Registry.Example.COM.", "registry.example.com", False),
        ("*.example.com", "*.example.com", False),
        ("bücher.example", "xn--bcher-kva.example", False),
        ("localhost", "localhost", False),
        ("192.0.2.10", "192.0.2.10", True),
        ("[2001:DB8::1]", "2001:db8::1", True),
    ],
)
def test_hosts(text: str, name: str, is_address: bool) -> None:  # noqa: FBT001 - a parameter
    assert (parse_host(text).name, parse_host(text).is_address) == (name, is_address)


@pytest.mark.parametrize(
    "text",
    ["", " ", "https://x", "x:5000", "a b", "-x", "x-.example", "*.com", "a.*.example.com", "x/..", "a" * 64, "x\ny"],
)
def test_no_hosts(text: str) -> None:
    with pytest.raises(CertificateNameInvalidError):
        parse_host(text)


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(CertificateNameInvalidError):
        parse_host(".".join(["a" * 60] * 5))


def test_this_machine_has_names() -> None:
    assert {"localhost", "127.0.0.1"} <= {host.name for host in this_machine()}


@pytest.mark.parametrize("user", ["", " a", "a:b", "a" * 65, "a\nb", "a\x00"])
def test_no_users(user: str) -> None:
    authority = make_authority("x", make_key("ecdsa"), NOW_MS)
    with pytest.raises(CertificateNameInvalidError):
        issue_client(authority, user, make_key("ecdsa"), NOW_MS, 1)


@pytest.mark.parametrize("user", ["../../x", "a/b", "..", "."])
def test_a_users_name_does_not_lead_out_of_the_folder(tmp_path: Path, user: str) -> None:
    folder = made(tmp_path)
    authority, _ = folder.ensure_authority("", NOW_MS)
    made_folder = folder.issue_client(authority, user, NOW_MS, 1)
    assert made_folder.resolve().parent == (tmp_path / "clients").resolve()
    assert key_pem(make_key("ecdsa")) != (made_folder / "client.key").read_bytes()


def test_two_users_never_share_a_key(tmp_path: Path) -> None:
    """Each could else pass for the other, whose certificate is no secret."""
    folder = made(tmp_path)
    authority, _ = folder.ensure_authority("", NOW_MS)
    theirs = folder.issue_client(authority, "a/b", NOW_MS, 1)
    before = (theirs / "client.cert").read_bytes()
    with pytest.raises(CertificateExistsError, match="not that of 'a_b'"):
        folder.issue_client(authority, "a_b", NOW_MS, 1)
    assert (theirs / "client.cert").read_bytes() == before
    assert folder.issue_client(authority, "a/b", NOW_MS + DAY_MS, 1) == theirs
