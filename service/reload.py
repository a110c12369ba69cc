"""Rereads the configuration while the service runs: a good one replaces the last whole, a bad one changes nothing.

Requests keep the parts that they began with; connections that only they still use are closed after the last of them.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import Any

from service import logs, parts
from service.backend import Backend
from service.guard import Guard
from service.rates import Rates
from service.settings import Settings, SettingsUnusable
from service.source import Source

# What a running process cannot change: sockets, threads, and what the index was opened with.
FIXED = ("server", "retrieval.index", "retrieval.encoder", "retrieval.workers")


class Reloader:
    """Looks at the source again and again; belongs to one event loop."""

    def __init__(self, source: Source) -> None:
        """Begin with the settings that serve."""
        self.trouble: str | None = None
        self._source = source
        self._mark: str | None = self._marked()

    async def look(self, guard: Guard) -> Guard | None:
        """Give the parts of a configuration that has changed, or None where there is nothing new that can serve."""
        loop = asyncio.get_running_loop()
        try:
            mark = await loop.run_in_executor(None, self._marked)
            if mark is not None and mark == self._mark:
                self.trouble = None  # what serves stands there again
                return None
            made = await loop.run_in_executor(None, self._made, guard)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the configuration that serves goes on
            self._refuse(guard, error)
            return None
        self._mark, self.trouble = mark, None
        guard.metrics.reloaded("opened")
        logs.configure(made.settings.log)
        logs.config_opened(made.settings.hash)
        parts.warn(made)
        return made

    def _marked(self) -> str | None:
        try:
            return self._source.mark()
        except SettingsUnusable:
            return None  # reading it for good says why

    def _made(self, guard: Guard) -> Guard:
        settings = self._source.load()
        for name in FIXED:
            if _at(settings, name) != _at(guard.settings, name):
                raise SettingsUnusable(
                    f"{name} cannot change while the service runs: restart it, or put the old value back"
                )
        return parts.reconfigure(guard, settings)

    def _refuse(self, guard: Guard, error: Exception) -> None:
        known = isinstance(error, SettingsUnusable)
        said = str(error) if known else f"the configuration cannot be used ({type(error).__name__})"
        if said != self.trouble:
            logs.config_refused(guard.settings.hash, said)
            guard.metrics.reloaded("refused")
        self.trouble = said


def retire(old: Guard, new: Guard) -> None:
    """Close the connections that only `old` has, once no request holds it any more; call it in the event loop."""
    kept = {id(each) for each in parts.connected(new)}
    idle = [each for each in parts.connected(old) if id(each) not in kept]
    if idle:
        weakref.finalize(old, _close, asyncio.get_running_loop(), idle).atexit = False


def _close(loop: asyncio.AbstractEventLoop, idle: Sequence[Backend | Rates]) -> None:
    async def close() -> None:
        for each in idle:
            await each.close()

    if not loop.is_closed():
        asyncio.run_coroutine_threadsafe(close(), loop)


def _at(settings: Settings, name: str) -> Any:
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return found
