"""The embedded baseline: demeaning phrasing, advice that repeats a contrary act, the floor of universal harm.

No model: it reads words, not meaning. Its coverage is always `partial`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from retrieval.description import Description
from service.judge import Exchange, harm
from service.turn import Verdict, Verdicts, Violation

_LONG = 20_000  # characters that take some 20 ms
# Why a text is held against; a finding of the harm floor gives its kind instead.
DEMEANING = "demeaning phrasing"
CONTRARY = "repeats an act that offends"
REASONS = (DEMEANING, CONTRARY, *harm.KINDS)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_GROUP = (
    r"(people|folks?|culture|customs?|traditions?|women|men|religion|believers|locals|natives|immigrants|foreigners)"
)
_SLIGHT = (
    r"(backwards?|primitive|savages?|uncivili[sz]ed|barbaric|inferior|filthy|dirty|stupid|ridiculous|silly|disgusting|"
    r"subhuman|vermin|lazy|greedy|untrustworthy|dishonest|weird)"
)
_DEMEANING = (
    re.compile(
        rf"\b(all|most|these|those|such|you) (\w+ ){{0,2}}{_GROUP}\b.{{0,40}}\b(are|is|seem)\b.{{0,20}}\b{_SLIGHT}\b"
    ),
    re.compile(rf"\b{_SLIGHT} (\w+ ){{0,2}}{_GROUP}\b"),
    re.compile(rf"\b(those|these) {_SLIGHT}\b"),
    re.compile(
        r"\b(ignore|forget|never mind|do not bother with|don't bother with) (their|the|such|local) (\w+ )?customs?\b"
    ),
)
_NEGATED = re.compile(
    r"\b(not|never|avoid|avoids|avoiding|don't|doesn't|isn't|refrain|without|rather than|instead of|offensive|offend|"
    r"rude|disrespectful|inappropriate|taboo|frowned|impolite|considered|mistake|wrong)\b"
)
# For the harm floor a line that merely wraps ends no sentence, so that a call cannot hide by it; a new paragraph or an
# item of a list does.
_STOPS = re.compile(r"(?<=[.!?。！？])\s+|\n(?=[ \t]{0,20}(?:\n|[-*•#>|]|\d{1,4}[.)]))")
_WORD = re.compile(r"[^\W\d_]{3,}")
_STOP = _words(
    """
    the and for with that this from are was were has have had not but you your their them they his her its our out
    off into onto before after while when who whom which what where how than then there here one two very too also
    just being been will would can could should may might must does did doing someone person people other another
    """
)
_SCORES = {"demeaning": 90.0, "custom": 70.0, "harm": 100.0}
_CONTRARY = 0.7
_MAX_SENTENCES = 2_000  # of a longer answer, the first and the last thousand are read; the harm floor reads all
_QUOTED = 300  # characters of a sentence that a violation shows
_MAX_VIOLATIONS = 8


class LexicalJudge:
    """Names what it is: a word-list baseline that runs anywhere, until a trained judge takes its place."""

    name = "lexical-baseline"
    calibrated = False
    languages = frozenset({"en"})

    def __init__(self) -> None:
        harm.find("")  # reads the word lists, so that no request waits for that

    async def judge(self, exchange: Exchange) -> Verdict:
        """Judge one choice by its words; linear in the answer, and a long one off the event loop."""
        if len(exchange.answer) > _LONG:
            return await asyncio.to_thread(judge, exchange)
        return judge(exchange)


def judge(exchange: Exchange) -> Verdict:
    """Score harm 100, demeaning phrasing 90, a sentence that repeats a contrary act without warning of it 70, else 0.

    Unsafe where an axis reaches the exchange's limit for it. Arguments of tool calls are data, what is looked up
    for example: only demeaning words are held against them.
    """
    answer = exchange.answer
    if not answer.strip():
        return Verdict("undecided", None, LexicalJudge.name, "skipped", "empty")
    found = {"demeaning": _slights(answer)}
    if exchange.kind != "tools":
        found = {"harm": _harms(answer), **found, "custom": _contrary_acts(answer, exchange.descriptions)}
    axes = {axis: _SCORES[axis] if violations else 0.0 for axis, violations in found.items()}
    unsafe = any(score >= max(exchange.limit(axis), 1) for axis, score in axes.items())
    verdict: Verdicts = "unsafe" if unsafe else "safe"
    shown = tuple(violation for violations in found.values() for violation in violations)[:_MAX_VIOLATIONS]
    return Verdict(verdict, max(axes.values()), LexicalJudge.name, "partial", "lexical_baseline", axes, shown)


def _harms(answer: str) -> list[Violation]:
    found = ((sentence, harm.find(sentence)) for sentence in _STOPS.split(answer) if sentence.strip())
    return [Violation(None, sentence.strip()[:_QUOTED], hit.kind) for sentence, hit in found if hit]


def _slights(answer: str) -> list[Violation]:
    lows = ((sentence, sentence.lower()) for sentence in _sentences(answer))
    return [
        Violation(None, sentence[:_QUOTED], DEMEANING)
        for sentence, low in lows
        if any(pattern.search(low) for pattern in _DEMEANING) and not _NEGATED.search(low)
    ]


def _contrary_acts(answer: str, descriptions: Sequence[Description]) -> list[Violation]:
    acts = [(description.id, act) for description in descriptions if len(act := _act(description)) >= 3]
    violations: list[Violation] = []
    for sentence in _sentences(answer) if acts else ():
        low = sentence.lower()
        if _NEGATED.search(low):
            continue  # a warning of the act, most likely
        words = _stems(low)
        for id, act in acts:
            if len(act & words) / len(act) >= _CONTRARY:
                violations.append(Violation(id, sentence[:_QUOTED], CONTRARY))
    return violations


def _sentences(text: str) -> list[str]:
    """Cut into sentences of at most 600 characters, so that no pattern sees an endless line."""
    parts = (part.strip() for part in re.split(r"(?<=[.!?。！？])\s+|\n+", text))
    found = [part[i : i + 600] for part in parts if part for i in range(0, len(part), 600)]
    half = _MAX_SENTENCES // 2
    return found if len(found) <= _MAX_SENTENCES else found[:half] + found[-half:]


def _act(description: Description) -> frozenset[str]:
    return _stems((description.offends or "").lower())


def _stems(text: str) -> frozenset[str]:
    words = (word for word in _WORD.findall(text) if word not in _STOP)
    return frozenset(re.sub(r"(ings?|edly|ed|es|s|ly)$", "", word) if len(word) > 4 else word for word in words)
