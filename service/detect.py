"""Whose culture a request is about, in which role, on what evidence, or none; pure, and linear in the text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class _Tally:
    """What speaks for one culture: by role how much and what, and how likely it is that all of it is mistaken."""

    roles: dict[Role, float] = field(default_factory=dict)
    evidence: dict[Role, list[Evidence]] = field(default_factory=dict)
    kinds: set[Kind] = field(default_factory=set)
    mistaken: float = 1.0

    def add(self, chance: float, role: Role, kind: Kind, evidence: Evidence) -> None:
        """Add a piece of evidence."""
        self.kinds.add(kind)
        self.roles[role] = self.roles.get(role, 0.0) + chance
        self.evidence.setdefault(role, []).append(evidence)
        self.mistaken *= 1.0 - chance

    @property
    def kind(self) -> Kind:
        """The kind of evidence that says most."""
        return min(self.kinds, key=KINDS.index)

    @property
    def is_enough(self) -> bool:
        """Whether the culture is told."""
        return 1.0 - self.mistaken >= confidence.LEAST[self.kind]

    def found(self, culture: str) -> Found:
        """Give the culture with its first role that enough speaks for."""
        most = max(self.roles.values())
        role = min((each for each in self.roles if self.roles[each] >= min(_ENOUGH, most)), key=ROLES.index)
        chance = 1.0 - self.mistaken
        return Found(
            culture, role, confidence.of(chance, self.kind), tuple(self.evidence[role][:_MOST_EVIDENCE]), chance
        )


def detect(messages: Sequence[Message], hints: Hints, names: Names, *, infer: bool, max_chars: int) -> Detection:
    """Find the cultures of a conversation, up to its last user message.

    Explicit caller input wins over inference and switches it off. What stands in the system prompt is the audience; the
    role of what a user names is learned (adaptation/detector.py), and of several roles that a culture has the first is
    told. The order is setting, audience, subject, user, then confidence, then which was named first;
    the first is grounded first.

    Args:
        max_chars: characters searched, from the latest message backwards.
    """
    if hints.cultures:
        caller = (Evidence("caller", "", 0, 0, -1),)
        return Detection(tuple(Found(id, "setting", 1.0, caller) for id in hints.cultures))
    if not (infer and hints.infer):
        return Detection(abstained="switched_off")
    said = list(_mentions(messages, names, max_chars))
    named = {mention.senses[0].culture for _, mention, _ in said if mention.kind != "cue"}
    tallies: dict[str, _Tally] = {}
    for number, mention, weight in said:
        message = messages[number]
        role = mention.role if message.role == "user" else "audience"
        for sense in _meant(mention, named):
            if weight >= _FORGET:
                words = message.text[mention.start : mention.end]
                evidence = Evidence(sense.kind, words, mention.start, mention.end, number)
                tallies.setdefault(sense.culture, _Tally()).add(sense.chance * weight, role, sense.kind, evidence)
    kept = sorted((tally.found(culture) for culture, tally in tallies.items() if tally.is_enough), key=_order)
    if kept:
        return Detection(tuple(kept))
    return Detection(abstained="no_evidence" if any(message.text.strip() for message in messages) else "no_text")


def _order(found: Found) -> tuple[int, float]:
    return ROLES.index(found.role), -found.confidence


def _mentions(messages: Sequence[Message], names: Names, max_chars: int) -> Iterator[tuple[int, Mention, float]]:
    """Give the mentions of a conversation, the latest message first, and how much each counts for its age."""
    weight, left = 1.0, max_chars
    for number in range(_last_user(messages), -1, -1):
        message = messages[number]
        if message.role not in ("user", "system", "developer") or left <= 0:
            continue
        text = message.text[:left]
        left -= len(text)
        for mention in names.find(text):
            yield number, mention, weight if message.role == "user" else _SYSTEM
        if message.role == "user":
            weight *= _EARLIER


def _last_user(messages: Sequence[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), len(messages) - 1)


def _meant(mention: Mention, named: set[str]) -> Sequence[Sense]:
    """Give the senses that count: mostly one, a people's of two countries both, a region and the people in its name.

    A custom of several cultures is that of those which are named beside it.
    """
    first = mention.senses[0]
    if first.kind == "cue":
        return [sense for sense in mention.senses if sense.culture in named] or mention.senses[:3]
    return [s for s in mention.senses if s is first or (s.chance > _ALSO and (s.kind, first.kind) in _TOGETHER)]
