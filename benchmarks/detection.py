"""How long detection takes, in one thread and with no network.

    python -m benchmarks.detection [--index var/index]

Messages are the English ones of `evaluation/mentions.jsonl`, joined to 200 words; the long text is 100,000 of
their characters. Beside each figure stands that of the matcher of names alone, in the same run: machines differ.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from detection.mentions import Names
from evaluation import matcher as matchers
from evaluation import samples
from evaluation.messages import MENTIONS
from retrieval import cultures
from retrieval.layout import Layout

_WORDS = 200
_LONG = 100_000
_ROUNDS = 20


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print a table of milliseconds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--index", type=Path, default=Path("var/index"), help="folder of the index")
    version = Layout(parser.parse_args(arguments).index).current()
    registry = cultures.load(version.cultures)
    before = _megabytes()
    began = time.perf_counter()
    names = Names(registry, version.names.read_text(encoding="utf-8"))
    loaded = {"load_s": round(time.perf_counter() - began, 2), "load_mb": round(_megabytes() - before)}
    matcher = matchers.Names(registry)
    texts = _texts()
    long = " ".join(texts * (1 + _LONG // sum(map(len, texts))))[:_LONG]
    found = {
        name: {
            "p50_ms": _quantile(each, 0.5),
            "p99_ms": _quantile(each, 0.99),
            "long_ms": _quantile(_timed(find, [long], 5), 0.5),
        }
        for name, find in (("detection", names.find), ("matcher", matcher.find))
        for each in (_timed(find, texts, _ROUNDS),)
    }
    sys.stdout.write(json.dumps({"names": len(names), **loaded, **found}, indent=1) + "\n")
    return 0


def _texts() -> list[str]:
    rows = [row for row in samples.rows(MENTIONS) if row.text("language") == "en"]
    words = " ".join(str(said["content"]) for row in rows for said in row.objects("messages")).split()
    return [" ".join(words[i : i + _WORDS]) for i in range(0, len(words) - _WORDS, _WORDS)]


def _timed(find: Callable[[str], object], texts: Sequence[str], rounds: int) -> list[float]:
    for text in texts:
        find(text)
    taken = []
    for _ in range(rounds):
        for text in texts:
            began = time.perf_counter()
            find(text)
            taken.append(1000 * (time.perf_counter() - began))
    return taken


def _quantile(taken: Sequence[float], share: float) -> float:
    return round(float(np.quantile(taken, share)), 3)


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    raise SystemExit(main())
