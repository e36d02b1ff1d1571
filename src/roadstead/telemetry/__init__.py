"""Reports about the server: logs, the access log, metrics."""

from roadstead.telemetry.access import AccessLog, AccessRecord
from roadstead.telemetry.log_writer import LogWriter, log_stream
from roadstead.telemetry.logs import bind_request_id, configure_logging, is_human, set_log_level
from roadstead.telemetry.metrics import Metrics
from roadstead.telemetry.requests import RequestCounters

__all__ = [
    "AccessLog",
    "AccessRecord",
    "LogWriter",
    "Metrics",
    "RequestCounters",
    "bind_request_id",
    "configure_logging",
    "is_human",
    "log_stream",
    "set_log_level",
]
