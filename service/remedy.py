"""What leaves in place of an answer that may not: a better answer, a safe one made of descriptions, or a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from detection import language
from retrieval.description import Description
from service import assess, demand, gate, ground, phrases, rewrite
from service.assess import Case
from service.errors import ComityError, UpstreamTimeout
from service.gate import Held
from service.generate import PATHS
from service.judge import worst
from service.turn import Action, Json, Repair, RepairOutcome, Verdict

_REASONS = {
    "demeaning phrasing": "it demeans or stereotypes people",
    "repeats an act that offends": "it advises what offends against a custom named in the notes",
    "slur": "it holds a slur",
    "dehumanisation": "it speaks of people as less than human",
    "incitement": "it calls for harm against people",
}
_REVIEW = (
    "<comity_review>\nA first draft of your answer was set aside: a reviewer found that it may be disrespectful to a "
    "culture or harmful to its people{why}. Write the answer anew. Help with what is asked, be accurate, respectful, "
    "and speak of customs as those of many people and not of each. Where the request itself asks to mock, demean or "
    "offend, do not do that: say so kindly, and offer what is true and respectful instead. Keep the form that is asked "
    "for, and do not mention this review.{customs}\n</comity_review>"
)


@dataclass(frozen=True, slots=True)
class Remedy:
    """What is said instead, choice by choice, and how it came about."""

    instead: Mapping[int, Sequence[Json]]
    done: Mapping[int, Action]
    repair: Repair | None = None


@dataclass(slots=True)
class _Second:
    """A second answer: its pieces, and which of its choices may leave."""

    outcome: RepairOutcome
    held: Held | None = None
    safe: set[int] = field(default_factory=set)
    verdict: Verdict | None = None


async def remedy(case: Case, stopped: Mapping[int, Verdict], begun: frozenset[int] | set[int]) -> Remedy:
    """Find what is said in place of choices that may not leave: repair, then safe fallback, then refusal.

    Args:
        stopped: the verdicts on these choices.
        begun: those of them whose beginning has left already; they end with a notice.
    """
    unsafe = {index for index, verdict in stopped.items() if verdict.verdict == "unsafe" and index not in begun}
    second = await _second(case, {index: stopped[index] for index in unsafe}) if unsafe else None
    instead: dict[int, Sequence[Json]] = {}
    done: dict[int, Action] = {}
    for index, verdict in stopped.items():
        if second and second.held and index in second.safe:
            instead[index], done[index] = rewrite.parts_of(second.held.pieces, index), "repaired"
        else:
            instead[index], done[index] = _said(case, index, verdict, begun=index in begun)
    repair = Repair(second.outcome, second.verdict, _usage(second)) if second else None
    if repair:
        case.guard.metrics.repaired(repair.outcome)
    return Remedy(instead, done, repair)


def _usage(second: _Second) -> Json | None:
    return rewrite.usage_of(second.held.pieces) if second.held else None


def _said(case: Case, index: int, verdict: Verdict, *, begun: bool) -> tuple[Sequence[Json], Action]:
    """Say a safe answer made of the descriptions where there are any, else refuse."""
    turn = case.turn
    spoken = language.written(case.question(index))
    if begun:
        text = phrases.say("interrupted" if verdict.verdict == "unsafe" else "unjudged", spoken)
        return [rewrite.refusal(index, f"\n\n{text}", turn)], "refused"
    if verdict.verdict == "unsafe" and case.chosen.policy.fallback and not rewrite.in_json(turn):
        customs = [description.statement for description in case.shown(index)]
        asked = demand.demanded(case.question(index))
        if (safe := phrases.fallback(customs, spoken, demanded=asked)) is not None:
            return [rewrite.spoken(index, safe, turn)], "replaced"
    text = phrases.say("refused" if verdict.verdict == "unsafe" else "unjudged", spoken)
    return [rewrite.refusal(index, text, turn)], "refused"


async def _second(case: Case, unsafe: Mapping[int, Verdict]) -> _Second | None:
    """Generate once more, told what was found, and judge that; None where the policy or the parts do not allow it."""
    policy, backend = case.chosen.policy, case.guard.backend
    if not policy.repair or backend is None or case.asked.body is None:
        return None
    body = _body(case, unsafe)
    if body is None:
        return _Second("not_possible")
    again = replace(case, asked=replace(case.asked, body=body))
    try:
        async with asyncio.timeout(policy.repair_timeout_s):
            async with aclosing(backend.pieces(PATHS[case.turn.route], body, case.turn.headers)) as pieces:
                held = await gate.hold(pieces, streams=case.turn.streams)
            return await _judged(again, held, unsafe)
    except (TimeoutError, UpstreamTimeout):
        return _Second("timeout")
    except ComityError:
        return _Second("failed")


async def _judged(case: Case, held: Held, unsafe: Mapping[int, Verdict]) -> _Second:
    """Judge the second answer; only a choice that is judged safe takes the place of an unsafe one."""
    wanted = [index for index in unsafe if index in held.choices]
    work = [assess.choice(case, index, held.choices[index], media=index in held.media) for index in wanted]
    judged = dict(zip(wanted, await assess.together(work), strict=True))
    for each in judged.values():
        case.guard.metrics.judged(each.verdict)
        if each.tools:
            case.guard.metrics.called(each.tools)
    safe = {index for index, each in judged.items() if each.verdict.verdict == "safe"}
    verdict = worst([each.verdict for each in judged.values()]) if judged else None
    return _Second("used" if safe else "unsafe", held, safe, verdict)


def _body(case: Case, unsafe: Mapping[int, Verdict]) -> Json | None:
    """Give the request as it was sent, with the finding in it; everything else stays: tools, JSON mode, n."""
    assert case.asked.body is not None  # noqa: S101 - the caller has looked
    blocks = [""] * (len(case.turn.messages) if case.turn.route == "completions" else 1)
    for index, verdict in unsafe.items():
        blocks[min(case.turn.prompt(index), len(blocks) - 1)] = review(verdict, case.descriptions(index))
    return ground.insert(case.asked.body, case.turn.route, tuple(blocks), case.guard.settings.grounding.placement)


def review(verdict: Verdict, descriptions: Sequence[Description]) -> str:
    """Write what the model is told of its first answer: why it was set aside, and the customs in question."""
    reasons = dict.fromkeys(_REASONS[found.reason] for found in verdict.violations if found.reason in _REASONS)
    named = {found.description_id for found in verdict.violations}
    broken = [description for description in descriptions if description.id in named] or list(descriptions)
    offends = {each.id: f" May offend: {each.offends}" if each.offends else "" for each in broken}
    lines = [ground.escape(f"- {each.statement}{offends[each.id]}") for each in broken]
    customs = "\nKeep in mind:\n" + "\n".join(lines) if lines else ""
    why = " (" + "; ".join(reasons) + ")" if reasons else ""
    return _REVIEW.format(why=why, customs=customs)
