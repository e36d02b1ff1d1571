"""What trusted proxies are believed, and what nobody else is."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.config.networks import NetworkSet
from roadstead.web.context import PROXIED_KEY
from roadstead.web.forwarding import MAXIMUM_HOPS, Forwarding, parse_forwarded
from roadstead.web.http import Receive, Scope, Send

PROXIES = ("10.0.0.0/24", "loopback", "2001:db8:1::/64")
PEER = "10.0.0.1"


def seen(*headers: tuple[str, str], peer: str | None = PEER, scheme: str = "http") -> Scope:
    """The scope that the application is given."""
    scopes: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        scopes.append(scope)

    async def nothing() -> dict[str, object]:
        raise AssertionError

    async def nowhere(_message: object) -> None:
        raise AssertionError

    encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    scope: Scope = {
        "type": "http",
        "scheme": scheme,
        "root_path": "",
        "client": (peer, 4711) if peer is not None else None,
        "headers": [(b"host", b"localhost:5000"), *encoded],
    }

    async def ask() -> None:
        await Forwarding(application, NetworkSet.parse(PROXIES))(scope, nothing, nowhere)

    asyncio.run(ask())
    assert scopes == [scope], "the connection keeps notes in the scope that it made"
    return scope


def client(*headers: tuple[str, str], peer: str = PEER) -> str:
    """Who seems to ask."""
    return str(seen(*headers, peer=peer)["client"][0])


def host(*headers: tuple[str, str], scheme: str = "http") -> str:
    """The host that seems to be asked."""
    hosts = [value for name, value in seen(*headers, scheme=scheme)["headers"] if name == b"host"]
    assert len(hosts) == 1
    return bytes(hosts[0]).decode("ascii")


ALL = (
    ("x-forwarded-for", "192.0.2.7"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "registry.example.com"),
    ("x-forwarded-port", "8443"),
    ("x-forwarded-prefix", "/hub"),
)


def test_a_trusted_proxy_is_believed() -> None:
    scope = seen(*ALL)

    assert scope["client"] == ("192.0.2.7", 0)
    assert scope["scheme"] == "https"
    assert (b"host", b"registry.example.com:8443") in scope["headers"]
    assert (b"host", b"localhost:5000") not in scope["headers"]
    assert scope["root_path"] == "/hub"
    assert scope[PROXIED_KEY] is True


@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.1.1", "2001:db8:2::1", "", "nobody", None])
def test_nobody_else_is(peer: str | None) -> None:
    scope = seen(*ALL, ("forwarded", "for=192.0.2.7;proto=https;host=registry.example.com"), peer=peer)

    assert scope["client"] == (None if peer is None else (peer, 4711))
    assert scope["scheme"] == "http"
    assert (b"host", b"localhost:5000") in scope["headers"]
    assert scope["root_path"] == ""
    assert PROXIED_KEY not in scope


def test_a_proxy_that_says_nothing_is_the_client() -> None:
    assert seen()["client"] == (PEER, 4711)
    assert seen()[PROXIED_KEY] is True


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "2001:db8:1::9", "2001:DB8:1:0::9"])
def test_proxies_are_known_in_every_spelling(peer: str) -> None:
    assert client(("x-forwarded-for", "192.0.2.7"), peer=peer) == "192.0.2.7"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("192.0.2.7 ,\t10.0.0.2,10.0.0.3", "192.0.2.7"),
        ("203.0.113.9, 192.0.2.7", "192.0.2.7"),  # the client wrote the first itself
        ("203.0.113.9, 192.0.2.7, 10.0.0.2", "192.0.2.7"),
        ("10.0.0.5, 192.0.2.7", "192.0.2.7"),  # or pretended to be a proxy
        ("10.0.0.5, 10.0.0.2", "10.0.0.5"),  # all of them are ours
        ("192.0.2.7:4711", "192.0.2.7"),
        ("2001:db8:9::1", "2001:db8:9::1"),
        ("2001:DB8:9:0::1", "2001:db8:9::1"),
        ("[2001:db8:9::1]", "2001:db8:9::1"),
        ("[2001:db8:9::1]:4711", "2001:db8:9::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_no_proxy(value: str, expected: str) -> None:
    assert client(("x-forwarded-for", value)) == expected


def test_several_lines_are_one_list() -> None:
    assert client(("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.7")) == "192.0.2.7"


@pytest.mark.parametrize(
    "value",
    ["", ",", "unknown", "_secret", "fe80::1%eth0", "192.0.2.7.8", "192.0.2.07", "192.0.2.7 8", "192.0.2.7;",
     "[192.0.2.7", "192.0.2.7]", "192.0.2.7:999999", "localhost", "0x7f.1", "\xff", "1" * 5000],
)  # fmt: skip
def test_what_is_no_address_is_nobody(value: str) -> None:
    assert client(("x-forwarded-for", value)) == PEER
    assert client(("x-forwarded-for", f"192.0.2.7, {value}")) == PEER
    assert client(("x-forwarded-for", f"192.0.2.7, {value}, 10.0.0.2")) == "10.0.0.2", "whoever passed it on"


def test_a_giant_list_is_read_from_the_right_only() -> None:
    assert client(("x-forwarded-for", "203.0.113.9, " * 2000 + "192.0.2.7, 10.0.0.2")) == "192.0.2.7"
    assert client(("x-forwarded-for", "203.0.113.9, " + "10.0.0.2, " * 2000 + "10.0.0.3")) == "10.0.0.2"
    assert client(("x-forwarded-for", "192.0.2.7," + ",".join(["10.0.0.2"] * (MAXIMUM_HOPS - 1)))) == "192.0.2.7"
    assert client(("x-forwarded-for", "192.0.2.7," + ",".join(["10.0.0.2"] * MAXIMUM_HOPS))) == "10.0.0.2"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-forwarded-host": "registry.example.com"}, "registry.example.com"),
        ({"x-forwarded-host": "evil.example.org, registry.example.com"}, "registry.example.com"),
        ({"x-forwarded-host": "registry.example.com:8443"}, "registry.example.com:8443"),
        ({"x-forwarded-host": "[2001:db8::1]:8443"}, "[2001:db8::1]:8443"),
        ({"x-forwarded-host": "registry.example.com", "x-forwarded-port": "8443"}, "registry.example.com:8443"),
        ({"x-forwarded-host": "registry.example.com:1", "x-forwarded-port": "2"}, "registry.example.com:1"),
        ({"x-forwarded-host": "registry.example.com", "x-forwarded-port": "80"}, "registry.example.com"),
        (
            {"x-forwarded-host": "registry.example.com", "x-forwarded-port": "443", "x-forwarded-proto": "https"},
            "registry.example.com",
        ),
        ({"x-forwarded-host": "registry.example.com", "x-forwarded-port": "443"}, "registry.example.com:443"),
        ({"x-forwarded-port": "8443"}, "localhost:5000"),
        ({"x-forwarded-host": "registry.example.com", "x-forwarded-port": "123456"}, "registry.example.com"),
        ({"x-forwarded-host": "registry.example.com", "x-forwarded-port": "-1"}, "registry.example.com"),
        ({"x-forwarded-host": ""}, "localhost:5000"),
        ({"x-forwarded-host": "a b"}, "localhost:5000"),
        ({"x-forwarded-host": "registry.example.com/path"}, "localhost:5000"),
        ({"x-forwarded-host": "user@registry.example.com"}, "localhost:5000"),
        ({"x-forwarded-host": "registry.example.com\r\nx: y"}, "localhost:5000"),
        ({"x-forwarded-host": "xn--\xe9"}, "localhost:5000"),
        ({"x-forwarded-host": "a" * 254}, "localhost:5000"),
    ],
)
def test_the_host_is_what_the_nearest_proxy_says(headers: dict[str, str], expected: str) -> None:
    assert host(*headers.items()) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("javascript", "http"),
        ("https:", "http"),
        ("", "http"),
    ],
)
def test_the_scheme_is_one_of_two(value: str, expected: str) -> None:
    assert seen(("x-forwarded-proto", value))["scheme"] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/hub", "/hub"),
        ("/hub/", "/hub"),
        ("/a/b.c_d~e-f", "/a/b.c_d~e-f"),
        ("/", ""),
        ("hub", ""),
        ("//evil.example.org", ""),
        ("/a//b", ""),
        ("/../x", ""),
        ("/a/./b", ""),
        ("/a?b", ""),
        ("/a\\b", ""),
        ("/\r\n", ""),
        ("/a%2f", ""),
        ("/a" * 9, ""),
        ("/" + "a" * 70, ""),
    ],
)
def test_the_prefix_is_a_plain_path(value: str, expected: str) -> None:
    assert seen(("x-forwarded-prefix", value))["root_path"] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("for=192.0.2.7", ("192.0.2.7", "http", "localhost:5000")),
        ("For=192.0.2.7;Proto=https;By=10.0.0.1", ("192.0.2.7", "https", "localhost:5000")),
        ('for="[2001:db8:9::1]:4711";host="a.example:8443"', ("2001:db8:9::1", "http", "a.example:8443")),
        ("for=[2001:db8:9::1]", ("2001:db8:9::1", "http", "localhost:5000")),
        ("for=192.0.2.7:4711 ; proto=https , for=10.0.0.2", ("192.0.2.7", "https", "localhost:5000")),
        ("for=203.0.113.9;proto=http, for=192.0.2.7;proto=https", ("192.0.2.7", "https", "localhost:5000")),
        ('for=203.0.113.9, for="192.0.2\\.7"', ("192.0.2.7", "http", "localhost:5000")),
        ('for="_x,for=203.0.113.9", for=192.0.2.7', ("192.0.2.7", "http", "localhost:5000")),
        ("proto=https;host=a.example", (PEER, "https", "a.example")),
        ("for=unknown;proto=https", (PEER, "https", "localhost:5000")),
        ("for=203.0.113.9, for=unknown", (PEER, "http", "localhost:5000")),
        ('for="_hidden:80", for=10.0.0.2', ("10.0.0.2", "http", "localhost:5000")),
        ("for=192.0.2.7;for=203.0.113.9", (PEER, "http", "localhost:5000")),
        ("for=192.0.2.7;", (PEER, "http", "localhost:5000")),
        ('for="192.0.2.7', (PEER, "http", "localhost:5000")),
        ("for = 192.0.2.7", (PEER, "http", "localhost:5000")),
        ("192.0.2.7", (PEER, "http", "localhost:5000")),
        ("", (PEER, "http", "localhost:5000")),
        ("for=192.0.2.7, " * 500 + "for=192.0.2.8", (PEER, "http", "localhost:5000")),
    ],
)
def test_forwarded(value: str, expected: tuple[str, str, str]) -> None:
    scope = seen(("forwarded", value))
    hosts = [header[1].decode("ascii") for header in scope["headers"] if header[0] == b"host"]
    assert (scope["client"][0], scope["scheme"], *hosts) == expected


@pytest.mark.parametrize(
    ("forwarded", "for_", "expected"),
    [
        ("for=192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("for=203.0.113.9", "192.0.2.7", PEER),
        ("for=unknown", "192.0.2.7", PEER),
        ("garbage", "192.0.2.7", PEER),
        ("for=192.0.2.7", "", PEER),
    ],
)
def test_where_both_kinds_are_there_both_must_say_it(forwarded: str, for_: str, expected: str) -> None:
    assert client(("forwarded", forwarded), ("x-forwarded-for", for_)) == expected


def test_a_kind_that_the_proxy_lets_through_adds_nothing() -> None:
    scope = seen(("x-forwarded-for", "192.0.2.7"), ("forwarded", "for=192.0.2.7;proto=https;host=evil.example.org"))

    assert scope["client"] == ("192.0.2.7", 0)
    assert scope["scheme"] == "http"
    assert (b"host", b"localhost:5000") in scope["headers"]


HOSTILE = st.text(st.characters(max_codepoint=255), max_size=80) | st.lists(
    st.sampled_from(["192.0.2.7", "10.0.0.2", "for=", '"', ",", ";", "[", "]", ":", "::1", "%", "\\", " ", "\0", "="])
).map("".join)
NAMES = st.sampled_from(
    ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "forwarded"]
)


@given(headers=st.lists(st.tuples(NAMES, HOSTILE), max_size=8))
@example(headers=[("x-forwarded-for", "\x00")])
def test_nothing_that_is_sent_breaks_it(headers: Sequence[tuple[str, str]]) -> None:
    scope = seen(*headers)

    assert NetworkSet.parse(["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]).has(scope["client"][0])
    assert scope["scheme"] in {"http", "https"}
    root = scope["root_path"]
    assert not root or (root.startswith("/") and not root.startswith("//") and not root.endswith("/"))
    assert host(*headers).isprintable()


@given(
    mine=st.lists(st.tuples(NAMES.filter(lambda name: name != "x-forwarded-for"), HOSTILE), max_size=4), list_=HOSTILE
)
def test_no_client_chooses_its_address(mine: Sequence[tuple[str, str]], list_: str) -> None:
    """Behind a proxy that appends to X-Forwarded-For, and lets the rest through, as nginx does when told to."""
    assert client(*mine, ("x-forwarded-for", f"{list_}, 192.0.2.7")) in {"192.0.2.7", PEER}


@given(value=st.binary(max_size=200))
def test_forwarded_is_read_whole_or_not_at_all(value: bytes) -> None:
    elements = parse_forwarded(value)
    assert len(elements) <= value.count(b",") + 1
    assert all(name == name.lower() for element in elements for name in element)
