"""The address of a catalogue's server: what is refused, where its password may stand, and that nobody is shown it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.config import (
    SettingInvalidError,
    SettingsInvalidError,
    database_server,
    describe_settings,
    load,
    load_settings,
    name_of,
    shown_url,
    user_of,
)
from roadstead.config.server_url import SSL_MODES, find_fault, has_password, with_password
from roadstead.config.writing import shown_value

PASSWORD = "s3cret/@#:?%"
QUOTED = "s3cret%2F%40%23%3A%3F%25"
URL = "postgresql://roadstead@db.example.com:5433/catalogue"


def settings(**values: str) -> dict[str, str]:
    return {f"ROADSTEAD_DATABASE__{name.upper()}": value for name, value in values.items()}


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "postgres://db/catalogue",
        "postgresql://roadstead:secret@127.0.0.1/catalogue?sslmode=verify-full&sslrootcert=/ca.pem",
        "postgresql://roadstead@[::1]:5432/catalogue",
        "postgresql://roadstead@one:5432,other:5433/catalogue",
        "postgresql:///catalogue?host=/run/postgresql",
        *(f"postgresql://db/catalogue?sslmode={mode}" for mode in SSL_MODES),
    ],
)
def test_what_libpq_takes_is_taken(url: str) -> None:
    assert find_fault(url) is None
    assert load_settings(environment=settings(url=url)).has_database_server


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://", "names no database"),
        ("postgresql://db", "names no database"),
        ("postgresql://db/", "names no database"),
        ("postgresql://db/one/two", "names no database"),
        ("postgresql://db:none/name", "host or port is none"),
        ("postgresql://db:0/name", "host or port is none"),
        ("postgresql://db:65536/name", "host or port is none"),
        ("postgresql://user@:5432/name", "host or port is none"),
        ("postgresql://one,,two/name", "host or port is none"),
        ("postgresql://[::1/name", "it is no URL"),
        ("postgresql://user:a#b@db/name", "a character that a URL spells otherwise"),
        ("postgresql://user:a b@db/name", "a character that a URL spells otherwise"),
        ("postgresql://db/name?sslmode", "it is no URL"),
        ("postgresql://db/name?sslmode=on", "sslmode is unknown"),
        ("mysql://db/name", "scheme that this version does not have"),
    ],
)
def test_what_is_no_address_is_refused_without_repeating_it(url: str, message: str) -> None:
    with pytest.raises(SettingsInvalidError, match=message) as caught:
        load_settings(environment=settings(url=url))
    assert str(caught.value).startswith("ROADSTEAD_DATABASE__URL: ")
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"password": "a"}, "no effect with a catalogue in a file"),
        ({"password_file": "/p"}, "no effect with a catalogue in a file"),
        ({"connections": "4"}, "no effect with a catalogue in a file"),
        ({"url": "sqlite:///srv/a.db", "connections": "4"}, "no effect with a catalogue in a file"),
        ({"url": "postgresql://u:p@db/name", "password": "a"}, "database.url has a password as well"),
        ({"url": "postgresql://u@db/name?password=p", "password_file": "/p"}, "database.url has a password as well"),
        ({"url": URL, "password": "a", "password_file": "/p"}, "database.password has a password as well"),
        ({"url": URL, "connections": "1"}, ">= 2"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsInvalidError, match=message):
        load_settings(environment=settings(**values))


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_password_may_be_in_a_file(tmp_path: Path, ending: str) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + ending)
    found = load_settings(environment=settings(url=URL, password_file=str(file)))
    assert database_server(found) == URL.replace("roadstead@", f"roadstead:{QUOTED}@")
    assert "s3cret" not in repr(found) + repr(database_server(found))


def test_a_password_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    found = load_settings(environment=settings(url=URL, password_file=str(tmp_path / "password")))
    with pytest.raises(SettingInvalidError, match=r"database\.password_file: .*password does not exist"):
        database_server(found)


def test_a_password_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_bytes(b"\xff")
    found = load_settings(environment=settings(url=URL, password_file=str(tmp_path / "password")))
    with pytest.raises(SettingInvalidError, match="no UTF-8 text"):
        database_server(found)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (URL, f"postgresql://roadstead:{QUOTED}@db.example.com:5433/catalogue"),
        ("postgresql://db/name", f"postgresql://:{QUOTED}@db/name"),
        ("postgresql:///name?host=/run", f"postgresql:///name?host=/run&password={QUOTED}"),
        ("postgresql:///name", f"postgresql:///name?password={QUOTED}"),
    ],
)
def test_a_password_is_added_where_it_belongs(url: str, expected: str) -> None:
    assert database_server(load_settings(environment=settings(url=url, password=PASSWORD))) == expected
    assert has_password(expected)
    assert not has_password(url)


@given(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_password_comes_back_and_is_not_shown(password: str) -> None:
    url = with_password("postgresql://roadstead@db/name", password)
    assert unquote(urlsplit(url).password or "") == password
    assert find_fault(url) is None
    assert shown_url(url) == "postgresql://roadstead@db/name"
    assert (user_of(url), name_of(url)) == ("roadstead", "name")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "postgres://u:p@db:1/name?sslmode=require&password=p&sslpassword=p",
            "postgresql://u@db:1/name?sslmode=require",
        ),
        ("postgresql:///name?host=/run/postgresql&user=u", "postgresql:///name?host=/run/postgresql"),
        ("postgresql://one:1,other:2/name", "postgresql://one:1,other:2/name"),
    ],
)
def test_what_is_shown_has_no_secret(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    described = {each.key: each for each in describe_settings()}
    assert shown_value(described["database.url"], url) == shown
    assert shown_value(described["database.password"], "hunter2") == "…"


def test_variables_that_name_files_mean_the_same_for_url_and_password(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"{URL}\n")
    (tmp_path / "password").write_text("hidden\n")
    loaded = load(environment=settings(url_file=str(tmp_path / "url"), password_file=str(tmp_path / "password")))
    assert database_server(loaded.settings) == URL.replace("@", ":hidden@")
    assert os.fspath(loaded.settings.database.password_file or "") == str(tmp_path / "password")
