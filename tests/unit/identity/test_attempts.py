"""Failed logins: few are free, then each waits longer; nobody else is touched, memory is bounded."""

import pytest

from roadstead.identity import AttemptsExceededError
from roadstead.identity.attempts import CLIENTS, FORGET_SECONDS, FREE, FREE_OF_CLIENT, LONGEST_SECONDS, FailedAttempts
from roadstead.testing.clock import SettableClock


def fail(attempts: FailedAttempts, count: int, client: str = "192.0.2.1", user: str = "alice") -> None:
    for _ in range(count):
        attempts.begin(client, user)


def waits(attempts: FailedAttempts, client: str = "192.0.2.1", user: str = "alice") -> int:
    with pytest.raises(AttemptsExceededError) as caught:
        attempts.begin(client, user)
    return caught.value.retry_after_seconds


def test_each_waits_twice_as_long_up_to_a_minute() -> None:
    clock = SettableClock()
    attempts = FailedAttempts(clock)
    fail(attempts, FREE)
    for expected in (1, 2, 4, 8, 16, 32, 60, 60):
        said = waits(attempts)
        assert expected <= said <= expected + 1
        clock.advance(expected - 0.01)
        assert waits(attempts) == 1
        clock.advance(0.02)
        fail(attempts, 1)


def test_nobody_else_waits() -> None:
    attempts = FailedAttempts(SettableClock())
    fail(attempts, FREE)
    waits(attempts)
    attempts.begin("192.0.2.2", "alice")
    attempts.begin("192.0.2.1", "bob")


def test_a_client_that_tries_many_users_waits_too() -> None:
    attempts = FailedAttempts(SettableClock())
    for number in range(FREE_OF_CLIENT):
        attempts.begin("192.0.2.1", f"user{number}")
    waits(attempts, user="another")
    attempts.begin("192.0.2.2", "another")


def test_success_is_no_failure() -> None:
    attempts = FailedAttempts(SettableClock())
    for number in range(FREE_OF_CLIENT * 3):
        attempts.begin("192.0.2.1", f"user{number}")
        attempts.succeed("192.0.2.1", f"user{number}")
    for _ in range(FREE * 3):
        attempts.begin("192.0.2.1", "alice")
        attempts.succeed("192.0.2.1", "alice")
    fail(attempts, FREE)
    waits(attempts)


def test_a_success_of_ones_own_is_no_way_to_guess_on() -> None:
    attempts = FailedAttempts(SettableClock())
    fail(attempts, FREE)
    attempts.begin("192.0.2.1", "mallory")
    attempts.succeed("192.0.2.1", "mallory")
    waits(attempts)


def test_time_heals() -> None:
    clock = SettableClock()
    attempts = FailedAttempts(clock)
    fail(attempts, FREE)
    clock.advance(FORGET_SECONDS + 1)
    fail(attempts, FREE)


def test_the_hosts_of_an_ipv6_network_are_one_client() -> None:
    attempts = FailedAttempts(SettableClock())
    for number in range(FREE):
        attempts.begin(f"2001:db8::{number:x}", "alice")
    waits(attempts, "2001:db8::ffff:1")
    attempts.begin("2001:db8:0:1::1", "alice")
    attempts.begin("fe80::1%eth0", "alice")
    attempts.begin("not:an:address", "alice")
    fail(attempts, FREE - 1, "::ffff:192.0.2.9")
    attempts.begin("192.0.2.9", "alice")
    waits(attempts, "192.0.2.9")


def test_memory_is_bounded() -> None:
    attempts = FailedAttempts(SettableClock())
    for number in range(CLIENTS * 2):
        attempts.begin(f"client{number}", "alice")
    assert len(attempts._records) == CLIENTS


def test_no_wait_overflows() -> None:
    clock = SettableClock()
    attempts = FailedAttempts(clock)
    longest = 0
    for _ in range(5000):
        try:
            attempts.begin("192.0.2.1", "alice")
        except AttemptsExceededError as error:
            longest = max(longest, error.retry_after_seconds)
            clock.advance(error.retry_after_seconds)
    assert longest == LONGEST_SECONDS + 1
