"""In a container: registry:2's defaults below all that somebody sets, and nothing open that nobody opened."""

from pathlib import Path

import pytest

from roadstead.config import ListenAddressUnsafeError, SettingsInvalidError, container, load

CONTAINER = {"ROADSTEAD_CONTAINER": "1"}
OPEN = {**CONTAINER, "ROADSTEAD_AUTHENTICATION__MODE": "none"}


@pytest.fixture(autouse=True)
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of a container would be mounted."""
    files = tuple(tmp_path / file.relative_to("/") for file in container.SETTINGS_FILES)
    for file in files:
        file.parent.mkdir(parents=True)
    monkeypatch.setattr(container, "SETTINGS_FILES", files)
    return tmp_path / "etc"


def test_the_defaults_are_those_of_registry2s_image() -> None:
    loaded = load(environment=OPEN)

    assert str(loaded.settings.listen.main) == "0.0.0.0:5000"
    assert loaded.settings.listen.operations.is_loopback
    assert loaded.settings.data.folder == Path("/var/lib/registry")
    assert loaded.sources["data.folder"] == "the image"


def test_outside_of_one_nothing_changes() -> None:
    assert load(environment={}).settings.listen.main.is_loopback


def test_it_is_open_only_when_told() -> None:
    with pytest.raises(ListenAddressUnsafeError):
        load(environment=CONTAINER)


def test_variables_and_flags_go_before_the_defaults() -> None:
    environment = {**OPEN, "ROADSTEAD_LISTEN__MAIN": ":80"}

    assert load(environment=environment).settings.listen.main.port == 80
    assert load(environment=environment, overrides={"listen.main": ":81"}).settings.listen.main.port == 81
    assert load(environment=OPEN, overrides={"data.folder": "/x"}).settings.data.folder == Path("/x")


def test_a_mounted_file_is_read_and_one_that_is_named_goes_before(etc: Path, tmp_path: Path) -> None:
    (etc / "roadstead/roadstead.yaml").write_text("{listen: {main: ':82'}, log: {level: debug}}")
    named = tmp_path / "named.yaml"
    named.write_text("log: {level: error}")

    mounted = load(environment=OPEN).settings
    assert (mounted.listen.main.port, mounted.log.level) == (82, "debug")
    assert mounted.data.folder == Path("/var/lib/registry")
    assert load(named, environment=OPEN).settings.log.level == "error"
    assert load(named, environment=OPEN).settings.listen.main.port == 5000


@pytest.mark.parametrize("place", ["docker/registry/config.yml", "distribution/config.yml"])
def test_registry2s_file_is_read_in_its_place(etc: Path, place: str) -> None:
    (etc / place).write_text(
        "{version: 0.1, storage: {filesystem: {rootdirectory: /srv/registry}}, http: {addr: ':83'}}"
    )
    settings = load(environment=CONTAINER).settings

    assert settings.listen.main.port == 83
    assert str(settings.listen.operations) == "127.0.0.1:5001", "where the health check looks"
    assert settings.storage_folder == Path("/srv/registry")
    assert settings.authentication.mode == "none", "whoever writes such a file means everybody"


def test_registry2s_variables_count_without_its_file() -> None:
    environment = {
        **CONTAINER,
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
        "REGISTRY_STORAGE_DELETE_ENABLED": "true",
    }
    settings = load(environment=environment).settings

    assert settings.authentication.htpasswd_file == Path("/auth/htpasswd")
    assert settings.content.deletion
    assert settings.storage_folder == settings.data.folder == Path("/var/lib/registry")


def test_registry2s_variables_are_no_leave_for_everybody() -> None:
    with pytest.raises(ListenAddressUnsafeError):
        load(environment={**CONTAINER, "REGISTRY_STORAGE_DELETE_ENABLED": "true"})


def test_what_cannot_be_honoured_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsInvalidError, match="REGISTRY_PROXY_REMOTEURL"):
        load(environment={**OPEN, "REGISTRY_PROXY_REMOTEURL": "https://registry.example.com"})


def test_the_variables_of_a_cluster_are_no_configuration() -> None:
    environment = {**OPEN, "REGISTRY_PORT": "tcp://10.0.0.1:5000", "REGISTRY_SERVICE_HOST": "10.0.0.1"}

    assert load(environment=environment).registry2 is None
