"""Converts the section ``http``: addresses, URLs, headers, TLS."""

import socket
from typing import Final
from urllib.parse import urlsplit

from roadstead.config.address import ListenAddress
from roadstead.config.registry2.draft import Draft
from roadstead.config.registry2.finding import Verdict
from roadstead.config.registry2.nodes import Node
from roadstead.config.registry2.values import (
    NO_HEADERS,
    NO_TEXTS,
    GoValueError,
    duration_seconds,
    headers,
    is_bare_number,
    text,
    texts,
    truth,
)

_TLS: Final = "http.tls"
_ACME: Final = "http.tls.letsencrypt"

_VERSIONS: Final = {"tls1.0": "1.2", "tls1.1": "1.2", "tls1.2": "1.2", "tls1.3": "1.3"}
_CLIENT_AUTH: Final = {
    "request-client-cert": "off",
    "require-any-client-cert": "",
    "verify-client-cert-if-given": "optional",
    "require-and-verify-client-cert": "required",
}
_SUITES: Final = {
    "TLS_RSA_WITH_AES_128_CBC_SHA": "AES128-SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA": "AES256-SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256": "AES128-SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256": "AES128-GCM-SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384": "AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256": "ECDHE-ECDSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256": "ECDHE-RSA-AES128-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
"""OpenSSL's name of each cipher suite, by Go's name."""

_BROKEN_SUITES: Final = frozenset(
    {
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    }
)
_SUITES_OF_1_3: Final = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})


def convert_http(draft: Draft) -> None:
    """Converts everything below ``http``."""
    _convert_addresses(draft)
    _convert_urls(draft)
    _convert_debug(draft)
    _convert_tls(draft)


def _convert_addresses(draft: Draft) -> None:
    net = draft.read("http.net", text, "")
    if net == "unix":
        draft.say("http.net", Verdict.REFUSED, "A socket file is not available: listen on 127.0.0.1:5000 and let the"
                  " proxy in front connect to that.", targets=("listen.main",))  # fmt: skip
        return
    if net not in {"", "tcp"}:
        draft.say("http.net", Verdict.INVALID, "expected tcp")
    if not draft.read("http.addr", text, ""):
        reason = "it has no http.addr, with which registry:2 takes any free port"
        draft.set_default("listen.main", ListenAddress("127.0.0.1", 5000), reason)
    else:
        address = draft.read("http.addr", parse_address, None)
        if address is not None:
            draft.set("listen.main", address, "http.addr")


def parse_address(node: Node) -> ListenAddress:
    """Parses an address as Go's ``net.Listen`` does: the port may be a service's name; no host means all, also IPv6."""
    host, colon, port = text(node).rpartition(":")
    if colon and port and not port.isdigit():
        try:
            port = str(socket.getservbyname(port, "tcp"))
        except OSError:
            raise GoValueError(f"{port} is no port") from None
    return ListenAddress.parse(f"{host or '[::]'}{colon}{port or 0}")


def _convert_urls(draft: Draft) -> None:
    if draft.find("http.host") is not None:
        _convert_host(draft)
    if draft.find("http.prefix") is not None:
        prefix = draft.read("http.prefix", text, "/")
        if prefix.startswith("/") or not prefix:
            draft.set("http.prefix", f"/{prefix.strip('/')}/".replace("//", "/"), "http.prefix")
        else:
            draft.say("http.prefix", Verdict.INVALID, "expected a path that begins with /")
        if prefix.strip("/") and "http.external_url" in draft.assignments:
            draft.say("http.prefix", Verdict.DIFFERENT, "It is in Location headers too, where registry:2 leaves it out"
                      " if http.host is set.")  # fmt: skip
    _convert_relative_urls(draft)
    if draft.find("http.headers") is not None:
        draft.set("http.headers", draft.read("http.headers", headers, NO_HEADERS), "http.headers")
    _convert_drain(draft)


