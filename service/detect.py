"""Whose culture a request is about, in which role, on what evidence, or none; pure, and linear in the text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from detection import context, roles
from detection.mentions import Mention, Names
from detection.roles import Role
from detection.table import Sense
from service.turn import Detection, Evidence, Found, Hints, Message

_EARLIER = 0.85  # an earlier turn counts this much for each user turn that came after it
_FORGET = 0.4  # and under this it no longer counts


def detect(messages: Sequence[Message], hints: Hints, names: Names, *, infer: bool, max_chars: int) -> Detection:
    """Find the cultures of a conversation, up to its last user message.

    Explicit caller input wins over inference and switches it off. What stands in the system prompt is the audience; a
    people is a subject unless it is addressed; a place is a setting. The order is setting, audience, subject, user,
    then confidence; the first is grounded first. The same culture in several roles keeps the first of them.

    Args:
        max_chars: characters searched, from the latest message backwards.
    """
    if hints.cultures:
        caller = (Evidence("caller", "", 0, 0, -1),)
        return Detection(tuple(Found(id, "setting", 1.0, caller) for id in hints.cultures))
    if not (infer and hints.infer):
        return Detection(abstained="switched_off")
    found: dict[tuple[str, Role], Found] = {}
    weight, left = 1.0, max_chars
    for number in range(_last_user(messages), -1, -1):
        message = messages[number]
        if message.role not in ("user", "system", "developer") or left <= 0:
            continue
        text = message.text[:left]
        left -= len(text)
        mentions = names.find(text)
        english = bool(mentions) and context.is_english(text)
        for mention in mentions:
            for sense in _meant(mention):
                _add(found, _found(mention, sense, message.role, text, number, weight, english))
        if message.role == "user":
            weight *= _EARLIER
    kept = _one_role_each(found.values())
    if kept:
        return Detection(kept)
    return Detection(abstained="no_evidence" if any(message.text.strip() for message in messages) else "no_text")


def _last_user(messages: Sequence[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), len(messages) - 1)


def _meant(mention: Mention) -> tuple[Sense, ...]:
    """Give the senses that count: one, all of a cue, and a region with the people that it is named after."""
    first = mention.senses[0]
    if first.kind == "cue":
        return mention.senses[:3]
    return tuple(s for s in mention.senses if s is first or (s.kind == "region" != first.kind and s.chance > 0.75))


def _found(mention: Mention, sense: Sense, speaker: str, text: str, number: int, weight: float, english: bool) -> Found:
    role: Role = (
        "audience" if speaker != "user" else roles.of(sense.kind, text, mention.start, mention.end, english=english)
    )
    evidence = Evidence(sense.kind, text[mention.start : mention.end], mention.start, mention.end, number)
    confidence = sense.chance * (weight if speaker == "user" else 0.9)
    return Found(sense.culture, role, round(confidence, 3), (evidence,))


def _add(found: dict[tuple[str, Role], Found], new: Found) -> None:
    if new.confidence < _FORGET:
        return
    key = (new.culture, new.role)
    old = found.get(key)
    if old is None:
        found[key] = new
    elif len(old.evidence) < 8:
        confidence = max(old.confidence, new.confidence)
        found[key] = Found(old.culture, old.role, confidence, old.evidence + new.evidence)


def _one_role_each(found: Iterable[Found]) -> tuple[Found, ...]:
    ordered = sorted(found, key=lambda f: (roles.ROLES.index(f.role), -f.confidence, f.culture))
    kept: dict[str, Found] = {}
    for item in ordered:
        kept.setdefault(item.culture, item)
    return tuple(kept.values())
