"""The official OpenAI client cannot tell the guardrail from the server behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pydantic
import pytest
from starlette.responses import JSONResponse

from tests.conftest import Serve
from tests.upstream import DONE, Json, Upstream, choice, chunk, completion, digit, either, error, frames, stream, whole

ASKED: list[Any] = [{"role": "user", "content": "A gift for a wedding in India?"}]
LOOK: Any = {
    "type": "function",
    "function": {"name": "look", "strict": True, "parameters": {"type": "object", "properties": {"city": {}}}},
}
CALLS: list[Json] = [
    {"id": f"call_{city}", "type": "function", "function": {"name": "look", "arguments": f'{{"city": "{city}"}}'}}
    for city in ("Oslo", "Rome")
]
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


class Gift(pydantic.BaseModel):
    """What a structured answer is read as."""

    name: str
    price: int


def _gift(body: Json) -> Any:
    return either('{"name": "tea", "price": 5}')(body)


def _calling(body: Json) -> Any:
    """Call two tools; in a stream each call is opened first, and its arguments come in pieces."""
    if not body.get("stream"):
        made = choice(finish="tool_calls", message={"role": "assistant", "content": None, "tool_calls": CALLS})
        return JSONResponse(completion([made]))
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    for position, made in enumerate(CALLS):
        arguments = made["function"]["arguments"]
        opened = {**made, "index": position, "function": {"name": "look", "arguments": ""}}
        pieces = [{"index": position, "function": {"arguments": part}} for part in (arguments[:7], arguments[7:])]
        deltas += [{"tool_calls": [piece]} for piece in (opened, *pieces)]
    end = chunk([choice(0, "tool_calls", delta={})])
    return stream([*(chunk([choice(0, None, delta=delta)]) for delta in deltas), end, DONE])


def _client(service: Serve, upstream: Upstream | None = None, **groups: Any) -> openai.OpenAI:
    address = service(upstream, **groups).base_url
    return openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)


def test_whole_answer(service: Serve, upstream: Upstream) -> None:
    """A whole answer parses, and its headers tell of the guardrail."""
    upstream.script = either("Cash in an envelope.")
    with _client(service, upstream) as client:
        raw = client.chat.completions.with_raw_response.create(model="tiny", messages=ASKED)

    assert raw.parse().choices[0].message.content == "Cash in an envelope."
    assert raw.headers["x-comity-culture"] == "IN"


def test_stream(service: Serve, upstream: Upstream) -> None:
    """A streamed answer arrives piece by piece, its usage last."""
    usage = chunk([], usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    upstream.script = lambda body: stream([*frames(["Cash", " please."]), usage, DONE])
    with _client(service, upstream) as client:
        found = list(
            client.chat.completions.create(
                model="tiny", messages=ASKED, stream=True, stream_options={"include_usage": True}
            )
        )

    assert "".join(c.choices[0].delta.content or "" for c in found if c.choices) == "Cash please."
    assert found[-1].usage is not None
    assert found[-1].usage.total_tokens == 7


def test_pings_are_invisible(service: Serve, upstream: Upstream) -> None:
    """Comment lines during a long wait do not disturb the client."""
    upstream.script = lambda body: stream([*frames(["late"]), DONE], pause_s=0.2)
    with _client(service, upstream, stream={"ping_after_s": 0.1, "ping_every_s": 0.1}) as client:
        found = list(client.chat.completions.create(model="tiny", messages=ASKED, stream=True))

    assert "".join(c.choices[0].delta.content or "" for c in found) == "late"


def test_async_client(service: Serve, upstream: Upstream) -> None:
    """The asynchronous client works, streams included."""
    upstream.script = either("yes")
    address = service(upstream).base_url

    async def run() -> str:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as client:
            events = await client.chat.completions.create(model="tiny", messages=ASKED, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in events])

    assert asyncio.run(run()) == "yes"


def test_three_choices_and_logprobs(service: Serve, upstream: Upstream) -> None:
    """Several choices and their log-probabilities arrive untouched."""
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}]}
    made = [choice(i, message={"role": "assistant", "content": "a"}) | {"logprobs": logprobs} for i in range(3)]
    upstream.script = lambda body: JSONResponse(completion(made))
    with _client(service, upstream) as client:
        found = client.chat.completions.create(model="tiny", messages=ASKED, n=3, logprobs=True)

    assert [c.index for c in found.choices] == [0, 1, 2]
    assert found.choices[0].logprobs is not None
    assert found.choices[0].logprobs.content is not None


def test_refusal_is_typed(service: Serve, upstream: Upstream) -> None:
    """A refused answer is an ordinary completion with finish_reason content_filter."""
    upstream.script = lambda body: whole("bad")
    upstream.judge = lambda body: digit({"9": 1.0})
    with _client(service, upstream, policy={"mode": "enforce", "repair": False, "fallback": False}) as client:
        found = client.chat.completions.create(model="tiny", messages=ASKED)

    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.refusal


def test_block_as_error_is_not_retried(service: Serve, upstream: Upstream) -> None:
    """A policy block as error raises BadRequestError at once; the client's retries do not ask again."""
    upstream.judge = lambda body: digit({"9": 1.0})
    address = service(
        upstream, policy={"mode": "enforce", "repair": False, "fallback": False, "block_as": "error"}
    ).base_url
    with (
        openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=2) as client,
        pytest.raises(openai.BadRequestError) as found,
    ):
        client.chat.completions.create(model="tiny", messages=ASKED)

    assert found.value.code == "content_filter"
    assert len(upstream.asked) == 1


