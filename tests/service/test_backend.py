"""The upstream's failures, translated once."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from service.backend import Backend
from service.errors import ComityError, ContextExceeded, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from service.translate import TRANSLATIONS
from tests.conftest import ROOT, Serve, until
from tests.raw import End, Pause, head, reply, said, serving
from tests.upstream import DONE, Upstream, choice, chunk, completion, digit, either, error, frames, serve, stream, whole

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}


def _all(kind: type[httpx.RequestError]) -> list[type[httpx.RequestError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _all(below))]


def _ask(handler: Any, body: dict[str, Any] = BODY) -> ComityError:
    async def run() -> None:
        backend = Backend("http://upstream/v1", transport=httpx.MockTransport(handler))
        async for _ in backend.pieces("/chat/completions", body):
            pass

    with pytest.raises(ComityError) as found:
        asyncio.run(run())
    return found.value


@pytest.mark.parametrize("kind", _all(httpx.RequestError))
def test_every_transport_error(kind: type[httpx.RequestError]) -> None:
    """Each error class of httpx becomes one of ours with a sentence; a new class would still find a row."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise kind("secret detail")

    found = _ask(handler)

    assert isinstance(found, UpstreamFailed | UpstreamTimeout)
    assert "secret" not in found.message
    assert any(issubclass(kind, row[0]) for row in TRANSLATIONS)


@pytest.mark.parametrize(
    ("status", "body", "kind", "ours"),
    [
        (400, {"error": {"message": "bad top_k", "type": "t", "param": "top_k", "code": 400}}, UpstreamRejected, 400),
        (400, {"object": "error", "message": "bad top_k", "type": "t", "code": 400}, UpstreamRejected, 400),
        (404, {"error": {"message": "no such model"}}, UpstreamRejected, 404),
        (422, [], UpstreamRejected, 422),
        (400, {"error": {"message": "This model's maximum context length is 8"}}, ContextExceeded, 400),
        (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, ContextExceeded, 400),
        (401, {"error": {"message": "bad key sk-123"}}, UpstreamFailed, 502),
        (500, "oops", UpstreamFailed, 502),
        (503, {}, UpstreamFailed, 503),
        (504, {}, UpstreamTimeout, 504),
        (302, {}, UpstreamFailed, 502),
    ],
)
def test_error_status(status: int, body: Any, kind: type[ComityError], ours: int) -> None:
    """An upstream's 4xx keeps its status and sentence; a refused key and 5xx are the backend's fault."""
    content = httpx.ByteStream(json.dumps(body).encode())
    found = _ask(lambda request: httpx.Response(status, headers={"location": "/"}, stream=content))

    assert type(found) is kind
    assert found.status == ours
    assert isinstance(found.code, str | None)
    assert "sk-123" not in found.message


