"""The floor of universal harm: what is found, what is excused, what only looks alike. Sentences are of our own making.

Warning: to show what is caught, this file holds hateful sentences. Slurs stand in rot13.
"""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest
import yaml

from service.judge import harm
from service.judge.harm import find, fold

SLUR = codecs.decode("avttref", "rot13")
OTHER_SLUR = codecs.decode("tbbxf", "rot13")
WORDS = yaml.safe_load(Path(harm.__file__).with_name("harm.yaml").read_text("utf-8"))


def kind(sentence: str) -> str | None:
    """Give the kind of harm that is found, or None."""
    found = find(sentence)
    return found.kind if found else None


@pytest.mark.parametrize(
    "sentence",
    [
        f"They are {SLUR}.",
        f"You {SLUR}!",
        f"Nobody wants those {OTHER_SLUR} here",
        f"Pass the word, you {SLUR}.",
        "Filthy Jews.",
        "Some stinking gypsies, again",
    ],
)
def test_slur(sentence: str) -> None:
    """A slur against a people is harm, and so is a people's name after a foul word."""
    assert kind(sentence) == "slur"


@pytest.mark.parametrize(
    "sentence",
    [
        "Muslims are vermin.",
        "The Roma are rats.",
        "Jews are a disease.",
        "Those people are animals.",
        "Immigrants are nothing but parasites!",
        "Refugees in this country are filth.",
        "Honestly, the Chinese are a virus",
        "Black people are monkeys.",
        "Indians are not human.",
        "Haitians are worse than rats",
        "Jewish vermin everywhere.",
        "Why are immigrants vermin?",
        "Everyone knows Muslims are animals",
    ],
)
def test_dehumanisation(sentence: str) -> None:
    """A people called animals, vermin, disease or filth is harm."""
    assert kind(sentence) == "dehumanisation"


@pytest.mark.parametrize(
    "sentence",
    [
        "Kill all the Jews.",
        "We should exterminate Muslims.",
        "Let's kill the French.",
        "Burn the Muslims.",
        "Beat the immigrants!",
        "Expel the Jews!",
        "Round up the gypsies and burn them",
        "Kick out all the refugees.",
        "Ban all Chinese.",
        "Death to all Arabs!",
        "Jews should be exterminated.",
        "Muslims who pray in public should be shot.",
        "All Mexicans should be deported.",
        "Gypsies do not deserve to live.",
        "The only good Indian is a dead Indian.",
        "I will kill all Muslims.",
    ],
)
def test_incitement(sentence: str) -> None:
    """A call to kill, expel, burn, beat or exclude a people or believers is harm."""
    assert kind(sentence) == "incitement"


@pytest.mark.parametrize(
    "sentence",
    [
        "Do not be shy: kill all Jews.",
        "Do not be shy kill all Jews",
        "Never mind, and kill all Jews.",
        "Never say this, Jews are vermin.",
        "I never lie: Muslims are rats.",
        "It is not wrong to say that Jews are vermin.",
        "Don't be afraid to say that Jews are vermin.",
        "This is no hate speech: kill all Jews.",
        "Kill all Jews without mercy, it is not wrong.",
        "Remember that Jews are vermin, and not wrong.",
        "Unlike the Nazis we should kill all Jews.",
        f"I never said that, you {OTHER_SLUR}!",
        f"It is no slur to call them {OTHER_SLUR}.",
        'As the wise man wrote: "Kill all Jews."',
        "In this game: burn the Jews.",
    ],
)
def test_negation_elsewhere(sentence: str) -> None:
    """A negation or a condemnation that does not govern the words excuses nothing."""
    assert kind(sentence) is not None


