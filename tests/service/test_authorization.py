"""Whose key the backend sees: its own, or by setting the caller's; trace headers go on to every route."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.conftest import Serve
from tests.upstream import Upstream, either, error

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}
THEIRS = {"authorization": "Bearer sk-caller", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
FORWARD = {"authorization": "forward"}


@pytest.mark.parametrize("streamed", [False, True])
def test_key_that_is_forwarded(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """The caller's key reaches the backend on the answer, the judgement, the models and what is passed through."""
    upstream.script = either("ok")
    client = service(upstream, backend=FORWARD, passthrough={"routes": ["/v1/embeddings"]}, judge={"kind": "llm"})
    client.post("/v1/chat/completions", json={**BODY, "stream": streamed}, headers=THEIRS)
    client.get("/v1/models", headers=THEIRS)
    client.post("/v1/embeddings", json={"input": "x"}, headers=THEIRS)
    seen = [*upstream.headers, *upstream.judged_headers, *upstream.listed]

    assert len(seen) == 4
    assert all(headers["authorization"] == "Bearer sk-caller" for headers in seen)
    assert all(headers["traceparent"] == THEIRS["traceparent"] for headers in seen)


def test_key_that_is_replaced(service: Serve, upstream: Upstream) -> None:
    """By default the backend never sees the caller's key, on no route; trace context goes on to all of them."""
    routes = {"routes": ["/v1/embeddings"]}
    client = service(upstream, backend={"api_key": "own"}, api_keys=["sk-caller"], passthrough=routes)
    client.post("/v1/chat/completions", json=BODY, headers=THEIRS)
    client.get("/v1/models", headers=THEIRS)
    client.post("/v1/embeddings", json={"input": "x"}, headers=THEIRS)
    seen = [*upstream.headers, *upstream.judged_headers, *upstream.listed]

    assert len(seen) == 4
    assert all(headers["authorization"] == "Bearer own" for headers in seen)
    assert all(headers["traceparent"] == THEIRS["traceparent"] for headers in seen)


def test_own_key_where_the_caller_sends_none(service: Serve, upstream: Upstream) -> None:
    """With forward, a caller without a key gets the backend's configured one."""
    client = service(upstream, backend={**FORWARD, "api_key": "own"})
    client.post("/v1/chat/completions", json=BODY)

    assert upstream.headers[0]["authorization"] == "Bearer own"


def test_judge_elsewhere(service: Serve, upstream: Upstream) -> None:
    """Another judging endpoint gets trace context, but not the key that the caller meant for the backend."""
    other = upstream.url.replace("127.0.0.1", "localhost")
    client = service(upstream, backend=FORWARD, judge={"url": other, "model": "judge", "api_key": "judge-key"})
    client.post("/v1/chat/completions", json=BODY, headers=THEIRS)

    assert upstream.judged_headers[0]["authorization"] == "Bearer judge-key"
    assert upstream.judged_headers[0]["traceparent"] == THEIRS["traceparent"]


@pytest.mark.parametrize("status", [401, 403])
def test_forwarded_key_that_is_refused(service: Serve, upstream: Upstream, status: int) -> None:
    """Where the caller's own key is refused, the caller learns it with the backend's status; readiness is not hurt."""
    upstream.script = lambda body: error(status, "bad key sk-caller")
    upstream.list = lambda models: error(status, "bad key sk-caller")
    client = service(upstream, backend=FORWARD)
    answers = [
        client.post("/v1/chat/completions", json=BODY, headers=THEIRS),
        client.get("/v1/models", headers=THEIRS),
    ]

    for answer in answers:
        assert answer.status_code == status
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert "sk-caller" not in answer.text
    assert client.get("/readyz").status_code == 200


def test_forward_and_keys_of_our_own() -> None:
    """One header cannot carry two keys, so the combination is refused at start."""
    with pytest.raises(ValidationError, match="one Authorization header"):
        Settings(backend={"url": "http://127.0.0.1:9/v1", **FORWARD}, api_keys=["a"])
