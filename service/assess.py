"""Has answers judged: what a judge is shown of a choice, what it could cover of it, and what a failing judge leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from detection import language
from retrieval.description import Description
from service.generate import Asked
from service.guard import Guard
from service.judge import Exchange, Judge, worst
from service.policy import Chosen
from service.turn import Detection, Reason, Turn, Verdict

T = TypeVar("T")
_SHORT = 80  # characters in which a language may not show
_TOOLS = ("tool_calls[", "function_call.")


@dataclass(frozen=True, slots=True)
class Case:
    """One request on its way to a verdict: what was asked, found and sent, and the policy that holds."""

    turn: Turn
    detection: Detection
    asked: Asked
    chosen: Chosen
    guard: Guard

    def question(self, choice: int) -> str:
        """Give what a choice answers."""
        several = self.turn.route == "completions"
        prompt = min(self.turn.prompt(choice), len(self.turn.messages) - 1)
        return self.turn.messages[prompt].text if several else self.turn.question

    def descriptions(self, choice: int) -> tuple[Description, ...]:
        """Give the descriptions that were found for what a choice answers."""
        passages = self.asked.grounding.of(self.turn.prompt(choice)).passages
        return tuple(passage.description for passage in passages)

    def shown(self, choice: int) -> tuple[Description, ...]:
        """Give those of them that may be told: none of a culture that was only guessed of the asker."""
        lineage = self.guard.index.cultures.lineage
        told = {id for found in self.detection.shown for id in lineage(found.culture)}
        guessed = {id for culture in self.detection.ids for id in lineage(culture)} - told
        return tuple(each for each in self.descriptions(choice) if each.culture not in guessed)

    def exchange(self, choice: int, texts: Mapping[str, str]) -> Exchange:
        """Give what the judge sees; what is guessed of the asker goes to no other endpoint."""
        return Exchange(
            question=self.question(choice),
            texts=texts,
            descriptions=self.descriptions(choice),
            cultures=tuple(found.culture for found in self.detection.shown),
            turn=self.turn,
            body=self.asked.body,
            model=self._judging,
            thresholds=self.chosen.thresholds,
            headers=self.turn.headers,
        )

    @property
    def _judging(self) -> str:
        """The model that judges where no setting names one: the adapter that answered, or its base model."""
        adapter = self.asked.adapter
        if self.guard.settings.adapters.judge == "adapter":
            return adapter.name or self.turn.model
        return adapter.base or self.turn.model


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one choice, apart from it the one on its tool calls, and the window that stops it, if one does."""

    verdict: Verdict
    tools: Verdict | None = None
    stop: Verdict | None = None

    @property
    def decisive(self) -> Verdict:
        """The verdict by which is decided: of several windows the one that stops, not what is said of all of them."""
        return self.stop or self.verdict


async def together(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Do several things side by side; when one fails or the caller is cancelled, none goes on."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # nothing happens to those that are done


async def choice(case: Case, index: int, texts: Mapping[str, str], *, media: bool) -> Judged:
    """Judge all of one choice at once; its tool calls by themselves, as the policy says."""
    said = {path: text for path, text in texts.items() if not path.startswith(_TOOLS)}
    called = {path: text for path, text in texts.items() if path.startswith(_TOOLS)}
    if not called:
        return Judged(heard(await judged(case, case.exchange(index, said)), media=media))
    tools = await on_tools(case, index, called)
    verdict = heard(await judged(case, case.exchange(index, said)), media=media)
    return joined(verdict, tools, case)


async def on_tools(case: Case, index: int, called: Mapping[str, str]) -> Verdict | None:
    """Judge the arguments of tool calls, for demeaning words only; None where the policy does not."""
    if case.chosen.policy.tool_calls == "off":
        return None
    return await judged(case, replace(case.exchange(index, called), kind="tools"))


def joined(verdict: Verdict, tools: Verdict | None, case: Case) -> Judged:
    """Bring the verdicts on a choice's words and on its tool calls together: the latter counts in enforce only."""
    empty = verdict.coverage == "skipped" and verdict.reason == "empty"
    if tools is not None and case.chosen.policy.tool_calls == "enforce":
        return Judged(tools if empty else worst([verdict, tools]), tools)
    if empty:
        return Judged(replace(verdict, reason="tool_calls"), tools)
    if verdict.coverage == "full" and (tools is None or tools.coverage in ("error", "skipped")):
        verdict = replace(verdict, coverage="partial", reason="tool_calls")
    return Judged(verdict, tools)


async def judged(case: Case, exchange: Exchange) -> Verdict:
    """Judge one exchange; where the judge fails and the policy says degrade, by the embedded judge alone."""
    guard = case.guard
    verdict = covered(await guard.judge.judge(exchange), exchange, guard.judge)
    if verdict.coverage == "error" and case.chosen.policy.on_error.judge == "degrade":
        guard.metrics.judged(verdict)  # the failure is counted, whatever stands in for it
        lesser = await guard.embedded.judge(exchange)
        skipped = lesser.coverage == "skipped"
        return lesser if skipped else replace(lesser, coverage="partial", reason="degraded")
    return verdict


def covered(verdict: Verdict, exchange: Exchange, judge: Judge) -> Verdict:
    """Say how much of an exchange a verdict covers: full where a judge validated for it judged every axis."""
    if verdict.coverage in ("error", "skipped"):
        return verdict
    said = None if judge.calibrated and verdict.reason == "uncalibrated" else verdict.reason
    reason = _missing(exchange, judge) or said
    if verdict.verdict == "undecided":
        reason = verdict.reason
    return replace(verdict, coverage="partial" if reason else "full", reason=reason)


def _missing(exchange: Exchange, judge: Judge) -> Reason | None:
    if judge.languages and not _languages(exchange) <= judge.languages:
        return "unsupported_language"
    if exchange.cultures and not exchange.descriptions and exchange.kind == "answer":
        return "no_description"
    return None


def _languages(exchange: Exchange) -> set[str | None]:
    """Give the languages of a text at its beginning, in its middle and at its end; None where one cannot be told.

    A text too short to tell has that of its question; of neither nothing is known, and nothing is held against it.
    """
    text, read = exchange.answer, language.READ_CHARS
    last = max(0, len(text) - read)
    found = {language.of(text[at : at + read]) for at in {0, last // 2, last}}
    if found == {None} and len(text) < _SHORT:
        asked = language.of(exchange.question)
        return {asked} if asked else set()
    return set(found)


def heard(verdict: Verdict, *, media: bool) -> Verdict:
    """Give the verdict on a choice whose sound, if it has any, nobody judged: its coverage says so."""
    if not media or verdict.coverage == "error":
        return verdict
    return replace(verdict, coverage="skipped" if verdict.coverage == "skipped" else "partial", reason="media")
