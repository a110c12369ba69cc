"""An OpenAI-compatible server that answers at once, so that only the hop is measured."""

from __future__ import annotations

import json
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TEXT = "Many hosts are glad of something sweet. Ask what suits the family, and arrive a little after the hour. " * 3
_DIGIT = {"token": "0", "logprob": -0.01, "bytes": [48]}


def _answer(content: str, logprobs: object) -> bytes:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    usage = {"prompt_tokens": 60, "completion_tokens": 70, "total_tokens": 130}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "bench"}
    return json.dumps({**head, "choices": [choice], "usage": usage}).encode()


_WHOLE = _answer(_TEXT, None)
_JUDGED = _answer("0", {"content": [{**_DIGIT, "top_logprobs": [_DIGIT]}]})


async def _complete(request: Request) -> Response:
    body = await request.body()
    return Response(_JUDGED if b'"top_logprobs"' in body else _WHOLE, media_type="application/json")


async def _models(request: Request) -> Response:
    return Response(b'{"object":"list","data":[{"id":"bench","object":"model"}]}', media_type="application/json")


app = Starlette(
    routes=[Route("/v1/chat/completions", _complete, methods=["POST"]), Route("/v1/models", _models)],
)

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
