"""Two replicas behind HAProxy, every request on another one: they are one registry, and either may die or freeze."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.conformance.program import TIMEOUT_SECONDS
from tests.conformance.test_conformance import require
from tests.conformance.test_conformance import run as run_conformance
from tests.system.database.replicas import Installation
from tests.system.faults.client import NETWORK_ERRORS, Client, RefusedError
from tests.system.oracle import Witness
from tests.system.proxies.machinery import Haproxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.servers import RegistryServer

pytestmark = [pytest.mark.needs("postgresql", "haproxy"), pytest.mark.timeout(TIMEOUT_SECONDS + 120)]

CONFIGURATION = """
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
    option redispatch
    retries 2

frontend registry
    bind 127.0.0.1:PORT
    default_backend replicas

backend replicas
    balance roundrobin
    option httpchk GET /healthz
    default-server inter 300ms fall 2 rise 1
    server one 127.0.0.1:ONE check
    server other 127.0.0.1:OTHER check
"""


@pytest.fixture
def replicas(installation: Installation) -> tuple[RegistryServer, RegistryServer]:
    return installation.started("one"), installation.started("other")


@pytest.fixture
def balancer(installation: Installation, replicas: tuple[RegistryServer, RegistryServer]) -> Iterator[Haproxy]:
    one, other = replicas
    text = CONFIGURATION.replace("ONE", str(one.port)).replace("OTHER", str(other.port))
    with Haproxy(installation.folder / "balancer", text) as found:
        yield found


def requests(server: RegistryServer) -> float:
    """The number of requests to its main listener that a replica has answered."""
    text = httpx.get(f"http://127.0.0.1:{server.operations_port}/metrics", trust_env=False).text
    return sum(
        float(number)
        for number in re.findall(r"^registry_http_request_duration_seconds_count\{.*\} (\S+)$", text, re.MULTILINE)
    )


@pytest.mark.needs("oci-conformance")
def test_every_request_on_another_replica(
    installation: Installation, replicas: tuple[RegistryServer, RegistryServer], balancer: Haproxy
) -> None:
    outcome = run_conformance(balancer, installation.folder / "results", OCI_VERSION="dev", OCI_DATA_SPARSE="false")
    require(outcome, tests=950, disabled=frozenset({"Sparse Manifests"}))
    answered = [requests(server) for server in replicas]
    assert min(answered) > 0.4 * sum(answered), answered
    for server in replicas:
        server.check()


class Pushes(threading.Thread):
    """A client that pushes images through the balancer, and knows which were acknowledged."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        self.acknowledged: list[str] = []
        self.refused = 0
        self.has_to_end = threading.Event()

    def run(self) -> None:
        """Push one after the other until told to end."""
        while not self.has_to_end.is_set():
            tag = secrets.token_hex(4)
            try:
                with Client(self.port, timeout_seconds=30) as client:
                    client.push_image("team/app", tag, [os.urandom(20_000), os.urandom(3_000)])
                self.acknowledged.append(tag)
            except (RefusedError, *NETWORK_ERRORS):
                self.refused += 1
                time.sleep(0.05)


def test_either_may_die_or_freeze(replicas: tuple[RegistryServer, RegistryServer], balancer: Haproxy) -> None:
    pushes = [Pushes(balancer.port) for _ in range(3)]
    for each in pushes:
        each.start()
    try:
        for victim in replicas:
            time.sleep(1)
            os.kill(victim.pid, signal.SIGSTOP)
            time.sleep(1.5)
            os.kill(victim.pid, signal.SIGCONT)
            time.sleep(0.5)
            victim.kill()
            time.sleep(1)
            victim.start()
        time.sleep(1)
    finally:
        for each in pushes:
            each.has_to_end.set()
        for each in pushes:
            each.join(60)
    acknowledged = [tag for each in pushes for tag in each.acknowledged]
    assert len(acknowledged) > 5
    for server in replicas:
        with contextlib.closing(Witness(server.url)) as witness:
            for tag in acknowledged:
                witness.everything("team/app", tag)
