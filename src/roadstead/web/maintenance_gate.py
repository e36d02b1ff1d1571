"""Gates in front of the application: shut for all, or for changes, while something else is more important.

A gate costs a pull one call and a look at its route, which is remembered; it is a plain function around the
application, not a coroutine.
"""

import asyncio
from collections.abc import Awaitable, Callable

from roadstead.errors import RoadsteadError
from roadstead.registry.errors import RegistryClosedError
from roadstead.registry.operation.maintenance import Maintenance, MaintenanceMode
from roadstead.storage import StorageAbsentError
from roadstead.web.errors import ServiceUnhealthyError, error_response
from roadstead.web.http import Application, Message, Receive, Response, Scope, Send

IsChange = Callable[[Scope], bool]
"""Says of a request whether it changes something: a plane's table of routes knows."""

Refuse = Callable[[RoadsteadError], Response]
"""Writes a refusal as a plane's clients understand it."""


class MaintenanceGate:
    """Refuses changes while the registry is read-only, and everything while it is closed.

    A body that is arriving when the mode changes is ended: its upload keeps what it has and can be continued later.
    """

    def __init__(
        self,
        application: Application,
        maintenance: Maintenance,
        is_change: IsChange,
        refuse: Refuse = error_response,
    ) -> None:
        self._is_change = is_change
        self._refuse = refuse
        self._application = application
        self._maintenance = maintenance

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        if self._is_change(scope):
            return self._change(scope, receive, send)
        if self._maintenance.state.mode is not MaintenanceMode.CLOSED:
            return self._application(scope, receive, send)
        return self._refuse(RegistryClosedError(self._maintenance.state.message)).send(send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._maintenance.refresh_if_stale()
        refusal = self._maintenance.find_refusal()
        if refusal is not None:
            await self._refuse(refusal).send(send)
            return
        body = _InterruptibleBody(receive, self._maintenance)
        with self._maintenance.under_way(body.interrupt):
            await self._application(scope, body.receive, send)


class _InterruptibleBody:
    """A request's body, that ends with an error once no changes are allowed any more."""

    __slots__ = ("_maintenance", "_receive", "_refusal", "_waiting")

    def __init__(self, receive: Receive, maintenance: Maintenance) -> None:
        self._receive = receive
        self._maintenance = maintenance
        self._refusal: RoadsteadError | None = None
        self._waiting: asyncio.Task[object] | None = None

    def interrupt(self) -> None:
        """Ends the wait for the next piece, if there is one, and all later ones."""
        if self._refusal is None:
            self._refusal = self._maintenance.find_refusal()
            if self._refusal is not None and self._waiting is not None:
                self._waiting.cancel()

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            RegistryReadOnlyError, RegistryClosedError: changes are not allowed any more.
        """
        if self._maintenance.is_stale:
            await self._maintenance.refresh()
        self._end(None)
        self._waiting = task = asyncio.current_task()
        try:
            return await self._receive()
        except asyncio.CancelledError:
            self._end(task)
            raise  # somebody else wants the request to end
        finally:
            self._waiting = None

    def _end(self, cancelled: "asyncio.Task[object] | None") -> None:
        """Raises the refusal if there is one, and takes back that ``interrupt`` has ``cancelled`` this task."""
        if self._refusal is not None and (cancelled is None or not cancelled.uncancel()):
            raise self._refusal from None


class HealthGate:
    """Refuses everything while a health check fails, as registry:2 does."""

    def __init__(self, application: Application, is_healthy: Callable[[], bool]) -> None:
        self._application = application
        self._is_healthy = is_healthy

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        if self._is_healthy():
            return self._application(scope, receive, send)
        return error_response(ServiceUnhealthyError()).send(send)


class StorageGate:
    """Refuses changes while the storage is not there: nothing could be kept. What needs no bytes is still answered."""

    def __init__(
        self,
        application: Application,
        find_absence: Callable[[], str],
        is_change: IsChange,
        refuse: Refuse = error_response,
    ) -> None:
        self._is_change = is_change
        self._refuse = refuse
        self._application = application
        self._find_absence = find_absence

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One request."""
        if self._is_change(scope) and (absence := self._find_absence()):
            return self._refuse(StorageAbsentError(absence)).send(send)
        return self._application(scope, receive, send)
