"""Fixtures of the tests behind real proxies: servers with settings, proxies with files, a certificate."""

from __future__ import annotations

import secrets
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests import skips
from tests.system.proxies.machinery import Certificate, ConfiguredServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.system.proxies.machinery import Proxy


@pytest.fixture(scope="session")
def certificate(scratch: Path) -> Certificate:
    """What the proxies show their clients."""
    skips.require("openssl")
    return Certificate(scratch / "certificate")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what was entered in a test, the last first."""
    with ExitStack() as entered:
        yield entered


@pytest.fixture
def configured(scratch: Path, stack: ExitStack) -> Callable[..., ConfiguredServer]:
    """Starts registries of a test's own, with the text of a settings file; each must end well."""

    def start(settings: str, *arguments: str) -> ConfiguredServer:
        folder = scratch / f"configured-{secrets.token_hex(3)}"
        stack.callback(shutil.rmtree, folder)
        running = stack.enter_context(ConfiguredServer(folder, settings, *arguments))
        stack.callback(running.shut_down)
        return running

    return start


@pytest.fixture
def proxied(scratch: Path, stack: ExitStack) -> Callable[..., Proxy]:
    """Starts proxies of a kind with a file."""

    def start(kind: Callable[[Path, str], Proxy], text: str) -> Proxy:
        folder = scratch / f"proxy-{secrets.token_hex(3)}"
        stack.callback(shutil.rmtree, folder)
        return stack.enter_context(kind(folder, text))

    return start
