"""Every path, every method, every caller: the answer is what a model of the rules, written apart from them, expects."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import null, select, update

from roadstead.access import Action, Policy
from roadstead.config import LimitSettings
from roadstead.database import Statement, metadata
from roadstead.oci import Digest
from roadstead.registry import tables
from roadstead.registry.content import store
from roadstead.testing.images import ManifestContent
from roadstead.testing.images import image as make_image
from roadstead.web.authentication import Authentication
from roadstead.web.distribution import Distribution
from roadstead.web.distribution.requirements import REQUIREMENTS
from tests.api.gatekeepers import REALM, Gate, Visitor, basic, write_users
from tests.databases import SQLITE_ALONE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from roadstead.testing.asgi import Answer
    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
MINE, OTHER, PUBLIC = "team/app", "other/app", "public/app"

# What each user may do in `team/*`; in `other/*` nobody but the administrator, in `public/*` everybody pulls.
RIGHTS: Final = {
    "norights": "",
    "puller": "pull",
    "pusher": "push",
    "deleter": "delete",
    "developer": "pull push",
    "admin": "pull push delete",
    "certified": "pull",
}
RULES: Final = (
    (["puller", "developer", "certified"], ["team/*"], ["pull"]),
    (["pusher", "developer"], ["team/*"], ["push"]),
    (["deleter"], ["team/*"], ["delete"]),
    (["admin"], ["*"], ["pull", "push", "delete"]),
    (["anonymous"], ["public/*"], ["pull"]),
)
STRANGERS: Final = ("nobody", "wrong password", "unknown user", "malformed", "another scheme", "empty")


def image(layer: bytes = b"layer") -> ManifestContent:
    """An image of one layer."""
    return make_image(layer)


def allowed(who: str, repository: str) -> set[str]:
    """The model: what a caller may do in a repository."""
    if who == "admin":
        return {"pull", "push", "delete"}
    if repository == PUBLIC:
        return {"pull"}
    return set(RIGHTS.get(who, "").split()) if repository == MINE else set()


def paths(repository: str, digest: str, session: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each path of a repository with what its methods need, any of the words."""
    name = f"/v2/{repository}"
    read = {"GET": "pull", "HEAD": "pull"}
    for reference in ("v1", digest):
        needs = {"GET": "pull", "HEAD": "pull push", "PUT": "push", "DELETE": "delete"}
        yield f"{name}/manifests/{reference}", needs
    yield f"{name}/blobs/{digest}", {"GET": "pull", "HEAD": "pull push", "DELETE": "delete"}
    yield f"{name}/tags/list", read
    yield f"{name}/referrers/{digest}", read
    yield f"{name}/_roadstead/undo/history", {"GET": "pull"}
    yield f"{name}/_roadstead/undo/removed", {"GET": "delete"}
    yield f"{name}/_roadstead/undo/restore", {"POST": "push"}
    for query in ("", f"?digest={digest}", f"?mount={digest}", f"?mount={digest}&from={OTHER}"):
        yield f"{name}/blobs/uploads/{query}", {"POST": "push"}
    needs = {"GET": "push", "HEAD": "push", "PATCH": "push", "PUT": "push", "DELETE": "push"}
    yield f"{name}/blobs/uploads/{session}", needs
    yield f"{name}/blobs/uploads/{session}?digest={digest}", needs


def expected(who: str, repository: str, needed: str | None) -> int:
    """The model: 405, 401, 403, or 0 for what passes."""
    if needed is None:
        return 405
    if who in STRANGERS:
        is_wrong = who in {"wrong password", "unknown user", "malformed", "another scheme"}
        return 401 if is_wrong or not allowed(who, repository) & set(needed.split()) else 0
    return 0 if allowed(who, repository) & set(needed.split()) else 403


@pytest.fixture
async def gate(instance: Instance, tmp_path: Path) -> AsyncIterator[Gate]:
    users = [name for name in RIGHTS if name != "certified"]
    gate = Gate(instance, write_users(tmp_path / "users", *users), *RULES)
    yield gate
    gate.close()


def visitor(gate: Gate, who: str) -> Visitor:
    headers = {
        "wrong password": basic("admin", "wrong"),
        "unknown user": basic("stranger", "strangerstranger"),
        "malformed": "Basic %%%",
        "another scheme": "Bearer " + basic("admin", "adminadmin")[6:],
        "empty": basic("", ""),
    }
    if who in headers:
        return Visitor(who, gate.client, {"authorization": headers[who]})
    if who == "nobody":
        return gate.nobody()
    return gate.holder(who) if who == "certified" else gate.user(who)


