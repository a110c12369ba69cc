from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import calibrate, quality
from evaluation.asking import Answer, Who
from evaluation.calibrate import NotCalibrated, Rule
from evaluation.labelled import Labelled
from evaluation.quality import Judged
from evaluation.samples import SamplesUnusable
from service.judge import calibration

SCORES = st.lists(st.tuples(st.integers(0, 100), st.booleans()), min_size=1, max_size=40)


def row(number: int, unsafe: bool, culture: str = "JP", group: str | None = None, language: str = "en") -> Labelled:
    """A labelled exchange."""
    texts = (f"description {number}",)
    group = f"q{number}" if group is None else group
    return Labelled(f"r{number}", "q", "a", unsafe, texts, (culture,), language, group, f"x:{number}")


def judged(*scores: tuple[bool, dict[str, float]]) -> Judged:
    """Rows with a label and scores by axis."""
    rows = [row(number, unsafe) for number, (unsafe, _) in enumerate(scores)]
    answers = [
        Answer("safe" if axes else "undecided", max(axes.values(), default=None), "partial", None, "j", axes)
        for _, axes in scores
    ]
    return Judged(rows, answers)


@given(SCORES, st.integers(0, 10))
def test_choose_best(pairs: list[tuple[int, bool]], allowed: int) -> None:
    """No cut that keeps to the false alarms has a better F1 than the one chosen, and none is given where none does."""
    scores, unsafe = np.array([float(s) for s, _ in pairs]), np.array([u for _, u in pairs])

    def quality_of(cut: float) -> float:
        flagged = scores >= cut
        hits, alarms = int((flagged & unsafe).sum()), int((flagged & ~unsafe).sum())
        return 2 * hits / (flagged.sum() + unsafe.sum()) if hits and alarms <= allowed else 0.0

    found = calibrate.choose(scores, unsafe, allowed)
    best = max((quality_of(cut) for cut in set(scores) if cut > 0), default=0.0)
    assert (0.0 if found is None else quality_of(found)) == pytest.approx(best)
    assert found is None or 0 < found <= 100


def test_choose_without_scores() -> None:
    """A row without a score is flagged by no threshold."""
    scores, unsafe = np.array([-np.inf, -np.inf, 10.0]), np.array([True, False, True])
    assert calibrate.choose(scores, unsafe, 0) == 10.0
    assert calibrate.choose(scores[:2], unsafe[:2], 5) is None


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_split(groups: list[int]) -> None:
    """Rows of one group are in one half, halves hold as many groups, and the order of rows is nothing."""
    rows = [row(number, True, group=str(group)) for number, group in enumerate(groups)]
    halves = calibrate.split(rows)
    of = {r.group: half for r, half in zip(rows, halves, strict=True)}
    assert [of[r.group] for r in rows] == halves
    assert 0 <= 2 * sum(of.values()) - len(of) <= 1
    assert calibrate.split(rows[::-1]) == halves[::-1]


def test_false_alarms_of_all_axes() -> None:
    """Axes that would each flag other safe rows are held to the limit together."""
    safe = [(False, {"custom": 60.0 if n < 4 else 0.0, "harm": 60.0 if 4 <= n < 8 else 0.0}) for n in range(100)]
    unsafe = [(True, {"custom": 60.0, "harm": 60.0} if n < 50 else {"custom": 90.0, "harm": 90.0}) for n in range(100)]
    everything = judged(*safe, *unsafe)
    chosen = everything.only(calibrate.split(everything.rows))
    found = calibrate.calibrate(everything, Rule(max_false_alarms=0.05))
    assert calibrate.rates(chosen, found.thresholds).false_alarms <= 0.05


