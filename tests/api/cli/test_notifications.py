"""``roadstead notifications``: what it shows, what it changes, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import yaml

from roadstead.app import open_registry
from roadstead.config import load_settings
from roadstead.webhooks import register
from roadstead.webhooks.endpoint_queue import EndpointQueue, Policy
from roadstead.webhooks.receiver import Answer, Result
from tests.api.cli.conftest import Command
from tests.databases import BOTH
from tests.factories.receivers import ReceivingServer, Reply
from tests.factories.registries import DATABASE_VARIABLE

DATABASES = BOTH

REFUSED: Final = Answer(Result.REFUSED, "400 Bad Request", 400)


@pytest.fixture
def server() -> Iterator[ReceivingServer]:
    with ReceivingServer() as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, server: ReceivingServer) -> Path:
    """Settings with two endpoints, one of which is not told of deletions."""
    endpoints = [
        {"name": "ci", "url": server.url, "threshold": 1, "headers": {"Authorization": ["Bearer 4f1c"]}},
        {"name": "audit", "url": server.url, "ignored_actions": ["delete"]},
    ]
    path = tmp_path / "roadstead.yaml"
    path.write_text(yaml.safe_dump({"notifications": {"endpoints": endpoints}}), encoding="utf-8")
    return path


async def forget_events(folder: Path, database_url: str) -> None:
    """Removes all events; the next one is the first."""
    if database_url:
        connection = await asyncpg.connect(database_url)
        await connection.execute("TRUNCATE events RESTART IDENTITY")
        await connection.close()
        return
    with contextlib.closing(sqlite3.connect(folder / "roadstead.db", isolation_level=None)) as file:
        file.execute("DELETE FROM events")
        file.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")


@pytest.fixture
def told(folder: Path, config: Path, command: Command, database_url: str) -> Command:
    """Two deletions, made by a command that was not told of any endpoint; ``ci`` has refused the first.

    The events of what is in the folder are gone, and numbers begin anew.
    """
    variables = {DATABASE_VARIABLE: database_url} if database_url else {}
    settings = load_settings(config, variables, {"data.folder": folder})

    async def begin() -> None:
        await forget_events(folder, database_url)
        async with open_registry(settings) as registry:
            await register(registry.database, registry.clock, settings.notifications)

    async def refuse() -> None:
        async with open_registry(settings) as registry:
            line = EndpointQueue(registry.database, registry.clock, Policy(settings.notifications.endpoints[0], 20))
            await line.load()
            next_event = await line.next()
            assert next_event is not None
            await line.failed(next_event, REFUSED)

    asyncio.run(begin())
    for tag in ("1.0", "latest"):
        assert command("rm", f"library/app:{tag}").exit_code == 0
    asyncio.run(refuse())
    return command


def rows(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_status(told: Command, config: Path) -> None:
    result = told("notifications", "status", "--config", str(config), "--json")
    assert result.exit_code == 1, "something is parked"
    ci, audit = rows(result)
    assert (ci["name"], ci["state"], ci["pending"], ci["parked"], ci["error"]) == (
        "ci",
        "failing",
        1,
        1,
        "400 Bad Request",
    )
    assert (audit["state"], audit["pending"], audit["parked"]) == ("telling", 0, 0)


def test_status_without_settings_knows_the_endpoints_of_the_catalogue(told: Command) -> None:
    states = {row["name"]: row["state"] for row in rows(told("notifications", "status", "--json"))}
    assert states == {"ci": "unknown", "audit": "unknown"}


def test_lists(told: Command, config: Path) -> None:
    def listed(*options: str) -> list[tuple[int, str, str, str]]:
        found = told.json("notifications", "list", "--config", str(config), *options)
        return [(row["event"], row["endpoint"], row["state"], row["tag"]) for row in found]

    assert listed() == [
        (2, "ci", "pending", "latest"),
        (2, "audit", "ignored", "latest"),
        (1, "ci", "parked", "1.0"),
        (1, "audit", "ignored", "1.0"),
    ]
    assert listed("--limit", "1") == [(2, "ci", "pending", "latest")]
    assert listed("--parked") == [(1, "ci", "parked", "1.0")]
    assert listed("--pending") == [(2, "ci", "pending", "latest")]
    assert listed("--endpoint", "audit", "--pending") == []


def test_a_terminal_gets_a_table(told: Command, config: Path) -> None:
    shown = told.terminal("notifications", "list", "--config", str(config), "--endpoint", "ci", columns=140)
    assert "ENDPOINT" in shown
    assert "400 Bad Request" in shown
    assert "Bearer" not in shown
    shown = told.terminal("notifications", "status", "--config", str(config))
    assert "LAST ERROR" in shown


def test_replay(told: Command, config: Path) -> None:
    def replay(*options: str) -> int:
        (done,) = told.json("notifications", "replay", "--endpoint", "ci", "--config", str(config), *options)
        return int(done["replayed"])

    assert replay("--parked") == 1
    (again,) = told.json("notifications", "list", "--parked")
    assert (again["state"], again["attempts"]) == ("again", 0)
    assert replay() == 0
    assert replay("--event", "1") == 1
    assert replay("--since", "2h") == 1, "what is pending comes anyway"
    assert replay("--since", "2999-01-01T00:00Z") == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--endpoint", "ci", "--event", "99"), 1, "no event 99"),
        (("--endpoint", "ci", "--event", "2"), 1, "was not told of event 2 yet"),
        (("--endpoint", "nobody", "--parked"), 1, "known: ci, audit"),
        (("--endpoint", "ci", "--parked", "--since", "1h"), 2, "choose one"),
        (("--endpoint", "ci", "--since", "yesterday"), 2, "no time such as"),
        (("--parked",), 2, "--endpoint"),
    ],
)
def test_replays_that_are_refused(told: Command, config: Path, options: tuple[str, ...], code: int, words: str) -> None:
    result = told("notifications", "replay", "--config", str(config), *options)
    assert result.exit_code == code
    assert words in result.stderr


def test_discard(told: Command, config: Path) -> None:
    def discard(*options: str) -> Any:
        return told("notifications", "discard", "--endpoint", "ci", "--config", str(config), *options)

    assert discard("--parked").exit_code == 2, "nobody is here to be asked"
    assert discard().exit_code == 2
    assert "1 event discarded" in discard("--event", "1").stdout
    assert discard("--event", "1").exit_code == 1
    assert "1 event discarded" in discard("--pending", "--yes").stdout
    assert "0 events discarded" in discard("--parked", "--yes").stdout
    assert told("notifications", "status", "--config", str(config)).exit_code in {0, 1}
    assert told.json("notifications", "list", "--pending", "--config", str(config)) == []


def test_a_test_event_shows_the_answer(told: Command, config: Path, server: ReceivingServer) -> None:
    arguments = ("notifications", "test", "--endpoint", "ci", "--config", str(config))
    (shown,) = told.json(*arguments)
    assert (shown["status"], shown["delivered"]) == (200, True)
    assert server.events[0]["target"]["repository"] == "roadstead/test"
    assert server.posted[0].headers["authorization"] == "Bearer 4f1c"
    server.reply = lambda _event: Reply(403)
    result = told(*arguments)
    assert (result.exit_code, "403 Forbidden" in result.stdout) == (1, True)
    server.stop()
    result = told(*arguments)
    assert result.exit_code == 3
    assert "ci does not answer" in result.stderr
    assert "4f1c" not in result.output
    assert told("notifications", "test", "--endpoint", "ci").exit_code == 1, "nobody said where it is"