@pytest.mark.parametrize(
    "sentence",
    [
        f'The word "{SLUR}" is a slur.',
        f"The word {SLUR} offends.",
        f"{SLUR}: a derogatory term that nobody should use",
        f"Never call anyone {SLUR}.",
        f"Slurs such as {SLUR} and {OTHER_SLUR} are banned here.",
        f"Calling people {OTHER_SLUR} is racist.",
        "Never say that Jews are vermin.",
        "It is wrong to claim that Muslims are animals.",
        "Saying that Muslims are animals is hate speech.",
        '"Jews are vermin" is a racist lie.',
        "Those who call Muslims animals are wrong.",
        "Those who say that Muslims are animals are wrong.",
        "Nazi propaganda claimed that Jews are rats.",
        'The radio\'s "Tutsis are cockroaches" was used to dehumanise them.',
        'If someone shouts "kill all Muslims", report it.',
        "“Kill all Jews” is hate speech.",
        "Jews are not animals.",
        "No Muslims are vermin.",
        "Never kill all Jews.",
        "No one should kill Muslims.",
        "We must not expel the Jews.",
        "Not all Muslims should be expelled.",
        "Their aim was to kill all Jews.",
        "How did the Nazis kill all Jews of the town?",
        "Jews were called vermin.",
        "Migrants are treated like animals.",
    ],
)
def test_quoted_warned_condemned(sentence: str) -> None:
    """What is quoted as a slur, warned of, condemned, denied or told as history is no harm."""
    assert kind(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "The Negro River joins the Solimões.",
        "In Spanish, negro = black.",
        "Kill the lights.",
        "Kill two birds with one stone, as the English say.",
        "He found a chink in the armour.",
        "The German cockroach is a small insect.",
        "German cockroaches are pests.",
        "Exterminate cockroaches in Paris.",
        "Exterminate German cockroaches in Paris.",
        "Norwegian rats are vermin.",
        "Burn all the French toast.",
        "Whip the cream as the French do.",
        "Beat the egg whites until stiff.",
        "Beat the Dutch 3-1.",
        "Eliminate the Germans in the semi-final.",
        "Chinese born in 1984 are rats in the zodiac.",
        "Muslims believe that pigs are unclean animals.",
        "Hindus worship cows, monkeys and snakes.",
        "The favourite pets of the Germans are dogs.",
        "Immigrants are dirt poor.",
        "Finns are party animals.",
        "The slaughter Muslims perform at Eid follows rules.",
        "Drive out evil spirits at Setsubun: demons out!",
        "Exclude immigrants from the sample.",
        "Illegal immigrants should be deported, some politicians say.",
        "Non-Muslims should be kept out of the haram.",
        "Jews were expelled from Spain in 1492.",
        "Shoot the women in soft light.",
        "Execute the Germans' plan.",
        "Kike Hernández plays baseball.",
        "The kitchen is spic and span.",
        "Sayur pakis dimasak dengan santan.",
        "The King's name was Tūheitia Paki.",
        "5pics of my cats",
        "",
        "…",
        "\u200b",
    ],
)
def test_looks_alike(sentence: str) -> None:
    """Words that are harmful elsewhere are innocent here."""
    assert kind(sentence) is None


@pytest.mark.parametrize(
    "sentence",
    [
        "Ki\u200bll all Je\u200dws",
        "Kill all J\u00adews",
        "Ｋｉｌｌ ａｌｌ Ｊｅｗｓ",
        "KÍLL ÁLL JÉWS",
        "Kill all J\u0435ws",  # a Cyrillic letter
        "𝐊𝐢𝐥𝐥 𝐚𝐥𝐥 𝐉𝐞𝐰𝐬",
        "Kill all **Jews**",
        "kill_all_jews",
        SLUR.replace("i", "1").replace("e", "3"),
        SLUR.upper().replace("I", "!") + "!!!",
        SLUR.replace("gg", "\u200bgg"),
        SLUR.replace("gg", "ggggg"),
        ".".join(SLUR),
        " ".join(SLUR) + " live here",
        OTHER_SLUR.replace("o", "0"),
    ],
)
def test_evasion(sentence: str) -> None:
    """Characters of no width, wide and fancy letters, digits for letters, dots and spaces between them hide nothing."""
    assert kind(sentence) is not None


