"""Roles read from the words around a name."""

from __future__ import annotations

import pytest

from detection import roles
from detection.table import Kind


@pytest.mark.parametrize(
    ("text", "name", "kind", "expected"),
    [
        ("What do I wear in Japan?", "Japan", "country", "setting"),
        ("We have a supplier in Vietnam", "Vietnam", "country", "audience"),
        ("A guest from Kenya comes on Friday", "Kenya", "country", "audience"),
        ("We meet German clients in Nigeria", "Nigeria", "country", "setting"),
        ("A Sikh colleague starts on Monday", "Sikh", "people", "audience"),
        ("My Thai deputy avoids me", "Thai", "people", "audience"),
        ("I go to a Roma wedding", "Roma", "people", "setting"),
        ("Are Germans punctual?", "Germans", "people", "subject"),
        ("I am Korean", "Korean", "people", "user"),
        ("In my Lebanese family we fight over the bill", "Lebanese", "people", "user"),
        ("I am having Nigerian friends over", "Nigerian", "people", "audience"),
        ("Is there a dress code for Nowruz?", "Nowruz", "cue", "setting"),
    ],
)
def test_english(text: str, name: str, kind: Kind, expected: str) -> None:
    """A place is a setting, whom one deals with an audience, whom one talks about a subject, and "I" the user."""
    start = text.index(name)
    assert roles.of(kind, text, start, start + len(name), english=True) == expected


@pytest.mark.parametrize(
    ("text", "name", "kind", "expected"),
    [
        ("Was schenkt man in Japan?", "Japan", "country", "setting"),
        ("eine Kundin aus Japan", "Japan", "country", "audience"),
        ("mi suegra filipina", "filipina", "people", "audience"),
        ("je suis japonais", "japonais", "people", "user"),
    ],
)
def test_elsewhere(text: str, name: str, kind: Kind, expected: str) -> None:
    """In other languages a people is dealt with, and a place is where it happens, unless somebody is from there."""
    start = text.index(name)
    assert roles.of(kind, text, start, start + len(name), english=False) == expected