_TABLES = {table.name: Statement(select(table)) for table in metadata.sorted_tables}


async def dump(instance: Instance) -> dict[str, list[str]]:
    """Every row in the catalogue."""
    database = instance.registry.database
    return {name: sorted(map(repr, await database.fetch_all(rows))) for name, rows in _TABLES.items()}


async def begin(instance: Instance, repository: str) -> str:
    """The id of an upload session of somebody else."""
    answer = await instance.client.request("POST", f"/v2/{repository}/blobs/uploads/")
    return answer.header("docker-upload-uuid")


def require_refusal(answer: Answer, method: str, status: int) -> None:
    """A refusal says what is wrong, once, and nothing else."""
    code = {401: "UNAUTHORIZED", 403: "DENIED"}[status]
    assert method == "HEAD" or answer.codes == [code]
    challenge = [f'Basic realm="{REALM}"'] if status == 401 else []
    assert answer.headers("www-authenticate") == challenge


@pytest.mark.parametrize("who", [*RIGHTS, *STRANGERS])
async def test_every_path_and_method(instance: Instance, gate: Gate, who: str) -> None:
    visit = visitor(gate, who)
    pushed = image()
    for repository in (MINE, OTHER, PUBLIC):
        digest = await instance.push(repository, pushed, "v1")
        session = await begin(instance, repository)
        before = await dump(instance)
        # what changes comes last, so that the rest finds something to be refused
        cases = sorted(
            itertools.product(paths(repository, digest, session), METHODS),
            key=lambda case: (case[1] == "DELETE", case[0][0], case[1]),
        )
        for (path, needs), method in cases:
            answer = await visit(method, path)
            wanted = expected(who, repository, needs.get(method))
            if wanted:
                assert answer.status == wanted, (who, method, path, answer)
            else:
                assert answer.status not in {401, 403, 405, 429, 500}, (who, method, path, answer)
            if wanted in {401, 403}:
                require_refusal(answer, method, wanted)
        if not allowed(who, repository) & {"push", "delete"}:
            assert await dump(instance) == before, f"{who} changed something in {repository}"


@pytest.mark.parametrize("who", [*RIGHTS, *STRANGERS])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_paths_of_no_repository(instance: Instance, gate: Gate, who: str, method: str) -> None:
    """``/v2/`` asks who is there, since clients log in with it; the catalogue shows what one may pull."""
    for repository in (MINE, OTHER, PUBLIC):
        await instance.push(repository, image(), "v1")
    visit = visitor(gate, who)
    is_wrong = who in {"wrong password", "unknown user", "malformed", "another scheme"}
    assert (await visit(method, "/v2/")).status == (401 if who in STRANGERS else 200)
    answer = await visit(method, "/v2/_catalog")
    assert answer.status == (401 if is_wrong else 200)
    if method == "GET" and not is_wrong:
        assert answer.json()["repositories"] == sorted(
            repository for repository in (MINE, OTHER, PUBLIC) if "pull" in allowed(who, repository)
        )


async def test_a_catalogue_of_nothing_for_nobody(instance: Instance, tmp_path: Path) -> None:
    gate = Gate(instance, write_users(tmp_path / "users", "alice"), (["alice"], ["*"], ["pull"]))
    answer = await gate.nobody()("GET", "/v2/_catalog")
    assert answer.status == 401
    assert answer.json()["errors"][0]["detail"] == [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]
    gate.close()


async def test_every_endpoint_has_its_permission(instance: Instance) -> None:
    distribution = Distribution(instance.registry, LimitSettings(), Authentication(Policy()))
    served = {(handler, method) for handler, methods in distribution._endpoints.items() for method in methods}
    assert served == set(REQUIREMENTS)


def test_only_looking_changes_nothing_and_needs_least() -> None:
    for (handler, method), requirement in REQUIREMENTS.items():
        if method in {"PUT", "POST", "PATCH", "DELETE"}:
            assert Action.PULL not in requirement.actions, (handler, method)
            assert len(requirement.actions) == 1, (handler, method)


