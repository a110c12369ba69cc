"""Starts a server on its core, waits until it answers, and ends it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cores
from benchmarks.cases import ROOT, Launch

_PATIENCE_S = 120
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs; its command and environment as a reader could repeat them."""

    address: str
    pid: int
    command: str
    environment: dict[str, str]


@contextmanager
def started(name: str, launch: Launch, core: int | None, logs: Path) -> Iterator[Server]:
    """Run a server on a free port; what it writes goes to a file in the folder of logs.

    Raises:
        SystemExit: it ended, or did not answer in two minutes; with the end of what it wrote.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = cores.pinned(core, [*launch.command, str(port)])
    log = logs / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - commands of our own
            command, cwd=ROOT, env=_environment(launch.environment), stdout=out, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(name, address, process, log)
        yield Server(address, process.pid, shown(command), launch.environment)
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def shown(command: list[str]) -> str:
    """Give a command as it can be repeated in the project's folder."""
    return " ".join(command).replace(f"{ROOT}/", "")


def get(address: str) -> Any:
    """Give the JSON at an address of a server of ours."""
    with _direct.open(address, timeout=10) as response:
        return json.load(response)


def post(address: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send a JSON body; give status, headers in lower case, and body."""
    request = urllib.request.Request(  # noqa: S310 - a server of ours
        address, body, {"content-type": "application/json"}, method="POST"
    )
    try:
        with _direct.open(request, timeout=60) as response:
            return response.status, {name.lower(): value for name, value in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, error.read()


def _environment(added: dict[str, str]) -> dict[str, str]:
    """Give the caller's environment without its settings for Comity, and without a proxy for the upstream."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")}
    return {**kept, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **added}


def _wait(name: str, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            get(f"{address}/v1/models")
        except (OSError, ValueError):
            time.sleep(0.2)
        else:
            return
    tail = log.read_text(errors="replace")[-2000:]
    raise SystemExit(f"{name} did not come up at {address}; it wrote:\n{tail}")
