"""What a backend can do wrong, streamed and whole: each fault has its status, and the next answer is right."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.conftest import Serve
from tests.raw import (
    STREAM,
    Asked,
    End,
    Forever,
    Pause,
    Raw,
    Script,
    Step,
    Steps,
    answering,
    chunked,
    events,
    head,
    reply,
    said,
    serving,
)
from tests.upstream import DONE, Json, chunk, frames

QUICK = {"ping_after_s": 0.1, "ping_every_s": 0.1}
WORDS = "words that only the backend knows"
HANG_S = 10  # no request may take longer
FRAMES = frames(["Hello", " there."])
WHOLE = said("Hello there.")


@dataclass(frozen=True, slots=True)
class Fault:
    """What the backend does, and what the client sees of it; the waits concern streams or whole answers only."""

    name: str
    status: int
    code: str | None
    whole: Steps = ()
    streamed: Steps = ()
    door: Steps = ()
    whole_waits: Json = field(default_factory=dict)
    streamed_waits: Json = field(default_factory=dict)
    headers: Json = field(default_factory=dict)

    def script(self, asked: Asked) -> Steps:
        """Do it."""
        return self.streamed if asked.streams else self.whole

    def late(self, asked: Asked) -> Steps:
        """Do it a while later."""
        return (Pause(0.4), *self.script(asked))


def same(name: str, status: int, code: str | None, *steps: Step, **more: Any) -> Fault:
    """Give a fault that is the same for both."""
    return Fault(name, status, code, steps, steps, **more)


def answered(name: str, status: int, code: str | None, theirs: str, *headers: str, **more: Any) -> Fault:
    """Give an error that the backend answers with."""
    inner = {"message": WORDS, "type": "theirs", "param": None, "code": more.pop("inner", None)}
    body = json.dumps({"error": inner}).encode()
    return same(name, status, code, reply(body, *headers, status=theirs), **more)


SOON: Json = {"whole_waits": {"total_timeout_s": 0.6}, "streamed_waits": {"first_byte_timeout_s": 0.6}}
GAP: Json = {"whole_waits": {"total_timeout_s": 0.8}, "streamed_waits": {"between_frames_timeout_s": 0.5}}
TOTAL: Json = {"whole_waits": {"total_timeout_s": 1}, "streamed_waits": {"total_timeout_s": 1}}
SMALL: Json = {"whole_waits": {"max_answer_bytes": 4096}, "streamed_waits": {"max_answer_bytes": 4096}}
LONG = head("content-length: 100000")
LONG_STREAM = head("content-length: 100000", kind="text/event-stream")

UNREACHABLE = [
    same("closes_at_once", 502, "upstream_error", door=(End.CLOSE,)),
    same("resets_at_once", 502, "upstream_error", door=(End.RESET,)),
    same("closes_without_a_byte", 502, "upstream_error", End.CLOSE),
    same("resets_without_a_byte", 502, "upstream_error", End.RESET),
]
SILENT = [
    same("silent_before_the_first_byte", 504, "upstream_timeout", Pause(30), **SOON),
    same("silent_within_the_head", 504, "upstream_timeout", b"HTTP/1.1 200 OK\r\ncontent-ty", Pause(30), **SOON),
    Fault("silent_after_the_head", 504, "upstream_timeout", (LONG, Pause(30)), (STREAM, Pause(30)), **SOON),
    Fault(
        "silent_between_frames",
        504,
        "upstream_timeout",
        (LONG, WHOLE[:20], Pause(30)),
        (STREAM, chunked(FRAMES[:2], ends=False), Pause(30)),
        **GAP,
    ),
    same("head_that_never_ends", 504, "upstream_timeout", b"HTTP/1.1 200 OK\r\n", Forever(b"x-a: b\r\n", 0.05), **SOON),
    Fault(
        "answer_that_never_ends",
        504,
        "upstream_timeout",
        (head("transfer-encoding: chunked"), Forever(chunked([b" "], ends=False), 0.05)),
        (STREAM, Forever(chunked([FRAMES[1]], ends=False), 0.05)),
        **TOTAL,
    ),
    Fault(
        "comments_that_never_end",
        504,
        "upstream_timeout",
        (head("transfer-encoding: chunked"), Forever(chunked([b"\n"], ends=False), 0.05)),
        (STREAM, Forever(chunked([b": wait\n\n"], ends=False), 0.05)),
        **TOTAL,
    ),
]
BROKEN = [
    same("no_http", 502, "upstream_error", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n\r\n", End.CLOSE),
    same("another_protocol", 502, "upstream_error", b"SSH-2.0-OpenSSH_9.2p1\r\n", End.CLOSE),
    same("bad_content_length", 502, "upstream_error", head("content-length: many") + WHOLE, End.CLOSE),
    Fault(
        "bad_chunk_size",
        502,
        "upstream_error",
        (head("transfer-encoding: chunked"), Pause(0.1), b"xyz\r\n" + WHOLE, Pause(30)),
        (STREAM, chunked(FRAMES[:1], ends=False), Pause(0.1), b"xyz\r\n" + FRAMES[1], Pause(30)),
    ),
    Fault("no_json", 502, "upstream_error", (reply(b"{broken"),), (events([b"data: {broken\n\n", DONE]),)),
    Fault("no_object", 502, "upstream_error", (reply(b"[1]"),), (events([b"data: [1]\n\n", DONE]),)),
    Fault("no_choices", 502, "upstream_error", (reply(b"{}"),), (events([b"data: {}\n\n", DONE]),)),
    Fault("no_utf8", 502, "upstream_error", (reply(b'{"a": "\xff"}'),), (events([b'data: {"a": "\xff"}\n\n']),)),
    Fault("empty", 502, "upstream_error", (reply(b""),), (events([]),)),
    Fault("only_done", 502, "upstream_error", (reply(b"null"),), (events([DONE]),)),
    same("a_page", 502, "upstream_error", reply(b"<html>", kind="text/html")),
    Fault("the_other_kind", 502, "upstream_error", (events([*FRAMES, DONE]),), (reply(WHOLE),)),
    Fault(
        "encoded",
        502,
        "upstream_error",
        (reply(WHOLE, "content-encoding: gzip"),),
        (head("content-encoding: gzip", kind="text/event-stream"), *FRAMES, DONE, End.CLOSE),
    ),
    same("moved", 502, "upstream_error", reply(b"", "location: /v1", status="307 Temporary Redirect")),
    same("moved_for_good", 502, "upstream_error", reply(b"", "location: /v2", status="301 Moved Permanently")),
    same("no_content", 502, "upstream_error", head(status="204 No Content")),
]
CUT = [
    Fault(
        "shorter_than_its_length", 502, "upstream_error", (LONG, WHOLE, End.CLOSE), (LONG_STREAM, *FRAMES, End.CLOSE)
    ),
    Fault(
        "cut_in_a_chunk",
        502,
        "upstream_error",
        (head("transfer-encoding: chunked"), chunked([WHOLE])[:60], End.CLOSE),
        (STREAM, chunked(FRAMES, ends=False)[:-20], End.CLOSE),
    ),
    Fault(
        "last_chunk_missing",
        502,
        "upstream_error",
        (head("transfer-encoding: chunked"), chunked([WHOLE], ends=False), End.CLOSE),
        (STREAM, chunked(FRAMES[:-1], ends=False), End.CLOSE),
    ),
    Fault(
        "reset_on_the_way",
        502,
        "upstream_error",
        (LONG, WHOLE, Pause(0.1), End.RESET),
        (STREAM, chunked(FRAMES[:2], ends=False), Pause(0.1), End.RESET),
    ),
    Fault("ends_within_a_frame", 502, "upstream_error", (reply(WHOLE[:40]),), (events([FRAMES[0], FRAMES[1][:40]]),)),
    Fault("ends_unfinished", 502, "upstream_error", (reply(WHOLE[:-1]),), (events(FRAMES[:-1]),)),
]
THEIRS = [
    answered("unauthorized", 502, "upstream_auth", "401 Unauthorized"),
    answered("forbidden", 502, "upstream_auth", "403 Forbidden"),
    answered("unknown_model", 404, "model_not_found", "404 Not Found", inner="model_not_found"),
    answered("rate_limited", 429, None, "429 Too Many Requests", "retry-after: 7", headers={"retry-after": "7"}),
    answered("their_fault", 502, "upstream_error", "500 Internal Server Error"),
    answered("their_gateway", 502, "upstream_error", "502 Bad Gateway"),
    answered("unavailable", 503, "upstream_error", "503 Service Unavailable", "retry-after: 3"),
    answered("their_timeout", 504, "upstream_timeout", "504 Gateway Timeout"),
    same("error_without_json", 502, "upstream_error", reply(WORDS.encode(), status="500 Oh", kind="text/plain")),
    same("refused_without_json", 400, None, reply(WORDS.encode(), status="400 Bad Request", kind="text/plain")),
]
LARGE = [
    Fault(
        "too_large",
        502,
        "answer_too_large",
        (reply(said("x" * 9000)),),
        (events([*frames(["x" * 9000]), DONE]),),
        **SMALL,
    ),
    Fault(
        "flood",
        502,
        "answer_too_large",
        (head("transfer-encoding: chunked"), Forever(chunked([b" " * 1000], ends=False))),
        (STREAM, Forever(chunked([b"data: " + b"x" * 1000], ends=False))),
        **SMALL,
    ),
]
FAULTS = [*UNREACHABLE, *SILENT, *BROKEN, *CUT, *THEIRS, *LARGE]
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def backend() -> Iterator[Raw]:
    """A backend of this test's own."""
    with serving() as made:
        yield made