def test_error_inside_a_stream(service: Serve, upstream: Upstream) -> None:
    """A failure after the first ping reaches the client as an APIError, not as a hang."""
    upstream.script = lambda body: stream([b"data: {broken\n\n"], pause_s=0.4)
    with (
        _client(service, upstream, stream={"ping_after_s": 0.1}) as client,
        pytest.raises(openai.APIError, match="not JSON"),
    ):
        list(client.chat.completions.create(model="tiny", messages=ASKED, stream=True))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
    ],
)
def test_upstream_errors_are_typed(service: Serve, upstream: Upstream, status: int, kind: type[Exception]) -> None:
    """Errors of the backend raise the exception that the client would raise without a guardrail."""
    upstream.script = lambda body: error(status, "sorry")
    with _client(service, upstream) as client, pytest.raises(kind):
        client.chat.completions.create(model="tiny", messages=ASKED)


def test_wrong_key(service: Serve) -> None:
    """A wrong key raises AuthenticationError."""
    with _client(service, None, api_keys=["right"]) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_hints_through_extra_body(service: Serve, upstream: Upstream) -> None:
    """Hints travel in extra_body and come back as a `comity` object; the backend never sees them."""
    with _client(service, upstream) as client:
        found = client.chat.completions.create(
            model="tiny", messages=ASKED, extra_body={"comity": {"culture": "JP", "debug": True}}
        )

    assert found.model_extra is not None
    assert found.model_extra["comity"]["cultures"][0]["culture"] == "JP"
    assert "comity" not in upstream.asked[0]


def test_completions_and_models(service: Serve) -> None:
    """The older completions route and the model list work on embedded parts alone."""
    with _client(service) as client:
        found = client.completions.create(model="comity-extractive", prompt="A gift in Japan?")
        names = [model.id for model in client.models.list()]

    assert "Source:" in found.choices[0].text
    assert names == ["comity-extractive"]


