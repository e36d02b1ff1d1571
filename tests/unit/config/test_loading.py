"""Settings: which source wins, what is refused, and whether the message says where and what to do."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from roadstead.config import (
    AuthenticationModeUnavailableError,
    ListenAddress,
    ListenAddressUnsafeError,
    SettingInvalidError,
    Settings,
    SettingsFileInvalidError,
    SettingsInvalidError,
    SettingUnknownError,
    load_settings,
)

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "roadstead.yaml"
        file.write_text(text)
        return file

    return write


def load(file: Path | None = None, environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    return load_settings(file, environment or {}, {key.replace("__", "."): value for key, value in overrides.items()})


def test_without_any_source_the_defaults_hold() -> None:
    assert load() == Settings()
    assert str(Settings().listen.main) == "127.0.0.1:5000"
    assert Settings().database_file == Path("data/roadstead.db")


def test_flags_beat_the_environment_and_the_environment_the_file(write: Write) -> None:
    file = write("limits: {connections: 1, page_maximum: 10}")
    environment = {"ROADSTEAD_LIMITS__CONNECTIONS": "2", "ROADSTEAD_LIMITS__PAGE_MAXIMUM": "20"}
    limits = load(file, environment, limits__connections=3).limits
    assert (limits.connections, limits.page_maximum) == (3, 20)


def test_a_flag_that_was_not_given_counts_for_nothing(write: Write) -> None:
    assert load(write("log: {level: debug}"), log__level=None).log.level == "debug"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert load(environment={"ROADSTEAD_LISTEN__MAIN": ""}) == Settings()


def test_values_have_the_types_of_their_keys(write: Write) -> None:
    file = write("listen: {main: '[::1]:0'}\ndata: {folder: /srv/registry}\nlimits: {header_timeout_seconds: 5}")
    settings = load(file, {"ROADSTEAD_LOG__ACCESS": "false"})
    assert settings.listen.main == ListenAddress("::1", 0)
    assert settings.storage_folder == Path("/srv/registry/registry")
    assert settings.limits.header_timeout_seconds == 5.0
    assert settings.log.access is False


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "limits:\n"])
def test_an_empty_file_or_section_is_fine(write: Write, text: str) -> None:
    assert load(write(text)) == Settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("limitz: {}", "limitz: unknown setting; did you mean limits?"),
        ("listen: {mian: x}", "listen.mian: unknown setting; did you mean listen.main?"),
        ("limits: {connections: 0}", "limits.connections: Expected `int` >= 1"),
        ("limits: {connections: many}", "limits.connections: Expected `int`, got `str`"),
        ("limits: {header_timeout_seconds: .nan}", "limits.header_timeout_seconds: Expected `float` > 0"),
        ("listen: {main: 5000}", "listen.main: expected text, got int"),
        ("listen: {main: localhost}", "listen.main: expected HOST:PORT"),
        ("listen: {main: 'http://localhost:5000'}", "listen.main: "),
        ("listen: {main: 'localhost:70000'}", "listen.main: expected HOST:PORT"),
        ("listen: {main: '::1:5000'}", "listen.main: an IPv6 address is written in brackets"),
        ("data: {folder: ''}", "data.folder: expected text, got nothing"),
        ("log: {level: loud}", "log.level: Invalid enum value 'loud'"),
        ("log: true", "log: expected a mapping"),
        ("storage: {url: 's3://bucket'}", "storage.url has a scheme that this version does not have"),
        ("log: {level: info, level: debug}", "line 1: the key 'level' is there twice"),
        ("log: {}\nlog: {}", "line 2: the key 'log' is there twice"),
        ("log: {", "line 1: "),
        ("- log", "expected a mapping of sections"),
        ("log: !!python/object/apply:os.system ['true']", "line 1: could not determine a constructor"),
        ("http: {addr: ':5000'}", "this is registry:2's configuration without its version"),
        ("storage: {filesystem: }", "let it begin with version: 0.1"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(write: Write, text: str, message: str) -> None:
    file = write(text)
    with pytest.raises(SettingsInvalidError) as caught:
        load(file)
    assert str(caught.value).startswith(str(file))
    assert message in str(caught.value)
    assert caught.value.remedy


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsFileInvalidError, match=r"missing\.yaml: cannot be read: No such file"):
        load(tmp_path / "missing.yaml")


def test_a_file_given_by_mistake_is_not_read_whole(write: Write) -> None:
    with pytest.raises(SettingsFileInvalidError, match="larger than"):
        load(write("x" * 2_000_000))


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ROADSTEAD_LIMITS__CONECTIONS", "did you mean ROADSTEAD_LIMITS__CONNECTIONS?"),
        ("ROADSTEAD_LIMITS_CONNECTIONS", "did you mean ROADSTEAD_LIMITS__CONNECTIONS?"),
        ("ROADSTEAD_NO__THING", "unknown setting"),
        ("ROADSTEAD_LIMITS__CONNECTIONS", "Expected `int`, got `str`"),
        ("ROADSTEAD_LOG__LEVEL_FILE", "did you mean ROADSTEAD_LOG__LEVEL?"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(variable: str, message: str) -> None:
    with pytest.raises(SettingsInvalidError) as caught:
        load(environment={variable: "x"})
    assert str(caught.value).startswith(variable)
    assert message in str(caught.value)


def test_other_variables_are_nobodys_business() -> None:
    assert load(environment={"ROADSTEAD_ADMIN_PASSWORD": "x", "PATH": "/bin"}) == Settings()


def test_an_unknown_flag_is_a_mistake_of_ours_that_shows() -> None:
    with pytest.raises(SettingUnknownError):
        load(listen__man="x")


def test_a_secret_may_be_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "url"
    secret.write_text("sqlite:///srv/hidden.db\n")
    settings = load(environment={"ROADSTEAD_DATABASE__URL_FILE": str(secret)})
    assert settings.database.url == "sqlite:///srv/hidden.db"
    assert "hidden" not in repr(settings)


def test_a_secret_in_two_places_is_refused(tmp_path: Path) -> None:
    both = {"ROADSTEAD_DATABASE__URL": "x", "ROADSTEAD_DATABASE__URL_FILE": str(tmp_path / "url")}
    with pytest.raises(SettingInvalidError, match="unset one of the two"):
        load(environment=both)


def test_a_secrets_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingInvalidError, match=r"cannot read .*url: No such file"):
        load(environment={"ROADSTEAD_DATABASE__URL_FILE": str(tmp_path / "url")})


@pytest.mark.parametrize("address", ["0.0.0.0:5000", ":5000", "[::]:5000", "registry.example:443", "10.0.0.1:1"])
def test_an_address_beyond_this_machine_needs_the_mode_written_out(address: str) -> None:
    with pytest.raises(ListenAddressUnsafeError, match="--auth none") as caught:
        load(listen__main=address)
    assert caught.value.source == "--listen"
    assert not load(listen__main=address, authentication__mode="none").listen.main.is_loopback


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "127.8.8.8:1", "localhost:0", "[::1]:5000"])
def test_an_address_of_this_machine_needs_nothing(address: str) -> None:
    assert str(load(listen__main=address).listen.main) == address


def test_a_mode_that_does_not_exist_yet_is_refused() -> None:
    with pytest.raises(AuthenticationModeUnavailableError, match="not available in this version"):
        load(authentication__mode="accounts")


def test_passwords_need_their_file() -> None:
    with pytest.raises(SettingsInvalidError, match="--htpasswd FILE"):
        load(authentication__mode="htpasswd")
    assert (
        load(authentication__mode="htpasswd", authentication__htpasswd_file="users").authentication.mode == "htpasswd"
    )


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().limits.connections = 5  # type: ignore[misc]


@pytest.mark.parametrize("service", ["ROADSTEAD", "ROADSTEAD_HTTP", "ROADSTEAD_LISTEN", "ROADSTEAD__HTTP"])
def test_what_a_cluster_sets_for_its_services_is_no_setting(service: str) -> None:
    environment = {
        f"{service}_PORT": "tcp://10.0.0.1:5000",
        f"{service}_PORT_5000_TCP": "tcp://10.0.0.1:5000",
        f"{service}_PORT_5000_TCP_ADDR": "10.0.0.1",
        f"{service}_PORT_5000_TCP_PORT": "5000",
        f"{service}_PORT_5000_TCP_PROTO": "tcp",
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "5000",
        f"{service}_SERVICE_PORT_REGISTRY": "5000",
    }
    assert load_settings(None, environment) == load_settings(None, {})
