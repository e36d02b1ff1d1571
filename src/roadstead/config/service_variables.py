"""Recognises variables that Kubernetes and linked containers set to describe services beside a container.

A service called ``registry``, ``registry-auth`` or ``roadstead-http`` puts ``REGISTRY_PORT``, ``REGISTRY_AUTH_PORT`` or
``ROADSTEAD_HTTP_PORT`` and their like into every container of its namespace; none of them is configuration.

Source: Kubernetes, "Environment variables" of "Service"; Docker, "Legacy container links".
"""

import re
from typing import Final

_URL: Final = re.compile(r"(?:tcp|udp|sctp)://\S+")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_ANYTHING: Final = re.compile(r".*")

_FORMS: Final = (
    (re.compile(r"\w+_PORT(?:_[0-9]{1,5}_(?:TCP|UDP|SCTP))?"), _URL),
    (re.compile(r"\w+_PORT_[0-9]{1,5}_(?:TCP|UDP|SCTP)_(?:PROTO|PORT|ADDR)"), _ANYTHING),
    (re.compile(r"\w+_SERVICE_HOST"), _ANYTHING),
    (re.compile(r"\w+_SERVICE_PORT(?:_\w+)?"), _PORT),
)
"""Patterns of such a variable's name and value: a key of a configuration may be called port too, but has no such
value."""


def is_of_a_service(name: str, value: str) -> bool:
    """Returns True if a variable describes a service."""
    return any(form.fullmatch(name) and content.fullmatch(value) for form, content in _FORMS)
