"""Pages: ``n`` and ``last`` as they are asked for, and a ``Link`` that leads exactly on."""

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.web.http import Message, Request
from roadstead.web.pagination import PageRequest, PageSizeInvalidError, next_link, read_page_request


async def _nothing() -> Message:
    raise AssertionError("a listing reads no body")


def ask(query: str, maximum: int = 100) -> PageRequest:
    return read_page_request(
        Request({"method": "GET", "query_string": query.encode(), "headers": []}, _nothing), maximum
    )


@given(st.integers(0, 10**19), st.integers(1, 1000))
def test_sizes(size: int, maximum: int) -> None:
    assert ask(f"n={size}", maximum) == PageRequest(min(size, maximum), "", is_reduced=size > maximum)


def test_nothing_asked_for() -> None:
    assert ask("") == PageRequest(100, "", is_reduced=False)
    assert ask("n=") == PageRequest(100, "", is_reduced=False)


@pytest.mark.parametrize("text", ["-1", "+1", "x", "1.0", "%201", "0x1", "9" * 21, "%EF%BC%91"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(PageSizeInvalidError):
        ask(f"n={text}")


@given(st.integers(0, 1000), st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8"), min_size=1))
def test_a_link_leads_to_what_it_was_made_of(size: int, last: str, artifact_type: str) -> None:
    name, value = next_link("/v2/app/tags/list", size, last, artifactType=artifact_type)
    assert name == b"link"
    target, _, relation = value.decode("ascii").partition(">; ")
    assert relation == 'rel="next"'
    url = urlsplit(target.removeprefix("<"))
    assert url.path == "/v2/app/tags/list"
    fields = parse_qs(url.query, keep_blank_values=True, strict_parsing=True)
    assert fields == {"artifactType": [artifact_type], "n": [str(size)], "last": [last]}
    assert ask(url.query, 1000).after == last