def ask(client: httpx.Client, text: str, *, streamed: bool) -> httpx.Response:
    """Ask; the text marks the request in the backend's view. Pings do not put off the end of patience."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": streamed}
    content, deadline = bytearray(), time.monotonic() + HANG_S
    with client.stream("POST", "/v1/chat/completions", json=body, timeout=HANG_S) as response:
        for part in response.iter_raw():
            assert time.monotonic() < deadline, "the answer hangs"
            content += part
    return httpx.Response(response.status_code, headers=response.headers, content=bytes(content))


def received(asked: Sequence[Asked], text: str) -> int:
    """Count how often the backend received a request."""
    return sum(text.encode() in request.body for request in asked)


def content(response: httpx.Response, *, streamed: bool) -> str:
    """Give the text of an answer."""
    if not streamed:
        return str(response.json()["choices"][0]["message"]["content"])
    *payloads, done, rest = response.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    found = [json.loads(payload.removeprefix("data: ")) for payload in payloads if payload.startswith("data: ")]
    return "".join(item["delta"].get("content") or "" for piece in found for item in piece["choices"])


@each_fault
@either_way
def test_fault(service: Serve, backend: Raw, fault: Fault, streamed: bool) -> None:
    """A fault has its status and OpenAI's error body; it was asked for once at most, and the next answer is right."""
    backend.script, backend.door = fault.script, fault.door
    client = service(backend=_waiting(backend, fault, streamed))
    failed = ask(client, "the first question", streamed=streamed)
    backend.script, backend.door = answering("Hello."), ()
    fine = ask(client, "the second question", streamed=streamed)

    error = failed.json()["error"]
    assert (failed.status_code, error["code"]) == (fault.status, fault.code)
    assert failed.headers["content-type"] == "application/json"
    assert failed.headers["x-comity-response-path"] == "error"
    assert fault.headers.items() <= dict(failed.headers).items()
    assert isinstance(error["message"], str)
    assert received(backend.asked, "the first question") <= 1
    assert content(fine, streamed=streamed) == "Hello."


