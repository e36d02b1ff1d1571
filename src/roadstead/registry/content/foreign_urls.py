"""Which URLs a layer may name as its source.

Source: registry:2's ``validation.manifests.urls`` (``ocimanifesthandler.go``, ``schema2manifesthandler.go``): with
rules, each URL of a layer must be http or https, have no fragment, match one of those allowed if there are any, and
none of those denied. An expression matches anywhere in the URL, as in Go. Without rules nothing is looked at.

Expressions are the administrator's, URLs are a client's: an expression that backtracks without end on a URL made for
it would stop the whole process. So URLs are short, and matching is ended after a tenth of a second of processor time,
which refuses the manifest.
"""

import contextlib
import re
import signal
import threading
from collections.abc import Generator, Sequence
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

from roadstead.oci import Manifest
from roadstead.oci.errors import ManifestInvalidError

URL_LENGTH: Final = 2048
"""Longest URL that is looked at; those of real foreign layers have about a hundred characters."""

URLS: Final = 1000
"""Most URLs of one manifest that are looked at; real ones have one for each of a few layers."""

MATCHING_SECONDS: Final = 0.1
"""Processor time for all URLs of one manifest; a thousand with ten expressions each take a hundredth of that."""


class UrlRuleInvalidError(ValueError):
    """A rule is no regular expression."""

    def __init__(self, expression: str, reason: str) -> None:
        super().__init__(f"{expression!r} is no regular expression: {reason}")
        self.expression = expression


class _LateError(Exception):
    """Matching takes too long."""


class UrlRules:
    """The rules of ``content.foreign_urls_allow`` and ``content.foreign_urls_deny``."""

    def __init__(self, allow: Sequence[str] = (), deny: Sequence[str] = ()) -> None:
        """Regular expressions.

        Raises:
            UrlRuleInvalidError: one of them is none.
        """
        self._allow = [_compiled(expression) for expression in allow]
        self._deny = [_compiled(expression) for expression in deny]

    def require_allowed(self, manifest: Manifest) -> None:
        """Looks at all URLs of all layers.

        Raises:
            ManifestInvalidError: one is not allowed; its pointer says which.
        """
        if not self._allow and not self._deny:
            return
        urls = [
            (url, f"/layers/{layer}/urls/{number}")
            for layer, blob in enumerate(manifest.layers)
            for number, url in enumerate(blob.urls)
        ]
        if len(urls) > URLS:
            raise ManifestInvalidError(f"more than {URLS} URLs of layers", "/layers")
        pointer = ""
        try:
            with _processor_time(MATCHING_SECONDS):
                for url, pointer in urls:
                    if not self._is_allowed(url):
                        raise ManifestInvalidError("this registry does not allow a layer to name this URL", pointer)
        except _LateError:
            raise ManifestInvalidError("the rules for URLs take too long on this URL", pointer) from None

    def _is_allowed(self, url: str) -> bool:
        if len(url) > URL_LENGTH or not _is_plain(url):
            return False
        if self._allow and not any(expression.search(url) for expression in self._allow):
            return False
        return not any(expression.search(url) for expression in self._deny)


def _compiled(expression: str) -> "re.Pattern[str]":
    try:
        return re.compile(expression)
    except re.error as error:
        raise UrlRuleInvalidError(expression, str(error)) from None


def _is_plain(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and not parts.fragment


@contextlib.contextmanager
def _processor_time(seconds: float) -> Generator[None, None, None]:
    """Raises ``_LateError`` inside once the process has computed for so long; ``re`` looks at signals as it matches.

    Only the main thread gets signals: elsewhere there is no limit, but no server runs there either.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise _LateError

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
