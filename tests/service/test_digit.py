"""How the LLM judge asks for its digit: what an endpoint does not take, what a request keeps, and how long it waits."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.conftest import Serve, until
from tests.upstream import Upstream, digit, error

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}


class Slow(Response):
    """A judge's answer that takes its time, and counts how many do at once."""

    now = most = 0

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then answer 0."""
        Slow.now += 1
        Slow.most = max(Slow.most, Slow.now)
        await asyncio.sleep(self._seconds)
        Slow.now -= 1
        await digit({"0": 1.0})(scope, receive, send)


def post(client: Any, **more: Any) -> Any:
    """Ask."""
    return client.post("/v1/chat/completions", json={**BODY, **more})


def test_always_constrained(service: Serve, upstream: Upstream) -> None:
    """With `constrain: always` the first request already allows digits only: for models that think whatever is said."""
    upstream.judge = lambda body: digit({"0": 1.0} if "structured_outputs" in body else {"Okay": 1.0})
    client = service(upstream, judge={"constrain": "always"})
    assert post(client).headers["x-comity-verdict"] == "safe"
    assert len(upstream.judged) == 1


def test_constraint_that_is_refused(service: Serve, upstream: Upstream) -> None:
    """An endpoint that refuses the constraint keeps being asked not to think: the two fields are told apart."""

    def judge(body: dict[str, Any]) -> Response:
        if "structured_outputs" in body:
            return error(400, "structured_outputs is not supported")
        return digit({"<think>": 1.0})

    upstream.judge = judge
    client = service(upstream)
    for _ in range(3):
        assert post(client).headers["x-comity-coverage-reason"] == "bad_output"
    assert all("chat_template_kwargs" in body for body in (upstream.judged[0], upstream.judged[-1]))
    assert sum("structured_outputs" in body for body in upstream.judged) <= 2


def test_number_that_is_none(service: Serve, upstream: Upstream) -> None:
    """A log-probability too large for a number is garbage of the judge, never an error of ours."""
    huge = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"0"},"finish_reason":"stop","logprobs":'
    huge += b'{"content":[{"token":"0","logprob":1,"top_logprobs":[{"token":"0","logprob":1' + b"0" * 400 + b"}]}]}}]}"
    upstream.judge = lambda body: Response(huge, media_type="application/json")
    response = post(service(upstream))
    assert response.status_code == 200
    assert response.headers["x-comity-verdict"] == "undecided"


def test_same_cache(service: Serve, upstream: Upstream) -> None:
    """The judging turn keeps what decides about the prefix cache: the salt of a tenant, and how prompts are written."""
    kept = {"cache_salt": "tenant-1", "reasoning_effort": "low", "mm_processor_kwargs": {"fps": 1}}
    post(service(upstream), **kept)
    assert {name: upstream.judged[0].get(name) for name in kept} == kept


def test_check_route_forwards_the_trace(service: Serve, upstream: Upstream) -> None:
    """The check-only route hands trace headers on to the judge, as answers do."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client = service(upstream, judge={"model": "tiny"})
    body = {"messages": BODY["messages"], "response": "Bring sweets."}
    assert client.post("/comity/v1/judge", json=body, headers={"traceparent": trace}).status_code == 200
    assert upstream.judged_headers[-1]["traceparent"] == trace


def test_queue_of_our_own_is_no_fault(service: Serve, upstream: Upstream) -> None:
    """Waiting for one of our own slots never counts as a failure of the judge: its breaker stays closed."""

    upstream.judge = lambda body: Slow(0.15)
    client = service(upstream, judge={"max_concurrent": 1, "timeout_s": 0.5}, backend={"breaker_failures": 2})
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: post(client), range(12)))
    assert until(lambda: 'comity_circuit_state{backend="judge"} 0.0' in client.get("/metrics").text)


def test_judge_takes_no_more_than_its_slots(service: Serve, upstream: Upstream) -> None:
    """No more judge requests are in flight than `judge.max_concurrent`, whatever waits; answers go on meanwhile."""
    Slow.now = Slow.most = 0
    upstream.judge = lambda body: Slow(0.1)
    client = service(upstream, judge={"max_concurrent": 2})
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: post(client), range(8)))
    assert {response.status_code for response in responses} == {200}
    assert Slow.most == 2