@pytest.mark.parametrize(
    ("headers", "content"),
    [
        ({"content-type": "text/html"}, b"<html>"),
        ({"content-type": "application/json"}, b"{broken"),
        ({"content-type": "application/json"}, b"[1]"),
        ({"content-type": "application/json"}, b"[" * 100_000),
        ({"content-type": "application/json", "content-encoding": "br"}, b"{}"),
        ({"content-type": "application/json"}, b'{"error": {"message": "engine died", "code": 500}}'),
    ],
)
def test_answers_that_are_none(headers: dict[str, str], content: bytes) -> None:
    """What is no OpenAI answer is one clear 502, never a crash."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield content

    found = _ask(lambda request: httpx.Response(200, headers=headers, stream=Body()))

    assert type(found) is UpstreamFailed
    assert found.status == 502


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (lambda body: PlainTextResponse("hello"), 502, "upstream_error"),
        (lambda body: JSONResponse({"choices": []}), 502, "upstream_error"),
        (lambda body: stream([*frames(["cut"])[:-1]]), 502, "upstream_error"),
        (
            lambda body: stream([*frames(["x"])[:-1], chunk([], error={"message": "died", "code": 500}), DONE]),
            502,
            None,
        ),
        (lambda body: error(500), 502, "upstream_error"),
        (lambda body: error(404, "model not found", code="model_not_found"), 404, "model_not_found"),
    ],
    ids=["text", "no_choices", "cut", "error_frame", "500", "404"],
)
def test_fault(service: Serve, upstream: Upstream, streamed: bool, script: Any, status: int, code: str | None) -> None:
    """Each fault of the backend ends in the right status, streamed or whole."""
    upstream.script = script
    response = service(upstream).post("/v1/chat/completions", json={**BODY, "stream": streamed})

    assert response.status_code == status
    assert code is None or response.json()["error"]["code"] == code


def test_stream_without_done(service: Serve, upstream: Upstream) -> None:
    """A stream whose choices ended is whole even if the backend forgot [DONE]; the client gets it."""
    upstream.script = lambda body: stream(frames(["x"]))
    response = service(upstream).post("/v1/chat/completions", json={**BODY, "stream": True})

    assert response.text.endswith("data: [DONE]\n\n")


def test_unreachable_backend(service: Serve) -> None:
    """With the backend down a request is a 502, and readiness says why with 503; liveness does not care."""
    client = service(backend={"url": "http://127.0.0.1:9/v1", "connect_timeout_s": 1})
    response = client.post("/v1/chat/completions", json=BODY)
    ready = client.get("/readyz")

    assert response.status_code == 502
    assert response.json()["error"]["message"] == "the backend cannot be reached"
    assert ready.status_code == 503
    assert ready.json()["reason"] == "the backend cannot be reached"
    assert client.get("/livez").status_code == 200


def test_ready_with_a_backend(service: Serve, upstream: Upstream) -> None:
    """Readiness is 200 when the backend answers, and on embedded parts alone."""
    assert service(upstream).get("/readyz").status_code == 200
    assert service().get("/readyz").json()["backend"] == "embedded"


def test_headers_that_are_forwarded(service: Serve, upstream: Upstream) -> None:
    """Trace context goes on; the caller's key, cookies and hints do not; the backend's key is its own."""
    upstream.script = lambda body: whole()
    client = service(upstream, backend={"api_key": "theirs"}, api_keys=["ours"])
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = {"authorization": "Bearer ours", "traceparent": trace, "cookie": "a=b", "x-comity-culture": "JP"}
    client.post("/v1/chat/completions", json=BODY, headers=sent)
    seen = upstream.headers[0]

    assert seen["traceparent"] == trace
    assert seen["authorization"] == "Bearer theirs"
    assert seen["accept-encoding"] == "identity"
    assert not {"cookie", "x-comity-culture"} & set(seen)


def test_stage_failure_is_counted(service: Serve, upstream: Upstream) -> None:
    """Looking up that takes too long leaves the request ungrounded and marked, or blocks it by setting."""
    upstream.script = either("ok")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "A gift in Japan?"}]}
    client = service(upstream, retrieval={"timeout_s": 1e-9})
    degraded = client.post("/v1/chat/completions", json=body)
    blocked = service(upstream, retrieval={"timeout_s": 1e-9}, policy={"on_error": {"retrieve": "block"}}).post(
        "/v1/chat/completions", json=body
    )

    assert degraded.headers["x-comity-grounding"] == "failed"
    assert degraded.headers["x-comity-response-path"] == "degraded"
    assert until(
        lambda: 'comity_guard_errors_total{error_type="timeout",stage="retrieve"} 1.0' in client.get("/metrics").text
    )
    assert blocked.status_code == 503
    assert blocked.json()["error"]["code"] == "guardrail_unavailable"


def test_no_async_generator_is_left_open() -> None:
    """Asking for one whole answer closes its request itself, not whenever the garbage collector comes by."""
    left: list[object] = []

    async def run() -> None:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(finalizer=left.append)
        content = httpx.ByteStream(json.dumps(completion([])).encode())
        answer = httpx.Response(200, headers={"content-type": "application/json"}, stream=content)
        backend = Backend("http://upstream/v1", transport=httpx.MockTransport(lambda request: answer))
        await backend.complete("/chat/completions", BODY)
        gc.collect()
        sys.set_asyncgen_hooks(*hooks)

    asyncio.run(run())

    assert left == []


@pytest.mark.parametrize("streamed", [False, True])
def test_connections_are_used_again(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Several answers, streamed ones too, come over one connection to the backend."""
    upstream.script = either("ok")
    client = service(upstream, policy={"mode": "off"})
    for _ in range(5):
        client.post("/v1/chat/completions", json={**BODY, "stream": streamed})

    assert len(set(upstream.ports)) == 1


@pytest.mark.parametrize("status", [401, 500, 302])
def test_models_that_cannot_be_had(service: Serve, status: int) -> None:
    """The backend's failure to list its models is an OpenAI error of ours, without its words."""

    async def models(request: Request) -> Response:
        return JSONResponse({"error": {"message": "bad key sk-backend"}}, status)

    with serve(Starlette(routes=[Route("/v1/models", models)])) as address:
        response = service(backend={"url": f"{address}/v1"}).get("/v1/models")

    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_error"
    assert "sk-backend" not in response.text


@pytest.mark.parametrize("status", [429, 503])
def test_models_that_cannot_be_had_now(service: Serve, upstream: Upstream, status: int) -> None:
    """A list that can be had later says when; the status stands, the backend's words do not."""
    upstream.list = lambda models: error(status, "sk-backend is over its quota", headers={"retry-after": "7"})
    response = service(upstream).get("/v1/models")

    assert response.status_code == status
    assert response.headers["retry-after"] == "7"
    assert "sk-backend" not in response.text


