"""The official OpenAI client cannot tell the guardrail from the server behind it."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from starlette.responses import JSONResponse

from tests.conftest import Serve
from tests.upstream import DONE, Upstream, choice, chunk, completion, digit, either, error, frames, stream, whole

ASKED: list[Any] = [{"role": "user", "content": "A gift for a wedding in India?"}]


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
    with _client(service, upstream, judge={"mode": "enforce"}) as client:
        found = client.chat.completions.create(model="tiny", messages=ASKED)

    assert found.choices[0].finish_reason == "content_filter"
    assert found.choices[0].message.refusal


def test_block_as_error_is_not_retried(service: Serve, upstream: Upstream) -> None:
    """A policy block as error raises BadRequestError at once; the client's retries do not ask again."""
    upstream.judge = lambda body: digit({"9": 1.0})
    address = service(upstream, judge={"mode": "enforce", "block_as": "error"}).base_url
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
