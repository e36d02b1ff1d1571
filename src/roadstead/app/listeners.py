"""The applications of the listeners."""

import functools
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from roadstead.certificates.serving import keep_certificate
from roadstead.clock import SystemClock
from roadstead.config import Settings
from roadstead.config.networks import NetworkSet
from roadstead.jobs import Lease
from roadstead.registry import Registry
from roadstead.storage.probe import probe_folder
from roadstead.telemetry import AccessLog, Metrics
from roadstead.web.authentication import Authentication
from roadstead.web.distribution import Distribution, is_change
from roadstead.web.external_url import Locations, needs_locations
from roadstead.web.forwarding import Forwarding
from roadstead.web.http import Application, Receive, Scope, Send
from roadstead.web.maintenance_gate import HealthGate, MaintenanceGate, StorageGate
from roadstead.web.middleware import AnswerHeaders, RequestMiddleware
from roadstead.web.operations import (
    FleetOperations,
    HealthMonitor,
    OperationsApplication,
    certificate_check,
    listed_probes,
    passwords_check,
    registry_checks,
    serve_health,
    serve_root,
    stopping_check,
    storage_probe,
)
from roadstead.web.rates import ClientRates, RateLimit

if TYPE_CHECKING:  # it brings cryptography, which a server without TLS does not need
    from roadstead.certificates.served import ServedCertificate

from roadstead.app.installation import data_folder

_log = structlog.get_logger("roadstead.app")


def build_main(
    registry: Registry,
    settings: Settings,
    metrics: Metrics,
    access_log: AccessLog | None,
    authentication: Authentication,
    monitor: HealthMonitor | None = None,
) -> Application:
    """The main listener's application: the content plane, ``/`` and ``/healthz``; shut while ``monitor`` says so."""
    http = settings.http
    distribution = Distribution(
        registry,
        settings.limits,
        authentication,
        accel_location=http.accel_location,
        deletion=settings.content.deletion,
        rates=build_rates(settings, metrics),
    )

    async def answering_all(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/":
            await serve_root(scope, receive, send)
        else:
            await distribution(scope, receive, send)

    gated: Application = MaintenanceGate(
        StorageGate(answering_all, registry.storage.find_absence, is_change), registry.maintenance, is_change
    )
    if monitor is not None:
        gated = HealthGate(gated, monitor.is_healthy)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/healthz":
            await serve_health(scope, receive, send)
        else:
            await gated(scope, receive, send)

    counted = metrics if settings.metrics.enabled else None
    answering = RequestMiddleware(
        Locations(application, http) if needs_locations(http) else application,
        metrics=counted,
        access_log=access_log,
        headers=AnswerHeaders(http.headers, prefix=http.prefix),
    )
    return Forwarding(answering, NetworkSet.parse(http.trusted_proxies)) if http.trusted_proxies else answering


def build_rates(settings: Settings, metrics: Metrics) -> ClientRates | None:
    """The limit on each client's requests, None where there is none."""
    limits = settings.limits
    if not limits.requests_per_second:
        return None
    return ClientRates(
        RateLimit(limits.requests_per_second, limits.request_burst, SystemClock()), metrics.count_refusal
    )


def build_monitor(registry: Registry, settings: Settings) -> HealthMonitor:
    """The probes that the settings ask for, under registry:2's names."""
    probes = listed_probes(settings.health)
    if settings.health.storage_interval_seconds:
        root = data_folder(settings).objects
        look = functools.partial(registry.storage.find_absence, is_recent_enough=False)  # or it writes to a mount point
        probes["storagedriver_filesystem"] = storage_probe(
            lambda is_writing: probe_folder(root, is_writing=is_writing, find_absence=look),
            lambda: not registry.maintenance.is_still,
            settings.health,
        )
    return HealthMonitor(probes)


def build_operations(
    registry: Registry,
    settings: Settings,
    metrics: Metrics,
    monitor: HealthMonitor,
    is_stopping: Callable[[], bool],
    authentication: Authentication,
    certificate: "ServedCertificate | None" = None,
) -> Application:
    """The operations listener's application: metrics and health."""
    checks = {
        **registry_checks(registry, minimum_free_bytes=settings.storage.minimum_free_bytes),
        **monitor.checks(),
        "stopping": stopping_check(is_stopping),
    }
    if authentication.can_log_in:
        checks["passwords"] = passwords_check(authentication.find_problem)
    if certificate is not None:
        checks["certificate"] = certificate_check(certificate, registry.clock)
    return OperationsApplication(metrics if settings.metrics.enabled else None, checks)


def keep_the_certificate(
    certificate: "ServedCertificate | None", registry: Registry, settings: Settings
) -> list[Coroutine[None, None, None]]:
    """The coroutines that renew the certificate and take up a new one; none without TLS."""
    return keep_certificate(
        certificate, settings, registry.clock, Lease(registry.database, registry.clock, "acme").take
    )


def build_fleet_operations(sockets: Mapping[str, Path]) -> FleetOperations:
    """The operations listener's application of a parent: what its workers say on their own ``sockets``."""
    return FleetOperations(sockets)
