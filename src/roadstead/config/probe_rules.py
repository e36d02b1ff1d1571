"""Checks the values of ``health`` and the rules for URLs beyond their types: they are used as written."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from roadstead.config.address import ListenAddress
from roadstead.config.http_rules import Fault
from roadstead.config.sections import ContentSettings
from roadstead.config.serving_sections import HealthSettings


def health_faults(health: HealthSettings) -> Iterator[Fault]:
    """Yields the faults of health checks that would fail for ever, and so shut the registry."""
    for url in health.urls:
        if not _is_url(url):  # which may have a password in it, so it is not printed
            yield Fault(
                "health.urls", "one of them is no URL", "write scheme and host, such as http://127.0.0.1/status"
            )
    for address in health.addresses:
        if not _is_address(address):
            yield Fault(
                "health.addresses", f"{address!r} is no address", "write HOST:PORT, such as database.example.com:5432"
            )


def content_faults(content: ContentSettings) -> Iterator[Fault]:
    """Yields the faults of the rules for URLs of layers."""
    rules = {
        "content.foreign_urls_allow": content.foreign_urls_allow,
        "content.foreign_urls_deny": content.foreign_urls_deny,
    }
    for key, expressions in rules.items():
        for expression in expressions:
            try:
                re.compile(expression)
            except re.error as error:
                yield Fault(key, f"{expression!r} is no regular expression: {error}", "write it as Python's re has it")


def _is_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in {"http", "https"} and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        return False


def _is_address(text: str) -> bool:
    try:
        return ListenAddress.parse(text).port > 0 and not text.startswith((":", "*"))
    except ValueError:
        return False
