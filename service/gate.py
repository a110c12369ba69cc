"""Holds pieces until they are judged, then releases them untouched or replaces what was refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from service import wire
from service.backend import END
from service.errors import UpstreamFailed
from service.settings import JudgeSettings
from service.turn import Action, Json, Piece, Turn, Verdict
from service.wire import Texts

Decision = Literal["release", "refuse", "fail"]

REFUSAL = (
    "This answer was withheld because it may be disrespectful to a culture or harmful to its people. "
    "Try asking in another way."
)


@dataclass(frozen=True, slots=True)
class Held:
    """A whole answer in the gate: its pieces as received, and the guarded text of each choice."""

    pieces: tuple[Piece, ...]
    choices: Mapping[int, Mapping[str, str]]
    media: frozenset[int] = frozenset()

    @property
    def first(self) -> Json | None:
        """The first payload, whose id and model a late frame repeats."""
        return self.pieces[0].payload if self.pieces else None


async def hold(pieces: AsyncGenerator[Piece, None], *, streams: bool) -> Held:
    """Collect an answer to its end; closing the iterator, and so the upstream's request, on every way out.

    Raises:
        UpstreamFailed: a stream ended before each of its choices did.
    """
    texts, kept, ended = Texts(), [], not streams
    async with aclosing(pieces) as source:
        async for piece in source:
            if piece is END:
                ended = True
                break
            texts.add(piece.payload)
            kept.append(wire.clean(piece))
    if not texts.choices:
        raise UpstreamFailed("the backend gave an answer without choices")
    if not ended and set(texts.choices) - texts.finished:
        raise UpstreamFailed("the backend's stream broke off before its end")
    choices = {index: texts.of(index) for index in sorted(texts.choices)}
    return Held(tuple(kept), choices, frozenset(texts.media))


def heard(verdict: Verdict, *, media: bool) -> Verdict:
    """Give the verdict on a choice whose sound, if it has any, nobody judged: its coverage says so."""
    if not media or verdict.coverage == "error":
        return verdict
    return replace(verdict, coverage="skipped" if verdict.coverage == "skipped" else "partial", reason="media")


def decide(verdict: Verdict, policy: JudgeSettings) -> Decision:
    """Tell what enforcing the policy does with one choice."""
    if verdict.verdict == "unsafe":
        return "refuse"
    if verdict.coverage == "error":
        return "release" if policy.on_error == "allow" else "fail"
    nothing = verdict.coverage == "skipped" and verdict.reason in ("empty", "off")
    if verdict.verdict == "undecided" and not nothing:
        return "release" if policy.on_undecided == "allow" else "refuse"
    return "release"


def action(verdicts: Mapping[int, Verdict], policy: JudgeSettings) -> Action:
    """Name what is done with the answer as a whole."""
    if policy.mode == "off":
        return "allowed"
    decisions = {decide(verdict, policy) for verdict in verdicts.values()}
    if policy.mode == "shadow":
        return "would_refuse" if decisions & {"refuse", "fail"} else "allowed"
    if "refuse" in decisions:
        return "refused"
    return "allowed_unjudged" if any(v.coverage == "error" for v in verdicts.values()) else "allowed"


def release(held: Held, verdicts: Mapping[int, Verdict], turn: Turn, policy: JudgeSettings) -> tuple[Piece, ...]:
    """Give what goes to the client: the pieces as received, refused choices replaced."""
    if policy.mode != "enforce":
        return held.pieces
    refused = {index: REFUSAL for index, verdict in verdicts.items() if decide(verdict, policy) == "refuse"}
    return tuple(wire.refuse(held.pieces, refused, turn)) if refused else held.pieces
