"""How good the judge is: on labelled exchanges of one's own, and against text that tells it what to say."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation import calibrate, injections, labelled, quality
from evaluation.asking import REFUSED, Answer, Asker, ExchangeRefused, Target, Who, opened
from evaluation.calibrate import NotCalibrated, Rule
from evaluation.labelled import Labelled
from evaluation.quality import Judged
from evaluation.report import About, Report, Section
from evaluation.samples import SamplesUnusable
from evaluation.statistics import Draws


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured: labelled rows (None: none), with descriptions blanked too, injections; and what is written."""

    target: Target
    data: Path | None = None
    blank: bool = False
    injections: bool = True
    limit: int | None = None
    calibration: Path | None = None
    rule: Rule = field(default_factory=Rule)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was found, sentences that belong beside it, and whether the judge gave what was asked of it."""

    report: Report
    notes: tuple[str, ...]
    passed: bool


@dataclass(slots=True)
class _Found:
    """The tables and notes of a run as they grow."""

    sections: list[Section] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    passed: bool = True


def measure(wanted: Wanted, draws: Draws) -> Outcome:
    """Have everything judged and give the tables; a calibration is written last.

    Raises:
        SamplesUnusable: a row is broken or the service does not take it, or the options do not go together.
        JudgeUnusable, SettingsUnusable, IndexUnusable: there is nothing to ask.
        OSError: the calibration cannot be written.
    """
    rows, data = _rows(wanted)
    return asyncio.run(_measure(wanted, rows, data, draws))


def _rows(wanted: Wanted) -> tuple[tuple[Labelled, ...], bytes]:
    """Read and check everything that can be before anybody is asked."""
    if wanted.data is None:
        for option, given in (("--blank", wanted.blank), ("--calibrate", wanted.calibration is not None)):
            if given:
                raise SamplesUnusable(f"{option} needs --data with labelled exchanges")
        if not wanted.injections:
            raise SamplesUnusable("there is nothing to measure: give --data, or leave --no-injections out")
        return (), b""
    rows = labelled.read(wanted.data, wanted.limit)
    if wanted.blank:
        quality.blanked(rows)
    if wanted.calibration is not None:
        calibrate.enough(rows)
        if not wanted.calibration.parent.is_dir() or wanted.calibration.is_dir():
            raise SamplesUnusable(f"{wanted.calibration}: this is no place for a file")
    return rows, wanted.data.read_bytes()


async def _measure(wanted: Wanted, rows: Sequence[Labelled], data: bytes, draws: Draws) -> Outcome:
    found = _Found()
    async with opened(wanted.target) as asker:
        if rows:
            await _quality(wanted, rows, data, asker, draws, found)
        if wanted.injections:
            await _injections(asker, draws, found)
    if all(answer.verdict == "undecided" for answer in found.answers):
        reasons = Counter(answer.reason or answer.coverage for answer in found.answers).most_common(3)
        said = ", ".join(f"{reason} {count}" for reason, count in reasons)
        found.notes.append(f"the judge gave no verdict on any of {len(found.answers)} exchanges ({said})")
        found.passed = False
    about = About(asker.who.comity, asker.who.index, None, draws, wanted.limit, _named(asker.who, found.answers))
    return Outcome(Report("judge", about, tuple(found.sections), ()), tuple(found.notes), found.passed)


async def _quality(
    wanted: Wanted, rows: Sequence[Labelled], data: bytes, asker: Asker, draws: Draws, found: _Found
) -> None:
    answers = await _ask(rows, asker)
    found.answers += answers
    judged = Judged(rows, answers)
    found.sections += quality.sections(judged, draws)
    if wanted.blank:
        kept, without, wrong = quality.blanked(rows)
        other = await _ask([*without, *wrong], asker)
        own = Judged([rows[position] for position in kept], [answers[position] for position in kept])
        blank, swapped = Judged(own.rows, other[: len(kept)]), Judged(own.rows, other[len(kept) :])
        found.sections.append(quality.descriptions_matter(own, blank, swapped, draws))
    if wanted.calibration is not None:
        _calibrate(wanted.calibration, wanted.rule, judged, data, asker.who, draws, found)


def _calibrate(path: Path, rule: Rule, judged: Judged, data: bytes, who: Who, draws: Draws, found: _Found) -> None:
    try:
        made = calibrate.calibrate(judged, rule)
    except NotCalibrated as error:
        found.notes.append(str(error))
        found.passed = False
        return
    found.sections += calibrate.sections(made, draws)
    if not made.holds and not any(made.languages.values()):
        got = made.together
        found.notes.append(
            f"on the other half of the rows {got.recall:.1%} of the unsafe ones and {got.false_alarms:.1%} of the safe "
            "ones are flagged, which --min-recall and --max-false-alarms forbid: nothing is written"
        )
        found.passed = False
        return
    calibrate.write(path, made, who, rule, data)
    found.notes += [f"{axis}: no threshold is any use; it is left out" for axis in made.left_out]
    if others := {answer.judge for answer in judged.answers if answer.judge} - {made.judge}:
        found.notes.append(f"the thresholds are written for {made.judge}, but {', '.join(sorted(others))} judged too")
    if made.together.false_alarms > rule.max_false_alarms:
        found.notes.append(
            f"on the other half of the rows {made.together.false_alarms:.1%} of the safe ones are flagged, more than "
            f"the {rule.max_false_alarms:.1%} that were allowed where the thresholds were chosen"
        )
    if not any(made.languages.values()):
        found.notes.append("the thresholds are validated for no language")


async def _injections(asker: Asker, draws: Draws, found: _Found) -> None:
    suite, plain = injections.read(), injections.exchanges()
    before = await _ask(plain, asker)
    pairs = injections.pairs(suite, plain)
    after = await asker.ask([injections.put(*pair).body() for pair in pairs], strict=False)
    known = {exchange.id: answer for exchange, answer in zip(plain, before, strict=True)}
    trials = injections.trials(pairs, known, after)
    found.sections += injections.sections(trials, draws)
    if not any(trial.was_flagged for trial in trials):
        found.notes.append(
            "no unsafe exchange is flagged even without an injection: whether injections sway the judge cannot be seen"
        )
    if refused := sorted({trial.injection.id for trial in trials if trial.after.reason == REFUSED}):
        found.notes.append(f"the service did not take exchanges with these injections: {', '.join(refused)}")
    found.answers += [*before, *after]


async def _ask(rows: Sequence[Labelled], asker: Asker) -> list[Answer]:
    """Have rows judged; one that the service does not take is a bad row."""
    try:
        return await asker.ask([row.body() for row in rows])
    except ExchangeRefused as error:
        raise SamplesUnusable(f"{rows[error.position].where}: {error}") from error


def _named(who: Who, answers: Sequence[Answer]) -> str:
    """Name the judges that gave the verdicts, which need not be the one that the service has for other routes."""
    names = ", ".join(sorted({answer.judge for answer in answers if answer.judge})) or who.judge
    return f"{names} ({who.model})" if who.model else names
