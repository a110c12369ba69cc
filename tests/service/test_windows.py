"""Windows of a text: where they end is a function of the text alone, and never in the middle of a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.windows import Cutter, Window, contiguous, windows

PROSE = (
    "Bring sweets when you visit. Take your shoes off at the door! Dr. Aydin will show you where. Is it late? "
    '"Stay a while." They will say so. 1. Wait to be seated. 2. Praise the food.\n\nLeave when tea is served again. '
)
PIECES = st.sampled_from(
    ["Come in. ", "Sit", " down", "! ", "\n\n", "。", "」", "你好", "e.g. ", "Dr. ", "1. ", "? ", '."', " ", "x" * 30]
)


def ends(text: str, size: int = 20, most: int = 100) -> list[str]:
    """The new part of each window."""
    return [text[window.fresh : window.end] for window in windows(text, size, most)]


@given(
    st.lists(PIECES, max_size=60).map("".join),
    st.lists(st.integers(1, 12), min_size=1, max_size=40),
    st.integers(1, 80),
    st.integers(1, 9),
)
def test_any_split(text: str, steps: list[int], size: int, most: int) -> None:
    """However a text is cut into frames, its windows are those of the whole text, and they leave nothing out."""
    cutter, found, position, turn = Cutter(size, most), list[Window](), 0, 0
    while position < len(text):
        step = steps[turn % len(steps)]
        found += cutter.feed(text[position : position + step])
        position, turn = position + step, turn + 1
    found += cutter.finish()
    assert found == windows(text, size, most)
    assert contiguous(found)
    assert found[0].start == 0
    assert found[-1].end == len(text)
    assert len(found) <= most
    assert cutter.text == text


def test_sentences_stay_whole() -> None:
    """Each window but the last ends with a sentence; an abbreviation, an initial and a list's number end none."""
    assert ends(PROSE) == [
        "Bring sweets when you visit. ",
        "Take your shoes off at the door! ",
        "Dr. Aydin will show you where. ",
        'Is it late? "Stay a while." ',
        "They will say so. 1. Wait to be seated. ",
        "2. Praise the food.\n",
        "\nLeave when tea is served again. ",
    ]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("靴を脱いでください。「どうぞ。」中へ入ります。そして座る。", "靴を脱いでください。「どうぞ。」"),
        ("अपने जूते उतारें। फिर अंदर आएँ। और बैठें।", "अपने जूते उतारें। "),
        ("هل تأخر الوقت؟ لا بأس. اجلس معنا.", "هل تأخر الوقت؟ "),
    ],
    ids=["Japanese", "Hindi", "Arabic"],
)
def test_other_scripts(text: str, first: str) -> None:
    """Stops of other scripts end a sentence, with and without white space after them."""
    assert ends(text, size=12)[0] == first


def test_overlap() -> None:
    """A window begins with the last sentence of the one before, so that no offence hides on a border."""
    text = "One is here now. Two is here now. Three is here now. Four. "
    first, second = windows(text, 30, 9)[:2]
    assert text[first.start : first.end] == "One is here now. Two is here now. "
    assert text[second.start : second.end].startswith("Two is here now. Three")


def test_text_without_an_end() -> None:
    """A text without any end of a sentence is one window, however long it is."""
    assert len(windows("word " * 20_000, 100, 9)) == 1


def test_no_more_than_allowed() -> None:
    """When the windows are used up the rest of the text is one window, judged at its end."""
    found = windows("Come in and sit. " * 50, 17, 4)
    assert len(found) == 4
    assert found[-1].end == 17 * 50


def test_empty_text() -> None:
    """An empty text has one empty window, so that it is judged (and found empty) all the same."""
    assert windows("", 100, 9) == [Window(0, 0, 0)]
