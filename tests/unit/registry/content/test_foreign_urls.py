"""Rules for the URLs of layers: registry:2's, measured on docker-registry 2.8.2 (see tests/system/test_modes.py)."""

from __future__ import annotations

import json
import time

import pytest

from roadstead.oci import Manifest, parse_manifest
from roadstead.oci.errors import ManifestInvalidError
from roadstead.registry.content.foreign_urls import URL_LENGTH, URLS, UrlRuleInvalidError, UrlRules
from roadstead.testing.images import digest_of

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


def manifest(*layers: object) -> Manifest:
    """A manifest whose layers have these ``urls``."""

    def descriptor(**more: object) -> dict[str, object]:
        return {"mediaType": "application/vnd.example", "size": 1, "digest": digest_of(b"x"), **more}

    document = {
        "schemaVersion": 2,
        "mediaType": MEDIA_TYPE,
        "config": descriptor(),
        "layers": [descriptor(urls=urls) for urls in layers],
    }
    return parse_manifest(json.dumps(document).encode(), MEDIA_TYPE)


EXAMPLE = UrlRules([r"^https?://example\.com/"])
NO_BAD = UrlRules(deny=["^http://bad"])
BOTH = UrlRules(["^https?://"], ["^http://bad", "secret"])


@pytest.mark.parametrize("urls", [None, [], ["ftp://x/y"], ["http://bad/#"], [""], "https://x", [1], {"a": 1}])
def test_without_rules_nothing_is_looked_at(urls: object) -> None:
    UrlRules().require_allowed(manifest(urls))


@pytest.mark.parametrize(
    ("rules", "urls"),
    [
        (EXAMPLE, None),
        (EXAMPLE, []),
        (EXAMPLE, ["https://example.com/x"]),
        (EXAMPLE, ["http://example.com/x", "https://example.com/y?z=1"]),
        (NO_BAD, ["https://example.com/x"]),
        (NO_BAD, ["https:///x"]),
        (BOTH, ["https://example.com/x"]),
    ],
)
def test_what_the_rules_allow(rules: UrlRules, urls: object) -> None:
    rules.require_allowed(manifest(urls))


@pytest.mark.parametrize(
    ("rules", "urls", "number"),
    [
        (EXAMPLE, ["http://bad.example.com/x"], 0),
        (EXAMPLE, ["https://example.com/x", "http://bad.example.com/x"], 1),
        (EXAMPLE, ["ftp://example.com/x"], 0),
        (EXAMPLE, ["https://example.com/x#fragment"], 0),
        (EXAMPLE, ["file:///x"], 0),
        (EXAMPLE, ["/x"], 0),
        (EXAMPLE, [""], 0),
        (EXAMPLE, "https://example.com/x", 0),
        (EXAMPLE, [None], 0),
        (EXAMPLE, [f"https://example.com/{'x' * URL_LENGTH}"], 0),
        (EXAMPLE, ["https://[example.com/"], 0),
        (NO_BAD, ["http://bad.example.com/x"], 0),
        (NO_BAD, ["gopher://example.com/x"], 0),
        (BOTH, ["https://example.com/secret"], 0),
        (UrlRules(["^$"]), ["https://example.com/x"], 0),
    ],
)
def test_what_they_refuse(rules: UrlRules, urls: object, number: int) -> None:
    with pytest.raises(ManifestInvalidError) as caught:
        rules.require_allowed(manifest(["https://example.com/first"] if rules is EXAMPLE else [], urls))
    assert caught.value.pointer == f"/layers/1/urls/{number}"


def test_too_many_urls_are_refused() -> None:
    EXAMPLE.require_allowed(manifest(["https://example.com/x"] * URLS))
    with pytest.raises(ManifestInvalidError, match=f"more than {URLS}"):
        EXAMPLE.require_allowed(manifest(["https://example.com/x"] * URLS, ["https://example.com/x"]))


def test_an_expression_that_backtracks_without_end_is_ended() -> None:
    rules = UrlRules([r"^https://(a+)+\.example\.com/$"])
    rules.require_allowed(manifest(["https://aaa.example.com/"]))
    started = time.process_time()
    with pytest.raises(ManifestInvalidError, match="too long") as caught:
        rules.require_allowed(manifest(["https://aaa.example.com/", f"https://{'a' * 64}!"]))
    assert caught.value.pointer == "/layers/0/urls/1"
    assert time.process_time() - started < 5, "64 letters would take longer than there is time"
    rules.require_allowed(manifest(["https://aaa.example.com/"]))


def test_an_expression_that_is_none_is_refused() -> None:
    with pytest.raises(UrlRuleInvalidError, match=r"'\(': missing|'\('"):
        UrlRules(["^https://", "("])