@pytest.mark.parametrize("who", STRANGERS)
async def test_where_nobody_can_log_in_nobody_is_asked_to(instance: Instance, who: str) -> None:
    """Rules hold all the same: what they deny is 403, since no password would help."""
    gate = Gate(instance, None, (["anonymous"], ["public/*"], ["pull"]), (["certified"], ["team/*"], ["pull", "push"]))
    await instance.push(PUBLIC, image(), "v1")
    visit = visitor(gate, who)
    assert (await visit("GET", "/v2/")).status == 200
    assert (await visit("GET", f"/v2/{PUBLIC}/manifests/v1")).status == 200
    answer = await visit("GET", f"/v2/{MINE}/manifests/v1")
    assert answer.status == 403
    assert not answer.headers("www-authenticate")
    assert (await visit("POST", f"/v2/{PUBLIC}/blobs/uploads/")).status == 403
    assert (await gate.holder("certified")("POST", f"/v2/{MINE}/blobs/uploads/")).status == 202


# ── What was got wrong elsewhere ──────────────────────────────────────────────────────────────────────────────


async def test_a_mount_reads_only_what_its_user_may_pull(instance: Instance, gate: Gate) -> None:
    """CVE-2024-39897: whoever knew a digest could have the blob."""
    digest = await instance.push_blob(OTHER, b"secret")
    for query in (
        f"mount={digest}",
        f"mount={digest}&from={OTHER}",
        f"mount={digest}&from=",
        f"from={OTHER}&mount={digest}",
    ):
        answer = await gate.user("developer")("POST", f"/v2/{MINE}/blobs/uploads/?{query}")
        assert answer.status == 202, query
        for method in ("GET", "HEAD"):
            assert (await gate.user("developer")(method, f"/v2/{MINE}/blobs/{digest}")).status == 404
    assert (await gate.user("admin")("POST", f"/v2/{MINE}/blobs/uploads/?mount={digest}&from={OTHER}")).status == 201
    assert (await gate.user("developer")("GET", f"/v2/{MINE}/blobs/{digest}")).status == 200


async def test_a_mount_from_anywhere_finds_what_its_user_may_pull(instance: Instance, gate: Gate) -> None:
    digest = await instance.push_blob(OTHER, b"shared")
    await instance.push_blob(PUBLIC, b"shared")
    answer = await gate.user("developer")("POST", f"/v2/{MINE}/blobs/uploads/?mount={digest}")
    assert answer.status == 201
    answer = await gate.user("pusher")("POST", f"/v2/{MINE}/new/blobs/uploads/?mount={digest}")
    assert answer.status == 201, "what is public is public for who may only push"


async def test_a_mount_from_the_project_of_names_without_a_slash(instance: Instance, tmp_path: Path) -> None:
    gate = Gate(
        instance,
        write_users(tmp_path / "users", "alice"),
        (["alice"], ["project:library"], ["pull"]),
        (["alice"], ["*"], ["push"]),
    )
    there, elsewhere = await instance.push_blob("app", b"base"), await instance.push_blob(OTHER, b"secret")
    for digest, status in ((there, 201), (elsewhere, 202)):
        answer = await gate.user("alice")("POST", f"/v2/{MINE}/blobs/uploads/?mount={digest}")
        assert answer.status == status
    gate.close()


async def test_who_may_only_push_cannot_mount_from_where_it_pushes(instance: Instance, gate: Gate) -> None:
    digest = await instance.push_blob(MINE, b"layer")
    answer = await gate.user("pusher")("POST", f"/v2/{MINE}/copy/blobs/uploads/?mount={digest}&from={MINE}")
    assert answer.status == 202


async def test_an_upload_belongs_to_its_repository(instance: Instance, gate: Gate) -> None:
    """CVE-2026-32589: the id of an upload was enough to read, change and cancel it."""
    session = await begin(instance, OTHER)
    digest = Digest.of(b"")
    for who, repository, status in (("pusher", MINE, 404), ("pusher", OTHER, 403), ("admin", MINE, 404)):
        for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
            answer = await gate.user(who)(method, f"/v2/{repository}/blobs/uploads/{session}?digest={digest}")
            assert answer.status == status, (who, repository, method)
    assert (await instance.client.request("GET", f"/v2/{OTHER}/blobs/uploads/{session}")).status == 204


