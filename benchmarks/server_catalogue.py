"""Statements that fill a catalogue on PostgreSQL as `benchmarks.catalogue` fills a file: the server makes the rows."""

from __future__ import annotations

from typing import Final

from benchmarks.catalogue import BIG, GARBAGE_BYTES, GARBAGE_REPOSITORY, LINKS_WRITTEN, NOW_MS, Content
from benchmarks.content import MANIFEST_TYPE

_TAG: Final = "repository_id, name, manifest_id, updated_ms"
_ANALYSE: Final = tuple(
    f"ANALYZE {table}"
    for table in ("repositories", "manifests", "repository_manifests", "tags", "blobs", "repository_blobs", "reviews")
)


def load_statements(content: Content) -> list[str]:
    """Return the statements that make the repositories, manifests and tags of a content, which has no blobs."""
    others = content.repositories - 1
    name = "'project-' || lpad((n / 100)::text, 5, '0') || '/image-' || lpad((n % 100)::text, 2, '0')"
    body, each = "convert_to(rpad('{}', 502), 'UTF8')", f"generate_series(1, {content.repositories}) n"
    tag, big, few = "'v' || lpad(n::text, 7, '0')", content.big_tags, content.other_tags
    described = f"{_digest('manifest')}, '{MANIFEST_TYPE}', '', 502, {NOW_MS}, {body}"
    return [
        _insert("repositories", "id, name, created_ms", f"1, '{BIG}', {NOW_MS}"),
        _insert(
            "repositories", "id, name, created_ms", f"n + 2, {name}, {NOW_MS}", f"generate_series(0, {others - 1}) n"
        ),
        _insert(
            "manifests", "id, digest, media_type, artifact_type, size_bytes, created_ms, body", f"n, {described}", each
        ),
        _insert("repository_manifests", "repository_id, manifest_id, pushed_ms", f"n, n, {NOW_MS}", each),
        _insert("tags", _TAG, f"1, {tag}, 1, {NOW_MS}", f"generate_series(0, {big - 1}) n"),
        _insert(
            "tags",
            _TAG,
            f"r, {tag}, r, {NOW_MS}",
            f"generate_series(2, {content.repositories}) r, generate_series(0, {few - 1}) n",
        ),
        _insert("states", "name, value", f"'{LINKS_WRITTEN['name']}', '{LINKS_WRITTEN['value']}'"),
        *_ANALYSE,
    ]


def garbage_statements(count: int) -> list[str]:
    """Return the statements that add what `benchmarks.catalogue.add_garbage` adds."""
    from roadstead.registry.removal.rules import ReviewKind  # noqa: PLC0415 - as in benchmarks.catalogue

    repository, blob, each = GARBAGE_REPOSITORY, f"{GARBAGE_REPOSITORY} + n", f"generate_series(0, {count - 1}) n"
    kind = ReviewKind.LINK.value
    record = f"{blob}, {_digest('garbage')}, {GARBAGE_BYTES}, {NOW_MS}"
    review = f"{kind}, {repository}, {blob}, {NOW_MS}, {NOW_MS}"
    return [
        _insert("repositories", "id, name, created_ms", f"{repository}, 'bench/garbage', {NOW_MS}"),
        _insert("blobs", "id, digest, size_bytes, created_ms", record, each),
        _insert("repository_blobs", "repository_id, blob_id, linked_ms", f"{repository}, {blob}, {NOW_MS}", each),
        _insert("reviews", "kind, repository_id, item_id, since_ms, not_before_ms", review, each),
        *_ANALYSE,
    ]


def _insert(table: str, columns: str, values: str, source: str = "") -> str:
    return f"INSERT INTO {table} ({columns}) SELECT {values}" + (f" FROM {source}" if source else "")


def _digest(kind: str) -> str:
    return f"'sha256:' || encode(sha256(convert_to('{kind} ' || n, 'UTF8')), 'hex')"
