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
"""Fifty thousand users; reading them takes the event loop a quarter of a second, a thousand 5 ms."""

LINE_BYTES: Final = 1024
"""Ten times the longest line that htpasswd writes."""

NAME_BYTES: Final = 255
"""As Apache's htpasswd has it."""

NOBODY: Final = b"-"
"""What logs and listings write where there is no user."""

DECOYS: Final = 8
"""Costs that a wrong password takes: a file that was moved from kind to kind has two or three, and one whose author had
the rounds vary would have as many as users."""

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
    """How many users have a hash of each kind."""
    decoys: Mapping[HashCost, bytes]
    """A hash of each cost: a wrong password is checked against them all, so that time does not tell whose it is not."""

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The users in ``content``.

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
        """What a wrong password is checked against after a user's hash; for an empty one, which is nobody's, all."""
        cost = cost_of(hashed) if hashed else None
        return tuple(decoy for each, decoy in self.decoys.items() if each != cost)


def _lines(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are neither blank nor comments, with their numbers."""
    for number, line in enumerate(content.removeprefix(BYTE_ORDER_MARK).split(b"\n"), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            yield number, stripped


def _split(line: bytes) -> tuple[str, bytes]:
    """A line's user and hash."""
    if len(line) > LINE_BYTES:
        raise HashRefusedError(f"the line has more than {LINE_BYTES} bytes")
    name, colon, rest = line.partition(b":")
    if not colon:
        raise HashRefusedError("there is no colon between a user and a hash")
    if not is_name(name):
        raise HashRefusedError("the user's name is empty, too long, - alone, or has control characters")
    return decode_name(name), rest.partition(b":")[0].strip()


def is_name(name: bytes) -> bool:
    """Whether a user may have this name; in logs and listings ``-`` stands for nobody, so it is nobody's."""
    return 0 < len(name) <= NAME_BYTES and name != NOBODY and b":" not in name and decode_name(name).isprintable()


def decode_name(name: bytes) -> str:
    """A name as text: UTF-8, or Latin-1 where it is none."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1")


def _kinds(costs: Counter[HashCost]) -> dict[HashKind, int]:
    kinds: Counter[HashKind] = Counter()
    for cost, count in costs.items():
        kinds[cost.kind] += count
    return dict(kinds)
