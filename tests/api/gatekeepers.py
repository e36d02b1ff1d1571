"""Registries behind a gate: users with passwords, rules, and clients who come as one of them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from roadstead.access import Policy, Rule
from roadstead.identity import Passwords
from roadstead.identity.hashes import sha1
from roadstead.testing.asgi import AsgiClient
from roadstead.web.authentication import Authentication
from roadstead.web.context import CERTIFICATE_USER_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from roadstead.testing.asgi import Answer, Body
    from roadstead.testing.instance import Instance
    from roadstead.web.http import Receive, Scope, Send

REALM: Final = "a registry"

RuleWords = tuple[list[str], list[str], list[str]]
"""Users, repositories, actions."""


def basic(user: str, password: str, encoding: str = "utf-8") -> str:
    """The header of a user."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode(encoding)).decode()


def write_users(path: Path, *users: str) -> Path:
    """A file of users, each with a password of twice the name; the quickest kind of hash."""
    path.write_bytes(b"".join(b"%b:%b\n" % (user.encode(), sha1((user * 2).encode())) for user in users))
    return path


@dataclass(frozen=True)
class Visitor:
    """A client who comes with some credentials."""

    name: str
    client: AsgiClient
    headers: Mapping[str, str] = field(default_factory=dict)

    async def __call__(self, method: str, target: str, *, body: Body = b"", **headers: str) -> Answer:
        """The answer to a request; underscores in names of headers are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.request(method, target, headers={**self.headers, **sent}, body=body)


class Gate:
    """A registry behind a gate, and whoever comes to it."""

    def __init__(self, instance: Instance, file: Path | None, *rules: RuleWords) -> None:
        """Without a ``file`` nobody can log in."""
        self.instance = instance
        self.file = file
        passwords = Passwords(file, instance.clock, remember_seconds=60) if file else None
        policy = Policy([Rule.parse(*rule) for rule in rules], can_log_in=file is not None)
        self.authentication = Authentication(policy, passwords, realm=REALM)
        self.client = instance.client_of(self.authentication)

    def user(self, name: str, password: str | None = None) -> Visitor:
        """Who comes with a password: the right one unless another is given."""
        word = name * 2 if password is None else password
        return Visitor(name, self.client, {"authorization": basic(name, word)})

    def nobody(self) -> Visitor:
        """Who comes with nothing."""
        return Visitor("nobody", self.client)

    def holder(self, certificate_user: str, headers: Mapping[str, str] | None = None) -> Visitor:
        """Who comes with a client certificate, perhaps also with a password."""
        application = self.client._application

        async def with_certificate(scope: Scope, receive: Receive, send: Send) -> None:
            await application({**scope, CERTIFICATE_USER_KEY: certificate_user}, receive, send)

        return Visitor(certificate_user, AsgiClient(with_certificate), headers or {})

    def close(self) -> None:
        """Ends the threads that check passwords."""
        self.authentication.close()
