"""`make bench`: what the hop through the guardrail adds to a request, one client, one connection, in one run."""

from __future__ import annotations

import argparse
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx

_SUBJECTS = ("dinner", "wedding", "business lunch", "funeral", "birthday", "first visit", "holiday meal", "tea")
_PLACES = ("Japan", "Turkey", "Thailand", "India", "Mexico", "Germany", "Nigeria", "Ethiopia", "Saudi Arabia")
_OFF = {"COMITY_DETECTION__ENABLED": "false", "COMITY_JUDGE__MODE": "off"}
_NO_JUDGE = {"COMITY_JUDGE__MODE": "off"}


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration of the service and one kind of message."""

    name: str
    environment: dict[str, str] | None
    cultural: bool


_CASES = (
    Case("backend alone", None, False),
    Case("Comity, stages off", _OFF, False),
    Case("Comity, no cultural signal", _NO_JUDGE, False),
    Case("Comity, detection and retrieval", _NO_JUDGE, True),
    Case("Comity, all, LLM judge in shadow", {}, True),
)


def main() -> int:
    """Measure every case in turns and print a table; times are milliseconds, ratios are to the backend alone."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--requests", type=int, default=200, help="requests for each case and round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds, in which every case has its turn")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {case.name: [] for case in _CASES}
    with ExitStack() as stack:
        upstream = stack.enter_context(_process(["benchmarks.upstream"], {}))
        clients = {case.name: stack.enter_context(_client(stack, case, upstream)) for case in _CASES}
        chance = random.Random(7)  # noqa: S311 - seeded, so that runs send the same messages
        for round_number in range(options.rounds + 1):
            for case in _CASES:
                found = [_ask(clients[case.name], case, chance) for _ in range(options.requests)]
                if round_number:  # the first round warms up
                    taken[case.name] += found
    floor = statistics.median(taken[_CASES[0].name])
    print("| case | p50 ms | p95 ms | p99 ms | added p50 ms | p50 ratio |\n|---|---:|---:|---:|---:|---:|")
    for name, times in taken.items():
        print(f"| {name} | {' | '.join(_figures(times, floor))} |")
    return 0


def _figures(times: list[float], floor: float) -> list[str]:
    cuts = statistics.quantiles(times, n=100)
    middle = statistics.median(times)
    return [f"{middle:.2f}", f"{cuts[94]:.2f}", f"{cuts[98]:.2f}", f"{middle - floor:.2f}", f"{middle / floor:.2f}"]


def _ask(client: httpx.Client, case: Case, chance: random.Random) -> float:
    where = f" in {chance.choice(_PLACES)}" if case.cultural else ""
    text = f"What should a guest keep in mind at a {chance.choice(_SUBJECTS)}{where}? I come with {chance.random()}."
    start = time.perf_counter()
    response = client.post(
        "/v1/chat/completions", json={"model": "bench", "messages": [{"role": "user", "content": text}]}
    )
    took = 1000 * (time.perf_counter() - start)
    response.raise_for_status()
    return took


def _client(stack: ExitStack, case: Case, upstream: str) -> httpx.Client:
    address = upstream
    if case.environment is not None:
        environment = {"COMITY_BACKEND__URL": f"{upstream}/v1", "COMITY_LOG__LEVEL": "error", **case.environment}
        address = stack.enter_context(_process(["service", "serve", "--port"], environment))
    return httpx.Client(base_url=address, timeout=30, trust_env=False)


@contextmanager
def _process(module: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Run a module as a server of its own on a free port; give its address once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(  # noqa: S603 - our own modules
        [sys.executable, "-m", *module, str(port)], env={**os.environ, **environment}
    )
    try:
        _wait(address)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait(address: str) -> None:
    for _ in range(200):
        try:
            httpx.get(f"{address}/v1/models", timeout=2, trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"{address} did not come up")


if __name__ == "__main__":
    sys.exit(main())
