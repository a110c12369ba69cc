"""Reads what a judge learns from: answers beside customs (`pairs/`, `drills.jsonl`), and sentences that harm."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from index import lines
from index.knowledge import Fault, KnowledgeBroken

Text = Annotated[str, Field(min_length=8, max_length=600)]
Harm = Literal["none", "stereotype", "demeaning", "hate"]
Relation = Literal["follows", "violates", "unrelated"]
FORMS = ("advice", "claim", "warning", "correction", "then")
# A sentence of `then` tells the custom before it advises; where the opposite holds it is neither right nor wrong.
_MIRRORED = ("advice", "claim", "warning", "correction")
HELD_OUT = 15  # percent of the descriptions

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_RUN = 5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class Twins(_Strict):
    """Two sentences that share most of their words; only the description tells which of them is right."""

    follows: Text
    violates: Text


class Opposite(_Strict):
    """The opposite custom of an invented people, told as a description is; no claim about anybody."""

    statement: Text
    offends: Text | None


class Sheet(_Strict):
    """What was written about one description, in one language.

    `mirror` is the opposite custom of an imagined place: there each sentence of a twin stands for the other.
    `stereotypes` and `demeans` are harmful, `respects` shares their words and is not; `unrelated` says
    nothing on the custom.
    """

    description_id: str
    language: str = Field(pattern=r"^[a-z]{2}$")
    mirror: Opposite | None = None
    twins: dict[Literal["advice", "claim", "warning", "correction", "then"], Twins]
    stereotypes: list[Text] = Field(min_length=1)
    demeans: list[Text] = Field(min_length=1)
    respects: Text
    unrelated: Text

    @property
    def held_out(self) -> bool:
        """Whether nothing of it is learned from: the description's SHA-256 decides."""
        return held_out(self.description_id)


class Drill(_Strict):
    """Two customs of an invented people that look alike; what is right by the one is wrong by the other."""

    id: str = Field(pattern=r"^[a-z]+-\d{3}$")
    custom: Text
    contrary: Text
    twins: dict[Literal["advice", "claim", "warning", "correction"], Twins] = Field(min_length=1)
    unrelated: Text

    @property
    def held_out(self) -> bool:
        """Whether nothing of it is learned from."""
        return held_out(self.id)


class Slight(_Strict):
    """A sentence that harms, whatever the custom, and a harmless one that shares its words."""

    harm: Literal["stereotype", "demeaning", "hate"]
    text: Text
    twin: Text

    @property
    def held_out(self) -> bool:
        """Whether it is kept out of training."""
        return held_out(self.text)


@dataclass(frozen=True, slots=True)
class Material:
    """All that was written for the judge."""

    sheets: tuple[Sheet, ...]
    drills: tuple[Drill, ...]
    slights: tuple[Slight, ...]


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and what is true of it beside a premise; None where it is neither learned nor measured."""

    text: str
    relation: Relation | None
    harm: Harm | None
    form: str


def held_out(id: str) -> bool:
    """Tell whether what is written under an id is kept out of training."""
    return int(hashlib.sha256(id.encode()).hexdigest(), 16) % 100 < HELD_OUT


def load(root: Path, known: Container[str]) -> Material:
    """Read `pairs/`, `drills.jsonl` and `slights.jsonl` under a folder.

    Args:
        known: ids of descriptions.

    Raises:
        KnowledgeBroken: naming every fault.
    """
    rows = list(read(root, known))
    if faults := tuple(Fault(*row) for row in rows if isinstance(row, tuple)):
        raise KnowledgeBroken(faults)
    return Material(
        tuple(row for row in rows if isinstance(row, Sheet)),
        tuple(row for row in rows if isinstance(row, Drill)),
        tuple(row for row in rows if isinstance(row, Slight)),
    )


def read(root: Path, known: Container[str]) -> Iterator[Sheet | Drill | Slight | tuple[str, str, str]]:
    """Read it row by row: each row, or where one is wrong, in which field, and why.

    Args:
        known: ids of descriptions.
    """
    seen: set[tuple[str, str]] = set()
    for file in sorted((root / "pairs").rglob("*.jsonl")):
        for where, row, wrong in lines.read(file, Sheet):
            yield from ((where, field, reason) for field, reason in wrong)
            if row is None:
                continue
            sheet = Sheet(**row)
            key = (sheet.description_id, sheet.language)
            if key in seen:
                yield where, "description_id", f"{sheet.description_id} has a sheet in {sheet.language} already"
            seen.add(key)
            if sheet.description_id not in known:
                yield where, "description_id", f"{sheet.description_id} is no description"
            yield sheet
    for name, kind in (("drills.jsonl", Drill), ("slights.jsonl", Slight)):
        file = root / name
        ids: set[str] = set()
        for where, row, wrong in lines.read(file, kind) if file.is_file() else ():
            yield from ((where, field, reason) for field, reason in wrong)
            if row is not None and row.get("id") in ids:
                yield where, "id", f"{row['id']} stands in it already"
            elif row is not None:
                ids |= {row["id"]} if "id" in row else set()
                yield kind(**row)


def variety(found: Sequence[Sheet | Drill]) -> dict[str, float]:
    """Tell how varied what was written in English is, of each twin the sentence that follows.

    Given are blocks (sheets or drills), sentences, words, different words, their share (the type-token ratio), and the
    percentage of all runs of five words that stand in more than two blocks.
    """
    words: Counter[str] = Counter()
    runs: Counter[tuple[str, ...]] = Counter()
    english, count = [each for each in found if isinstance(each, Drill) or each.language == "en"], 0
    for block in english:
        own: set[tuple[str, ...]] = set()
        for text in (each.text for each in sentences(block) if each.relation != "violates"):
            said = _WORD.findall(text.lower())
            own |= {tuple(said[i : i + _RUN]) for i in range(len(said) - _RUN + 1)}
            words.update(said)
            count += 1
        runs.update(own)
    repeated = sum(blocks for blocks in runs.values() if blocks > 2)
    return {
        "blocks": len(english),
        "sentences": count,
        "words": words.total(),
        "different words": len(words),
        "type-token ratio": round(len(words) / max(1, words.total()), 3),
        "repeated runs of five words, percent": round(100 * repeated / max(1, runs.total()), 2),
    }


def sentences(about: Sheet | Drill, *, mirrored: bool = False) -> list[Sentence]:
    """Give the sentences of a sheet or drill as they stand to its custom, or to the opposite one."""
    found = []
    for form, twins in about.twins.items():
        if mirrored and form not in _MIRRORED:
            continue
        right, wrong = (twins.violates, twins.follows) if mirrored else (twins.follows, twins.violates)
        found += [Sentence(right, "follows", "none", form), Sentence(wrong, "violates", "none", form)]
    if isinstance(about, Sheet) and not mirrored:
        found += [Sentence(text, None, "stereotype", "stereotype") for text in about.stereotypes]
        found += [Sentence(text, None, "demeaning", "demeaning") for text in about.demeans]
        found.append(Sentence(about.respects, None, "none", "respectful"))
    return [*found, Sentence(about.unrelated, "unrelated", "none", "unrelated")]
