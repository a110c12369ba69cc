"""A client that leaves: whoever is being asked for it, backend or judge, sees its request closed within a second."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.conftest import Serve, until
from tests.raw import STREAM, Pause, Raw, answering, chunked, head, serving
from tests.upstream import Json, Upstream, Watched, frames

STAYS_S = 0.6  # how long the client waits before it leaves
LATER = "comity_client_disconnects_total"
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def backend() -> Iterator[Raw]:
    """A backend in good health."""
    with serving() as made:
        made.script = answering("The answer.")
        yield made


@pytest.fixture
def judge() -> Iterator[Raw]:
    """A judge at an address of its own."""
    with serving() as made:
        yield made


def leave(client: httpx.Client, path: str = "/v1/chat/completions", **body: Any) -> float:
    """Ask, wait a moment in vain, and leave; give when that was."""
    asked = {"messages": [{"role": "user", "content": "Hello."}], **body}
    timeout = httpx.Timeout(10, read=STAYS_S)
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=client.base_url, trust_env=False) as one:
        one.post(path, json=asked, timeout=timeout)
    return time.monotonic()


def let_go(server: Raw, left: float) -> float:
    """Wait until a server sees its peer leave; give the seconds that it took."""
    assert until(lambda: bool(server.left), 3), "nobody let the server go"
    return server.left[0][1] - left


@either_way
def test_before_the_first_byte(service: Serve, backend: Raw, streamed: bool) -> None:
    """While the backend is silent, its request is closed."""
    backend.script = lambda asked: (Pause(30),)
    client = service(backend={"url": backend.url})

    assert let_go(backend, leave(client, model="tiny", stream=streamed)) < 1
    assert len(backend.asked) == 1
    assert until(lambda: "comity_in_flight_requests 0.0" in client.get("/metrics").text)


@either_way
def test_in_mid_answer(service: Serve, backend: Raw, streamed: bool) -> None:
    """While the backend is answering, its request is closed."""
    half = (STREAM, chunked(frames(["Hello", " there"])[:2], ends=False)) if streamed else (head("content-length: 99"),)
    backend.script = lambda asked: (*half, Pause(30))

    assert let_go(backend, leave(service(backend={"url": backend.url}), model="tiny", stream=streamed)) < 1
    assert backend.judged == []


def test_after_a_ping(service: Serve, backend: Raw) -> None:
    """A client that has seen pings and leaves is no different."""
    backend.script = lambda asked: (STREAM, Pause(30))
    client = service(backend={"url": backend.url}, stream={"ping_after_s": 0.1, "ping_every_s": 0.1})
    asked: Json = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}], "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=asked, timeout=5) as response:
        assert next(response.iter_raw()) == b": ping\n\n"

    assert let_go(backend, time.monotonic()) < 1
    assert until(lambda: f'{LATER}{{phase="answering"}} 1.0' in client.get("/metrics").text)


@either_way
@pytest.mark.parametrize("mode", ["shadow", "enforce"])
def test_while_the_judge_is_asked(service: Serve, backend: Raw, judge: Raw, mode: str, streamed: bool) -> None:
    """While the judge is silent, its request is closed; the backend had answered and is not asked again."""
    judge.judge = lambda asked: (Pause(30),)
    client = service(backend={"url": backend.url}, judge={"url": judge.url, "model": "judge"}, policy={"mode": mode})

    assert let_go(judge, leave(client, model="tiny", stream=streamed)) < 1
    assert len(judge.judged) == 1
    assert len(backend.asked) == 1


@either_way
def test_while_the_model_judges_itself(service: Serve, backend: Raw, streamed: bool) -> None:
    """A backend that judges its own answer is let go too."""
    backend.judge = lambda asked: (Pause(30),)

    assert let_go(backend, leave(service(backend={"url": backend.url}), model="tiny", stream=streamed)) < 1
    assert backend.left[0][0].judging


def test_while_several_choices_are_judged(service: Serve, backend: Raw) -> None:
    """Each choice has a judge's request of its own, and all of them are closed."""
    one = frames(["a"])[:2] + frames(["b"], index=1)[:2] + frames(["c"], index=2)[:2]
    ends = [frames([], index=index)[-1] for index in range(3)]
    backend.script = lambda asked: (STREAM, chunked([*one, *ends, b"data: [DONE]\n\n"]))
    backend.judge = lambda asked: (Pause(30),)
    left = leave(service(backend={"url": backend.url}), model="tiny", n=3, stream=True)

    assert until(lambda: len(backend.left) == 3, 3)
    assert max(when for _, when in backend.left) - left < 1


def test_while_a_check_is_made(service: Serve, judge: Raw) -> None:
    """The route that only judges lets its judge go as well."""
    judge.judge = lambda asked: (Pause(30),)
    client = service(judge={"url": judge.url, "model": "judge"})

    assert let_go(judge, leave(client, "/comity/v1/judge", response="Because.")) < 1


def test_while_a_route_is_passed_through(service: Serve, backend: Raw) -> None:
    """A passed-through route closes its request to the backend, and says so in the metrics."""
    backend.script = lambda asked: (Pause(30),)
    client = service(backend={"url": backend.url}, passthrough={"routes": ["/v1/embeddings"]})

    assert let_go(backend, leave(client, "/v1/embeddings", input="x")) < 1
    assert until(lambda: f'{LATER}{{phase="waiting"}} 1.0' in client.get("/metrics").text)


def test_while_models_are_listed(service: Serve, upstream: Upstream) -> None:
    """So does the list of models."""
    slow = Watched([b"{}"], 30, "application/json")
    slow.upstream = upstream
    upstream.list = lambda models: slow
    client = service(upstream)
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=client.base_url, trust_env=False) as one:
        one.get("/v1/models", timeout=STAYS_S)

    assert upstream.closed.wait(1)
    assert until(lambda: f'{LATER}{{phase="waiting"}} 1.0' in client.get("/metrics").text)


def test_those_who_left_break_nothing(service: Serve, backend: Raw) -> None:
    """Clients that leave are no failures of the backend: the breaker stays closed, the next answer comes."""
    backend.script = lambda asked: (Pause(30),)
    client = service(backend={"url": backend.url, "breaker_failures": 2})
    for _ in range(3):
        leave(client, model="tiny")
    backend.script = answering("The answer.")

    assert (
        client.post(
            "/v1/chat/completions", json={"model": "tiny", "messages": [{"role": "user", "content": "Hello."}]}
        ).status_code
        == 200
    )
    assert until(lambda: 'comity_circuit_state{backend="backend"} 0.0' in client.get("/metrics").text)