@pytest.mark.parametrize("has_bytes", [False, True])
async def test_an_upload_belongs_to_who_began_it(instance: Instance, gate: Gate, *, has_bytes: bool) -> None:
    """Also of those who may push to its repository nobody else can read, change, end or cancel it."""
    content = b"0123"
    owner, stranger = gate.user("developer"), gate.user("admin")
    path = f"/v2/{MINE}/blobs/uploads/"
    location = path + (await owner("POST", path)).header("docker-upload-uuid")
    if has_bytes:
        assert (await owner("PATCH", location, body=content[:2])).status == 202
    digest = Digest.of(content)
    for other in (stranger, Visitor("anonymous", instance.client)):
        for method in ("GET", "HEAD", "PATCH", "PUT", "DELETE"):
            answer = await other(method, f"{location}?digest={digest}", body=b"x" if method != "GET" else b"")
            assert answer.status == 404, (other.name, method)
            assert method == "HEAD" or answer.codes == ["BLOB_UPLOAD_UNKNOWN"]
        answer = await other("PATCH", location, body=b"x", content_range="9-9")
        assert answer.status == 404, "an offset that is wrong says as little"
    assert (await owner("GET", location)).header("range") == ("0-1" if has_bytes else "0-0")
    answer = await owner("PUT", f"{location}?digest={digest}", body=content[2:] if has_bytes else content)
    assert answer.status == 201


async def test_an_upload_of_nobody_in_particular_is_only_for_such(instance: Instance, gate: Gate) -> None:
    session = await begin(instance, MINE)
    assert (await gate.user("admin")("GET", f"/v2/{MINE}/blobs/uploads/{session}")).status == 404
    assert (await instance.client.request("GET", f"/v2/{MINE}/blobs/uploads/{session}")).status == 204


async def test_an_upload_from_before_owners_were_kept_is_for_all_who_may_push(instance: Instance, gate: Gate) -> None:
    location = f"/v2/{MINE}/blobs/uploads/{await begin(instance, MINE)}"
    assert (await instance.client.request("PATCH", location, body=b"01")).status == 202
    forget_owner = Statement(update(tables.upload_sessions).values(owner=null()))
    await instance.registry.database.write(lambda transaction: transaction.execute(forget_owner))
    await instance.restart()
    gate = Gate(instance, gate.file, *RULES)
    assert (await gate.user("puller")("PATCH", location, body=b"2")).status == 403
    assert (await gate.user("pusher")("PATCH", location, body=b"2")).status == 202
    answer = await gate.user("developer")("PUT", f"{location}?digest={Digest.of(b'0123')}", body=b"3")
    assert answer.status == 201
    gate.close()


async def test_who_has_not_logged_in_learns_no_names_of_users(instance: Instance, gate: Gate) -> None:
    """A wrong name takes as long as a wrong password; the history of what is public must not tell them apart either."""
    manifest = image()
    await instance.push(PUBLIC, manifest)
    path = f"/v2/{PUBLIC}/manifests/v1"
    answer = await gate.user("admin")("PUT", path, body=manifest.content, content_type=manifest.media_type)
    assert answer.status == 201
    for visit, actor in ((gate.nobody(), ""), (gate.user("puller"), "admin")):
        answer = await visit("GET", f"/v2/{PUBLIC}/_roadstead/undo/history")
        assert [entry["actor"] for entry in answer.json()["history"]] == [actor]
    answer = await gate.user("admin")("DELETE", f"/v2/{PUBLIC}/manifests/{manifest.digest}")
    assert answer.status == 202
    listing = f"/v2/{PUBLIC}/_roadstead/undo/removed"
    for answer, actor in (
        (await instance.client.request("GET", listing), ""),  # later served without users: nobody has logged in
        (await gate.user("admin")("GET", listing), "admin"),
    ):
        assert [entry["actor"] for entry in answer.json()["manifests"]] == [actor]


async def test_pushing_sets_tags_anew_and_pulling_never_does(instance: Instance, gate: Gate) -> None:
    """CVE-2026-31801: who could only create could overwrite. Here pushing means both, and nothing else does."""
    old, new = image(b"old"), image(b"new")
    await instance.push(MINE, old, "latest")
    await instance.push(MINE, new)
    for who, status in (("puller", 403), ("deleter", 403), ("norights", 403), ("developer", 201)):
        answer = await gate.user(who)(
            "PUT", f"/v2/{MINE}/manifests/latest", body=new.content, content_type=new.media_type
        )
        assert answer.status == status, who


