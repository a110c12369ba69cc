"""The breaker's states, with a clock of the test's own."""

from __future__ import annotations

from service.breaker import UNWATCHED, Breaker, State


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def _breaker(failures: int = 2) -> tuple[Breaker, _Clock, list[State]]:
    clock, seen = _Clock(), list[State]()
    return Breaker(failures, 10, changed=seen.append, clock=clock), clock, seen


def _fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        ticket = breaker.enter()
        assert ticket is not None
        breaker.failed(ticket)


def test_failures_in_a_row() -> None:
    """As many failures in a row as allowed open it; then nothing goes out until the time is up."""
    breaker, clock, seen = _breaker()
    _fail(breaker, 2)
    refused = breaker.enter()
    clock.now = 6.5

    assert refused is None
    assert breaker.enter() is None
    assert breaker.retry_after_s == 4
    assert seen == ["open"]


def test_success_between_failures() -> None:
    """A success sets the count back."""
    breaker, _, seen = _breaker()
    _fail(breaker, 1)
    breaker.succeeded(breaker.enter() or 0)
    _fail(breaker, 1)

    assert seen == []


def test_one_probe_at_a_time() -> None:
    """When the time is up one request may go out, and only one; its first sign of life closes the breaker."""
    breaker, clock, seen = _breaker()
    _fail(breaker, 2)
    clock.now = 10
    probe = breaker.enter()
    second = breaker.enter()
    assert probe is not None
    breaker.answered(probe)

    assert second is None
    assert breaker.enter() is not None
    assert seen == ["open", "half_open", "closed"]


def test_probe_that_fails() -> None:
    """A failed probe opens it for another full time."""
    breaker, clock, _ = _breaker()
    _fail(breaker, 2)
    clock.now = 10
    _fail(breaker, 1)
    clock.now = 19

    assert breaker.enter() is None
    assert breaker.retry_after_s == 1


def test_probe_whose_client_left() -> None:
    """A probe that was given up says nothing: the next request probes instead."""
    breaker, clock, _ = _breaker()
    _fail(breaker, 2)
    clock.now = 10
    breaker.left(breaker.enter() or 0)

    assert breaker.enter() is not None


def test_probe_without_news() -> None:
    """A probe of which nothing is heard for the full time is joined by another; whichever is answered closes it."""
    breaker, clock, seen = _breaker()
    _fail(breaker, 2)
    clock.now = 10
    slow = breaker.enter()
    clock.now = 19.9
    early = breaker.enter()
    clock.now = 20
    second, third = breaker.enter(), breaker.enter()
    assert slow is not None
    breaker.succeeded(slow)

    assert (early, third) == (None, None)
    assert second is not None
    assert seen == ["open", "half_open", "closed"]


def test_late_success() -> None:
    """The success of a request that went out before the breaker opened sets no later count back."""
    breaker, clock, _ = _breaker()
    early = breaker.enter()
    assert early is not None
    _fail(breaker, 2)
    clock.now = 10
    breaker.succeeded(breaker.enter() or 0)
    _fail(breaker, 1)
    breaker.succeeded(early)
    _fail(breaker, 1)

    assert breaker.state == "open"


def test_unwatched() -> None:
    """What goes out without a ticket of its own neither opens nor closes it."""
    breaker, clock, seen = _breaker()
    for _ in range(5):
        breaker.failed(UNWATCHED)
    _fail(breaker, 2)
    clock.now = 10
    breaker.enter()
    breaker.succeeded(UNWATCHED)
    breaker.left(UNWATCHED)

    assert seen == ["open", "half_open"]
    assert breaker.enter() is None


def test_late_news() -> None:
    """What happens to a request that went out before the breaker opened no longer counts."""
    breaker, clock, seen = _breaker()
    early = breaker.enter()
    assert early is not None
    _fail(breaker, 2)
    breaker.succeeded(early)
    clock.now = 10
    assert breaker.enter() is not None
    breaker.failed(early)
    breaker.left(early)

    assert seen == ["open", "half_open"]
    assert breaker.enter() is None


def test_switched_off() -> None:
    """With 0 allowed failures it never opens."""
    breaker, _, seen = _breaker(0)
    _fail(breaker, 50)

    assert seen == []
