"""The same request sent straight and through the guardrail: the same bytes, frames, objects and errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest
from starlette.responses import Response

from tests.conftest import Serve
from tests.upstream import DONE, Json, Script, Upstream, choice, chunk, completion, error, frames, stream

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ASKED: Json = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}
PROMPTED: Json = {"model": "tiny", "prompt": "Hello there."}
OURS = frozenset({"x-request-id", "cache-control", "x-accel-buffering"})
HOPS = frozenset({"date", "server", "content-length", "transfer-encoding"})


def raw(text: str) -> Response:
    """Give a whole answer byte for byte as written here."""
    return Response(text.encode(), media_type="application/json")


def chosen(*choices: Json, **more: Any) -> Response:
    """Give a whole answer of some choices, written with the spaces that other servers write."""
    return raw(json.dumps(completion(list(choices), **more), ensure_ascii=False))


def message(index: int = 0, finish: str = "stop", **fields: Any) -> Json:
    """Give one choice with a message."""
    return choice(index, finish, message={"role": "assistant", "content": None, **fields})


def delta(index: int = 0, finish: str | None = None, **fields: Any) -> bytes:
    """Give one frame with a delta."""
    return chunk([choice(index, finish, delta=fields)])


def call(position: int, id: str, name: str, arguments: str) -> Json:
    """Give one tool call, its position in streams only."""
    where = {} if position < 0 else {"index": position}
    return {**where, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def more(position: int, arguments: str) -> Json:
    """Give one more piece of a tool call."""
    return {"index": position, "function": {"arguments": arguments}}


LOGPROBS: Json = {
    "content": [{"token": "Hi", "logprob": -0.01, "bytes": [72, 105], "top_logprobs": []}],
    "refusal": None,
}
USAGE: Json = {
    "prompt_tokens": 5,
    "completion_tokens": 2,
    "total_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 4},
}
ODD = """{ "id" :"x", "object":"chat.completion","created":1, "model" : "tiny", "system_fingerprint": "fp_1",
  "choices": [ {"index": 0, "message": {"role":"assistant", "content": "\\u00e9 é \\ud83d\\ude00 \\/ \\u0000"},
  "logprobs": null, "finish_reason": "stop", "stop_reason": null, "score": 1.0e-05} ],
  "usage": {"prompt_tokens": 12345678901234567890, "completion_tokens": 1, "total_tokens": 1}, "created": 2 }\n"""
TOOLS = [
    delta(role="assistant", content=None),
    delta(tool_calls=[call(0, "call_a", "look", "")]),
    delta(tool_calls=[more(0, '{"city":')]),
    delta(tool_calls=[call(1, "call_b", "look", ""), more(0, ' "Oslo"}')]),
    delta(tool_calls=[more(1, '{"city": "Rome"}')]),
    delta(finish="tool_calls"),
]
PARALLEL = [call(-1, "call_a", "look", '{"city": "Oslo"}'), call(-1, "call_b", "look", '{"city": "Rome"}')]
MIXED = [frame for pair in zip(frames(["a", "b"]), frames(["c", "d"], index=1), strict=True) for frame in pair]

WHOLE: dict[str, Callable[[], Response]] = {
    "plain": lambda: chosen(message(content="Hello.")),
    "odd_bytes": lambda: raw(ODD),
    "empty": lambda: chosen(message(content="")),
    "scripts": lambda: chosen(message(content="नमस्ते 你好 مرحبا \u200f\u2028")),
    "length": lambda: chosen(message(finish="length", content="Hel")),
    "tools": lambda: chosen(message(finish="tool_calls", tool_calls=PARALLEL)),
    "function": lambda: chosen(message(finish="function_call", function_call={"name": "f", "arguments": "{}"})),
    "refusal": lambda: chosen(message(refusal="I cannot.")),
    "reasoning": lambda: chosen(message(reasoning_content="So it is.", content="Yes.")),
    "three": lambda: chosen(*(message(index, content=str(index)) for index in (2, 0, 1))),
    "logprobs": lambda: chosen(message(content="Hi") | {"logprobs": LOGPROBS}),
    "usage": lambda: chosen(message(content="Hi"), usage=USAGE, service_tier="default"),
    "citations": lambda: chosen(message(content="Hi", annotations=[{"type": "url_citation", "url": "https://a.test"}])),
    "json": lambda: chosen(message(content='{"city": "Oslo"}')),
    "no_usage": lambda: raw('{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"a"}}]}'),
}
STREAMS: dict[str, list[bytes]] = {
    "plain": frames(["Hel", "lo."]),
    "usage": [*frames(["Hi"]), chunk([], usage=USAGE)],
    "usage_all_along": [chunk([choice(0, None, delta={"content": "Hi"})], usage=USAGE), delta(finish="stop")],
    "tools": TOOLS,
    "two_choices": MIXED,
    "reasoning": [delta(role="assistant"), delta(reasoning_content="So."), delta(content="Yes."), delta(finish="stop")],
    "refusal": [delta(role="assistant"), delta(refusal="I cannot."), delta(finish="stop")],
    "logprobs": [chunk([choice(0, None, delta={"content": "Hi"}) | {"logprobs": LOGPROBS}]), delta(finish="stop")],
    "scripts": frames(["नम", "स्ते", " 你", "好", "\u2028", "😀"]),
    "spaces": [b'data: { "choices" : [ { "index":0, "delta":{"content":"\\u00e9"}, "finish_reason" : "stop"} ] }\n\n'],
    "long": frames(["x" * 70_000, "y"]),
    "many": frames([str(number) for number in range(2000)]),
}
TEXTS: dict[str, list[bytes]] = {
    "plain": [
        b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":"Hi",'
        b'"logprobs":null,"finish_reason":null}]}\n\n',
        b'data: {"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":"",'
        b'"logprobs":null,"finish_reason":"stop"}]}\n\n',
    ],
}
TEXT = '{"id":"cmpl-1","object":"text_completion","created":1,"model":"tiny","choices":[{"index":0,"text":"Hi",' + (
    '"logprobs":{"tokens":["Hi"],"token_logprobs":[-0.1],"top_logprobs":null,"text_offset":[0]},"finish_reason":"stop"}]}'
)


def events(found: list[bytes]) -> Script:
    """Give the script of a stream."""
    return lambda body: stream([*found, DONE])


TABLE: list[Any] = [
    *(pytest.param(CHAT, ASKED, lambda body, it=it: it(), id=f"whole-{name}") for name, it in WHOLE.items()),
    *(pytest.param(CHAT, {**ASKED, "stream": True}, events(it), id=f"stream-{name}") for name, it in STREAMS.items()),
    pytest.param(COMPLETIONS, PROMPTED, lambda body: raw(TEXT), id="completion-whole"),
    *(
        pytest.param(COMPLETIONS, {**PROMPTED, "stream": True}, events(it), id=f"completion-{name}")
        for name, it in TEXTS.items()
    ),
]


def both(service: Serve, upstream: Upstream, path: str, body: Json) -> tuple[httpx.Response, httpx.Response]:
    """Send a request straight and through the guardrail."""
    headers = {"authorization": "Bearer key"}
    guarded = service(upstream).post(path, json=body, headers=headers)
    with httpx.Client(base_url=upstream.url.removesuffix("/v1"), trust_env=False) as straight:
        return straight.post(path, json=body, headers=headers), guarded


@pytest.mark.parametrize(("path", "body", "script"), TABLE)
def test_bytes(service: Serve, upstream: Upstream, path: str, body: Json, script: Script) -> None:
    """Status and body are the same to the byte; headers differ in what is Comity's own only."""
    upstream.script = script
    straight, guarded = both(service, upstream, path, body)

    assert (guarded.status_code, guarded.content) == (straight.status_code, straight.content)
    assert _theirs(guarded) == _theirs(straight)
    assert upstream.asked[0] == upstream.asked[1]


