"""Whose culture a conversation is about: roles, order, hints, and when there is nothing to say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection.mentions import Names
from service.detect import detect
from service.guard import Guard
from service.turn import Detection, Evidence, Hints, Message
from tests.growth import growth

ROLE = st.sampled_from(["user", "system", "developer", "assistant", "tool"])
WORDS = st.sampled_from(["Japan", "Germans", "my Thai clients", "Osaka", "I am from Egypt", "hello", "İ", "", "😀"])


@pytest.fixture(scope="module")
def known(guard: Guard) -> Names:
    """The names that the service knows."""
    return guard.names


def ask(known: Names, *said: str | tuple[str, str], hints: Hints = Hints(), infer: bool = True) -> Detection:  # noqa: B008
    """Detect in a conversation; a plain text is a user's message."""
    messages = [Message("user", item) if isinstance(item, str) else Message(*item) for item in said]
    return detect(messages, hints, known, infer=infer, max_chars=200_000)


def roles(found: Detection) -> list[tuple[str, str]]:
    """Give (culture, role) of what was found, in order."""
    return [(item.culture, item.role) for item in found.found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What do I wear in Japan?", [("JP", "setting")]),
        ("Dinner in Osaka", [("JP", "setting")]),
        ("Are Germans punctual?", [("DE", "subject")]),
        ("Tell me about Japanese gifts", [("JP", "subject")]),
        ("I am Japanese", [("JP", "user")]),
        ("I'm a proud Nigerian", [("NG", "user")]),
        ("I am German. How do I host guests in Istanbul?", [("TR", "setting"), ("DE", "user")]),
        ("Can I wear a hanbok to the party?", [("KR", "setting")]),
        ("I live in Bavaria", [("DE", "setting")]),
        ("As an Indian, what do I say?", [("IN", "user")]),
        ("I was born in Mexico City", [("MX", "user")]),
        ("We come from Egypt", [("EG", "user")]),
        ("A toast for my Thai colleagues", [("TH", "audience")]),
        ("Write an email to our German clients", [("DE", "audience")]),
        (
            "I am Japanese. What do I give our German clients when we travel to Nigeria?",
            [("NG", "setting"), ("DE", "audience"), ("JP", "user")],
        ),
    ],
)
def test_roles(known: Names, text: str, expected: list[tuple[str, str]]) -> None:
    """A place is a setting, a people a subject unless it is addressed, and who asks is the user."""
    assert expected == roles(ask(known, text))


@pytest.mark.parametrize("name", ["Jewish", "Maori"])
def test_people_without_a_country(known: Names, name: str) -> None:
    """A people without a country of its own has the roles of a people."""
    assert [
        ask(known, text).found[0].role for text in (f"Tell me about {name} food", f"A toast for my {name} guests")
    ] == ["subject", "audience"]


def test_evidence(known: Names) -> None:
    """The evidence is the words, where they stand and in which message."""
    found = ask(known, ("system", "Be kind."), "😀 In JAPAN we meet Germans.")
    assert [(item.culture, item.role, item.evidence) for item in found.found] == [
        ("JP", "setting", (Evidence("country", "JAPAN", 5, 10, 1),)),
        ("DE", "audience", (Evidence("people", "Germans", 19, 26, 1),)),
    ]
    assert found.abstained is None


@settings(deadline=None)
@given(st.lists(st.tuples(ROLE, st.lists(WORDS, max_size=4).map(" ".join)), min_size=1, max_size=6))
def test_any_conversation(known: Names, said: list[tuple[str, str]]) -> None:
    """In any conversation evidence points at its words, cultures are given once, in order, or a reason is."""
    found = ask(known, *said)
    for item in found.found:
        for proof in item.evidence:
            assert proof.text == said[proof.message][1][proof.start : proof.end] != ""
        assert 0 < item.confidence <= 1
    rank = {role: number for number, role in enumerate(("setting", "audience", "subject", "user"))}
    order = [(rank[item.role], -item.confidence) for item in found.found]
    assert (sorted(order), len(set(found.ids))) == (order, len(found.found))
    assert (found.abstained is None) == bool(found.found)


@pytest.mark.parametrize("hints", [Hints(("TH", "x-jewish")), Hints(("TH", "x-jewish"), infer=False)])
@pytest.mark.parametrize("infer", [True, False])
def test_explicit_hint(known: Names, hints: Hints, *, infer: bool) -> None:
    """What the caller says wins over the text, whether inference is on or off."""
    found = ask(known, "What do I wear in Japan?", hints=hints, infer=infer)
    assert (roles(found), found.abstained) == ([("TH", "setting"), ("x-jewish", "setting")], None)
    assert {(1.0, "caller")} == {(item.confidence, item.evidence[0].kind) for item in found.found}


@pytest.mark.parametrize(("hints", "infer"), [(Hints(infer=False), True), (Hints(), False)])
def test_inference_is_off(known: Names, hints: Hints, *, infer: bool) -> None:
    """The caller's `none` and the operator's setting both switch inference off."""
    assert Detection(abstained="switched_off") == ask(known, "Japan", hints=hints, infer=infer)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no_text"),
        (" \n", "no_text"),
        ("😀", "no_evidence"),
        ("hello", "no_evidence"),
        ("RTL \u202e", "no_evidence"),
    ],
)
def test_nothing_found(known: Names, text: str, expected: str) -> None:
    """Where nothing is found the reason tells a text without evidence from no text."""
    assert Detection(abstained=expected) == ask(known, text)


