"""Who is let in: API keys compared in constant time, and a limit on requests in flight."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import Gauge

from service.errors import Overloaded, Unauthorized
from service.policy import Caller, Grants
from service.rates import ANONYMOUS


class Keys:
    """The keys that callers may use, kept as digests, and what each may do; with none configured all are let in."""

    def __init__(self, callers: Iterable[Caller], anonymous: Grants) -> None:
        self._known = [(each.digest, each) for each in callers]
        self._anonymous = anonymous

    def check(self, authorization: str | None, now: datetime | None = None) -> tuple[str, Grants]:
        """Let a caller in by the value of its Authorization header; give a name to count it by, and what it may do.

        Raises:
            Unauthorized: keys are configured, and this is none of them or has ended.
        """
        if not self._known:
            return ANONYMOUS, self._anonymous
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("an API key is needed: send it as Authorization: Bearer KEY", code="missing_api_key")
        digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).digest()
        # all of them are compared, so that each takes the same time
        matches = [caller for known, caller in self._known if hmac.compare_digest(digest, known)]
        if not matches:
            raise Unauthorized("this API key is not known")
        if matches[0].expires and matches[0].expires <= (now or datetime.now(UTC)):
            raise Unauthorized("this API key has ended", code="expired_api_key")
        return digest.hex()[:32], matches[0]


class Door:
    """Counts requests in flight and refuses the one too many."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._inside: set[object] = set()

    def enter(self, guest: object, most: int) -> None:
        """Let a request in.

        Raises:
            Overloaded: `most` are inside.
        """
        if len(self._inside) >= most:
            raise Overloaded(f"more than {most} requests are in flight; try again")
        self._inside.add(guest)
        self._gauge.set(len(self._inside))

    def leave(self, guest: object) -> None:
        """Let a request out; once is enough, twice does no harm."""
        self._inside.discard(guest)
        self._gauge.set(len(self._inside))
