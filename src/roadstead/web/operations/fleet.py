"""The operations listener of a parent that speaks for its workers.

Each worker answers for itself on a Unix socket. Metrics are theirs with the label ``worker`` added, so that sums over
it are what one process would have said; the fleet is ready when every worker is.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from roadstead.web.http import Headers, Receive, Request, Response, Scope, Send, json_response
from roadstead.web.operations.application import find_refusal
from roadstead.web.operations.health import NO_STORE, CheckState, failures_response, serve_health

ANSWER_SECONDS: Final = 6.0
"""Time for a worker's answer: a little more than a worker gives its own checks."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes


class FleetOperations:
    """Answers ``/metrics``, ``/healthz``, ``/readyz`` and ``/debug/health`` for all workers."""

    def __init__(self, sockets: Mapping[str, Path]) -> None:
        """Keeps the ``sockets`` of the workers' own operations listeners, by the workers' names."""
        self._sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        refusal = find_refusal(scope["path"], request.method)
        if refusal is not None:
            await refusal.send(send)
        elif scope["path"] == "/healthz":
            await serve_health(scope, receive, send)
        elif scope["path"] == "/readyz":
            await (await self.readiness()).send(send)
        elif scope["path"] == "/debug/health":
            await failures_response(await self._failures()).send(send)
        else:
            await (await self._metrics(request)).send(send)

    async def readiness(self) -> Response:
        """Returns each worker's own answer, and 503 unless all are ready."""
        answers = await self._ask("/readyz")
        workers = {name: _document(answer) for name, answer in answers.items()}
        is_ready = all(answer is not None and answer.status == HTTPStatus.OK for answer in answers.values())
        states = {str(document.get("status")) for document in workers.values()}
        worst = CheckState.FAILED if not is_ready else CheckState.OK
        if is_ready and CheckState.DEGRADED in states:
            worst = CheckState.DEGRADED
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return json_response(status, {"status": worst, "workers": workers}, [NO_STORE])

    async def is_answering(self) -> bool:
        """Returns True if every worker has begun to answer, ready or not."""
        return all((await self._ask("/healthz")).values())

    async def _failures(self) -> dict[str, str]:
        """Returns the checks that fail in any worker; most fail in all of them."""
        failures: dict[str, str] = {}
        for name, answer in (await self._ask("/debug/health")).items():
            if answer is None:
                failures[f"worker {name}"] = "the worker does not answer"
            else:
                failures |= msgspec.json.decode(answer.body, type=dict[str, str])
        return failures

    async def _metrics(self, request: Request) -> Response:
        answers = await self._ask("/metrics")
        texts = {name: answer.body.decode() for name, answer in answers.items() if answer is not None}
        registry = CollectorRegistry()
        registry.register(_Labelled(texts))
        encode, content_type = choose_encoder(request.header(b"accept"))
        headers: Headers = [(b"content-type", content_type.encode("ascii")), NO_STORE]
        return Response(HTTPStatus.OK, headers, encode(registry))

    async def _ask(self, path: str) -> dict[str, _Answer | None]:
        """Returns every worker's answer, None for one that gives none."""
        answers = await asyncio.gather(*(_get(socket, path) for socket in self._sockets.values()))
        return dict(zip(self._sockets, answers, strict=True))


class _Labelled(Collector):
    """A collector of the metrics in several texts, each labelled with the name of its worker."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                merged = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(sample.name, {**sample.labels, "worker": worker}, sample.value)
        return families.values()


def _document(answer: _Answer | None) -> dict[str, Any]:
    if answer is None:
        return {"status": CheckState.FAILED, "checks": {}, "detail": "the worker does not answer"}
    return msgspec.json.decode(answer.body, type=dict[str, Any])


async def _get(path: Path, target: str) -> _Answer | None:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(f"GET {target} HTTP/1.1\r\nHost: worker\r\nConnection: close\r\n\r\n".encode("ascii"))
                answer = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return _Answer(int(words[1]), body) if len(words) > 2 else None  # noqa: PLR2004 - a status line has three words
