"""What stands around a name: whether it is meant as the name of a place or people, or of a person or thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detection import language
from detection.folding import Folded, words
from detection.table import ORDINARY, PERSON, TONGUE, Sense

if TYPE_CHECKING:
    from detection.mentions import Mention

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
_ENGLISH = words(
    """
    the a an is are was were be to of and in that it for on with as at by this have has had not but what how can
    should would could do does did i my me you your we our they their he she his her from or if about when who why
    will there which i'm it's don't
    """
)
# A place follows these. English, then the words for in, to and from of other languages.
_PLACED = re.compile(
    r"(?:^|[^\w'])(?:(?:in|from|to|near|around|across|visit|visiting|visited|throughout|outside|leaving|toward|"
    r"towards|through|between|within|into|at|inside|of|for|via|than|like|is|called)(?: the)?"
    r"|(?:people|parts?|city|town|village|province|state|capital|island|region|streets?|north|south|east|west|"
    r"northern|southern|eastern|western|rural|downtown|central|modern|ancient|old|new) (?:of )?"
    r"|en|a|au|aux|de|du|des|d'|chez|nach|aus|bei|im|vom|zum|em|no|na|nos|nas|do|da|di|del|dalla|dal|dello|della|nel|"
    r"nella|al|alla|ke|dari|sa|mula|w|we|z|ze|v|ve|do|u|iz|ou|till|fran|i|til|fra|uit|naar|te|van|ở|o|tai|den|tu|"
    r"katika|kutoka|в|во|из|на|у|з|із|до|от|από|στην|στη|στο|από|apo) $"
)
_HARD = re.compile(
    r"(?:^|[^\w'])(?:in|from|near|across|visit|visiting|visited|throughout|around|outside|living in|(?:fly|flying|"
    r"flew|travel|travell?ing|going|go|went|been|move|moving|moved|trip|headed|heading|holiday|back|"
    r"relocat\w+) to)(?: the)? $"
)
_HARD_ELSEWHERE = re.compile(
    r"(?:^|[^\w'])(?:in|en|a|au|aux|nach|aus|bei|em|no|na|do|da|w|we|z|v|ve|do|till|i|fra|uit|naar|di|ke|dari|sa|"
    r"kutoka|katika|o|tai|den|в|во|из|у|в|до|από|στην|στη|στο) $"
)
_SOCIAL = re.compile(
    r"(?:'s)? (?:dinner|lunch|breakfast|party|wake|household|apartment|orthodox|catholic|christian|easter|christmas|"
    r"new year|ceremon\w+|rites?|rituals?|dance|dances|music|songs?|art|artists?|born|origin|speaking|side|style|way|"
    r"national|independence|revolution|war|troupe|baby|kids?|children|couple|grandparents|aunt|uncle|cousins?|"
    r"flatmates?|roommates?|landlord|landlady|coworkers?|supplier|suppliers|buyers?|investors?|delegation|nurses?|"
    r"patients?|players?|fans?|tourists?|refugees?|community|minority|elders?|people|culture|cultural|custom|customs|etiquette|tradition|traditions|traditional|wedding|weddings|"
    r"funeral|funerals|famil\w+|guest|guests|host|hosts|manners|society|food|cuisine|dishes?|restaurants?|holidays?|"
    r"festivals?|coffee|tea|colleagues?|business|visitors?|friends?|in-laws?|government|market|women|men|girl|boy|"
    r"man|woman|brides?|grooms?|students?|teachers?|clients?|customers?|partner|boss|neighbou?rs?|parents?|mother|"
    r"father|grandmother|grandfather|husband|wife|girlfriend|boyfriend|immigrants?|diaspora|heritage|history|"
    r"language|name|names|proverbs?|greetings?|superstitions?|society|community|home|house|village|city|trip|"
    r"vacation|embassy|airport|office|branch|team|law|laws|visa|passport)\b"
)
# A person follows these, or a person's name goes on after.
_TITLE = re.compile(
    r"(?:^|[^\w'])(?:mr|mrs|ms|miss|dr|prof|professor|sir|uncle|aunt|auntie|grandma|grandpa|cousin|brother|sister|"
    r"named|name is|name's|called|i am|i'm|im|hi|hey|hello|dear|thanks|thank you|coach|captain|president|senator|"
    r"author|actor|actress|singer|player|artist|my friend|my son|my daughter|my dog|my cat|my boyfriend|"
    r"my girlfriend|my husband|my wife|my brother|my sister|my boss|my coworker|my roommate|with|and|"
    r"tell|ask|told|asked|love|by),? $"
)
_PERSONAL = re.compile(
    r"(?:'s (?:birthday|party|\w+ (?:email|mail)|mom|mum|dad|mother|father|house|phone|car|dog|room)\b|"
    r"(?:,)? (?:said|says|told|asked|called|texted|wants|likes|loves|thinks|went|is (?:my|a good|turning|coming)|"
    r"and i\b|has been|won|scored|plays|sang|wrote|writes|starred|keeps|won't|doesn't|isn't)\b)"
)
_LANGUAGE = re.compile(
    r"(?:^|[^\w'])(?:(?:in|into|to|from|of|speaks?|speaking|spoken|learn|learning|translated?|study|studying|written|"
    r"fluent|say|know|understand|teach|taught|practi[cs]e|practi[cs]ing)(?: (?:fluent|proper|simple|plain|good|"
    r"better|perfect|broken|basic|some|a little))?|auf|ins|en|in|al|au|em|po|на|по|bahasa|tieng|στα|ke bahasa) $"
)
_LANGUAGE_ENDS = re.compile(r"(?:\s*(?:[.,;:!?)\]\"'…]|$)|[ -](?:language|grammar|words?|translation|"
r"sentence|text|please|"
                            r"and|or|for|so|speak\w*|lessons?|class|classes|exam|test|homework|version|"
                            r"subtitles?|accent)\b)")  # fmt: skip
_LIST_GOES_ON = re.compile(r"(?:,| and| or| &)\b|, ?[^\W\d_]")
_LISTED = re.compile(r"\w, $")
_PLACE_AFTER = re.compile(r",? (?:city|town|province|state|county|district|region|island|airport)\b")
# What is named after a place and is a thing: breeds, tools, diseases, teams, papers, software.
_THING = re.compile(
    r" (?:cat|cats|dog|dogs|terriers?|shepherds?|hounds?|bulldogs?|retrievers?|hamsters?|cow|cattle|pigs?|rats?|worms?|"
    r"nuts?|roulette|auction|oven|press|toast|fries|door|doors|horn|muffins?|waffles?|pastry|pastries|cheese|chard|"
    r"knife|hat|hats|shorts|heels?|wax|manicure|braids?|numerals?|notation|square|room|whispers|standoff|summer|syndrome|"
    r"measles|flu|virus|variant|knotweed|maple|beetles?|ivy|moss|lily|husky|setter|sandwich|sandwiches|burger|breast|"
    r"united|city fc|fc|lakers|dodgers|yankees|times|post|herald|tribune|stock exchange|marathon|convention|protocol|"
    r"framework|font|typeface|compiler|library|runtime|script|edition|api|sdk|server|repo|driver|jacket|jackets)\b"
)


@dataclass(frozen=True, slots=True)
class Around:
    """What a whole text tells: its language, that it has no capitals to read from, is in capitals altogether."""

    english: bool
    language: str | None
    plain: bool
    shouting: bool
    titled: bool


def read(folded: Folded) -> Around:
    """Read what holds for a whole text from its beginning."""
    raw = folded.raw[:2000]
    cased = [word for word in _WORD.findall(raw) if word[0].lower() != word[0].upper()]
    upper = sum(word.isupper() and len(word) > 1 for word in cased)
    capital = sum(word[0].isupper() for word in cased)
    english = is_english(folded.raw)
    return Around(
        english=english,
        language="en" if english else language.of(folded.raw),
        plain=capital <= (0.02 * len(cased)) or not capital,
        shouting=len(cased) > 2 and upper > 0.7 * len(cased),
        titled=len(cased) > 3 and capital > 0.7 * len(cased),
    )


def is_english(text: str) -> bool:
    """Tell from its small words whether a text begins in English."""
    found = _WORD.findall(text[:1000].lower())
    return sum(word in _ENGLISH for word in found) >= max(1 if text.isascii() else 2, 0.18 * len(found))


def weight(sense: Sense, start: int, end: int, folded: Folded, around: Around, *, inflected: bool) -> float:
    """Tell how far what stands around a name speaks for this sense of it: 0 (it does not mean it) to 1."""
    text, raw = folded.text, folded.raw
    first, last = folded.where(start, end)
    before, after = text[max(0, start - 40) : start], text[end : end + 32]
    cased = raw[first].lower() != raw[first].upper()
    capital = raw[first].isupper()
    placed = bool(_PLACED.search(before) or _PLACE_AFTER.match(after) or _LISTED.search(before)) or (
        after.startswith(", ") and raw[last + 2 : last + 3].isupper()
    )
    hard = inflected or bool((_HARD if around.english else _HARD_ELSEWHERE).search(before))
    social = bool(_SOCIAL.match(after))
    if _THING.match(after) and not hard:
        return 0.0
    if sense.kind == "cue":
        if sense.flags & ORDINARY and cased and (not capital or _opens(before)):
            return 0.0
        if sense.flags & PERSON and capital and (_beside_a_name(raw, first) or _TITLE.search(before)):
            return 0.0
        if around.english or not cased:
            return 1.0
        native = bool(sense.spoken) and _spoken(sense, around, end - start) == 1.0
        return 1.0 if native or end - start >= 7 or (capital and end - start >= 5 and not _opens(before)) else 0.0
    if sense.flags & TONGUE and not social and _LANGUAGE.search(before) and _LANGUAGE_ENDS.match(after):
        return 0.0
    spoken = _spoken(sense, around, end - start, shared=text[start] < "\u0980")
    if not cased or not spoken:
        if sense.flags & TONGUE and "\u0590" <= text[start] <= "\u06ff" and end - start < 5:
            return 0.0
        return spoken * (1.0 if end - start > 2 or sense.kind != "city" else 0.8)
    if around.shouting:
        capital = True
    if not capital:
        return spoken * _lower(sense, around, end - start, placed, hard, social)
    return spoken * _capital(sense, before, after, raw, first, around, placed, hard, social)


# Languages that are written so much alike that one is taken for the other.
_KIN = {"hr": "sr", "bs": "sr", "sl": "sr", "ms": "id", "jv": "id", "su": "id", "da": "no", "nb": "no", "nn": "no",
        "sk": "cs", "be": "ru", "uk": "ru", "gl": "pt", "ca": "es", "af": "nl", "ckb": "ku", "uz": "tr", "az": "tr",
        "fil": "tl", "zu": "xh", "ur": "fa", "ps": "fa"}  # fmt: skip


def _spoken(sense: Sense, around: Around, letters: int, *, shared: bool = True) -> float:
    """Tell how far a name may be one in the language of the text."""
    if not sense.spoken or not shared:
        return 1.0
    if around.language is None:
        return 1.0 if letters >= 6 else 0.7
    kin = _KIN.get(around.language, around.language)
    if any(_KIN.get(language, language) == kin for language in sense.spoken):
        return 1.0
    return 0.85 if letters >= 7 and sense.kind == "country" else 0.3


def _lower(sense: Sense, around: Around, letters: int, placed: bool, hard: bool, social: bool) -> float:
    """A name in small letters: whole texts are written so, and languages write peoples so."""
    marked = sense.flags & (ORDINARY | PERSON)
    if sense.kind == "people":
        foreign = bool(sense.spoken) and not around.english and letters >= 5
        return 0.9 if not sense.flags & ORDINARY and (around.plain or social or foreign) else 0.8 * social
    if sense.kind == "country":
        return 0.9 if around.plain and not marked else 0.75 * (hard or (social and not sense.flags & ORDINARY))
    if not around.english and (letters < 6 or sense.chance < 0.8):
        return 0.0
    if around.plain and not marked and sense.chance >= 0.6:
        return 0.9 if placed or (sense.chance >= 0.75 and around.english) else 0.5
    return 0.8 * (hard and around.plain and not sense.flags & ORDINARY)


def _capital(
    sense: Sense, before: str, after: str, raw: str, first: int, around: Around, placed: bool, hard: bool, social: bool
) -> float:
    """A name with a capital, in a script that has them."""
    opens = _opens(before)
    if sense.flags & ORDINARY and (opens or around.titled or around.shouting) and not hard and not social:
        return 0.0
    chance = 0.9 if sense.flags & ORDINARY and not placed else 1.0
    if sense.flags & PERSON and not hard:
        is_person = _TITLE.search(before) or _PERSONAL.match(after)
        if _beside_a_name(raw, first) or (is_person and sense.kind != "people"):
            return 0.0
        if (
            sense.kind in ("city", "region")
            and not social
            and not (placed and (after.startswith(",") or _LISTED.search(before)))
        ):
            return 0.35
    if sense.kind in ("city", "region"):
        letters = raw[first : first + 6]
        if letters[:4].isupper() and not around.shouting:
            return 0.0  # an abbreviation
        if not placed and not social:
            small = sense.kind == "city" and sense.chance < 0.75
            return chance * (
                0.95
                if sense.chance >= 0.8 and not (opens and not around.english)
                else 0.3
                if small
                else 0.4
                if opens
                else 0.7
            )
    return chance


def _opens(before: str) -> bool:
    """Tell whether a sentence or line begins here."""
    stripped = before.rstrip(" \"'“«([*-")
    return not stripped or stripped[-1] in ".!?:;\n…" or before.endswith(("\n", "- ", "* "))


_SMALL = words(
    """
    in at to from of for near the a an and or but with about across around into as is are was were when where why
    how what who which does do did can could should would may might will if my our your their his her its this
    that these those visiting visit greater south north east west northern southern eastern western central new
    old modern ancient rural urban downtown republic kingdom i we you they he she it some many most all dear hello
    hi while during please tell explain give write describe am i'm im both also only even every each traditional
    """
)
_BEFORE = re.compile(r"([^\W\d_][\w'’]*) $")
_AFTER = re.compile(r" ([^\W\d_][\w'’]*)")


def _beside_a_name(raw: str, first: int) -> bool:
    """Tell whether a capitalised word stands directly before or after, as in Michael Jordan or Paris Hilton."""
    word = _BEFORE.search(raw[max(0, first - 40) : first])
    if word and word[1][0].isupper() and word[1].lower() not in _SMALL:
        return True
    name = re.compile(r"[^\W\d_]+").match(raw, first)
    after = _AFTER.match(raw, name.end()) if name else None
    return bool(after and after[1][0].isupper() and after[1].lower() not in _SMALL)


def _is_state(mention: Mention, text: str) -> bool:
    """Tell whether a name is that of a state or province which is written after its towns, and ends a list of names."""
    states = mention.kind == "region" and mention.senses[0].culture in ("US", "US-HI", "CA", "CA-QC", "AU")
    return states and not _LIST_GOES_ON.match(text, mention.end)


def joined(mentions: Sequence[Mention], text: str) -> list[Mention]:
    """Let neighbours decide what is open: "Paris, Texas" is in the second's country, and so are likelier namesakes."""
    found = list(mentions)
    for i in range(len(found) - 1):
        first, second = found[i], found[i + 1]
        if text[first.end : second.start] in (", ", ",", " ") and first.kind in ("city", "region", "country"):
            if first.kind == "country" and second.kind != "country" and text[first.end : second.start] == " ":
                continue
            own = [sense for sense in first.senses if any(sense.culture == other.culture for other in second.senses)]
            if own:
                only = tuple(sense for sense in second.senses if sense.culture == own[0].culture)
                found[i], found[i + 1] = (
                    replace(first, senses=(replace(own[0], chance=0.9),)),
                    replace(second, senses=only),
                )
            elif first.kind in ("city", "region") and _is_state(second, text) and text[first.end : second.start] != " ":
                found[i] = replace(first, senses=(replace(first.senses[0], culture=second.senses[0].culture),))
    said = {mention.senses[0].culture for mention in found if len(mention.senses) == 1}
    return [
        replace(mention, senses=tuple(sorted(mention.senses, key=lambda s: (s.culture not in said, -s.chance))))
        for mention in found
    ]
