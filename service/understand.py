"""Detection as the service does it: words first, and where they leave it open the nearest descriptions."""

from __future__ import annotations

import asyncio
from functools import partial

from service import meaning
from service.detect import detect
from service.guard import Guard
from service.turn import Detection, Evidence, Found, Turn

_LONG = 4_000  # characters from which detection is done off the event loop


async def understand(turn: Turn, guard: Guard, *, share: int = 1) -> Detection:
    """Detect the cultures of a conversation as the settings allow, and count them.

    Args:
        share: parts that have one budget of `detection.max_chars` together.

    Raises:
        TimeoutError: a long conversation took longer than `detection.timeout_s`.
    """
    settings = guard.settings.detection
    look = partial(
        detect,
        turn.messages,
        turn.hints,
        guard.names,
        infer=settings.enabled,
        max_chars=max(1, settings.max_chars // share),
    )
    if sum(len(message.text) for message in turn.messages) > _LONG:
        async with asyncio.timeout(settings.timeout_s):
            found = await asyncio.get_running_loop().run_in_executor(guard.workers, look)
    else:
        found = look()
    if settings.meaning:
        found = await _by_meaning(turn, found, guard)
    guard.metrics.detected(found)
    return found


def supposed(found: Detection, turn: Turn, culture: str | None) -> Detection:
    """Give the culture that the caller's requests are about where they name none, if in this one none was found.

    A caller who says that none may be inferred is heard; a detection that failed is left to its policy.
    """
    if culture is None or not turn.hints.infer or found.abstained not in ("no_evidence", "switched_off"):
        return found
    return Detection((Found(culture, "audience", 1.0, (Evidence("caller", "", 0, 0, -1),)),))


async def _by_meaning(turn: Turn, found: Detection, guard: Guard) -> Detection:
    """Let the nearest descriptions vote where that may help; where encoding fails, words alone decide."""
    text = meaning.asked(found, turn.messages)
    if not text:
        return found
    guard.metrics.encoded()
    try:
        async with asyncio.timeout(guard.settings.detection.timeout_s):
            vector = await guard.queries.encode(text)
            vote = partial(guard.index.vote, text, vector, meaning.open_between(found))
            votes = await asyncio.get_running_loop().run_in_executor(None, vote)
    except Exception as error:  # noqa: BLE001 - whatever broke, words have been read
        guard.metrics.failed("meaning", error)
        return found
    return meaning.told(found, votes, turn.messages)
