"""Empty buckets for any test: on real servers that speak S3, each of which lies differently.

The servers are started once a worker, and only when a test asks for one; each test has a bucket of its own. Where a
program is absent the test is skipped, and says what would install it. Enabled by `pytest_plugins = ["tests.buckets"]`
in `tests/conftest.py`.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import boto3
import pytest
from botocore.config import Config

from roadstead.storage.bucket_place import BucketPlace
from tests.skips import require
from tests.system.process import Daemon
from tests.system.servers import free_port
from tests.system.swift import USER, SwiftServer
from tests.system.tools import path_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from mypy_boto3_s3 import S3Client

PROGRAMS: Final = Path(sys.executable).parent
ACCESS_KEY: Final = "roadstead"
SECRET_KEY: Final = "secret-of-tests"
KINDS: Final = ("moto", "nanio", "swift", "versitygw")


@dataclass(frozen=True, slots=True)
class TestBucket:
    """A bucket on a server of this run, and a client of the vendor's for looking at it from outside."""

    __test__ = False

    endpoint: str
    name: str
    access_key: str = ACCESS_KEY

    @property
    def url(self) -> str:
        """Its address, as settings name it."""
        return f"s3://{self.name}/some/prefix?endpoint={self.endpoint}"

    @property
    def place(self) -> BucketPlace:
        """The same, parsed."""
        return BucketPlace.parse(self.url)

    @property
    def client(self) -> S3Client:
        """The vendor's own client."""
        return _client(self.endpoint, self.access_key)

    def list_keys(self) -> list[str]:
        """All that is in it."""
        return [each["Key"] for each in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def uploads(self) -> list[str]:
        """The keys of multipart uploads that were begun and neither completed nor aborted."""
        return [each["Key"] for each in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])]


class BucketServer(Daemon):
    """A server that speaks S3, in a folder of its own, on a free port of this machine."""

    def __init__(self, *command: str | Path) -> None:
        self.port = free_port()
        folder = Path(tempfile.mkdtemp(prefix="roadstead-bucket-"))
        (folder / "data").mkdir()
        words = [str(word).format(port=self.port, folder=folder) for word in command]
        env = {**os.environ, "NANIO_ACCESS_KEY": ACCESS_KEY, "NANIO_SECRET_KEY": SECRET_KEY}
        super().__init__(words, folder=folder, is_ready=self._answers, env=env)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and remove the folder."""
        super().__exit__(kind, error, trace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        """Start."""
        return super().__enter__()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def new_bucket(port: int, access_key: str = ACCESS_KEY) -> TestBucket:
    """An empty bucket on the server at a port."""
    bucket = TestBucket(f"http://127.0.0.1:{port}", f"bucket-{secrets.token_hex(6)}", access_key)
    bucket.client.create_bucket(Bucket=bucket.name)
    return bucket


def _client(endpoint: str, access_key: str) -> S3Client:
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=access_key,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


@pytest.fixture(scope="session")
def moto() -> Iterator[BucketServer]:
    """moto: everything, conditional puts too; it looks at no signature."""
    with BucketServer(PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", "{port}") as server:
        yield server


@pytest.fixture(scope="session")
def nanio() -> Iterator[BucketServer]:
    """nanio: signatures are verified, objects are files; no conditional put."""
    serve = ("serve", "--data-dir", "{folder}/data", "--host", "127.0.0.1", "--port", "{port}")
    with BucketServer(PROGRAMS / "nanio", *serve) as server:
        yield server


@pytest.fixture(scope="session")
def swift() -> Iterator[SwiftServer]:
    """Swift: a production S3 API, which verifies signatures and answers 501 to conditional puts."""
    require("swift")
    with SwiftServer(SECRET_KEY) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw() -> Iterator[BucketServer]:
    """versitygw: signatures are verified, objects are files."""
    require("versitygw")
    words = ("--access", ACCESS_KEY, "--secret", SECRET_KEY, "--port", "127.0.0.1:{port}", "posix", "{folder}/data")
    with BucketServer(path_of("versitygw"), *words) as server:
        yield server


@pytest.fixture(params=KINDS)
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> TestBucket:
    """An empty bucket of each kind, whose credentials are in the environment, where the library looks for them."""
    access_key = USER if request.param == "swift" else ACCESS_KEY
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    return new_bucket(request.getfixturevalue(request.param).port, access_key)
