"""The language that a text is written in, so that Comity answers in it and knows whether a judge covers it.

Where a script belongs to one language, it decides. Latin, Cyrillic, Arabic and Devanagari letters are shared by many;
there a classifier of byte n-grams decides (py3langid: offline, and the same answer every time).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

READ_CHARS = 1000  # of a text; more would not make the answer surer
DOMINANT = 0.6  # share of the letters that one script must have, else the text is mixed
FLOOR = 0.35  # probability from which the classifier is believed
# Letters that the classifier needs; where the script decides, two are enough.
ENOUGH = {"Latin": 10, "Cyrillic": 6, "Arabic": 6, "Devanagari": 4}

# What the classifier chooses from, by script. Small languages that it takes for their large neighbours are left out.
_SHARED = {
    "Latin": "af az bs ca cs cy da de en es et eu fi fr ga gl ha hr hu id ig is it jv ku lt lv mg ms mt nl nn no om pl"
    " pt ro rw sk sl so sq sr sv sw tl tr uz vi xh yo zu",
    "Cyrillic": "be bg kk ky mk mn ru sr tg tt uk",
    "Arabic": "ar ary arz fa ku ps sdh ug ur",
    "Devanagari": "hi mr ne",
}
# Labels of the classifier that ISO 639-1 has another code for, and its label for what is no language.
_MERGED = {"ary": "ar", "arz": "ar", "sdh": "ku", "nn": "no"}
_NOTHING = "zxx"
# Scripts of one language, or of one that is by far the largest.
_OWN = {
    "Armenian": "hy", "Bengali": "bn", "Burmese": "my", "Ethiopic": "am", "Georgian": "ka", "Greek": "el",
    "Gujarati": "gu", "Gurmukhi": "pa", "Han": "zh", "Hangul": "ko", "Hebrew": "he", "Kana": "ja", "Kannada": "kn",
    "Khmer": "km", "Lao": "lo", "Malayalam": "ml", "Oriya": "or", "Sinhala": "si", "Tamil": "ta", "Telugu": "te",
    "Thaana": "dv", "Thai": "th", "Tibetan": "bo",
}  # fmt: skip
# Letters by which another language shows itself in such a script: Assamese, Tigrinya.
_MARKS = {"bn": ("as", frozenset("ৰৱ")), "am": ("ti", frozenset("ኣቐቑቒቓቔቕቖኸኹኺኻኼኽኾ"))}
_WEIGHTS = {"Ethiopic": 2, "Han": 3, "Hangul": 3, "Kana": 3}  # one sign there says as much as several letters
# First and last character, script; in order.
_RANGES = (
    (0x0041, 0x02AF, "Latin"), (0x0370, 0x03FF, "Greek"), (0x0400, 0x052F, "Cyrillic"), (0x0531, 0x058F, "Armenian"),
    (0x0591, 0x05F4, "Hebrew"), (0x0600, 0x06FF, "Arabic"), (0x0750, 0x077F, "Arabic"), (0x0780, 0x07BF, "Thaana"),
    (0x08A0, 0x08FF, "Arabic"), (0x0900, 0x097F, "Devanagari"), (0x0980, 0x09FF, "Bengali"),
    (0x0A00, 0x0A7F, "Gurmukhi"), (0x0A80, 0x0AFF, "Gujarati"), (0x0B00, 0x0B7F, "Oriya"), (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"), (0x0C80, 0x0CFF, "Kannada"), (0x0D00, 0x0D7F, "Malayalam"),
    (0x0D80, 0x0DFF, "Sinhala"), (0x0E00, 0x0E7F, "Thai"), (0x0E80, 0x0EFF, "Lao"), (0x0F00, 0x0FFF, "Tibetan"),
    (0x1000, 0x109F, "Burmese"), (0x10A0, 0x10FF, "Georgian"), (0x1100, 0x11FF, "Hangul"),
    (0x1200, 0x139F, "Ethiopic"), (0x1780, 0x17FF, "Khmer"), (0x1E00, 0x1EFF, "Latin"), (0x1F00, 0x1FFF, "Greek"),
    (0x2D80, 0x2DDF, "Ethiopic"), (0x3041, 0x30FF, "Kana"), (0x3130, 0x318F, "Hangul"), (0x3400, 0x4DBF, "Han"),
    (0x4E00, 0x9FFF, "Han"), (0xAC00, 0xD7AF, "Hangul"), (0xFB50, 0xFDFF, "Arabic"), (0xFE70, 0xFEFF, "Arabic"),
    (0xFF66, 0xFF9D, "Kana"), (0x20000, 0x323AF, "Han"),
)  # fmt: skip
_STARTS = [start for start, _, _ in _RANGES]
# No prose of anybody: code and addresses. And not the writer's own: what is quoted, such as a word that is asked about.
_NO_PROSE = re.compile(r"```.*?(?:```|$)|`[^`\n]*`|\b(?:https?://|www\.)\S+", re.DOTALL)
_QUOTED = re.compile(r"“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|「[^」\n]*」|『[^』\n]*』|《[^》\n]*》|\"[^\"\n]*\"")
# Everyday characters of Chinese, simplified and traditional in turn.
_PAIRS = (
    "这這们們个個么麼会會说說对對时時为為国國学學样樣发發问問请請给給没沒还還过過让讓谁誰话話开開关關门門见見听聽书書认認识識"
    "习習惯慣应應该該带帶礼禮儿兒岁歲饭飯长長从從东東车車钱錢买買卖賣点點头頭节節亲親爱愛吗嗎来來欢歡饮飲丧喪宾賓"
)
_SIMPLIFIED, _TRADITIONAL = frozenset(_PAIRS[::2]), frozenset(_PAIRS[1::2])
_lock = Lock()
_loaded: list[LanguageIdentifier] = []


def of(text: str) -> str | None:
    """Give the ISO 639-1 code of the language of a text, read from its first thousand characters.

    None where it cannot be told: too few letters, only digits or signs, several scripts, or a doubtful guess.
    """
    text = _NO_PROSE.sub(" ", text[:READ_CHARS])
    own = _QUOTED.sub(" ", text)
    return _language(own) or (_language(text) if own != text else None)


def written(text: str) -> str | None:
    """Give the language as `of` does, but `zh-Hant` for Chinese that is written in traditional characters."""
    language = of(text)
    if language != "zh":
        return language
    signs = set(text[:READ_CHARS])
    return "zh-Hant" if len(signs & _TRADITIONAL) > len(signs & _SIMPLIFIED) else "zh"


def load() -> LanguageIdentifier:
    """Give the classifier; the first call reads it (most of a second), so make it at start and in a thread."""
    with _lock:
        if not _loaded:
            _loaded.append(_read())
        return _loaded[0]


def _read() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    full = LanguageIdentifier.from_model_file(MODEL_FILE)
    full.set_languages({_NOTHING, *" ".join(_SHARED.values()).split()})
    # Made anew of what was chosen, so that the columns of the other languages are freed.
    chosen = (full.nb_ptc, full.nb_pc, full.nb_classes, full.tk_nextmove, full.tk_output)
    return LanguageIdentifier(*chosen, norm_probs=True, tk_row=full.tk_row)


def _language(text: str) -> str | None:
    letters = _letters(text)
    shares = {script: count * _WEIGHTS.get(script, 1) for script, count in letters.items()}
    script = max(shares, key=lambda script: shares[script], default="")
    if not script or shares[script] < DOMINANT * sum(shares.values()) or letters[script] < ENOUGH.get(script, 2):
        return None
    if script in _SHARED:
        return _classified(text, script)
    language = _OWN[script]
    other, marks = _MARKS.get(language, (language, frozenset()))
    return language if marks.isdisjoint(text) else other


def _letters(text: str) -> Counter[str]:
    """Count the letters of each script; Kana and the Han characters among them are one."""
    found: Counter[str] = Counter()
    for char, count in Counter(text).items():
        which = bisect_right(_STARTS, ord(char)) - 1
        if which >= 0 and ord(char) <= _RANGES[which][1] and char.isalpha():
            found[_RANGES[which][2]] += count
    if 20 * found["Kana"] > found["Han"]:
        found["Kana"] += found.pop("Han", 0)
    return +found


def _classified(text: str, script: str) -> str | None:
    """Choose among the languages of one script, or none."""
    choices = {_NOTHING, *_SHARED[script].split()}
    found: Counter[str] = Counter()
    for label, probability in load().rank(text):
        if label in choices:
            found[_MERGED.get(label, label)] += probability
    language, probability = max(found.items(), key=lambda item: item[1])
    return language if language != _NOTHING and probability >= FLOOR * sum(found.values()) else None
