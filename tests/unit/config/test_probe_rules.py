"""What should be looked at, and the rules for URLs: what could never work stops the start with a remedy."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from roadstead.config import load_settings
from roadstead.config.errors import SettingInvalidError


def written(folder: Path, section: str, values: Mapping[str, object]) -> Path:
    file = folder / "roadstead.yaml"
    file.write_text(yaml.safe_dump({section: dict(values)}), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("health", {"urls": ["http://127.0.0.1/status", "https://user:secret@example.com:8443/x"]}),
        ("health", {"addresses": ["db.example.com:5432", "[::1]:80", "127.0.0.1:1"]}),
        ("content", {"foreign_urls_allow": ["^https?://", "^$"], "foreign_urls_deny": ["(?i)secret"]}),
    ],
)
def test_what_works(tmp_path: Path, section: str, values: Mapping[str, object]) -> None:
    load_settings(written(tmp_path, section, values), {})


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("health", "urls", "ftp://example.com/"),
        ("health", "urls", "http://user:secret@/"),
        ("health", "urls", "http://example.com:port/"),
        ("health", "urls", "http://[::1/"),
        ("health", "addresses", "db.example.com"),
        ("health", "addresses", ":5432"),
        ("health", "addresses", "db.example.com:0"),
        ("health", "addresses", "db.example.com:99999"),
        ("health", "addresses", "http://db.example.com:80"),
        ("content", "foreign_urls_allow", "("),
        ("content", "foreign_urls_deny", "[a"),
    ],
)
def test_what_does_not(tmp_path: Path, section: str, key: str, value: str) -> None:
    with pytest.raises(SettingInvalidError) as caught:
        load_settings(written(tmp_path, section, {key: [value]}), {})
    assert f"{section}.{key}" in str(caught.value)
    assert "write " in caught.value.remedy
    assert "secret" not in str(caught.value)
