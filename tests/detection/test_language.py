"""The language of a text: right on short questions in many languages, silent where nothing can be told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import language

ROOT = Path(__file__).parents[2]
# Short questions of their own: the classifier's floor was chosen on others.
QUESTIONS = {
    "am": ("ለሰርግ ምን ስጦታ ልውሰድ?", "ቡና ስጋበዝ ስንት ስኒ መጠጣት አለብኝ?"),
    "ar": ("ما الهدية المناسبة لحفل زفاف في المغرب؟", "هل يجب أن أخلع حذائي قبل الدخول؟"),
    "bg": ("Какъв подарък да взема за сватба?", "Трябва ли да си събуя обувките вкъщи?"),
    "bn": ("বিয়েতে কী উপহার নিয়ে যাওয়া উচিত?", "ঘরে ঢোকার আগে কি জুতো খুলতে হবে?"),
    "ca": ("Quin regal porto a un casament?", "M'he de treure les sabates abans d'entrar a casa?"),
    "cs": ("Jaký dárek mám koupit na svatbu?", "Mám se před vstupem do bytu zout?"),
    "da": ("Hvilken gave giver man til et bryllup?", "Skal jeg tage skoene af, før jeg går ind?"),
    "de": ("Welches Geschenk passt zu einer Hochzeit in Polen?", "Soll ich vor der Tür die Schuhe ausziehen?"),
    "el": ("Τι δώρο να πάρω για έναν γάμο;", "Πρέπει να βγάλω τα παπούτσια μου;"),
    "en": ("Which gift is right for a wedding in Ghana?", "Should I take off my shoes before I go in?"),
    "es": ("¿Debo quitarme los zapatos antes de entrar?", "Mi vecina me invitó a tomar el té, ¿qué le llevo?"),
    "et": ("Millise kingituse ma pulma viin?", "Kas ma pean enne sisenemist jalatsid ära võtma?"),
    "fa": ("برای عروسی چه هدیه‌ای مناسب است؟", "آیا باید پیش از ورود کفش‌هایم را دربیاورم؟"),
    "fi": ("Millainen lahja sopii häihin?", "Pitääkö kengät riisua ennen sisään menemistä?"),
    "fr": ("Quel cadeau offrir pour un mariage au Maroc ?", "Dois-je enlever mes chaussures avant d’entrer ?"),
    "he": ("איזו מתנה מתאימה לחתונה?", "האם צריך לחלוץ נעליים לפני שנכנסים?"),
    "hi": ("शादी में कौन सा उपहार ले जाना ठीक रहेगा?", "क्या अंदर जाने से पहले जूते उतारने चाहिए?"),
    "hu": ("Milyen ajándékot illik vinni egy esküvőre?", "Le kell vennem a cipőmet, mielőtt bemegyek?"),
    "hy": ("Ի՞նչ նվեր տանեմ հարսանիքին", "Պե՞տք է կոշիկներս հանեմ"),
    "id": ("Hadiah apa yang cocok untuk pernikahan di Bali?", "Apakah saya harus melepas sepatu sebelum masuk?"),
    "it": ("Quale regalo si porta a un matrimonio?", "Devo togliermi le scarpe prima di entrare in casa?"),
    "ja": ("結婚式にはどんな贈り物がいいですか", "玄関で靴を脱ぐべきですか？"),
    "ka": ("რა საჩუქარი წავიღო ქორწილში?", "უნდა გავიხადო ფეხსაცმელი?"),
    "kk": ("Үйге кірер алдында аяқ киімді шешу керек пе?", "Үйлену тойына қандай сыйлық апарған жөн?"),
    "km": ("តើខ្ញុំគួរជូនអំណោយអ្វីក្នុងពិធីមង្គលការ?", "តើខ្ញុំត្រូវដោះស្បែកជើងទេ?"),
    "ko": ("결혼식에 어떤 선물이 좋을까요?", "들어가기 전에 신발을 벗어야 하나요?"),
    "lt": ("Kokią dovaną nešti į vestuves?", "Ar reikia nusiauti batus prieš įeinant?"),
    "lv": ("Kādu dāvanu nest uz kāzām?", "Vai man pirms ieiešanas jānoauj kurpes?"),
    "mr": ("लग्नात कोणती भेटवस्तू द्यावी?", "घरात जाण्यापूर्वी चपला काढाव्या लागतात का?"),
    "ms": ("Hadiah apakah yang sesuai untuk majlis perkahwinan?", "Perlukah saya menanggalkan kasut sebelum masuk?"),
    "my": ("မင်္ဂလာဆောင်မှာ ဘာလက်ဆောင်ပေးရမလဲ။", "အထဲမဝင်ခင် ဖိနပ်ချွတ်ရမလား။"),
    "ne": ("बिहेमा कस्तो उपहार लैजानु उचित हुन्छ?", "भित्र जानुअघि जुत्ता फुकाल्नुपर्छ कि पर्दैन?"),
    "nl": ("Welk cadeau past bij een bruiloft?", "Moet ik mijn schoenen uittrekken voordat ik naar binnen ga?"),
    "no": ("Hvilken gave bør jeg gi i et bryllup?", "Må jeg ta av meg skoene før jeg går inn?"),
    "pl": ("Jaki prezent wypada dać na ślub?", "Czy powinienem zdjąć buty przed wejściem?"),
    "pt": ("Que presente se leva a um casamento?", "Tenho de tirar os sapatos antes de entrar em casa?"),
    "ro": ("Trebuie să mă descalț înainte să intru?", "Vecina m-a invitat la ceai, ce îi duc?"),
    "ru": ("Какой подарок уместен на свадьбе?", "Нужно ли снимать обувь перед входом в дом?"),
    "sk": ("Aký darček sa hodí na svadbu?", "Mám sa pred vstupom vyzuť?"),
    "sl": ("Kakšno darilo se spodobi za poroko?", "Ali se moram sezuti, preden vstopim?"),
    "so": ("Hadiyad noocee ah ayaa ku habboon aroos?", "Ma in aan kabaha iska siibo ka hor intaanan gelin?"),
    "sq": ("Çfarë dhurate duhet të marr për dasmë?", "A duhet t'i heq këpucët para se të hyj?"),
    "sv": ("Vilken present passar till ett bröllop?", "Ska jag ta av mig skorna innan jag går in?"),
    "sw": ("Ni zawadi gani inayofaa kwa harusi?", "Je, ninapaswa kuvua viatu kabla ya kuingia ndani?"),
    "ta": ("திருமணத்திற்கு என்ன பரிசு கொடுக்கலாம்?", "உள்ளே போகும் முன் காலணியைக் கழற்ற வேண்டுமா?"),
    "te": ("పెళ్ళికి ఏ బహుమతి ఇవ్వాలి?", "లోపలికి వెళ్ళే ముందు చెప్పులు విప్పాలా?"),
    "th": ("ควรให้ของขวัญอะไรในงานแต่งงาน", "ต้องถอดรองเท้าก่อนเข้าบ้านไหม"),
    "tl": ("Anong regalo ang bagay sa kasal?", "Kailangan ko bang hubarin ang sapatos bago pumasok?"),
    "tr": ("Düğüne hangi hediyeyi götürmek uygun olur?", "İçeri girmeden önce ayakkabılarımı çıkarmalı mıyım?"),
    "uk": ("Який подарунок доречний на весіллі?", "Чи треба знімати взуття перед входом?"),
    "ur": ("شادی میں کون سا تحفہ دینا مناسب ہے؟", "کیا اندر جانے سے پہلے جوتے اتارنے چاہئیں؟"),
    "uz": ("Ichkariga kirishdan oldin poyabzalimni yechishim kerakmi?", "Mehmonga borganda nima olib borgan ma'qul?"),
    "vi": ("Nên tặng quà gì trong đám cưới?", "Tôi có phải cởi giày trước khi vào nhà không?"),
    "zh": ("参加婚礼送什么礼物比较合适？", "进门之前要脱鞋吗？"),
}
# Close relatives that one of two short questions may be taken for.
RELATIVES = {"id": {"ms"}, "ms": {"id"}, "no": {"da"}, "da": {"no"}}
NOTHING = (
    *("", "   \n", "ok", "123", "🙂", "12/03/2024 10:30", "!!! ??? ...", "x = 1", "lol", "Tokyo", "水", "H2O CO2 NaCl"),
    *(
        "https://example.org/wie/begruesse/ich/meine/gastgeber",
        "asdfghjkl asdf",
        "aaaaaaaaaaaaaaaaaaaaaaaaaa",
        "a b c d e",
    ),
    *("```\nfor the name in the list of names: print(name)\n```", "\ud800\udfff", "\u2068\u2069\u200f", "①②③④"),
)
TRADITIONAL = ("參加婚禮送什麼禮物比較合適？", "進門之前要脫鞋嗎？", "請問第一次見長輩該說什麼話")


@pytest.mark.parametrize("code", QUESTIONS)
def test_question(code: str) -> None:
    """A short question shows its language; of two, one may be left open or taken for a close relative's."""
    found = [language.of(question) for question in QUESTIONS[code]]
    assert code in found
    assert set(found) <= {code, None} | RELATIVES.get(code, set())