@pytest.mark.parametrize("parallel", [True, False])
def test_tools(service: Serve, upstream: Upstream, parallel: bool) -> None:
    """Tool calls arrive whole, the tools go to the backend as they were sent, and the tool's result goes on as well."""
    upstream.script = _calling
    with _client(service, upstream) as client:
        asked: Any = {"model": "tiny", "tools": [LOOK], "parallel_tool_calls": parallel}
        message = client.chat.completions.create(messages=ASKED, **asked).choices[0].message
        upstream.script = either("Sunny.")
        calls = message.tool_calls or []
        results: list[Any] = [{"role": "tool", "tool_call_id": call.id, "content": "sun"} for call in calls]
        last = client.chat.completions.create(messages=[*ASKED, message.to_dict(), *results], **asked)

    assert [call.to_dict() for call in calls] == CALLS
    assert upstream.asked[0]["tools"] == [LOOK]
    assert upstream.asked[0]["parallel_tool_calls"] is parallel
    assert upstream.asked[1]["messages"][1]["tool_calls"] == CALLS
    assert upstream.asked[1]["messages"][2:] == results
    assert last.choices[0].message.content == "Sunny."


def test_streamed_tools(service: Serve, upstream: Upstream) -> None:
    """Tool calls that arrive in pieces are put together to the same calls by the client's own helper."""
    upstream.script = _calling
    with (
        _client(service, upstream) as client,
        client.chat.completions.stream(model="tiny", messages=ASKED, tools=[LOOK]) as events,
    ):
        kinds = [event.type for event in events]
        final = events.get_final_completion().choices[0]

    found = [(call.id, call.function.name, call.function.arguments) for call in final.message.tool_calls or []]
    assert found == [(call["id"], "look", call["function"]["arguments"]) for call in CALLS]
    assert final.finish_reason == "tool_calls"
    assert kinds.count("tool_calls.function.arguments.done") == 2


def test_parsed_into_a_model(service: Serve, upstream: Upstream) -> None:
    """A structured answer becomes a pydantic model, and its schema reaches the backend."""
    upstream.script = _gift
    with _client(service, upstream) as client:
        found = client.chat.completions.parse(model="tiny", messages=ASKED, response_format=Gift)

    assert found.choices[0].message.parsed == Gift(name="tea", price=5)
    assert upstream.asked[0]["response_format"]["json_schema"]["schema"]["required"] == ["name", "price"]


def test_streamed_into_a_model(service: Serve, upstream: Upstream) -> None:
    """The stream helper parses what has come so far, and the whole at the end."""
    upstream.script = _gift
    with (
        _client(service, upstream) as client,
        client.chat.completions.stream(model="tiny", messages=ASKED, response_format=Gift) as events,
    ):
        deltas = "".join(event.delta for event in events if event.type == "content.delta")
        final = events.get_final_completion()

    assert json.loads(deltas) == {"name": "tea", "price": 5}
    assert final.choices[0].message.parsed == Gift(name="tea", price=5)


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_response_format(service: Serve, upstream: Upstream, kind: str) -> None:
    """JSON mode is the backend's business: the format arrives as sent, and a refusal leaves no half JSON."""
    upstream.script = _gift
    upstream.judge = lambda body: digit({"9": 1.0})
    schema: Any = {"type": kind}
    if kind == "json_schema":
        schema["json_schema"] = {"name": "gift", "strict": True, "schema": {"type": "object"}}
    with _client(service, upstream, policy={"mode": "enforce", "repair": False, "fallback": False}) as client:
        found = client.chat.completions.create(model="tiny", messages=ASKED, response_format=schema).choices[0]

    assert upstream.asked[0]["response_format"] == schema
    assert (found.finish_reason, found.message.content) == ("content_filter", None)
    assert found.message.refusal


