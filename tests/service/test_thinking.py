"""Reasoning models: thinking is judged, never by a turn that their templates would strip it from."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.responses import JSONResponse, Response

from tests.conftest import Serve
from tests.upstream import DONE, Upstream, choice, chunk, completion, digit, either, error, frames, stream, whole

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}
FIELDS = ["reasoning", "reasoning_content"]


def _thinking(field: str, thought: str) -> Any:
    def script(body: dict[str, Any]) -> Response:
        if not body.get("stream"):
            return JSONResponse(completion([choice(message={"role": "assistant", "content": "Fine.", field: thought})]))
        parts = [thought[i : i + 3] for i in range(0, len(thought), 3)]
        return stream(
            [*(chunk([choice(0, None, delta={field: part})]) for part in parts), *frames(["Fi", "ne."]), DONE]
        )

    return script


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("field", FIELDS)
def test_thinking_in_a_field(service: Serve, upstream: Upstream, field: str, streamed: bool) -> None:
    """By either name, thinking is quoted to the judge, whose own is switched off."""
    upstream.script = _thinking(field, "They are all VILE.")
    upstream.judge = lambda body: digit({"9" if "VILE" in str(body["messages"]) else "0": 1.0})
    response = service(upstream, policy={"mode": "enforce", "repair": False, "fallback": False}).post(
        "/v1/chat/completions", json={**BODY, "stream": streamed}
    )
    judged = upstream.judged[0]

    assert "VILE" not in response.text
    assert response.headers["x-comity-judge"] == "llm-separate"
    assert judged["chat_template_kwargs"] == {"enable_thinking": False, "thinking": False}
    assert "structured_outputs" not in judged


@pytest.mark.parametrize(
    "text", ["<think>VILE</think>Fine.", "VILE</think>Fine.", "<|channel|>analysis VILE", "[THINK]VILE"]
)
def test_thinking_in_the_text(service: Serve, upstream: Upstream, text: str) -> None:
    """Thinking that no parser took out of the text is not left to a template that strips it from earlier turns."""
    upstream.script = either(text)
    response = service(upstream).post("/v1/chat/completions", json=BODY)

    assert response.headers["x-comity-judge"] == "llm-separate"
    assert "VILE" in upstream.judged[0]["messages"][1]["content"]


@pytest.mark.parametrize("mark", ["<think>", "<|channel|>", "[THINK]"])
def test_judge_that_would_think(service: Serve, upstream: Upstream, mark: str) -> None:
    """A judge whose template cannot switch thinking off is asked again for one of ten digits."""

    def judge(body: dict[str, Any]) -> Response:
        return digit({"8": 1.0} if "structured_outputs" in body else {mark: 0.7, "8": 0.2, "the": 0.1})

    upstream.judge = judge
    response = service(upstream).post("/v1/chat/completions", json=BODY)
    first, second = upstream.judged

    assert "structured_outputs" not in first
    assert second["structured_outputs"] == {"choice": list("0123456789")}
    assert {**second, "structured_outputs": None} == {**first, "structured_outputs": None}
    assert response.headers["x-comity-verdict"] == "unsafe"


def test_judge_that_babbles(service: Serve, upstream: Upstream) -> None:
    """A judge that wants neither a digit nor a thought is not forced to a digit: it stays undecided."""
    upstream.script = lambda body: whole("Fine.", message={"reasoning": "Hm."})
    upstream.judge = lambda body: digit({"<think>": 0.3, "8": 0.2, "the": 0.5})
    response = service(upstream).post("/v1/chat/completions", json=BODY)

    assert len(upstream.judged) == 1
    assert response.headers["x-comity-verdict"] == "undecided"
    assert response.headers["x-comity-coverage-reason"] == "bad_output"


def test_answer_without_thinking(service: Serve, upstream: Upstream) -> None:
    """Any other answer is judged by the continuation, whose digits keep the odds that the model gives them."""
    response = service(upstream).post("/v1/chat/completions", json=BODY)

    assert response.headers["x-comity-judge"] == "llm-continuation"
    assert "structured_outputs" not in upstream.judged[0]


def test_arguments_of_the_request(service: Serve, upstream: Upstream) -> None:
    """The continuation keeps the request's template arguments, so that its cache is met, but thinking is off."""
    sent = {**BODY, "chat_template_kwargs": {"enable_thinking": True, "reasoning_effort": "low"}}
    service(upstream).post("/v1/chat/completions", json=sent)

    assert upstream.judged[0]["chat_template_kwargs"] == {
        "enable_thinking": False,
        "thinking": False,
        "reasoning_effort": "low",
    }


def test_server_without_such_fields(service: Serve, upstream: Upstream) -> None:
    """A server that knows neither field is asked without them, and remembered."""
    upstream.script = lambda body: whole("Fine.", message={"reasoning": "Hm."})

    def judge(body: dict[str, Any]) -> Response:
        extended = {"chat_template_kwargs", "structured_outputs"} & set(body)
        return error(400, "unknown field") if extended else digit({"0": 1.0})

    upstream.judge = judge
    client = service(upstream)
    verdicts = [client.post("/v1/chat/completions", json=BODY).headers["x-comity-verdict"] for _ in range(2)]

    assert verdicts == ["safe", "safe"]
    assert len(upstream.judged) == 3
