"""What Comity says of an answer: headers, and the `comity` object where it is asked for."""

from __future__ import annotations

from urllib.parse import quote

from service import phrases
from service.turn import Facts, Grounding, Json, Opening, Repair, Verdict

SCHEMA_VERSION = "1"
Pairs = list[tuple[str, str]]
_UNJUDGED: Pairs = [  # what is known of a stream from its beginning, where nothing is judged
    ("x-comity-verdict", "undecided"),
    ("x-comity-action", "allowed"),
    ("x-comity-coverage", "skipped"),
    ("x-comity-coverage-reason", "off"),
]


def told(known: Facts | Opening) -> Pairs:
    """Give the headers of an answer: verdict, action and coverage apart; no culture inferred about the asker."""
    if isinstance(known, Facts):
        return _finished(known) + _opened(known.opening)
    return _opened(known) + (_UNJUDGED if known.mode == "off" else [])


def _opened(known: Opening) -> Pairs:
    shown = known.detection.shown
    pairs = [
        ("x-comity-policy", known.policy),
        ("x-comity-mode", known.mode),
        ("x-comity-grounding", known.grounding.status),
        ("x-comity-injected-tokens", str(known.grounding.tokens)),
        ("x-comity-index-version", known.index_version),
    ]
    if known.adapter.outcome != "off":
        pairs.append(("x-comity-adapter-outcome", known.adapter.outcome))
    if known.adapter.name:
        pairs.append(("x-comity-adapter", quote(known.adapter.name, safe="/:@ ")))
    if shown:
        pairs.append(("x-comity-culture", ",".join(found.culture for found in shown)))
        pairs.append(("x-comity-culture-confidence", f"{shown[0].confidence:.2f}"))
    return pairs


def _finished(facts: Facts) -> Pairs:
    pairs = [
        ("x-comity-response-path", facts.path),
        ("x-comity-verdict", facts.verdict.verdict),
        ("x-comity-action", facts.action),
        ("x-comity-coverage", facts.verdict.coverage),
        ("x-comity-judge", facts.verdict.judge),
        ("x-comity-overhead-ms", f"{1000 * facts.overhead_s:.1f}"),
    ]
    if facts.verdict.reason:
        pairs.append(("x-comity-coverage-reason", facts.verdict.reason))
    if facts.repair:
        pairs.append(("x-comity-repair", facts.repair.outcome))
    return pairs


def detail(facts: Facts) -> Json:
    """Give the `comity` object of an answer: what was found, what was said, what was done."""
    known = facts.opening
    return {
        "policy": known.policy,
        "mode": known.mode,
        "stream_mode": known.stream_mode,
        "cultures": [
            {"culture": found.culture, "role": found.role, "confidence": found.confidence}
            for found in known.detection.shown
        ],
        "grounding": _grounding(known),
        "verdict": verdict(facts.verdict),
        "tool_calls": verdict(facts.tools) if facts.tools else None,
        "repair": _repair(facts.repair) if facts.repair else None,
        "adapter": {"name": known.adapter.name, "outcome": known.adapter.outcome},
        "action": facts.action,
        "path": facts.path,
        "index_version": known.index_version,
        "stages_ms": {name: round(1000 * seconds, 2) for name, seconds in facts.stages.items()},
    }


def _grounding(known: Opening) -> Json:
    shown = {found.culture for found in known.detection.shown}
    hides = len(known.detection.shown) < len(known.detection.found)
    grounding: Grounding = known.grounding
    return {
        "status": grounding.status,
        "tokens": grounding.tokens,
        "descriptions": [
            {"id": passage.description.id, "score": round(passage.score, 4)}
            for passage in grounding.passages
            if not hides or passage.description.culture in shown
        ],
    }


def verdict(found: Verdict) -> Json:
    """Give a verdict's facts, without any text."""
    return {
        "verdict": found.verdict,
        "score": found.score,
        "axes": dict(found.axes),
        "judge": found.judge,
        "coverage": found.coverage,
        "reason": found.reason,
    }


def _repair(repair: Repair) -> Json:
    said = verdict(repair.verdict) if repair.verdict else None
    return {"outcome": repair.outcome, "verdict": said, "usage": dict(repair.usage) if repair.usage else None}


def blocked(facts: Facts) -> str:
    """Give the sentence of an answer that was blocked as an error."""
    return phrases.say("refused" if facts.verdict.verdict == "unsafe" else "unjudged", "en")
