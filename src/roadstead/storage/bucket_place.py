"""Places in buckets, as ``storage.url`` names them: which store, which bucket, which prefix, and how it is spoken to.

::

    s3://BUCKET/PREFIX?endpoint=https://…&region=…&style=path|virtual&encryption=AES256|aws:kms&kms_key=…
    azure://CONTAINER/PREFIX?account=…&endpoint=https://…
    gs://BUCKET/PREFIX?endpoint=https://…

Credentials are never in the address, which stands in settings and logs: they come by the vendors' usual ways, read by
the library itself (``AWS_ACCESS_KEY_ID``, a web identity, the instance's role; ``AZURE_STORAGE_ACCOUNT_KEY``, a managed
identity; ``GOOGLE_APPLICATION_CREDENTIALS``, the metadata server).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from roadstead.errors import RoadsteadError

if TYPE_CHECKING:
    from obstore.store import AzureConfig, GCSConfig, RetryConfig, S3Config

    from roadstead.storage.bucket import Bucket

SCHEMES: Final = ("s3", "azure", "gs")

_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "s3": frozenset({"endpoint", "region", "style", "encryption", "kms_key"}),
    "azure": frozenset({"account", "endpoint"}),
    "gs": frozenset({"endpoint"}),
}
_STYLES: Final = frozenset({"path", "virtual"})
_ENCRYPTIONS: Final = frozenset({"AES256", "aws:kms", "aws:kms:dsse"})
_SECRETS: Final = ("key", "secret", "token", "password")

CONNECT_SECONDS: Final = 3
REQUEST_SECONDS: Final = 20
"""For one request with its body: a part of 5 MiB then needs 256 KiB a second, and a stream that a slow client holds up
is taken up again."""

RETRIES: Final = 40
RETRY_SECONDS: Final = 30
"""A store may ask for patience (503 SlowDown) for so long; by itself the library gives up after two to four seconds."""

FIRST_WAIT_SECONDS: Final = 0.2
LONGEST_WAIT_SECONDS: Final = 3


class BucketUrlInvalidError(RoadsteadError):
    """An address of a bucket cannot be understood; the text says what to write instead."""


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """A prefix of a bucket, and the options of its address."""

    scheme: str
    bucket: str
    prefix: str
    options: Mapping[str, str]

    @classmethod
    def parse(cls, url: str) -> "BucketPlace":
        """Reads an address.

        Raises:
            BucketUrlInvalidError: it names no bucket, or something that is not known.
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise BucketUrlInvalidError(f"{parts.scheme or 'no scheme'}: a bucket is s3://…, azure://… or gs://…")
        if parts.username is not None or parts.password is not None:
            raise BucketUrlInvalidError(f"credentials do not belong into the address: {_REMEDIES[parts.scheme]}")
        if not parts.hostname or parts.port is not None:
            raise BucketUrlInvalidError(f"no bucket is named: write {parts.scheme}://BUCKET/PREFIX")
        prefix = parts.path.strip("/")
        if any(part in {"", ".", ".."} for part in prefix.split("/")) and prefix:
            raise BucketUrlInvalidError(f"{parts.path}: a prefix is names with a slash between them")
        return cls(parts.scheme, parts.netloc, prefix, _options(parts.scheme, parts.query))

    def __str__(self) -> str:
        """The place without its options, as messages name it."""
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    def open(self, *, is_patient: bool = True) -> "Bucket":
        """The library's handle of the place; nothing is asked yet. Without patience nothing is tried again.

        Raises:
            BucketUrlInvalidError: the library does not take the options, or finds no account.
        """
        from obstore.exceptions import BaseError  # noqa: PLC0415 - 10 ms that a folder does not need

        try:
            return self._open(is_patient=is_patient)
        except (BaseError, ValueError, TypeError) as error:
            raise BucketUrlInvalidError(f"{self}: {str(error).partition(chr(10))[0]}") from error

    def _open(self, *, is_patient: bool) -> "Bucket":
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415 - see above

        common: dict[str, Any] = {
            "prefix": self.prefix or None,
            "client_options": {
                "allow_http": self.options.get("endpoint", "").startswith("http://"),
                "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
                "timeout": timedelta(seconds=REQUEST_SECONDS),
            },
            "retry_config": _PATIENT if is_patient else {**_PATIENT, "max_retries": 0},
        }
        match self.scheme:
            case "s3":
                return S3Store(self.bucket, config=self._s3(), **common)
            case "azure":
                return AzureStore(self.bucket, config=self._azure(), **common)
            case _:
                return GCSStore(self.bucket, config=self._gcs(), **common)

    def _s3(self) -> "S3Config":
        """Over TLS a payload is not signed as well: that costs a third of a push."""
        endpoint = self.options.get("endpoint", "")
        config: S3Config = {"unsigned_payload": not endpoint.startswith("http://")}
        if endpoint:
            config["endpoint"] = endpoint
            config["virtual_hosted_style_request"] = self.options.get("style") == "virtual"
        if region := self.options.get("region") or ("us-east-1" if endpoint else ""):
            config["region"] = region
        if encryption := self.options.get("encryption"):
            config["server_side_encryption"] = encryption
        if kms_key := self.options.get("kms_key"):
            config["sse_kms_key_id"] = kms_key
        return config

    def _azure(self) -> "AzureConfig":
        config: AzureConfig = {}
        if account := self.options.get("account"):
            config["account_name"] = account
        if endpoint := self.options.get("endpoint"):
            config["endpoint"] = endpoint
        return config

    def _gcs(self) -> "GCSConfig":
        return {"base_url": self.options["endpoint"]} if "endpoint" in self.options else {}


_PATIENT: Final["RetryConfig"] = {
    "max_retries": RETRIES,
    "retry_timeout": timedelta(seconds=RETRY_SECONDS),
    "backoff": {
        "init_backoff": timedelta(seconds=FIRST_WAIT_SECONDS),
        "max_backoff": timedelta(seconds=LONGEST_WAIT_SECONDS),
        "base": 2,
    },
}

_REMEDIES: Final[Mapping[str, str]] = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    "azure": "set AZURE_STORAGE_ACCOUNT_KEY, or give the machine an identity",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account, or give the machine one",
}


def _options(scheme: str, query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    known = _OPTIONS[scheme]
    for name, value in options.items():
        if name not in known and any(word in name.lower() for word in _SECRETS):
            raise BucketUrlInvalidError(f"credentials do not belong into the address: {_REMEDIES[scheme]}")
        if name not in known:
            raise BucketUrlInvalidError(f"{name}: of a bucket at {scheme}:// can be set: {', '.join(sorted(known))}")
        if not value:
            raise BucketUrlInvalidError(f"{name} has no value")
    _require(options, "style", _STYLES)
    _require(options, "encryption", _ENCRYPTIONS)
    if "kms_key" in options and not options.get("encryption", "").startswith("aws:kms"):
        raise BucketUrlInvalidError("kms_key goes with encryption=aws:kms")
    if "endpoint" in options and not options["endpoint"].startswith(("http://", "https://")):
        raise BucketUrlInvalidError("endpoint: write it with https:// or http://")
    return options


def _require(options: Mapping[str, str], name: str, values: frozenset[str]) -> None:
    if name in options and options[name] not in values:
        raise BucketUrlInvalidError(f"{name}={options[name]}: it is one of {', '.join(sorted(values))}")
