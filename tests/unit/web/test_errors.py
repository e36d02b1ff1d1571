"""Every error that the code foresees has its row, or a parent that tells it sensibly; no answer gives anything away."""

import importlib
import json
import pkgutil
from collections.abc import Iterator

import pytest

import roadstead
from roadstead.database import DatabaseBusyError, DatabaseError
from roadstead.errors import RoadsteadError
from roadstead.oci import ErrorCode
from roadstead.storage import ObjectUnknownError, StorageError, StorageUnavailableError
from roadstead.web.errors import DETAILS, PROBLEMS, error_response, problem_of

OUTSIDE = (
    "roadstead.cli",
    "roadstead.config",
    "roadstead.app",
    "roadstead.certificates",
    "roadstead.testing",
    "roadstead.backup",
    "roadstead.registry.garbage.holds",
    "roadstead.remotes",
)
"""Whose errors end a command or a start, and never reach a client."""

STARTS = (
    "DataFolderError",
    "DataFolderBusyError",
    "DataFolderForbiddenError",
    "RuleInvalidError",
    "HashRefusedError",
    "PasswordFileInvalidError",
    "StorageUnconfirmedError",
    "BucketUrlInvalidError",
)


def subclasses(kind: type[RoadsteadError]) -> Iterator[type[RoadsteadError]]:
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def errors_of_requests() -> list[type[RoadsteadError]]:
    for package in ("oci", "database", "storage", "registry", "web"):
        path = importlib.import_module(f"roadstead.{package}").__path__
        for module in pkgutil.walk_packages(path, f"roadstead.{package}."):
            if "migrations" not in module.name:
                importlib.import_module(module.name)
    found = [kind for kind in set(subclasses(RoadsteadError)) if kind.__module__.startswith(f"{roadstead.__name__}.")]
    return [kind for kind in found if not kind.__module__.startswith(OUTSIDE) and kind.__name__ not in STARTS]


def test_every_error_is_told() -> None:
    untold = [kind.__name__ for kind in errors_of_requests() if not any(parent in PROBLEMS for parent in kind.__mro__)]
    assert not untold, f"give them a row in roadstead.web.errors: {untold}"
    assert len(errors_of_requests()) >= len(PROBLEMS)


def test_what_a_person_reads_names_no_path() -> None:
    error = StorageUnavailableError("docker/registry/v2/blobs/sha256/ab/data", "Input/output error")
    body = error_response(error).body.decode()
    assert "docker/registry" not in body
    assert "Input/output error" in body


@pytest.mark.parametrize("kind", list(PROBLEMS))
def test_rows(kind: type[RoadsteadError]) -> None:
    assert 400 <= PROBLEMS[kind].status <= 507
    assert isinstance(PROBLEMS[kind].code, ErrorCode)


def test_details_belong_to_errors_that_are_told() -> None:
    assert set(DETAILS) <= set(PROBLEMS)


def test_an_error_that_nobody_foresaw() -> None:
    class StrangeError(RoadsteadError):
        """Of no row."""

    assert problem_of(StrangeError()).status == 500
    assert json.loads(error_response(StrangeError("x")).body) == {
        "errors": [{"code": "UNKNOWN", "message": "x", "detail": None}]
    }


@pytest.mark.parametrize(
    "error", [DatabaseBusyError(30), DatabaseError("x"), StorageError("x"), ObjectUnknownError("k")]
)
def test_what_may_pass_asks_to_be_tried_again(error: RoadsteadError) -> None:
    response = error_response(error)
    assert response.status == 503
    assert (b"retry-after", b"5") in response.headers