@each_fault
def test_fault_after_a_ping(service: Serve, backend: Raw, fault: Fault) -> None:
    """A fault after the stream was committed is an error frame of the same code, and [DONE] ends it."""
    door = (Pause(0.4), *fault.door) if fault.door else ()
    backend.script, backend.door = fault.late, door
    waits = {**fault.streamed_waits}
    if "first_byte_timeout_s" in waits:
        waits["first_byte_timeout_s"] = 1
    client = service(backend={**_waiting(backend, fault, True), **waits}, stream=QUICK)
    response = ask(client, "the first question", streamed=True)
    *pings, failed, done, rest = response.text.split("\n\n")

    assert response.status_code == 200
    assert pings
    assert set(pings) == {": ping"}
    assert json.loads(failed.removeprefix("data: "))["error"]["code"] == fault.code
    assert (done, rest) == ("data: [DONE]", "")


def _waiting(backend: Raw, fault: Fault, streamed: bool) -> Json:
    return {"url": backend.url, **(fault.streamed_waits if streamed else fault.whole_waits)}


@either_way
def test_nothing_listens(service: Serve, streamed: bool) -> None:
    """A backend that is down is a 502; once it is up the next request is answered."""
    with serving(listening=False) as backend:
        client = service(backend={"url": backend.url})
        failed = ask(client, "hello", streamed=streamed)
        backend.listen()
        fine = ask(client, "hello", streamed=streamed)

    assert (failed.status_code, failed.json()["error"]["code"]) == (502, "upstream_error")
    assert content(fine, streamed=streamed) == "Hello."


