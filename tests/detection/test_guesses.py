"""What a language suggests: three cultures to look at, those found first."""

from __future__ import annotations

from detection import guesses
from retrieval import cultures
from tests.conftest import ROOT

REGISTRY = cultures.load(ROOT / "knowledge" / "cultures.jsonl")


def test_found_come_first() -> None:
    """What was detected stands before those that speak the language, the largest of them first."""
    text = "Was bringe ich zum Abendessen bei den Eltern meiner Freundin mit, und wann soll ich da sein?"
    assert guesses.of(("JP",), text, REGISTRY) == ("JP", "DE", "AT")


def test_no_language() -> None:
    """Where the language cannot be told there are only those that were found."""
    assert guesses.of((), "12 + 7", REGISTRY) == ()


def test_at_most_three() -> None:
    """There are three at most, each once."""
    assert guesses.of(("ES", "MX", "AR", "PE"), "¿Qué llevo a la cena de mi suegra el domingo?", REGISTRY) == (
        "ES",
        "MX",
        "AR",
    )
