"""Whose culture a request is about, in which role, on what evidence, or none; pure, and linear in the text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from detection import confidence
from detection.mentions import Mention, Names
from detection.table import KINDS, Kind, Sense
from detection.weights import ROLES, Role
from service.turn import Detection, Evidence, Found, Hints, Message

_EARLIER = 0.85  # an earlier turn counts this much for each user turn that came after it
_SYSTEM = 0.9  # and a system prompt
_FORGET = 0.4  # what is older than to count this much is forgotten
_ALSO = 0.75  # a second sense counts from here, where names of the two kinds are one: Bengalis, Tamil Nadu
_TOGETHER = (("people", "people"), ("region", "people"), ("region", "country"))
_ENOUGH = 0.5  # how much must speak for a role, where another is spoken for too
_MOST_EVIDENCE = 8  # pieces shown for one culture


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of evidence for one culture: how likely it is meant, and in which role."""

    chance: float
    role: Role
    kind: Kind
    evidence: Evidence


def _found(culture: str, pieces: Sequence[_Piece]) -> Found | None:
    """Give a culture with its first role that enough speaks for; None where all evidence together is too little.

    What says who asks adds nothing to what is told of a culture in another role, since only the latter may be shown.
    """
    sums: dict[Role, float] = {}
    for piece in pieces:
        sums[piece.role] = sums.get(piece.role, 0.0) + piece.chance
    enough = min(_ENOUGH, max(sums.values()))
    role = min((each for each, total in sums.items() if total >= enough), key=ROLES.index)
    counted = [piece for piece in pieces if (piece.role == "user") == (role == "user")]
    kind = min((piece.kind for piece in counted), key=KINDS.index)
    chance = 1.0 - math.prod(1.0 - each for each in _once_each(counted))
    if chance < confidence.LEAST[kind]:
        return None
    evidence = tuple(piece.evidence for piece in pieces if piece.role == role)[:_MOST_EVIDENCE]
    return Found(culture, role, confidence.of(chance, kind), evidence, chance, kind)


def _once_each(pieces: Iterable[_Piece]) -> Iterable[float]:
    """Give the best chance of each word in each message: a word that is said again is no further evidence."""
    best: dict[tuple[str, int], float] = {}
    for piece in pieces:
        key = (piece.evidence.text.casefold(), piece.evidence.message)
        best[key] = max(best.get(key, 0.0), piece.chance)
    return best.values()


def detect(messages: Sequence[Message], hints: Hints, names: Names, *, infer: bool, max_chars: int) -> Detection:
    """Find the cultures of a conversation, up to its last user message.

    Explicit caller input wins over inference and switches it off. What stands in the system prompt is the audience; the
    role of what a user names is learned (adaptation/detector.py), and of several roles that a culture has the first is
    told. The order is setting, audience, subject, user, then confidence, then which was named first
    in the latest message; the first is grounded first.

    Args:
        max_chars: characters searched, from the latest message backwards.
    """
    if hints.cultures:
        caller = (Evidence("caller", "", 0, 0, -1),)
        return Detection(tuple(Found(id, "setting", 1.0, caller) for id in hints.cultures))
    if not (infer and hints.infer):
        return Detection(abstained="switched_off")
    said = list(_mentions(messages, names, max_chars))
    named = {mention.senses[0].culture for _, mention, role, _ in said if mention.kind != "cue" and role != "user"}
    pieces: dict[str, list[_Piece]] = {}
    for number, mention, role, weight in said:
        for sense in _meant(mention, named):
            words = messages[number].text[mention.start : mention.end]
            evidence = Evidence(sense.kind, words, mention.start, mention.end, number)
            pieces.setdefault(sense.culture, []).append(_Piece(sense.chance * weight, role, sense.kind, evidence))
    told = (_found(culture, each) for culture, each in pieces.items())
    kept = sorted((found for found in told if found), key=_order)
    if kept:
        return Detection(tuple(kept))
    return Detection(abstained="no_evidence" if any(message.text.strip() for message in messages) else "no_text")


def _order(found: Found) -> tuple[int, float]:
    return ROLES.index(found.role), -found.confidence


def _mentions(messages: Sequence[Message], names: Names, max_chars: int) -> Iterator[tuple[int, Mention, Role, float]]:
    """Give the mentions of a conversation, the latest message first, with their roles, and what they count for age."""
    weight, left = 1.0, max_chars
    for number in range(_last_user(messages), -1, -1):
        message = messages[number]
        asked = message.role == "user"
        if not ((asked and weight >= _FORGET) or message.role in ("system", "developer")) or left <= 0:
            continue
        text = message.text[:left]
        left -= len(text)
        for mention in names.find(text):
            yield number, mention, mention.role if asked else "audience", weight if asked else _SYSTEM
        if asked:
            weight *= _EARLIER


def _last_user(messages: Sequence[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), len(messages) - 1)


def _meant(mention: Mention, named: set[str]) -> Sequence[Sense]:
    """Give the senses that count: mostly one, a people's of two countries both, a region and the people in its name.

    A custom of several cultures is that of those which are named beside it; the asker's own is none of these.
    """
    first = mention.senses[0]
    if first.kind == "cue":
        return [sense for sense in mention.senses if sense.culture in named] or mention.senses[:3]
    return [s for s in mention.senses if s is first or (s.chance > _ALSO and (s.kind, first.kind) in _TOGETHER)]
