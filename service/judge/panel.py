"""The panel: the LLM judge and the embedded judge as one, so that neither is talked round or silenced alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from service.backend import Backend
from service.judge import Exchange, Judge
from service.judge.prompts import CONTINUATION
from service.turn import Verdict

_HARM = "harm"


class Appealed(Judge, Protocol):
    """A judge that can be asked a second time, by a prompt that quotes the exchange."""

    @property
    def backend(self) -> Backend | None:
        """The connections to close at the end."""

    async def second(self, exchange: Exchange) -> Verdict:
        """Judge one choice by quoting it."""


class Panel:
    """Two judges, one verdict.

    The embedded judge objects where it says unsafe, or where its score on the axis harm reaches its limit.

    - It does not object: the LLM's verdict stands. Where both say safe, the worse score.
    - It objects, and the LLM says unsafe: unsafe, the worse score.
    - It objects, and the LLM says safe by a continuation: the separate prompt decides, because a continuation can be
      talked round by the text that it judges. Where that cannot decide either, the worse of the two counts: unsafe.
    - It objects, and the LLM says safe by the separate prompt: that stands. The words may be quoted, or warned of; a
      word list alone never overrules one who has read the text as a text.
    - It objects on harm, and the LLM says safe in whatever form: the separate prompt is asked about harm alone, no
      culture or custom excusing it, and decides; where it cannot, unsafe.
    - It objects, and the LLM is undecided or failed: unsafe.

    Its silence is no opinion, so that an LLM's unsafe stands alone. (A trained judge in its place has an opinion: an
    unsafe LLM against a safe trained judge is then a disagreement too, and goes to the separate prompt.)

    The axes of both are shown, the worse score of each; the violations are the embedded judge's. The coverage is that
    of the LLM, never better; the judge that decided stands in the verdict.
    """

    def __init__(self, llm: Appealed, embedded: Judge, appealed: Callable[[str], None] = lambda outcome: None) -> None:
        """Put two judges together.

        Args:
            appealed: told what came of each objection that went to the separate prompt.
        """
        self.name = llm.name
        self.calibrated = llm.calibrated
        self.languages = llm.languages
        self._llm = llm
        self._embedded = embedded
        self._appealed = appealed

    @property
    def backend(self) -> Backend | None:
        """The connections of the LLM judge, to be closed with it."""
        return self._llm.backend

    async def judge(self, exchange: Exchange) -> Verdict:
        """Judge one choice by both; an objection to a continuation costs one more judging, with time of its own."""
        said, seen = await asyncio.gather(self._llm.judge(exchange), self._embedded.judge(exchange))
        harm = seen.axes.get(_HARM, 0)
        harmful = harm > 0 and harm >= exchange.limit(_HARM)
        if harmful:
            seen = replace(seen, verdict="unsafe")
        if seen.verdict != "unsafe":
            return _stands(said, seen)
        if said.verdict == "undecided":
            return _overruled(said, seen)
        if said.verdict == "safe" and (harmful or said.judge == CONTINUATION):
            return await self._appeal(said, seen, replace(exchange, kind="harm") if harmful else exchange)
        return _stands(said, seen)

    async def _appeal(self, said: Verdict, seen: Verdict, exchange: Exchange) -> Verdict:
        """Ask the separate prompt about an objection to an answer that was called safe."""
        again = await self._llm.second(exchange)
        self._appealed({"safe": "overruled", "unsafe": "upheld", "undecided": "undecided"}[again.verdict])
        if again.verdict == "undecided":
            return _overruled(said, seen)
        if again.verdict == "safe" and exchange.kind == "harm":  # what it was asked says nothing of the other axes
            again = replace(said, judge=again.judge, axes=_worse(said.axes, again.axes))
        return _stands(again, seen)


def _stands(said: Verdict, seen: Verdict) -> Verdict:
    """Give the LLM's verdict with what the embedded judge saw; where they agree, the worse score."""
    axes = _worse(said.axes, seen.axes)
    if said.verdict == "undecided":
        return replace(said, axes=axes)
    if said.verdict == seen.verdict:
        score = max(said.score or 0, seen.score or 0)
        return replace(said, score=score, axes=axes, violations=seen.violations)
    return replace(said, axes=axes, violations=seen.violations if said.verdict == "unsafe" else ())


def _overruled(said: Verdict, seen: Verdict) -> Verdict:
    """Give the embedded judge's verdict with the LLM's coverage, which says that the LLM could not decide."""
    return replace(seen, coverage=said.coverage, reason=said.reason, axes=_worse(said.axes, seen.axes))


def _worse(first: Mapping[str, float], other: Mapping[str, float]) -> Mapping[str, float]:
    return {axis: max(first.get(axis, 0), other.get(axis, 0)) for axis in (*first, *other)}
