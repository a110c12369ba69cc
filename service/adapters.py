"""Which LoRA adapter of the backend answers a request: chosen by culture, never against the caller's own choice.

The backend's /v1/models lists its adapters: a model with a `parent` is one. What it does not list is not asked for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from retrieval.cultures import Cultures
from service.backend import Backend
from service.errors import ComityError
from service.settings import AdapterSettings
from service.turn import Adapter, Headers

_LIST_TIMEOUT_S = 5
_PATIENCE_S = 1  # that requests wait for the first list
_AGAIN_S = 5  # after a list that could not be had
_Models = Mapping[str, Mapping[str, str | None]]


class Adapters:
    """The configured choice, and the backend's list of what there is."""

    def __init__(self, backend: Backend, settings: AdapterSettings, cultures: Cultures) -> None:
        """Take a configuration whose cultures are in the registry."""
        self._backend = backend
        self._settings = settings
        self._cultures = cultures
        self._listed: _Models = {}
        self._holds = False  # what is listed may be relied on while a newer list is asked for
        self._due = 0.0
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def choose(self, model: str, found: tuple[str, ...], headers: Headers = ()) -> Adapter:
        """Give the adapter for a request's cultures (in the order that grounding uses), or say why there is none."""
        wanted = self._wanted(found)
        named = model in self._settings.cultures.values()
        await self._refresh(headers, waits=named or bool(wanted))
        asked = self._listed.get(model, {})
        if named or asked.get("parent"):
            return Adapter("explicit", model, asked.get("parent"))
        if not wanted:
            return Adapter("none")
        if len(wanted) > 1 and self._settings.on_several == "base":
            return Adapter("several")
        name = next(name for name in wanted if name)
        return Adapter("used", name, model) if self._serves(name, model) else Adapter("missing")

    def forget(self) -> None:
        """Ask for the list again at the next request, which waits for it: what it names is no longer there."""
        self._due, self._holds = 0.0, False

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

    async def _refresh(self, headers: Headers, *, waits: bool) -> None:
        """Ask for the list when it is old, in the background; a request that needs the first one waits a moment.

        A list that was refused to another caller's key is asked for once more with this one's.
        """
        mine, until = False, 0.0
        while time.monotonic() >= self._due and not mine:
            mine = self._asking is None or self._asking.done()
            if self._asking is None or mine:
                self._asked = time.monotonic()
                self._asking = asyncio.create_task(self._ask(headers))
            if self._holds or not waits:
                return
            until = until or self._asked + _PATIENCE_S
            if not (await asyncio.wait({self._asking}, timeout=max(0.0, until - time.monotonic())))[0]:
                return

    async def _ask(self, headers: Headers) -> None:
        """Ask for the list; a failure keeps the old one, and a caller's key that is refused says nothing of others."""
        theirs = self._backend.per_caller
        try:
            status, _, content = await self._backend.forward(
                "GET", "/v1/models", headers=headers if theirs else (), timeout_s=_LIST_TIMEOUT_S, watched=False
            )
        except ComityError:
            status, content = 0, b""
        if theirs and status in (401, 403):
            return
        found = _models(content) if status == 200 else None
        if found is not None:
            self._listed, self._holds = found, True
        self._due = time.monotonic() + (self._settings.refresh_s if found is not None else _AGAIN_S)


def _models(content: bytes) -> _Models | None:
    """Read a list of models, leaving out those whose names are not text; None where it is no list."""
    try:
        models = json.loads(content)["data"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    if not isinstance(models, list):
        return None
    named = [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
    plain = [model for model in named if all(isinstance(model.get(it), str | None) for it in ("parent", "root"))]
    return {model["id"]: {"parent": model.get("parent"), "root": model.get("root")} for model in plain}
