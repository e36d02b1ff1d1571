"""Kinds of hashes: what is checked, what is refused and why. What the real htpasswd writes is in ``tests/system``."""

import pytest

from roadstead.identity import HashKind, HashRefusedError
from roadstead.identity.hashes import HashCost, bcrypt_hash, cost_of, sha1, verify

PASSWORD = "pässword with blanks".encode()
KNOWN = {  # by htpasswd 2.4 and openssl 3
    b"$2y$04$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS": HashCost(HashKind.BCRYPT, 4),
    b"$apr1$saltsalt$ep09.C40uA01lmf0W2x0d1": HashCost(HashKind.APR1, 1000),
    b"$5$saltstring$531zftF021vJe03/eqQAi.MnM3gfDw0zOISwGU/5pc1": HashCost(HashKind.SHA256_CRYPT, 5000),
    b"$5$rounds=10000$saltstring$IZPDf/1Ru6NHqnpKoOHvmluKMIWMcwVWDYmDhgoZNW9": HashCost(HashKind.SHA256_CRYPT, 10000),
    b"$6$saltstring$oCZXEr2ZydDh/rQlcLgKQo1j7h9KnoFafSr1bwojEFqY2fLprXN.Wm3mALPrYGEPe.6S6EiZNMWrF4yLPCG1N.": HashCost(
        HashKind.SHA512_CRYPT, 5000
    ),
    sha1(PASSWORD): HashCost(HashKind.SHA1, 1),
}
OF_EIGHTY_BYTES = b"$2y$04$//K1ACdqnozp8p0Eq5esPO8ulfiTWQ7j5R2xv31xihaLchy05VMiS"


@pytest.mark.parametrize("hashed", KNOWN, ids=lambda hashed: str(hashed[:8]))
def test_kinds(hashed: bytes) -> None:
    assert cost_of(hashed) == KNOWN[hashed]
    assert verify(PASSWORD, hashed)
    for wrong in (b"", b"p", PASSWORD + b"x", PASSWORD[:-1], PASSWORD.upper(), b"\xff\xfe", b"x" * 1024):
        assert not verify(wrong, hashed)
    assert not verify(PASSWORD + b"\0", hashed), "no library's idea of a zero byte counts"


def test_the_three_names_of_bcrypt_are_one() -> None:
    made = bcrypt_hash(PASSWORD, 4)
    assert made.startswith(b"$2y$04$")
    for name in (b"$2a$", b"$2b$", b"$2y$"):
        assert verify(PASSWORD, name + made[4:])
        assert cost_of(name + made[4:]) == HashCost(HashKind.BCRYPT, 4)


def test_bcrypt_sees_as_much_of_a_long_password_as_it_does_for_apache() -> None:
    assert verify(b"x" * 80, OF_EIGHTY_BYTES)
    assert verify(b"x" * 72, OF_EIGHTY_BYTES)
    assert not verify(b"x" * 71, OF_EIGHTY_BYTES)


def test_weak_kinds() -> None:
    assert {kind for kind in HashKind if kind.is_weak} == {HashKind.APR1, HashKind.SHA1}


@pytest.mark.parametrize(
    ("hashed", "reason"),
    [
        (b"", "no hash"),
        (b"secret", "plain text"),
        (b"correct horse battery", "plain text"),
        (b"{PLAIN}secret", "plain text"),
        (b"sHwh2dDPlLYrQ", "DES"),
        (b"$1$saltsalt$F5rO166hN5JCwp68TBl6q0", "MD5-crypt"),
        (b"{SSHA}0c0blFTXXNuAMHECS4uxrj3ZieMoWImr", "salted SHA-1"),
        (b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7", "yescrypt"),
        (b"$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA", "Argon2"),
        (b"$2x$04$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS", "bcrypt that was broken"),
        (b"$2y$04$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1", "damaged or cut off"),
        (b"$2y$03$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS", "damaged or cut off"),
        (b"$2y$32$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS", "damaged or cut off"),
        (b"$2y$17$97GxWVpaDiu0d7cyCuHdaOy.6g02a1nAUc6cPgW1JMfZhBRoF0qyS", "takes too long, at most 16"),
        (b"$apr1$saltsalt$ep09", "damaged or cut off"),
        (b"$5$rounds=1000001$salt$531zftF021vJe03/eqQAi.MnM3gfDw0zOISwGU/5pc1", "takes too long, at most 1000000"),
        (b"$5$rounds=999999999$salt$531zftF021vJe03/eqQAi.MnM3gfDw0zOISwGU/5pc1", "takes too long"),
        (b"$5$rounds=9999999999$salt$531zftF021vJe03/eqQAi.MnM3gfDw0zOISwGU/5pc1", "damaged or cut off"),
        (b"$5$rounds=999$salt$531zftF021vJe03/eqQAi.MnM3gfDw0zOISwGU/5pc1", "at least 1000 rounds"),
        (b"$5$salt$short", "damaged or cut off"),
        (b"{SHA}short", "damaged or cut off"),
        (b"$9$what$is$this", "unknown"),
    ],
)
def test_what_is_refused_and_why(hashed: bytes, reason: str) -> None:
    with pytest.raises(HashRefusedError, match=reason) as caught:
        cost_of(hashed)
    assert "roadstead htpasswd" in str(caught.value)
    assert not hashed or hashed.decode() not in str(caught.value), "what is perhaps a password is not shown"
