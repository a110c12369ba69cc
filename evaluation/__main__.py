"""`comity evaluate detection|retrieval`: measure a part of Comity on a folder of public test sets."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from evaluation import report
from evaluation.samples import SamplesUnusable
from evaluation.statistics import Draws
from retrieval.layout import IndexUnusable

OK, UNUSABLE = 0, 2
TASKS = {
    "detection": "whose culture is detected, and how often one is where there is none",
    "retrieval": "whether the description that a text is about is found",
}


def main(arguments: list[str]) -> int:
    """Run one evaluation and print its tables; 0 when it ran, 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except (SamplesUnusable, IndexUnusable, OSError) as error:
        print(f"comity evaluate: {error}", file=sys.stderr)
        return UNUSABLE


def _run(options: argparse.Namespace) -> int:
    task = importlib.import_module(f"evaluation.{options.task}")  # each loads only what it needs
    if not options.data.is_dir():
        raise SamplesUnusable(f"{options.data}: there is no such folder")
    if not any((options.data / name).is_file() for name in task.FILES):
        raise SamplesUnusable(f"{options.data}: none of the sets is in it ({', '.join(task.FILES)})")
    if options.output and not options.output.parent.is_dir():
        raise SamplesUnusable(f"{options.output}: there is no folder {options.output.parent}")
    found = task.measure(options.data, options.index, options.limit, Draws(options.resamples, options.seed))
    for name in found.missing:
        print(f"comity evaluate: SKIPPED {name}: it is not in {options.data}", file=sys.stderr)
    said = json.dumps(report.to_json(found), ensure_ascii=False, indent=2)
    if options.output:
        options.output.write_text(said + "\n", encoding="utf-8")
    print(said if options.json else report.to_markdown(found), end="\n" if options.json else "")
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comity evaluate")
    tasks = parser.add_subparsers(dest="task", required=True)
    for name, said in TASKS.items():
        task = tasks.add_parser(name, help=said, description=said)
        task.add_argument("--data", type=Path, required=True, help="folder of the test sets, JSON lines")
        task.add_argument("--index", type=Path, default=Path("var/index"), help="folder of the index")
        task.add_argument("--json", action="store_true", help="print JSON")
        task.add_argument("--output", type=Path, metavar="FILE.json", help="write the JSON to this file as well")
        task.add_argument("--limit", type=_count, metavar="N", help="measure at most N rows of each set")
        task.add_argument("--resamples", type=_count, default=2000, metavar="N", help="draws of the bootstrap")
        task.add_argument("--seed", type=_count, metavar="N", default=1, help="seed of the bootstrap")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
