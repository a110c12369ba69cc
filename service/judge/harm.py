"""The universal-harm floor: slurs, dehumanisation and incitement against a people or believers, whatever the culture.

Each word of a sentence becomes one letter that stands for its classes in `harm.yaml` (group, strong, not …), and frames
of a few letters are searched for: "kill all the X" is a strong word, "all" and a group. No frame repeats without bound,
so the time grows with the sentence and not with its square. What a sentence quotes, warns of or condemns is excused
only where that governs the words: beside them in the same clause, or around their quotation marks.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Literal

import yaml

Kind = Literal["slur", "dehumanisation", "incitement"]
KINDS: tuple[Kind, ...] = ("slur", "dehumanisation", "incitement")

_FILE = Path(__file__).with_name("harm.yaml")
_PIECE = 1_000  # characters: normalising sorts runs of marks, so an endless run is cut
_NEAR = 80  # letters before and after a finding in which its excuse may stand
_LONGEST = 60  # characters of a word that may hide a slur


@dataclass(frozen=True, slots=True)
class Harm:
    """What was found, and the language (ISO 639-1) whose words found it."""

    kind: Kind
    language: str


@dataclass(frozen=True, slots=True)
class _Frame:
    kind: Kind
    pattern: re.Pattern[str]
    topic: str  # the class of words that explain it: a zodiac, a contest


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    entries: Mapping[str, str]  # phrase → letter
    widths: Mapping[str, int]  # first word → words of the longest phrase that begins with it
    keys: tuple[
        frozenset[str], ...
    ]  # words for people, for what is done to them, slurs: what a sentence needs to hold any
    segments: re.Pattern[str] | None  # where words are not spaced
    frames: tuple[_Frame, ...]
    verb_last: bool


@dataclass(frozen=True, slots=True)
class _Lexicon:
    languages: tuple[_Language, ...]
    slurs: frozenset[str]  # of one word
    excuses: Mapping[str, re.Pattern[str]]
    letters: Mapping[str, str]


# Frames are written in names of classes: <a|b> is a word of either, <^a|b> of neither; names in capitals are the parts
# below, each of which may hold later ones. The harm begins at the empty group, after what only leads to it. A word that
# no class has is `other`; `hard`, `soft` and `quote` are marks.
_PARTS = {
    # an imperative stands at the start, after a mark, after "we must", or in a list that no "to" or subject governs
    "OPEN": "(?:^|<hard|quote|lead>|(?:^|<hard>)<^hard|to|subject|regime>{0,60}<soft|and>)<just>{0,3}()",
    "LOW": "(?:<vermin|beast>|<filth>ALONE|<unhuman>END)",
    "FREE": "(?<!<of|limit|not>)(?<!<of|not><the>)(?<!<of|not><all>)",
    "FAITHFUL": "(?:<group>|<trait><persons>|(?<=<the|all|those>)<trait>ALONE)",
    "ANY": (
        "(?:<group|nation>|<group|nation|trait|demonym|collective><persons>"
        "|(?<=<the|all|those>)<trait|demonym|collective>ALONE|<collective>(?=<is|ought|doom>))"
    ),
    "SKIP": "<the|just|all|those>",
    # what may follow an adjective that stands for a people, or filth that is no part of a longer noun
    "ALONE": "(?=$|<hard|soft|quote|and|is|ought|subject|the|just|doom|who|of|to|say|wrong|lead|not>)",
    "END": "(?=$|<hard|soft|quote>)",
    "WITHIN": "<^hard|soft|and>",
    "AFFIRMED": "(?<!<not>)(?<!<not><the|just>)",
}
_PLAIN: tuple[tuple[Kind, str, str], ...] = (
    ("slur", "<slur>", ""),
    ("slur", "<dirty>(?:<trait|demonym|collective>ALONE|ANY)", ""),
    ("incitement", "OPEN(?:<strong|plain><soft|and>{1,2}){0,3}<strong>SKIP{0,4}ANY", ""),
    ("incitement", "<lead><just>{0,3}<infinitive>SKIP{0,4}ANY", ""),
    ("incitement", "OPEN<plain><the|just|those>{0,3}FAITHFUL", "contest"),
    ("incitement", "OPEN<plain><the|just|those>{0,3}<all>SKIP{0,3}ANY", "contest"),
    # "do not be shy kill all X": without a mark before it, "all" makes it a call, unless somebody else is the subject
    (
        "incitement",
        "(?:^|<hard|soft|and|quote>)<^hard|soft|and|quote|subject|to|regime|who>{0,20}"
        "(?<!<not>)(?<!<not><just>)()<strong><the|just|those>{0,3}<all>SKIP{0,3}ANY",
        "",
    ),
    (
        "incitement",
        "FREEANY(?:<just|all>{0,2}|<of|who><^hard|quote|not|say|is|beast>{0,5})<ought><just|all>{0,3}<killed>",
        "",
    ),
    ("incitement", "FREE(?:FAITHFUL|<all>SKIP{0,2}ANY)<just|all>{0,2}<ought><just|all>{0,3}<expelled>", "contest"),
    ("incitement", "<death>SKIP{0,3}ANY", ""),
    ("incitement", "FREEANY(?:<just|all>{0,2}|<of|who><^hard|quote|not|say>{0,4})<doom>", ""),
    ("incitement", "<only><trait|demonym|collective|group|nation><persons>?<dead>", ""),
    (
        "dehumanisation",
        "FREE(?:ANY|<those><persons>)(?:<just|all>{0,2}|<of|who><the|other>{0,3})<is>(?:SKIP|<dirty>){0,4}LOW",
        "zodiac",
    ),
    ("dehumanisation", "FREEANY(?:SKIP|<dirty>){0,3}<unhuman>END", ""),
    ("dehumanisation", "<why>SKIP{0,3}ANYSKIP{0,4}LOW", ""),
    ("dehumanisation", "<trait><vermin>(?!<other>)", ""),
)
_VERB_LAST: tuple[tuple[Kind, str, str], ...] = (
    ("incitement", "(?<!<limit>)ANY<the|just|all|those|soft>{0,4}<strong|plain>(?!<not>)", "contest"),
    ("dehumanisation", "(?<!<limit>)ANYSKIP{0,4}<vermin|beast|filth|unhuman>(?!<not>)", "zodiac"),
)
_NO_COPULA: tuple[tuple[Kind, str, str], ...] = (
    ("dehumanisation", "FREEANY<the|just|all>{0,3}(?:<is>|<hard><is>?)?SKIP{0,4}LOW", "zodiac"),
)
# Searched in the letters near a finding. What is said of it must govern it; only quotation marks reach far.
_EXCUSES = {
    "before": (
        "<not><subject|ought|just>{0,2}<say><soft>?WITHIN{0,6}$"  # never say that …
        "|AFFIRMED<wrong|metaword>WITHIN{0,4}<say><soft>?WITHIN{0,6}$"  # it is wrong to say that …
        "|<regime>(?:<soft>?<the>{0,2}|WITHIN{0,4}<say|is|who><soft>?WITHIN{0,6})$"  # Nazi propaganda said that …
    ),
    # … is a lie
    "after": "^<quote|the>{0,2}<^hard|soft|who|and>{0,3}<soft>?<is><the|just|all>{0,3}<wrong|metaword|regime>",
    "after_verb_last": (
        "^<quote|the|just|is|soft|other>{0,3}(?:<say>|<is><quote>|<quote>)<^hard>{0,14}<wrong|metaword|not>"
    ),
    "quoted": "AFFIRMED<wrong|metaword|regime>|<not><subject|ought|just>{0,2}<say>",
    "slur": "AFFIRMED<metaword>",  # X is a slur
    "mentioned": "<mention><quote|the|say>{0,2}$",  # the word X
    "zodiac": "<zodiac>",
    "contest": "<contest>",
}

_DROPPED = re.compile(
    "[\u00ad\u034f\u061c\u0640\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\u093c"
    "\u0300-\u036f\u0483-\u0487\u064b-\u065f\u0670\U000e0000-\U000e01ef]"
)
_LOOKALIKE = str.maketrans("авекмнорстухіјѕԁαοερνικ", "abekmhopctyxijsdaoepvik")
_LEET = str.maketrans("01345789@$!|+", "oieastbgasiit")
_ODD = re.compile(r"[\d@$!|+*._-][^\W\d_]|([^\W\d_])\1\1")
_MIXED = re.compile(r"[a-z][а-яіјѕԁα-ω]|[а-яіјѕԁα-ω][a-z]")
_SPELT = re.compile(r"(?<![^\W_])(?:[^\W_][ .*_-]{1,2}){3,20}[^\W_](?![^\W_])")
_LETTER = r"[^\W_\u0900-\u0dff]|[\u0900-\u0963\u0966-\u0dff]"
_TOKEN = re.compile(
    rf"(?P<word>(?:{_LETTER})+(?:'(?:{_LETTER})+)*)|(?P<quote>[\"“”„«»「」『』]|(?<!\w)'(?=\w)|(?<=\w)'(?!\w))"
    r"|(?P<soft>[,،、])|(?P<hard>[.:;!?؟…—–()\[\]।。]|(?<=\s)-(?=\s))"
)
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]")
_CLASS = re.compile(r"<(\^?)([a-z_|]+)>")
_PEOPLE = {"group", "nation", "collective", "trait", "demonym", "persons"}
_ACTS = {
    "strong", "plain", "infinitive", "killed", "expelled", "death", "doom", "dead",
    "vermin", "beast", "filth", "unhuman", "dirty",
}  # fmt: skip
_MARKS = ("other", "hard", "soft", "quote")
_FLAGS = {"order", "copula", "spaces"}


def find(sentence: str) -> Harm | None:
    """Find universal harm in a sentence; None where there is none or the sentence quotes, warns of or condemns it.

    Linear in the sentence, which may hold several. Any language of `harm.yaml`; the language need not be known.
    """
    lexicon = _lexicon()
    text = _unmask(fold(sentence), lexicon.slurs)
    tokens = tuple((token.lastgroup or "", token.group()) for token in _TOKEN.finditer(text))
    words = {word for kind, word in tokens if kind == "word"}
    run = "".join(text.split()) if _UNSPACED.search(text) else ""
    for language in lexicon.languages:
        if language.segments is None:
            letters = "".join(_lettered(tokens, language, lexicon)) if _may_hold(words, language) else ""
        else:
            letters = "".join(_segmented(text, language, lexicon)) if run and _may_run(run, language) else ""
        kind = _first(letters, language, lexicon) if letters else None
        if kind:
            return Harm(kind, language.code)
    return None


def fold(text: str) -> str:
    """Bring text to one form: NFKC, small letters, without accents, vowel points and characters of no width."""
    if text.isascii():
        return text.casefold()
    pieces = (text[i : i + _PIECE] for i in range(0, len(text), _PIECE))
    plain = "".join(_folded(piece) for piece in pieces)
    return plain.replace("ı", "i").replace("\u2019", "'").replace("\u2018", "'")


def _folded(piece: str) -> str:
    wide = unicodedata.normalize("NFKD", _DROPPED.sub("", piece)).casefold()
    return unicodedata.normalize("NFC", _DROPPED.sub("", wide))


def _unmask(text: str, slurs: frozenset[str]) -> str:
    """Write out words that hide behind digits, marks, letters of another script, or spaces between the letters."""
    if _MIXED.search(text):
        text = re.sub(r"\S+", lambda m: m[0].translate(_LOOKALIKE) if _MIXED.search(m[0]) else m[0], text)
    if _ODD.search(text):
        text = re.sub(r"\S+", lambda m: _revealed(m[0], slurs) or m[0], text)
    return _SPELT.sub(lambda m: _spelt(m[0], slurs) or m[0], text)


def _revealed(chunk: str, slurs: frozenset[str]) -> str | None:
    core = chunk.strip(".,!?;:\"'()*_-").lstrip("0123456789")
    if not core or len(core) > _LONGEST:
        return None
    plain = "".join(char for char in core.translate(_LEET) if char.isalpha())
    twice, once = (re.sub(r"(.)\1{2,}", form, plain) for form in (r"\1\1", r"\1"))
    return next((f" {word} " for word in (plain, twice, once) if word in slurs), None)


def _spelt(letters: str, slurs: frozenset[str]) -> str | None:
    word = "".join(char for char in letters if char.isalpha())
    return next((f" {slur} " for slur in slurs if slur == word or (len(slur) > 4 and slur in word)), None)


def _may_hold(words: set[str], language: _Language) -> bool:
    people, acts, slurs = language.keys
    return not (words.isdisjoint(people) or words.isdisjoint(acts)) or not words.isdisjoint(slurs)


def _may_run(run: str, language: _Language) -> bool:
    people, acts, slurs = (any(key in run for key in keys) for keys in language.keys)
    return (people and acts) or slurs


def _lettered(tokens: tuple[tuple[str, str], ...], language: _Language, lexicon: _Lexicon) -> Iterator[str]:
    """Give one letter for each phrase, word or mark; of marks in a row the first."""
    last, at = "", 0
    while at < len(tokens):
        kind = tokens[at][0]
        letter, width = (lexicon.letters[kind], 1) if kind != "word" else _looked_up(tokens, at, language, lexicon)
        if kind in ("word", "quote") or letter != last:
            yield letter
        last, at = letter, at + width


def _looked_up(tokens: tuple[tuple[str, str], ...], at: int, language: _Language, lexicon: _Lexicon) -> tuple[str, int]:
    for width in range(language.widths.get(tokens[at][1], 0), 0, -1):
        part = tokens[at : at + width]
        if len(part) == width and all(kind == "word" for kind, _ in part):
            letter = language.entries.get(" ".join(word for _, word in part))
            if letter:
                return letter, width
    return lexicon.letters["other"], 1


def _segmented(text: str, language: _Language, lexicon: _Lexicon) -> Iterator[str]:
    assert language.segments is not None  # noqa: S101 - asked of such languages only
    for found in language.segments.finditer(text):
        if found.lastgroup == "entry":
            yield language.entries[found.group().replace(" ", "")]
        elif mark := _TOKEN.match(found.group()):
            yield lexicon.letters["other" if mark.lastgroup in (None, "word") else str(mark.lastgroup)]


def _first(letters: str, language: _Language, lexicon: _Lexicon) -> Kind | None:
    quotes = tuple(accumulate((letter == lexicon.letters["quote"] for letter in letters), initial=0))
    for frame in language.frames:
        for found in frame.pattern.finditer(letters):
            if not _excused(letters, found, frame, quotes[found.end()] % 2 == 1, language, lexicon):
                return frame.kind
    return None


def _excused(
    letters: str, found: re.Match[str], frame: _Frame, quoted: bool, language: _Language, lexicon: _Lexicon
) -> bool:
    excuses, hard = lexicon.excuses, lexicon.letters["hard"]
    start = found.start(found.re.groups)
    before, harm = letters[max(0, start - _NEAR) : start], letters[start : found.end()]
    after = letters[found.end() : found.end() + _NEAR]
    if frame.kind == "slur" and (excuses["slur"].search(before + after) or excuses["mentioned"].search(before)):
        return True
    if frame.topic and excuses[frame.topic].search(before.split(hard)[-1] + harm + after.split(hard)[0]):
        return True
    if excuses["before"].search(before) or excuses["after"].search(after):
        return True
    if language.verb_last and excuses["after_verb_last"].search(after):
        return True
    return quoted and bool(excuses["quoted"].search(before) or excuses["quoted"].search(after))


@lru_cache(maxsize=1)
def _lexicon() -> _Lexicon:
    """Read the word lists once; every set of classes that a word has gets a letter of its own."""
    with _FILE.open(encoding="utf-8") as file:
        data: dict[str, dict[str, str]] = yaml.safe_load(file)
    phrases = {code: _classes(groups) for code, groups in data.items()}
    sets = {frozenset((mark,)) for mark in _MARKS} | {held for found in phrases.values() for held in found.values()}
    letters = {held: chr(0xE000 + i) for i, held in enumerate(sorted(sets, key=sorted))}
    return _Lexicon(
        tuple(_language(code, data[code], found, letters) for code, found in phrases.items()),
        frozenset(
            phrase
            for found in phrases.values()
            for phrase, held in found.items()
            if "slur" in held and " " not in phrase
        ),
        {name: re.compile(_expand(text, letters)) for name, text in _EXCUSES.items()},
        {mark: letters[frozenset((mark,))] for mark in _MARKS},
    )


def _classes(groups: Mapping[str, str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, text in groups.items():
        if name in _FLAGS:
            continue
        for phrase in (codecs.decode(text, "rot13") if name == "slur" else text).split(","):
            folded = " ".join(word for word in re.split(r"[\s-]+", fold(phrase)) if word)
            if groups.get("spaces") == "none":
                folded = folded.replace(" ", "")
            found.setdefault(folded, set()).add(name)
    found.pop("", None)
    return {phrase: frozenset(held) for phrase, held in found.items()}


def _language(
    code: str,
    groups: Mapping[str, str],
    phrases: Mapping[str, frozenset[str]],
    letters: Mapping[frozenset[str], str],
) -> _Language:
    verb_last = groups.get("order") == "verb_last"
    frames = _PLAIN + (_VERB_LAST if verb_last else ()) + (_NO_COPULA if groups.get("copula") == "none" else ())
    return _Language(
        code,
        {phrase: letters[held] for phrase, held in phrases.items()},
        _widths(phrases),
        tuple(_keys(phrases, names) for names in (_PEOPLE, _ACTS, {"slur"})),
        _segments(phrases) if groups.get("spaces") == "none" else None,
        tuple(_Frame(kind, re.compile(_expand(text, letters)), topic) for kind, text, topic in frames),
        verb_last,
    )


def _widths(phrases: Iterable[str]) -> dict[str, int]:
    widths: dict[str, int] = {}
    for words in (phrase.split() for phrase in phrases):
        widths[words[0]] = max(widths.get(words[0], 0), len(words))
    return widths


def _keys(phrases: Mapping[str, frozenset[str]], names: set[str]) -> frozenset[str]:
    found = (phrase for phrase, held in phrases.items() if not held.isdisjoint(names))
    return frozenset(max(phrase.split(), key=len) for phrase in found)


def _segments(phrases: Iterable[str]) -> re.Pattern[str]:
    entries = "|".join(" ?".join(map(re.escape, phrase)) for phrase in sorted(phrases, key=len, reverse=True))
    return re.compile(rf"(?P<entry>{entries})|\S")


def _expand(frame: str, letters: Mapping[frozenset[str], str]) -> str:
    """Turn names of classes into sets of letters; a name that no language uses matches nothing."""
    for name, part in _PARTS.items():
        frame = frame.replace(name, part)

    def chosen(match: re.Match[str]) -> str:
        names = set(match[2].split("|"))
        found = "".join(sorted(letter for held, letter in letters.items() if not names.isdisjoint(held)))
        return f"[{match[1]}{found}]" if found else "(?!)"

    return _CLASS.sub(chosen, frame)
