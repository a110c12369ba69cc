"""One index in a process of its own: what it takes to open and to search it, as JSON.

`python -m benchmarks.probe vectors FOLDER KIND` or `… index FOLDER ENCODER TEXTS STARTED`.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retrieval import search
from retrieval import vectors as stores
from retrieval.encoder import Vectors
from retrieval.search import Index
from retrieval.vectors import Rows, Store

K = 10
NOTES = 5  # descriptions that a query asks for
_LEAST = -2.0  # no score is under it
_WARM_UP = 20
_SCANS = 10  # comparisons with every vector


def main(arguments: list[str]) -> int:
    """Measure what is named and print it."""
    what, *rest = arguments
    sys.stdout.write(json.dumps(vectors(*rest) if what == "vectors" else index(*rest)) + "\n")
    return 0


def vectors(folder: str, kind: str) -> dict[str, Any]:
    """Open a store of vectors, read memory, search for each query.

    Args:
        folder: holds the store, all vectors, queries, and for each filter ("all" is none) its rows and the rows that
            are truly nearest.
    """
    root = Path(folder)
    queries = np.load(root / "queries.npy")
    before = resident()
    started = time.perf_counter()
    store = stores.load(root / "vectors.faiss", kind)
    opened = 1000 * (time.perf_counter() - started)
    searches: dict[str, Any] = {}
    for truth in sorted(root.glob("truth-*.npy")):
        name = truth.stem.removeprefix("truth-")
        rows = None if name == "all" else np.load(root / f"rows-{name}.npy")
        wanted = np.load(truth)
        asked = queries[: len(wanted)]
        took, found = _timed(asked, partial(_nearest, store, rows))
        hits = [len(set(one.tolist()) & set(two.tolist())) / len(two) for one, two in zip(found, wanted, strict=True)]
        searches[name] = {"ms": took, "recall": float(np.mean(hits)), "rows": None if rows is None else len(rows)}
    memory = resident()  # of all searches, before the vectors themselves are read
    every = np.load(root / "all.npy", mmap_mode="r")
    scan, _ = _timed(queries[:_SCANS], lambda query: np.argpartition(-(every @ query), K)[:K], warm_up=1)
    return {"open_ms": opened, "before": before, "resident": memory, "searches": searches, "scan_ms": scan}


def index(folder: str, encoder: str, texts: str, started: str) -> dict[str, Any]:
    """Open the serving version of an index and its encoder, then encode and search for each text.

    Args:
        texts: JSON file of texts by name.
        started: when this process was asked for, in seconds since 1970.
    """
    imported = time.time()
    found = search.open_current(Path(folder), encoder)
    opened = time.time()
    wanted = json.loads(Path(texts).read_text(encoding="utf-8"))
    culture = found.manifest.culture_ids[0]
    _find(found, (), "Whom do I greet first?")
    answered = time.time()
    times = {
        "import_s": imported - float(started),
        "open_s": opened - imported,
        "first_s": answered - opened,
        "cold_s": answered - float(started),
    }
    calls: dict[str, Callable[[str], Any]] = {
        "encode_ms": lambda text: found.encoder.encode_queries([text]),
        "whole_ms": partial(_find, found, ()),
        "culture_ms": partial(_find, found, (culture,)),
    }
    queries = {name: _in_turns(each, calls) for name, each in wanted.items()}
    return {**times, "resident": resident(), "descriptions": found.manifest.descriptions, "queries": queries}


def _nearest(store: Store, rows: Rows | None, query: Vectors) -> Rows:
    return store.search(query, rows, K)[1]


def _find(index: Index, cultures: tuple[str, ...], text: str) -> int:
    """Encode and search; give how many descriptions are found, which are none too few."""
    found = index.find(text, index.encoder.encode_queries([text])[0], cultures, NOTES, _LEAST)
    if not found:
        raise SystemExit("benchmarks: a search found nothing")
    return len(found)


def _timed(asked: Any, call: Callable[[Any], Any], warm_up: int = _WARM_UP) -> tuple[list[float], list[Any]]:
    """Give the milliseconds of each call, after some that do not count, and what the calls gave."""
    for each in asked[:warm_up]:
        call(each)
    took, given = [], []
    for each in asked:
        started = time.perf_counter()
        given.append(call(each))
        took.append(round(1000 * (time.perf_counter() - started), 4))
    return took, given


def _in_turns(asked: list[str], calls: dict[str, Callable[[str], Any]]) -> dict[str, list[float]]:
    """Give the milliseconds of each call for each text; the calls take turns, so that all meet the same machine."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for number, text in enumerate(asked[:_WARM_UP] + asked):
        for name, call in calls.items():
            started = time.perf_counter()
            call(text)
            if number >= _WARM_UP:
                took[name].append(round(1000 * (time.perf_counter() - started), 4))
    return took


def resident() -> dict[str, float]:
    """Give this process's resident memory, and the part of it that is no page of a file, MB of 1024² bytes."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = {name.lower(): int(kb) / 1024 for name, kb in re.findall(r"^(Rss|Anonymous):\s+(\d+)", text, re.MULTILINE)}
    return {name: round(size, 1) for name, size in found.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