def test_passed_through_route_that_is_busy(service: Serve) -> None:
    """What a passed-through route answers is handed on with its Retry-After and its type as they are."""
    with serving() as raw:
        raw.script = lambda asked: (reply(b"busy", "retry-after: 7", status="429 Oh", kind="text/plain"),)
        client = service(backend={"url": raw.url}, passthrough={"routes": ["/tokenize"]})
        response = client.post("/tokenize", json={})

    assert (response.status_code, response.content) == (429, b"busy")
    assert (response.headers["retry-after"], response.headers["content-type"]) == ("7", "text/plain")


@pytest.mark.parametrize("streamed", [False, True])
def test_refusal_that_breaks_off(service: Serve, streamed: bool) -> None:
    """A refusal whose words break off is still that refusal, with its Retry-After."""
    with serving() as raw:
        cut = head("content-length: 100", "retry-after: 3", status="429 Oh")
        raw.script = lambda asked: (cut, b'{"err', End.CLOSE)
        client = service(backend={"url": raw.url})
        response = client.post("/v1/chat/completions", json={**BODY, "stream": streamed})

    assert (response.status_code, response.headers["retry-after"]) == (429, "3")


def test_whole_answer_that_takes_its_time(service: Serve) -> None:
    """The limits on a stream's first byte and silences are none of a whole answer's, which comes when it is made."""
    waits = {"first_byte_timeout_s": 0.2, "between_frames_timeout_s": 0.2}
    text = said("Hello.")
    with serving() as raw:
        start = head(f"content-length: {len(text)}")
        raw.script = lambda asked: (Pause(0.5), start, text[:9], Pause(0.5), text[9:])
        response = service(backend={"url": raw.url, **waits}).post("/v1/chat/completions", json=BODY)

    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello."


def test_command_that_asks_a_judge() -> None:
    """A command line that asked a judge closes its connections: nothing but the result is printed."""
    with serving() as raw:
        found = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "service", "judge", "Bow."],
            cwd=ROOT,
            env={**os.environ, "COMITY_BACKEND__URL": raw.url, "COMITY_JUDGE__MODEL": "tiny"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        asked = len(raw.judged)

    assert (found.returncode, asked) == (0, 1)
    assert "Unclosed" not in found.stderr
    assert "ResourceWarning" not in found.stderr


def test_lists_in_several_headers(service: Serve, upstream: Upstream) -> None:
    """Trace state and baggage that come in several headers go on as one list."""
    headers = [("tracestate", "a=1"), ("tracestate", "b=2"), ("baggage", "c=3"), ("baggage", "d=4")]
    service(upstream).post("/v1/chat/completions", json=BODY, headers=headers)

    assert upstream.headers[0]["tracestate"] == "a=1, b=2"
    assert upstream.headers[0]["baggage"] == "c=3, d=4"


def test_odd_trace_header(service: Serve, upstream: Upstream) -> None:
    """A trace header that no header can carry is left out instead of failing the request."""
    response = service(upstream).post("/v1/chat/completions", json=BODY, headers={b"baggage": b"a=\xe9"})

    assert response.status_code == 200
    assert "baggage" not in upstream.headers[0]


def test_stream_with_done_but_no_finish_reason(service: Serve, upstream: Upstream) -> None:
    """A stream that its backend ended with [DONE] is whole, even if a finish_reason was forgotten."""
    upstream.script = lambda body: stream([*frames(["x"])[:-1], DONE])

    assert service(upstream).post("/v1/chat/completions", json={**BODY, "stream": True}).status_code == 200


@pytest.mark.parametrize(
    "choices", [["VILE"], {"0": "VILE"}, "VILE", [choice(message={"content": "ok"}), "VILE"]], ids=str
)
def test_choices_that_cannot_be_read(service: Serve, upstream: Upstream, choices: Any) -> None:
    """Text where no choice can be read cannot be judged, so it does not leave."""
    upstream.script = lambda body: JSONResponse({"choices": choices})
    response = service(upstream).post("/v1/chat/completions", json=BODY)

    assert response.status_code == 502
    assert "VILE" not in response.text


@pytest.mark.parametrize("message", ["VILE", ["VILE"], [{"text": "VILE"}]], ids=str)
def test_message_of_another_type(service: Serve, upstream: Upstream, message: Any) -> None:
    """Text in a message of an odd type is judged like any other."""
    upstream.script = lambda body: JSONResponse(completion([choice(message=message)]))
    upstream.judge = lambda body: digit({"9": 1.0} if "VILE" in json.dumps(body) else {"0": 1.0})
    response = service(upstream, policy={"mode": "enforce", "repair": False, "fallback": False}).post(
        "/v1/chat/completions", json=BODY
    )

    assert "VILE" not in response.text


def test_lone_surrogate_in_an_answer(service: Serve, upstream: Upstream) -> None:
    """Half a character in a refused or extended answer does not crash the writer."""
    content = rb'{"id":"\ud83d","choices":[{"index":0,"message":{"content":"\ud83d"}}]}'
    upstream.script = lambda body: Response(content, media_type="application/json")
    response = service(upstream).post("/v1/chat/completions", json={**BODY, "comity": {"debug": True}})

    assert response.status_code == 200
