"""A real process that is told to stop: answers under way end in order, within the time that they have."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from tests.conftest import ROOT, until
from tests.raw import STREAM, Pause, Raw, answering, chunked, reply, said, serving
from tests.upstream import DONE, Json, frames

BODY: Json = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}]}


@pytest.fixture
def backend() -> Iterator[Raw]:
    """A backend in good health."""
    with serving() as made:
        yield made


@contextmanager
def process(
    backend: Raw, logged: list[str] | None = None, /, **settings: Any
) -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run `comity serve` before a backend until it ends; it must end with 0 and without a traceback.

    Args:
        logged: where the lines of its log go.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "service", "serve", "--port", str(port)],
        cwd=ROOT,
        env={**os.environ, "COMITY_BACKEND__URL": backend.url, **{name: str(it) for name, it in settings.items()}},
        stderr=subprocess.PIPE,
        text=True,
    )
    logged = [] if logged is None else logged
    assert started.stderr is not None
    reading = threading.Thread(target=logged.extend, args=(started.stderr,))
    reading.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            assert until(lambda: _answers(client), 60)
            yield started, client
            assert started.wait(20) == 0
    finally:
        started.kill()
        started.wait()
        reading.join()
        started.stderr.close()
    assert "Traceback" not in "".join(logged)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def stopped(started: subprocess.Popen[str], client: httpx.Client) -> str:
    """Begin a stream, stop the process after the first ping, and give all that the stream says."""
    with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as response:
        parts = response.iter_text()
        received = next(parts)
        started.send_signal(signal.SIGTERM)
        return received + "".join(parts)


PINGS = {"COMITY_STREAM__PING_AFTER_S": 0.2, "COMITY_STREAM__PING_EVERY_S": 0.2}


def test_stream_that_ends_in_time(backend: Raw) -> None:
    """A stream that ends within server.drain_timeout_s is whole, and then the process ends with 0."""
    first, *rest = frames(["Hello", " there."])
    backend.script = lambda asked: (
        STREAM,
        chunked([first], ends=False),
        Pause(1.5),
        chunked([*rest, DONE]),
    )
    with process(backend, COMITY_SERVER__DRAIN_TIMEOUT_S=15, **PINGS) as (started, client):
        received = stopped(started, client)

    assert received.startswith(": ping\n\n")
    assert " there." in received
    assert "error" not in received
    assert received.endswith("\n\ndata: [DONE]\n\n")


def test_stream_that_takes_longer(backend: Raw) -> None:
    """A stream that takes longer ends with an error frame and [DONE], and the process with 0."""
    backend.script = lambda asked: (STREAM, chunked(frames(["Hello"])[:2], ends=False), Pause(60))
    with process(backend, COMITY_SERVER__DRAIN_TIMEOUT_S=1, **PINGS) as (started, client):
        began = time.monotonic()
        *pings, failed, done, rest = stopped(started, client).split("\n\n")

    assert set(pings) == {": ping"}
    assert json.loads(failed.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert (done, rest) == ("data: [DONE]", "")
    assert time.monotonic() - began < 15
    assert until(lambda: bool(backend.left))


@pytest.mark.parametrize(("pause_s", "status"), [(1.5, 200), (60, 503)], ids=["in_time", "too_late"])
def test_whole_answer(backend: Raw, pause_s: float, status: int) -> None:
    """A whole answer is waited for just the same; one that comes too late is a 503 that says so."""
    backend.script = lambda asked: (Pause(pause_s), reply(said("Hello.")))
    found: list[httpx.Response] = []
    with process(backend, COMITY_SERVER__DRAIN_TIMEOUT_S=15 if status == 200 else 1) as (started, client):
        asking = threading.Thread(target=lambda: found.append(client.post("/v1/chat/completions", json=BODY)))
        asking.start()
        assert until(lambda: bool(backend.asked))
        started.send_signal(signal.SIGTERM)
        asking.join(20)

    assert [response.status_code for response in found] == [status]
    if status == 503:
        assert found[0].json()["error"]["code"] == "shutting_down"
        assert int(found[0].headers["retry-after"]) >= 1


def raw_request(path: str, body: bytes, length: int | None = None) -> bytes:
    """Give a request as bytes; with a length of its own it may be only the beginning of one."""
    top = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    return top.encode() + f"content-length: {length or len(body)}\r\n\r\n".encode() + body


OTHERS = {
    "passed_through": raw_request("/tokenize", b"{}"),
    "check": raw_request("/comity/v1/judge", json.dumps({"messages": BODY["messages"], "response": "Bow."}).encode()),
    "half_a_body": raw_request("/v1/chat/completions", b"{", 100),
}


def test_other_routes(backend: Raw) -> None:
    """Whatever else is under way too long is told so in OpenAI's envelope, and logged."""
    backend.script = backend.judge = lambda asked: (Pause(60),)
    routes = {"COMITY_PASSTHROUGH__ROUTES": '["/tokenize"]', "COMITY_JUDGE__MODEL": "tiny"}
    logged: list[str] = []
    with (
        ExitStack() as stack,
        process(backend, logged, COMITY_SERVER__DRAIN_TIMEOUT_S=1, **routes) as (started, client),
    ):
        address = (client.base_url.host, client.base_url.port or 80)
        waiting = [stack.enter_context(socket.create_connection(address, 20)) for _ in OTHERS]
        for connection, request in zip(waiting, OTHERS.values(), strict=True):
            connection.sendall(request)
        assert until(lambda: "comity_in_flight_requests 3.0" in client.get("/metrics").text)
        client.close()
        started.send_signal(signal.SIGTERM)
        found = [b"".join(iter(partial(connection.recv, 65_536), b"")) for connection in waiting]

    for answer in found:
        top, _, body = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1" in top.lower()
        assert json.loads(body)["error"]["code"] == "shutting_down"
    lines = [json.loads(line) for line in logged if '"shutting_down"' in line]
    assert sorted(line["route"] for line in lines) == ["chat", "judge", "other"]


def test_idle(backend: Raw) -> None:
    """A process that nobody asks ends at once, kept connections or not."""
    backend.script = answering()
    with process(backend, COMITY_SERVER__DRAIN_TIMEOUT_S=60) as (started, client):
        assert client.post("/v1/chat/completions", json=BODY).status_code == 200
        started.send_signal(signal.SIGTERM)
        assert started.wait(20) == 0
