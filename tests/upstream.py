"""A small real OpenAI-compatible server for tests: it says what a script tells it, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

Json = dict[str, Any]
Script = Callable[[Json], Response]


@contextmanager
def serve(app: ASGIApp) -> Iterator[str]:
    """Run an ASGI application under uvicorn in a thread; give its address."""
    config = uvicorn.Config(app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < deadline, "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


class Upstream:
    """The server's state: the script in force, requests seen, answers that a client closed early."""

    def __init__(self) -> None:
        self.url = ""
        self.script: Script = lambda body: whole("Hello.")
        self.judge: Script = lambda body: digit({"0": 1.0})
        self.list: Callable[[list[Json]], Response] = lambda models: JSONResponse({"object": "list", "data": models})
        self.models: list[Json] = [{"id": "tiny", "object": "model", "root": "/models/tiny", "parent": None}]
        self.listed: list[dict[str, str]] = []
        self.asked: list[Json] = []
        self.judged: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.judged_headers: list[dict[str, str]] = []
        self.ports: list[int] = []
        self.closed = threading.Event()
        self.finished = threading.Event()
        self.app = Starlette(
            routes=[
                Route("/v1/chat/completions", self._complete, methods=["POST"]),
                Route("/v1/completions", self._complete, methods=["POST"]),
                Route("/v1/models", self._models),
                Route("/v1/embeddings", self._embed, methods=["POST"]),
            ]
        )

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        if body.get("max_tokens") == 1 and body.get("top_logprobs") == 20:
            self.judged.append(body)
            self.judged_headers.append(dict(request.headers))
            return self.judge(body)
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        self.ports.append(request.client.port if request.client else 0)
        answer = self.script(body)
        if isinstance(answer, Watched):
            answer.upstream = self
        return answer

    async def _models(self, request: Request) -> Response:
        self.listed.append(dict(request.headers))
        return self.list(self.models)

    async def _embed(self, request: Request) -> Response:
        self.asked.append(await request.json())
        self.headers.append(dict(request.headers))
        return JSONResponse({"object": "list", "data": []})


class Watched(StreamingResponse):
    """A stream that tells the upstream when its client left, and when it came to its end."""

    upstream: Upstream

    def __init__(self, frames: list[bytes], pause_s: float, media_type: str = "text/event-stream") -> None:
        self.frames, self.pause_s = frames, pause_s
        super().__init__(self._run(), media_type=media_type)

    async def _run(self) -> AsyncIterator[bytes]:
        try:
            for frame in self.frames:
                await asyncio.sleep(self.pause_s)
                yield frame
        except asyncio.CancelledError:
            self.upstream.closed.set()
            raise
        self.upstream.finished.set()


def whole(text: str = "Hello.", **more: Any) -> Response:
    """A whole chat answer."""
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    return JSONResponse(completion([choice(message=message)], **more))


def completion(choices: list[Json], **more: Any) -> Json:
    """A whole chat answer's JSON with a usage of its own."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "tiny"}
    return {**head, "choices": choices, "usage": usage, **more}


def choice(index: int = 0, finish: str | None = "stop", **more: Any) -> Json:
    """One choice."""
    return {"index": index, "logprobs": None, "finish_reason": finish, **more}


def chunk(choices: list[Json], **more: Any) -> bytes:
    """One frame of a stream."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    return b"data: " + json.dumps({**head, "choices": choices, **more}, ensure_ascii=False).encode() + b"\n\n"


def frames(pieces: list[str], index: int = 0) -> list[bytes]:
    """The frames of one choice, its role first and its finish last, without [DONE]."""
    first = chunk([choice(index, None, delta={"role": "assistant", "content": ""})])
    texts = [chunk([choice(index, None, delta={"content": piece})]) for piece in pieces]
    return [first, *texts, chunk([choice(index, "stop", delta={})])]


DONE = b"data: [DONE]\n\n"


def stream(events: list[bytes], pause_s: float = 0.0) -> Response:
    """A stream of ready-made events."""
    return Watched(events, pause_s)


def either(text: str) -> Script:
    """Answer with a text in the shape that the request asks for."""

    def script(body: Json) -> Response:
        if not body.get("stream"):
            return whole(text)
        return stream([*frames([text[i : i + 5] for i in range(0, len(text), 5)]), DONE])

    return script


def digit(odds: dict[str, float]) -> Response:
    """A judge's answer: the probability of each first token."""
    top = [{"token": token, "logprob": math.log(odd), "bytes": None} for token, odd in odds.items() if odd > 0]
    content = [{**top[0], "top_logprobs": top}]
    said = choice(message={"role": "assistant", "content": top[0]["token"]}, logprobs={"content": content})
    return JSONResponse(completion([said]))


def error(status: int, message: str = "no", **more: Any) -> Response:
    """An OpenAI error."""
    headers = more.pop("headers", None)
    body = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}
    return JSONResponse({"error": body}, status, headers)
