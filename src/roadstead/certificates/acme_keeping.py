"""Keeps a certificate from an ACME server: ordered when there is none, renewed in time, by one process of the fleet.

::

    secrets/acme/account.key  the account
    secrets/acme/server.pem   key and certificate with its chain in one file, so that a renewal is one rename
    secrets/acme/not-before   until when the server wants to be left alone (rate limit); survives a restart

A certificate is renewed when a third of its life is left, or earlier where the server wishes so (ARI). A failure is
tried again after a time that doubles, and what is served stays as it is.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from roadstead.certificates.errors import CertificateError, CertificateOrderError
from roadstead.certificates.files import PUBLIC, SECRET, replace
from roadstead.certificates.model import CertificateFacts, Host
from roadstead.certificates.reading import facts_of, read_file, read_pair
from roadstead.clock import Clock
from roadstead.errors import RoadsteadError

if TYPE_CHECKING:  # it brings requests and pyOpenSSL, which only an order needs
    from roadstead.certificates.acme_order import AcmeOrders

_T = TypeVar("_T")

ROUND_SECONDS: Final = 5.0
"""Time between two looks at the clock, and at which process may order."""

LEASE_SECONDS: Final = 10.0
"""Time between two renewals of the right to order, while an order is in progress."""

RENEWED_AT_SHARE: Final = 3
"""A certificate is renewed when a third (one in this number) of its life is left."""

LONGEST_RETRY_SECONDS: Final = 6 * 3600.0

_DOUBLED: Final = 16
"""Number of times that a wait is doubled at most: enough in practice, and the number stays small after months of
failures."""

_log = structlog.get_logger("roadstead.certificates")


class AcmeKeeper:
    """The keeper of the certificate for ``hosts`` in ``folder``: orders it, and renews it in time."""

    def __init__(
        self,
        folder: Path,
        hosts: Sequence[Host],
        clock: Clock,
        make_orders: "Callable[[], AcmeOrders]",
        is_ours: Callable[[], Awaitable[bool]],
    ) -> None:
        """Keeps its arguments; ``is_ours`` takes or renews the right to order; False while another process has it."""
        self._folder = folder
        self._hosts = hosts
        self._clock = clock
        self._make_orders = make_orders
        self._is_ours = is_ours
        self._failures = 0
        self._not_before_seconds = 0.0
        """Time of the next order, by the monotonic clock, as for all waits here: the calendar's clock may jump."""
        self._wish: tuple[str, int | None, float] = ("", None, 0.0)

    @property
    def pair_file(self) -> Path:
        """The file that holds both key and certificate."""
        return self._folder / "server.pem"

    async def run(self) -> None:
        """Orders and renews the certificate until cancelled."""
        self._not_before_seconds = self._clock.monotonic_seconds() + self._read_wait_seconds()
        while True:
            try:
                if await self._is_ours() and await self._is_due():
                    await self._order()
            except CertificateError as error:
                self._put_off(error)
            except RoadsteadError as error:  # an error of the catalogue, which keeps the right to order
                _log.error("background work failed", work="acme", reason=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def _is_due(self) -> bool:
        now_ms = self._clock.now_ms()
        if self._clock.monotonic_seconds() < self._not_before_seconds:
            return False
        facts = self._facts()
        if facts is None or not {host.name for host in self._hosts} <= set(facts.names):
            return True
        lifetime_ms = facts.not_after_ms - facts.not_before_ms
        if now_ms >= facts.not_after_ms - lifetime_ms // RENEWED_AT_SHARE:
            return True
        wish_ms = await self._wished_ms(facts, now_ms)
        return wish_ms is not None and now_ms >= wish_ms

    def _facts(self) -> CertificateFacts | None:
        try:
            return facts_of(read_pair(self.pair_file, self.pair_file))
        except CertificateError:
            return None  # none yet, or spoilt: a new one takes its place

    async def _wished_ms(self, facts: CertificateFacts, now_ms: int) -> int | None:
        """Returns the time at which the server wants the certificate renewed; asks it as often as it says."""
        serial, wish_ms, ask_seconds = self._wish
        if serial != facts.serial or self._clock.monotonic_seconds() >= ask_seconds:
            content = read_file(self.pair_file)
            certificate = content[content.index(b"-----BEGIN CERTIFICATE") :]
            orders = await _in_thread(self._make_orders)
            try:
                wish_ms, ask_ms = await _in_thread(lambda: orders.wished_renewal_ms(certificate))
            except CertificateOrderError as error:  # nothing is lost: it is asked for again, and renewed in time anyway
                _log.debug("no wish for renewal", reason=error.reason)
                wish_ms, ask_ms = None, now_ms + 6 * 3600 * 1000
            wait = min(max(ask_ms - now_ms, 0) / 1000, LONGEST_RETRY_SECONDS)
            self._wish = (facts.serial, wish_ms, self._clock.monotonic_seconds() + wait)
        return wish_ms

    async def _order(self) -> None:
        orders = await _in_thread(self._make_orders)
        ordering = asyncio.ensure_future(_in_thread(lambda: orders.order(self._hosts)))
        while not (await asyncio.wait({ordering}, timeout=LEASE_SECONDS))[0]:
            await self._is_ours()
        pem = ordering.result()
        replace(self.pair_file, pem, SECRET)
        self._failures = 0
        with contextlib.suppress(OSError):
            self._not_before_file.unlink()
        _log.info("certificate ordered", names=",".join(host.name for host in self._hosts))

    def _put_off(self, error: CertificateError) -> None:
        seconds = error.retry_after_seconds if isinstance(error, CertificateOrderError) else None
        wait = min((seconds or 60.0) * 2.0 ** min(self._failures, _DOUBLED), LONGEST_RETRY_SECONDS)
        self._failures += 1
        self._not_before_seconds = self._clock.monotonic_seconds() + wait
        _log.error("certificate not ordered", reason=str(error), retry_seconds=round(wait))
        is_limited = seconds is not None and seconds >= 3600.0  # noqa: PLR2004 - see acme_order, which is not imported
        if is_limited:
            with contextlib.suppress(CertificateError):
                not_before_ms = self._clock.now_ms() + int(wait * 1000)
                replace(self._not_before_file, f"{not_before_ms}\n".encode("ascii"), PUBLIC)

    @property
    def _not_before_file(self) -> Path:
        return self._folder / "not-before"

    def _read_wait_seconds(self) -> float:
        try:
            found = int(self._not_before_file.read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0.0
        wait = (found - self._clock.now_ms()) / 1000
        return min(max(wait, 0.0), LONGEST_RETRY_SECONDS)  # whatever the clock was when it was written


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Runs ``work`` in a thread that the end of the process does not wait for, as it would for asyncio's own."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # no error means a result

    def run() -> None:
        try:
            outcome: tuple[_T | None, BaseException | None] = (work(), None)
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=run, name="acme", daemon=True).start()
    return await done
