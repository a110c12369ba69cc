"""Which LoRA adapter of the backend answers a request: chosen by culture, never against the caller's own choice.

The backend's /v1/models lists its adapters: a model with a `parent` is one. What it does not list is not asked for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from retrieval.cultures import Cultures
from service.backend import Backend
from service.errors import ComityError
from service.settings import AdapterSettings, SettingsUnusable
from service.turn import Adapter, Headers

_LIST_TIMEOUT_S = 5
_AGAIN_S = 5  # after a list that could not be had


class Adapters:
    """The configured choice, and the backend's list of what there is."""

    def __init__(self, backend: Backend, settings: AdapterSettings, cultures: Cultures) -> None:
        """Check the configuration against the registry of cultures.

        Raises:
            SettingsUnusable: a culture is not registered.
        """
        for culture in settings.cultures:
            if culture not in cultures:
                raise SettingsUnusable(f"adapters.cultures: {culture} is not in the registry of cultures")
        self._backend = backend
        self._settings = settings
        self._cultures = cultures
        self._listed: Mapping[str, Mapping[str, Any]] = {}
        self._due = 0.0
        self._asking = asyncio.Lock()

    async def choose(self, model: str, found: tuple[str, ...], headers: Headers = ()) -> Adapter:
        """Give the adapter for a request's cultures (in the order that grounding uses), or say why there is none."""
        wanted = self._wanted(found)
        await self._refresh(headers)
        asked = self._listed.get(model, {})
        if asked.get("parent") or model in self._settings.cultures.values():
            return Adapter("explicit", model, asked.get("parent"))
        if not wanted:
            return Adapter("none")
        if len(wanted) > 1 and self._settings.on_several == "base":
            return Adapter("several")
        name = next(name for name in wanted if name)
        return Adapter("used", name, model) if self._serves(name, model) else Adapter("missing")

    def forget(self) -> None:
        """Ask for the list again at the next request: what it names is no longer there."""
        self._due = 0.0

    def label(self, name: str | None) -> str:
        """Give an adapter's name for metrics: one of the configuration, `other`, or `none`."""
        if name is None:
            return "none"
        return name if name in self._settings.cultures.values() else "other"

    def _wanted(self, found: tuple[str, ...]) -> tuple[str | None, ...]:
        """Give the different adapters that cultures want, their parents' where they have none; none wanted: nothing."""
        inherited = {parent for culture in found for parent in self._cultures.lineage(culture)[1:]}
        own = [culture for culture in found if culture not in inherited]
        wanted = dict.fromkeys(self._nearest(culture) for culture in own)
        return tuple(wanted) if any(wanted) else ()

    def _nearest(self, culture: str) -> str | None:
        line = self._cultures.lineage(culture)
        return next((self._settings.cultures[known] for known in line if known in self._settings.cultures), None)

    def _serves(self, name: str, model: str) -> bool:
        """Tell whether the backend lists the adapter as one of this model (or of another name of it)."""
        parent = self._listed.get(name, {}).get("parent")
        if not parent or model not in self._listed:
            return False
        root = self._listed.get(parent, {}).get("root", parent)
        return bool(parent == model or self._listed[model].get("root") == root)

    async def _refresh(self, headers: Headers) -> None:
        """Ask for the list when it is old; who comes meanwhile uses the old one, and a failure keeps it."""
        if time.monotonic() < self._due or (self._listed and self._asking.locked()):
            return
        async with self._asking:
            if time.monotonic() < self._due:
                return
            found = await self._list(headers)
            if found is not None:
                self._listed = found
            self._due = time.monotonic() + (self._settings.refresh_s if found is not None else _AGAIN_S)

    async def _list(self, headers: Headers) -> Mapping[str, Mapping[str, Any]] | None:
        try:
            status, _, content = await self._backend.forward(
                "GET", "/v1/models", headers=headers, timeout_s=_LIST_TIMEOUT_S
            )
            models = json.loads(content)["data"] if status == 200 else None
            return {str(model["id"]): model for model in models} if isinstance(models, list) else None
        except (ComityError, ValueError, LookupError, TypeError, RecursionError):
            return None