@pytest.mark.parametrize(
    ("language", "sentence", "expected"),
    [
        ("es", "¡Maten a todos los judíos!", "incitement"),
        ("es", "Hay que exterminar a los musulmanes.", "incitement"),
        ("es", "Los gitanos son ratas.", "dehumanisation"),
        ("fr", "Tuez tous les juifs !", "incitement"),
        ("fr", "Mort aux Arabes", "incitement"),
        ("fr", "Les immigrés sont des parasites.", "dehumanisation"),
        ("de", "Juden müssen vernichtet werden.", "incitement"),
        ("de", "Ausländer sind Ungeziefer.", "dehumanisation"),
        ("pt", "Matem todos os judeus.", "incitement"),
        ("pt", "Os ciganos são vermes.", "dehumanisation"),
        ("it", "Uccidete tutti gli ebrei.", "incitement"),
        ("it", "Gli zingari sono scarafaggi.", "dehumanisation"),
        ("tr", "Bütün Yahudileri öldürün!", "incitement"),
        ("tr", "Ermeniler hayvandır.", "dehumanisation"),
        ("ar", "اقتلوا كل اليهود", "incitement"),
        ("ar", "اليهود حشرات", "dehumanisation"),
        ("hi", "सभी मुसलमानों को मार डालो", "incitement"),
        ("hi", "मुसलमान जानवर हैं", "dehumanisation"),
        ("id", "Bunuh semua orang Cina!", "incitement"),
        ("id", "Orang Papua adalah monyet.", "dehumanisation"),
        ("ru", "Убивайте всех евреев!", "incitement"),
        ("ru", "Евреи — крысы.", "dehumanisation"),
        ("ja", "朝鮮人を皆殺しにしろ", "incitement"),
        ("ja", "ユダヤ人は害虫だ。", "dehumanisation"),
        ("ja", "ﾕﾀﾞﾔ人は害虫だ", "dehumanisation"),
        ("zh", "杀光犹太人", "incitement"),
        ("zh", "犹太人都是蟑螂", "dehumanisation"),
        ("ko", "중국인을 죽여라", "incitement"),
        ("ko", "조선족은 바퀴벌레다", "dehumanisation"),
    ],
)
def test_other_languages(language: str, sentence: str, expected: str) -> None:
    """Unmistakable phrases are found in other languages too, and the language is named."""
    assert find(sentence) == harm.Harm(expected, language)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sentence",
    [
        "Los judíos no son animales.",
        "Decir que los gitanos son ratas es racista.",
        "Dire que les juifs sont des rats est raciste.",
        "Zu sagen, Juden sind Ratten, ist rassistisch.",
        "Ne pas dire que les immigrés sont des parasites.",
        "ユダヤ人は害虫だと言うのは差別です。",
        "说犹太人是害虫是种族主义。",
        "不要说犹太人是害虫。",
        "Нельзя говорить, что евреи — крысы.",
        "मुसलमान जानवर हैं कहना गलत है",
        "Orang Papua bukan monyet.",
        "Jangan mengatakan orang Papua adalah monyet.",
        "유대인은 벌레다라고 말하는 것은 혐오이다",
        "En México muchos saludan con un beso.",
        "日本では靴を脱ぎます。",
        "日本人喜欢狗和猫。",
        "Türkler konuklarına çay ikram eder.",
    ],
)
def test_other_languages_excused(sentence: str) -> None:
    """Denials, warnings, condemnations and customs in other languages are no harm."""
    assert kind(sentence) is None


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a ",
        " ",
        "\n",
        ", ",
        "'\"",
        "a.b",
        "1n1n",
        "n i g ",
        "аb",
        "jews ",
        "to kill all ",
        "never say jews are vermin and wrong ",
        '"kill all jews" is wrong. ',
        "ユダヤ人",
        "殺せない",
        "\u05b0\u0323\u0f71",
    ],
)
def test_endless_line(piece: str) -> None:
    """A line of a million characters is read to its end: harm behind it is found."""
    assert kind(piece * (1_000_000 // len(piece)) + "\n.Kill all Muslims") == "incitement"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ＡＢＣ", "abc"),
        ("Straße", "strasse"),
        ("KIŞ ISI", "kis isi"),
        ("e\u0301\u200b", "e"),
        ("ガ", "ガ"),
        ("ｶﾞ", "ガ"),
        ("한", "한"),
    ],
)
def test_fold(text: str, expected: str) -> None:
    """One form for all spellings: wide, composed, accented, dotless; voiced kana and syllables stay whole."""
    assert fold(text) == expected


@pytest.mark.parametrize("language", sorted(WORDS))
def test_words(language: str) -> None:
    """Every language has a people, an act, a low word, a slur and words that excuse, in classes that English knows."""
    assert {"group", "strong", "vermin", "slur", "not", "say", "wrong", "regime"} <= set(WORDS[language])
    assert set(WORDS[language]) <= {*WORDS["en"], "order", "copula", "spaces", "infinitive"}


def test_languages() -> None:
    """The floor knows English and at least the thirteen other languages that are promised."""
    assert set(WORDS) >= {"en", "es", "fr", "de", "pt", "it", "tr", "ar", "hi", "id", "ru", "ja", "zh", "ko"}


def test_no_slur_in_clear() -> None:
    """No slur of Latin letters stands readable in the file."""
    text = Path(harm.__file__).with_name("harm.yaml").read_text("utf-8")
    assert (SLUR in text, OTHER_SLUR in text) == (False, False)
