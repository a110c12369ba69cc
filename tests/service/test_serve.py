"""The real command as a real process: up, answering, and down again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import httpx

from tests.conftest import ROOT, until


def test_start_answer_stop() -> None:
    """`comity serve` answers on loopback without a key, and ends with 0 when it is told to stop."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "service", "serve", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "COMITY_LOG__FORMAT": "text"},
        stderr=subprocess.PIPE,
        text=True,
    )

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        assert until(answers, 60)
        models = httpx.get(f"{address}/v1/models", trust_env=False).json()
    finally:
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=30)

    assert models["data"][0]["id"] == "comity-extractive"
    assert process.returncode == 0
    assert "Traceback" not in logged
