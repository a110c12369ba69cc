"""What is learned from lessons: marks are read exactly, broken ones are named, and a small lesson teaches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adaptation import detector
from adaptation.detector import LessonsBroken, Mark
from detection.mentions import Names
from detection.weights import Weights
from service.guard import Guard


@pytest.fixture(scope="module")
def names(guard: Guard) -> Names:
    """The names that the service knows."""
    return guard.names


def test_marks() -> None:
    """A text loses its marks and keeps their places, cultures and roles."""
    text, marks = detector.parse("Is [[Jordan]] in [[Jordan|JO|setting]] for [[Nowruz|IR, AF|setting]]?")
    assert text == "Is Jordan in Jordan for Nowruz?"
    assert marks == [
        Mark(3, 9, (), None),
        Mark(13, 19, ("JO",), "setting"),
        Mark(24, 30, ("IR", "AF"), "setting"),
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("In [[Peru|PE|host]]", "host is no role"), ("In [[Peru", "not closed"), ("In [[Peru|PE]]", "not closed")],
)
def test_broken_lesson(tmp_path: Path, content: str, reason: str) -> None:
    """A broken lesson is named with its file and line."""
    file = tmp_path / "lessons.jsonl"
    file.write_text(json.dumps({"messages": [{"role": "user", "content": content}]}) + "\n", encoding="utf-8")
    with pytest.raises(LessonsBroken, match=rf"lessons\.jsonl:1: .*{reason}"):
        list(detector.read([file]))


def test_what_is_learned(names: Names) -> None:
    """From a few lessons a name after "in" is meant and one after "eat" is not."""
    countries = ("Jordan", "Chad", "Cuba", "Turkey", "Georgia", "Peru", "Mali", "Niger")
    frames = (
        "We live in [[X|%s|setting]] now",
        "They eat [[X]] daily",
        "They eat [[X]] now",
        "We eat [[X]] at noon",
        "I eat [[X]] with bread",
        "You eat [[X]] cold",
        "She eats [[X]] warm",
        "He wants to eat [[X]] alone",
        "Tell us of [[X|%s|subject]]",
        "Our clients come from [[X|%s|audience]]",
        "I was born in [[X|%s|user]]",
    )
    lessons = [
        [{"role": "user", "content": frame.replace("X", country).replace("%s", found(names, country))}]
        for country in countries
        for frame in frames
    ]
    table = detector.train(list(detector.rows(lessons, names)))
    learned = Weights(table)
    meant, not_meant = (
        learned.weigh(candidates, folded, around)[0].chance
        for folded, around, candidates in (names.candidates(text) for text in ("I live in Kenya", "I eat Kenya"))
        if around
    )
    assert not_meant + 0.2 < meant


def test_lessons_that_come_with_comity() -> None:
    """Every lesson is well formed, and marks of both sorts and all roles are among them."""
    lessons = list(detector.read(sorted(detector.LESSONS.glob("*.jsonl"))))
    marks = [mark for messages in lessons for said in messages for mark in detector.parse(said["content"])[1]]
    assert {mark.role for mark in marks} == {None, "setting", "audience", "subject", "user"}
    assert sum(not mark.cultures for mark in marks) > 500 < sum(bool(mark.cultures) for mark in marks)


def found(names: Names, country: str) -> str:
    return names.senses(country.lower())[0].culture
