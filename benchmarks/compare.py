"""The comparison: every case at one client and at sixteen, in rounds, so that what changes meanwhile meets them all."""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import cores
from benchmarks.cases import BACKEND, CASES, COMITY, LITELLM, MANY, ONE, Case, has_litellm, launch
from benchmarks.load import Figures, Generator, trouble
from benchmarks.servers import Server, get, post, started

_HEADERS = ("x-comity-response-path", "x-comity-grounding", "x-comity-verdict", "x-comity-coverage-reason")
_ASKED_FIRST = 100  # answers of each case whose headers are looked at


@dataclass(slots=True)
class Result:
    """What a comparison gave, and all that is needed to repeat it."""

    split: cores.Cores
    before: dict[str, Any]
    servers: dict[str, Server] = field(default_factory=dict)
    looked: dict[str, dict[str, int]] = field(default_factory=dict)
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)
    info: Any = None
    after: dict[str, Any] = field(default_factory=dict)


def compare(cases: list[Case], rounds: int, seconds: int) -> Result:
    """Start every server once and measure each case in every round.

    Args:
        seconds: of one measurement; a round is two measurements for each case.
    """
    result = Result(cores.split(), cores.machine())
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comity-bench-")))
        _start(result, {case.server for case in cases}, stack, logs)
        generator = Generator(result.split, result.servers[BACKEND], logs)
        for case in cases:
            result.looked[case.name] = _look(case, result.servers[case.server], generator)
            generator.measure(case, result.servers[case.server], MANY, 1)  # warms up
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}")
            for case in cases[number % len(cases) :] + cases[: number % len(cases)]:
                for connections in (ONE, MANY):
                    found = generator.measure(case, result.servers[case.server], connections, seconds)
                    result.rounds.setdefault(case.name, []).append(found)
                    result.doubts += [f"round {number + 1}, {case.name}: {said}" for said in trouble(case, found)]
        result.info = next(
            (get(f"{result.servers[name].address}/info") for name in COMITY if name in result.servers), None
        )
    result.after = cores.machine()
    return result


def chosen(only: str | None) -> list[Case]:
    """Give the cases to measure: all whose server is installed, or those whose name holds some text."""
    there = [case for case in CASES if case.server != LITELLM or has_litellm()]
    return [case for case in there if only is None or only.lower() in case.name.lower()]


def _start(result: Result, names: set[str], stack: ExitStack, logs: Path) -> None:
    """Start the upstream, then each server in front of it; one after another, as they share a core."""
    for name in [BACKEND, *COMITY, LITELLM]:
        if name == BACKEND or name in names:
            say(f"starting {name}")
            upstream = result.servers[BACKEND].address if result.servers else ""
            core = result.split.load if name == BACKEND else result.split.service
            result.servers[name] = stack.enter_context(started(name, launch(name, upstream), core, logs))


def _look(case: Case, server: Server, generator: Generator) -> dict[str, int]:
    """Ask some messages one by one and count what the answers say of themselves."""
    said: Counter[str] = Counter()
    for body in generator.bodies(case, _ASKED_FIRST):
        status, headers, _ = post(f"{server.address}/v1/chat/completions", body)
        said[str(status)] += 1
        said.update(f"{name}: {headers[name]}" for name in _HEADERS if name in headers)
    return dict(sorted(said.items()))


def say(text: str) -> None:
    """Tell how far a run has come, apart from its result."""
    sys.stderr.write(f"bench: {text}\n")