def test_most_questions() -> None:
    """Of all questions at least 95 in a hundred show their language."""
    told = [language.of(question) == code for code, questions in QUESTIONS.items() for question in questions]
    assert sum(told) >= 0.95 * len(told)


@pytest.mark.parametrize("text", NOTHING)
def test_nothing_to_tell(text: str) -> None:
    """What is too short or no prose has no language."""
    assert (language.of(text), language.written(text)) == (None, None)


@pytest.mark.parametrize("text", ["Привет hello мир world как дела there", "안녕하세요 こんにちは 你好吗朋友 สวัสดีครับ"])
def test_several_scripts(text: str) -> None:
    """A text of several scripts, none of which is most of it, has no language."""
    assert language.of(text) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("What does “Ich wünsche euch alles Gute zur Hochzeit” mean, please?", "en"),
        ("「おもてなし」是什么意思？", "zh"),
        ("Was bedeutet der Ausdruck «mettre les pieds dans le plat» genau?", "de"),
        ("「おもてなしの心」", "ja"),
        ("Warum geht das nicht?\n```python\nfor the_name in list_of_the_names: print(the_name)\n```", "de"),
        ("React에서 useState 사용법 알려줘", "ko"),
        ("Pythonでlistを並べ替える方法", "ja"),
        ("Can you explain to me when people say ขอบคุณ in an office?", "en"),
    ],
)
def test_foreign_words(text: str, code: str) -> None:
    """What is quoted, code and single foreign words do not count against the writer's own words."""
    assert language.of(text) == code