@either_way
def test_nobody_takes_the_connection(service: Serve, streamed: bool) -> None:
    """A connection that nobody takes ends by backend.connect_timeout_s, not by the total, and the error names it."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):  # what the queue does not hold any more is not answered at all
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        client = service(backend={"url": address, "connect_timeout_s": 0.3, "connect_retries": 1})
        failed = ask(client, "hello", streamed=streamed)

    assert (failed.status_code, failed.json()["error"]["code"]) == (504, "upstream_timeout")
    assert "backend.connect_timeout_s" in failed.json()["error"]["message"]


@pytest.mark.parametrize("fault", [*SILENT, *THEIRS[:2]], ids=lambda fault: fault.name)
def test_message(service: Serve, backend: Raw, fault: Fault) -> None:
    """A timeout names its setting; a refused key says nothing in the backend's words."""
    backend.script = fault.script
    response = ask(service(backend=_waiting(backend, fault, True)), "hello", streamed=True)

    assert WORDS not in response.text
    assert all(name in response.json()["error"]["message"] for name in fault.streamed_waits)


@either_way
def test_head_too_large(service: Serve, backend: Raw, streamed: bool) -> None:
    """A head that floods is refused in bounded time, by its size or by the clock."""
    backend.script = lambda asked: (b"HTTP/1.1 200 OK\r\n", Forever(b"x-a: " + b"b" * 1000 + b"\r\n"))
    waits = {"total_timeout_s": 2, "first_byte_timeout_s": 2}
    response = ask(service(backend={"url": backend.url, **waits}), "hello", streamed=streamed)

    assert response.status_code in (502, 504)


@either_way
def test_ten_megabytes(service: Serve, backend: Raw, streamed: bool) -> None:
    """A long answer is released whole and right."""
    text = "0123456789abcdef" * 65_536 * 10
    pieces = [text[start : start + 65_536] for start in range(0, len(text), 65_536)]
    script: Script = lambda asked: (events([*frames(pieces), DONE]) if asked.streams else reply(said(text)),)  # noqa: E731
    backend.script = script
    response = ask(service(backend={"url": backend.url}), "hello", streamed=streamed)

    assert response.status_code == 200
    assert content(response, streamed=streamed) == text


def test_stream_without_done(service: Serve, backend: Raw) -> None:
    """A stream whose choices are all finished is an answer though [DONE] is missing; the client gets its [DONE]."""
    backend.script = lambda asked: (events(FRAMES),)
    response = ask(service(backend={"url": backend.url}), "hello", streamed=True)

    assert response.status_code == 200
    assert content(response, streamed=True) == "Hello there."


@pytest.mark.parametrize(("code", "status"), [(400, 400), (500, 502), (None, 502)])
def test_error_frame(service: Serve, backend: Raw, code: int | None, status: int) -> None:
    """An error frame in mid-stream is an error of the status that it names, and nothing of the answer leaves."""
    frame = b"data: " + json.dumps({"error": {"message": "no", "type": "theirs", "code": code}}).encode() + b"\n\n"
    backend.script = lambda asked: (events([*FRAMES[:2], frame, DONE]),)
    response = ask(service(backend={"url": backend.url}), "hello", streamed=True)

    assert response.status_code == status
    assert "Hello" not in response.text


def test_choices_that_are_no_list(service: Serve, backend: Raw) -> None:
    """An answer whose choices cannot be read, and so not be judged, does not leave."""
    for streamed in (False, True):
        backend.script = lambda asked: (
            events([chunk(["Hello"]), DONE]) if asked.streams else reply(b'{"choices": "Hello"}'),  # type: ignore[list-item]
        )
        response = ask(service(backend={"url": backend.url}), "hello", streamed=streamed)

        assert response.status_code == 502
        assert "Hello" not in response.text
