"""What the reference page is generated from."""

import json
from pathlib import Path

import pytest
import yaml

from roadstead.config import SettingDescription, Settings, describe_settings, load_settings


def test_every_setting_says_what_it_means() -> None:
    for setting in describe_settings():
        assert setting.description.endswith("."), setting.key
        assert setting.section_description.endswith("."), setting.key
        assert setting.default, setting.key
        assert setting.type_name, setting.key


def test_a_setting_is_described_as_it_is_written_in_each_source() -> None:
    settings = {setting.key: setting for setting in describe_settings()}
    main = settings["listen.main"]
    assert (main.type_name, main.default) == ("HOST:PORT", "127.0.0.1:5000")
    assert (main.environment_name, main.flag) == ("ROADSTEAD_LISTEN__MAIN", "--listen")
    assert settings["limits.page_maximum"].bounds == "at least 1, at most 100000"
    assert settings["log.level"].type_name == "debug | info | warning | error"
    assert (settings["http.headers"].type_name, settings["http.headers"].default) == ("mapping", "none")
    assert settings["tls.client_authorities"].type_name == "list of path"
    assert settings["database.url"].is_secret
    assert not settings["log.level"].is_secret


@pytest.mark.parametrize(
    "setting", [each for each in describe_settings() if each.example is not None], ids=lambda each: each.key
)
def test_an_example_means_the_same_in_a_file_and_in_a_variable(setting: SettingDescription, tmp_path: Path) -> None:
    section, name = setting.key.split(".")
    file = tmp_path / "roadstead.yaml"
    file.write_text(yaml.safe_dump({section: {name: setting.example}}))
    from_file = load_settings(file, {})
    assert from_file != Settings()
    assert from_file == load_settings(None, {setting.environment_name: json.dumps(setting.example)})


def test_every_list_and_mapping_has_an_example() -> None:
    for setting in describe_settings():
        is_nested = setting.type_name == "mapping" or setting.type_name.startswith("list of ")
        assert (setting.example is not None) == is_nested, setting.key
