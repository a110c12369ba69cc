"""Rereads the configuration while the service runs: a good one replaces the last whole, a bad one changes nothing.

Requests keep the parts that they began with; connections that only they still use are closed after the last of them.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Any

from service import logs, parts
from service.guard import Guard
from service.settings import Settings, SettingsUnusable
from service.source import Source

# What a running process cannot change: sockets, threads, and what the index was opened with.
FIXED = ("server", "traces", "retrieval.index", "retrieval.encoder", "retrieval.workers")
_AGAIN_S = 30  # what could not be used may be usable meanwhile, with another index for example


class Reloader:
    """Looks at the source again and again; belongs to one event loop."""

    def __init__(self, source: Source) -> None:
        """Begin with the settings that were loaded from it last, and that serve."""
        self.trouble: str | None = None
        self._source = source
        self._refused: tuple[str, float] | None = None

    async def look(self, guard: Guard) -> Guard | None:
        """Give the parts of a configuration that has changed, or None where there is nothing new that can serve."""
        loop, serving = asyncio.get_running_loop(), self._source.loaded
        mark = await loop.run_in_executor(None, self._source.mark)
        if mark == serving:
            self.trouble, self._refused = None, None
            return None
        if self._refused and self._refused[0] == mark and time.monotonic() - self._refused[1] < _AGAIN_S:
            return None
        try:
            made = await loop.run_in_executor(None, self._made, guard)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the configuration that serves goes on
            self._source.loaded = serving
            self._refuse(guard, mark, error)
            return None
        self.trouble, self._refused = None, None
        guard.metrics.reloaded("opened")
        logs.configure(made.settings.log)
        logs.config_opened(made.settings.hash)
        parts.warn(made)
        return made

    def _made(self, guard: Guard) -> Guard:
        settings = self._source.load()
        for name in FIXED:
            if _at(settings, name) != _at(guard.settings, name):
                raise SettingsUnusable(
                    f"{name} cannot change while the service runs: restart it, or put the old value back"
                )
        return parts.reconfigure(guard, settings)

    def _refuse(self, guard: Guard, mark: str, error: Exception) -> None:
        known = isinstance(error, SettingsUnusable)
        said = str(error) if known else f"the configuration cannot be used ({type(error).__name__})"
        if said != self.trouble:
            logs.config_refused(guard.settings.hash, said)
            guard.metrics.reloaded("refused")
        self.trouble, self._refused = said, (mark, time.monotonic())


class Living:
    """The parts that serve and those that requests still hold; connections close with the last that has them."""

    def __init__(self) -> None:
        self._guards: weakref.WeakSet[Guard] = weakref.WeakSet()

    def add(self, guard: Guard) -> None:
        """Note parts that begin to serve; call it in the event loop."""
        if guard not in self._guards:
            self._guards.add(guard)
            own = parts.connected(guard)
            weakref.finalize(guard, self._left, asyncio.get_running_loop(), own).atexit = False

    def _left(self, loop: asyncio.AbstractEventLoop, own: list[parts.Closing]) -> None:
        kept = {id(each) for guard in self._guards for each in parts.connected(guard)}
        idle = [each for each in own if id(each) not in kept]

        async def close() -> None:
            for each in idle:
                await each.close()

        if idle and not loop.is_closed():
            asyncio.run_coroutine_threadsafe(close(), loop)


def _at(settings: Settings, name: str) -> Any:
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return found
