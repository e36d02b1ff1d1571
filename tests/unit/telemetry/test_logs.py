"""One pipeline for all logs, and what never gets into it."""

import contextvars
import io
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import structlog

from roadstead.telemetry import bind_request_id, configure_logging, is_human, set_log_level


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure_logging(stream, log_format="json")
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_with_its_fields_in_order(stream: io.StringIO) -> None:
    structlog.get_logger("roadstead.test").info("blob stored", size_bytes=5, digest="sha256:abc")
    (line,) = lines(stream)
    assert list(line) == ["time", "level", "event", "logger", "size_bytes", "digest"]
    assert line["event"] == "blob stored"
    assert line["logger"] == "roadstead.test"
    assert line["time"].endswith("Z")


def test_libraries_go_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("alembic").warning("running %s", "0001")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("running 0001", "warning", "alembic")


def test_chatter_of_libraries_is_left_out_unless_debugging(stream: io.StringIO) -> None:
    logging.getLogger("uvicorn.error").info("Started server process")
    assert not lines(stream)
    set_log_level("debug")
    logging.getLogger("uvicorn.error").info("Started server process")
    assert len(lines(stream)) == 1


def test_a_new_level_counts_for_loggers_that_exist(stream: io.StringIO) -> None:
    logger = structlog.get_logger("roadstead.test")
    logger.debug("unseen")
    set_log_level("debug")
    logger.debug("seen")
    set_log_level("error")
    logger.warning("unseen")
    assert [line["event"] for line in lines(stream)] == ["seen"]


def test_the_request_id_is_on_every_event_of_its_task(stream: io.StringIO) -> None:
    logger = structlog.get_logger()

    def in_request() -> None:
        bind_request_id("id-1")
        logger.info("ours")
        logging.getLogger("alembic").error("theirs")

    contextvars.copy_context().run(in_request)
    logger.info("another")
    assert [line.get("request_id") for line in lines(stream)] == ["id-1", "id-1", None]


def test_a_traceback_is_in_the_line_of_its_event(stream: io.StringIO) -> None:
    def fail() -> None:
        raise ValueError("postgresql://me:hidden@host/db is wrong")

    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = lines(stream)
    assert "Traceback (most recent call last)" in line["exception"]
    assert "hidden" not in line["exception"]


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_secrets_are_not_printed(log_format: Any) -> None:
    stream = io.StringIO()
    configure_logging(stream, log_format=log_format)
    structlog.get_logger().warning(
        "s3://key:hidden@host failed",
        authorization="Basic hidden",
        headers=[(b"authorization", b"Bearer hidden"), (b"host", b"x")],
        nested={"admin_password": "hidden", "deep": {"set-cookie": "hidden"}},
        said="the header was Bearer hiddenhidden.hidden",
        registry_token="hidden",
    )
    logging.getLogger("sqlalchemy").error("cannot connect to %s", "postgresql://me:hidden@host/db")
    assert "hidden" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 2


def test_a_value_that_is_no_utf8_is_printed_all_the_same(stream: io.StringIO) -> None:
    structlog.get_logger().info("odd name", name="caf\udce9", kind=object)
    assert lines(stream)[0]["event"] == "odd name"


def test_people_get_colours_on_a_terminal_and_nothing_that_drives_it() -> None:
    stream = Terminal()
    configure_logging(stream)
    structlog.get_logger().info("hello", name="\x1b]0;title\x07")
    assert "\x1b[" in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()
    assert "\\x1b]0;title\\x07" in stream.getvalue()


def test_the_format_follows_the_stream_unless_told() -> None:
    assert is_human("auto", Terminal())
    assert not is_human("auto", io.StringIO())
    assert is_human("human", io.StringIO())
    assert not is_human("json", Terminal())


def test_configuring_again_replaces_what_was(stream: io.StringIO) -> None:
    second = io.StringIO()
    configure_logging(second, log_format="json")
    logging.getLogger("alembic").error("once")
    structlog.get_logger().info("twice")
    assert not lines(stream)
    assert len(lines(second)) == 2
