"""An OpenAI-compatible server that answers at once, on bare asyncio: the floor under every case of a load run.

It answers chat completions whole or in 20 frames, a judge's request for log-probabilities with the digit 0, and the
list of models. `GET /served` gives how many answers of each kind it gave, so that a run can check what was asked.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from typing import Any, cast

import httptools
import uvloop

_SENTENCE = "Many hosts are glad of something sweet. Ask what suits the family, and arrive a little after the hour. "
_TEXT = _SENTENCE * 3
_FRAMES = 20
_HEAD: dict[str, object] = {"id": "chatcmpl-1", "created": 1, "model": "bench"}
_USAGE = {"prompt_tokens": 60, "completion_tokens": 70, "total_tokens": 130}
_DIGIT = {"token": "0", "logprob": -0.01, "bytes": [48]}
_STREAMS = re.compile(rb'"stream":\s*true')
_MODEL: dict[str, object] = {
    "id": "bench",
    "object": "model",
    "created": 1,
    "owned_by": "bench",
    "root": "bench",
    "parent": None,
}


def _dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _response(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _answer(content: str, logprobs: object) -> bytes:
    message = {"role": "assistant", "content": content}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
    return _response(_dumps({**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _USAGE}))


def _frames() -> list[bytes]:
    """Give the chunks of a streamed answer: the role, the text in pieces, the finish, the end."""
    step = -(-len(_TEXT) // (_FRAMES - 2))
    deltas: list[dict[str, str]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": _TEXT[start : start + step]} for start in range(0, len(_TEXT), step)]
    choices: list[object] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"})
    chunks = [_dumps({**_HEAD, "object": "chat.completion.chunk", "choices": [choice]}) for choice in choices]
    events = [b"data: %b\n\n" % chunk for chunk in (*chunks, b"[DONE]")]
    return [b"%x\r\n%b\r\n" % (len(event), event) for event in events] + [b"0\r\n\r\n"]


_WHOLE = _answer(_TEXT, None)
_JUDGED = _answer("0", {"content": [{**_DIGIT, "top_logprobs": [_DIGIT]}]})
_MODELS = _response(_dumps({"object": "list", "data": [_MODEL]}))
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_STREAM = _frames()
_served = {"whole": 0, "streamed": 0, "judged": 0}


class Upstream(asyncio.Protocol):
    """One connection; requests on it are answered in turn."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._path, self._body = b"", b""

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls the methods below."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Note the path of the next request."""
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        """Collect its body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer it."""
        if self._path == b"/served":
            self._transport.write(_response(_dumps(_served)))
        elif not self._path.endswith(b"/chat/completions"):
            self._transport.write(_MODELS)
        elif b'"top_logprobs"' in self._body:
            _served["judged"] += 1
            self._transport.write(_JUDGED)
        elif _STREAMS.search(self._body):
            _served["streamed"] += 1
            self._transport.write(_STREAM_HEAD)
            self._send(0)
        else:
            _served["whole"] += 1
            self._transport.write(_WHOLE)

    def _send(self, number: int) -> None:
        """Write one frame a turn of the loop, so that frames leave one by one as a model's do."""
        self._transport.write(_STREAM[number])
        if number + 1 < len(_STREAM):
            self._loop.call_soon(self._send, number + 1)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
