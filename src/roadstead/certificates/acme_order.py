"""Orders a certificate from an ACME server. Everything here blocks: it runs in a thread of its own.

Source: RFC 8555; RFC 8738 for addresses; RFC 9773 for the server's wish when to renew. The messages are those of
certbot's library.
"""

import datetime as dt
import ipaddress
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from acme import challenges, client, crypto_util, messages
from acme import errors as acme_errors
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from roadstead.certificates.authority import key_pem, make_key
from roadstead.certificates.challenges import answered
from roadstead.certificates.errors import CertificateError, CertificateInvalidError, CertificateOrderError
from roadstead.certificates.files import SECRET, make_folder, write_new
from roadstead.certificates.model import Host
from roadstead.certificates.reading import read_key
from roadstead.clock import Clock
from roadstead.config import ListenAddress, TlsSettings

ORDER_SECONDS: Final = 90
"""Time limit of one order: Let's Encrypt takes some seconds."""

NETWORK_SECONDS: Final = 30
"""Time limit of one request."""

NONCE_TRIES: Final = 4
"""Number of sendings, each of two requests, before one last attempt."""

UNREACHABLE_RETRY_SECONDS: Final = 60.0
REFUSED_RETRY_SECONDS: Final = 300.0
"""Wait after a failed validation; Let's Encrypt allows five an hour for a name."""
RATE_LIMITED_RETRY_SECONDS: Final = 3600.0


