"""Starts a real vLLM once for all tests that ask for it: a tiny model of random weights, on a CPU."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

from tests.real import parts

MAKER = Path(__file__).with_name("tiny.py")
KEPT = parts.ROOT / "var" / "tiny"
LIMIT_S = 300  # to load the model; a slow machine that has never done it takes a minute and a half
# What a server needs that runs without a GPU and without a network.
ENVIRONMENT = {
    "VLLM_TARGET_DEVICE": "cpu",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}


@dataclass(frozen=True, slots=True)
class Vllm:
    """A vLLM server that runs: `url` is its base URL, `client` asks it directly."""

    url: str
    client: httpx.Client

    def chat(self, /, **body: Any) -> dict[str, Any]:
        """Ask for a chat completion past the guardrail."""
        answer = self.client.post("/v1/chat/completions", json={"model": "tiny", **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def metric(self, name: str) -> float:
        """Read one of its numbers, summed over labels."""
        lines = re.findall(rf"^vllm:{name}\{{.*\}} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        assert lines, f"vLLM has no metric {name}"
        return sum(map(float, lines))


@pytest.fixture(scope="session")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vllm]:
    """A real vLLM that serves the tiny model as `tiny`, with the adapters `jp` and `in`."""
    program = Path(parts.need("vllm"))
    model = tiny(program.with_name("python"))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("vllm") / "vllm.log"
    with log.open("wb") as output, started([str(program), *arguments(model, port)], output) as process:
        wait(process, url, log)
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield Vllm(f"{url}/v1", client)


def arguments(model: Path, port: int) -> list[str]:
    """Give the command line of the server."""
    adapters = [f"{name}={model / name}" for name in ("jp", "in")]
    return [
        *("serve", str(model), "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", "float32", "--max-model-len", "4096", "--max-num-seqs", "16", "--enforce-eager"),
        *("--block-size", "32"),  # the unit of prefix caching; short prompts fill some
        *("--enable-lora", "--max-lora-rank", "8", "--max-loras", "2", "--lora-modules", *adapters),
        *("--reasoning-parser", "deepseek_v3"),  # like the model's template: thinking is off until it is asked for
        *("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    ]


def tiny(python: Path) -> Path:
    """Give the folder of the model, made where there is none of this script and these texts yet."""
    texts = sorted((parts.ROOT / "knowledge" / "descriptions").glob("*.jsonl"))
    hashed = hashlib.sha256(b"".join(path.read_bytes() for path in (MAKER, *texts)))
    folder = KEPT / hashed.hexdigest()[:16]
    KEPT.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        made = subprocess.run([python, MAKER, folder], capture_output=True, text=True, timeout=LIMIT_S, check=False)  # noqa: S603
        assert made.returncode == 0, made.stderr[-2000:]
    return folder


@contextmanager
def started(command: list[str], output: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process group of its own, and end all of the group."""
    process = subprocess.Popen(  # noqa: S603
        command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **ENVIRONMENT}, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until the server answers; fail with the end of its log."""
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5, trust_env=False).status_code == 200:
                return
        time.sleep(0.5)
    how = f"ended with {process.returncode}" if process.poll() is not None else f"was not ready after {LIMIT_S} s"
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-40:])
    pytest.fail(f"vLLM {how}; the end of {log}:\n{tail}", pytrace=False)


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
