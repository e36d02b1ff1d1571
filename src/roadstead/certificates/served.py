"""Loads and watches the certificate with which a server answers, and replaces it while connections go on.

Promises: a connection keeps the certificate it began with; the next one has the new; a pair that cannot be used leaves
the old one in its place and is logged with the reason, once. What counts is the content of the files at one moment: a
change is taken up when it has been still for one look, so that a certificate whose key is just being copied does not
look like somebody else's.
"""

import asyncio
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from roadstead.certificates.context import ContextRules, build_context
from roadstead.certificates.errors import CertificateError, CertificateUnreadableError
from roadstead.certificates.model import CertificateFacts
from roadstead.certificates.reading import facts_of, read_pair
from roadstead.clock import Clock

LOOK_SECONDS: Final = 1.0
"""Time between two looks at the files; each look takes a few calls of ``stat``."""

REMIND_SECONDS: Final = 12 * 3600
"""Time between two log lines about a certificate that ends soon."""

_Signature = tuple[tuple[int, int, int, int] | None, ...]

_log = structlog.get_logger("roadstead.certificates")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairFiles:
    """The files of certificate and key, which may be one. ``is_awaited``: they may also be made later."""

    certificate: Path
    key: Path
    rules: ContextRules = field(default_factory=ContextRules)
    is_awaited: bool = False

    def all(self) -> Sequence[Path]:
        """Returns every file whose change makes a new context necessary."""
        clients = self.rules.client_authorities if self.rules.client_certificates != "off" else ()
        return (self.certificate, self.key, *clients)


class ServedCertificate:
    """The certificate of a server's listener, which changes with its files."""

    def __init__(self, files: PairFiles, clock: Clock) -> None:
        """Keeps its arguments; nothing is loaded before ``load``."""
        self._files = files
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._facts: CertificateFacts | None = None
        self._loaded: _Signature = ()
        self._seen: _Signature = ()
        self._failed: _Signature = ()
        self._reminded: float | None = None

    def context(self) -> ssl.SSLContext | None:
        """The context that new connections use; None until there is a certificate."""
        return self._context

    @property
    def facts(self) -> CertificateFacts | None:
        """The facts about the certificate that is served; None until there is one."""
        return self._facts

    @property
    def is_failing(self) -> bool:
        """True if the files have changed and cannot be used, so that the old certificate is still served."""
        return bool(self._failed)

    def check(self) -> None:
        """Reads the files, to see that they can be used, and keeps nothing of them.

        Raises:
            CertificateError: they cannot be used.
        """
        if not self._is_to_come():
            self._read()

    def load(self) -> None:
        """Loads the files for the first time.

        Raises:
            CertificateError: they cannot be used.
        """
        if self._is_to_come():
            _log.info("no certificate yet: clients are turned away until there is one")
        else:
            self._take(self._look())

    def reload(self) -> None:
        """Loads the files again at once, because somebody asked for it."""
        self._try(self._look())

    async def watch(self) -> None:
        """Loads the files again whenever they change, until cancelled."""
        while True:
            self.look()
            self._remind()
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Looks at the files once; loads them if they changed and have been still since the last look."""
        found = self._look()
        is_still, self._seen = found == self._seen, found
        if is_still and found not in {self._loaded, self._failed}:
            if self._files.is_awaited and found[0] is None:
                return
            self._try(found)

    def _try(self, found: _Signature) -> None:
        try:
            self._take(found)
        except CertificateError as error:
            self._failed = found
            _log.error("certificate not loaded, what was served before is kept", reason=str(error))

    def _is_to_come(self) -> bool:
        return self._files.is_awaited and not self._files.certificate.exists()

    def _read(self) -> tuple[ssl.SSLContext, CertificateFacts]:
        files = self._files
        facts = facts_of(read_pair(files.certificate, files.key))
        try:
            return build_context(files.certificate, files.key, files.rules), facts
        except OSError as error:  # since the line above, the file was taken away
            raise CertificateUnreadableError(files.certificate, str(error)) from error

    def _take(self, found: _Signature) -> None:
        self._context, self._facts = self._read()
        facts = self._facts
        self._loaded = self._seen = found
        self._failed = ()
        self._reminded = None
        names = ",".join(facts.names)
        days = round(facts.days_left(self._clock.now_ms()), 1)
        _log.info("certificate loaded", names=names, fingerprint=facts.fingerprint, days_left=days)

    def _look(self) -> _Signature:
        return tuple(_sign(path) for path in self._files.all())

    def _remind(self) -> None:
        facts, now = self._facts, self._clock.monotonic_seconds()
        if facts is None or (self._reminded is not None and now - self._reminded < REMIND_SECONDS):
            return
        now_ms = self._clock.now_ms()
        days = round(facts.days_left(now_ms), 1)
        if facts.is_over(now_ms):
            _log.error("certificate is not valid now: clients refuse it", days_left=days)
        elif facts.is_near_end(now_ms):
            _log.warning("certificate ends soon", days_left=days)
        else:
            return
        self._reminded = now


def _sign(path: Path) -> tuple[int, int, int, int] | None:
    """Returns values that differ when a file does, links followed; None if there is no file."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one call a second and file
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
