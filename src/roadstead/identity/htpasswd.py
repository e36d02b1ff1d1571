"""htpasswd files: a user and a hash a line, as Apache's ``htpasswd`` writes them.

Source: Apache's mod_authn_file and registry:2. A line that begins with ``#`` is a comment; blanks around a line and a
third field do not count; where a user stands twice the first line counts, as for Apache and nginx (for registry:2 it
is the last). A line that cannot be used shuts out its user and nobody else.

Names are UTF-8, or Latin-1 where they are no UTF-8; clients may send either.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Self

from roadstead.identity.errors import PasswordFileInvalidError
from roadstead.identity.hashes import HashCost, HashKind, HashRefusedError, cost_of

FILE_BYTES: Final = 4 << 20
"""Size of a file at most: fifty thousand users take the event loop a quarter of a second to read, a thousand 5 ms."""

LINE_BYTES: Final = 1024
"""Length of a line at most: ten times the longest that htpasswd writes."""

NAME_BYTES: Final = 255
"""Length of a name at most, as in Apache's htpasswd."""

NOBODY: Final = b"-"
"""The text that logs and listings write where there is no user."""

DECOYS: Final = 8
"""Number of different costs that a wrong password takes at most: a file that was moved from kind to kind has two or
three, and one whose author had the rounds vary would have as many as users."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A line that cannot be used; ``user`` is empty where it has no name that could be shown."""

    number: int
    user: str
    reason: str


@dataclass(frozen=True, slots=True)
class HtpasswdFile:
    """The users of a file with their hashes."""

    hashes: Mapping[str, bytes]
    refused: tuple[RefusedLine, ...]
    kinds: Mapping[HashKind, int]
    """Number of users that have a hash of each kind."""
    decoys: Mapping[HashCost, bytes]
    """A hash of each cost: a wrong password is checked against them all, so that time does not tell whose it is not."""

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Parses the users in ``content``.

        Raises:
            PasswordFileInvalidError: it is too large.
        """
        if len(content) > FILE_BYTES:
            raise PasswordFileInvalidError(f"it has more than {FILE_BYTES >> 20} MiB")
        hashes: dict[str, bytes] = {}
        refused: list[RefusedLine] = []
        costs: Counter[HashCost] = Counter()
        decoys: dict[HashCost, bytes] = {}
        for number, line in _lines(content):
            user = ""
            try:
                user, hashed = _split(line)
                if hashes.setdefault(user, hashed) is hashed:
                    costs[cost := cost_of(hashed)] += 1
                    decoys.setdefault(cost, hashed)
                else:
                    refused.append(RefusedLine(number, user, "the user stands in an earlier line, which counts"))
            except HashRefusedError as error:
                hashes[user] = b""
                refused.append(RefusedLine(number, user, str(error)))
        usable = {user: hashed for user, hashed in hashes.items() if hashed}
        return cls(usable, tuple(refused), _kinds(costs), {cost: decoys[cost] for cost, _ in costs.most_common(DECOYS)})

    def decoys_beside(self, hashed: bytes) -> tuple[bytes, ...]:
        """Returns the hashes to check after a user's for a wrong password; all for an unknown user's empty hash."""
        cost = cost_of(hashed) if hashed else None
        return tuple(decoy for each, decoy in self.decoys.items() if each != cost)


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the lines that are neither blank nor comments, with their numbers."""
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            yield number, stripped


def _split(line: bytes) -> tuple[str, bytes]:
    """Splits a line into user and hash."""
    if len(line) > LINE_BYTES:
        raise HashRefusedError(f"the line has more than {LINE_BYTES} bytes")
    name, colon, rest = line.partition(b":")
    if not colon:
        raise HashRefusedError("there is no colon between a user and a hash")
    if not is_name(name):
        raise HashRefusedError("the user's name is empty, too long, - alone, or has control characters")
    return decode_name(name), rest.partition(b":")[0].strip()


def is_name(name: bytes) -> bool:
    """Returns True if a user may have this name; ``-`` is no name, since it stands for nobody in logs and listings."""
    return 0 < len(name) <= NAME_BYTES and name != NOBODY and b":" not in name and decode_name(name).isprintable()


def decode_name(name: bytes) -> str:
    """Decodes a name as UTF-8, or as Latin-1 if it is not UTF-8."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _kinds(costs: Counter[HashCost]) -> dict[HashKind, int]:
    kinds: Counter[HashKind] = Counter()
    for cost, count in costs.items():
        kinds[cost.kind] += count
    return dict(kinds)
