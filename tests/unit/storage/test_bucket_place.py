"""Addresses of buckets."""

from __future__ import annotations

import pytest

from roadstead.storage.bucket_place import BucketPlace, BucketUrlInvalidError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.bucket/some/prefix/?region=eu-central-1", "s3://my.bucket/some/prefix"),
        ("azure://container/p?account=acme", "azure://container/p"),
        ("gs://bucket_with_underscore", "gs://bucket_with_underscore"),
    ],
)
def test_places(url: str, shown: str) -> None:
    place = BucketPlace.parse(url)
    assert str(place) == shown
    assert place.scheme == url.partition(":")[0]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("bucket/prefix", "a bucket is s3://"),
        ("http://bucket", "a bucket is s3://"),
        ("s3:///prefix", "no bucket is named: write s3://BUCKET/PREFIX"),
        ("s3://bucket:9000/prefix", "no bucket is named"),
        ("s3://key:secret@bucket", "AWS_ACCESS_KEY_ID"),
        ("azure://container?account_key=abc", "AZURE_STORAGE_ACCOUNT_KEY"),
        ("gs://bucket?service_account_key=abc", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("s3://bucket?secret_access_key=abc", "credentials do not belong"),
        ("s3://bucket?regoin=eu", "regoin: of a bucket at s3:// can be set: encryption, endpoint"),
        ("s3://bucket?region=", "region has no value"),
        ("s3://bucket?style=host", "it is one of path, virtual"),
        ("s3://bucket?encryption=aes", "it is one of AES256"),
        ("s3://bucket?kms_key=abc", "kms_key goes with encryption=aws:kms"),
        ("s3://bucket?endpoint=minio:9000", "write it with https:// or http://"),
        ("s3://bucket/a//b", "a prefix is names with a slash"),
        ("s3://bucket/../b", "a prefix is names with a slash"),
    ],
)
def test_addresses_that_are_none(url: str, reason: str) -> None:
    with pytest.raises(BucketUrlInvalidError, match=reason):
        BucketPlace.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/p?endpoint=http://127.0.0.1:9000&style=path",
        "s3://bucket?region=eu-west-1&encryption=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/2",
        "azure://container/p?account=acme",
        "azure://container?account=acme&endpoint=https://acme.blob.core.windows.net",
        "gs://bucket/p",
    ],
)
def test_the_library_takes_them(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0")
    place = BucketPlace.parse(url)
    for is_patient in (True, False):
        assert place.open(is_patient=is_patient) is not None


def test_what_the_library_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(BucketUrlInvalidError, match="azure://container"):
        BucketPlace.parse("azure://container").open()
