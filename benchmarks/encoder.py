"""`python -m benchmarks.encoder`: milliseconds to encode one query on one thread, float32 against the served form.

What it prints it also saves, with the spread, as JSON under benchmarks/results.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from benchmarks import cores, report
from benchmarks.cases import ROOT
from retrieval import encoder
from retrieval.encoder import SERVED, OnnxEncoder, Precision

_TOKENS = (10, 30, 60)
_MARKS = 2  # tokens that the tokenizer adds around a text
_WORDS = ("what", "should", "a", "guest", "keep", "in", "mind", "at", "family", "dinner", "with", "old", "friends")
_WARM_UP = 20
Times = dict[tuple[Precision, int], list[float]]  # milliseconds, by form and by tokens of the text


def main(arguments: Sequence[str] | None = None) -> int:
    """Export both forms into a temporary folder, encode in turns, print a table of medians and save the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder")
    parser.add_argument("--encoder", default="comity-minilm", help="sentence-transformers model or folder")
    parser.add_argument("--rounds", type=int, default=300, help="queries of each length and form, at least 2")
    parser.add_argument("--name", default="encoder", help="name of the file under benchmarks/results")
    options = parser.parse_args(arguments)
    before = cores.machine()
    forms: tuple[Precision, ...] = get_args(Precision)
    with tempfile.TemporaryDirectory() as index:
        encoders = {form: encoder.load(_exported(options.encoder, index, form), form) for form in forms}
        taken = _measure(encoders, options.rounds)
    sys.stdout.write(f"{_table(taken, forms)}\n")
    content = {
        **report.heading({"encoder": options.encoder, "rounds": options.rounds}),
        "command": " ".join(("python -m benchmarks.encoder", *(sys.argv[1:] if arguments is None else arguments))),
        "machine": before,
        "milliseconds": {form: {str(tokens): _summed(taken[form, tokens]) for tokens in _TOKENS} for form in forms},
    }
    path = report.save(options.name, content)
    sys.stdout.write(f"\nMedians and spread: {os.path.relpath(path, ROOT)}\n")
    return 0


def _table(taken: Times, forms: Sequence[Precision]) -> str:
    """Give a Markdown table of medians."""
    columns = " | ".join(f"{tokens} tokens, ms" for tokens in _TOKENS)
    rows = [f"| form | {columns} |", f"|---|{'---:|' * len(_TOKENS)}"]
    for form in forms:
        served = ", served" if form == SERVED else ""
        figures = " | ".join(f"{statistics.median(taken[form, tokens]):.2f}" for tokens in _TOKENS)
        rows.append(f"| {form}{served} | {figures} |")
    return "\n".join(rows)


def _summed(times: list[float]) -> dict[str, Any]:
    """Give the median of some times and how far they spread, as milliseconds."""
    hundredths = statistics.quantiles(times, n=100, method="inclusive")
    found = {"median": statistics.median(times), "p5": hundredths[4], "p95": hundredths[94]}
    found |= {"least": min(times), "most": max(times)}
    return {"queries": len(times), **{name: round(ms, 4) for name, ms in found.items()}}


def _exported(name: str, index: str, form: Precision) -> Path:
    """Export in a process of its own, so that torch is not in the one that is timed; give the encoder's folder."""
    command = [sys.executable, "-m", "index.export", "--index", index, "--encoder", name, "--precision", form]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    said = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)  # noqa: S603
    return Path(said.stdout.splitlines()[-1])


def _measure(encoders: dict[Precision, OnnxEncoder], rounds: int) -> Times:
    """Time `encode` from the text to the vector; the forms take turns, so that both meet the same machine."""
    taken: Times = {(form, tokens): [] for form in encoders for tokens in _TOKENS}
    for number in range(_WARM_UP + rounds):
        for tokens in _TOKENS:
            text = _text(tokens, number)
            for form, each in encoders.items():
                start = time.perf_counter()
                each.encode([text])
                took = 1000 * (time.perf_counter() - start)
                if number >= _WARM_UP:
                    taken[form, tokens].append(took)
    return taken


def _text(tokens: int, number: int) -> str:
    """Give a text of so many tokens, each word being one; another one for each number."""
    return " ".join(_WORDS[(number + place) % len(_WORDS)] for place in range(tokens - _MARKS))


if __name__ == "__main__":
    sys.exit(main())
