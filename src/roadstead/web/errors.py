"""The one table from errors to answers, in the specification's error body.

Source: distribution specification, section "Error Codes"; the codes that it lacks are registry:2's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from roadstead.access import AccessDeniedError, Action, LoginRequiredError
from roadstead.access.errors import AccessError
from roadstead.database import DatabaseBusyError, DatabaseDamagedError, DatabaseError, DatabaseFullError
from roadstead.errors import RoadsteadError
from roadstead.identity import AttemptsExceededError, CredentialsInvalidError, PasswordFileUnavailableError
from roadstead.jobs import LeaseLostError
from roadstead.oci import ErrorCode
from roadstead.oci.errors import DigestInvalidError, ManifestInvalidError, NameInvalidError, TagInvalidError
from roadstead.registry.errors import (
    BlobReferencedError,
    BlobTooLargeError,
    BlobUnknownError,
    ManifestBlobUnknownError,
    ManifestDigestMismatchError,
    ManifestUnknownError,
    NothingToRestoreError,
    RegistryClosedError,
    RegistryReadOnlyError,
    RepositoryUnknownError,
    UploadBusyError,
    UploadDigestMismatchError,
    UploadOffsetError,
    UploadSizeMismatchError,
    UploadUnknownError,
)
from roadstead.secrets import SecretError
from roadstead.storage import (
    ObjectBusyError,
    ObjectUnknownError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from roadstead.web.http import (
    JSON,
    BodyTooLargeError,
    ClientDisconnectedError,
    Headers,
    QueryInvalidError,
    Response,
    json_line,
)
from roadstead.web.memory import BodyMemoryExhaustedError
from roadstead.web.pagination import PageSizeInvalidError
from roadstead.web.ranges import RangeUnsatisfiableError


class EndpointUnknownError(RoadsteadError):
    """No endpoint has this path."""

    def __init__(self) -> None:
        super().__init__("no such endpoint; the API begins at /v2/")


class MethodUnsupportedError(RoadsteadError):
    """The endpoint does not know this method; ``allowed`` are those that it knows."""

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method[:32]} is not supported here; supported are {', '.join(allowed)}")
        self.allowed = allowed


class DeletionDisabledError(MethodUnsupportedError):
    """Clients may not delete here."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        super().__init__("DELETE", allowed)
        self.args = ("deletion is disabled on this registry",)


class TooManyRequestsError(RoadsteadError):
    """A client makes more requests than it may; ``retry_after_seconds`` from now it may make another."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__("too many requests: slow down")
        self.retry_after_seconds = retry_after_seconds


class ServiceUnhealthyError(RoadsteadError):
    """A health check has failed too often; which one is told on the operations listener alone."""

    def __init__(self) -> None:
        super().__init__("a health check fails; /readyz and /debug/health of the operations listener say which")


class RestoreRequestInvalidError(RoadsteadError):
    """A request to restore something cannot be understood."""

    def __init__(self, reason: str) -> None:
        super().__init__(f'the body must be {{"tag": …}}, {{"tag": …, "to": …}}, {{"digest": …}} or {{}}: {reason}')
        self.reason = reason


class ContentRangeInvalidError(RoadsteadError):
    """A chunk's ``Content-Range`` is malformed."""

    def __init__(self) -> None:
        super().__init__("Content-Range must be <start>-<end>, both included")


NAMED_BLOBS: Final = 100
"""Number of missing blobs that an answer names one by one; of further ones it gives the number."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The answer to a class of errors: a code and a status."""

    code: ErrorCode
    status: int


_FULL: Final = Problem(ErrorCode.UNAVAILABLE, HTTPStatus.INSUFFICIENT_STORAGE)
_UNAVAILABLE: Final = Problem(ErrorCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE)

