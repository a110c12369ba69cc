"""One measurement: wrk sends messages, and the figures that it and the system give.

For every proxy no message was sent before. The backend alone answers more than are prepared, and gets them again.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import cores, messages
from benchmarks.cases import MANY, ROOT, Case
from benchmarks.cores import Cores
from benchmarks.servers import Server, get

_SCRIPT = ROOT / "benchmarks" / "load.lua"
_FEWEST, _MOST = 1_000, 20_000  # messages that are prepared for one measurement
_GUESS = 1_000.0  # requests a second of a server that was not measured yet


@dataclass(frozen=True, slots=True)
class Figures:
    """What one measurement gave; times in milliseconds, `cpu_ms` the server's own CPU time a request.

    `others` is the part of the two cores' time that processes outside the run used. `asked` and `judged` are what the
    upstream served meanwhile. `distinct` is how many different messages there were to send.
    """

    connections: int
    requests: int
    seconds: float
    errors: int
    rate: float
    p50: float
    p95: float
    p99: float
    longest: float
    cpu_ms: float
    others: float
    asked: int
    judged: int
    distinct: int

    def told(self) -> dict[str, Any]:
        """Give all figures by name, rounded to what they are good for."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


class Generator:
    """Sends load from one core; for every proxy all messages of a run are different."""

    def __init__(self, split: Cores, upstream: Server, folder: Path) -> None:
        wrk = shutil.which("wrk")
        if wrk is None:
            raise SystemExit("benchmarks: wrk is missing; install it with your system's packages (apt-get install wrk)")
        self._wrk = wrk
        self._cores = split
        self._upstream = upstream
        self._file = folder / "bodies"
        self._texts = {cultural: messages.texts(7, cultural=cultural) for cultural in (False, True)}
        self._rates: dict[tuple[str, int], float] = {}

    def bodies(self, case: Case, count: int) -> list[bytes]:
        """Give request bodies with messages that were not given before."""
        return [_body(self._texts[case.cultural], streams=case.streams) for _ in range(count)]

    def command(self, address: str, connections: int, seconds: int) -> list[str]:
        """Give the command of one measurement."""
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "30s", "-s", str(_SCRIPT)]
        return cores.pinned(self._cores.load, [self._wrk, *options, address, "--", str(self._file)])

    def measure(self, case: Case, server: Server, connections: int, seconds: int) -> Figures:
        """Load one server for some seconds.

        Raises:
            SystemExit: wrk failed.
        """
        rate = self._rates.get((case.name, connections)) or self._rates.get((case.name, MANY), _GUESS)
        bodies = self.bodies(case, min(_MOST, max(_FEWEST, round(4 * rate * seconds))))
        self._file.write_bytes(b"\n".join(bodies))
        served, own, everyone, began = self._served(), cores.used(server.pid), cores.busy(self._cores), time.monotonic()
        upstream = cores.used(self._upstream.pid)
        report, wrk_s = _run(self.command(server.address, connections, seconds))
        took, everyone = time.monotonic() - began, cores.busy(self._cores) - everyone
        own = cores.used(server.pid) - own
        ours = own + wrk_s + (cores.used(self._upstream.pid) - upstream if server.pid != self._upstream.pid else 0.0)
        now = self._settled()
        rate = report["requests"] / (report["microseconds"] / 1e6)
        self._rates[case.name, connections] = rate
        return Figures(
            connections=connections,
            requests=report["requests"],
            seconds=report["microseconds"] / 1e6,
            errors=report["errors"],
            rate=rate,
            **{name: report[name] / 1000 for name in ("p50", "p95", "p99", "longest")},
            cpu_ms=1000 * own / max(1, report["requests"]),
            others=max(0.0, everyone - ours) / (2 * took),
            asked=sum(now[kind] - served[kind] for kind in ("whole", "streamed")),
            judged=now["judged"] - served["judged"],
            distinct=len(bodies),
        )

    def _settled(self) -> dict[str, int]:
        """Wait until requests that wrk left behind have ended, so that they do not count as the next measurement's."""
        now, before = self._served(), dict[str, int]()
        for _ in range(20):
            if now == before:
                break
            time.sleep(0.25)
            before, now = now, self._served()
        return now

    def _served(self) -> dict[str, int]:
        counts: dict[str, int] = get(f"{self._upstream.address}/served")
        return counts


def trouble(case: Case, found: Figures) -> list[str]:
    """Name what makes a measurement doubtful; requests under way when wrk stops may be on either side."""
    said = []
    if found.errors:
        said.append(f"{found.errors} errors")
    if not 0 <= found.asked - found.requests <= found.connections + found.errors:
        said.append(f"{found.requests} answers, of which the upstream gave {found.asked}")
    wanted = found.asked if case.judged else 0
    if abs(found.judged - wanted) > found.connections:
        said.append(f"{found.judged} answers judged, not {wanted}")
    if case.server not in ("backend", "litellm") and found.requests + found.connections > found.distinct:
        said.append(f"only {found.distinct} different messages for {found.requests} requests")
    return said


def _body(texts: Iterator[str], *, streams: bool) -> bytes:
    more = {"stream": True} if streams else {}
    body = {"model": "bench", "messages": [{"role": "user", "content": next(texts)}], **more}
    return json.dumps(body, separators=(",", ":")).encode()


def _run(command: list[str]) -> tuple[dict[str, int], float]:
    """Run wrk; give its report and the CPU seconds that it used."""
    before = _children()
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - a command of our own
    line = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not line.startswith("{"):
        raise SystemExit(f"benchmarks: wrk failed: {done.stderr.strip() or line}")
    report: dict[str, int] = json.loads(line)
    return report, _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
