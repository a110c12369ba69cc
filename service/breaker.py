"""A circuit breaker: after failures in a row no request goes out for a while, then one probe decides.

States (Nygard, Release It!): closed → open after `failures` in a row → half open after `reset_s` → closed by a probe
that is answered, open again by one that fails. A probe of which nothing is heard for `reset_s` is joined by another. No
I/O and no clock of its own, so that every path is a plain test.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "half_open", "open"]
UNWATCHED = -1  # the ticket of a request that needs no leave and says nothing


class Breaker:
    """Counts what became of requests; a ticket of an earlier state no longer counts."""

    def __init__(
        self,
        failures: int,
        reset_s: float,
        *,
        changed: Callable[[State], None] = lambda state: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin closed.

        Args:
            failures: how many in a row open it; 0 never does.
            reset_s: seconds until a probe may go out, and until another may while it is not answered.
            changed: told of every new state.
        """
        self.state: State = "closed"
        self._most = failures
        self._reset_s = reset_s
        self._changed = changed
        self._clock = clock
        self._failed = 0
        self._era = 0
        self._probing = False
        self._probed = 0.0
        self._opened = 0.0

    def enter(self) -> int | None:
        """Give a ticket for one request, or None where it must not go out now."""
        if self.state == "open" and self._clock() - self._opened >= self._reset_s:
            self._become("half_open")
        if self.state == "open" or (self._probing and self._clock() - self._probed < self._reset_s):
            return None
        if self.state == "half_open":
            self._probing, self._probed = True, self._clock()
        return self._era

    @property
    def retry_after_s(self) -> int:
        """Whole seconds after which asking again makes sense."""
        if self.state != "open":
            return 1
        return max(1, math.ceil(self._opened + self._reset_s - self._clock()))

    def answered(self, ticket: int) -> None:
        """Note the first sign of life; it is enough for a probe."""
        if ticket == self._era and self.state == "half_open":
            self._become("closed")

    def succeeded(self, ticket: int) -> None:
        """Note an answer that came to its end."""
        if ticket == self._era:
            self.answered(ticket)
            self._failed = 0

    def failed(self, ticket: int) -> None:
        """Note a failure."""
        if ticket != self._era or self._most == 0:
            return
        self._failed += 1
        if self.state == "half_open" or self._failed >= self._most:
            self._opened = self._clock()
            self._become("open")

    def left(self, ticket: int) -> None:
        """Note a request that was given up by its client: it says nothing, and another may probe."""
        if ticket == self._era:
            self._probing = False

    def _become(self, state: State) -> None:
        self.state, self._failed, self._probing = state, 0, False
        self._era += 1
        self._changed(state)
