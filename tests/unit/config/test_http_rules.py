"""What the values of `http` must be like: each that cannot work, or would be unsafe, stops the start with a remedy."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from roadstead.config import load_settings
from roadstead.config.errors import SettingInvalidError
from roadstead.config.networks import NetworkSet, parse_address


def written(folder: Path, values: Mapping[str, object]) -> Path:
    """A settings file with this section `http`."""
    file = folder / "roadstead.yaml"
    file.write_text(yaml.safe_dump({"http": dict(values)}), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "values",
    [
        {"prefix": "/"},
        {"prefix": "/registry/"},
        {"prefix": "/a/b-c/d_e~f.g/"},
        {"external_url": "https://registry.example.com"},
        {"external_url": "https://registry.example.com:8443/"},
        {"external_url": "http://[2001:db8::1]:5000/a/b/"},
        {"headers": {"X-Frame-Options": ["DENY"], "Access-Control-Allow-Origin": ["https://a.example.com", "*"]}},
        {"headers": {"X-Empty": [""], "X-None": []}},
        {"trusted_proxies": ["loopback", "private", "192.0.2.1", "2001:db8::/32", " 10.1.2.3 "]},
        {"trusted_proxies": ["loopback"], "accel_location": "/internal/blobs/"},
    ],
)
def test_what_works(tmp_path: Path, values: Mapping[str, object]) -> None:
    load_settings(written(tmp_path, values), {})


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"prefix": ""}, "http.prefix"),
        ({"prefix": "registry/"}, "http.prefix"),
        ({"prefix": "/registry"}, "http.prefix"),
        ({"prefix": "//"}, "http.prefix"),
        ({"prefix": "//evil.example.com/"}, "http.prefix"),
        ({"prefix": "/../"}, "http.prefix"),
        ({"prefix": "/a b/"}, "http.prefix"),
        ({"prefix": "/a%2f/"}, "http.prefix"),
        ({"prefix": "/a\n/"}, "http.prefix"),
        ({"prefix": "/a/\n"}, "http.prefix"),
        ({"prefix": "/é/"}, "http.prefix"),
        ({"external_url": "registry.example.com"}, "http.external_url"),
        ({"external_url": "ftp://registry.example.com"}, "http.external_url"),
        ({"external_url": "https://"}, "http.external_url"),
        ({"external_url": "https://admin:secret@registry.example.com"}, "http.external_url"),
        ({"external_url": "https://registry.example.com/?a=b"}, "http.external_url"),
        ({"external_url": "https://registry.example.com/#a"}, "http.external_url"),
        ({"external_url": "https://registry.example.com//"}, "http.external_url"),
        ({"external_url": "https://[2001:db8::1"}, "http.external_url"),
        ({"external_url": "https://registry.example.com\r\nX: y"}, "http.external_url"),
        ({"headers": {"X": ["a\r\nSet-Cookie: b"]}}, "http.headers"),
        ({"headers": {"X": ["a\0"]}}, "http.headers"),
        ({"headers": {"X": ["你好"]}}, "http.headers"),
        ({"headers": {"X Y": ["a"]}}, "http.headers"),
        ({"headers": {"": ["a"]}}, "http.headers"),
        ({"headers": {"X:": ["a"]}}, "http.headers"),
        ({"headers": {"Content-Length": ["0"]}}, "http.headers"),
        ({"headers": {"TRANSFER-ENCODING": ["chunked"]}}, "http.headers"),
        ({"headers": {"Location": ["/"]}}, "http.headers"),
        ({"trusted_proxies": ["proxy.example.com"]}, "http.trusted_proxies"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "http.trusted_proxies"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "http.trusted_proxies"),
        ({"trusted_proxies": ["::/0"]}, "http.trusted_proxies"),
        ({"trusted_proxies": [""]}, "http.trusted_proxies"),
        ({"accel_location": "/blobs/"}, "http.accel_location"),
        ({"accel_location": "blobs/", "trusted_proxies": ["loopback"]}, "http.accel_location"),
        ({"accel_location": "/", "trusted_proxies": ["loopback"]}, "http.accel_location"),
        ({"accel_location": "/blobs", "trusted_proxies": ["loopback"]}, "http.accel_location"),
    ],
)
def test_what_does_not(tmp_path: Path, values: Mapping[str, object], named: str) -> None:
    with pytest.raises(SettingInvalidError) as refused:
        load_settings(written(tmp_path, values), {})
    assert named in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "is_in"),
    [
        ("127.0.0.1", True),
        ("127.255.255.254", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", True),
        ("10.1.2.4", False),
        ("2001:db8::5", True),
        ("2001:db9::5", False),
        ("fe80::1%eth0", False),
        ("", False),
        ("127.1", False),
        ("127.0.0.1 ", False),
        ("x" * 1_000_000, False),
    ],
)
def test_sets_of_addresses(text: str, is_in: bool) -> None:  # noqa: FBT001 - a parameter of the test
    assert NetworkSet.parse(["loopback", "10.1.2.3", "2001:db8::/32"]).has(text) is is_in


def test_nobody_is_in_no_set() -> None:
    assert not NetworkSet.parse([]).has("127.0.0.1")


def test_an_ipv4_address_in_ipv6_is_the_ipv4_one() -> None:
    assert str(parse_address("::ffff:192.0.2.1")) == "192.0.2.1"
