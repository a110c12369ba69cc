"""Follows the index's pointer: a version that was published is opened beside the serving one and takes its place whole.

Requests keep the parts that they began with. A version that cannot be opened changes nothing but what is said about it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from retrieval import search
from retrieval.layout import IndexUnusable, Layout
from retrieval.search import Index
from service import logs
from service.guard import Guard
from service.reload import Living, Reloader
from service.settings import SettingsUnusable

_AGAIN_S = 30  # a version that could not be opened may have been mended where it stands

Remake = Callable[[Guard, Index], Guard]


class Follower:
    """Keeps the newest good version serving; belongs to one event loop."""

    def __init__(self, guard: Guard, remake: Remake, reloader: Reloader | None = None) -> None:
        """Begin with parts that serve.

        Args:
            remake: makes of the serving parts and another index those that will serve; runs in a thread.
            reloader: rereads the configuration; without one it stays.
        """
        self.guard = guard
        self.reloader = reloader
        self.loaded_at = _now()
        self._living = Living()
        self.trouble: str | None = None
        self._remake = remake
        self._refused: tuple[str, float] | None = None

    async def run(self) -> None:
        """Look at the pointer again and again, until cancelled."""
        self._living.add(self.guard)
        while True:
            await asyncio.sleep(self.guard.settings.retrieval.poll_s)
            for look in (self.look, self.reread):
                try:
                    await look()
                except Exception as error:  # noqa: BLE001 - whatever it is, the next look may do better
                    logs.crash("follow", error)

    async def reread(self) -> None:
        """Look at the configuration once, and serve by it where it has changed."""
        made = await self.reloader.look(self.guard) if self.reloader else None
        if made is not None:
            self._living.add(made)
            self.guard, self.loaded_at = made, _now()
            made.metrics.behind_config(False)
        elif self.reloader:
            self.guard.metrics.behind_config(self.reloader.trouble is not None)

    async def look(self) -> None:
        """Look at the pointer once, and follow it where it has moved."""
        loop, serving = asyncio.get_running_loop(), self.guard.index.version
        layout = Layout(self.guard.settings.retrieval.index)
        wanted = "none"
        try:
            wanted = (await loop.run_in_executor(None, layout.current)).root.name
            if wanted == serving:
                self._settled()
                return
            if self._refused and self._refused[0] == wanted and time.monotonic() - self._refused[1] < _AGAIN_S:
                return
            made = await loop.run_in_executor(None, self._opened, layout, wanted)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the version that serves goes on
            self._refuse(wanted, error)
            return
        self._living.add(made)
        self.guard = made
        self.guard.metrics.follows("opened")
        self.guard.metrics.serving(wanted, made.index.size)
        logs.index_opened(wanted, serving)
        self._settled()

    def _opened(self, layout: Layout, version: str) -> Guard:
        guard = self.guard
        index = search.open_version(layout, version, guard.settings.retrieval.encoder, guard.index.encoder)
        if index.encoder is not guard.index.encoder:
            index.encoder.encode_queries(["warm"])
        return self._remake(guard, index)

    def _settled(self) -> None:
        self.trouble, self._refused = None, None
        self.guard.metrics.behind(False)

    def _refuse(self, version: str, error: Exception) -> None:
        known = isinstance(error, IndexUnusable | SettingsUnusable)
        said = str(error) if known else f"version {version} cannot be opened ({type(error).__name__})"
        if self._refused is None or self._refused[0] != version:
            logs.index_refused(version, self.guard.index.version, said)
            self.guard.metrics.follows("refused")
        self.trouble = f"version {version} cannot be opened; the log says why"
        self._refused = (version, time.monotonic())
        self.guard.metrics.behind(True)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
