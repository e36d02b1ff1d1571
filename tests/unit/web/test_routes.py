"""Paths: whatever is sent leads to an endpoint with a valid name, or is refused; nothing else comes out."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.oci import RepositoryName
from roadstead.oci.errors import NameInvalidError
from roadstead.web.distribution.routes import PathMovedError, find_route
from roadstead.web.errors import EndpointUnknownError

NAMES = st.from_regex(r"[a-z0-9]{1,3}(/(blobs|uploads|manifests|tags|list|[a-z0-9]{1,3})){0,3}", fullmatch=True)
LAST = st.text("abcXYZ019._-", min_size=1, max_size=8).filter(lambda text: text != "uploads")
PIECES = st.lists(
    st.sampled_from(
        ["a", "blobs", "uploads", "manifests", "tags", "list", "referrers", "..", "%2f", "%00", "", "_catalog"]
    ),
    max_size=7,
).map(lambda pieces: "/v2/" + "/".join(pieces))


@given(st.one_of(PIECES.map(str.encode), st.binary(), st.binary().map(lambda path: b"/v2/" + path)))
@example(b"/v2/a/blobs/uploads/..")
@example(b"/v2/a%2fb/manifests/x")
@example(b"/v2/a/manifests/%ff%00%2f")
def test_anything_is_routed_or_refused(path: bytes) -> None:
    try:
        route = find_route(path)
    except (EndpointUnknownError, NameInvalidError):
        return
    except PathMovedError as error:
        require_a_path(error.path, path)
        return
    if route.handler not in {"base", "catalog"}:
        assert RepositoryName.parse(route.repository) == route.repository
        assert unquote_to_bytes(path).startswith(b"/v2/" + route.repository.encode() + b"/")


def require_a_path(moved: str, path: bytes) -> None:
    """Where a doubled slash leads: to this server, in what a header may have."""
    assert b"//" in unquote_to_bytes(path)
    assert "//" not in moved
    assert all("!" <= letter <= "~" for letter in moved)


@given(NAMES, LAST)
def test_every_endpoint_finds_its_way_back(name: str, last: str) -> None:
    for path, handler, reference in [
        (f"manifests/{last}", "manifest", last),
        (f"blobs/{last}", "blob", last),
        (f"referrers/{last}", "referrers", last),
        (f"blobs/uploads/{last}", "blob_upload_chunk", last),
        ("blobs/uploads/", "blob_upload", ""),
        ("blobs/uploads", "blob_upload", ""),
        ("tags/list", "tags", ""),
    ]:
        route = find_route(f"/v2/{name}/{path}".encode())
        assert (route.handler, route.repository, route.reference) == (handler, name, reference)


@given(NAMES, LAST)
def test_a_path_is_decoded_once(name: str, last: str) -> None:
    """Whatever is encoded, slashes too, counts like the character itself; what decodes to an encoding does not."""
    path = f"{name}/manifests/{last}"
    encoded = "".join(f"%{ord(character):02x}" for character in path)
    assert find_route(f"/v2/{encoded}".encode()) == find_route(f"/v2/{path}".encode())
    with pytest.raises(NameInvalidError):
        find_route(f"/v2/{name}%252f{name}/manifests/{last}".encode())
