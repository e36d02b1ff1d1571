"""The kinds of probes: a storage, a file that should not be there, an address, a URL. Terms as in registry:2."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from roadstead.config import HealthSettings
from roadstead.storage.probe import Probed
from roadstead.web.operations.health import CheckResult, CheckState
from roadstead.web.operations.monitor import Probe

_T = TypeVar("_T")

_WELL = CheckResult(CheckState.OK)


class DetachedCall(Generic[_T]):
    """A blocking call in a thread of its own, which the end of the process does not wait for.

    On a network file system that hangs such a call returns never: whoever waits may give up, and the next one waits
    for the same call instead of beginning another, so that there is one thread however long it hangs.
    """

    def __init__(self, call: Callable[[], _T], name: str) -> None:
        self._call = call
        self._name = name
        self._running: asyncio.Future[_T] | None = None

    async def result(self) -> _T:
        """Returns the result of the running call, or of a new one."""
        if self._running is None:
            loop = asyncio.get_running_loop()
            self._running = running = loop.create_future()
            threading.Thread(target=self._run, args=(loop, running), name=self._name, daemon=True).start()
        return await asyncio.shield(self._running)

    def _run(self, loop: asyncio.AbstractEventLoop, running: "asyncio.Future[_T]") -> None:
        try:
            settle = functools.partial(running.set_result, self._call())
        except Exception as error:  # noqa: BLE001 - it is raised again where the call came from
            settle = functools.partial(running.set_exception, error)

        def finish() -> None:
            self._running = None
            settle()

        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(finish)


def storage_probe(probe: Callable[[bool], Probed], may_write: Callable[[], bool], settings: HealthSettings) -> Probe:
    """Returns a probe of the storage, made with ``probe``, which may write if ``may_write`` says so."""
    call = DetachedCall(lambda: probe(may_write()), "storage-probe")

    async def look() -> CheckResult:
        found = await call.result()
        if found.unreachable:
            return CheckResult(CheckState.FAILED, found.unreachable)
        if found.unwritable:
            return CheckResult(CheckState.DEGRADED, f"{found.unwritable}; pulls go on")
        return _WELL

    return Probe(
        look=look,
        interval_seconds=settings.storage_interval_seconds,
        timeout_seconds=settings.timeout_seconds,
        threshold=settings.storage_threshold,
    )


def listed_probes(settings: HealthSettings) -> dict[str, Probe]:
    """Returns the probes of files, URLs and addresses that the settings list, under registry:2's names."""
    looks: dict[str, tuple[Callable[[], Awaitable[CheckResult]], int]] = {}
    for path in settings.files:
        looks[str(path)] = (_file_look(path), 1)  # somebody wants the registry out of service now, as in registry:2
    for url in settings.urls:
        looks[shown_url(url)] = (_url_look(url, settings.timeout_seconds), settings.threshold)
    for address in settings.addresses:
        looks[address] = (_address_look(address), settings.threshold)
    return {
        name: Probe(
            look=look,
            interval_seconds=settings.interval_seconds,
            timeout_seconds=settings.timeout_seconds,
            threshold=threshold,
        )
        for name, (look, threshold) in looks.items()
    }


def _file_look(path: Path) -> Callable[[], Awaitable[CheckResult]]:
    call = DetachedCall(path.exists, "file-probe")

    async def look() -> CheckResult:
        return CheckResult(CheckState.FAILED, "file exists") if await call.result() else _WELL

    return look


def _address_look(address: str) -> Callable[[], Awaitable[CheckResult]]:
    host, _, port = address.rpartition(":")

    async def look() -> CheckResult:
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError:
            return CheckResult(CheckState.FAILED, f"connection to {address} failed")
        writer.close()
        return _WELL

    return look


def _url_look(url: str, timeout_seconds: float) -> Callable[[], Awaitable[CheckResult]]:
    async def look() -> CheckResult:
        import httpx  # noqa: PLC0415 - takes a tenth of a second, and only those who list URLs need it

        try:
            async with httpx.AsyncClient(timeout=timeout_seconds, trust_env=False) as client:
                status = (await client.head(url)).status_code
        except (httpx.HTTPError, httpx.InvalidURL):
            return CheckResult(CheckState.FAILED, f"error while checking: {shown_url(url)}")
        if status >= HTTPStatus.BAD_REQUEST:
            return CheckResult(CheckState.FAILED, f"downstream service returned unexpected status: {status}")
        return _WELL

    return look


def shown_url(url: str) -> str:
    """Returns a URL without the password that it may hold."""
    host = urlsplit(url).netloc
    return url.replace(host, host.rpartition("@")[2], 1) if "@" in host else url
