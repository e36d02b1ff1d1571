"""Configurations of registry:2, written in a line or two, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from roadstead.config import LoadedSettings, Settings, load
from roadstead.config.registry2 import Finding, Registry2Configuration, is_registry2, parse, read_tree
from roadstead.config.registry2 import Mapping as MappingNode

BASE = "storage: {filesystem: {rootdirectory: /srv/registry}}"


@dataclass(frozen=True, slots=True)
class Configurations:
    """Reads texts as files called ``config.yml``."""

    folder: Path

    def file(self, text: str, *, base: str = BASE) -> Path:
        """A file with the version, the storage unless the text has its own, and the text."""
        file = self.folder / "config.yml"
        parts = ["version: 0.1", "" if "storage:" in text else base, text]
        file.write_text("\n".join(part for part in parts if part))
        return file

    def load(self, text: str, environment: Mapping[str, str] | None = None, **overrides: Any) -> LoadedSettings:
        """What a server would be given."""
        named = {key.replace("__", "."): value for key, value in overrides.items()}
        return load(self.file(text), environment or {}, named)

    def settings(self, text: str, environment: Mapping[str, str] | None = None) -> Settings:
        """The settings alone."""
        return self.load(text, environment).settings

    def read(self, text: str, environment: Mapping[str, str] | None = None) -> Registry2Configuration:
        """What becomes of every key, whether a server would start or not."""
        tree = parse(self.file(text).read_bytes(), "config.yml")
        assert is_registry2(tree)
        assert isinstance(tree, MappingNode)
        return read_tree(tree, "config.yml", environment or {})

    def finding(self, text: str, key: str, environment: Mapping[str, str] | None = None) -> Finding:
        """What becomes of one key."""
        return next(finding for finding in self.read(text, environment).findings if finding.key == key)


@pytest.fixture
def configurations(tmp_path: Path) -> Configurations:
    return Configurations(tmp_path)