def test_overall_decides() -> None:
    """Where an LLM gave its digit that decides, whatever word lists say; where it gave none, they do."""
    everything = judged(
        (False, {"overall": 10.0, "demeaning": 90.0}), (True, {"demeaning": 90.0}), (True, {"overall": 80.0})
    )
    found = calibrate.rates(everything, {"overall": 50.0, "demeaning": 50.0})
    assert (found.recall, found.false_alarms) == (1.0, 0.0)
    assert calibrate.rates(everything, {"demeaning": 50.0}).false_alarms == 1.0


def test_axis_without_use() -> None:
    """An axis that says nothing is left out, so that the service keeps its own threshold for it."""
    found = calibrate.calibrate(
        judged(*((n % 2 == 0, {"overall": 80.0 if n % 2 == 0 else 20.0, "harm": 0.0}) for n in range(120))), Rule()
    )
    assert dict(found.thresholds) == {"overall": 50.0}
    assert found.left_out == ("harm",)
    assert dict(found.languages) == {"en": True}


def test_language_with_poor_recall() -> None:
    """A language in which the thresholds find too little is not called validated."""
    everything = judged(*((n % 2 == 0, {"overall": 80.0 if n % 4 == 0 else 20.0}) for n in range(200)))
    assert dict(calibrate.calibrate(everything, Rule(min_recall=0.9)).languages) == {"en": False}


def test_judge_that_mostly_fails() -> None:
    """A calibration is not made of the few rows that a failing judge scored."""
    with pytest.raises(NotCalibrated, match="a score to 10 safe and 10 unsafe rows"):
        calibrate.calibrate(judged(*((n % 2 == 0, {"overall": 9.0} if n < 20 else {}) for n in range(120))), Rule())


def test_llm_that_fails_beside_word_lists() -> None:
    """Axes of the embedded judge beside an LLM that failed are no score of the whole."""
    made = judged(*((n % 2 == 0, {"custom": 0.0}) for n in range(120)))
    failed = Judged(made.rows, [replace(answer, verdict="undecided", score=None) for answer in made.answers])
    with pytest.raises(NotCalibrated, match="a score to 0 safe and 0 unsafe rows"):
        calibrate.calibrate(failed, Rule())


def test_enough() -> None:
    """Fifty rows of each label are enough where their questions differ."""
    calibrate.enough([row(n, n % 2 == 0) for n in range(100)])
    with pytest.raises(SamplesUnusable, match="50 safe and 50 unsafe rows, and there are 49 and 50"):
        calibrate.enough([row(n, n % 2 == 0) for n in range(99)])


def test_write_whole_or_not(tmp_path: Path) -> None:
    """A file that cannot be put into its place leaves nothing behind; one that can is what the service reads."""
    found = calibrate.calibrate(judged(*((n % 2 == 0, {"overall": 80.0 * (n % 2 == 0)}) for n in range(120))), Rule())
    (tmp_path / "taken").mkdir()
    who = Who("1.0", "v1", "j", "tiny")
    with pytest.raises(OSError, match="taken"):
        calibrate.write(tmp_path / "taken", found, who, Rule(), b"")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
    calibrate.write(tmp_path / "made.json", found, who, Rule(), b"")
    read = calibration.read(tmp_path / "made.json")
    assert (read.judge, dict(read.thresholds), read.languages) == ("j", {"overall": 40.0}, frozenset({"en"}))


@given(st.lists(st.sampled_from(["JP", "TR", "MX"]), max_size=20))
def test_blanked(cultures: list[str]) -> None:
    """Each row that can be compared gets descriptions of another culture, in turn, or none at all."""
    rows = [row(number, True, culture) for number, culture in enumerate(cultures)]
    if len(set(cultures)) < 2:
        with pytest.raises(SamplesUnusable, match="two cultures at least"):
            quality.blanked(rows)
        return
    kept, without, wrong = quality.blanked(rows)
    owner = {r.descriptions: r.cultures for r in rows}
    assert kept == list(range(len(rows)))
    assert all(r.descriptions == () for r in without)
    assert all(owner[r.descriptions] != r.cultures for r in wrong)
