"""What each gate mode costs a stream: the wait for its first words and for its end, beside the backend alone."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks import cores, speaker
from benchmarks.cases import Launch
from benchmarks.compare import say
from benchmarks.servers import started

BACKEND = "backend alone"
POLICIES = {
    "passthrough, shadow": ("shadow", "passthrough"),
    "window, enforce": ("enforce", "window"),
    "buffer, enforce": ("enforce", "buffer"),
}


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as its client saw it: seconds to the first words and to the end, and the longest silence between."""

    first_s: float
    whole_s: float
    silence_s: float


def measure(rounds: int) -> dict[str, list[Stream]]:
    """Ask each mode in turn, once a round, and the backend alone; the upstream writes a frame every 20 ms."""
    found: dict[str, list[Stream]] = {BACKEND: [], **{name: [] for name in POLICIES}}
    split = cores.split()
    with ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = Launch([sys.executable, "-m", "benchmarks.speaker"])
        backend = stack.enter_context(started("speaker", upstream, split.load, logs)).address
        addresses = {BACKEND: backend}
        for name, (mode, stream_mode) in POLICIES.items():
            environment = {
                "COMITY_BACKEND__URL": f"{backend}/v1",
                "COMITY_POLICY__MODE": mode,
                "COMITY_POLICY__STREAM_MODE": stream_mode,
            }
            launch = Launch([sys.executable, "-m", "service", "serve", "--port"], environment)
            addresses[name] = stack.enter_context(started(stream_mode, launch, split.service, logs)).address
        client = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
        for number in range(rounds + 1):  # the first is not counted: connections are made, caches filled
            say(f"round {number} of {rounds}")
            for name, address in addresses.items():
                stream = ask(client, address)
                if number:
                    found[name].append(stream)
    return found


def ask(client: httpx.Client, address: str) -> Stream:
    """Ask for one stream and time it.

    Raises:
        SystemExit: what came is not the upstream's text.
    """
    body = {"model": "bench", "messages": [{"role": "user", "content": "What pleases a host?"}], "stream": True}
    began = last = time.perf_counter()
    first = silence = 0.0
    text = ""
    with client.stream("POST", f"{address}/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            said = _content(line)
            if not said:
                continue
            now = time.perf_counter()
            if first:
                silence = max(silence, now - last)
            first, last = first or now - began, now
            text += said
    if text != speaker.TEXT:
        raise SystemExit(f"benchmarks: {address} gave another text than the upstream's")
    return Stream(first, time.perf_counter() - began, silence)


def _content(line: str) -> str:
    data = line.removeprefix("data: ")
    if not line.startswith("data: ") or data == "[DONE]":
        return ""
    choices = json.loads(data)["choices"]
    return str(choices[0]["delta"].get("content") or "") if choices else ""


def table(found: dict[str, list[Stream]]) -> str:
    """Give the medians as Markdown, in milliseconds, with what each mode adds to the backend alone."""
    alone = _medians(found[BACKEND])
    lines = [
        "| stream | first words, ms | added | end, ms | added | longest silence, ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, streams in found.items():
        first, whole, silence = _medians(streams)
        added = f"{first - alone[0]:.0f}", f"{whole - alone[1]:.0f}"
        lines.append(f"| {name} | {first:.0f} | {added[0]} | {whole:.0f} | {added[1]} | {silence:.0f} |")
    return "\n".join(lines)


def _medians(streams: list[Stream]) -> tuple[float, float, float]:
    return (
        1000 * statistics.median(s.first_s for s in streams),
        1000 * statistics.median(s.whole_s for s in streams),
        1000 * statistics.median(s.silence_s for s in streams),
    )
