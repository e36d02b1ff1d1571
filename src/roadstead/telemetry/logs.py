"""Structured logs: one pipeline for our own events and for those of libraries.

Promises: one event is one line (a traceback excepted, for people); no password, token or authorization header is
printed; the id of the request that caused an event is on it.
"""

import json
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, Literal, Protocol, TextIO

import msgspec
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from roadstead.telemetry.redaction import escape_control, escape_json, redact_named

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["auto", "human", "json"]

LEVELS: Final[dict[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_CHATTY: Final = ("alembic", "uvicorn", "uvicorn.error", "asyncio", "sqlalchemy")
"""Libraries whose INFO events repeat ours."""

_HEAD: Final = ("time", "level", "event", "logger", "request_id")

_request_id: ContextVar[str] = ContextVar("request_id", default="")


def bind_request_id(request_id: str) -> None:
    """Puts the id on every event of the current task from here on. A request has a task of its own."""
    _request_id.set(request_id)


class _Stream(Protocol):
    def isatty(self) -> bool: ...


def is_human(log_format: Format, stream: _Stream) -> bool:
    """Returns True if lines are for people: asked for, or ``auto`` on a terminal."""
    return log_format == "human" or (log_format == "auto" and stream.isatty())


def configure_logging(stream: TextIO, *, level: Level = "info", log_format: Format = "auto") -> None:
    """Sends all logs to ``stream``; may be called again, the last call counts."""
    human = is_human(log_format, stream)
    render: Processor = _human_renderer(colors=stream.isatty()) if human else _render_json
    structlog.configure(
        processors=[*_processors(), render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=_LoggerFactory(stream),
        cache_logger_on_first_use=False,  # so that a new level counts for loggers that exist
    )
    _configure_standard_library(stream, render, LEVELS[level])


def set_log_level(level: Level) -> None:
    """Changes the least severe level that is printed, for instance when the server is asked to reload."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]))
    _set_library_levels(LEVELS[level])


class _LoggerFactory:
    """A factory that gives every logger its name, and one stream to all of them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, name: str = "", *_: object) -> "_NamedLogger":
        return _NamedLogger(self._stream, name)


class _NamedLogger(structlog.WriteLogger):
    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name


def _configure_standard_library(stream: TextIO, render: Processor, level: int) -> None:
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_processors(),
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    handler.set_name("roadstead")
    root = logging.getLogger()
    root.handlers[:] = [old for old in root.handlers if old.get_name() != "roadstead"] + [handler]
    access = logging.getLogger("uvicorn.access")  # ours is cheaper and says more
    access.handlers.clear()
    access.propagate = False
    _set_library_levels(level)


def _set_library_levels(level: int) -> None:
    logging.getLogger().setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def _processors() -> list[Processor]:
    return [
        _add_request_id,
        _add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _redact,
        _in_order,
    ]


def _add_request_id(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    request_id = _request_id.get()
    if request_id:
        event.setdefault("request_id", request_id)
    return event


def _add_logger_name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record: logging.LogRecord | None = event.get("_record")
    name = record.name if record is not None else getattr(logger, "name", "")
    if name:
        event.setdefault("logger", name)
    return event


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value if name.startswith("_") else redact_named(name, value) for name, value in event.items()}


def _in_order(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    head = {name: event[name] for name in _HEAD if name in event}
    return {**head, **{name: value for name, value in event.items() if name not in head}}


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    try:
        return escape_json(msgspec.json.encode(event, enc_hook=str).decode())
    except UnicodeEncodeError:  # lone surrogates, from file names that are no UTF-8
        return escape_json(json.dumps(event, default=str, ensure_ascii=False).encode("utf-8", "replace").decode())


def _human_renderer(*, colors: bool) -> Processor:
    console: Callable[..., str] = structlog.dev.ConsoleRenderer(
        colors=colors,
        timestamp_key="time",
        exception_formatter=structlog.dev.plain_traceback,  # the pretty one prints local variables: secrets
    )

    def render(logger: WrappedLogger, method: str, event: EventDict) -> str:
        cleaned: dict[str, Any] = {
            name: escape_control(value) if isinstance(value, str) else value for name, value in event.items()
        }
        return console(logger, method, cleaned)

    return render
