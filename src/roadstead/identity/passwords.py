"""Checks passwords, slowly at first, then from memory.

A verified credential is remembered for a short time under a keyed digest (the key is this process's own and never
leaves it; no password is kept), together with the line of the file that it was checked against. It counts only as long
as that very line is in the file, so a changed password or a removed user counts at once, and other users do not have to
hash theirs again when somebody is added.

What costs is bounded: one hash for the same credential however many connections bring it at once; a few threads, and a
bounded number of credentials that wait for them; a wrong credential that comes again is refused from memory; clients
that fail too often have to wait (see ``attempts``), but not with a credential that was right before.

A name that nobody has takes as long as one that somebody has: each wrong credential is checked against one hash of each
cost in the file, since a file that was moved from apr1 to bcrypt has both, which differ by a factor of thirty.
"""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from roadstead.clock import Clock
from roadstead.identity.attempts import FailedAttempts
from roadstead.identity.errors import AttemptsExceededError, CredentialsInvalidError, PasswordFileUnavailableError
from roadstead.identity.hashes import verify
from roadstead.identity.htpasswd import HtpasswdFile, decode_name, is_name
from roadstead.identity.watched_file import SETTLE_MS, WatchedFile

PASSWORD_BYTES: Final = 1024
"""Length of a password at most; longer ones are wrong without being hashed, since SHA-crypt's time grows with it."""

THREADS: Final = 2
"""Number of threads that hash at one time; bcrypt leaves the event loop alone meanwhile."""

WAITING: Final = 64
"""Number of credentials that wait for a thread or have one, at most: two seconds of bcrypt with a cost of 10."""

REMEMBERED: Final = 10_000
"""Number of credentials that are remembered, right and wrong alike: about 2 MB each."""

KEY_BYTES: Final = 32

Check = Callable[[bytes, bytes], bool]

_V = TypeVar("_V")


class _Verified(NamedTuple):
    """A credential that was right, with its user, the hash, and the time until which it is not checked again."""

    user: str
    hashed: bytes
    until_seconds: float


class _Attempt(NamedTuple):
    """A credential that is to be checked against its user's hash, which is empty for a user that does not exist."""

    key: bytes
    user: str
    password: bytes
    hashed: bytes
    decoys: tuple[bytes, ...]
    client: str

    def decide(self, check: Check) -> bool:
        """Returns True if the credential is right; a wrong one takes the same time whoever the user is."""
        if self.hashed and check(self.password, self.hashed):
            return True
        for decoy in self.decoys:
            check(self.password, decoy)
        return False


class Passwords:
    """The passwords of the users in a password file; used from the event loop only."""

    def __init__(self, path: Path, clock: Clock, *, remember_seconds: float, check: Check = verify) -> None:
        """Keeps its arguments; ``check`` compares a password with a hash, in a thread of its own."""
        self._watched = WatchedFile(path, clock)
        self._now = clock.monotonic_seconds
        self._remember_seconds = remember_seconds
        self._check = check
        self._key = secrets.token_bytes(KEY_BYTES)
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self._refused: OrderedDict[bytes, bytes] = OrderedDict()
        self._flights: dict[tuple[bytes, bytes], asyncio.Future[bool]] = {}
        self._attempts = FailedAttempts(clock)
        self._threads: ThreadPoolExecutor | None = None

    def recall(self, credential: bytes) -> str:
        """Returns the user whose remembered credential this is, or an empty text; takes a few microseconds."""
        found = self._verified.get(self._digest(credential))
        if found is None or found.until_seconds <= self._now():
            return ""
        try:
            hashed = self._watched.current().hashes.get(found.user)
        except PasswordFileUnavailableError:
            return ""
        return found.user if hashed is found.hashed or hashed == found.hashed else ""

    async def login(self, credential: bytes, client: str) -> str:
        """Returns the user whose name and password, joined by a colon, a client at an address has sent.

        Raises:
            CredentialsInvalidError: nobody's.
            AttemptsExceededError: the client has failed too often, or too many wait.
            PasswordFileUnavailableError: nobody's can be checked.
        """
        name, colon, password = credential.partition(b":")
        if not colon or not is_name(name) or len(password) > PASSWORD_BYTES:
            raise CredentialsInvalidError
        key, user = self._digest(credential), decode_name(name)
        file = await self._file()
        while True:
            hashed = file.hashes.get(user, b"")
            attempt = _Attempt(key, user, password, hashed, file.decoys_beside(hashed), client)
            is_right = await self._is_right(attempt)
            if not is_right and self._watched.has_just_changed():
                await asyncio.sleep(SETTLE_MS / 1000)  # it may be half written
            file = await self._file()
            if file.hashes.get(user, b"") == hashed:
                break
        if not is_right:
            raise CredentialsInvalidError
        _keep(self._verified, key, _Verified(user, hashed, self._now() + self._remember_seconds))
        return user

    def read_again(self) -> None:
        """Reads the file anew before the next login, whatever its status says."""
        self._watched.read_again()

    def find_problem(self) -> str:
        """Returns the reason why nobody can log in, or an empty text; of a changed file the log says what is wrong."""
        try:
            self._watched.current()
        except PasswordFileUnavailableError as error:
            return error.reason
        return ""

    def close(self) -> None:
        """Ends the threads."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
            self._threads = None

    async def _file(self) -> HtpasswdFile:
        try:
            return self._watched.current()
        except PasswordFileUnavailableError:
            await asyncio.sleep(SETTLE_MS / 1000)  # an editor may be putting another in its place
            return self._watched.current()

    async def _is_right(self, attempt: _Attempt) -> bool:
        """Returns True if a credential is right: by memory, by a check under way, or by a new one."""
        is_without_users = not attempt.hashed and not attempt.decoys
        if is_without_users or self._refused.get(attempt.key) == attempt.hashed:
            return False
        flight = self._flights.get((attempt.key, attempt.hashed)) or self._begin(attempt)
        is_right = await asyncio.shield(flight)
        if not is_right:
            self._verified.pop(attempt.key, None)
            _keep(self._refused, attempt.key, attempt.hashed)
        return is_right

    def _begin(self, attempt: _Attempt) -> asyncio.Future[bool]:
        is_counted = attempt.key not in self._verified
        if is_counted:
            if len(self._flights) >= WAITING:
                raise AttemptsExceededError(1)
            self._attempts.begin(attempt.client, attempt.user)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="passwords")
        flight = asyncio.get_running_loop().run_in_executor(self._threads, attempt.decide, self._check)
        self._flights[attempt.key, attempt.hashed] = flight

        def land(done: asyncio.Future[bool]) -> None:
            del self._flights[attempt.key, attempt.hashed]
            if is_counted and not done.cancelled() and done.exception() is None and done.result():
                self._attempts.succeed(attempt.client, attempt.user)

        flight.add_done_callback(land)
        return flight

    def _digest(self, credential: bytes) -> bytes:
        """Returns a keyed digest: without the key, this process's memory holds nothing to guess passwords against."""
        return hashlib.blake2b(credential, key=self._key, digest_size=KEY_BYTES).digest()


def _keep(memory: OrderedDict[bytes, _V], key: bytes, value: _V) -> None:
    """Puts a value into a bounded memory, which forgets the oldest one."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)
