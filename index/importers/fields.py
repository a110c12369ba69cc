"""Turns a row into a description: which column is which field, what its values mean, and all that is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from index.importers import topics, values
from index.importers.names import Names, fold
from index.importers.rows import Row, cell, short
from index.importers.topics import OTHER
from index.knowledge import TOPICS, Fault, KnowledgeBroken
from retrieval.description import Description, Source

SKIP = "skip"  # what a culture's name may be mapped to: its rows are left out
_CHECKS: dict[str, Callable[[Any], Any]] = {
    "culture": values.text,
    "id": values.id,
    "topic": values.topics,
    "statement": values.text,
    "offends": values.text,
    "questions": values.texts,
    "strength": values.strength,
    "agreement": values.agreement,
    "harmful": values.flag,
    "language": values.language,
    "region": values.text,
    "generation": values.text,
    "setting": values.text,
    "sources": values.sources,
    "source.author": values.text,
    "source.title": values.text,
    "source.url": values.address,
    "source.date": values.date,
    "source.says": values.text,
}
FIELDS = tuple(_CHECKS)
# Of a file without a format of its own: fields stand in columns of their names, or as rows of the knowledge hold them.
ALIKE = {field: (field,) for field in FIELDS} | {
    field: (field, f"scope.{field}") for field in ("region", "generation", "setting")
}
Columns = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of one file are read."""

    origin: str
    names: Names
    columns: Columns
    source: Source | None = None  # of rows that name none
    culture: str | None = None  # likewise
    cultures: Mapping[str, str] = field(default_factory=dict)  # folded names; "*" is every name that is not known
    topics: Mapping[str, str] = field(default_factory=dict)
    asked: frozenset[str] = frozenset()  # the columns that the file must have

    def find(self, name: str | None) -> str:
        """Give the id of the culture of a row, or SKIP.

        Raises:
            ValueError: the name is not known, or none is given, or it is another than was said of the whole file.
        """
        if not name:
            if self.culture is None:
                raise ValueError("is missing; name it there, or give --culture for the whole file")
            return self.culture
        if given := self.cultures.get(fold(name)):
            return given
        try:
            found = self.names.find(name)
        except ValueError:
            if "*" not in self.cultures:
                raise
            return self.cultures["*"]
        if self.culture not in (None, found):
            raise ValueError(f"is {found}, and --culture says {self.culture}; leave one of them out")
        return found


def lay(plan: Plan, fields: Mapping[str, str], culture: str | None, *, named: bool) -> Plan:
    """Lay a map of fields, and what was said of the whole file, over the plan of a format.

    Args:
        fields: a field to its column ("" for none), `culture=NAME` to an id or SKIP, `topic=NAME` to a topic.
        culture: an id, a code or a name.
        named: whether the format has columns that can be named.

    Raises:
        KnowledgeBroken: the map or `culture` cannot be used; with every fault.
    """
    faults: list[Fault] = []
    columns, meanings = dict(plan.columns), {"culture": dict(plan.cultures), "topic": dict(plan.topics)}
    for key, value in fields.items():
        kind, equals, name = key.partition("=")
        try:
            if equals and kind in meanings:
                meanings[kind]["*" if name == "*" else fold(name)] = _meaning(kind, value, plan.names)
            else:
                columns[_field(key, value, named)] = (value,) if value else ()
        except ValueError as error:
            faults.append(Fault("--map", short(key), str(error)))
    try:
        whole = None if culture is None else plan.names.find(culture)
    except ValueError as error:
        faults.append(Fault("--culture", "culture", str(error)))
    if faults:
        raise KnowledgeBroken(tuple(faults))
    needed = {"statement", *fields} | ({"culture"} if culture is None else set())
    asked = frozenset(columns[name][0] for name in needed if columns.get(name))
    return replace(
        plan, columns=columns, asked=asked, culture=whole, cultures=meanings["culture"], topics=meanings["topic"]
    )


def describe(row: Row, where: str, plan: Plan, taken: Container[str]) -> Description | tuple[Fault, ...] | None:
    """Turn a row into a description; None when its culture is to be skipped, and its faults when it has any.

    Args:
        taken: the ids that a made one must not be.
    """
    read, faults = _read(row, where, plan)
    statement, culture, wrong = read.get("statement", ""), SKIP, {fault.field for fault in faults}
    if not statement and "statement" not in wrong:
        faults.append(Fault(where, "statement", "is blank or missing; write the custom there, or take the row out"))
    if "culture" not in wrong:
        try:
            culture = plan.find(read.get("culture"))
        except ValueError as error:
            faults.append(Fault(where, "culture", str(error)))
        else:
            if culture == SKIP:
                return None
    if faults:
        return tuple(faults)
    return Description(
        id=_own(read["id"], culture, plan.origin) if read.get("id") else _made(culture, statement, plan.origin, taken),
        culture=culture,
        topic=topics.find(read.get("topic", ()), plan.topics),
        statement=statement,
        offends=read.get("offends"),
        questions=read.get("questions", ()),
        strength=read.get("strength") or read.get("agreement") or "common_custom",
        harmful=read.get("harmful", False),
        sources=_sources(read, plan),
        review="drafted",
        region=read.get("region"),
        generation=read.get("generation"),
        setting=read.get("setting"),
        language=read.get("language") or "en",
        origin=plan.origin,
    )


def _read(row: Row, where: str, plan: Plan) -> tuple[dict[str, Any], list[Fault]]:
    """Give the checked values of a row by field, and what is wrong with the others."""
    read: dict[str, Any] = {}
    faults = []
    for name, columns in plan.columns.items():
        found = next((value for column in columns if not values.missing(value := cell(row.cells, column))), None)
        if found is None:
            continue
        try:
            read[name] = _CHECKS[name](found)
        except ValueError as error:
            faults.append(Fault(where, name, str(error)))
    return read, faults


def _own(id: str, culture: str, origin: str) -> str:
    """Give the id that a row names, after its culture and origin unless it begins with its culture."""
    begin = f"{culture.lower()}-"
    return id if id.lower().startswith(begin) else f"{begin}{origin}-{id}"


def _made(culture: str, statement: str, origin: str, taken: Container[str]) -> str:
    """Make an id from the statement; a longer one where two statements begin alike."""
    digest = hashlib.sha256(statement.encode("utf-8")).hexdigest()
    ids = (f"{culture.lower()}-{origin}-{digest[:length]}" for length in (10, 20, 40, 64))
    return next(id for id in ids if id not in taken)


def _sources(read: Mapping[str, Any], plan: Plan) -> tuple[Source, ...]:
    parts = {field.removeprefix("source."): value for field, value in read.items() if field.startswith("source.")}
    one = values.source(parts) or plan.source
    return read.get("sources") or ((one,) if one else ())


def _meaning(field: str, value: object, names: Names) -> str:
    """Give the culture's id or the topic that a name in the file stands for."""
    if not isinstance(value, str):
        raise ValueError("wanted a text")
    if field == "culture":
        return value if value == SKIP else names.find(value)
    if value not in (*TOPICS, OTHER):
        raise ValueError(f"{short(value)} is no topic; use {', '.join((*TOPICS, OTHER))}")
    return value


def _field(key: str, column: object, named: bool) -> str:
    """Check that a field can be mapped to a column."""
    if not named:
        raise ValueError("this format has no columns to name; map only culture=… and topic=…")
    if key not in FIELDS:
        raise ValueError(f"is no field; use {', '.join(FIELDS)}, culture=… or topic=…")
    if not isinstance(column, str):
        raise ValueError("wanted the name of a column")
    return key
