"""Asks for an answer: of the adapter that was chosen or the base model, without the notes where they do not fit."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace

from service import gate, ground, responder, rewrite
from service.errors import (
    ComityError,
    ContextExceeded,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from service.gate import Held
from service.guard import Guard
from service.policy import Chosen
from service.turn import NO_ADAPTER, Adapter, Detection, Grounding, Json, Piece, Turn

PATHS = {"chat": "/chat/completions", "completions": "/completions"}
Pieces = AsyncGenerator[Piece, None]
DOWN = (UpstreamFailed, UpstreamTimeout, UpstreamUnavailable)


@dataclass(frozen=True, slots=True)
class Asked:
    """How an answer was asked for: the notes, the body that was sent, the adapter; no body where nobody was asked.

    `instead` tells that the embedded responder answers because the backend could not.
    """

    grounding: Grounding
    body: Json | None = None
    adapter: Adapter = NO_ADAPTER
    instead: bool = False


@asynccontextmanager
async def opened(
    turn: Turn, detection: Detection, grounding: Grounding, chosen: Chosen, guard: Guard
) -> AsyncIterator[tuple[Asked, Pieces]]:
    """Ask, and give the answer's pieces once the first of them is there; closed on the way out.

    Raises:
        ComityError: the backend cannot answer, and the policy does not let the embedded responder do so.
    """
    try:
        asked, pieces = await _ask(turn, detection, grounding, guard)
    except DOWN as error:
        if chosen.policy.on_error.generate == "block":
            raise
        asked, pieces = standing_in(turn, grounding, guard, error)
    async with aclosing(pieces):
        yield asked, pieces


async def whole(
    turn: Turn, detection: Detection, grounding: Grounding, chosen: Chosen, guard: Guard
) -> tuple[Asked, Held]:
    """Ask, and hold the answer to its end; raises as `opened` does."""
    try:
        async with opened(turn, detection, grounding, chosen, guard) as (asked, pieces):
            return asked, await gate.hold(pieces, streams=turn.streams)
    except DOWN as error:
        if chosen.policy.on_error.generate == "block":
            raise
        asked, pieces = standing_in(turn, grounding, guard, error)
        return asked, await gate.hold(pieces, streams=turn.streams)


def embedded(turn: Turn, grounding: Grounding, guard: Guard) -> tuple[Asked, Pieces]:
    """Let the responder answer from the descriptions, in place of a backend that cannot or where there is none."""
    instead = guard.backend is not None
    asking = replace(turn, model=responder.MODEL) if instead else turn
    return Asked(grounding, instead=instead), _each(iter(list(responder.pieces(asking, grounding, instead=instead))))


def standing_in(turn: Turn, grounding: Grounding, guard: Guard, error: ComityError) -> tuple[Asked, Pieces]:
    """Let the responder answer for a backend that cannot.

    Raises:
        ComityError: the backend's own, where prose was not asked for or the responder cannot answer either.
    """
    guard.metrics.failed("generate", error)
    if rewrite.in_json(turn):
        raise error
    try:
        return embedded(turn, grounding, guard)
    except ComityError:
        raise error from None


async def _ask(turn: Turn, detection: Detection, grounding: Grounding, guard: Guard) -> tuple[Asked, Pieces]:
    """Ask, once more without notes where the notes push the prompt past the model's context."""
    if guard.backend is None:
        return embedded(turn, grounding, guard)
    adapter = await _adapter(turn, detection, guard)
    body = ground.place(turn, grounding, guard.settings.grounding.placement)
    if body is None:
        grounding, body = Grounding("not_possible"), dict(turn.body)
    try:
        return await _open(turn, body, grounding, adapter, guard)
    except ContextExceeded:
        if grounding.status != "grounded":
            raise
        guard.metrics.retried("context_length")
        return await _open(turn, dict(turn.body), Grounding("dropped_context"), adapter, guard)


async def _adapter(turn: Turn, detection: Detection, guard: Guard) -> Adapter:
    """Choose by the cultures that may be shown: the adapter's name stands in the answer."""
    if guard.adapters is None:
        return NO_ADAPTER
    shown = tuple(dict.fromkeys(found.culture for found in detection.shown))
    return await guard.adapters.choose(turn.model, shown, turn.headers)


async def _open(turn: Turn, body: Json, grounding: Grounding, adapter: Adapter, guard: Guard) -> tuple[Asked, Pieces]:
    """Ask the adapter that was chosen, and the base model where the backend has lost it meanwhile."""
    assert guard.backend is not None  # noqa: S101 - the caller answers without one itself
    path = PATHS[turn.route]
    if adapter.outcome == "used" and guard.adapters is not None:
        adapted = {**body, "model": adapter.name}
        try:
            pieces = await _begun(guard.backend.pieces(path, adapted, turn.headers))
            return Asked(grounding, adapted, adapter), pieces
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            guard.adapters.forget()
            guard.metrics.retried("adapter_missing")
            adapter = Adapter("missing")
    return Asked(grounding, body, adapter), await _begun(guard.backend.pieces(path, body, turn.headers))


async def _begun(pieces: Pieces) -> Pieces:
    """Wait for the first piece, so that what goes wrong before it is raised here."""
    first = await anext(pieces, None)
    return _rest(first, pieces)


async def _rest(first: Piece | None, pieces: Pieces) -> Pieces:
    async with aclosing(pieces):
        if first is None:
            return
        yield first
        async for piece in pieces:
            yield piece


async def _each(pieces: Iterator[Piece]) -> Pieces:
    for piece in pieces:
        yield piece
