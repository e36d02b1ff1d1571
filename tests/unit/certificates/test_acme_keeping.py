"""When a certificate is ordered, how often after a failure, and by whom; the ACME server is in `tests/system/tls`."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from roadstead.certificates import CertificateOrderError, acme_keeping
from roadstead.certificates.acme_keeping import AcmeKeeper
from roadstead.certificates.authority import issue_server, make_authority, make_key
from roadstead.certificates.hosts import parse_hosts
from roadstead.certificates.model import DAY_MS, Host
from roadstead.testing.clock import SettableClock

HOSTS = parse_hosts(["registry.example.com"])
HOUR = 3600.0

pytestmark = pytest.mark.anyio


class Orders:
    """Gives certificates of 90 days, or what it was told to raise."""

    def __init__(self, clock: SettableClock) -> None:
        self.orders: list[int] = []
        self.error: CertificateOrderError | None = None
        self.wish_ms: int | None = None
        self._clock = clock
        self._authority = make_authority("acme", make_key("ecdsa"), clock.now_ms())

    def order(self, hosts: Sequence[Host]) -> bytes:
        """As the real one."""
        self.orders.append(self._clock.now_ms())
        if self.error is not None:
            raise self.error
        made = issue_server(self._authority, hosts, make_key("ecdsa"), self._clock.now_ms(), 90)
        return made.key_pem + made.certificate_pem

    def wished_renewal_ms(self, certificate_pem: bytes) -> tuple[int | None, int]:
        """As the real one."""
        assert certificate_pem.startswith(b"-----BEGIN CERTIFICATE")
        return self.wish_ms, self._clock.now_ms() + DAY_MS


class Scene:
    """A keeper that looks without end, and the time that passes for it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acme_keeping, "ROUND_SECONDS", 0.001)
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.clock = SettableClock()
        self.orders = Orders(self.clock)
        self.rounds = 0
        self.is_ours = True

    async def ask(self) -> bool:
        """Whether this process may order."""
        self.rounds += 1
        return self.is_ours

    @contextlib.asynccontextmanager
    async def running(self, hosts: Sequence[Host] = HOSTS) -> AsyncIterator[AcmeKeeper]:
        """A keeper that runs until the end of the block."""
        keeper = AcmeKeeper(self.folder, hosts, self.clock, lambda: cast("Any", self.orders), self.ask)
        task = asyncio.create_task(keeper.run())
        try:
            yield keeper
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def pass_time(self, seconds: float = 0) -> None:
        """Lets time pass, then the keeper look at it a few times."""
        self.clock.advance(seconds)
        wanted = self.rounds + 3
        while self.rounds < wanted:  # noqa: ASYNC110 - what runs is the thing under test
            await asyncio.sleep(0.001)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path / "acme", monkeypatch)


async def test_a_certificate_is_ordered_once_and_renewed_when_a_third_of_its_life_is_left(scene: Scene) -> None:
    async with scene.running() as keeper:
        await scene.pass_time()
        assert len(scene.orders.orders) == 1
        assert keeper.pair_file.stat().st_mode & 0o777 == 0o600
        await scene.pass_time(59 * DAY_MS / 1000)
        assert len(scene.orders.orders) == 1
        await scene.pass_time(1.1 * DAY_MS / 1000)
        assert len(scene.orders.orders) == 2


async def test_the_servers_wish_comes_first(scene: Scene) -> None:
    scene.orders.wish_ms = scene.clock.now_ms() + 10 * DAY_MS
    async with scene.running():
        await scene.pass_time(9 * DAY_MS / 1000)
        assert len(scene.orders.orders) == 1
        await scene.pass_time(2 * DAY_MS / 1000)
        assert len(scene.orders.orders) >= 2


async def test_another_host_is_a_reason_to_order(scene: Scene) -> None:
    async with scene.running():
        await scene.pass_time()
    async with scene.running(parse_hosts(["registry.example.com", "other.example.com"])):
        await scene.pass_time()
    assert len(scene.orders.orders) == 2


async def test_a_spoilt_file_is_replaced(scene: Scene) -> None:
    (scene.folder / "server.pem").write_bytes(b"spoilt")
    async with scene.running():
        await scene.pass_time()
    assert len(scene.orders.orders) == 1


async def test_failures_are_tried_again_ever_more_rarely(scene: Scene) -> None:
    scene.orders.error = CertificateOrderError("no", 60)
    async with scene.running():
        await scene.pass_time()
        for minutes in (1, 2, 4, 8):
            before = len(scene.orders.orders)
            await scene.pass_time(minutes * 60 - 1)
            assert len(scene.orders.orders) == before
            await scene.pass_time(1)
            assert len(scene.orders.orders) == before + 1
        for _ in range(12):
            await scene.pass_time(6 * HOUR)
        assert len(scene.orders.orders) >= 15, "never more rarely than every six hours"
        scene.orders.error = None
        await scene.pass_time(6 * HOUR)
        assert (scene.folder / "server.pem").exists()


async def test_a_server_that_fails_for_months_is_still_asked(scene: Scene) -> None:
    scene.orders.error = CertificateOrderError("no", 60.0)
    async with scene.running() as keeper:
        await scene.pass_time()
        keeper._failures = 5000
        await scene.pass_time(6 * HOUR)
        scene.orders.error = None
        await scene.pass_time(6 * HOUR)
        assert (scene.folder / "server.pem").exists()


async def test_a_rate_limit_survives_a_restart_and_other_failures_do_not(scene: Scene) -> None:
    scene.orders.error = CertificateOrderError("too many", 3600)
    async with scene.running():
        await scene.pass_time()
    scene.orders.error = None
    async with scene.running():
        await scene.pass_time(30 * 60)
        assert len(scene.orders.orders) == 1
        await scene.pass_time(31 * 60)
        assert len(scene.orders.orders) == 2
    assert not (scene.folder / "not-before").exists()


async def test_a_clock_that_was_wrong_shuts_nobody_out_for_long(scene: Scene) -> None:
    (scene.folder / "not-before").write_text(f"{scene.clock.now_ms() + 10_000 * DAY_MS}\n")
    async with scene.running():
        await scene.pass_time()
        assert not scene.orders.orders
        await scene.pass_time(6 * HOUR + 1)
    assert len(scene.orders.orders) == 1


async def test_only_one_process_orders(scene: Scene) -> None:
    scene.is_ours = False
    async with scene.running():
        await scene.pass_time()
        assert not scene.orders.orders
        scene.is_ours = True
        await scene.pass_time()
    assert len(scene.orders.orders) == 1


async def test_the_right_to_order_is_kept_while_an_order_takes_its_time(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acme_keeping, "LEASE_SECONDS", 0.001)
    asked: list[int] = []
    order: Callable[[Sequence[Host]], bytes] = scene.orders.order

    def slow(hosts: Sequence[Host]) -> bytes:
        before = scene.rounds
        while scene.rounds < before + 3:
            time.sleep(0.001)
        asked.append(scene.rounds - before)
        return order(hosts)

    monkeypatch.setattr(scene.orders, "order", slow)
    async with scene.running():
        while not (scene.folder / "server.pem").exists():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
    assert asked[0] >= 3
