"""The operations listener: health and metrics."""

from roadstead.web.operations.application import OperationsApplication
from roadstead.web.operations.certificate_check import certificate_check
from roadstead.web.operations.checks import passwords_check, registry_checks, stopping_check
from roadstead.web.operations.fleet import FleetOperations
from roadstead.web.operations.health import Check, CheckResult, CheckState, serve_health, serve_root
from roadstead.web.operations.monitor import HealthMonitor, Probe
from roadstead.web.operations.probes import listed_probes, storage_probe

__all__ = [
    "Check",
    "CheckResult",
    "CheckState",
    "FleetOperations",
    "HealthMonitor",
    "OperationsApplication",
    "Probe",
    "certificate_check",
    "listed_probes",
    "passwords_check",
    "registry_checks",
    "serve_health",
    "serve_root",
    "stopping_check",
    "storage_probe",
]
