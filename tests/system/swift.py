"""OpenStack Swift with its S3 API, as processes of a test run: the servers of Debian, on one folder.

A production S3 API that is not Amazon's: it verifies signatures, answers 501 to conditional puts, and is eventually
consistent by design, though hardly on one machine. Under root it runs as root.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.system.process import Daemon, run
from tests.system.servers import free_port
from tests.system.tools import program_of

if TYPE_CHECKING:
    from types import TracebackType

USER: Final = "test:tester"
_RINGS: Final = ("account", "container", "object")

_SWIFT: Final = """
[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = p0
default = yes
"""

_STORAGE: Final = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {folder}
devices = {folder}/dev
mount_check = false
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
[{kind}-replicator]
[{kind}-auditor]
"""

_PIPELINE: Final = "catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo symlink proxy-server"
_PROXY: Final = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = root
swift_dir = {folder}
log_level = WARNING
[pipeline:main]
pipeline = {pipeline}
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = no
location = us-east-1
dns_compliant_bucket_names = no
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:slo]
use = egg:swift#slo
min_segment_size = 1
"""


class SwiftServer:
    """All of Swift's servers; a context manager."""

    def __init__(self, secret: str) -> None:
        self.port = free_port()
        self._secret = secret
        self._folder = Path(tempfile.mkdtemp(prefix="roadstead-swift-"))
        self._daemons: list[Daemon] = []

    def __enter__(self) -> Self:
        """Start."""
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop, and remove the folder."""
        self._stop()

    def _start(self) -> None:
        (self._folder / "dev" / "d1").mkdir(parents=True)
        (self._folder / "swift.conf").write_text(_SWIFT)
        memcached = free_port()
        listen = ["-l", "127.0.0.1", "-p", str(memcached), "-U", "0", "-u", "root"]
        self._run("memcached", memcached, program_of("swift", "memcached"), *listen)
        for kind in _RINGS:
            port = free_port()
            self._make_ring(kind, port)
            self._serve(kind, port, _STORAGE.format(kind=kind, port=port, folder=self._folder))
        filters = "".join(
            f"[filter:{name}]\nuse = egg:swift#{name}\n"
            for name in ("catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "dlo", "symlink")
        )
        proxy = _PROXY.format(
            port=self.port, folder=self._folder, pipeline=_PIPELINE, secret=self._secret, memcached=memcached
        )
        self._serve("proxy", self.port, proxy + filters)

    def _make_ring(self, kind: str, port: int) -> None:
        builder = self._folder / f"{kind}.builder"
        program = program_of("swift", "swift-ring-builder")
        run([program, builder, "create", "4", "1", "1"])
        run([program, builder, "add", f"r1z1-127.0.0.1:{port}/d1", "1"])
        run([program, builder, "rebalance"])

    def _serve(self, kind: str, port: int, text: str) -> None:
        file = self._folder / f"{kind}.conf"
        file.write_text(text)
        self._run(kind, port, program_of("swift", f"swift-{kind}-server"), file)

    def _run(self, name: str, port: int, *command: str | Path) -> None:
        daemon = Daemon(list(command), folder=self._folder / "run" / name, is_ready=lambda: _listens(port))
        self._daemons.append(daemon)
        daemon.start()

    def _stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
