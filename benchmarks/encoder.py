"""`python -m benchmarks.encoder`: milliseconds to encode one query on one thread, float32 against the served form."""

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
from typing import get_args

from retrieval import encoder
from retrieval.encoder import SERVED, OnnxEncoder, Precision

_TOKENS = (10, 30, 60)
_MARKS = 2  # tokens that the tokenizer adds around a text
_WORDS = ("what", "should", "a", "guest", "keep", "in", "mind", "at", "family", "dinner", "with", "old", "friends")
_WARM_UP = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Export both forms into a temporary folder, encode in turns and print a table of medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encoder")
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="sentence-transformers model or folder")
    parser.add_argument("--rounds", type=int, default=300, help="queries of each length and form")
    options = parser.parse_args(arguments)
    forms: tuple[Precision, ...] = get_args(Precision)
    with tempfile.TemporaryDirectory() as index:
        encoders = {form: encoder.load(_exported(options.encoder, index, form), form) for form in forms}
        taken = _measure(encoders, options.rounds)
    columns = " | ".join(f"{tokens} tokens, ms" for tokens in _TOKENS)
    sys.stdout.write(f"| form | {columns} |\n|---|{'---:|' * len(_TOKENS)}\n")
    for form in forms:
        served = ", served" if form == SERVED else ""
        figures = " | ".join(f"{statistics.median(taken[form, tokens]):.2f}" for tokens in _TOKENS)
        sys.stdout.write(f"| {form}{served} | {figures} |\n")
    return 0


def _exported(name: str, index: str, form: Precision) -> Path:
    """Export in a process of its own, so that torch is not in the one that is timed; give the encoder's folder."""
    command = [sys.executable, "-m", "index.export", "--index", index, "--encoder", name, "--precision", form]
    environment = {**os.environ, "TQDM_DISABLE": "1"}
    said = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True, text=True)  # noqa: S603
    return Path(said.stdout.splitlines()[-1])


def _measure(encoders: dict[Precision, OnnxEncoder], rounds: int) -> dict[tuple[Precision, int], list[float]]:
    """Time `encode` from the text to the vector; the forms take turns, so that both meet the same machine."""
    taken: dict[tuple[Precision, int], list[float]] = {(form, tokens): [] for form in encoders for tokens in _TOKENS}
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