def _theirs(response: httpx.Response) -> Json:
    kept = {name: value for name, value in response.headers.items() if name not in OURS | HOPS}
    return {name: value for name, value in kept.items() if not name.startswith("x-comity-")}


@contextmanager
def clients(service: Serve, upstream: Upstream) -> Iterator[tuple[openai.OpenAI, openai.OpenAI]]:
    """Give the official client of the backend, and that of the guardrail before it."""
    addresses = (upstream.url, f"{service(upstream).base_url}/v1")
    made = [openai.OpenAI(base_url=address, api_key="key", max_retries=0) for address in addresses]
    with made[0] as straight, made[1] as guarded:
        yield straight, guarded


def parsed(client: openai.OpenAI, path: str, body: Json) -> Any:
    """Give what the official client makes of an answer."""
    made: Any = client.chat.completions if path == CHAT else client.completions
    found = made.create(**body)
    return [item.model_dump() for item in found] if body.get("stream") else found.model_dump()


@pytest.mark.parametrize(("path", "body", "script"), TABLE)
def test_objects(service: Serve, upstream: Upstream, path: str, body: Json, script: Script) -> None:
    """The official client makes the same objects of both."""
    upstream.script = script
    with clients(service, upstream) as (straight, guarded):
        assert parsed(guarded, path, body) == parsed(straight, path, body)