@pytest.mark.parametrize("size", [1, 20_000], ids=["a_pixel", "two_megabytes"])
def test_images(service: Serve, upstream: Upstream, size: int) -> None:
    """Parts of a message reach the backend untouched and in their order; the notes are one more part after them."""
    parts = [
        {"type": "text", "text": "What is this gift from Japan?"},
        {"type": "image_url", "image_url": {"url": PIXEL + "A" * 100 * (size - 1), "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "And this?"},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
    ]
    upstream.script = either("Tea.")
    with _client(service, upstream) as client:
        asked: Any = [{"role": "user", "content": parts}]
        found = client.chat.completions.create(model="tiny", messages=asked)
    *kept, notes = upstream.asked[0]["messages"][0]["content"]

    assert found.choices[0].message.content == "Tea."
    assert kept == parts
    assert notes["type"] == "text"
    assert "<comity_notes>" in notes["text"]


def test_raw_and_streaming_responses(service: Serve, upstream: Upstream) -> None:
    """The client's own ways to a raw response work: bytes, lines, headers and the parsed object."""
    upstream.script = either("Tea.")
    with _client(service, upstream) as client:
        whole_one = client.chat.completions.with_raw_response.create(model="tiny", messages=ASKED)
        with client.chat.completions.with_streaming_response.create(model="tiny", messages=ASKED) as response:
            streamed_one = response.parse()
        with client.chat.completions.with_streaming_response.create(
            model="tiny", messages=ASKED, stream=True
        ) as response:
            lines = [line for line in response.iter_lines() if line]
            kind = response.headers["content-type"]

    assert whole_one.request_id == whole_one.headers["x-request-id"]
    assert whole_one.parse() == streamed_one
    assert (lines[-1], kind) == ("data: [DONE]", "text/event-stream; charset=utf-8")


def test_completions_route(service: Serve, upstream: Upstream) -> None:
    """The older route works before a backend, whole and streamed, with several prompts."""
    made = [{"index": i, "text": text, "logprobs": None, "finish_reason": "stop"} for i, text in enumerate(("a", "b"))]
    head: Json = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "tiny"}
    upstream.script = lambda body: (
        stream([b"data: " + json.dumps({**head, "choices": [it]}).encode() + b"\n\n" for it in made] + [DONE])
        if body.get("stream")
        else JSONResponse({**head, "choices": made})
    )
    with _client(service, upstream) as client:
        found = client.completions.create(model="tiny", prompt=["one", "two"])
        pieces = list(client.completions.create(model="tiny", prompt=["one", "two"], stream=True))

    assert [it.text for it in found.choices] == ["a", "b"]
    assert [(it.index, it.text) for piece in pieces for it in piece.choices] == [(0, "a"), (1, "b")]


def test_async_tools_and_models(service: Serve, upstream: Upstream) -> None:
    """The asynchronous client's helper, parser and list of models work as well."""
    upstream.script = lambda body: _calling(body) if body.get("tools") else _gift(body)
    address = service(upstream).base_url

    async def run() -> tuple[int, Gift | None, list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            async with client.chat.completions.stream(model="tiny", messages=ASKED, tools=[LOOK]) as events:
                calls = (await events.get_final_completion()).choices[0].message.tool_calls or []
            parsed = await client.chat.completions.parse(model="tiny", messages=ASKED, response_format=Gift)
            return len(calls), parsed.choices[0].message.parsed, [model.id async for model in client.models.list()]

    assert asyncio.run(run()) == (2, Gift(name="tea", price=5), ["tiny"])


def test_raw_errors(service: Serve, upstream: Upstream) -> None:
    """An error of Comity's own has every part that the client reads from OpenAI's, the request id included."""
    wrong: list[Any] = [{"role": "nobody", "content": "?"}]
    with _client(service, upstream) as client, pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(model="tiny", messages=wrong)
    error_ = found.value

    assert (error_.type, error_.param, error_.code) == ("invalid_request_error", "messages[0].role", "invalid_value")
    assert error_.request_id == error_.response.headers["x-request-id"]
    assert upstream.asked == []


def test_the_clients_own_retries(service: Serve, upstream: Upstream) -> None:
    """The client's retries meet an ordinary 429 with its Retry-After, and succeed on the next try."""
    upstream.script = lambda body: (
        error(429, "later", headers={"retry-after": "1"}) if len(upstream.asked) == 1 else whole("Tea.")
    )
    address = service(upstream).base_url
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=1) as client:
        found = client.chat.completions.create(model="tiny", messages=ASKED)

    assert found.choices[0].message.content == "Tea."
    assert len(upstream.asked) == 2
