"""What somebody plainly says of themselves is theirs, and what they say of others is not."""

from __future__ import annotations

import pytest

from detection import asker, folding
from detection.table import Kind


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("I am Thai", "Thai", "people"),
        ("I\u2019m a proud Nigerian", "Nigerian", "people"),
        ("My family is from Thailand; what gift?", "Thailand", "country"),
        ("My parents come from Chennai", "Chennai", "city"),
        ("I was born in Lagos", "Lagos", "city"),
        ("As a Sikh, what do I wear?", "Sikh", "people"),
        ("in our Korean household", "Korean", "people"),
    ],
)
def test_own(text: str, name: str, kind: Kind) -> None:
    """First person before a people or an origin makes it the asker's own."""
    start = text.index(name)
    assert asker.is_own(kind, folding.fold(text).text, start, start + len(name))


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("I am meeting Japanese guests", "Japanese", "people"),
        ("Are Germans punctual?", "Germans", "people"),
        ("What do I wear in Japan?", "Japan", "country"),
        ("My boss is from Peru", "Peru", "country"),
    ],
)
def test_of_others(text: str, name: str, kind: Kind) -> None:
    """Whom the asker deals with, or where they go, is not who they are."""
    start = text.index(name)
    assert not asker.is_own(kind, folding.fold(text).text, start, start + len(name))
