"""Who is refused early pays for it too: wrong credentials, unknown paths and methods count as any request does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from roadstead import app
from roadstead.config import load_settings
from roadstead.telemetry import Metrics
from roadstead.testing.asgi import AsgiClient
from tests.api.gatekeepers import basic, write_users

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from roadstead.testing.instance import Instance

pytestmark = pytest.mark.anyio

BURST = 3

REFUSED_EARLY = {
    "malformed credentials": ("GET", "/v2/", {"authorization": "Basic !"}, 401),
    "another scheme": ("GET", "/v2/", {"authorization": "Bearer abc"}, 401),
    "wrong credentials": ("GET", "/v2/", {"authorization": basic("alice", "wrong")}, 401),
    "no such endpoint": ("GET", "/v3/", {}, 404),
    "no such name": ("GET", "/v2/UPPER/tags/list", {}, 400),
    "no such method": ("PATCH", "/v2/app/tags/list", {}, 405),
    "which methods there are": ("OPTIONS", "/v2/app/tags/list", {}, 200),
    "nobody": ("GET", "/v2/", {}, 401),
}


@pytest.fixture
def limited(instance: Instance, tmp_path: Path) -> Callable[[], AsgiClient]:
    """Makes clients of a listener with users, where one client may make `BURST` requests."""

    def make() -> AsgiClient:
        settings = load_settings(
            None,
            {},
            {
                "data.folder": instance.folder,
                "authentication.mode": "htpasswd",
                "authentication.htpasswd_file": write_users(tmp_path / "htpasswd", "alice"),
                "limits.requests_per_second": 0.001,
                "limits.request_burst": BURST,
            },
        )
        authentication = app.build_authentication(settings)
        return AsgiClient(app.build_main(instance.registry, settings, Metrics("0.1"), None, authentication))

    return make


@pytest.mark.parametrize("name", REFUSED_EARLY)
async def test_what_is_refused_early_counts(limited: Callable[[], AsgiClient], name: str) -> None:
    method, path, headers, status = REFUSED_EARLY[name]
    client = limited()
    statuses = [(await client.request(method, path, headers=headers)).status for _ in range(BURST + 1)]
    assert statuses == [status] * BURST + [429]
    late = await client.request(method, path, headers=headers)
    assert late.header("retry-after")


async def test_a_user_does_not_pay_for_strangers_at_the_same_address(limited: Callable[[], AsgiClient]) -> None:
    client = limited()
    for _ in range(BURST + 1):
        await client.request("GET", "/v2/", headers={"authorization": basic("alice", "wrong")})
    known = {"authorization": basic("alice", "alicealice")}
    assert (await client.request("GET", "/v2/", headers=known)).status == 200
