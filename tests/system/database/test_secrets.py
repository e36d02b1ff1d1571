"""Servers on two machines share their secrets: a renewed key within a second, a rotation without a pause.

Each server is a process with its own data folder and its own file of master keys.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from tests.system.database.replicas import ROADSTEAD, Installation
from tests.system.faults.client import Client
from tests.system.faults.server import environment
from tests.system.process import until
from tests.system.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(300)]

KEY_FILE = "ROADSTEAD_SECRETS__MASTER_KEY_FILE"


class Machine:
    """One machine's file of master keys, its settings, and a process that signs."""

    def __init__(self, installation: Installation, name: str) -> None:
        self._installation = installation
        self.file = installation.folder / f"{name}.key"
        self.config = installation.folder / f"{name}.yaml"
        self.config.write_text(json.dumps({"secrets": {"master_key_file": str(self.file)}}))
        settings = {"database.url": installation.url, "data.folder": installation.folder / "nowhere"}
        self.environment = environment({**settings, "secrets.master_key_file": self.file})
        self._process: subprocess.Popen[bytes] | None = None
        self._said = installation.folder / f"{name}.said"

    def command(self, *words: str, exit_code: int | None = 0) -> str:
        """What a command prints here."""
        return self._installation.command(*words, exit_code=exit_code, env={KEY_FILE: str(self.file)})

    def start(self) -> None:
        """Begins to sign."""
        script = Path(__file__).with_name("following.py")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen([sys.executable, script], env=self.environment, stdout=said)

    def said(self) -> list[dict[str, Any]]:
        """What the process has said so far."""
        return [json.loads(line) for line in self._said.read_text().splitlines() if line.endswith("}")]

    def waits_for(self, generation: int) -> float:
        """When it signed with this generation for the first time."""
        until(lambda: any(each["generation"] == generation for each in self.said()), what=f"generation {generation}")
        return float(next(each["at"] for each in self.said() if each["generation"] == generation))

    def stop(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def machines(installation: Installation) -> Iterator[tuple[Machine, Machine]]:
    """Two machines with the same master key, on a new catalogue."""
    one, two = Machine(installation, "one"), Machine(installation, "two")
    installation.command("db", "migrate")
    installation.command("secrets", "new-key", str(one.file))
    two.file.write_bytes(one.file.read_bytes())
    yield one, two
    one.stop()
    two.stop()


def test_both_sign_with_a_renewed_key_within_a_second(machines: tuple[Machine, Machine]) -> None:
    for machine in machines:
        machine.start()
        machine.waits_for(1)
    for generation in range(2, 6):
        before = time.monotonic()
        machines[generation % 2].command("secrets", "renew", "tokens")
        renewed = time.monotonic()
        for machine in machines:
            assert before < machine.waits_for(generation) < renewed + 1
    for machine in machines:
        assert [each["generation"] for each in machine.said()] == [1, 2, 3, 4, 5]
        assert not any(each["problem"] for each in machine.said())


def test_what_is_revoked_is_refused_within_a_second(machines: tuple[Machine, Machine]) -> None:
    for machine in machines:
        machine.start()
        machine.waits_for(1)
    machines[0].command("secrets", "renew", "--signing", "--revoke")
    revoked = time.monotonic()
    for machine in machines:
        machine.waits_for(2)
        until(lambda: machine.said()[-1]["problem"] == "not verified: 1", what="the old one is refused")  # noqa: B023
        assert machine.said()[-1]["at"] < revoked + 1


def fill(machine: Machine, credentials: int) -> None:
    """Many credentials, so that a rotation takes a while."""
    script = (
        "import asyncio\n"
        "from roadstead.app import build_secrets, open_registry\n"
        "from roadstead.config import load_settings\n"
        "async def fill():\n"
        "    settings = load_settings(None)\n"
        "    async with open_registry(settings, needs_storage=False) as registry:\n"
        "        secrets = build_secrets(registry.database, registry.clock, settings)\n"
        f"        for number in range({credentials}):\n"
        "            await secrets.put_credential(f'endpoint/{number}', b'value')\n"
        "asyncio.run(fill())\n"
    )
    subprocess.run([sys.executable, "-c", script], env=machine.environment, check=True)


async def killed_at(url: str, machine: Machine, name: str) -> None:
    """A rotation that is killed while it seals this secret: it is kept waiting for its row until it is dead."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM secrets WHERE name = $1 FOR UPDATE", name)
            rotating = await asyncio.create_subprocess_exec(ROADSTEAD, "secrets", "rotate", env=machine.environment)
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
            while not await connection.fetchval(waiting):  # noqa: ASYNC110 - the server does not tell
                await asyncio.sleep(0.02)
            rotating.kill()
            await rotating.wait()
    finally:
        await connection.close()


def test_a_rolling_rotation_that_is_killed_again_and_again(
    installation: Installation, machines: tuple[Machine, Machine]
) -> None:
    one, two = machines
    names = [f"endpoint/{number}" for number in range(700)]
    fill(one, len(names))
    for machine in machines:
        machine.start()
        machine.waits_for(1)
    old = one.file.read_bytes()
    one.command("secrets", "new-key", str(one.file))
    assert one.file.read_bytes() != old
    new_id = json.loads(one.command("secrets", "status", "--json"))["keys"][0]
    done = [asyncio.run(killed_at(installation.url, one, name)) for name in sorted(names)[50::250]]
    counted = json.loads(one.command("secrets", "status", "--json"))["sealed"]
    assert counted[new_id] in range(1, 701), "killed in the middle"
    assert [machine.said()[-1]["problem"] for machine in machines] == ["", ""]
    assert len(done) == 3
    one.command("secrets", "rotate")
    found = json.loads(one.command("secrets", "status", "--json"))
    assert (found["sealed"], found["master_key"]) == ({new_id: 701}, new_id)
    # The other machine has only the old file: its process goes on, its commands are refused and say what is missing.
    refused = json.loads(two.command("secrets", "status", "--json", exit_code=1).splitlines()[0])
    assert refused["missing"] == [new_id]
    two.file.write_bytes(one.file.read_bytes())
    one.command("secrets", "renew", "tokens")
    for machine in machines:
        machine.waits_for(2)
        assert [(each["generation"], each["problem"]) for each in machine.said()] == [(1, ""), (2, "")]
    for machine in machines:  # the old key opens nothing any more
        machine.file.write_text("\n".join(one.file.read_text().splitlines()[:2]) + "\n")
        assert json.loads(machine.command("secrets", "status", "--json"))["opens_everything"]


def refusal(installation: Installation, name: str, *arguments: str) -> str:
    """What a server says that does not start."""
    listen = ["--listen", f"127.0.0.1:{free_port()}", "--ops-listen", f"127.0.0.1:{free_port()}"]
    data = ["--data", str(installation.folder / name)]
    ended = subprocess.run(
        [str(ROADSTEAD), "serve", *listen, *data, *installation.arguments, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment({}),
    )
    assert ended.returncode == 2, ended
    return ended.stderr


def test_a_server_with_another_key_does_not_start(
    installation: Installation, machines: tuple[Machine, Machine]
) -> None:
    one, two = machines
    first = installation.started("first", "--config", str(one.config))
    key = json.loads(one.command("secrets", "status", "--json"))["master_key"]
    assert key, "a key that is given is that of the installation before the first secret"
    two.file.unlink()
    installation.command("secrets", "new-key", str(two.file))
    said = refusal(installation, "second", "--config", str(two.config))
    assert f"{two.file}: secrets of this registry are sealed under master key {key}" in said
    assert "give this server the key file that the others have" in said
    said = refusal(installation, "second")
    assert "there is no master key, and servers that share a catalogue must all have the same" in said
    two.file.unlink()
    assert f"{two.file} does not exist" in refusal(installation, "second", "--config", str(two.config))
    two.file.write_bytes(one.file.read_bytes().replace(b"\n", b"\r\n"))
    two.file.chmod(0o644)
    second = installation.started("second", "--config", str(two.config), "--workers", "2")
    assert "every user of this machine may read the master key" in second.log()
    with Client(first.port) as client, Client(second.port) as other:
        manifest = client.push_image("app", "v1", [b"layer"])
        assert other.manifest("app", "v1") == manifest


def test_replicas_without_secrets_need_no_key(installation: Installation) -> None:
    installation.started("one")
    assert json.loads(installation.command("secrets", "status", "--json"))["opens_everything"]
    assert "secrets.master_key_file" in installation.command("secrets", "rotate", exit_code=2)


def test_sealed_rows_are_copied_as_they_are(installation: Installation, machines: tuple[Machine, Machine]) -> None:
    one, _ = machines
    fill(one, 3)
    target = installation.folder / "copy.db"
    one.command("db", "copy", "--to", f"sqlite://{target}")
    copied = {"ROADSTEAD_DATABASE__URL": f"sqlite://{target}", KEY_FILE: str(one.file)}
    listed = installation.command("secrets", "list", env=copied)
    assert listed == one.command("secrets", "list")
    assert json.loads(installation.command("secrets", "status", "--json", env=copied))["opens_everything"]
