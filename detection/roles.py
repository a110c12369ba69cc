"""The role that a culture plays in a message, read from the words around its name: English first, a default elsewhere.

A place is a setting; a people is a subject unless it is addressed or dealt with; who says "I" of it is the user.
"""

from __future__ import annotations

import re
from typing import Literal, get_args

from detection.table import Kind

Role = Literal["setting", "audience", "subject", "user"]
ROLES: tuple[Role, ...] = get_args(Role)

# First person before a people or a place makes it the asker's own. Between the two only words that still speak of the
# asker may stand, no other person or errand: "I am meeting Japanese guests" is about the guests.
_OWN = (
    r"(( |-)(?!meet|host|visit|writing|working|dating|marry|invit|teach|going|travel|with|to|for|our|their|his|her|"
    r"your|about|of|at|by|on|afraid|interested|looking|planning|seeing|learning|studying|cooking|making|reading|not|"
    r"having|receiv|treat|expect|serv|launch|send|sell|sold|open|organi)"
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
_OURS = re.compile(r"\b(in|as|of) (my|our) (own )?$|\b(my|our)( own)? $")
_OURS_ENDS = re.compile(
    r"^ (family|household|home|culture|tradition|customs?|roots|heritage|community|side|upbringing)\b"
)
# Whom one deals with.
_PERSON = (
    r"(?:customers?|clients?|audiences?|colleagues?|coworkers?|co-workers?|bosse?s?|managers?|guests?|hosts?|users?|"
    r"readers?|partners?|friends?|famil(?:y|ies)|neighbou?rs?|students?|pupils?|teachers?|in-laws?|couples?|girlfriend|"
    r"boyfriend|fianc\w+|husband|wife|visitors?|tourists?|travell?ers|suppliers?|buyers?|exporters?|importers?|"
    r"distributors?|vendors?|investors?|delegation|delegates?|team|teams|office|branch|subsidiary|staff|employees?|"
    r"workers?|nurses?|doctors?|patients?|players?|members?|elders?|landlord|landlady|roommate|flatmate|deputy|"
    r"developers?|testers?|engineers?|project manager|mothers?|fathers?|mum|mom|dad|parents?|grandm\w+|grandp\w+|"
    r"mother-in-law|father-in-law|sister-in-law|brother-in-law|aunt\w*|uncles?|cousins?|nieces?|nephews?|bride|groom|"
    r"godson|speakers?|professor|driver|chef|cook|maid|nanny|au pair|cleaners?|kids?|children|girls?|boys?|lady|"
    r"gentlem[ae]n|man|woman|men|women|people|band|school|clinic|library|agency|company|firm)"
)
_ADDRESSED = re.compile(rf"^[\w' -]{{0,24}}?\b{_PERSON}\b")
_DEALT = re.compile(
    r"\b(my|our|your|the|an?|two|three|four|five|some|several|her|his|for|with|to|meet|meeting|host|hosting|having|"
    r"invite|inviting|receive|receiving|expect|expecting|teach|teaching|treat|treating)( \w+){0,3} $"
)
_FROM = re.compile(
    rf"\b{_PERSON}(?: \w+){{0,2}}(?:'s| is| are| comes?)? (?:from|of|based in|out of)(?: the)? $|"
    r"\b(?:customers?|clients?|team|teams|office|branch|suppliers?|vendors?|buyers?|distributors?|subsidiary|staff|"
    r"agency|company|firm|school|clinic|library|audience|users?|readers?|flatmate|landlady|landlord)(?: \w+){0,2} "
    r"(?:in|at|near)(?: the)? $"
)
_ABROAD = re.compile(r"\b[A-Z]\w+ \w+ (?:in|at|near)(?: the)? $")  # German clients in Nigeria
_FROM_ELSEWHERE = re.compile(
    r"(?:^|[^\w'])(?:orang|dari|aus|aus der|aus dem|dal|dalla|dagli|dall'|originaire de|originaria de|natural de|de la|"
    r"απο τη|απο την|απο το|από τη|από την|από το|από|из|з|із|od|från|fra|uit|z|ze|e|é|ist|es|est|jest|on) $"
)
_MARKET = re.compile(
    r"\b(launch|launching|sell|selling|advertis\w+|market|marketing|writ\w+ to|email\w*|"
    r"call\w*)( \w+){0,4} (in|to|for)( the)? $"
)
_EVENT = re.compile(
    r"^[\w' -]{0,16}?\b(wedding|funeral|home|house|restaurant|party|ceremony|temple|church|mosque|wake|"
    r"dinner|festival|island|"
    r"village|market|bath|sauna|airport|embassy|consulate|household|meeting)\b"
)
_TOLD = re.compile(
    r"\b(compare|explain|describe|essay|article|history|talk about|presentation|poem|story|joke|"
    r"stereotypes?|are|why do|do|"
    r"did|about|caption|museum|wall panel|comment|label|tell me about)\b[\w ,']{0,30}$"
)
_WHERE = re.compile(r"\b(in|at|to|near|visiting|visit|across|around|into|through|throughout|inside|from)( the)? $")
_PLACES = ("country", "region", "city")


def of(kind: Kind, text: str, start: int, end: int, *, english: bool) -> Role:
    """Give the role of a culture that is named in a user's message.

    Args:
        kind: what kind of name it is.
        start, end: where the name stands in the text.
    """
    before = text[max(0, start - 80) : start].lower().replace("\u2019", "'")
    after = text[end : end + 44].lower().replace("\u2019", "'")
    if _is_own(kind, before, after):
        return "user"
    if kind in _PLACES:
        if _ABROAD.search(text[max(0, start - 80) : start]):
            return "setting"
        if not english:
            return "audience" if _FROM_ELSEWHERE.search(before) else "setting"
        return _of_place(before, after)
    if kind == "cue":
        return "setting"
    if not english:
        return "audience"
    return _of_people(before, after)


def _is_own(kind: Kind, before: str, after: str) -> bool:
    if (kind == "people" or _ORIGIN.search(before)) and _ASKER.search(before):
        return True
    return bool(_OURS.search(before) and _OURS_ENDS.search(after))


def _of_place(before: str, after: str) -> Role:
    if _FROM.search(before) or _MARKET.search(before) or re.match(rf"^ {_PERSON}\b", after):
        return "audience"
    return "setting"


def _of_people(before: str, after: str) -> Role:
    if _EVENT.search(after):
        return "setting"
    if _DEALT.search(before) and (_ADDRESSED.search(after) or re.match(r"^[,.;:!?]|^ (are|is|and|who|whose)", after)):
        return "audience" if _ADDRESSED.search(after) or not _TOLD.search(before) else "subject"
    if _WHERE.search(before) and before.rstrip().endswith("the"):
        return "setting"
    return "subject"
