"""Whose culture a request is about, in which role, on what evidence, or none; pure, and linear in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

from service.names import Mention, Names
from service.turn import Detection, Evidence, Found, Hints, Message, Role

ROLES: tuple[Role, ...] = get_args(Role)
_CONFIDENCE = {"country": 0.95, "people": 0.9, "city": 0.85}
_EARLIER = 0.85  # an earlier turn counts this much for each user turn that came after it
_FORGET = 0.4  # and under this it no longer counts

# First person before a people or a place makes it the asker's own. Between the two only words that still speak of the
# asker may stand, no other person or errand: "I am meeting Japanese guests" is about the guests.
_OWN = (
    r"(( |-)(?!meet|host|visit|writing|working|dating|marry|invit|teach|going|travel|with|to|for|our|their|his|her|"
    r"your|about|of|at|by|on|afraid|interested|looking|planning|seeing|learning|studying|cooking|making|reading|not)"
    r"[\w%-]+){0,5}"
)
_ASKER = re.compile(
    r"(\b(i|we|(\w+ )?and (i|me))( am|'m| are|'re| was| were|m)|\bim|\bi (identify|was|grew|come|came)|"
    r"\bwe (come|came|grew)|\bmy (whole )?(family|parents?|mother|father|mum|mom|dad|grandparents?|ancestors|roots|"
    r"background|heritage|faith|religion|people|ethnicity|nationality)( is| are| come| comes| came)|\bas an?|"
    rf"\bbeing an?){_OWN} $|\b(we|us) $|"
    r"(私は|僕は|俺は|我是|我们是|我們是|저는|나는|soy|somos|je suis|nous sommes|ich bin|wir sind|sono|siamo|eu sou|"
    r"ben|biz) ?(un |une |ein |eine |uma? |una )?$"
)
_ORIGIN = re.compile(r"\b(from|born|raised|up) (in )?(the )?$|(私は|僕は|俺は|我是|저는|나는)$")
_AUDIENCE = re.compile(
    r"\b(my|our|your|the|to|for|with)( \w+){0,2} $|\b(write|send|sell|speak|talk|present|market|cater|email)"
    r"( \w+){0,3} (to|for|with)( (a|an|the|my|our|some))?( \w+)? $"
)
_ADDRESSED = re.compile(
    r"^ (customers?|clients?|audiences?|colleagues?|bosse?s?|managers?|guests?|hosts?|users?|readers?|partners?|"
    r"friends?|families|family|neighbou?rs?|students?|teachers?|in-laws?|couples?|girlfriend|boyfriend|husband|wife|visitors?)\b"
)
_TONGUE = re.compile(
    r"\b(in|into|to|from|of|speaks?|speaking|spoken|learn|learning|translated?|study|studying|written|fluent|say|know)"
    r"( (fluent|proper|simple|plain|good|better|perfect|broken|basic))? $"
)
_TONGUE_ENDS = re.compile(
    r"^(\s*([.,;:!?)\]\"']|$)|[ -](language|grammar|words?|translation|sentence|text|please|and|or|for|so|speak)\b)"
)
_WHERE = re.compile(r"\b(in|at|to|near|visiting|visit|across|around|into|through|throughout|inside|from)( the)? $")


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
        for mention in names.find(text):
            if mention.kind == "people" and _is_language(mention, text):
                continue
            _add(found, _found(mention, message.role, text, number, weight))
        if message.role == "user":
            weight *= _EARLIER
    kept = _one_role_each(found.values())
    if kept:
        return Detection(kept)
    return Detection(abstained="no_evidence" if any(message.text.strip() for message in messages) else "no_text")


def _last_user(messages: Sequence[Message]) -> int:
    return next((i for i in range(len(messages) - 1, -1, -1) if messages[i].role == "user"), len(messages) - 1)


def _found(mention: Mention, speaker: str, text: str, number: int, weight: float) -> Found:
    role: Role = "audience" if speaker != "user" else _role(mention, text)
    evidence = Evidence(mention.kind, text[mention.start : mention.end], mention.start, mention.end, number)
    confidence = _CONFIDENCE[mention.kind] * (weight if speaker == "user" else 0.9)
    return Found(mention.culture, role, round(confidence, 3), (evidence,))


def _is_language(mention: Mention, text: str) -> bool:
    """Tell whether a people's word names its language, as in: translate this into French."""
    before = text[max(0, mention.start - 40) : mention.start].lower()
    return bool(_TONGUE.search(before) and _TONGUE_ENDS.match(text[mention.end : mention.end + 20].lower()))


def _role(mention: Mention, text: str) -> Role:
    """Read the role from the words around a mention (English; elsewhere a place is a setting, a people a subject)."""
    before = text[max(0, mention.start - 80) : mention.start].lower().replace("\u2019", "'")
    own = mention.kind == "people" or _ORIGIN.search(before)
    if own and _ASKER.search(before):
        return "user"
    if mention.kind != "people":
        return "setting"
    if _ADDRESSED.search(text[mention.end : mention.end + 20].lower()) and _AUDIENCE.search(before):
        return "audience"
    return "setting" if _WHERE.search(before) and before.rstrip().endswith("the") else "subject"


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
    ordered = sorted(found, key=lambda f: (ROLES.index(f.role), -f.confidence, f.culture))
    kept: dict[str, Found] = {}
    for item in ordered:
        kept.setdefault(item.culture, item)
    return tuple(kept.values())
