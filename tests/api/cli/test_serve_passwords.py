"""``roadstead serve`` says when passwords can be read on their way."""

import pytest

from roadstead.cli.serve.serve import has_clear_passwords
from roadstead.config import AuthenticationSettings, HttpSettings, ListenAddress, ListenSettings, Settings, TlsSettings


@pytest.mark.parametrize(
    ("host", "mode", "tls", "proxies", "is_clear"),
    [
        ("0.0.0.0", "htpasswd", "off", (), True),
        ("192.0.2.1", "htpasswd", "off", (), True),
        ("127.0.0.1", "htpasswd", "off", (), False),
        ("0.0.0.0", "none", "off", (), False),
        ("0.0.0.0", "htpasswd", "self-signed", (), False),
        ("0.0.0.0", "htpasswd", "off", ("192.0.2.1",), False),
    ],
)
def test_passwords_in_the_clear(host: str, mode: str, tls: str, proxies: tuple[str, ...], *, is_clear: bool) -> None:
    settings = Settings(
        listen=ListenSettings(main=ListenAddress(host, 5000)),
        authentication=AuthenticationSettings(mode=mode),  # type: ignore[arg-type]
        tls=TlsSettings(mode=tls),  # type: ignore[arg-type]
        http=HttpSettings(trusted_proxies=proxies),
    )
    assert has_clear_passwords(settings) is is_clear
