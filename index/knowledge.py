"""Reads the knowledge base: one JSON object a line, one file a culture, checked field by field and row against row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, field_validator

from index import cues, likeness, lines, names
from index.cues import Cue
from index.names import Name
from retrieval import cultures, description
from retrieval.cultures import Cultures
from retrieval.description import Description

Topic = Literal[
    "greetings",
    "dining",
    "gifts",
    "dress",
    "gestures",
    "religion",
    "family",
    "business",
    "holidays",
    "mourning",
    "hospitality",
    "communication",
    "taboos",
    "public_behaviour",
    "weddings",
]
TOPICS: tuple[str, ...] = get_args(Topic)
STATEMENT_WORDS = (12, 45)
ABSOLUTES = re.compile(r"\b(all|every|always|never|everyone|nobody|no one)\b", re.IGNORECASE)
_BREAK = re.compile(r"\w{3,}[.!?][\"'”’)]* (?=[A-Z])")  # between two sentences
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Scope(_Strict):
    region: str | None
    generation: str | None
    setting: str | None


class _Source(_Strict):
    author: str = Field(min_length=2)
    title: str = Field(min_length=2)
    url: Annotated[str, Field(min_length=8)]
    date: str = Field(pattern=r"^(\d{4}(-\d{2}(-\d{2})?)?|n\.d\.)$")
    says: str = Field(min_length=15)

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if "." not in (HttpUrl(value).host or "").strip(".") or not value.lower().startswith(("http://", "https://")):
            raise ValueError("is no address of a page; write it as https://www.example.org/page")
        return value


class _Row(_Strict):
    id: str
    culture: str
    topic: Topic
    statement: str
    offends: str | None
    questions: list[Annotated[str, Field(min_length=10, max_length=200)]] = Field(min_length=2, max_length=3)
    strength: Literal["strict_rule", "common_custom", "varies"]
    scope: _Scope
    harmful: bool
    sources: list[_Source] = Field(min_length=1)
    review: Literal["drafted", "source_checked", "person_verified"]
    language: Literal["en"]

    @field_validator("id")
    @classmethod
    def _is_slug(cls, value: str) -> str:
        if not _ID.fullmatch(value):
            raise ValueError("use lower-case words joined by hyphens, for example jp-dining-chopsticks-upright")
        return value

    @field_validator("statement")
    @classmethod
    def _is_one_hedged_statement(cls, value: str) -> str:
        low, high = STATEMENT_WORDS
        words = len(value.split())
        if not low <= words <= high:
            raise ValueError(f"has {words} words, wanted {low} to {high}")
        if found := ABSOLUTES.search(value):
            raise ValueError(f"says {found.group(0)!r}: describe customs of many, not traits of all")
        if len(_BREAK.findall(value)) > 1:
            raise ValueError("has more than two sentences: one custom a row")
        return value


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the knowledge: where (file:line), in which field, and why."""

    where: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.reason}"


class KnowledgeBroken(Exception):
    """The knowledge base has faults; nothing of it is used until they are mended."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults[:3]))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Knowledge:
    """A checked knowledge base."""

    cultures: Cultures
    descriptions: tuple[Description, ...]
    cues: tuple[Cue, ...] = ()
    names: tuple[Name, ...] = ()


def load(root: Path) -> Knowledge:
    """Read `cultures.jsonl`, `descriptions/*.jsonl`, sorted by id, `cues/*.jsonl` and `names.jsonl` under a folder.

    Raises:
        KnowledgeBroken: with every fault found, each naming file, line, field and reason.
    """
    try:
        registry = cultures.load(root / "cultures.jsonl")
    except (OSError, ValueError) as error:
        raise KnowledgeBroken((Fault(str(root / "cultures.jsonl"), "registry", str(error)),)) from error
    files = sorted((root / "descriptions").glob("*.jsonl"))
    if not files:
        raise KnowledgeBroken((Fault(str(root / "descriptions"), "files", "there are no *.jsonl files to index"),))
    faults: list[Fault] = []
    found: dict[str, Description] = {}
    places: dict[str, str] = {}
    for file in files:
        for where, read, wrong in lines.read(file, _Row):
            faults += [Fault(where, field, reason) for field, reason in wrong]
            if read is None:
                continue
            row = description.parse(read)
            faults += [Fault(where, field, reason) for field, reason in _misplaced(row, file.stem, registry, found)]
            found[row.id], places[row.id] = row, where
    if not faults and not found:
        faults.append(Fault(str(root / "descriptions"), "files", "the files hold no descriptions to index"))
    rows = tuple(found[id] for id in sorted(found))
    words, named = tuple(cues.read(root, registry)), tuple(names.read(root, registry))
    faults += [Fault(*each) for each in (*words, *named) if isinstance(each, tuple)]
    if not faults:
        faults += [Fault(places[row.id], field, reason) for row, field, reason in _between(rows, registry)]
    if faults:
        raise KnowledgeBroken(tuple(faults))
    return Knowledge(
        registry,
        rows,
        tuple(each for each in words if isinstance(each, Cue)),
        tuple(each for each in named if isinstance(each, Name)),
    )


def _between(rows: Sequence[Description], registry: Cultures) -> Iterator[tuple[Description, str, str]]:
    """Give what is wrong only beside the other rows, or in the light of their languages."""
    for first, second, share in likeness.repeats(rows, registry):
        yield second, "statement", f"says {share:.0%} of what {first.id} says; tell them apart, or keep one"
    classifier = _classifier()
    for row in rows:
        language, _ = classifier.classify(row.statement)
        if language != row.language:
            yield row, "statement", f"reads as {language}, and language says {row.language}"


@cache
def _classifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


def _misplaced(
    row: Description, stem: str, registry: Cultures, found: dict[str, Description]
) -> Iterator[tuple[str, str]]:
    if row.id in found:
        yield "id", f"{row.id} occurs twice; ids are unique for ever"
    if row.culture not in registry:
        yield "culture", f"{row.culture} is not in cultures.jsonl; add it there first"
    if row.culture != stem:
        yield "culture", f"{row.culture} stands in the file of {stem}; one file a culture"
    if not row.id.startswith(f"{row.culture.lower()}-{row.topic.replace('_', '-')}-"):
        yield "id", f"{row.id} must begin with its culture and topic"
