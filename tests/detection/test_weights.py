"""What was learned of names in texts: weights add up, shares stay bounded, the file that is served can be read."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from detection import clues, folding, weights
from detection.clues import Candidate
from detection.table import Sense
from detection.weights import ROLES, Weights

FRANCE = Candidate(8, 14, 14, (Sense("country", "FR", 0.95),))


def weigh(table: dict[str, list[int]], text: str = "We love France") -> weights.Weighed:
    folded = folding.fold(text)
    return Weights(table).weigh([FRANCE], folded, clues.read(folded, english=True))[0]


def test_nothing_learned() -> None:
    """Without weights a name is as likely meant as not."""
    assert weigh({}).chance == 0.5


def test_weights_add_up() -> None:
    """The word before speaks for the name, the kind against it; what no feature names counts nothing."""
    both = {"<love": [200, 0, 0, 0, 0], "c": [-100, 0, 0, 0, 0], "<hate": [900, 0, 0, 0, 0]}
    assert weigh({"c": [-100, 0, 0, 0, 0]}).chance < 0.5 < weigh(both).chance < weigh({"<love": [200] + [0] * 4}).chance


def test_role_with_most_weight() -> None:
    """The role is the one that most speaks for."""
    for place, role in enumerate(ROLES):
        row = [0] * 5
        row[1 + place] = 10
        assert weigh({"<love": row}).role == role


def test_words_of_the_whole_text() -> None:
    """A word anywhere in the text counts, but less than one beside the name."""
    assert 0.5 < weigh({"*we": [100, 0, 0, 0, 0]}).chance < weigh({"<love": [100, 0, 0, 0, 0]}).chance


def test_huge_weights() -> None:
    """Weights of any size give a share."""
    assert weigh({"c": [10**9, 0, 0, 0, 0]}).chance == 1.0 or weigh({"c": [10**9, 0, 0, 0, 0]}).chance < 1.0
    assert 0.0 < weigh({"c": [-(10**9), 0, 0, 0, 0]}).chance < 1e-9


def test_served_file() -> None:
    """The weights that come with Comity know the plainest cases."""
    folded = folding.fold("We live in France")
    found = weights.load().weigh([Candidate(11, 17, 17, FRANCE.senses)], folded, clues.read(folded, english=True))[0]
    assert (found.chance > 0.9, found.role) == (True, "setting")


@settings(deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_features_of_any_text(before: str, after: str) -> None:
    """Whatever stands around a name has features, and few."""
    text = f"{before} France {after}"
    folded = folding.fold(text)
    start = folded.text.find("france")
    around = clues.read(folded, english=clues.is_english(text))
    found = clues.features([Candidate(start, start + 6, start + 6, FRANCE.senses)], 0, folded, around)
    assert 0 < len(found) < 120
    assert all(found)
