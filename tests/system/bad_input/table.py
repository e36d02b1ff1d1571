"""What bad input gets: one row for each kind of it, with its line for the documentation in both languages.

A row says what is sent, as bytes, and what comes back. `test_table.py` sends each to a real server, and the pages
`docs/*/reference/errors.md` hold the table that `page.py` writes from here: a row without its line fails there.
"""

# ruff: noqa: RUF001 - Chinese has punctuation of its own

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.system.faults.client import OCI_INDEX, OCI_MANIFEST, digest_of, index_of, manifest_of
from tests.system.faults.wire import chunked, head, request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIB: Final = 1 << 20
MANIFEST_LIMIT: Final = 4 * MIB
CONNECTIONS: Final = 24
"""The most that the server of the section `SLOW` takes."""
SENT_BYTES: Final = 10
"""What the upload of the scene has received."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is there before a row is sent: an image, another repository, an upload that has `SENT_BYTES` bytes."""

    port: int
    repository: str
    other: str
    config: bytes
    layer: bytes
    manifest: bytes
    upload: str
    """The upload's location, in `repository`."""

    @property
    def root(self) -> str:
        """The path of the repository."""
        return f"/v2/{self.repository}"

    @property
    def session(self) -> str:
        """The upload's id."""
        return self.upload.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of bad input."""

    name: str
    en: str
    zh: str
    send: Callable[[Scene], bytes]
    status: int
    code: str
    """Empty where the request is served all the same."""
    message: str
    """Part of what the client is told."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answer: a part of each value; `{…}` is filled in from the scene."""
    drip: bytes = b""
    """Sent after the rest, a byte at a time and never quite to its end."""
    crowd: int = 0
    """Connections that are open already."""


@dataclass(frozen=True, slots=True)
class Section:
    """Rows under one heading."""

    en: str
    zh: str
    rows: tuple[Row, ...]


def get(target: str) -> Callable[[Scene], bytes]:
    """A GET; `{repository}` and the like are filled in from the scene."""
    return lambda scene: request("GET", filled(target, scene))


def ask(method: str, target: str, body: bytes = b"", **headers: str) -> Callable[[Scene], bytes]:
    """A request; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda scene: request(method, filled(target, scene), body, named)


def put(
    body: bytes, content_type: str = OCI_MANIFEST, target: str = "{root}/manifests/bad"
) -> Callable[[Scene], bytes]:
    """A push of a manifest."""
    return ask("PUT", target, body, Content_Type=content_type)


def push(change: Callable[[Scene], bytes], content_type: str = OCI_MANIFEST) -> Callable[[Scene], bytes]:
    """A push of a manifest that is made from the scene."""
    return lambda scene: put(change(scene), content_type)(scene)


def filled(text: str, scene: Scene) -> str:
    """`text` with what it names of the scene."""
    names = ("repository", "other", "upload", "session", "root")
    for name in names:
        text = text.replace(f"{{{name}}}", str(getattr(scene, name)))
    return text.replace("{layer}", digest_of(scene.layer)).replace("{manifest}", digest_of(scene.manifest))


def changed(scene: Scene, **more: object) -> bytes:
    """The scene's manifest with other fields."""
    return json.dumps({**json.loads(scene.manifest), **more}).encode()


def with_layer(scene: Scene, **more: object) -> bytes:
    """The scene's manifest with other fields in the descriptor of its layer."""
    layers = json.loads(scene.manifest)["layers"]
    return changed(scene, layers=[{**layers[0], **more}])


def _absent(number: int) -> bytes:
    return b"nobody has pushed this, %d" % number


ABSENT_DIGEST: Final = digest_of(_absent(1))
ABSENT_LAYERS: Final = tuple(digest_of(_absent(number)) for number in (1, 2))
UNKNOWN_SESSION: Final = "00000000-0000-4000-8000-000000000000"
ACCEPTED_METHODS: Final = "supported are"


