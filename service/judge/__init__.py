"""The judge: one seam, two implementations (an LLM, and an embedded lexical baseline)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from retrieval.description import Description
from service.turn import Headers, Json, Turn, Verdict

DEFAULT_THRESHOLD = 50.0
ORDER = ("unsafe", "undecided", "safe")
_COVERAGE = ("error", "skipped", "partial", "full")


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a judge sees of one choice: question, answer, descriptions, the request as it was sent, who may judge.

    `thresholds` are the scores from which an axis is unsafe; `kind` is `tools` where the texts are arguments of tool
    calls, which are judged for demeaning words only, and `harm`
    where a text is judged for slurs, dehumanisation and incitement only; `headers` go on to a judge elsewhere.
    """

    question: str
    texts: Mapping[str, str]
    descriptions: tuple[Description, ...] = ()
    cultures: tuple[str, ...] = ()
    turn: Turn | None = None
    body: Json | None = None
    model: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    kind: Literal["answer", "tools", "harm"] = "answer"
    headers: Headers = ()

    def limit(self, axis: str) -> float:
        """Give the score from which an axis is unsafe."""
        return self.thresholds.get(axis, DEFAULT_THRESHOLD)

    @property
    def answer(self) -> str:
        """All guarded text of the choice."""
        return "\n".join(text for text in self.texts.values() if text)


class Judge(Protocol):
    """Gives an exchange a verdict; a failure of the judge is a verdict too (undecided, coverage error)."""

    name: str
    calibrated: bool
    languages: frozenset[str]  # ISO 639-1 codes that it is validated for

    async def judge(self, exchange: Exchange) -> Verdict:
        """Judge one choice."""


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """Give the verdict on an answer of several choices: unsafe before undecided before safe, then the score.

    Its coverage is the least of all choices, so that an unjudged one is never hidden behind a judged one.
    """
    decisive = min(verdicts, key=lambda v: (ORDER.index(v.verdict), -(v.score or 0)))
    least = min(verdicts, key=lambda v: (v.reason == "empty", _COVERAGE.index(v.coverage)))
    return replace(decisive, coverage=least.coverage, reason=least.reason)
