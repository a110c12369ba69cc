"""Who is let in, for how long, and what happens to those inside when the service stops."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from service.app import create_app
from service.guard import Guard
from service.metrics import Metrics
from service.parts import make_backend, make_judge
from service.queries import Queries
from service.settings import Settings
from tests.conftest import Kept, Serve, until
from tests.upstream import Upstream, either, frames, serve, stream

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}


@pytest.mark.parametrize("content", [b"{broken", b'{"model": "x", "messages": []}', b""])
def test_bad_body_leaves_its_place(service: Serve, upstream: Upstream, content: bytes) -> None:
    """A request that never became a turn gives its place back."""
    client = service(upstream, limits={"max_in_flight": 1})
    for _ in range(3):
        assert client.post("/v1/chat/completions", content=content).status_code == 400

    assert client.post("/v1/chat/completions", json=BODY).status_code == 200
    assert client.post("/comity/v1/detect", content=content).status_code == 400
    assert client.get("/v1/nonsense").status_code == 404
    assert client.post("/v1/chat/completions", json=BODY).status_code == 200


def test_body_that_never_comes(service: Serve, upstream: Upstream) -> None:
    """A client that sends only its headers gets 408 after a while, and its place is free again."""
    client = service(upstream, limits={"max_in_flight": 1, "body_timeout_s": 0.4})
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as slow:
        slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n")
        assert until(lambda: client.post("/v1/chat/completions", json=BODY).status_code == 429)
        slow.settimeout(5)
        answer = slow.recv(4096)

    assert b"408" in answer.split(b"\r\n")[0]
    assert until(lambda: client.post("/v1/chat/completions", json=BODY).status_code == 200)


def test_place_is_free_with_the_last_byte(service: Serve, upstream: Upstream) -> None:
    """Whoever has the end of an answer may ask again at once, even where only one may be inside."""
    upstream.script = either("ok")
    client = service(upstream, limits={"max_in_flight": 1})
    statuses = [client.post("/v1/chat/completions", json={**BODY, "stream": i % 2 == 0}).status_code for i in range(30)]

    assert statuses == [200] * 30


def test_client_that_leaves_a_check(service: Serve, upstream: Upstream) -> None:
    """A client that gives up on a check-only judgement frees the judge and its place."""

    def judge(body: Any) -> Response:
        made = stream([b" "] * 100, 0.1)
        made.headers["content-type"] = "application/json"
        return made

    upstream.judge = judge
    client = service(upstream, limits={"max_in_flight": 1})
    with pytest.raises(httpx.ReadTimeout):
        client.post("/comity/v1/judge", json={"messages": BODY["messages"], "response": "x"}, timeout=0.4)

    assert until(lambda: client.post("/v1/chat/completions", json={**BODY, "messages": []}).status_code == 400, 2)


def test_too_many_messages(service: Serve) -> None:
    """More messages than the limit are refused by name."""
    body = {"model": "comity-extractive", "messages": BODY["messages"] * 4}
    response = service(limits={"max_messages": 3}).post("/v1/chat/completions", json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == "messages"


@pytest.mark.parametrize(("words", "status"), [(20, 200), (400, 413)])
def test_long_prompt(service: Serve, words: int, status: int) -> None:
    """A text of more estimated tokens than allowed is refused before anything is done with it, on both routes."""
    client = service(limits={"max_prompt_tokens": 200})
    text = "word " * words
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        "/v1/chat/completions": ("messages", {"messages": [{"role": "user", "content": text}]}),
        "/v1/completions": ("prompt", {"prompt": text}),
    }
    for path, (field, body) in asked.items():
        answer = client.post(path, json={"model": "comity-extractive", **body})
        assert answer.status_code == status
        if status == 413:
            error = answer.json()["error"]
            assert (error["code"], error["param"]) == ("too_many_tokens", field)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": list(range(300))}),
        ("/v1/completions", {"prompt": [list(range(150)), list(range(150))]}),
        (
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "Hi"}],
                "tools": [{"type": "function", "function": {"name": "f", "description": "word " * 200}}],
            },
        ),
    ],
)
def test_long_prompt_without_text(service: Serve, path: str, body: dict[str, Any]) -> None:
    """Token ids and the tools that a request describes count too."""
    answer = service(limits={"max_prompt_tokens": 200}).post(path, json={"model": "comity-extractive", **body})
    assert answer.json()["error"]["code"] == "too_many_tokens"


@pytest.mark.parametrize("begun", [True, False])
def test_service_that_stops(guard: Guard, upstream: Upstream, begun: bool) -> None:
    """When the service must stop, a stream under way ends in an error frame and [DONE], another answer in 503."""
    upstream.script = lambda body: stream(frames(["x"] * 600), pause_s=0.05)
    index = Path(__file__).parents[2] / "var" / "index"
    settings = Settings(
        backend={"url": upstream.url},
        retrieval={"index": index},
        stream={"ping_after_s": 0.1 if begun else 60, "ping_every_s": 0.2},
    )
    made = replace(
        guard,
        settings=settings,
        backend=make_backend(settings, guard.metrics),
        judge=make_judge(settings, guard.metrics),
        metrics=Metrics(),
        workers=Kept(guard.workers),
        queries=Queries(guard.index.encoder, Kept(guard.workers), 1),
    )
    got: list[bytes] = []

    def read(address: str) -> None:
        with httpx.stream("POST", f"{address}/v1/chat/completions", json={**BODY, "stream": True}) as response:
            got.append(str(response.status_code).encode())
            got.extend(response.iter_raw())

    with serve(create_app(made)) as address:
        reading = threading.Thread(target=read, args=(address,))
        reading.start()
        assert until(lambda: bool(upstream.asked) and len(got) >= 2 * begun)
        stopping = time.monotonic()
    reading.join(10)

    assert time.monotonic() - stopping < 8
    assert b'"code":"shutting_down"' in b"".join(got)
    assert got[0] == (b"200" if begun else b"503")
    assert b"".join(got).endswith(b"data: [DONE]\n\n") is begun