async def test_a_tag_is_deleted_only_by_who_may_delete(instance: Instance, gate: Gate) -> None:
    """CVE-2026-41888: the way over a tag was not looked at."""
    await instance.push(MINE, image(), "v1")
    for who in ("puller", "pusher", "developer", "norights"):
        assert (await gate.user(who)("DELETE", f"/v2/{MINE}/manifests/v1")).status == 403
    assert (await gate.user("deleter")("DELETE", f"/v2/{MINE}/manifests/v1")).status == 202


async def test_a_digest_opens_nothing_in_another_repository(instance: Instance, gate: Gate) -> None:
    secret = await instance.push(OTHER, image(b"secret"), "v1")
    blob = await instance.push_blob(OTHER, b"secret")
    for path in (f"manifests/{secret}", f"blobs/{blob}"):
        for repository in (MINE, PUBLIC):
            assert (await gate.user("developer")("GET", f"/v2/{repository}/{path}")).status == 404


@pytest.mark.parametrize("state", ["there", "deleted"])
async def test_undo_brings_nothing_in_from_another_repository(instance: Instance, gate: Gate, state: str) -> None:
    secret = await instance.push(OTHER, image(b"secret"), "v1")
    await instance.push(MINE, image(), "v1")
    if state == "deleted":
        assert (await gate.user("admin")("DELETE", f"/v2/{OTHER}/manifests/{secret}")).status == 202
    before = await dump(instance)
    for wanted in ({"digest": secret}, {"tag": "v1", "to": secret}):
        body = json.dumps(wanted).encode()
        answer = await gate.user("developer")("POST", f"/v2/{MINE}/_roadstead/undo/restore", body=body)
        assert answer.status == 404, wanted
    assert await dump(instance) == before


@pytest.mark.parametrize(
    "path",
    [
        "/v2/public/../other/app/manifests/v1",
        "/v2/public/%2e%2e/other/app/manifests/v1",
        "/v2/public%2f..%2fother/app/manifests/v1",
        "/v2/public/app/manifests/../../../other/app/manifests/v1",
        "/v2/public/app/manifests/..%2f..%2f..%2fother%2fapp%2fmanifests%2fv1",
        "/v2/public/app/blobs/uploads/../../../other/app/manifests/v1",
        "/V2/other/app/manifests/v1",
        "/v2/other/app/manifests/v1/",
        "/v2/public/app;/other/app/manifests/v1",
        "/v2/public/app/manifests/v1%00/../../other/app",
    ],
)
async def test_no_path_leads_around(instance: Instance, gate: Gate, path: str) -> None:
    await instance.push(OTHER, image(b"secret"), "v1")
    for visit in (gate.nobody(), gate.user("norights")):
        assert (await visit("GET", path)).status in {400, 401, 403, 404}


@pytest.mark.parametrize(
    "path",
    ["/v2/other%2Fapp/manifests/v1", "/v2/%6fther/app/manifests/v1", "/v2/other%2fapp%2fmanifests%2fv1"],
)
async def test_an_encoded_name_is_asked_about_as_what_it_is(instance: Instance, gate: Gate, path: str) -> None:
    await instance.push(OTHER, image(b"secret"), "v1")
    assert (await gate.nobody()("GET", path)).status == 401
    assert (await gate.user("norights")("GET", path)).status == 403
    assert (await gate.user("admin")("GET", path)).status == 200


async def test_a_doubled_slash_leads_to_where_one_is_asked(instance: Instance, gate: Gate) -> None:
    await instance.push(OTHER, image(b"secret"), "v1")
    for visit in (gate.nobody(), gate.user("norights")):
        answer = await visit("GET", "/v2//other/app/manifests/v1")
        assert (answer.status, answer.body) == (301, b"")
        assert (await visit("GET", answer.header("location"))).status in {401, 403}


async def test_folders_are_no_prefixes(instance: Instance, gate: Gate) -> None:
    for repository in ("team", "teams/app", "team-b/app", "team0/app"):
        await instance.push(repository, image(), "v1")
        assert (await gate.user("puller")("GET", f"/v2/{repository}/manifests/v1")).status == 403
    await instance.push("team/a/b/c", image(), "v1")
    assert (await gate.user("puller")("GET", "/v2/team/a/b/c/manifests/v1")).status == 200


