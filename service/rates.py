"""Requests per minute of each caller: a bucket that fills evenly, in this process or in a Redis that replicas share.

The bucket is the generic cell rate algorithm (ITU-T I.371): one number a caller, the moment until which it has spent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from redis.asyncio import BlockingConnectionPool, Redis

from service import logs
from service.metrics import Metrics

ANONYMOUS = "anonymous"
_PREFIX = "comity:rate:"
_CONNECTIONS = 16
_REST_S = 5.0  # seconds without Redis after it failed
# Gives the seconds to wait, as text: Redis would cut a number. The clock is that of Redis, so that no replica's counts;
# where it was set back, what was spent is taken for a full bucket, so that nobody waits for it to catch up.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local each, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local spent = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now), now), now + most)
local wait = spent + each - now - most
if wait > 0 then return tostring(wait) end
redis.call('SET', KEYS[1], string.format('%.6f', spent + each), 'PX', math.ceil((spent + each - now) * 1000) + 1000)
return '0'
"""


class LocalRates:
    """Counts in this process, by a clock that nobody can set."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._spent: dict[str, float] = {}

    async def take(self, caller: str, per_minute: int) -> float:
        """Let one request in; give the seconds until the next may come instead where too many have been."""
        now, each = self._now(), 60 / per_minute
        spent = max(self._spent.get(caller, now), now)
        wait = spent + each - now - 60
        if wait > 1e-9:
            return wait
        self._spent[caller] = spent + each
        return 0.0

    async def close(self) -> None:
        """Close nothing."""


class SharedRates:
    """Counts in Redis; where that fails or is late this process counts alone for some seconds before it asks again."""

    def __init__(self, url: str, timeout_s: float, metrics: Metrics) -> None:
        waits: dict[str, float] = dict.fromkeys(("timeout", "socket_timeout", "socket_connect_timeout"), timeout_s)
        self._redis = Redis.from_pool(BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, **waits))
        self._timeout_s = timeout_s
        self._take = self._redis.register_script(_TAKE)
        self._alone = LocalRates()
        self._metrics = metrics
        self._until: float | None = None  # alone until then

    async def take(self, caller: str, per_minute: int) -> float:
        """Let one request in; give the seconds until the next may come instead where too many have been."""
        if self._until is not None and time.monotonic() < self._until:
            return await self._alone.take(caller, per_minute)
        try:
            async with asyncio.timeout(self._timeout_s):
                wait = float(await self._take(keys=[_PREFIX + caller], args=[60 / per_minute, 60]))
        except Exception as error:  # noqa: BLE001 - whatever is wrong there, requests are served and still counted
            self._metrics.failed("rates", error)
            if self._until is None:
                logs.rates_alone(type(error).__name__)
            self._until = time.monotonic() + _REST_S
            return await self._alone.take(caller, per_minute)
        if self._until is not None:
            self._until = None
            logs.rates_shared()
        return wait

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


Rates = LocalRates | SharedRates
