"""``/v2/<name>/_roadstead/undo/…``: what tags stood for, what was deleted, and how to have it back.

Our own extension, where the distribution specification wants extensions to stand (section "Extensions": a component
that begins with an underscore). Bodies are JSON objects; errors are the specification's.

==================  ====  ============================================================================================
path                      answer
==================  ====  ============================================================================================
``history``         GET   changes of the tag ``tag``, or of all, newest first; ``n`` at once, before entry ``before``
``removed``         GET   manifests that can be restored, by digest; ``n`` at once, after digest ``last``
``restore``         POST  restores ``{"tag": …, "to": digest or absent}``, ``{"digest": …}`` or, ``{}``, everything
==================  ====  ============================================================================================
"""

from typing import Final

import msgspec

from roadstead.oci import Digest, Tag
from roadstead.registry import Registry
from roadstead.registry.content.undo import NEWEST, HistoryEntry, RemovedManifest, Restored
from roadstead.web.distribution.endpoint import Methods, caller_of, cause_of, visible_of
from roadstead.web.distribution.routes import Route
from roadstead.web.errors import RestoreRequestInvalidError
from roadstead.web.http import QueryInvalidError, Request, Response, json_response
from roadstead.web.pagination import read_page_request

REQUEST_BYTES: Final = 4096
"""A tag and two digests have some hundred bytes."""


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    tag: str = ""
    to: str = ""
    digest: str = ""


class UndoEndpoint:
    """Shows what can be undone, and undoes it."""

    def __init__(self, registry: Registry, page_maximum: int) -> None:
        self._undo = registry.undo
        self._page_maximum = page_maximum

    def history_methods(self) -> Methods:
        """Returns the methods that ``history`` answers."""
        return {"GET": self.history}

    def removed_methods(self) -> Methods:
        """Returns the methods that ``removed`` answers."""
        return {"GET": self.removed}

    def restore_methods(self) -> Methods:
        """Returns the methods that ``restore`` answers."""
        return {"POST": self.restore}

    async def history(self, request: Request, route: Route) -> Response:
        """Changes of tags."""
        named = request.query("tag")
        entries = await self._undo.list_history(
            route.repository,
            Tag.parse(named) if named is not None else None,
            visible=visible_of(request),
            before=_before(request),
            limit=read_page_request(request, self._page_maximum).size,
        )
        names_actor = caller_of(request).may_see_users
        told = [_entry(entry, names_actor=names_actor) for entry in entries]
        return json_response(200, {"name": route.repository, "history": told})

    async def removed(self, request: Request, route: Route) -> Response:
        """Lists what is in the trash."""
        wanted = read_page_request(request, self._page_maximum)
        removed = await self._undo.list_removed(
            route.repository, visible=visible_of(request), after=wanted.after, limit=wanted.size
        )
        names_actor = caller_of(request).may_see_users
        told = [_removed(each, names_actor=names_actor) for each in removed]
        return json_response(200, {"name": route.repository, "manifests": told})

    async def restore(self, request: Request, route: Route) -> Response:
        """Restores a tag, a manifest, or everything of the repository."""
        wanted = _read(await request.read_body(REQUEST_BYTES))
        cause = cause_of(request)
        if wanted.tag:
            to = Digest.parse(wanted.to) if wanted.to else None
            restored = await self._undo.restore_tag(route.repository, Tag.parse(wanted.tag), to=to, cause=cause)
        elif wanted.digest:
            restored = await self._undo.restore_manifest(route.repository, Digest.parse(wanted.digest), cause=cause)
        else:
            restored = await self._undo.restore_repository(route.repository, cause=cause)
        return json_response(200, {"name": route.repository, **_restored(restored)})


def _before(request: Request) -> int:
    text = request.query("before")
    if text is None:
        return NEWEST
    if not text.isascii() or not text.isdigit() or len(text) > len(str(NEWEST)):
        raise QueryInvalidError("before= is the id of an entry of the history")
    return min(int(text), NEWEST)


def _read(body: bytes) -> _Wanted:
    try:
        wanted = msgspec.json.decode(body or b"{}", type=_Wanted)
    except msgspec.MsgspecError as error:
        raise RestoreRequestInvalidError(str(error)) from None
    if (wanted.tag and wanted.digest) or (wanted.to and not wanted.tag):
        raise RestoreRequestInvalidError("name a tag, and perhaps the digest that it goes back to, or a digest")
    return wanted


def _entry(entry: HistoryEntry, *, names_actor: bool) -> dict[str, object]:
    return {
        "id": entry.id,
        "tag": entry.tag,
        "action": entry.action,
        "digest": entry.digest,
        "at_ms": entry.at_ms,
        "actor": entry.actor if names_actor else "",
        "is_there": entry.is_there,
        "expires_ms": entry.expires_ms,
    }


def _removed(removed: RemovedManifest, *, names_actor: bool) -> dict[str, object]:
    return {
        "digest": removed.digest,
        "mediaType": removed.media_type,
        "size": removed.size_bytes,
        "removed_ms": removed.removed_ms,
        "expires_ms": removed.expires_ms,
        "actor": removed.actor if names_actor else "",
    }


def _restored(restored: Restored) -> dict[str, object]:
    return {
        "tags": [{"tag": tag, "digest": digest} for tag, digest in restored.tags],
        "manifests": list(restored.manifests),
    }
