"""Several clients at once, a process each, started together by a barrier.

Each client makes its connections and its content before the barrier; the time runs from the first start to the last
end, on the one clock that all processes of a machine share.
"""

from __future__ import annotations

import gc
import multiprocessing
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.synchronize import Barrier

    from benchmarks.model import Sample

CLIENT_SECONDS = 900
"""A client that has not ended by then is taken as hung."""

AMOUNT = "amount"
"""The key under which a client says how much it did: bytes, requests, images."""


class Client(Protocol):
    """One client: `prepare` is not timed; `run` is, and says under AMOUNT how much was done."""

    def prepare(self) -> None:
        """Connect and make content."""

    def run(self) -> Sample:
        """Do the work."""


class ClientFailedError(RuntimeError):
    """A client raised; the message is the client's."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one client did, and when."""

    begin: float
    end: float
    cpu_seconds: float
    found: Sample


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all clients did together."""

    amount: float
    seconds: float
    client_cpu_seconds: float
    found: Sequence[Sample]

    @property
    def rate(self) -> float:
        """The amount per second."""
        return self.amount / self.seconds

    @property
    def cores(self) -> float:
        """The cores that the clients used."""
        return self.client_cpu_seconds / self.seconds


def run_clients(clients: Sequence[Client]) -> Outcome:
    """Run the clients in processes of their own and add up what they did."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(clients))
    queue: multiprocessing.queues.SimpleQueue[Report | str] = context.SimpleQueue()
    processes = [context.Process(target=_run, args=(client, barrier, queue.put), daemon=True) for client in clients]
    for process in processes:
        process.start()
    reports = [queue.get() for _ in processes]
    for process in processes:
        process.join(CLIENT_SECONDS)
    return _sum(reports)


def _sum(reports: Sequence[Report | str]) -> Outcome:
    good = []
    for report in reports:
        if isinstance(report, str):
            raise ClientFailedError(report)
        good.append(report)
    return Outcome(
        amount=sum(report.found[AMOUNT] for report in good),
        seconds=max(report.end for report in good) - min(report.begin for report in good),
        client_cpu_seconds=sum(report.cpu_seconds for report in good),
        found=[report.found for report in good],
    )


def _run(client: Client, barrier: Barrier, put: Callable[[Report | str], None]) -> None:
    try:
        client.prepare()
        gc.disable()
        barrier.wait(CLIENT_SECONDS)
        cpu, begin = _cpu_seconds(), time.perf_counter()
        found = client.run()
        put(Report(begin, time.perf_counter(), _cpu_seconds() - cpu, found))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent has to hear of it
        barrier.abort()
        put(f"{type(error).__name__}: {error}")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
