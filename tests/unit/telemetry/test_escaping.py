"""No character of a client's that is not visible gets into a log as it is, in either format."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from roadstead.telemetry import AccessLog, AccessRecord, configure_logging
from roadstead.telemetry.redaction import escape_control, escape_json

HOSTILE = "\x00\x1b\r\n\x7f\x85\x9b31m\xad\u200b\u2028\u2029\u202e\u2066\ufeff\U000e0001"
"""C0, DEL, C1 (the terminals' one-byte CSI too), a soft hyphen, no width, separators, direction, marks, tags."""

TEXT = f"a{HOSTILE}grüße☃😀"

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def require_one_clean_line(written: str) -> str:
    line, end = written[:-1], written[-1]
    assert end == "\n"
    assert line.isprintable(), repr(line)
    assert "grüße☃😀" in line, "what is visible stays readable"
    return line


@pytest.mark.parametrize("is_human", [True, False], ids=["human", "json"])
@pytest.mark.parametrize("field", ["method", "path", "client", "user_agent", "repository", "actor"])
async def test_the_access_log(field: str, *, is_human: bool) -> None:
    stream = io.BytesIO()
    log = AccessLog(stream, is_human=is_human)
    record = AccessRecord("", "id", "GET", "/v2/", 200, 2, 0.1, "192.0.2.7", "docker", "base", "app", "alice")
    setattr(record, field, TEXT)
    log.record(record)
    log.flush()
    if is_human and field == "repository":  # not in this format
        assert "a" in stream.getvalue().decode()
        return
    line = require_one_clean_line(stream.getvalue().decode())
    if not is_human:
        assert json.loads(line)[field] == TEXT


@pytest.mark.parametrize("log_format", ["human", "json"])
@pytest.mark.parametrize("value", [TEXT, [TEXT], {"name": TEXT}, ValueError(TEXT), TEXT.encode()])
def test_events(log_format: str, value: object) -> None:
    stream = io.StringIO()
    configure_logging(stream, log_format="human" if log_format == "human" else "json")
    structlog.get_logger("roadstead.test").warning("request failed", reason=value)
    logging.getLogger("some.library").warning("it said %s", "x" if log_format == "human" else value)
    for line in stream.getvalue().splitlines(keepends=True):
        assert line[:-1].isprintable(), repr(line)
    first = stream.getvalue().split("\n")[0]
    require_one_clean_line(first + "\n")


def test_a_library_s_message_for_people_cannot_drive_the_terminal() -> None:
    stream = io.StringIO()
    configure_logging(stream, log_format="human")
    logging.getLogger("some.library").warning("it said %s", TEXT)
    assert stream.getvalue().replace("\n", "").isprintable()


@given(st.text())
def test_a_json_text_says_the_same_when_it_is_escaped(text: str) -> None:
    escaped = escape_json(json.dumps(text, ensure_ascii=False))
    assert escaped.isprintable()
    assert json.loads(escaped) == text


@given(st.text())
def test_what_is_kept_is_all_that_is_left(text: str) -> None:
    assert escape_control(text).replace("\n", "").replace("\t", "").isprintable()
    assert escape_control(text, keep="").isprintable()
