"""Paths: whatever is sent leads to an endpoint with a valid name, or is refused; nothing else comes out."""

from hypothesis import example, given
from hypothesis import strategies as st

from roadstead.oci import RepositoryName
from roadstead.oci.errors import NameInvalidError
from roadstead.web.distribution.routes import find_route
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
    if route.handler not in {"base", "catalog"}:
        assert RepositoryName.parse(route.repository) == route.repository
        assert path.startswith(b"/v2/" + route.repository.encode() + b"/")


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


@given(LAST)
def test_the_last_component_may_be_encoded(last: str) -> None:
    encoded = "".join(f"%{ord(character):02x}" for character in last)
    assert find_route(f"/v2/a/manifests/{encoded}".encode()).reference == last