class _Network(client.ClientNetwork):
    """Sends a request again until its nonce is accepted (RFC 8555, section 6.5); the library does so once.

    A server whose machines do not share their nonces rejects many.
    """

    def post(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401 - as the library's
        for _ in range(NONCE_TRIES):
            try:
                return super().post(*args, **more)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return super().post(*args, **more)


class AcmeOrders:
    """Orders of certificates for one account, whose key is in ``folder``."""

    def __init__(self, folder: Path, settings: TlsSettings, clock: Clock) -> None:
        self._clock = clock
        self._folder = folder
        self._settings = settings

    def order(self, hosts: Sequence[Host]) -> bytes:
        """Orders a certificate and returns its new key and the certificate with its chain, as PEM.

        Raises:
            CertificateOrderError: the server gave none; it says when to try again.
            CertificateError: the account's key cannot be read or written.
        """
        address = ListenAddress.parse(self._settings.acme_challenge_listen)
        with _explained(self._settings.acme_directory):
            acme, account_key = self._open()
            key = key_pem(make_key("ecdsa"))
            order = acme.new_order(_request(key, hosts))
            answers, pending = _challenges(order, account_key)
            with answered(address, answers):
                for challenge, response in pending:
                    acme.answer_challenge(challenge, response)
                done: Any = acme.poll_and_finalize(order, _deadline(self._clock))
        return key + str(done.fullchain_pem).encode("ascii")

    def wished_renewal_ms(self, certificate_pem: bytes) -> tuple[int | None, int]:
        """Asks when the server wants this certificate renewed; returns that (or None), and when to ask again.

        Raises:
            CertificateOrderError: it does not answer.
        """
        with _explained(self._settings.acme_directory):
            acme, _ = self._open(is_registering=False)
            try:
                wish, again = acme.renewal_time(certificate_pem)
            except acme_errors.ARIError as error:
                return None, _ms(error.retry_after)
        return None if wish is None else _ms(wish), _ms(again)

    def _open(self, *, is_registering: bool = True) -> tuple[client.ClientV2, JWK]:
        settings = self._settings
        key = JWKEC(key=self._account_key())
        network = _Network(key, alg=ES256, user_agent="roadstead", timeout=NETWORK_SECONDS)
        if settings.acme_authority is not None:
            network.verify_ssl = str(settings.acme_authority)  # type: ignore[assignment] # requests takes a file too
        acme = client.ClientV2(client.ClientV2.get_directory(settings.acme_directory, network), network)
        if is_registering:
            _register(acme, settings.acme_email)
        return acme, key

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        path = self._folder / "account.key"
        if not path.exists():
            make_folder(self._folder, 0o700)
            write_new(path, key_pem(make_key("ecdsa")), SECRET)
        key = read_key(path)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CertificateInvalidError(path, "not the key of an ACME account", "move it away for a new account")
        return key


def _register(acme: client.ClientV2, email: str) -> None:
    """Finds the account of the key, or makes it; using ACME at all is taken as consent to the server's terms."""
    wanted = messages.NewRegistration.from_data(email=email or None, terms_of_service_agreed=True)
    try:
        acme.new_account(wanted)
    except acme_errors.ConflictError as known:
        body = messages.Registration()
        acme.net.account = messages.RegistrationResource(uri=known.location, body=body)


def _request(key: bytes, hosts: Sequence[Host]) -> bytes:
    names = [host.name for host in hosts if not host.is_address]
    addresses = [ipaddress.ip_address(host.name) for host in hosts if host.is_address]
    return crypto_util.make_csr(key, domains=names, ipaddrs=addresses)


def _challenges(
    order: Any,  # noqa: ANN401 - the library's classes are made at run time, without types that a checker sees
    key: JWK,
) -> tuple[dict[str, str], list[tuple[Any, Any]]]:
    """Returns the answer for each path, and the challenges that are still open with their responses."""
    answers: dict[str, str] = {}
    pending: list[tuple[Any, Any]] = []
    for authorization in order.authorizations:
        body = authorization.body
        if body.status == messages.STATUS_VALID:
            continue
        found = [each for each in body.challenges if isinstance(each.chall, challenges.HTTP01)]
        if not found:
            name = f"*.{body.identifier.value}" if body.wildcard else body.identifier.value
            reason = f"{name}: the server offers no HTTP challenge for it, and this is the only one that is answered"
            raise CertificateOrderError(reason, REFUSED_RETRY_SECONDS)
        response, text = found[0].response_and_validation(key)
        answers[found[0].chall.path] = text
        pending.append((found[0], response))
    return answers, pending


@contextmanager
def _explained(directory: str) -> Generator[None, None, None]:
    """Turns every error of an order into one that says how soon to try again."""
    try:
        yield
    except CertificateError:
        raise
    except messages.Error as error:
        is_limited = error.code == "rateLimited"
        seconds = RATE_LIMITED_RETRY_SECONDS if is_limited else REFUSED_RETRY_SECONDS
        raise CertificateOrderError(f"the ACME server refuses: {_line(error.detail or error)}", seconds) from error
    except acme_errors.ValidationError as error:
        raise CertificateOrderError(_why_invalid(error), REFUSED_RETRY_SECONDS) from error
    except OSError as error:  # as requests' errors are, under the library
        reason = f"the ACME server at {directory} cannot be reached: {_line(error)}"
        raise CertificateOrderError(reason, UNREACHABLE_RETRY_SECONDS) from error
    except (acme_errors.Error, JoseError, ValueError, KeyError, AttributeError) as error:
        reason = (
            f"the ACME server at {directory} answers what is not understood: {_line(error) or type(error).__name__}"
        )
        raise CertificateOrderError(reason, REFUSED_RETRY_SECONDS) from error


def _why_invalid(error: acme_errors.ValidationError) -> str:
    failed: list[Any] = error.failed_authzrs
    reasons = [
        f"{authorization.body.identifier.value}: {_line(challenge.error.detail or challenge.error)}"
        for authorization in failed
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return f"the ACME server could not see that the host is ours: {'; '.join(reasons)}"


def _line(error: object) -> str:
    return " ".join(str(error).split())[:500]


def _deadline(clock: Clock) -> dt.datetime:
    """The end of an order, without a zone: the library compares with local time."""
    return dt.datetime.fromtimestamp(clock.now_ms() / 1000 + ORDER_SECONDS)  # noqa: DTZ006 - see above


def _ms(time: dt.datetime) -> int:
    return int(time.timestamp() * 1000)