@pytest.mark.parametrize(
    "text",
    [
        "A turkey sandwich on china plates",
        "Michael Jordan won",
        "Please polish the table",
        "Translate this into French",
        "translate it to Japanese, please",
        "How do I say hello in Spanish?",
        "I am learning German.",
        "Do you speak Thai?",
        "Tell us more",
    ],
)
def test_look_alikes(known: Names, text: str) -> None:
    """Ordinary words, persons and languages are no cultures."""
    assert roles(ask(known, text)) == []


def test_people_beside_its_language(known: Names) -> None:
    """A people's word still counts where it does not name the language."""
    found = ask(known, "Translate this into French. Why do French families eat late?")
    assert roles(found) == [("FR", "subject")]
    assert len(found.found[0].evidence) == 1


def test_system_prompt(known: Names) -> None:
    """What stands in the system or developer prompt is the audience, behind what the user asks about."""
    for speaker in ("system", "developer"):
        found = ask(known, (speaker, "You serve guests from Thailand."), "A meal in Japan?")
        assert roles(found) == [("JP", "setting"), ("TH", "audience")]


def test_others_are_not_read(known: Names) -> None:
    """What the assistant or a tool says is no evidence."""
    found = ask(known, "Where shall I go?", ("assistant", "To Japan!"), ("tool", "Germany"), "Thanks")
    assert Detection(abstained="no_evidence") == found


def test_tool_loop(known: Names) -> None:
    """What comes after the last user message changes nothing, so a tool loop finds the same each time."""
    asked = ("user", "A gift in Japan?")
    assert ask(known, asked) == ask(known, asked, ("assistant", ""), ("tool", "Germany"), ("system", "Thailand"))


def test_earlier_turns(known: Names) -> None:
    """The latest place comes first, an earlier one counts less, and one of long ago no longer."""
    found = ask(known, "In Japan?", ("assistant", "Yes."), "And in Mexico?")
    assert list(found.ids) == ["MX", "JP"]
    assert found.found[0].confidence > found.found[1].confidence
    assert [item.evidence[0].message for item in found.found] == [2, 0]
    assert roles(ask(known, "In Japan?", *["Go on."] * 8)) == []


def test_same_culture_again(known: Names) -> None:
    """The same culture in the same role gathers its evidence, the latest message first, up to eight."""
    found = ask(known, "In Japan.", "Japan, or Osaka?")
    assert roles(found) == [("JP", "setting")]
    assert [(proof.start, proof.message) for proof in found.found[0].evidence] == [(0, 1), (10, 1), (3, 0)]
    assert len(ask(known, "Japan. " * 50).found[0].evidence) == 8


def test_same_culture_in_several_roles(known: Names) -> None:
    """A culture in several roles keeps the first of them: setting, audience, subject, user."""
    assert roles(ask(known, "I am Japanese. Are the Japanese shy? I live in Japan.")) == [("JP", "setting")]


def test_own_culture_settles_no_shared_custom(known: Names) -> None:
    """What the asker says of themselves neither puts a shared custom on their culture nor makes it surer."""
    alone = ask(known, "What do I cook for Nowruz?")
    found = ask(known, "I am Tajik. What do I cook for Nowruz?")
    assert [item.culture for item in found.shown] == [item.culture for item in alone.found]
    assert [item.confidence for item in found.shown] == [item.confidence for item in alone.found]


def test_said_again(known: Names) -> None:
    """The same word in the same message is no further evidence."""
    once, often = (ask(known, "I live in Japan. " * count).found[0].chance for count in (1, 8))
    assert often <= 1.0 - (1.0 - once) * 0.5


def test_forgotten_turns(known: Names) -> None:
    """What was said too long ago neither is told nor settles a custom."""
    late = ask(known, "A dinner in Tajikistan", *["Go on."] * 9, "What do I cook for Nowruz?")
    assert late.ids == ask(known, "What do I cook for Nowruz?").ids


def test_inferred_about_the_asker(known: Names) -> None:
    """What was inferred about the person who asks is found but not shown; a caller's hint is shown."""
    found = ask(known, "I am Japanese and visit Mexico.")
    assert (list(found.ids), [item.culture for item in found.shown]) == (["MX", "JP"], ["MX"])
    assert len(ask(known, "", hints=Hints(("JP",))).shown) == 1


def test_characters_searched(known: Names) -> None:
    """Only so many characters are searched, those of the latest message first."""
    messages = [Message("user", "Japan"), Message("user", "x" * 95 + " Mexico")]
    for limit, expected in ((1000, ["MX", "JP"]), (102, ["MX"]), (100, [])):
        found = detect(messages, Hints(), known, infer=True, max_chars=limit)
        assert expected == list(found.ids)


def test_no_messages(known: Names) -> None:
    """No messages, or none of the user, are no failure."""
    assert Detection(abstained="no_text") == ask(known)
    assert roles(ask(known, ("system", "We are in Japan."))) == [("JP", "audience")]


@pytest.mark.parametrize("piece", ["I am Japanese and live in Japan. ", "translate into French ", "my ", "日本"])
def test_long_message(known: Names, piece: str) -> None:
    """1 MB takes about ten times as long as 100 KB, not its square."""

    def whole(text: str) -> Detection:
        return detect([Message("user", text)], Hints(), known, infer=True, max_chars=len(text))

    assert growth(whole, piece, 100_000) < 50
