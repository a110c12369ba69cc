"""`python -m benchmarks`: what Comity adds to a request beside its backend and a peer.

`… memory` measures what it keeps, `… modes` what each gate mode costs a stream, `… growth` search by size of the index.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks import cores, growth, memory, modes, report
from benchmarks.cases import ROOT
from benchmarks.compare import chosen, compare

_QUICK = (2, 1)  # rounds, seconds
_WHAT = ("load", "memory", "modes", "growth")


def main() -> int:
    """Run what is asked for, print Markdown and save JSON; 1 when something makes the figures doubtful."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", choices=_WHAT, default="load", help="what to measure")
    parser.add_argument("--quick", action="store_true", help="a short run of everything, to see that it works")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in which every case has its turn")
    parser.add_argument("--seconds", type=int, default=6, help="seconds of one measurement")
    parser.add_argument("--only", help="only cases whose name holds this text")
    parser.add_argument("--requests", type=int, default=50_000, help="requests of a memory run")
    parser.add_argument("--every", type=int, default=10_000, help="requests between two readings of memory")
    parser.add_argument("--texts", type=Path, nargs="+", default=[], help="JSON lines of more texts for a growth run")
    parser.add_argument("--name", help="name of the file under benchmarks/results (default: load, quick or memory)")
    options = parser.parse_args()
    return {"load": _load, "memory": _memory, "modes": _modes, "growth": _growth}[options.what](options)


def _load(options: argparse.Namespace) -> int:
    rounds, seconds = _QUICK if options.quick else (options.rounds, options.seconds)
    cases = chosen(options.only)
    if not cases:
        raise SystemExit(f"benchmarks: no case is named {options.only!r}")
    result = compare(cases, rounds, seconds)
    print(report.tables(result), *report.notes(result), sep="\n\n")
    content = report.raw(result, {"rounds": rounds, "seconds": seconds, "only": options.only})
    path = report.save(options.name or ("quick" if options.quick else "load"), content)
    print(f"\nEvery round's figures: {path.relative_to(ROOT)}")
    return 1 if result.doubts else 0


def _memory(options: argparse.Namespace) -> int:
    requests, every = (2_000, 500) if options.quick else (options.requests, options.every)
    before = cores.machine()
    growth = memory.grow(requests, every)
    print(memory.table(growth), *(f"Doubtful: {doubt}" for doubt in growth.doubts), sep="\n\n")
    content = {
        **report.heading({"requests": requests, "every": every}),
        "machine": before,
        "cores": asdict(growth.split),
        "case": asdict(memory.CASE),
        "samples": [asdict(sample) for sample in growth.samples],
        "slope_mb_for_10000": growth.slope,
        "doubts": growth.doubts,
    }
    path = report.save(options.name or ("memory-quick" if options.quick else "memory"), content)
    print(f"\nEvery sample: {path.relative_to(ROOT)}")
    return 1 if growth.doubts else 0


def _modes(options: argparse.Namespace) -> int:
    rounds = 2 if options.quick else max(options.rounds, 9)
    before = cores.machine()
    found = modes.measure(rounds)
    print(modes.table(found))
    streams = {name: [asdict(stream) for stream in each] for name, each in found.items()}
    content = {**report.heading({"rounds": rounds}), "machine": before, "streams": streams}
    path = report.save(options.name or ("modes-quick" if options.quick else "modes"), content)
    print(f"\nEvery stream: {path.relative_to(ROOT)}")
    return 0


def _growth(options: argparse.Namespace) -> int:
    sizes, rounds = (growth.SIZES[:3], 2) if options.quick else (growth.SIZES, options.rounds)
    before = cores.machine()
    found = growth.measure(sizes, rounds, options.texts)
    print(growth.table(found))
    # How many other texts there were, and not whose they are: the figures are the knowledge's or they are not.
    given = {"rounds": rounds, "sizes": sizes, "files_of_texts": len(options.texts)}
    content = {**report.heading(given), "machine": {"before": before, "after": cores.machine()}, **found}
    path = report.save(options.name or ("growth-quick" if options.quick else "growth"), content)
    path.with_suffix(".svg").write_text(growth.drawing(found), encoding="utf-8")
    print(f"\nEvery figure: {path.relative_to(ROOT)}; plot: {path.with_suffix('.svg').name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
