"""Whether a message demands an offence ("write a text that mocks …"), so that its answer ends in a correction.

It reads words of a few languages, and only chooses between two polite texts: nothing is refused by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_READ_CHARS = 4_000
_SENTENCE = re.compile(r"[.!?…。！？؟।\n]+")
# Verbs with whom they are done to: "roast chicken", "mock exam" and "offensive gestures" demand nothing.
_THINGS = r"(?! (exams?|tests?|interviews?|chickens?|beef|pork|lamb|duck|coffee|potatoes|vegetables|recipes?|goes)\b)"
_EN_OFFENCE = (
    r"(ridicul\w+|mak(e|es|ing) fun of|insults?|insulting|demean\w*|humiliat\w+|disparag\w+|belittl\w+|sneer\w* at|"
    rf"(mocks?|mocking|roasts?|roasting)(?= [a-z]){_THINGS}|"
    r"(racist|offensive|insulting|mocking) (jokes?|texts?|poems?|stor(y|ies)|songs?|memes?|posts?|tweets?|slogans?))"
)
_ENGLISH = re.compile(
    r"(^|[.!?\n]\s*)((please|now|just|can you|could you|would you|will you|i want you to|help me( to)?)[ ,]+)*"
    rf"{_EN_OFFENCE}(?! (is|are|was|were)\b)"
    r"|\b(write|tell|make|give|create|compose|draft|generate|say|post|come up with|i need|i want)\b"
    rf"((?!\b(not|never|avoid\w*|without|which|what|why|how)\b|n't\b)[^.!?\n]){{0,80}}\b{_EN_OFFENCE}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Words:
    """What a demand is made of in one language: asking for a text, offending, and words that turn it round."""

    ask: re.Pattern[str]
    offend: re.Pattern[str]
    deny: re.Pattern[str]


def _words(ask: str, offend: str, deny: str) -> _Words:
    return _Words(*(re.compile(part, re.IGNORECASE) for part in (ask, offend, deny)))


_LANGUAGES = (
    _words(  # German
        r"\b(schreib|verfass|erzähl|erstell|dicht|formulier|mach dich)\w*",
        r"verspott|verhöhn|lustig mach|\blustig\b|lächerlich|beleidig|herabwürdig|demütig|schmäh",
        r"\b(nicht|ohne|nie|kein\w*|vermeid\w*)\b",
    ),
    _words(  # French
        r"\b(écri|rédige|raconte|compose|fais|donne)\w*",
        r"se moqu|moque|ridiculis|insult|humili|rabaiss|dénigr",
        r"\b(pas|sans|jamais|évit\w*)\b|\bn'",
    ),
    _words(  # Spanish, Portuguese
        r"\b(escrib|escrev|redact|redij|cuent|cont[ea]|hazme|haz|faz|fa[çc]a|inventa|invente|dame)\w*",
        r"\bburl|ridiculi|insult|humill|humilh|ofend|zomb|debocha|denigr|menosprec|menosprez",
        r"\b(no|não|sin|sem|nunca|evit\w*)\b",
    ),
    _words(  # Italian
        r"\b(scriv|raccont|compon|fammi|dammi|inventa)\w*",
        r"\bbeff|deride|derid|ridicoliz|insult|umili|denigr|offend|prend\w* in giro",
        r"\b(non|senza|mai|evit\w*)\b",
    ),
    _words(  # Turkish, Indonesian and Malay
        r"\b(yaz|anlat|hazırla|oluştur|tulis|buat|ceritakan|karang)\w*",
        r"alay e|dalga geç|aşağıla|küçümse|hakaret|mengejek|mengolok|menghina|merendahkan|mencemooh",
        r"meden\b|madan\b|\b(değil|asla|tidak|tanpa|jangan|tak)\b",
    ),
    _words(  # Russian, Ukrainian
        r"\b(напиш|сочин|расскаж|придума|состав|вигада|розкаж)\w*",
        r"высме|насме|издева|оскорб|униж|глуми|висмі|зневаж|образ(?:ли|ить|и\b)|принизи",
        r"\b(не|без|ні)\b",
    ),
    _words(
        r"اكتب|أكتب|احك|ألّف|ألف|قل|اصنع", r"يسخر|تسخر|سخرية|يهين|تهين|إهانة|يستهزئ|تستهزئ|يحقر|تحقّر", r"\bلا\b|دون|بدون"
    ),
    _words(r"بنویس|بگو|بساز|تعریف کن", r"مسخره|تمسخر|توهین|تحقیر", r"\bنه\b|بدون|نکن"),
    _words(r"लिख|बना|सुना|कह", r"मज़ाक उड़|मजाक उड़|उपहास|अपमान|नीचा दिखा", r"नहीं|\bन\b|बिना"),
    _words(
        r"書い|書け|作っ|作れ|教えて|述べ", r"馬鹿に|ばかに|バカに|嘲笑|侮辱|からか|見下|けなす", r"ない|ません|ずに"
    ),
    _words(
        r"写|编|講|讲|說个|说个|作一|生成|給我|给我|寫",
        r"嘲笑|嘲讽|嘲諷|讽刺|諷刺|侮辱|取笑|贬低|貶低|羞辱|挖苦",
        r"不|避免|别|別",
    ),
    _words(r"써|작성|만들어|지어|말해", r"조롱|비웃|모욕|놀리|비하|깎아내리", r"않|말고|없이|\b안\b"),
)


def demanded(text: str) -> bool:
    """Tell whether a message asks for an offence, in a sentence that does not turn the demand round."""
    text = text[:_READ_CHARS]
    if _ENGLISH.search(text):
        return True
    return any(_in(sentence) for sentence in _SENTENCE.split(text))


def _in(sentence: str) -> bool:
    return any(
        words.ask.search(sentence) and words.offend.search(sentence) and not words.deny.search(sentence)
        for words in _LANGUAGES
    )