def test_all_quoted() -> None:
    """Where all is quoted, the quotation is what is read."""
    assert language.of("«Wie begrüße ich meine Gastgeber in der Türkei?»") == "de"


@pytest.mark.parametrize("text", TRADITIONAL)
def test_traditional_characters(text: str) -> None:
    """Chinese is one language, and `written` tells its traditional characters apart."""
    assert (language.of(text), language.written(text)) == ("zh", "zh-Hant")


@pytest.mark.parametrize("text", QUESTIONS["zh"])
def test_simplified_characters(text: str) -> None:
    """Chinese in simplified characters is written `zh`."""
    assert language.written(text) == "zh"


def test_japanese_headline() -> None:
    """A little Kana among many Han characters is Japanese."""
    assert language.of("結婚式 招待状 返信 書き方") == "ja"


@pytest.mark.parametrize(("text", "code"), [("মই ৰাতিৰ আহাৰলৈ কি লৈ যাম?", "as"), ("ንድራር እንታይ ሒዘ ክመጽእ ኣለኒ?", "ti")])
def test_marked_letters(text: str, code: str) -> None:
    """A smaller language shows itself by letters that the larger one of its script does not use."""
    assert language.of(text) == code


@pytest.mark.parametrize("code", ["de", "ru", "tr", "vi"])
def test_capitals(code: str) -> None:
    """Capitals change nothing."""
    assert language.of(QUESTIONS[code][1].upper()) == code


def test_long_text() -> None:
    """Only the beginning is read."""
    beginning = (QUESTIONS["fr"][1] + " ") * 30
    assert len(beginning) > language.READ_CHARS
    assert language.of(beginning + QUESTIONS["de"][1] * 1000) == "fr"
    assert language.of(" " * language.READ_CHARS + QUESTIONS["de"][1]) is None


def test_codes() -> None:
    """Every language that can be told has a code of ISO 639-1."""
    labels = {label for labels in language._SHARED.values() for label in labels.split()} - set(language._MERGED)
    codes = labels | set(language._OWN.values()) | {code for code, _ in language._MARKS.values()}
    assert {code for code in codes if len(code) != 2 or not code.islower()} == set()


def test_ranges() -> None:
    """The ranges of characters follow one another without overlap, and each script has a language."""
    edges = [edge for start, end, _ in language._RANGES for edge in (start, end)]
    assert edges == sorted(set(edges))
    assert {script for _, _, script in language._RANGES} == {*language._OWN, *language._SHARED}


def test_threads() -> None:
    """Many threads at once get what one gets."""
    questions = [question for pair in QUESTIONS.values() for question in pair]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(language.of, questions * 3)) == [language.of(question) for question in questions] * 3


def test_other_process() -> None:
    """Another process, with another order of hashing, tells the same."""
    questions = [question for pair in QUESTIONS.values() for question in pair]
    script = "import json, sys; from detection.language import of; print(json.dumps([*map(of, json.load(sys.stdin))]))"
    other = subprocess.run(  # noqa: S603 - the line above
        [sys.executable, "-c", script],
        input=json.dumps(questions),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert json.loads(other.stdout) == [language.of(question) for question in questions]


@settings(deadline=None)  # the first call reads the classifier
@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    """Any text has a language of two letters or none, and nothing is raised."""
    found = language.of(text)
    assert found is None or (len(found) == 2 and found.islower())
