"""What a run says: tables for people, and everything that was measured as JSON."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import statistics
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases import BACKEND, CASES, LITELLM, MANY, ONE, ROOT, Case, litellm_folder
from benchmarks.compare import Result
from benchmarks.load import Figures

RESULTS = ROOT / "benchmarks" / "results"
_LIBRARIES = ("comity", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx", "aiohttp", "onnxruntime")
_COLUMNS = (
    "1 client: p50 ms", "p95 ms", "p99 ms", "added p50 ms", "16 clients: req/s", "p50 ms", "p99 ms",
    "CPU ms a request", "req/s ÷ LiteLLM's", "errors",
)  # fmt: skip
_MEDIANS = ("rate", "p50", "p95", "p99", "cpu_ms", "others")


def summary(result: Result) -> dict[str, dict[str, dict[str, float]]]:
    """Give the medians over rounds, and the sum of errors: by case, then by connections (as text)."""
    return {
        name: {str(count): _summed([one for one in found if one.connections == count]) for count in (ONE, MANY)}
        for name, found in result.rounds.items()
    }


def _summed(found: list[Figures]) -> dict[str, float]:
    middle = {name: round(statistics.median(getattr(one, name) for one in found), 4) for name in _MEDIANS}
    return {**middle, "errors": sum(one.errors for one in found), "requests": sum(one.requests for one in found)}


def tables(result: Result) -> str:
    """Give a Markdown table of whole answers and one of streams."""
    medians = summary(result)
    return "\n\n".join(_table(medians, streams) for streams in (False, True) if _rows(medians, streams))


def _rows(medians: dict[str, Any], streams: bool) -> list[Case]:
    return [case for case in CASES if case.streams == streams and (case.name in medians or case.server == LITELLM)]


def _table(medians: dict[str, Any], streams: bool) -> str:
    rows = _rows(medians, streams)
    floor = next((medians[row.name] for row in rows if row.server == BACKEND and row.name in medians), None)
    peer = next((medians[row.name] for row in rows if row.server == LITELLM and row.name in medians), None)
    title = "streams of 20 frames" if streams else "whole answers"
    head = f"| {title} | {' | '.join(_COLUMNS)} |\n|---|{'---:|' * len(_COLUMNS)}"
    return "\n".join([head, *(_row(row, medians.get(row.name), floor, peer) for row in rows)])


def _row(case: Case, found: dict[str, Any] | None, floor: dict[str, Any] | None, peer: dict[str, Any] | None) -> str:
    if found is None:
        return f"| {case.name} | not measured: run benchmarks/litellm.sh |{' |' * (len(_COLUMNS) - 1)}"
    one, many = found[str(ONE)], found[str(MANY)]
    cells = [f"{one[name]:.2f}" for name in ("p50", "p95", "p99")]
    cells.append(f"{one['p50'] - floor[str(ONE)]['p50']:.2f}" if floor else "")
    cells += [f"{many['rate']:,.0f}", f"{many['p50']:.1f}", f"{many['p99']:.1f}", f"{many['cpu_ms']:.2f}"]
    cells.append(f"{many['rate'] / peer[str(MANY)]['rate']:.1f}" if peer and case.server != BACKEND else "")
    cells.append(f"{one['errors'] + many['errors']:.0f}")
    return f"| {case.name} | {' | '.join(cells)} |"


def notes(result: Result) -> list[str]:
    """Give sentences on what a reader must know of a run."""
    others = [one.others for found in result.rounds.values() for one in found]
    said = [f"Cores: {result.split.note}."]
    if others and result.split.load is not None:
        mean, most = 100 * statistics.mean(others), 100 * max(others)
        said.append(f"Other processes used {mean:.0f} % of the two cores, at most {most:.0f} % during one measurement.")
    if LITELLM not in result.servers:
        said.append("LiteLLM was not measured: benchmarks/litellm.sh installs it.")
    return said + [f"Doubtful: {doubt}" for doubt in result.doubts]


def raw(result: Result, options: dict[str, Any]) -> dict[str, Any]:
    """Give everything that was measured, and what is needed to measure it again."""
    return {
        **heading(options),
        "machine": {"before": result.before, "after": result.after},
        "cores": asdict(result.split),
        "servers": {name: {"command": s.command, "environment": s.environment} for name, s in result.servers.items()},
        "comity": result.info,
        "answers_looked_at": result.looked,
        "doubts": result.doubts,
        "medians": summary(result),
        "rounds": {name: [one.told() for one in found] for name, found in result.rounds.items()},
    }


def heading(options: dict[str, Any]) -> dict[str, Any]:
    """Give when, with what and by which command something is measured."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks {' '.join(sys.argv[1:])}".strip(),
        "options": options,
        "commit": _output(["git", "-C", str(ROOT), "describe", "--always", "--dirty"]),
        "versions": versions(),
    }


def save(name: str, content: dict[str, Any]) -> Path:
    """Write a run as benchmarks/results/<date>-<name>.json; an earlier one of the same day and name gives way."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{content['date'][:10]}-{name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def versions() -> dict[str, str | None]:
    """Give the versions of what is measured and of what measures."""
    return {
        "python": sys.version.split()[0],
        **{name: _version(name) for name in _LIBRARIES},
        "litellm": _litellm(),
        "wrk": _output(["wrk", "--version"]).partition(" Copyright")[0] or None,
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _litellm() -> str | None:
    asked = "import importlib.metadata as m; print(m.version('litellm'))"
    return _output([str(litellm_folder() / "bin" / "python"), "-c", asked]) or None


def _output(command: list[str]) -> str:
    """Give what a command writes first; empty where it is not there or fails to start."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - commands of our own
    except OSError:
        return ""
    return done.stdout.strip().partition("\n")[0]
