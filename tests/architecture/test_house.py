"""The house rules that no linter knows; each failure names the remedy."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "roadstead"

LONGEST_MODULE = 600
LONGEST_FUNCTION = 60
DECLARATIVE = {"registry/content/store.py"}
"""Tables of statements may be long."""

RIDDLES = {"What", "Whether", "Who", "How", "Anything"}


def modules() -> Iterator[tuple[str, str]]:
    for path in sorted(SOURCE.rglob("*.py")):
        yield str(path.relative_to(SOURCE)), path.read_text()


def test_modules_are_short() -> None:
    long = [name for name, text in modules() if text.count("\n") > LONGEST_MODULE and name not in DECLARATIVE]
    assert not long, f"split by noun, not into helpers: {long}"


def test_functions_are_short() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}"
        for name, text in modules()
        if "migrations/versions" not in name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno > LONGEST_FUNCTION
    ]
    assert not long, f"give the steps names of their own: {long}"


def test_every_module_says_what_it_promises() -> None:
    silent = [name for name, text in modules() if text.strip() and ast.get_docstring(ast.parse(text)) is None]
    assert not silent, f"begin with a docstring: {silent}"


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring: those of modules, classes and functions, and those below an attribute."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for statement in node.body:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    yield statement.lineno, str(statement.value.value)


def test_docstrings_are_plain_sentences() -> None:
    riddles = [
        f"{name}:{line}"
        for name, text in modules()
        for line, docstring in docstrings(text)
        if re.split(r"\W", docstring.lstrip(), maxsplit=1)[0] in RIDDLES
    ]
    assert not riddles, f"begin with a verb, or say what kind of thing it is, as in 'True if …': {riddles}"


def test_packages_define_nothing() -> None:
    """``__init__.py`` re-exports; the command line's is its entry point."""
    defining = [
        name
        for name, text in modules()
        if name.endswith("__init__.py")
        and name != "cli/__init__.py"
        and any(
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for node in ast.parse(text).body
        )
    ]
    assert not defining, f"move definitions into a module: {defining}"


def reads(text: str, module: str, name: str) -> bool:
    """True if the code has ``module.name``, whatever stands before it."""
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == name
        and (
            (isinstance(node.value, ast.Name) and node.value.id == module)
            or (isinstance(node.value, ast.Attribute) and node.value.attr == module)
        )
        for node in ast.walk(ast.parse(text))
    )


def test_only_settings_read_the_environment() -> None:
    allowed = ("config/", "cli/")  # the command line asks for NO_COLOR and debugging
    offenders = [name for name, text in modules() if reads(text, "os", "environ") and not name.startswith(allowed)]
    assert not offenders, f"take a setting instead: {offenders}"


def test_only_the_clock_asks_for_the_time() -> None:
    offenders = [
        name
        for name, text in modules()
        if name != "clock.py" and (reads(text, "time", "time") or reads(text, "datetime", "now"))
    ]
    assert not offenders, f"take a Clock instead: {offenders}"


BACK_ENDS = (("SqliteDatabase", "open"), ("PostgresqlDatabase", "open"))
STORES = ("FilesystemStore",)


def test_only_app_builds_back_ends() -> None:
    offenders = [
        name
        for name, text in modules()
        if not name.startswith(("app/", "database/", "storage/", "testing/"))
        and (any(reads(text, *each) for each in BACK_ENDS) or any(calls(text, each) for each in STORES))
    ]
    assert not offenders, f"take what app has built: {offenders}"


def calls(text: str, name: str) -> bool:
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(ast.parse(text))
    )


def test_nothing_is_left_for_later() -> None:
    words = ("TODO", "FIXME", "XXX", "HACK")
    left = [f"{name}: {word}" for name, text in modules() for word in words if word in text]
    assert not left, f"do it, or write an issue: {left}"


DOMAIN = ("access", "backup", "events", "jobs", "registry", "registry2", "remotes", "secrets", "webhooks")
MACHINE = {"fcntl", "os", "pathlib", "shutil", "sqlite3", "tempfile"}
ONE_DATABASE = {
    f"roadstead.database.{name}" for name in ("integrity", "postgresql", "salvage", "snapshot", "sqlite", "wal_index")
}
PLACES = {
    "backup/": "a backup is a folder on a disk, and a copy of an SQLite file",
    "registry/integrity/check.py": "looks for damage inside an SQLite file; of a server it says what was not looked at",
    "registry/operation/storage_owner.py": "names the folder to a person",
    "registry2/adoption/rebuild.py": "takes what is left out of a damaged SQLite file",
    "secrets/key_file.py": "the master key is a file of one machine, which must not be where the secrets are",
    "webhooks/receiver.py": "words for the numbers of the system's errors",
}
"""Where the domain may know of one machine, or of one database, and why."""


def test_the_domain_knows_no_machine_and_no_database() -> None:
    """What works on one machine alone, or on one database, does not work on a fleet."""
    offenders = [
        f"{name}: {', '.join(sorted(found))}"
        for name, text in modules()
        if name.startswith(tuple(f"{package}/" for package in DOMAIN)) and not name.startswith(tuple(PLACES))
        if (found := imported(text) & (MACHINE | ONE_DATABASE))
    ]
    assert not offenders, f"ask the object store, the database or the settings: {offenders}"


def test_the_places_that_know_a_machine_are_needed() -> None:
    needed = {
        place
        for name, text in modules()
        for place in PLACES
        if name.startswith(place) and imported(text) & (MACHINE | ONE_DATABASE)
    }
    assert needed == set(PLACES), "take those out that are not"


def imported(text: str) -> set[str]:
    """The modules that a module imports, wherever it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return found
