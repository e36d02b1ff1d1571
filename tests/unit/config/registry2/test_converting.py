"""What ``roadstead config convert`` writes means the same, whatever keys come together."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from roadstead.config import Registry2KeysRefusedError, SettingsInvalidError, load
from roadstead.config.writing import write_converted
from tests.unit.config.registry2.conftest import BASE, Configurations
from tests.unit.config.registry2.test_keys import DIFFERENT, HONOURED, IGNORED

TEXTS = [text for text, _ in (*HONOURED.values(), *DIFFERENT.values())] + list(IGNORED.values())
HARMLESS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


def merged(one: Any, other: Any) -> Any:
    """Both documents; where they disagree, the second."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return copy.deepcopy(other)
    return {key: merged(one.get(key), other[key]) if key in other else one[key] for key in {**one, **other}}


def converted(file: Path, folder: Path) -> Path:
    loaded = load(file, {})
    assert loaded.registry2 is not None
    out = folder / "roadstead.yaml"
    out.write_text(write_converted(loaded.registry2, loaded.settings, str(file)), encoding="utf-8")
    return out


@pytest.mark.parametrize("text", TEXTS)
def test_each_key_alone(configurations: Configurations, text: str, tmp_path: Path) -> None:
    file = configurations.file(text)
    assert load(converted(file, tmp_path), {}).settings == load(file, {}).settings


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(texts=st.lists(st.sampled_from(TEXTS), max_size=12), key=HARMLESS, value=HARMLESS)
def test_all_together(configurations: Configurations, texts: list[str], key: str, value: str, tmp_path: Path) -> None:
    document: Any = yaml.safe_load(BASE)
    for text in texts:
        document = merged(document, yaml.safe_load(text) or {})
    document = {"version": "0.1", **document, "log": {"fields": {key: value}}, f"x{key}": value}
    file = configurations.folder / "config.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    try:
        expected = load(file, {}).settings
    except SettingsInvalidError:
        assume(False)  # noqa: FBT003 - hypothesis's only parameter; such as two ways to authenticate at once
        raise
    assert load(converted(file, tmp_path), {}).settings == expected


def test_each_setting_says_where_it_comes_from(configurations: Configurations, tmp_path: Path) -> None:
    file = configurations.file("http:\n  addr: :5000\n  secret: x")
    lines = converted(file, tmp_path).read_text().splitlines()
    explained = lines[lines.index("  main: '[::]:5000'") - 1]
    assert explained == "  # http.addr, line 4: Address of the registry; without a host, every one, IPv4 and IPv6."
    assert lines[lines.index("  deletion: false") - 1].startswith("  # registry:2's default: ")
    (remark,) = (line for line in lines if line.startswith("# - "))
    assert remark.startswith("# - http.secret, line 5: Not needed")


def test_a_key_cannot_write_settings_by_its_name(configurations: Configurations, tmp_path: Path) -> None:
    file = configurations.file('"x\\nauthentication: {mode: htpasswd}\\u2028y: ": 1')
    written = converted(file, tmp_path)
    assert load(written, {}).settings == load(file, {}).settings
    assert set(yaml.safe_load(written.read_text())) <= {"listen", "data", "storage", "authentication", "content",
                                                       "limits"}  # fmt: skip


def test_what_stops_a_server_is_not_converted(configurations: Configurations, tmp_path: Path) -> None:
    file = configurations.file("auth: {token: {realm: r}}")
    with pytest.raises(Registry2KeysRefusedError):
        converted(file, tmp_path)