NAMES: Final = Section(
    "Names, tags and digests",
    "仓库名、标签和摘要",
    (
        Row(
            "name-dots",
            "`..` as part of a name",
            "名称中含 `..`",
            get("/v2/../{repository}/manifests/latest"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-inner-dots",
            "`..` in the middle of a name",
            "名称中间含 `..`",
            get("/v2/a/../../etc/manifests/latest"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-encoded-slash",
            "`%2f` in a name: a slash",
            "名称中含 `%2f`：即斜杠",
            get("/v2/a%2fb/manifests/latest"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "name-encoded-twice",
            "`%252f` in a name: decoded once only",
            "名称中含 `%252f`：只解码一次",
            get("/v2/a%252fb/manifests/latest"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-encoded-dots",
            "`%2e%2e` in a name",
            "名称中含 `%2e%2e`",
            get("/v2/a/%2e%2e/b/tags/list"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-null",
            "`%00` in a name",
            "名称中含 `%00`",
            get("/v2/a%00b/manifests/latest"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-doubled-slash",
            "a doubled slash in a path (`a//b`): a redirect to the path with a single one",
            "路径中有两个相连的斜杠（`a//b`）：重定向到只有一个斜杠的路径",
            get("/v2//{repository}/tags/list"),
            301,
            "",
            "",
            {"Location": "/v2/"},
        ),
        Row(
            "name-uploads",
            "a component that begins with `_`, such as `_uploads`",
            "以 `_` 开头的部分，例如 `_uploads`",
            get("/v2/a/_uploads/manifests/latest"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-upper",
            "upper-case letters in a name",
            "名称中含大写字母",
            get("/v2/Team/App/manifests/latest"),
            400,
            "NAME_INVALID",
            "lower-case letters and digits",
        ),
        Row(
            "name-long",
            "a name of more than 255 characters",
            "超过 255 个字符的名称",
            get(f"/v2/{'a' * 256}/manifests/latest"),
            400,
            "NAME_INVALID",
            "longer than 255 characters",
        ),
        Row(
            "name-push",
            "a push to a malformed name",
            "推送到格式错误的名称",
            ask("POST", "/v2/-a/blobs/uploads/"),
            400,
            "NAME_INVALID",
            "invalid repository name",
        ),
        Row(
            "name-mount-from",
            "a mount `from` a malformed name: an upload begins, as with any mount that cannot be done",
            "挂载时 `from` 的名称格式错误：开始一次上传，与无法完成的其他挂载相同",
            ask("POST", "{root}/blobs/uploads/?mount={layer}&from=../etc"),
            202,
            "",
            "",
            {"Range": "0-0"},
        ),
        Row(
            "tag-dot",
            "a tag that begins with `.`: no manifest has one",
            "以 `.` 开头的标签：不会有这样的清单",
            get("{root}/manifests/.hidden"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "tag-dot-deleted",
            "deleting a malformed tag",
            "删除格式错误的标签",
            ask("DELETE", "{root}/manifests/.hidden"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "tag-dot-pushed",
            "a push to a malformed tag",
            "推送到格式错误的标签",
            ask("PUT", "{root}/manifests/.hidden", b"{}"),
            400,
            "TAG_INVALID",
            "invalid tag",
        ),
        Row(
            "tag-slash",
            "`%2f` in a tag",
            "标签中含 `%2f`",
            get("{root}/manifests/a%2f..%2fb"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
        Row(
            "tag-null",
            "`%00` in a tag",
            "标签中含 `%00`",
            get("{root}/manifests/a%00b"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "tag-long",
            "a tag of more than 128 characters",
            "超过 128 个字符的标签",
            get("{root}/manifests/" + "t" * 129),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "tag-query",
            "a malformed `tag=` beside a digest",
            "摘要旁的 `tag=` 格式错误",
            ask("PUT", "{root}/manifests/{manifest}?tag=..%2fup", b"{}"),
            400,
            "TAG_INVALID",
            "invalid tag",
        ),
        Row(
            "digest-short",
            "a digest with too few digits",
            "位数不足的摘要",
            get("{root}/blobs/sha256:abc"),
            400,
            "DIGEST_INVALID",
            "64 lower-case hexadecimal digits",
        ),
        Row(
            "digest-upper",
            "a digest in upper case",
            "大写的摘要",
            get("{root}/blobs/sha256:" + "A" * 64),
            400,
            "DIGEST_INVALID",
            "64 lower-case hexadecimal digits",
        ),
        Row(
            "digest-path",
            "a path in place of a digest",
            "用路径代替摘要",
            get("{root}/blobs/sha256%3A..%2f..%2f..%2fetc%2fpasswd"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
        Row(
            "digest-null",
            "`%00` in a digest",
            "摘要中含 `%00`",
            get("{root}/blobs/sha256:%00" + "0" * 63),
            400,
            "DIGEST_INVALID",
            "invalid digest",
        ),
        Row(
            "digest-long",
            "a digest of thousands of characters",
            "数千个字符的摘要",
            get("{root}/manifests/sha256:" + "0" * 4000),
            400,
            "DIGEST_INVALID",
            "longer than 1024 characters",
        ),
        Row(
            "digest-algorithm",
            "an algorithm other than sha256 and sha512",
            "sha256 和 sha512 以外的算法",
            get("{root}/blobs/md5:d41d8cd98f00b204e9800998ecf8427e"),
            400,
            "DIGEST_INVALID",
            "unsupported algorithm md5; supported are sha256, sha512",
        ),
        Row(
            "digest-algorithm-upload",
            "`digest-algorithm=` with an unknown algorithm",
            "`digest-algorithm=` 给出未知算法",
            ask("POST", "{root}/blobs/uploads/?digest-algorithm=md5"),
            400,
            "DIGEST_INVALID",
            "unsupported algorithm",
        ),
        Row(
            "digest-mount",
            "a mount of a malformed digest: an upload begins",
            "挂载格式错误的摘要：开始一次上传",
            ask("POST", "{root}/blobs/uploads/?mount=latest&from={other}"),
            202,
            "",
            "",
            {"Range": "0-0"},
        ),
        Row(
            "digest-referrers",
            "referrers of a malformed digest",
            "查询格式错误的摘要的引用者",
            get("{root}/referrers/latest"),
            400,
            "DIGEST_INVALID",
            "invalid digest",
        ),
    ),
)

ABSENT: Final = Section(
    "What is not there",
    "不存在的内容",
    (
        Row(
            "absent-repository",
            "the tags of a repository that does not exist",
            "不存在的仓库的标签列表",
            get("/v2/nobody/made/this/tags/list"),
            404,
            "NAME_UNKNOWN",
            "repository name not known",
        ),
        Row(
            "absent-repository-manifest",
            "a manifest of a repository that does not exist",
            "不存在的仓库中的清单",
            get("/v2/nobody/made/this/manifests/latest"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "absent-tag",
            "a tag that does not exist",
            "不存在的标签",
            get("{root}/manifests/missing"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "absent-manifest",
            "a manifest digest that does not exist",
            "不存在的清单摘要",
            get("{root}/manifests/" + ABSENT_DIGEST),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "absent-blob",
            "a blob that does not exist",
            "不存在的数据块",
            get("{root}/blobs/" + ABSENT_DIGEST),
            404,
            "BLOB_UNKNOWN",
            "blob unknown",
        ),
        Row(
            "absent-blob-elsewhere",
            "a blob that only another repository has",
            "只有其他仓库拥有的数据块",
            get("/v2/{other}/blobs/{layer}"),
            404,
            "BLOB_UNKNOWN",
            "blob unknown",
        ),
        Row(
            "absent-upload",
            "an upload that was never begun, is finished or was cancelled",
            "从未开始、已完成或已取消的上传",
            get("{root}/blobs/uploads/" + UNKNOWN_SESSION),
            404,
            "BLOB_UPLOAD_UNKNOWN",
            "blob upload unknown",
        ),
        Row(
            "absent-upload-path",
            "a path in place of an upload's id",
            "用路径代替上传 ID",
            get("{root}/blobs/uploads/..%2f..%2fetc"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
        Row(
            "absent-upload-elsewhere",
            "an upload of another repository",
            "属于其他仓库的上传",
            ask("PATCH", "/v2/{other}/blobs/uploads/{session}", b"more"),
            404,
            "BLOB_UPLOAD_UNKNOWN",
            "blob upload unknown",
        ),
        Row(
            "absent-delete-tag",
            "deleting a tag that does not exist",
            "删除不存在的标签",
            ask("DELETE", "{root}/manifests/missing"),
            404,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        ),
        Row(
            "absent-delete-blob",
            "deleting a blob that does not exist",
            "删除不存在的数据块",
            ask("DELETE", "{root}/blobs/" + ABSENT_DIGEST),
            404,
            "BLOB_UNKNOWN",
            "blob unknown",
        ),
        Row(
            "absent-path",
            "a path that no endpoint has",
            "没有对应接口的路径",
            get("{root}/nothing"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
        Row(
            "absent-path-outside",
            "a path outside the API",
            "API 以外的路径",
            get("/etc/passwd"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
        Row(
            "absent-path-dots",
            "a path that climbs out of the API",
            "试图跳出 API 的路径",
            get("/v2/../../etc/passwd"),
            404,
            "UNSUPPORTED",
            "no such endpoint",
        ),
    ),
)

_DEEP: Final = b'{"schemaVersion":2,"config":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

MANIFESTS: Final = Section(
    "Manifests",
    "清单",
    (
        Row(
            "manifest-large",
            "more than 4 MiB, with `Content-Length`",
            "超过 4 MiB，带 `Content-Length`",
            put(b" " * (MANIFEST_LIMIT + 1)),
            413,
            "SIZE_INVALID",
            "longer than the limit of 4194304 bytes",
        ),
        Row(
            "manifest-large-chunked",
            "more than 4 MiB, without `Content-Length`",
            "超过 4 MiB，不带 `Content-Length`",
            lambda scene: chunked(
                "PUT", f"{scene.root}/manifests/bad", [b" " * MIB] * 5, {"Content-Type": OCI_MANIFEST}
            ),
            413,
            "SIZE_INVALID",
            "longer than the limit of 4194304 bytes",
        ),
        Row("manifest-empty", "an empty body", "空的请求体", put(b""), 400, "MANIFEST_INVALID", "invalid manifest"),
        Row(
            "manifest-no-json",
            "a body that is no JSON",
            "不是 JSON 的请求体",
            put(b"{'single': quotes}"),
            400,
            "MANIFEST_INVALID",
            "invalid manifest",
        ),
        Row(
            "manifest-no-utf8",
            "a body that is no UTF-8",
            "不是 UTF-8 的请求体",
            put(b'{"a": "\xff\xfe"}'),
            400,
            "MANIFEST_INVALID",
            "not a JSON document in UTF-8",
        ),
        Row(
            "manifest-no-object",
            "JSON that is no object",
            "不是对象的 JSON",
            put(b"[1, 2, 3]"),
            400,
            "MANIFEST_INVALID",
            "not a JSON object",
        ),
        Row(
            "manifest-nan",
            "`NaN` or `Infinity`, which are not JSON",
            "`NaN` 或 `Infinity`（不属于 JSON）",
            put(b'{"schemaVersion": NaN}'),
            400,
            "MANIFEST_INVALID",
            "NaN is not JSON",
        ),
        Row(
            "manifest-duplicate",
            "a key that stands twice in one object",
            "同一对象中重复的键",
            push(lambda scene: scene.manifest.replace(b"{", b'{"config": {}, ', 1)),
            400,
            "MANIFEST_INVALID",
            "a key stands twice",
        ),
        Row(
            "manifest-deep",
            "objects or lists nested a hundred thousand deep",
            "嵌套十万层的对象或列表",
            put(_DEEP),
            400,
            "MANIFEST_INVALID",
            "invalid manifest",
        ),
        Row(
            "manifest-digits",
            "a number of a hundred thousand digits",
            "十万位的数字",
            put(b'{"schemaVersion": ' + b"9" * 100_000 + b"}"),
            400,
            "MANIFEST_INVALID",
            "invalid manifest",
        ),
        Row(
            "manifest-version",
            "another `schemaVersion` than 2",
            "`schemaVersion` 不是 2",
            push(lambda scene: changed(scene, schemaVersion=3)),
            400,
            "MANIFEST_INVALID",
            "schemaVersion must be 2",
        ),
        Row(
            "manifest-type-unknown",
            "a media type that is no manifest's",
            "不是清单的媒体类型",
            push(lambda scene: changed(scene, mediaType="text/plain"), "text/plain"),
            400,
            "MANIFEST_INVALID",
            "unknown manifest type",
        ),
        Row(
            "manifest-type-schema1",
            "Docker's schema 1",
            "Docker schema 1",
            put(b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+json"),
            400,
            "MANIFEST_INVALID",
            "Docker schema 1 is no longer supported",
        ),
        Row(
            "manifest-type-differs",
            "a `Content-Type` other than the document's `mediaType`",
            "`Content-Type` 与文档的 `mediaType` 不一致",
            push(lambda scene: scene.manifest, OCI_INDEX),
            400,
            "MANIFEST_INVALID",
            "but Content-Type is",
        ),
        Row(
            "manifest-ambiguous",
            "image and index in one document",
            "同一文档既是镜像又是索引",
            push(lambda scene: changed(scene, manifests=[])),
            400,
            "MANIFEST_INVALID",
            "an image manifest must not have manifests",
        ),
        Row(
            "manifest-ambiguous-index",
            "an index with layers",
            "带有层的索引",
            push(lambda _: index_of([], layers=[]), OCI_INDEX),
            400,
            "MANIFEST_INVALID",
            "an index must not have layers",
        ),
        Row(
            "manifest-no-config",
            "an image without a config",
            "没有 config 的镜像",
            put(json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()),
            400,
            "MANIFEST_INVALID",
            "needs a config descriptor",
        ),
        Row(
            "manifest-layers",
            "`layers` that are no list",
            "`layers` 不是列表",
            push(lambda scene: changed(scene, layers="none")),
            400,
            "MANIFEST_INVALID",
            "layers must be a list",
        ),
        Row(
            "manifest-descriptor-digest",
            "a descriptor with a malformed digest",
            "描述符中的摘要格式错误",
            push(lambda scene: with_layer(scene, digest="sha256:../../etc")),
            400,
            "MANIFEST_INVALID",
            "(at /layers/0/digest)",
        ),
        Row(
            "manifest-descriptor-size",
            "a descriptor with a negative size",
            "描述符中的大小为负数",
            push(lambda scene: with_layer(scene, size=-1)),
            400,
            "MANIFEST_INVALID",
            "(at /layers/0/size)",
        ),
        Row(
            "manifest-size-differs",
            "a descriptor whose size is not the blob's",
            "描述符中的大小与数据块不符",
            push(lambda scene: with_layer(scene, size=len(scene.layer) + 1)),
            400,
            "MANIFEST_INVALID",
            "but the blob has",
        ),
        Row(
            "manifest-blobs-absent",
            "a manifest that names blobs which are not there: one entry for each",
            "清单引用了不存在的数据块：每个都有一条错误",
            push(lambda scene: manifest_of(scene.config, [scene.layer, _absent(1), _absent(2)])),
            400,
            "MANIFEST_BLOB_UNKNOWN",
            "references a blob that this repository does not have",
        ),
        Row(
            "manifest-blobs-many-absent",
            "the same with more than 100 of them: 100 are named, and the last entry says how many there are",
            "同上，但超过 100 个：列出其中 100 个，最后一条给出总数",
            push(lambda scene: manifest_of(scene.config, [_absent(number) for number in range(150)])),
            400,
            "MANIFEST_BLOB_UNKNOWN",
            '"missing": 150',
        ),
        Row(
            "manifest-values-many",
            "a manifest of more than 250,000 values",
            "清单中的值超过 250,000 个",
            push(lambda _: b'{"schemaVersion":2,"more":[' + b"[]," * 300_000 + b"0]}"),
            400,
            "MANIFEST_INVALID",
            "more than 250000 values",
        ),
        Row(
            "manifest-type-long",
            "a media type or artifact type of more than 1,024 characters",
            "媒体类型或制品类型超过 1,024 个字符",
            push(lambda scene: manifest_of(scene.config, [scene.layer], artifactType="a/" + "b" * 1023)),
            400,
            "MANIFEST_INVALID",
            "a type has at most 1024 characters",
        ),
        Row(
            "manifest-digest-differs",
            "a push under a digest that the document does not have",
            "推送时使用的摘要与文档不符",
            lambda scene: put(scene.manifest, target=f"{scene.root}/manifests/{ABSENT_DIGEST}")(scene),
            400,
            "DIGEST_INVALID",
            "does not have the digest it was pushed under",
        ),
        Row(
            "manifest-tag-twice",
            "`tag=` beside a tag in the path",
            "路径已含标签时又给出 `tag=`",
            ask("PUT", "{root}/manifests/bad?tag=other", b"{}", Content_Type=OCI_MANIFEST),
            400,
            "UNSUPPORTED",
            "tag= needs a digest in the path",
        ),
        Row(
            "manifest-tags-many",
            "more than 100 tags in one push",
            "一次推送超过 100 个标签",
            ask("PUT", "{root}/manifests/{manifest}?" + "&".join(f"tag=t{n}" for n in range(101)), b"{}"),
            400,
            "UNSUPPORTED",
            "more than 100 tags in one push",
        ),
    ),
)

BLOBS: Final = Section(
    "Blobs and uploads",
    "Blob 与上传",
    (
        Row(
            "upload-digest-differs",
            "a closing PUT whose digest is not the content's: the upload is over",
            "结束上传的 PUT 的摘要与内容不符：上传随即结束",
            ask("PUT", "{upload}?digest=" + ABSENT_DIGEST, b"other"),
            400,
            "DIGEST_INVALID",
            "did not match uploaded content",
        ),
        Row(
            "upload-post-differs",
            "a single POST whose digest is not the content's",
            "单次 POST 的摘要与内容不符",
            ask("POST", "{root}/blobs/uploads/?digest=" + ABSENT_DIGEST, b"other"),
            400,
            "DIGEST_INVALID",
            "did not match uploaded content",
        ),
        Row(
            "upload-no-digest",
            "a closing PUT without `digest=`",
            "结束上传的 PUT 缺少 `digest=`",
            ask("PUT", "{upload}"),
            400,
            "DIGEST_INVALID",
            "closing an upload needs ?digest=",
        ),
        Row(
            "upload-length-differs",
            "a `Content-Range` of another length than the body",
            "`Content-Range` 与请求体长度不符",
            ask("PATCH", "{upload}", b"12345", Content_Range="10-99"),
            400,
            "SIZE_INVALID",
            "provided length did not match",
        ),
        Row(
            "upload-length-differs-out-of-order",
            "the same for a chunk that does not begin where the upload stands",
            "同上，且数据段的起点不是上传的当前位置",
            ask("PATCH", "{upload}", b"12345", Content_Range="50-99"),
            416,
            "BLOB_UPLOAD_INVALID",
            "the chunk must begin at offset 10",
            {"Range": "0-9"},
        ),
        Row(
            "upload-range-malformed",
            "a malformed `Content-Range`",
            "格式错误的 `Content-Range`",
            ask("PATCH", "{upload}", b"12345", Content_Range="five-ten"),
            400,
            "BLOB_UPLOAD_INVALID",
            "Content-Range must be",
        ),
        Row(
            "upload-range-backwards",
            "a `Content-Range` that ends before it begins",
            "结尾在开头之前的 `Content-Range`",
            ask("PATCH", "{upload}", b"12345", Content_Range="14-10"),
            400,
            "BLOB_UPLOAD_INVALID",
            "Content-Range must be",
        ),
        Row(
            "upload-order",
            "a chunk that does not begin where the upload stands: `Range` says where to go on",
            "分块不从上传的当前位置开始：`Range` 指出应从何处继续",
            ask("PATCH", "{upload}", b"12345", Content_Range="20-24"),
            416,
            "BLOB_UPLOAD_INVALID",
            "the chunk must begin at offset 10",
            {"Range": "0-9", "Location": "{upload}"},
        ),
        Row(
            "upload-order-again",
            "a chunk that was received already",
            "已经收到过的分块",
            ask("PATCH", "{upload}", b"12345", Content_Range="0-4"),
            416,
            "BLOB_UPLOAD_INVALID",
            "the chunk must begin at offset 10",
            {"Range": "0-9", "Location": "{upload}"},
        ),
        Row(
            "upload-order-last",
            "a last chunk (closing PUT) out of order",
            "顺序错误的最后分块（结束上传的 PUT）",
            ask("PUT", "{upload}?digest=" + ABSENT_DIGEST, b"12345", Content_Range="20-24"),
            416,
            "BLOB_UPLOAD_INVALID",
            "the chunk must begin at offset 10",
            {"Range": "0-9", "Location": "{upload}"},
        ),
        Row(
            "range-beyond",
            "a `Range` beyond the end of a blob",
            "超出数据块末尾的 `Range`",
            ask("GET", "{root}/blobs/{layer}", Range="bytes=1000000-"),
            416,
            "RANGE_INVALID",
            "no range lies within",
            {"Content-Range": "bytes */"},
        ),
        Row(
            "blob-in-use",
            "deleting a blob that a manifest of the repository names",
            "删除仓库中清单仍在引用的数据块",
            ask("DELETE", "{root}/blobs/{layer}"),
            405,
            "UNSUPPORTED",
            "delete the manifest first",
        ),
    ),
)

LISTINGS: Final = Section(
    "Listings and queries",
    "列表与查询",
    (
        Row(
            "n-negative",
            "`n` below zero",
            "`n` 小于零",
            get("{root}/tags/list?n=-1"),
            400,
            "PAGINATION_NUMBER_INVALID",
            "n must be a whole number",
        ),
        Row(
            "n-word",
            "`n` that is no number",
            "`n` 不是数字",
            get("/v2/_catalog?n=many"),
            400,
            "PAGINATION_NUMBER_INVALID",
            "n must be a whole number",
        ),
        Row(
            "n-digits",
            "`n` of more than 20 digits",
            "`n` 超过 20 位数字",
            get("/v2/_catalog?n=" + "9" * 400),
            400,
            "PAGINATION_NUMBER_INVALID",
            "n must be a whole number",
        ),
        Row(
            "n-empty",
            "an empty `n`: as without",
            "空的 `n`：视同没有",
            get("{root}/tags/list?n="),
            200,
            "",
            "latest",
        ),
        Row(
            "n-huge",
            "a huge `n`: as many entries as the server gives at once, and a `Warning`",
            "过大的 `n`：返回服务器单次允许的最多条目，并附 `Warning`",
            get("{root}/tags/list?n=9999999999"),
            200,
            "",
            "latest",
            {"Warning": "n was reduced to 1000"},
        ),
        Row(
            "last-strange",
            "a `last` that no tag or repository can have: what would come after it",
            "不可能存在的 `last`：返回排在它之后的条目",
            get("{root}/tags/list?last=..%2f%00%27%3B--"),
            200,
            "",
            "latest",
        ),
        Row(
            "query-utf8",
            "a query that is no UTF-8",
            "不是 UTF-8 的查询",
            get("{root}/tags/list?last=%ff%fe"),
            400,
            "UNSUPPORTED",
            "percent-encoded UTF-8",
        ),
        Row(
            "query-fields",
            "more than 200 fields in a query",
            "查询中超过 200 个字段",
            get("/v2/_catalog?" + "&".join(f"a{n}=1" for n in range(201))),
            400,
            "UNSUPPORTED",
            "at most 200 fields",
        ),
    ),
)

METHODS: Final = Section(
    "Methods",
    "方法",
    (
        Row(
            "method-base",
            "a method that `/v2/` does not know",
            "`/v2/` 不支持的方法",
            ask("POST", "/v2/"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET, HEAD"},
        ),
        Row(
            "method-catalog",
            "a method that the catalogue does not know",
            "目录接口不支持的方法",
            ask("DELETE", "/v2/_catalog"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET"},
        ),
        Row(
            "method-tags",
            "a method that the list of tags does not know",
            "标签列表不支持的方法",
            ask("PUT", "{root}/tags/list"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET"},
        ),
        Row(
            "method-manifest",
            "a method that manifests do not know",
            "清单不支持的方法",
            ask("PATCH", "{root}/manifests/latest"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET, HEAD, PUT, DELETE"},
        ),
        Row(
            "method-blob",
            "a method that blobs do not know",
            "数据块不支持的方法",
            ask("PUT", "{root}/blobs/{layer}", b"bytes"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET, HEAD, DELETE"},
        ),
        Row(
            "method-uploads",
            "a method that beginning an upload does not know",
            "开始上传的接口不支持的方法",
            ask("PATCH", "{root}/blobs/uploads/", b"bytes"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "POST"},
        ),
        Row(
            "method-upload",
            "a method that an upload does not know",
            "上传会话不支持的方法",
            ask("POST", "{upload}", b"bytes"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET, HEAD, PATCH, PUT, DELETE"},
        ),
        Row(
            "method-referrers",
            "a method that referrers do not know",
            "引用者接口不支持的方法",
            ask("DELETE", "{root}/referrers/{manifest}"),
            405,
            "UNSUPPORTED",
            ACCEPTED_METHODS,
            {"Allow": "GET"},
        ),
    ),
)

TRANSPORT: Final = Section(
    "What is no proper HTTP",
    "不符合 HTTP 的内容",
    (
        Row(
            "http-garbage",
            "bytes that are no HTTP",
            "不是 HTTP 的字节",
            lambda _: b"\x17\x03\x01\x02\x00\x01\r\n\r\n",
            400,
            "UNSUPPORTED",
            "no HTTP/1.1 request",
        ),
        Row(
            "http-tls",
            "the beginning of TLS on the port of plain HTTP",
            "在明文 HTTP 端口上发起 TLS",
            lambda _: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            400,
            "UNSUPPORTED",
            "this port speaks plain HTTP, not TLS",
        ),
        Row(
            "http-no-host",
            "a request of HTTP/1.1 without `Host`",
            "没有 `Host` 头的 HTTP/1.1 请求",
            lambda _: b"GET /v2/ HTTP/1.1\r\n\r\n",
            400,
            "UNSUPPORTED",
            "a request has one Host header",
        ),
        Row(
            "http-two-hosts",
            "a request with two `Host` headers, even equal ones",
            "含有两个 `Host` 头的请求，即使二者相同",
            lambda _: head("GET", "/v2/", {"Host": "registry.test"}),
            400,
            "UNSUPPORTED",
            "a request has one Host header",
        ),
        Row(
            "http-null",
            "a null byte in the URL or in a header",
            "URL 或请求头中含空字节",
            lambda scene: head("GET", f"{scene.root}/manifests/a\0b"),
            400,
            "UNSUPPORTED",
            "no HTTP/1.1 request",
        ),
        Row(
            "http-length",
            "a `Content-Length` that is no number",
            "`Content-Length` 不是数字",
            lambda scene: head("PATCH", scene.upload, {"Content-Length": "-5"}),
            400,
            "UNSUPPORTED",
            "no HTTP/1.1 request",
        ),
        Row(
            "http-lengths",
            "`Content-Length` beside `Transfer-Encoding`",
            "同时给出 `Content-Length` 和 `Transfer-Encoding`",
            lambda scene: chunked("PATCH", scene.upload, [b"bytes"], {"Content-Length": "5"}),
            400,
            "UNSUPPORTED",
            "no HTTP/1.1 request",
        ),
        Row(
            "http-chunk",
            "a malformed chunk of a chunked body",
            "分块编码中格式错误的块",
            lambda scene: head("PATCH", scene.upload, {"Transfer-Encoding": "chunked"}) + b"five\r\nbytes\r\n",
            400,
            "UNSUPPORTED",
            "no HTTP/1.1 request",
        ),
        Row(
            "http-url",
            "a URL of more than 8 KiB",
            "超过 8 KiB 的 URL",
            get("{root}/tags/list?last=" + "a" * 9000),
            414,
            "SIZE_INVALID",
            "the URL is longer",
        ),
        Row(
            "http-headers",
            "more than 32 KiB of headers",
            "超过 32 KiB 的请求头",
            lambda scene: head("GET", f"{scene.root}/tags/list", {"X-Filler": "a" * 40_000}),
            431,
            "SIZE_INVALID",
            "header fields are larger",
        ),
    ),
)

SLOW: Final = Section(
    "Clients that take too long, or are too many",
    "过慢或过多的客户端",
    (
        Row(
            "slow-header",
            "a request's head that does not arrive within `limits.header_timeout_seconds`",
            "请求头未在 `limits.header_timeout_seconds` 内到达",
            lambda _: b"GET /v2/ HTTP/1.1\r\nHost: a\r\n",
            408,
            "UNAVAILABLE",
            "header did not arrive in time",
        ),
        Row(
            "slow-header-drip",
            "the same a byte at a time",
            "同上，每次只发送一个字节",
            lambda _: b"GET /v2/ HTTP/1.1\r\nX-Slow: ",
            408,
            "UNAVAILABLE",
            "header did not arrive in time",
            drip=b"a" * 10_000,
        ),
        Row(
            "slow-body",
            "a body of which nothing arrives for `limits.body_idle_timeout_seconds`: what came before is kept",
            "请求体在 `limits.body_idle_timeout_seconds` 内没有新数据：之前收到的内容会保留",
            lambda scene: head("PATCH", scene.upload, {"Content-Length": "1000"}) + b"the beginning",
            408,
            "UNAVAILABLE",
            "body stopped arriving",
        ),
        Row(
            "slow-manifest",
            "the same while a manifest is pushed",
            "同上，发生在推送清单时",
            lambda scene: head("PUT", f"{scene.root}/manifests/bad", {"Content-Length": "1000"}) + b"{",
            408,
            "UNAVAILABLE",
            "body stopped arriving",
        ),
        Row(
            "slow-request",
            "a request that takes longer than `limits.request_timeout_seconds` as a whole",
            "整个请求的用时超过 `limits.request_timeout_seconds`",
            lambda scene: head("PATCH", scene.upload, {"Content-Length": "100000"}),
            408,
            "UNAVAILABLE",
            "took too long to arrive",
            drip=b"a" * 10_000,
        ),
        Row(
            "too-many",
            "more connections than `limits.connections`",
            "连接数超过 `limits.connections`",
            get("/v2/"),
            503,
            "UNAVAILABLE",
            "too many connections",
            crowd=CONNECTIONS,
        ),
    ),
)

SECTIONS: Final = (NAMES, ABSENT, MANIFESTS, BLOBS, LISTINGS, METHODS, TRANSPORT, SLOW)