PROBLEMS: Final[dict[type[RoadsteadError], Problem]] = {
    LoginRequiredError: Problem(ErrorCode.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED),
    CredentialsInvalidError: Problem(ErrorCode.UNAUTHORIZED, HTTPStatus.UNAUTHORIZED),
    AccessDeniedError: Problem(ErrorCode.DENIED, HTTPStatus.FORBIDDEN),
    AccessError: Problem(ErrorCode.DENIED, HTTPStatus.FORBIDDEN),
    AttemptsExceededError: Problem(ErrorCode.TOOMANYREQUESTS, HTTPStatus.TOO_MANY_REQUESTS),
    PasswordFileUnavailableError: _UNAVAILABLE,
    NameInvalidError: Problem(ErrorCode.NAME_INVALID, HTTPStatus.BAD_REQUEST),
    TagInvalidError: Problem(ErrorCode.TAG_INVALID, HTTPStatus.BAD_REQUEST),
    DigestInvalidError: Problem(ErrorCode.DIGEST_INVALID, HTTPStatus.BAD_REQUEST),
    ManifestInvalidError: Problem(ErrorCode.MANIFEST_INVALID, HTTPStatus.BAD_REQUEST),
    ManifestDigestMismatchError: Problem(ErrorCode.DIGEST_INVALID, HTTPStatus.BAD_REQUEST),
    ManifestBlobUnknownError: Problem(ErrorCode.MANIFEST_BLOB_UNKNOWN, HTTPStatus.BAD_REQUEST),
    ManifestUnknownError: Problem(ErrorCode.MANIFEST_UNKNOWN, HTTPStatus.NOT_FOUND),
    NothingToRestoreError: Problem(ErrorCode.MANIFEST_UNKNOWN, HTTPStatus.NOT_FOUND),
    RepositoryUnknownError: Problem(ErrorCode.NAME_UNKNOWN, HTTPStatus.NOT_FOUND),
    BlobUnknownError: Problem(ErrorCode.BLOB_UNKNOWN, HTTPStatus.NOT_FOUND),
    BlobReferencedError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.METHOD_NOT_ALLOWED),
    UploadUnknownError: Problem(ErrorCode.BLOB_UPLOAD_UNKNOWN, HTTPStatus.NOT_FOUND),
    UploadOffsetError: Problem(ErrorCode.BLOB_UPLOAD_INVALID, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    UploadBusyError: Problem(ErrorCode.BLOB_UPLOAD_INVALID, HTTPStatus.CONFLICT),
    UploadDigestMismatchError: Problem(ErrorCode.DIGEST_INVALID, HTTPStatus.BAD_REQUEST),
    ContentRangeInvalidError: Problem(ErrorCode.BLOB_UPLOAD_INVALID, HTTPStatus.BAD_REQUEST),
    UploadSizeMismatchError: Problem(ErrorCode.SIZE_INVALID, HTTPStatus.BAD_REQUEST),
    RangeUnsatisfiableError: Problem(ErrorCode.RANGE_INVALID, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    PageSizeInvalidError: Problem(ErrorCode.PAGINATION_NUMBER_INVALID, HTTPStatus.BAD_REQUEST),
    RestoreRequestInvalidError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.BAD_REQUEST),
    QueryInvalidError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.BAD_REQUEST),
    BlobTooLargeError: Problem(ErrorCode.SIZE_INVALID, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    BodyTooLargeError: Problem(ErrorCode.SIZE_INVALID, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    EndpointUnknownError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.NOT_FOUND),
    MethodUnsupportedError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.METHOD_NOT_ALLOWED),
    RegistryReadOnlyError: Problem(ErrorCode.UNSUPPORTED, HTTPStatus.METHOD_NOT_ALLOWED),
    RegistryClosedError: Problem(ErrorCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE),
    BodyMemoryExhaustedError: _UNAVAILABLE,
    ServiceUnhealthyError: Problem(ErrorCode.UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE),
    TooManyRequestsError: Problem(ErrorCode.TOOMANYREQUESTS, HTTPStatus.TOO_MANY_REQUESTS),
    ClientDisconnectedError: Problem(ErrorCode.BLOB_UPLOAD_INVALID, HTTPStatus.BAD_REQUEST),
    StorageFullError: _FULL,
    DatabaseFullError: _FULL,
    StorageUnavailableError: _UNAVAILABLE,
    ObjectBusyError: Problem(ErrorCode.BLOB_UPLOAD_INVALID, HTTPStatus.CONFLICT),
    ObjectUnknownError: _UNAVAILABLE,
    StorageError: _UNAVAILABLE,
    DatabaseBusyError: _UNAVAILABLE,
    LeaseLostError: _UNAVAILABLE,
    SecretError: _UNAVAILABLE,
    DatabaseDamagedError: _UNAVAILABLE,
    DatabaseError: _UNAVAILABLE,
}
"""The answers by class; a class without a row has that of its parent."""

