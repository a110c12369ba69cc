"""An upstream that speaks at a model's pace: a frame every 20 ms; a judge's request is answered with 0 after 30 ms."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

FRAME_S = 0.02
JUDGE_S = 0.03
SENTENCE = "Many hosts are glad of something sweet, and of guests who ask what suits the family. "
TEXT = SENTENCE * 14
_STEP = 10  # characters of a frame
_SHARED = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "bench"}


async def _frames() -> AsyncIterator[bytes]:
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": TEXT[start : start + _STEP]} for start in range(0, len(TEXT), _STEP)]
    for delta in deltas:
        await asyncio.sleep(FRAME_S)
        yield _event({**_SHARED, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**_SHARED, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield b"data: [DONE]\n\n"


def _event(payload: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


async def _complete(request: Request) -> Response:
    body = await request.json()
    if body.get("logprobs"):
        await asyncio.sleep(JUDGE_S)
        digit = {"token": "0", "logprob": -0.01, "bytes": None}
        logprobs = {"content": [{**digit, "top_logprobs": [digit]}]}
        choice = {"index": 0, "message": {"role": "assistant", "content": "0"}, "logprobs": logprobs}
        return JSONResponse({"choices": [{**choice, "finish_reason": "stop"}]})
    return StreamingResponse(_frames(), media_type="text/event-stream")


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": "bench", "object": "model"}]})


APP = Starlette(
    routes=[Route("/v1/chat/completions", _complete, methods=["POST"]), Route("/v1/models", _models)],
)

if __name__ == "__main__":
    uvicorn.run(APP, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
