"""Reads blobs and manifests of another registry by digest.

The trust boundary is the origin (scheme, host, port) that the administrator wrote down. Credentials go there and
nowhere else: not to the target of a redirect, and not to a token service that the answer names on another host
(CVE-2026-33540 is a registry that asked any). A redirect may lead elsewhere, as to a bucket, but not from https to
http, and not into a network that the upstream itself is outside of (``reach``). Whatever comes back is only as good as
its digest, which the caller compares.
"""

import base64
import contextlib
import logging
import re
import urllib.parse
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import TYPE_CHECKING, Final

from roadstead.remotes.address_classes import reach_of, resolve
from roadstead.remotes.errors import UpstreamError, UpstreamUrlInvalidError

if TYPE_CHECKING:
    import httpx

CONNECT_SECONDS: Final = 10.0
READ_SECONDS: Final = 60.0
REDIRECTS: Final = 5
TOKEN_BYTES: Final = 64 << 10

ACCEPTED: Final = (
    "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json,"
    " application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json,"
    " */*"
)

_PARAMETER: Final = re.compile(r'([a-z_]+)="([^"]*)"')
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Upstream:
    """A registry at a URL ``http[s]://[user:password@]host[:port][/prefix]``."""

    def __init__(self, url: str) -> None:
        """Parses the URL; opens no connection.

        Raises:
            UpstreamUrlInvalidError: ``url`` is not of that form.
        """
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UpstreamUrlInvalidError("it is malformed") from error
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UpstreamUrlInvalidError("expected http:// or https:// and a host")
        if parts.query or parts.fragment:
            raise UpstreamUrlInvalidError("it must have no query")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        self.url = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path.rstrip('/')}"
        """URL of the registry, without credentials."""
        self._origin = _origin(self.url)
        self._basic = _basic(parts)
        self._tokens: dict[str, str] = {}
        self._client: httpx.AsyncClient | None = None

    async def close(self) -> None:
        """Closes connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    @contextlib.asynccontextmanager
    async def open_blob(self, repository: str, digest: str) -> AsyncGenerator[AsyncIterator[bytes], None]:
        """Opens a blob and yields its bytes as they come.

        Raises:
            UpstreamError: it cannot be had, also while the bytes are read.
        """
        async with self._get(f"/v2/{repository}/blobs/{digest}", repository) as answer:
            yield self._bytes(answer)

    async def fetch_manifest(self, repository: str, digest: str, maximum_bytes: int) -> tuple[bytes, str]:
        """Fetches a manifest; returns its bytes and its media type.

        Raises:
            UpstreamError: it cannot be had, or is larger than ``maximum_bytes``.
        """
        async with self._get(f"/v2/{repository}/manifests/{digest}", repository) as answer:
            body = await self._read(answer, maximum_bytes)
            return body, answer.headers.get("content-type", "").partition(";")[0].strip()

    @contextlib.asynccontextmanager
    async def _get(self, path: str, repository: str) -> AsyncGenerator["httpx.Response", None]:
        """Yields an answer with status 200, after fetching a token if one is asked for."""
        import httpx  # noqa: PLC0415 - 0.1 s that a server without an upstream does not need

        url = f"{self.url}{path}"
        try:
            answer = await self._follow(url, repository)
            if answer.status_code == _UNAUTHORIZED:
                challenge = answer.headers.get("www-authenticate", "")
                await answer.aclose()
                await self._fetch_token(challenge, repository)
                answer = await self._follow(url, repository)
            try:
                if answer.status_code != _OK:
                    raise UpstreamError(url, f"it answers {answer.status_code}")
                yield answer
            finally:
                await answer.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UpstreamError(url, str(error) or type(error).__name__) from error

    async def _follow(self, url: str, repository: str) -> "httpx.Response":
        """Returns the answer at the end of some redirects."""
        import httpx  # noqa: PLC0415 - as above

        if self._client is None:
            for library in ("httpx", "httpcore"):  # which log each URL, and headers at the level of debugging
                logging.getLogger(library).setLevel(logging.WARNING)
            timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
            trust = httpx.create_ssl_context(trust_env=False)
            trust.load_default_certs()  # also what this machine trusts, such as the authority of another roadstead
            self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False, verify=trust)
        for _ in range(REDIRECTS):
            headers = {"accept": ACCEPTED, "accept-encoding": "identity", **self._authorization(url, repository)}
            request = self._client.build_request("GET", url, headers=headers)
            request.headers.pop("cookie", None)
            if _origin(url) != self._origin:
                await self._lead_elsewhere(request)
            answer = await self._client.send(request, stream=True)
            self._client.cookies.clear()
            if answer.status_code not in _REDIRECTS:
                return answer
            await answer.aclose()
            target = urllib.parse.urljoin(url, answer.headers.get("location", ""))
            if urllib.parse.urlsplit(target).scheme not in {"https", urllib.parse.urlsplit(url).scheme}:
                raise UpstreamError(self.url, "it leads from https to something else")
            url = target
        raise UpstreamError(self.url, f"it redirects more than {REDIRECTS} times")

    async def _lead_elsewhere(self, request: "httpx.Request") -> None:
        """Sends a request for another host to an address that a redirect may lead to."""
        url = request.url
        own = urllib.parse.urlsplit(self.url)
        try:
            reach = min([reach_of(each) for each in await resolve(own.hostname or "", own.port or 0)])
            addresses = await resolve(url.host, url.port or 0)
        except OSError as error:
            raise UpstreamError(self.url, f"it leads to {url.host}, which cannot be found") from error
        allowed = [address for address in addresses if reach_of(address) <= reach]
        if not allowed:
            raise UpstreamError(self.url, f"it leads to {url.host}, inside a network that it is itself outside of")
        request.url = url.copy_with(host=allowed[0])
        request.extensions = {**request.extensions, "sni_hostname": url.host}

    def _authorization(self, url: str, repository: str) -> Mapping[str, str]:
        if _origin(url) != self._origin:
            return {}
        token = self._tokens.get(repository)
        if token is not None:
            return {"authorization": f"Bearer {token}"}
        return {"authorization": self._basic} if self._basic else {}

    async def _fetch_token(self, challenge: str, repository: str) -> None:
        """Asks the upstream's own token service, if it names one."""
        scheme, _, rest = challenge.partition(" ")
        parameters = dict(_PARAMETER.findall(rest))
        realm = urllib.parse.urljoin(f"{self.url}/", parameters.get("realm", ""))
        if scheme.lower() != "bearer" or not parameters.get("realm"):
            raise UpstreamError(self.url, "it refuses the credentials" if self._basic else "it wants credentials")
        if _origin(realm) != self._origin:
            raise UpstreamError(self.url, f"it wants a token of {_origin(realm)}, which is not given its credentials")
        query = urllib.parse.urlencode(
            {"service": parameters.get("service", ""), "scope": f"repository:{repository}:pull"}
        )
        self._tokens.pop(repository, None)
        answer = await self._follow(f"{realm}{'&' if '?' in realm else '?'}{query}", repository)
        try:
            if answer.status_code != _OK:
                raise UpstreamError(self.url, f"its token service answers {answer.status_code}")
            document = _decode(await self._read(answer, TOKEN_BYTES))
        finally:
            await answer.aclose()
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UpstreamError(self.url, "its token service gives no token")
        self._tokens[repository] = token

    async def _bytes(self, answer: "httpx.Response") -> AsyncIterator[bytes]:
        import httpx  # noqa: PLC0415 - as above

        try:
            async for piece in answer.aiter_raw():
                yield piece
        except httpx.HTTPError as error:
            raise UpstreamError(self.url, str(error) or type(error).__name__) from error

    async def _read(self, answer: "httpx.Response", maximum_bytes: int) -> bytes:
        body = bytearray()
        async for piece in self._bytes(answer):
            body += piece
            if len(body) > maximum_bytes:
                raise UpstreamError(self.url, f"its answer has more than {maximum_bytes} bytes")
        return bytes(body)


def _origin(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    try:
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        port = None
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _basic(parts: urllib.parse.SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"


def _decode(body: bytes) -> dict[str, object]:
    from msgspec import MsgspecError, json  # noqa: PLC0415 - only here

    try:
        return json.decode(body, type=dict[str, object])
    except MsgspecError:
        return {}
