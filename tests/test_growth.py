"""What the measurement of search by size is made of: sentences retold, points between them, and the plot."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks import growth, plot, points
from benchmarks.points import Sentence
from retrieval.cultures import Culture
from retrieval.encoder import Vectors

GERMANY = Culture("DE", "Germany", ("German", "Germans"), ("Bundesrepublik",), ())
PERU = Culture("PE", "Peru", ("Peruvian",), (), ())


def vectors(count: int, seed: int = 0) -> Vectors:
    """Give unit vectors of 8 numbers."""
    return points.unit(np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("In Germany many Germans shake hands.", "In Peru many Peruvian shake hands."),
        ("The Bundesrepublik has a German way.", "The Peru has a Peruvian way."),
        ("Germanic words stay.", "Peru: Germanic words stay."),
        ("Guests bring flowers.", "Peru: Guests bring flowers."),
    ],
)
def test_sentence_told_of_another_people(text: str, expected: str) -> None:
    """One people's names take the place of another's; a sentence without a name is given one."""
    assert expected == points.retell(text, GERMANY, PERU)


def test_descriptions_of_many_peoples() -> None:
    """Rows are as many as wanted, first those of the knowledge itself, each with an id of its own and its culture."""
    found = list(points.descriptions(points.own() + 50))

    assert points.own() + 50 == len(found) == len({row["id"] for row in found})
    assert all(row["id"].startswith(row["culture"].lower()) for row in found)
    cultures = [{row["culture"] for row in part} for part in (found[: points.own()], found[points.own() :])]
    assert cultures[0].isdisjoint(cultures[1])


def test_more_descriptions_than_peoples() -> None:
    """What the registry cannot give is an error that says how many it gives."""
    with pytest.raises(ValueError, match=r"gives \d+ descriptions, wanted 1000000"):
        next(islice(points.descriptions(1_000_000), 999_999, None))


def test_sentences_of_the_knowledge() -> None:
    """Sentences are all different, and some of them, but fewer than half, are questions."""
    found = points.sentences(2_000)

    assert len(found) == len({sentence.text for sentence in found}) >= 2_000
    assert 200 < sum(sentence.asked for sentence in found) < 1_000


def test_texts_of_other_files(tmp_path: Path) -> None:
    """Of other files the fields with texts are read, each text once, questions apart."""
    rows = [
        {"text": "A  custom.", "culture": "PE", "id": "1"},
        {"query": "May I?", "text": "A custom.", "culture": "DE"},
        {"situation": "Somebody waits."},
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")

    expected = [Sentence("A custom.", "PE"), Sentence("May I?", "DE", True), Sentence("Somebody waits.", "None", True)]
    assert expected == points.read([tmp_path / "a.jsonl"])


@pytest.mark.parametrize(("mixed", "left"), [(False, 2), (True, 3)])
def test_queries_are_held_out(mixed: bool, left: int) -> None:
    """No query is in the base; other questions are in it only where they may be."""
    said = [Sentence("a", "PE"), Sentence("b", "DE", True), Sentence("c", "DE"), Sentence("d", "PE", True)]
    found = points.base(said, vectors(4), 1, mixed)

    assert (left, 1) == (len(found.vectors), len(found.queries))
    assert (found.vectors @ found.queries.T).max() < 0.999


@pytest.mark.parametrize("count", [10, 100, 1_000])
def test_points_between_sentences(count: int) -> None:
    """Points are as many as wanted and of length 1; real ones come first, all of them where there is room."""
    real, out = vectors(100), np.empty((count, 8), dtype=np.float32)
    points.grow(real, count, 0.1, out)

    assert np.allclose(np.linalg.norm(out, axis=1), 1, atol=1e-5)
    kept = (real @ out.T).max(axis=1) > 0.99999
    assert min(count, 100) == kept.sum()


def test_points_are_the_same_again() -> None:
    """The same base gives the same points."""
    first, second = np.empty((2, 500, 8), dtype=np.float32)
    for out in (first, second):
        points.grow(vectors(100), 500, 0.2, out)

    np.testing.assert_array_equal(first, second)


def test_more_noise_moves_further() -> None:
    """The more noise, the further points lie from what they were made of."""
    far = []
    for noise in (0.0, 0.2, 0.8):
        out = np.empty((2_000, 8), dtype=np.float32)
        points.grow(vectors(200), 2_000, noise, out)
        far.append(float((1 - points.nearest(out, vectors(200), 1)[0]).mean()))

    assert far == sorted(far)


def test_nearest_by_comparing_with_all() -> None:
    """Blocks give what one comparison with everything gives."""
    many, queries = vectors(50_001), vectors(3, seed=1)
    scores, rows = points.nearest(queries, many, 5)

    expected = np.argsort(-(queries @ many.T), axis=1)[:, :5]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(queries @ many.T, expected, 1), atol=1e-6)


def test_histogram_of_distances() -> None:
    """Every distance is counted, those beyond the last bin in it."""
    found = points.histogram(np.asarray([0.0, 0.01, 0.26, 0.99, 1.4], dtype=np.float32), width=0.25)

    assert found == [2, 1, 0, 2]


@pytest.mark.parametrize("size", [1_000, 10_000, 1_000_000])
def test_rows_that_searches_are_held_to(size: int) -> None:
    """Rows rise, are in the index, and those of a culture are 2,000."""
    found = growth.filters(size)

    assert found.pop("all") is None
    for name, rows in found.items():
        assert rows is not None
        assert (np.diff(rows) > 0).all()
        assert 0 <= rows[0] <= rows[-1] < size
        assert len(rows) == (size // 10 if name == "tenth" else 2_000)


def test_middle_of_rounds() -> None:
    """One bad round does not change the figures."""
    assert growth.middle([[1, 2, 3] * 100, [1, 2, 3] * 100, [50, 60, 70] * 100]) == {"p50": 2.0, "p99": 3.0}


def test_noise_whose_neighbours_are_as_far() -> None:
    """The level is judged by the 10th and the 100th neighbour together."""
    wanted = {"tenth": {"median": 0.3}, "hundredth": {"median": 0.4}}
    level = {"tenth": {"median": 0.25}, "hundredth": {"median": 0.5}}

    assert growth.apart(level, wanted) == pytest.approx(0.15)


def test_texts_of_a_number_of_tokens() -> None:
    """Texts have as many tokens as wanted, and differ."""
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found = growth.asked(tokenizer)

    for tokens, texts in found.items():
        assert {int(tokens)} == {len(text.split()) for text in texts}
        assert len(set(texts)) > 100


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1, 10), (0, 1)), ((0.03, 46), (-2, 2)), ((5,), (0, 1)), ((1_000, 1_000_000), (3, 6)), ((100,), (2, 3))],
)
def test_powers_of_ten_around_values(values: tuple[float, ...], expected: tuple[int, int]) -> None:
    """An axis runs between the powers of ten that hold its values."""
    assert expected == plot.decades(values)


def test_place_on_an_axis() -> None:
    """Equal ratios are equal distances."""
    assert [plot.place(value, (0, 2), 0, 100) for value in (1, 10, 100)] == [0, 50, 100]


def test_plot() -> None:
    """A plot is well-formed, with a point for each value and a name for each line."""
    panel = plot.Panel("a < b", "n", {"x & y": [(1, 1), (10, 5)], "z": [(1, 0.1)]})
    found = ElementTree.fromstring(plot.svg([panel, panel]))  # noqa: S314 - written here
    texts = [node.text for node in found.iter() if node.tag.endswith("}text")]

    assert sum(node.tag.endswith("}circle") for node in found.iter()) == 6
    assert (texts.count("a < b"), texts.count("x & y")) == (2, 2)
