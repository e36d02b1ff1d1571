"""The operations listener: health and metrics."""

from roadstead.web.operations.application import OperationsApplication
from roadstead.web.operations.checks import registry_checks
from roadstead.web.operations.fleet import FleetOperations
from roadstead.web.operations.health import Check, CheckResult, CheckState, serve_health

__all__ = [
    "Check",
    "CheckResult",
    "CheckState",
    "FleetOperations",
    "OperationsApplication",
    "registry_checks",
    "serve_health",
]
