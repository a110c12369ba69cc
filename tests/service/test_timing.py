"""What only a socket shows: pings, the moment the status is committed, and clients that leave."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from tests.conftest import Serve, until
from tests.upstream import DONE, Upstream, chunk, digit, either, error, frames, stream

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}
QUICK = {"ping_after_s": 0.2, "ping_every_s": 0.1}


def test_no_byte_before_the_first_ping(service: Serve, upstream: Upstream) -> None:
    """A stream that is judged in time begins with its first frame: no ping, no early status."""
    upstream.script = either("ok")
    response = service(upstream, stream=QUICK).post("/v1/chat/completions", json={**BODY, "stream": True})

    assert b": ping" not in response.content
    assert response.headers["x-comity-verdict"] == "safe"


def test_late_answer_is_kept_alive(service: Serve, upstream: Upstream) -> None:
    """Silence brings comment lines, never an id line; the frames follow untouched and [DONE] is last."""
    made = [*frames(["slow"]), DONE]
    upstream.script = lambda body: stream(made, pause_s=0.2)
    response = service(upstream, stream=QUICK).post("/v1/chat/completions", json={**BODY, "stream": True})
    pings, rest = response.text.split("data: ", 1)

    assert pings.count(": ping\n\n") >= 3
    assert "id:" not in pings
    assert ("data: " + rest).encode() == b"".join(made)
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["cache-control"] == "no-cache"
    assert "x-comity-verdict" not in response.headers


@pytest.mark.parametrize("block_as", ["refusal", "error"])
def test_block_after_the_first_ping(service: Serve, upstream: Upstream, block_as: str) -> None:
    """Once a ping has committed 200, a block is a frame and [DONE] still ends the stream."""
    upstream.script = lambda body: stream([*frames(["VILE"]), DONE], pause_s=0.2)
    upstream.judge = lambda body: digit({"9": 1.0})
    client = service(
        upstream, stream=QUICK, policy={"mode": "enforce", "repair": False, "fallback": False, "block_as": block_as}
    )
    response = client.post("/v1/chat/completions", json={**BODY, "stream": True})

    assert response.status_code == 200
    assert "VILE" not in response.text
    assert "content_filter" in response.text
    assert response.text.endswith("data: [DONE]\n\n")


def test_failure_after_the_first_ping(service: Serve, upstream: Upstream) -> None:
    """Once a ping has committed 200, a failure of the backend is an error frame before [DONE]."""
    upstream.script = lambda body: stream([chunk([]), b"data: {broken\n\n"], pause_s=0.3)
    response = service(upstream, stream=QUICK).post("/v1/chat/completions", json={**BODY, "stream": True})
    *_, failed, done, _ = response.text.split("\n\n")

    assert json.loads(failed.removeprefix("data: "))["error"]["code"] == "upstream_error"
    assert done == "data: [DONE]"


def test_early_failure_keeps_its_status(service: Serve, upstream: Upstream) -> None:
    """Before the first byte a failure of a streamed request has its own status and a JSON body."""
    upstream.script = lambda body: error(429, "slow down", headers={"retry-after": "7"})
    response = service(upstream).post("/v1/chat/completions", json={**BODY, "stream": True})

    assert response.status_code == 429
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["message"] == "slow down"


@pytest.mark.parametrize("after_ping", [False, True], ids=["before_first_byte", "after_first_byte"])
def test_client_that_leaves_a_stream(service: Serve, upstream: Upstream, after_ping: bool) -> None:
    """A client that leaves has its upstream request closed within a second."""
    upstream.script = lambda body: stream(frames(["x"] * 600), pause_s=0.05)
    client = service(upstream, stream={"ping_after_s": 0.1 if after_ping else 10, "ping_every_s": 0.1})
    with (
        client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}, timeout=5)
        if after_ping
        else (_given_up(client, True)) as response
    ):
        if response is not None:
            assert next(response.iter_raw()) == b": ping\n\n"
    left = time.monotonic()

    assert upstream.closed.wait(1.5)
    assert time.monotonic() - left < 1
    assert not upstream.finished.is_set()


def test_client_that_leaves_a_whole_answer(service: Serve, upstream: Upstream) -> None:
    """A client that gives up waiting for a whole answer frees the backend too."""
    slow = [b'{"choices": [', *[b" "] * 600]

    def script(body: Any) -> Response:
        made: Any = stream(slow, pause_s=0.05)
        made.headers["content-type"] = "application/json"
        return made  # type: ignore[no-any-return]

    upstream.script = script
    client = service(upstream)
    with _given_up(client, False):
        pass

    assert upstream.closed.wait(1.5)
    assert until(lambda: 'comity_client_disconnects_total{phase="waiting"} 1.0' in client.get("/metrics").text)
    assert until(lambda: "comity_in_flight_requests 0.0" in client.get("/metrics").text)


class _given_up:
    """Send a request and give up on it after 0.4 seconds."""

    def __init__(self, client: httpx.Client, streamed: bool) -> None:
        self.client, self.streamed = client, streamed

    def __enter__(self) -> None:
        """Send, wait a moment, leave."""
        with pytest.raises(httpx.ReadTimeout):
            self.client.post("/v1/chat/completions", json={**BODY, "stream": self.streamed}, timeout=0.4)

    def __exit__(self, *error: object) -> None:
        """Nothing is left to close."""


def test_too_many_in_flight(service: Serve, upstream: Upstream) -> None:
    """The request one too many gets 429 with Retry-After at once, and the place is free again afterwards."""
    upstream.script = lambda body: stream([*frames(["x"] * 20), DONE], pause_s=0.05)
    client = service(upstream, limits={"max_in_flight": 1}, stream={"ping_after_s": 0.1})
    with client.stream("POST", "/v1/chat/completions", json={**BODY, "stream": True}) as first:
        chunks = first.iter_raw()
        assert next(chunks) == b": ping\n\n"
        refused = client.post("/v1/chat/completions", json=BODY)
        assert b"[DONE]" in b"".join(chunks)
    upstream.script = either("ok")

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert client.post("/v1/chat/completions", json=BODY).status_code == 200


def test_total_timeout(service: Serve, upstream: Upstream) -> None:
    """An endless answer ends as a 504 that names the setting."""
    upstream.script = lambda body: stream(frames(["x"] * 600), pause_s=0.05)
    response = service(upstream, backend={"total_timeout_s": 0.5}).post(
        "/v1/chat/completions", json={**BODY, "stream": True}
    )

    assert response.status_code == 504
    assert "backend.total_timeout_s" in response.json()["error"]["message"]


def test_judge_that_hangs(service: Serve, upstream: Upstream) -> None:
    """A judge that does not answer in time is coverage error: in shadow the answer leaves, marked."""
    upstream.judge = lambda body: stream([b"x"] * 100, pause_s=0.1)
    response = service(upstream, judge={"timeout_s": 0.3}).post("/v1/chat/completions", json=BODY)

    assert response.status_code == 200
    assert response.headers["x-comity-coverage"] == "error"
    assert response.headers["x-comity-verdict"] == "undecided"


def test_answer_over_the_limit(service: Serve, upstream: Upstream) -> None:
    """An answer larger than what may be held is a clear 502, streamed or whole."""
    client = service(upstream, backend={"max_answer_bytes": 2000})
    for streamed in (False, True):
        upstream.script = (
            (lambda body: stream([chunk([], pad="x" * 9000)]))
            if streamed
            else (lambda body: JSONResponse({"choices": [], "pad": "x" * 9000}))
        )
        response = client.post("/v1/chat/completions", json={**BODY, "stream": streamed})

        assert response.status_code == 502
        assert response.json()["error"]["code"] == "answer_too_large"
