"""Memory over many requests: the resident size of a serving process, all stages on, and how fast it grows."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cores
from benchmarks.cases import BACKEND, JUDGE, MANY, Case, launch
from benchmarks.compare import say
from benchmarks.load import Generator, trouble
from benchmarks.servers import started

TARGET_MB = 350
CASE = Case("Comity, grounded, LLM judge", JUDGE, cultural=True)
_WARM = 500  # requests that fill what is filled once
_LONGEST_S = 30  # of one run of wrk, so that its messages are all different


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident memory after a number of requests, MB of 1024² bytes."""

    when: str
    requests: int
    resident: float


@dataclass(frozen=True, slots=True)
class Growth:
    """The samples of a run, what they say, and what was doubtful."""

    samples: list[Sample]
    doubts: list[str]
    split: cores.Cores

    @property
    def slope(self) -> float:
        """Give MB for every 10,000 requests: a line through all samples since the warm-up."""
        warm = self.samples[1:]
        if len(warm) < 2:
            return math.nan
        return 10_000 * statistics.linear_regression([s.requests for s in warm], [s.resident for s in warm]).slope

    @property
    def largest(self) -> float:
        """Give the largest sample in MB."""
        return max(sample.resident for sample in self.samples)


def grow(requests: int, every: int) -> Growth:
    """Load a service with messages that are all different and read its memory now and then.

    Args:
        requests: at least so many after the warm-up; wrk stops by time, so samples come a little after their number.
        every: requests between samples.
    """
    found = Growth([], [], cores.split())
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comity-bench-")))
        upstream = stack.enter_context(started(BACKEND, launch(BACKEND, ""), found.split.load, folder))
        service = stack.enter_context(started(JUDGE, launch(JUDGE, upstream.address), found.split.service, folder))
        generator = Generator(found.split, upstream, folder)
        sent, rate = 0, 200.0

        def send(until: int) -> None:
            nonlocal sent, rate
            while sent < until:
                seconds = min(_LONGEST_S, max(1, math.ceil((until - sent) / rate)))
                figures = generator.measure(CASE, service, MANY, seconds)
                sent, rate = sent + figures.requests, max(1.0, figures.rate)
                found.doubts.extend(trouble(CASE, figures))

        def read(when: str) -> None:
            time.sleep(1)
            found.samples.append(Sample(when, sent, round(cores.resident(service.pid), 1)))
            say(f"{when}: {found.samples[-1].resident} MB")

        read("after start")
        send(_WARM)
        read("after warm-up")
        warm = sent
        for number in range(every, requests + 1, every):
            send(warm + number)
            read(f"after {number:,}")
    return found


def table(growth: Growth) -> str:
    """Give the samples as Markdown, and one sentence on size and growth."""
    rows = [f"| {sample.when} | {sample.requests:,} | {sample.resident:.1f} |" for sample in growth.samples]
    met = "within" if growth.largest <= TARGET_MB else "over"
    size = f"Largest {growth.largest:.0f} MB, {met} the target of {TARGET_MB} MB"
    said = f"{size}; growth {growth.slope:+.2f} MB for 10,000 requests."
    return "\n".join(["| when | requests | VmRSS MB |", "|---|---:|---:|", *rows, "", said])
