"""What the reference page is generated from."""

from roadstead.config import describe_settings


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
    assert settings["database.url"].is_secret
    assert not settings["log.level"].is_secret
