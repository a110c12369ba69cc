"""Holds an answer until it is judged, and tells what a policy does with a verdict."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from service import wire
from service.backend import END
from service.errors import UpstreamFailed
from service.policy import Policy
from service.turn import Action, Json, Piece, Verdict
from service.wire import Texts

Decision = Literal["release", "act", "fail"]
_NOTHING = ("empty", "off", "tool_calls", "media")  # reasons of coverage `skipped` that leave nothing to decide
_GRAVEST: tuple[Action, ...] = ("refused", "replaced", "repaired", "allowed_unjudged", "would_refuse", "allowed")


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
    complete(texts, ended=ended)
    choices = {index: texts.of(index) for index in sorted(texts.choices)}
    return Held(tuple(kept), choices, frozenset(texts.media))


def complete(texts: Texts, *, ended: bool) -> None:
    """Hold an answer to having an end.

    Args:
        ended: whether its stream said so itself.

    Raises:
        UpstreamFailed: it has no choice, or broke off.
    """
    if not texts.seen:  # text beside the choices makes none
        raise UpstreamFailed("the backend gave an answer without choices")
    if not ended and set(texts.choices) - texts.finished:
        raise UpstreamFailed("the backend's stream broke off before its end")


def decide(verdict: Verdict, policy: Policy) -> Decision:
    """Tell what enforcing the policy does with one choice."""
    if verdict.verdict == "unsafe":
        return "act"
    if verdict.coverage == "error":
        return "release" if policy.on_error.judge == "allow" else "fail"
    nothing = verdict.coverage == "skipped" and verdict.reason in _NOTHING
    if verdict.verdict == "undecided" and not nothing:
        return "release" if policy.on_undecided == "allow" else "act"
    return "release"


def action(verdicts: Mapping[int, Verdict], done: Mapping[int, Action], policy: Policy) -> Action:
    """Name what is done with the answer as a whole: the gravest of what is done with its choices."""
    if policy.mode == "off":
        return "allowed"
    if policy.mode == "shadow":
        acts = any(decide(verdict, policy) != "release" for verdict in verdicts.values())
        return "would_refuse" if acts else "allowed"
    unjudged = any(verdict.coverage == "error" and verdict.verdict != "unsafe" for verdict in verdicts.values())
    found: set[Action] = {*done.values(), "allowed_unjudged" if unjudged else "allowed"}
    return next(each for each in _GRAVEST if each in found)
