"""`comity evaluate detection|retrieval|judge`: measure a part of Comity on test sets that somebody brings."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path

from evaluation import report
from evaluation.report import Report
from evaluation.samples import SamplesUnusable
from evaluation.statistics import Draws
from retrieval.layout import IndexUnusable

OK, FAILED, UNUSABLE = 0, 1, 2
FOLDER_TASKS = {
    "detection": "whose culture is detected, and how often one is where there is none",
    "retrieval": "whether the description that a text is about is found",
}
JUDGE = "how good the judge's verdicts are, and whether text that gives it orders sways it"


def main(arguments: list[str]) -> int:
    """Run one evaluation and print its tables; 0 when it ran, 1 when the judge failed, 2 when the input is no use."""
    options = _parser().parse_args(arguments)
    try:
        if options.output and not options.output.parent.is_dir():
            raise SamplesUnusable(f"{options.output}: there is no folder {options.output.parent}")
        return _judge(options) if options.task == "judge" else _folder(options)
    except (SamplesUnusable, IndexUnusable, OSError) as error:
        print(f"comity evaluate: {error}", file=sys.stderr)
        return UNUSABLE


def _folder(options: argparse.Namespace) -> int:
    task = importlib.import_module(f"evaluation.{options.task}")  # each loads only what it needs
    own = options.data is None and options.task == "detection"
    if getattr(options, "sealed", False) and not own:
        raise SamplesUnusable("--sealed: the look-alikes are measured without --data")
    if own and options.limit is not None:
        raise SamplesUnusable("--limit: it bounds the rows of the sets in --data; name their folder")
    if options.data is not None and not options.data.is_dir():
        raise SamplesUnusable(f"{options.data}: there is no such folder")
    if options.data is not None and not any((options.data / name).is_file() for name in task.FILES):
        raise SamplesUnusable(f"{options.data}: none of the sets is in it ({', '.join(task.FILES)})")
    curves = getattr(options, "calibrate", None)
    if curves and own:
        raise SamplesUnusable("--calibrate: curves are fitted to the sets in --data; name their folder")
    more = {"sealed": True} if getattr(options, "sealed", False) else {"curves": curves} if curves else {}
    found = task.measure(options.data, options.index, options.limit, _draws(options), **more)
    for name in found.missing:
        print(f"comity evaluate: SKIPPED {name}: it is not in {options.data}", file=sys.stderr)
    _say(found, options)
    return OK


def _judge(options: argparse.Namespace) -> int:
    from evaluation import asking, calibrate, judge
    from service.settings import SettingsUnusable

    target = asking.Target(
        options.base_url, _key(options), options.config, options.index, options.concurrency, options.timeout
    )
    wanted = judge.Wanted(
        target,
        options.data,
        options.blank,
        not options.no_injections,
        options.limit,
        options.calibrate,
        calibrate.Rule(options.max_false_alarms, options.min_recall),
    )
    try:
        outcome = judge.measure(wanted, _draws(options))
    except (asking.JudgeUnusable, SettingsUnusable) as error:
        raise SamplesUnusable(str(error)) from error
    for note in outcome.notes:
        print(f"comity evaluate: {note}", file=sys.stderr)
    _say(outcome.report, options)
    return OK if outcome.passed else FAILED


def _key(options: argparse.Namespace) -> str | None:
    """Read the key from the environment variable that was named; a key on the command line would be seen by others."""
    if options.api_key is None:
        return None
    if not (key := os.environ.get(options.api_key, "").strip()):
        raise SamplesUnusable(f"--api-key {options.api_key}: there is no such environment variable, or it is empty")
    return key


def _say(found: Report, options: argparse.Namespace) -> None:
    said = json.dumps(report.to_json(found), ensure_ascii=False, indent=2)
    if options.output:
        options.output.write_text(said + "\n", encoding="utf-8")
    print(said if options.json else report.to_markdown(found), end="\n" if options.json else "")


def _draws(options: argparse.Namespace) -> Draws:
    return Draws(options.resamples, options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comity evaluate")
    tasks = parser.add_subparsers(dest="task", required=True)
    for name, said in FOLDER_TASKS.items():
        task = tasks.add_parser(name, help=said, description=said)
        task.add_argument("--data", type=Path, help="folder of test sets, JSON lines; there are own ones beside")
        task.add_argument("--index", type=Path, default=Path("var/index"), help="folder of the index")
        if name == "detection":
            task.add_argument("--sealed", action="store_true", help="also the look-alikes that are kept apart")
            task.add_argument(
                "--calibrate", type=Path, metavar="OUT.json", help="fit the curves of confidence and write them"
            )
        _common(task, "measure at most N rows of each set")
    task = tasks.add_parser("judge", help=JUDGE, description=JUDGE)
    _asking(task)
    _labelled(task)
    _common(task, "judge at most N of the labelled exchanges")
    return parser


def _common(task: argparse.ArgumentParser, limit: str) -> None:
    task.add_argument("--json", action="store_true", help="print JSON")
    task.add_argument("--output", type=Path, metavar="FILE.json", help="write the JSON to this file as well")
    task.add_argument("--limit", type=_count, metavar="N", help=limit)
    task.add_argument("--resamples", type=_count, default=2000, metavar="N", help="draws of the bootstrap")
    task.add_argument("--seed", type=_count, metavar="N", default=1, help="seed of the bootstrap")


def _asking(task: argparse.ArgumentParser) -> None:
    task.add_argument("--base-url", metavar="URL", help="service to ask (default: its parts in this process)")
    task.add_argument("--api-key", metavar="VARIABLE", help="environment variable that holds the key of that service")
    task.add_argument("--config", type=Path, help="settings of the parts in this process (default: COMITY_CONFIG)")
    task.add_argument("--index", type=Path, help="folder of their index (default: that of the settings)")
    task.add_argument("--concurrency", type=_count, default=8, metavar="N", help="exchanges judged at once")
    task.add_argument("--timeout", type=_count, default=120, metavar="S", help="seconds that one may take")


def _labelled(task: argparse.ArgumentParser) -> None:
    task.add_argument("--data", type=Path, metavar="FILE.jsonl", help="labelled exchanges; without it, injections only")
    task.add_argument("--blank", action="store_true", help="also without descriptions, and with those of others")
    task.add_argument("--no-injections", action="store_true", help="judge the labelled exchanges only")
    task.add_argument("--calibrate", type=Path, metavar="OUT.json", help="choose thresholds and write them")
    task.add_argument(
        "--max-false-alarms",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="of the safe exchanges, that they flag at most",
    )
    task.add_argument(
        "--min-recall", type=_share, default=0.5, metavar="SHARE", help="of the unsafe ones, that they flag at least"
    )


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be from 0 to 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
