"""Looks descriptions up, off the event loop; by words alone where that fails and the policy says so."""

from __future__ import annotations

import asyncio
import math
from functools import partial

from retrieval.search import Passage
from service import query
from service.errors import GuardrailUnavailable
from service.guard import Guard
from service.policy import OnError
from service.turn import Detection


def described(detection: Detection, guard: Guard) -> tuple[str, ...]:
    """Give the detected cultures that the index describes, in their order, at most `retrieval.max_cultures`."""
    most = guard.settings.retrieval.max_cultures
    return tuple(id for id in detection.ids if guard.index.covers(id))[:most]


async def look_up(
    text: str, cultures: tuple[str, ...], guard: Guard, on_error: OnError
) -> tuple[tuple[Passage, ...], bool]:
    """Find the descriptions that matter to a text, and tell whether looking them up failed.

    Args:
        on_error: where it fails: block raises, allow goes without, degrade goes by words alone.

    Raises:
        GuardrailUnavailable: it failed, and the policy is to block.
    """
    try:
        return await find(text, cultures, guard), False
    except Exception as error:  # noqa: BLE001 - whatever broke, the stage's failure policy decides
        guard.metrics.failed("retrieve", error)
    if on_error == "block":
        raise GuardrailUnavailable("looking descriptions up failed; try again", stage="retrieve")
    if on_error == "allow":
        return (), True
    by_words = partial(guard.index.by_words, query.cut(text), cultures, guard.settings.retrieval.k)
    return await asyncio.get_running_loop().run_in_executor(None, by_words), True


async def find(text: str, cultures: tuple[str, ...], guard: Guard, *, k: int | None = None) -> tuple[Passage, ...]:
    """Find the descriptions that matter to a text, in some cultures or, where none is named, in the whole index.

    Raises:
        TimeoutError: it took longer than `retrieval.timeout_s`.
        ArithmeticError: the encoder gave what is no vector.
    """
    settings, text = guard.settings.retrieval, query.cut(text.strip())
    if not text:
        return ()
    async with asyncio.timeout(settings.timeout_s):
        vector = await guard.queries.encode(text)
        if not math.isfinite(vector.sum()):
            raise ArithmeticError("the encoder gave what is no vector")
        search = partial(guard.index.find, text, vector, cultures, settings.k if k is None else k, settings.min_score)
        return await asyncio.get_running_loop().run_in_executor(None, search)  # not behind what waits for the encoder