@pytest.mark.parametrize("status", [400, 402, 404, 408, 409, 413, 422, 429, 503, 504])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_errors(service: Serve, upstream: Upstream, status: int, streamed: bool) -> None:
    """A refusal of the backend is the same exception, its words, type, code and field included."""
    said: Json = {"type": "BadRequestError", "param": "temperature", "code": "bad_value"}
    upstream.script = lambda body: error(status, "temperature must be under 2", **said, headers={"retry-after": "9"})
    found = []
    with clients(service, upstream) as made:
        for client in made:
            with pytest.raises(openai.APIStatusError) as caught:
                parsed(client, CHAT, {**ASKED, "stream": streamed})
            found.append(caught.value)
    straight, guarded = found

    assert (type(guarded), guarded.status_code) == (type(straight), straight.status_code)
    assert guarded.response.headers["retry-after"] == "9"
    if status < 500:
        assert guarded.message.split("{")[0] == straight.message.split("{")[0]
        told = [getattr(guarded, name) == getattr(straight, name) for name in ("code", "param", "type")]
        assert all(told)
        assert guarded.body["message"] == straight.body["message"]  # type: ignore[index]


def test_models(service: Serve, upstream: Upstream) -> None:
    """The list of models is the backend's, byte for byte and as objects."""
    guarded = service(upstream).get("/v1/models")
    with httpx.Client(trust_env=False) as client:
        straight = client.get(f"{upstream.url}/models")
    with clients(service, upstream) as (one, other):
        lists = [[model.model_dump() for model in client.models.list()] for client in (one, other)]

    assert (guarded.status_code, guarded.content) == (straight.status_code, straight.content)
    assert _theirs(guarded) == _theirs(straight)
    assert lists[0] == lists[1]


@pytest.mark.parametrize(
    "extra",
    [
        {"temperature": 0.0, "top_p": 1, "seed": 7, "stop": ["\n"], "logit_bias": {"50256": -100}, "user": "u"},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
        {
            "stream_options": None,
            "metadata": {"a": "b"},
            "guided_json": {"type": "object"},
            "top_k": -1,
            "unknown": [1.5],
        },
        {"n": 2, "logprobs": True, "top_logprobs": 5, "max_completion_tokens": 9, "parallel_tool_calls": False},
    ],
)
def test_request_arrives_as_sent(service: Serve, upstream: Upstream, extra: Json) -> None:
    """Without a culture the backend is asked the same as without a guardrail, every field of it."""
    both(service, upstream, CHAT, {**ASKED, **extra})

    assert upstream.asked[0] == upstream.asked[1] == {**ASKED, **extra}
