"""Nothing of a repository is read without the right to see it, and nothing is changed without saying who did it."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import Table
from sqlalchemy.sql import visitors

import roadstead.registry
from roadstead.access import VisibleRepositories
from roadstead.database import LockingStatement, Statement
from roadstead.events import Cause
from roadstead.registry.content.blobs import Blobs
from roadstead.registry.content.manifests import Manifests
from roadstead.registry.content.referrers import Referrers
from roadstead.registry.content.repositories import Repositories
from roadstead.registry.content.tags import Tags
from roadstead.registry.content.undo import Undo
from roadstead.registry.content.uploads import Uploads
from roadstead.registry.garbage.repository_removal import remove_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SOURCE: Final = Path(__file__).parents[2] / "src" / "roadstead"
SERVICES: Final = (Repositories, Tags, Manifests, Referrers, Blobs, Uploads, Undo)

WITHOUT: Final = {
    "Manifests.get_body": "takes a digest that a read has given, which took what is visible",
    "Blobs.quarantine": "is about bytes, which belong to no repository; its reason is its cause",
    "Blobs.take_back": "is about bytes, as above",
    "Uploads.purge": "ends what nobody has touched, in every repository; only its age decides",
    "Uploads.list_stale": "shows what the one above would end",
}
"""Methods that need neither, each with the reason."""


def coroutines() -> Iterator[tuple[str, Callable[..., object]]]:
    yield "remove_repository", remove_repository
    for service in SERVICES:
        for name, function in inspect.getmembers(service, inspect.iscoroutinefunction):
            if not name.startswith("_"):
                yield f"{service.__name__}.{name}", function


@pytest.mark.parametrize(("name", "function"), list(coroutines()))
def test_who_may_see_or_who_did_it_is_never_left_out(name: str, function: Callable[..., object]) -> None:
    parameters = inspect.signature(function).parameters
    found = {key: parameters[key] for key in ("visible", "cause") if key in parameters}
    assert bool(found) == (name not in WITHOUT), f"give {name} what is visible, or the cause of its change"
    for key, parameter in found.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
        assert parameter.default is inspect.Parameter.empty, f"{name}: a default is forgotten"
        assert parameter.annotation is (VisibleRepositories if key == "visible" else Cause), name


def test_the_exceptions_are_there() -> None:
    assert set(WITHOUT) <= {name for name, _ in coroutines()}


OWNED: Final = {
    "repositories",
    "repository_blobs",
    "repository_manifests",
    "tags",
    "tag_history",
    "removed_manifests",
    "upload_sessions",
}
"""Tables whose rows belong to a repository."""

NARROWING: Final = ({"repository"}, {"repository_id"}, {"name"}, {"low", "high"}, {"session_id"})
"""Parameters of which one set narrows a statement to a repository, a range of them, or an upload whose id is secret."""

WHOLE: Final[dict[str, tuple[str, ...]]] = {
    "asked only for who sees everything, or only what no range can say of the visible": (
        "LIST_REPOSITORIES",
        "FIND_BLOB_ANYWHERE",
        "LIST_UNSLASHED_REPOSITORIES",
        "FIND_BLOB_IN_UNSLASHED",
    ),
    "upload sessions are ended by their age, and recovered after a crash, whoever began them": (
        "LIST_ENDED_UPLOADS",
        "LIST_UPLOADS",
        "LIST_STALE_UPLOADS",
        "LIST_LOST_UPLOAD_PARTS",
        "FIND_COMMITTING_UPLOAD",
        "FIND_UPLOAD_RECORD",
    ),
    "totals, which name nothing": (
        "COUNT_REPOSITORIES",
        "COUNT_TAGS",
        "COUNT_UPLOADS",
        "_LIST_STORED",  # what projects store, for all of them
        "COUNT_DUE",
        "MEASURE_WAITING",
    ),
    "check, scrub and refetch look at everything, for who owns the machine": (
        "LIST_REPOSITORIES_OF_MANIFEST",
        "LIST_HOLDERS",
        "LIST_MISSING_BLOBS",
        "LIST_DANGLING_TAGS",
        "LIST_MISSING_BLOBS_OF_TRASH",
        "LIST_REPOSITORIES_OF_TRASH",
        "LIST_FULL_THOUGH_REMOVED",
        "LIST_NAMES_TWICE",
        "LIST_DELETED_THOUGH_LIVE",
        "LIST_LINKED_THOUGH_GOING",
        "COUNT_LOST_REVIEWS",
        "COUNT_LOST_HISTORY",
        "COUNT_LOST_TRASH",
        "LIST_UNREVIEWED_LINKS",
        "_LIST_HOLDING",
    ),
    "`roadstead why` looks at everything, for who owns the machine": ("_TAGS", "LIST_REPOSITORIES_OF_BLOB"),
    "the collector works on what its time has come for, wherever it is": (
        "LIST_EXPIRED",
        "LIST_DUE_LINKS",
        "LIST_DUE_BLOBS",
        "MARK_DELETING",
        "DELETE_MARKED_BLOB",
        "LIST_DUE_MANIFESTS",
        "FIND_HAD_MANIFEST",
        "LIST_DUE_UNTAGGED",
        "LIST_UNREACHED",
        "LIST_REPOSITORY_IDS",
        "LIST_DUE_REPOSITORIES",
        "MAKE_TRASH_DUE",
        "LIST_FREE_BLOBS",
        "LIST_OVER",
    ),
    "says whether a catalogue has anything at all": ("_FIND_ANYTHING",),
}
"""Statements that are about the whole registry, by the reason why they may be."""


def statements() -> Iterator[tuple[str, Statement]]:
    for module in pkgutil.walk_packages(roadstead.registry.__path__, "roadstead.registry."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, Statement):
                yield name, value
            elif isinstance(value, LockingStatement):
                yield name, value.unlocked


def is_owned(statement: Statement) -> bool:
    return any(isinstance(each, Table) and each.name in OWNED for each in visitors.iterate(statement.element))


def is_narrow(statement: Statement) -> bool:
    return any(narrowing <= statement.parameters for narrowing in NARROWING)


def test_statements_about_repositories_are_given_one_or_a_range() -> None:
    allowed = {name for names in WHOLE.values() for name in names}
    wide = {name for name, statement in statements() if is_owned(statement) and not is_narrow(statement)}
    assert wide <= allowed, f"narrow them to a repository or a range, or say above why not: {wide - allowed}"
    assert allowed <= wide, f"these need no exception: {allowed - wide}"


def calls(name: str) -> set[str]:
    return {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    }


def test_only_the_decision_makes_sets_of_visible_repositories() -> None:
    makers = {name for name in calls("VisibleRepositories") if not name.startswith("access/")}
    assert not makers, f"ask a Caller, or visible_to_operator: {makers}"


def test_only_the_command_line_sees_everything() -> None:
    rooms = {name.split("/")[0] for name in calls("visible_to_operator")}
    assert rooms <= {"cli"}, "over the network everybody has a caller's sets"


def test_only_a_cause_that_says_who_is_made() -> None:
    empty = {
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Cause"
        if not (node.args or node.keywords) and path.name != "model.py"
    }
    assert not empty, f"say who or what it is: {empty}"