DETAILS: Final[dict[type[RoadsteadError], tuple[str, ...]]] = {
    NameInvalidError: ("name",),
    RepositoryUnknownError: ("repository",),
    ManifestUnknownError: ("repository", "reference"),
    ManifestInvalidError: ("pointer",),
    NothingToRestoreError: ("reference", "reason"),
    ManifestDigestMismatchError: ("expected", "actual"),
    UploadDigestMismatchError: ("expected", "actual"),
    UploadSizeMismatchError: ("expected", "actual"),
    DigestInvalidError: ("digest",),
    BlobUnknownError: ("digest",),
    BlobReferencedError: ("digest", "manifest"),
}
"""The fields of an error that help a client; others stay in the log."""

_INTERNAL: Final = Problem(ErrorCode.UNKNOWN, HTTPStatus.INTERNAL_SERVER_ERROR)


def problem_of(error: RoadsteadError) -> Problem:
    """Returns the row of an error's class or its nearest parent."""
    for kind in type(error).__mro__:
        if kind in PROBLEMS:
            return PROBLEMS[kind]
    return _INTERNAL


def error_response(error: RoadsteadError) -> Response:
    """Returns the answer to an error."""
    problem = problem_of(error)
    return Response(problem.status, [JSON, *_headers(error)], error_body(problem.code, error))


def error_body(code: ErrorCode, error: RoadsteadError) -> bytes:
    """Returns the specification's error body; one entry for each missing blob if there are several, up to a number."""
    entries = [{"code": code, "message": str(error), "detail": detail} for detail in _details(error)]
    if isinstance(error, ManifestBlobUnknownError) and (more := len(error.digests) - NAMED_BLOBS) > 0:
        entries.append({"code": code, "message": f"and {more} more", "detail": {"missing": len(error.digests)}})
    return json_line({"errors": entries})


def _details(error: RoadsteadError) -> Sequence[object]:
    """Returns the ``detail`` of an error; several entries if it is about several things."""
    if isinstance(error, ManifestBlobUnknownError):
        return [{"digest": digest} for digest in error.digests[:NAMED_BLOBS]]
    if isinstance(error, AccessError):
        return [_accesses(error) or None]
    for kind in type(error).__mro__:
        if kind in DETAILS:
            return [{name: getattr(error, name) for name in DETAILS[kind]}]
    return [None]


def _accesses(error: AccessError) -> list[dict[str, str]]:
    """Returns the access that a client asked for, as registry:2 has it."""
    if error.lists:
        return [{"Type": "registry", "Class": "", "Name": "catalog", "Action": "*"}]
    actions = error.actions
    if isinstance(error, LoginRequiredError) and actions == (Action.PUSH,):
        actions = (Action.PULL, Action.PUSH)
    return [{"Type": "repository", "Class": "", "Name": error.repository, "Action": action} for action in actions]


def _challenge(realm: str) -> bytes:
    """Returns the challenge that asks clients to log in (RFC 7617), as registry:2 has it."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in realm)
    quoted = shown.replace("\\", "\\\\").replace('"', '\\"')
    return f'Basic realm="{quoted}"'.encode()


def _headers(error: RoadsteadError) -> Headers:
    match error:
        case LoginRequiredError():
            return [(b"www-authenticate", _challenge(error.realm))]
        case AttemptsExceededError():
            return [(b"retry-after", b"%d" % error.retry_after_seconds)]
        case MethodUnsupportedError():
            return [(b"allow", ", ".join(error.allowed).encode("ascii"))]
        case RegistryReadOnlyError():
            return [(b"allow", b"GET, HEAD")]
        case RangeUnsatisfiableError():
            return [(b"content-range", b"bytes */%d" % error.size_bytes)]
        case _:
            seconds = _retry_after_seconds(error)
            return [(b"retry-after", b"%d" % seconds)] if seconds else []


def _retry_after_seconds(error: RoadsteadError) -> int:
    """Returns the seconds after which the same request may succeed, 0 if waiting alone does not help."""
    match error:
        case TooManyRequestsError():
            return max(1, math.ceil(error.retry_after_seconds))
        case RegistryClosedError() | ServiceUnhealthyError():
            return 30
        case BodyMemoryExhaustedError():
            return 1
        case DatabaseError() | StorageError() | PasswordFileUnavailableError():
            return 5
        case _:
            return 0