def _convert_host(draft: Draft) -> None:
    written = draft.read("http.host", text, "")
    try:
        url = urlsplit(written)
    except ValueError:
        draft.say("http.host", Verdict.INVALID, "expected a URL such as https://registry.example.com")
        return
    if not url.scheme or not url.netloc:
        draft.say("http.host", Verdict.IGNORED, "registry:2 ignores a host without a scheme too; write it as"
                  " https://registry.example.com.")  # fmt: skip
        return
    if url.scheme not in {"http", "https"}:
        draft.say("http.host", Verdict.INVALID, "expected a URL such as https://registry.example.com")
        return
    draft.set("http.external_url", f"{url.scheme}://{url.netloc}", "http.host")
    if url.path.strip("/") or url.query or url.fragment:
        draft.say("http.host", Verdict.DIFFERENT, "Only scheme and host count, as with registry:2; a path belongs in"
                  " http.prefix.")  # fmt: skip


def _convert_relative_urls(draft: Draft) -> None:
    """Converts relative URLs and http.host: whole URLs need http.host, or else the URL that the client asked for.

    registry:2 believes whatever proxy says what that was, here one is believed that the settings name.
    """
    path = "http.relativeurls"
    if draft.find(path) is None:
        return
    is_relative = draft.read(path, truth, default=False)
    draft.set("http.relative_urls", is_relative, path)
    if not is_relative and "http.external_url" not in draft.assignments:
        draft.say(path, Verdict.DIFFERENT, "Whole URLs, with the scheme and host of the request; behind a proxy these"
                  " are the client's only if http.trusted_proxies names it, or set http.host.")  # fmt: skip


def _convert_drain(draft: Draft) -> None:
    path = "http.draintimeout"
    node = draft.find(path)
    if node is None:
        return
    draft.set("limits.drain_timeout_seconds", max(draft.read(path, duration_seconds, 0.0), 0.0), path)
    if is_bare_number(node):
        written = draft.read(path, text, "")
        draft.say(path, Verdict.DIFFERENT, f"{written} without a unit is nanoseconds, as registry:2 reads it: write"
                  f" {written}s for seconds.")  # fmt: skip


def _convert_debug(draft: Draft) -> None:
    path = "http.debug.addr"
    if draft.find(path) is None:
        reason = "it has no http.debug.addr, so no port is taken that is not free"
        draft.set_default("listen.operations", ListenAddress("127.0.0.1", 0), reason)
    else:
        address = draft.read(path, parse_address, None)
        if address is not None:
            draft.set("listen.operations", address, path)
    path = "http.debug.prometheus.enabled"
    if draft.find(path) is not None:
        draft.set("metrics.enabled", draft.read(path, truth, default=False), path)
    path = "http.debug.prometheus.path"
    if draft.find(path) is not None and draft.read(path, text, "") in {"", "/metrics"}:
        draft.say(path, Verdict.HONOURED, "Metrics are at /metrics.")


def _convert_tls(draft: Draft) -> None:
    """Converts TLS, which is on with a certificate or an ACME cache; other keys alone would leave it off by mistake."""
    certificate, key = draft.read(f"{_TLS}.certificate", text, ""), draft.read(f"{_TLS}.key", text, "")
    cache = draft.read(f"{_ACME}.cachefile", text, "")
    if certificate and cache:
        draft.say(f"{_ACME}.cachefile", Verdict.INVALID, "a certificate is given too: choose one of the two")
    if bool(certificate) != bool(key) and not cache:
        given, missing = ("certificate", "key") if certificate else ("key", "certificate")
        draft.say(f"{_TLS}.{given}", Verdict.REFUSED, f"There is no http.tls.{missing}: give both, or neither to serve"
                  " without encryption.")  # fmt: skip
        return
    if certificate:
        draft.set("tls.mode", "files", f"{_TLS}.certificate")
        draft.set("tls.certificate", certificate, f"{_TLS}.certificate")
        draft.set("tls.key", key, f"{_TLS}.key")
    elif cache:
        _convert_acme(draft)
    _convert_clients(draft, is_on=bool(certificate or cache))
    _convert_versions(draft)