async def test_what_is_there_is_not_told_from_what_is_not(instance: Instance, gate: Gate) -> None:
    await instance.push(OTHER, image(), "v1")
    for visit in (gate.nobody(), gate.user("norights")):
        there = await visit("GET", f"/v2/{OTHER}/manifests/v1")
        absent = await visit("GET", "/v2/other/xyz/manifests/v1")
        assert there.status == absent.status
        assert there.body.replace(b"other/app", b"") == absent.body.replace(b"other/xyz", b"")


async def test_a_user_removed_meanwhile_is_refused_at_the_next_request(instance: Instance, gate: Gate) -> None:
    await instance.push(MINE, image(), "v1")
    assert (await gate.user("puller")("GET", f"/v2/{MINE}/manifests/v1")).status == 200
    assert gate.file is not None
    write_users(gate.file, "admin", "developer")
    assert (await gate.user("puller")("GET", f"/v2/{MINE}/manifests/v1")).status == 401
    assert (await gate.user("developer")("GET", f"/v2/{MINE}/manifests/v1")).status == 200


# ── The catalogue ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "patterns",
    [
        ["*"],
        ["a/*"],
        ["a/*", "c/app1"],
        ["b/app2", "b/app1", "c/*"],
        ["a/app1", "a/*"],
        ["nothing/*", "z"],
        ["a", "d"],
        ["project:a"],
        ["project:library"],
        ["project:library", "a/*", "a"],
        ["project:b", "project:library", "c/app1"],
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
async def test_pages_of_the_catalogue(instance: Instance, tmp_path: Path, patterns: list[str], size: int) -> None:
    names = [f"{folder}/app{number}" for folder in "abc" for number in (1, 2, 3)] + ["a", "d", "ab", "library/app"]
    for name in names:
        await instance.push(name, image(), "v1")
    gate = Gate(
        instance,
        write_users(tmp_path / "users", "alice"),
        (["alice"], patterns, ["pull"]),
        (["alice"], ["*"], ["push"]),
    )
    wanted = sorted(
        name
        for name in names
        if any(
            pattern in ("*", name)
            or (pattern.endswith("/*") and name.startswith(pattern[:-1]))
            or pattern == f"project:{name.split('/')[0] if '/' in name else 'library'}"
            for pattern in patterns
        )
    )
    seen: list[str] = []
    target = f"/v2/_catalog?n={size}"
    while target:
        answer = await gate.user("alice")("GET", target)
        page = answer.json()["repositories"]
        assert len(page) <= size
        seen += page
        target = answer.next_link
    assert seen == wanted
    assert (await gate.user("alice")("GET", "/v2/_catalog?n=5&last=zzz")).json()["repositories"] == []
    gate.close()


@SQLITE_ALONE
async def test_what_a_caller_may_not_see_is_not_passed_by(instance: Instance) -> None:
    """The same for a few repositories as for thousands beside them, in instructions, which only SQLite counts."""
    digest = await instance.push_blob("m/app", b"layer")
    await instance.push("m/app", image(), "v1")
    asked: tuple[tuple[Statement, dict[str, object]], ...] = (
        (store.LIST_REPOSITORIES_IN_RANGE, {"low": "m/", "high": "m0", "limit": 10}),
        (store.FIND_BLOB_IN_RANGE.statement, {"low": "m/", "high": "m0", "digest": digest}),
        (store.FIND_BLOB_IN_RANGE.statement, {"low": "", "high": "{", "digest": digest}),
    )
    with contextlib.closing(sqlite3.connect(instance.catalogue)) as connection:
        before = [count_steps(connection, statement, parameters) for statement, parameters in asked]
        names = [(f"{folder}/app{number}",) for folder in "az" for number in range(2000)]
        connection.executemany("INSERT INTO repositories (name, created_ms) VALUES (?, 0)", names)
        connection.execute(
            "INSERT INTO repository_manifests (repository_id, manifest_id, pushed_ms)"
            " SELECT id, (SELECT min(id) FROM manifests), 0 FROM repositories WHERE name <> 'm/app'"
        )
        after = [count_steps(connection, statement, parameters) for statement, parameters in asked]
    assert all(now <= then + 20 for then, now in zip(before, after, strict=True)), (before, after)


def count_steps(connection: sqlite3.Connection, statement: Statement, parameters: dict[str, object]) -> int:
    steps = itertools.count()
    connection.set_progress_handler(lambda: next(steps) and None, 1)
    assert connection.execute(*statement.for_sqlite(parameters)).fetchall()
    connection.set_progress_handler(None, 0)
    return next(steps)
