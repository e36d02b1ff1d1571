"""Files of users: lines, names, duplicates, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.identity import HashKind, HtpasswdFile, PasswordFileInvalidError
from roadstead.identity.hashes import sha1
from roadstead.identity.htpasswd import DECOYS, FILE_BYTES, LINE_BYTES, decode_name, is_name

ONE, TWO = sha1(b"one"), sha1(b"two")
APR1 = b"$apr1$saltsalt$ep09.C40uA01lmf0W2x0d1"


def test_lines() -> None:
    file = HtpasswdFile.parse(
        b"\xef\xbb\xbfalice:%b\r\n\n  # a comment: with a colon\n\t\n"
        b"bob:%b:Bob's full name\n carol:%b \n#dave:%b\nlast:%b" % (ONE, TWO, ONE, TWO, APR1)
    )
    assert file.hashes == {"alice": ONE, "bob": TWO, "carol": ONE, "last": APR1}
    assert file.refused == ()
    assert file.kinds == {HashKind.SHA1: 3, HashKind.APR1: 1}


def test_the_first_line_of_a_user_counts_as_for_apache() -> None:
    file = HtpasswdFile.parse(b"alice:%b\nalice:%b\n" % (ONE, TWO))
    assert file.hashes == {"alice": ONE}
    [line] = file.refused
    assert (line.number, line.user) == (2, "alice")
    assert "earlier line" in line.reason


def test_a_line_that_cannot_be_used_shuts_its_user_out() -> None:
    """Even if a later line could be used: what is meant is not clear."""
    file = HtpasswdFile.parse(b"alice:plain\nalice:%b\nbob:%b\n" % (ONE, TWO))
    assert file.hashes == {"bob": TWO}
    assert [line.number for line in file.refused] == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        b"alice",
        b":" + ONE,
        b"ali\0ce:" + ONE,
        b"ali\x1bce:" + ONE,
        b"a" * 256 + b":" + ONE,
        b"a:" + b"x" * LINE_BYTES,
        b"alice:",
    ],
)
def test_lines_that_cannot_be_used(line: bytes) -> None:
    file = HtpasswdFile.parse(b"bob:%b\n%b\ncarol:%b\n" % (ONE, line, TWO))
    assert set(file.hashes) == {"bob", "carol"}
    assert [refused.number for refused in file.refused] == [2]


def test_names_are_utf8_or_latin1() -> None:
    file = HtpasswdFile.parse("jürgen:".encode() + ONE + b"\n" + "josé:".encode("latin-1") + TWO + b"\n")
    assert file.hashes == {"jürgen": ONE, "josé": TWO}
    assert decode_name("josé".encode()) == decode_name("josé".encode("latin-1")) == "josé"


def test_a_file_that_is_too_large() -> None:
    with pytest.raises(PasswordFileInvalidError, match="4 MiB"):
        HtpasswdFile.parse(b"#" * (FILE_BYTES + 1))


BCRYPT = b"$2y$05$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS"


@pytest.mark.parametrize("hashed", [ONE, BCRYPT, APR1, b""])
def test_whoever_is_refused_takes_a_hash_of_each_cost(hashed: bytes) -> None:
    file = HtpasswdFile.parse(b"a:%b\nb:%b\nc:%b\nd:%b\n" % (ONE, BCRYPT, BCRYPT, APR1))
    taken = [each for each in (hashed, *file.decoys_beside(hashed)) if each]
    assert sorted(taken) == sorted([ONE, BCRYPT, APR1])
    assert HtpasswdFile.parse(b"").decoys_beside(b"") == ()


def test_the_costs_of_a_refusal_are_bounded() -> None:
    lines = [b"u%d:$5$rounds=%d$salt$%b\n" % (rounds, rounds, b"a" * 43) for rounds in range(1000, 1000 + 5 * DECOYS)]
    file = HtpasswdFile.parse(b"".join(lines))
    assert not file.refused
    assert len(file.decoys_beside(b"")) == DECOYS


@pytest.mark.parametrize("name", [b"", b"a:b", b"a\nb", b"x" * 256, "a\u2028b".encode(), b"\x7f", b"-"])
def test_no_names(name: bytes) -> None:
    assert not is_name(name)


@given(st.binary(max_size=400))
def test_any_bytes_are_read(content: bytes) -> None:
    file = HtpasswdFile.parse(content)
    assert all(name and name.isprintable() for name in file.hashes)