def _convert_acme(draft: Draft) -> None:
    cache = f"{_ACME}.cachefile"
    draft.set("tls.mode", "acme", cache)
    hosts = draft.read(f"{_ACME}.hosts", texts, NO_TEXTS)
    if hosts:
        draft.set("tls.hosts", hosts, f"{_ACME}.hosts")
    else:
        draft.say(cache, Verdict.REFUSED, "Without http.tls.letsencrypt.hosts anybody could have certificates made in"
                  " your name: list them.")  # fmt: skip
    for name, target in (("email", "tls.acme_email"), ("directoryurl", "tls.acme_directory")):
        value = draft.read(f"{_ACME}.{name}", text, "")
        if value:
            draft.set(target, value, f"{_ACME}.{name}")


def _convert_clients(draft: Draft, *, is_on: bool) -> None:
    authorities = draft.read(f"{_TLS}.clientcas", texts, NO_TEXTS)
    mode_path = f"{_TLS}.clientauth"
    mode = draft.read(mode_path, _client_auth, "required") if draft.find(mode_path) is not None else "required"
    if not authorities:
        if draft.find(mode_path) is not None:
            draft.say(mode_path, Verdict.REFUSED, "Without http.tls.clientcas it has no effect, with registry:3 too:"
                      " list them, or remove it.")  # fmt: skip
        return
    path = f"{_TLS}.clientcas"
    if not is_on:
        draft.say(path, Verdict.REFUSED, "There is no certificate, so clients would show none either: give"
                  " http.tls.certificate and key.")  # fmt: skip
        return
    draft.set("tls.client_authorities", authorities, path)
    draft.set("tls.client_user", "none", path)
    draft.set("tls.client_certificates", mode or "required", *((mode_path,) if draft.find(mode_path) else (path,)))
    if mode == "":
        draft.say(mode_path, Verdict.REFUSED, "It takes any certificate, which proves nothing: write"
                  " require-and-verify-client-cert.")  # fmt: skip
    elif mode == "off":
        draft.say(mode_path, Verdict.DIFFERENT, "Certificates are not asked for, since what clients show is not"
                  " checked with registry:3 either.")  # fmt: skip


def _client_auth(node: Node) -> str:
    written = text(node)
    if written not in _CLIENT_AUTH:
        raise GoValueError(f"expected one of {', '.join(_CLIENT_AUTH)}")
    return _CLIENT_AUTH[written]


def _convert_versions(draft: Draft) -> None:
    path = f"{_TLS}.minimumtls"
    version = draft.read(path, text, "")
    if version and version not in _VERSIONS:
        draft.say(path, Verdict.INVALID, "expected tls1.2 or tls1.3")
    elif version:
        draft.set("tls.minimum_version", _VERSIONS[version], path)
        if version in {"tls1.0", "tls1.1"}:
            draft.say(path, Verdict.DIFFERENT, "TLS 1.2 is the least here: older clients must be renewed.")
    path = f"{_TLS}.ciphersuites"
    names = draft.read(path, texts, NO_TEXTS)
    unknown = [name for name in names if name not in {*_SUITES, *_BROKEN_SUITES, *_SUITES_OF_1_3}]
    if unknown:
        draft.say(path, Verdict.INVALID, f"no such cipher suite: {', '.join(unknown)}")
        return
    kept = tuple(_SUITES[name] for name in names if name in _SUITES)
    if kept:
        draft.set("tls.cipher_suites", kept, path)
    if any(name in _BROKEN_SUITES for name in names):
        draft.say(path, Verdict.DIFFERENT, "Broken suites (RC4, 3DES) are left out.")
    elif names and not kept:
        draft.say(path, Verdict.IGNORED, "Those of TLS 1.3 are always there.")
