"""What the routes that speak other projects' contracts share: texts in, verdicts out, under the policy in force."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from starlette.requests import Request

from retrieval.description import Description
from service import assess, gate, generate, query, retrieve, wire
from service.assess import Case
from service.chat import forwarded, hinted
from service.errors import GuardrailUnavailable, InvalidRequest
from service.guard import Guard
from service.judge import Exchange
from service.policy import Chosen
from service.turn import AXES, Axis, Detection, Grounding, Json, Message, Turn, Verdict
from service.understand import understand

MOST_TEXTS = 256
UNKNOWN: list[Json] = [{"role": "user", "content": ""}]  # the conversation of a text of which nothing more is known
_AT_ONCE = 8  # texts of one request that are looked up and judged at a time


@dataclass(frozen=True, slots=True)
class Asked:
    """One text to judge, the conversation that it belongs to where that is known, and what else came with it.

    `descriptions` are those that it is judged by; without them they are looked up.
    """

    text: str
    messages: tuple[Message, ...] = ()
    media: bool = False
    kind: Literal["answer", "tools"] = "answer"
    descriptions: tuple[Description, ...] | None = None

    @property
    def question(self) -> str:
        """What the text answers: the last user message, or nothing."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")


def conversation(messages: Any, request: Request, id: str, guard: Guard) -> Turn:
    """Read messages in OpenAI's form, and the hints in the caller's `x-comity-…` headers.

    Raises:
        InvalidRequest: naming the field.
    """
    return wire.turn(
        {"model": "-", "messages": messages},
        "chat",
        id,
        guard.index.cultures,
        hinted(request),
        forwarded(request),
        max_messages=guard.settings.limits.max_messages,
    )


def policy(turn: Turn, request: Request, guard: Guard) -> Chosen:
    """Give the policy that these texts are under, by the caller's key and hints; what is found in them has no say.

    Raises:
        Forbidden, InvalidRequest: the caller asks for what it may not have, or what there is not.
    """
    grants = getattr(request.state, "grants", guard.settings.anonymous)
    guard.policies.permit(turn.hints, grants)
    return guard.policies.choose(turn.hints, grants, turn.hints.cultures)


def strings(value: Any, where: str, most: int = MOST_TEXTS) -> tuple[str, ...]:
    """Read a list of texts.

    Raises:
        InvalidRequest: it is none, or holds more than `most`.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidRequest(f"{where} must be a list of strings", param=where)
    if len(value) > most:
        raise InvalidRequest(f"{where} holds more than {most} texts", param=where)
    return tuple(value)


async def judged(asked: Sequence[Asked], turn: Turn, guard: Guard, chosen: Chosen) -> list[Verdict]:
    """Judge texts side by side, a few at a time; a judge that fails gives way where the policy says `degrade`.

    Args:
        turn: whose id and hints hold for all of them.

    Raises:
        GuardrailUnavailable: detecting or looking up failed, and the policy blocks then.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Asked) -> Verdict:
        async with slots:
            return await _judged(item, turn, guard, chosen)

    return await assess.together([one(item) for item in asked])


def answerable(verdicts: Sequence[Verdict], chosen: Chosen, *, speaks: bool = True) -> None:
    """Refuse to answer where a judge failed: most contracts cannot say `not judged`, and silence would read as safe.

    Args:
        speaks: whether the contract can say that a judge was undecided.

    Raises:
        GuardrailUnavailable: a text was not judged, and the policy does not allow that.
    """
    for verdict in verdicts:
        decision = gate.decide(verdict, chosen.policy)
        if decision == "release" or (decision == "act" and (verdict.verdict == "unsafe" or speaks)):
            continue
        raise GuardrailUnavailable("a text could not be judged; try again", stage="judge")


def over(verdict: Verdict, chosen: Chosen, threshold: float | None = None) -> dict[Axis, float]:
    """Give the axes on which a text is unsafe, with their scores (0 to 100).

    Args:
        threshold: the score that a caller asks for in place of the policy's thresholds.
    """
    score = verdict.score or 0.0
    if verdict.verdict != "unsafe" if threshold is None else verdict.score is None or score < threshold:
        return {}
    limits = chosen.thresholds if threshold is None else dict.fromkeys(AXES, threshold)
    scores: dict[Axis, float] = {axis: verdict.axes[axis] for axis in AXES if axis in verdict.axes}
    return {axis: score for axis, score in scores.items() if score >= limits[axis]} or {"overall": score}


def shown(verdict: Verdict) -> Json:
    """Give a verdict as these routes show it: verdict and coverage apart, no text."""
    return {
        "verdict": verdict.verdict,
        "score": verdict.score,
        "axes": dict(verdict.axes),
        "coverage": verdict.coverage,
        "reason": verdict.reason,
        "judge": verdict.judge,
    }


async def _judged(asked: Asked, turn: Turn, guard: Guard, chosen: Chosen) -> Verdict:
    detection, descriptions = await looked_up(asked, turn, guard, chosen)
    exchange = Exchange(
        asked.question,
        {"content": asked.text},
        descriptions,
        tuple(dict.fromkeys(found.culture for found in detection.shown)),
        thresholds=chosen.thresholds,
        kind=asked.kind,
        headers=turn.headers,
    )
    case = Case(turn, detection, generate.Asked(Grounding("none")), chosen, guard)
    verdict = assess.heard(await assess.judged(case, exchange), media=asked.media)
    guard.metrics.judged(verdict)
    return verdict


async def looked_up(
    asked: Asked, turn: Turn, guard: Guard, chosen: Chosen
) -> tuple[Detection, tuple[Description, ...]]:
    """Find the cultures of the conversation and of the text itself, and the descriptions that matter."""
    if not asked.text.strip() or asked.kind == "tools":
        return Detection(), ()
    whole = replace(turn, messages=(*asked.messages, Message("user", asked.text)))
    try:
        detection = await understand(whole, guard)
    except Exception as error:  # noqa: BLE001 - whatever broke, the stage's failure policy decides
        guard.metrics.failed("detect", error)
        if chosen.policy.on_error.detect == "block":
            raise GuardrailUnavailable("detecting cultures failed; try again", stage="detect") from None
        detection = Detection(abstained="failed")
    if asked.descriptions is not None:
        return detection, asked.descriptions
    cultures = retrieve.described(detection, guard)
    if not guard.settings.retrieval.enabled or not cultures:
        return detection, ()
    text = query.query(asked.messages) or asked.text
    passages, _ = await retrieve.look_up(text, cultures, guard, chosen.policy.on_error.retrieve)
    return detection, tuple(passage.description for passage in passages if not passage.description.harmful)
