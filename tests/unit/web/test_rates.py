"""Token buckets: never more than a burst and the rate, never less, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roadstead.testing.clock import SettableClock
from roadstead.web.errors import TooManyRequestsError
from roadstead.web.rates import ClientRates, RateLimit, network_of

RATES = st.sampled_from([0.1, 0.5, 1.0, 3.0, 10.0, 97.0, 1000.0])
BURSTS = st.integers(1, 50)
STEPS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60)), max_size=30)
"""Seconds that pass, then requests at once."""


@given(rate=RATES, burst=BURSTS, steps=STEPS)
def test_a_bucket_lets_through_what_a_bucket_should(rate: float, burst: int, steps: list[tuple[float, int]]) -> None:
    clock = SettableClock()
    limit = RateLimit(rate, burst, clock)
    tokens = float(burst)
    for seconds, requests in steps:
        clock.advance(seconds)
        tokens = min(float(burst), tokens + seconds * rate)
        for _ in range(requests):
            wait = limit.take("client")
            if wait:
                assert tokens < 1 + 1e-6, "refused although there was a token"
                assert wait == pytest.approx((1 - tokens) / rate, rel=1e-3, abs=1e-6)
            else:
                assert tokens > 1 - 1e-6, "let through without a token"
                tokens -= 1


@given(rate=RATES, burst=BURSTS, pause=st.floats(0, 100))
def test_who_waits_as_long_as_told_is_let_through(rate: float, burst: int, pause: float) -> None:
    clock = SettableClock()
    limit = RateLimit(rate, burst, clock)
    clock.advance(pause)
    assert not any(limit.take("client") for _ in range(burst))
    wait = limit.take("client")
    assert wait > 0
    clock.advance(wait)
    assert limit.take("client") == 0


@given(takes=st.lists(st.tuples(st.integers(0, 40), st.floats(0, 2)), max_size=200), capacity=st.integers(1, 10))
def test_memory_is_bounded_and_the_idle_are_forgotten(takes: list[tuple[int, float]], capacity: int) -> None:
    clock = SettableClock()
    limit = RateLimit(2.0, 4, clock, capacity=capacity)
    for client, seconds in takes:
        clock.advance(seconds)
        limit.take(str(client))
        assert len(limit) <= capacity
    clock.advance(1000)
    for _ in range(capacity + 1):
        limit.take("one")
    assert len(limit) == 1


def test_clients_do_not_pay_for_each_other() -> None:
    limit = RateLimit(1.0, 2, SettableClock())
    assert [bool(limit.take("a")) for _ in range(3)] == [False, False, True]
    assert [bool(limit.take("b")) for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("not:an:address", "not:an:address"),
        ("", ""),
    ],
)
def test_networks(address: str, network: str) -> None:
    assert network_of(address) == network


def test_users_are_told_apart_and_others_by_their_address() -> None:
    told: list[str] = []
    rates = ClientRates(RateLimit(1.0, 1, SettableClock()), told.append)
    here, there = {"client": ("192.0.2.1", 1)}, {"client": ("192.0.2.2", 1)}
    for scope in (here, there):
        rates.admit(scope, "")
        with pytest.raises(TooManyRequestsError) as caught:
            rates.admit(scope, "")
        assert caught.value.retry_after_seconds == pytest.approx(1)
    rates.admit(here, "ann")
    rates.admit(here, "bob")
    with pytest.raises(TooManyRequestsError):
        rates.admit(there, "ann")
    rates.admit({"client": None}, "")
    with pytest.raises(TooManyRequestsError):
        rates.admit({"client": None}, "")
    assert told == ["rate"] * 4


def test_a_user_cannot_take_the_name_of_an_address() -> None:
    rates = ClientRates(RateLimit(1.0, 1, SettableClock()), lambda _: None)
    rates.admit({"client": ("192.0.2.1", 1)}, "")
    rates.admit({"client": ("192.0.2.9", 1)}, "192.0.2.1")
