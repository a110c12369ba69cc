"""The whole path over real sockets: what the client gets, streamed and whole alike."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse

from tests.conftest import REFUSING, Serve
from tests.upstream import DONE, Upstream, choice, chunk, completion, digit, either, error, frames, stream, whole

ASKED = "What should I bring to a family dinner in Istanbul?"
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def ask(client: httpx.Client, *, streamed: bool = False, text: str = ASKED, **more: Any) -> httpx.Response:
    """Send one chat request."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": streamed, **more}
    return client.post("/v1/chat/completions", json=body)


def events(response: httpx.Response) -> list[str]:
    """The data of every event of a streamed answer."""
    assert response.headers["content-type"].startswith("text/event-stream")
    return [part.removeprefix("data: ") for part in response.text.split("\n\n") if part.startswith("data: ")]


def said(response: httpx.Response, index: int = 0) -> str:
    """The content of one choice, put together."""
    if response.headers["content-type"] == "application/json":
        return str(next(c["message"]["content"] for c in response.json()["choices"] if c["index"] == index))
    found = [json.loads(data) for data in events(response)[:-1]]
    parts = [c["delta"].get("content") or "" for f in found for c in f.get("choices", []) if c["index"] == index]
    return "".join(parts)


def test_embedded_parts_alone(service: Serve) -> None:
    """Without a backend the answer is made of sourced descriptions of the right culture and says so."""
    response = ask(service(), model="comity-extractive")

    assert response.status_code == 200
    assert "No model is configured" in said(response)
    assert "Source:" in said(response)
    assert response.headers["x-comity-culture"] == "TR"
    assert response.headers["x-comity-response-path"] == "embedded"


@BOTH
def test_grounded_request(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """The backend gets the client's words first and then marked notes of the right culture."""
    upstream.script = either("Bring sweets.")
    response = ask(service(upstream), streamed=streamed, temperature=0.1)
    sent = upstream.asked[0]

    assert sent["temperature"] == 0.1
    assert sent["stream"] is streamed
    content = sent["messages"][0]["content"]
    assert content.startswith(ASKED)
    assert "<comity_notes>" in content
    assert "[tr-" in content
    assert response.headers["x-comity-grounding"] == "grounded"
    assert int(response.headers["x-comity-injected-tokens"]) > 0


@BOTH
def test_allowed_answer_is_byte_identical(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """What the judge allows leaves as it came, byte for byte, unknown fields and odd spacing included."""
    odd = [chunk([choice(delta={"content": "ünï"})]), b'data: {"choices":[ ],  "x" : [1.0, null],"usage":{"a":1}}\n\n']
    payload = b'{"id" : "1", "choices": [{"index":0, "message": {"role":"assistant","content":"x"}}],"zzz":1e3}'
    upstream.script = lambda body: stream([*frames(["a"]), *odd, DONE]) if streamed else httpx_response(payload)
    response = ask(service(upstream), streamed=streamed)

    assert response.content == (b"".join([*frames(["a"]), *odd, DONE]) if streamed else payload)


def httpx_response(content: bytes) -> Any:
    """A JSON answer of exactly these bytes."""
    made = JSONResponse({})
    made.body = content
    made.headers["content-length"] = str(len(content))
    return made


@BOTH
def test_nothing_cultural(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """A message without a culture reaches the backend unchanged and ungrounded."""
    upstream.script = either("4")
    response = ask(service(upstream), streamed=streamed, text="What is 2 + 2?")

    assert upstream.asked[0]["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert response.headers["x-comity-grounding"] == "none"
    assert "x-comity-culture" not in response.headers


@BOTH
def test_unsafe_answer_in_enforce(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """An unsafe answer is replaced by a refusal of the shape that was asked for, and none of it leaves."""
    upstream.script = either("Those people are filthy.")
    upstream.judge = lambda body: digit({"9": 1.0})
    response = ask(service(upstream, policy=REFUSING), streamed=streamed)

    assert response.status_code == 200
    assert "filthy" not in response.text
    assert "content_filter" in response.text
    assert said(response).startswith("This answer was withheld")
    assert response.headers["x-comity-verdict"] == "unsafe"
    assert response.headers["x-comity-action"] == "refused"
    assert response.headers["x-comity-response-path"] == "blocked"
    if streamed:
        assert events(response)[-1] == "[DONE]"


@BOTH
def test_unsafe_answer_in_shadow(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Shadow says what enforce would have done and changes nothing."""
    upstream.script = either("Fine.")
    upstream.judge = lambda body: digit({"9": 1.0})
    response = ask(service(upstream), streamed=streamed)

    assert said(response) == "Fine."
    assert response.headers["x-comity-verdict"] == "unsafe"
    assert response.headers["x-comity-action"] == "would_refuse"


@BOTH
def test_block_as_error(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """By setting a block is a 400 that clients do not retry, streamed requests included."""
    upstream.script = either("Bad.")
    upstream.judge = lambda body: digit({"9": 1.0})
    client = service(upstream, policy={"mode": "enforce", "repair": False, "fallback": False, "block_as": "error"})
    response = ask(client, streamed=streamed)

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "content_filter"
    assert response.json()["error"]["comity"]["verdict"] == "unsafe"


@BOTH
def test_one_bad_choice_of_three(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Every choice of n is judged by itself; the unsafe one is replaced, the others pass."""
    texts = ["good one", "BAD one", "good two"]
    if streamed:
        made = [
            piece
            for trio in zip(*(frames([t[:3], t[3:]], i) for i, t in enumerate(texts)), strict=True)
            for piece in trio
        ]
        upstream.script = lambda body: stream([*made, DONE])
    else:
        choices = [choice(i, message={"role": "assistant", "content": t}) for i, t in enumerate(texts)]
        upstream.script = lambda body: JSONResponse(completion(choices))
    upstream.judge = lambda body: digit({"9": 1.0} if "BAD" in json.dumps(body) else {"0": 1.0})
    response = ask(service(upstream, policy=REFUSING), streamed=streamed, n=3)

    assert [said(response, i) for i in (0, 2)] == ["good one", "good two"]
    assert said(response, 1).startswith("This answer was withheld")
    assert len(upstream.judged) == 3


def test_usage_frame_survives(service: Serve, upstream: Upstream) -> None:
    """The usage frame with its empty choices arrives, before [DONE], with the upstream's own count."""
    usage = chunk([], usage={"prompt_tokens": 99, "completion_tokens": 1, "total_tokens": 100})
    upstream.script = lambda body: stream([*frames(["x"]), usage, DONE])
    found = events(ask(service(upstream), streamed=True, stream_options={"include_usage": True}))

    assert json.loads(found[-2])["usage"] == {"prompt_tokens": 99, "completion_tokens": 1, "total_tokens": 100}
    assert found[-1] == "[DONE]"


@BOTH
@pytest.mark.parametrize("field", ["refusal", "reasoning", "reasoning_content", "note"])
def test_text_in_another_field(service: Serve, upstream: Upstream, streamed: bool, field: str) -> None:
    """Text in any field of a message is judged: it reaches the judge and is refused with the rest."""
    upstream.script = lambda body: (
        stream([*frames(["ok"])[:-1], chunk([choice(delta={field: "VILE text"})]), chunk([choice(delta={})]), DONE])
        if streamed
        else whole("ok", message={field: "VILE text"})
    )
    upstream.judge = lambda body: digit({"9": 1.0} if "VILE" in json.dumps(body) else {"0": 1.0})
    response = ask(service(upstream, policy=REFUSING), streamed=streamed)

    assert "VILE" not in response.text
    assert response.headers["x-comity-action"] == "refused"


@BOTH
@pytest.mark.parametrize("kind", ["tool_calls", "function_call"])
def test_tool_call_arguments(service: Serve, upstream: Upstream, streamed: bool, kind: str) -> None:
    """Tool-call arguments are put together over all frames and judged, by the separate prompt."""
    halves = ['{"text": "VI', 'LE"}']

    def call(arguments: str) -> Any:
        function = {"name": "post", "arguments": arguments}
        return {kind: function if kind == "function_call" else [{"index": 0, "id": "c1", "function": function}]}

    upstream.script = lambda body: (
        stream([*(chunk([choice(finish=None, delta=call(half))]) for half in halves), chunk([choice(delta={})]), DONE])
        if streamed
        else whole("", message=call("".join(halves)))
    )
    upstream.judge = lambda body: digit({"9": 1.0} if "VILE" in body["messages"][-1]["content"] else {"0": 1.0})
    response = ask(
        service(upstream, policy={"mode": "enforce", "tool_calls": "enforce", "repair": False, "fallback": False}),
        streamed=streamed,
        tools=[{"type": "function"}],
    )

    assert response.headers["x-comity-action"] == "refused"
    assert upstream.judged[0]["messages"][0]["role"] == "system"
    assert upstream.asked[0]["tools"] == [{"type": "function"}]


@BOTH
def test_allowed_tool_calls_pass_verbatim(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Allowed tool-call frames leave in order as they came."""
    call = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
    made = [chunk([choice(finish=None, delta=call)]), chunk([choice(finish="tool_calls", delta={})]), DONE]
    upstream.script = lambda body: stream(made) if streamed else whole("", message=call)
    response = ask(service(upstream), streamed=streamed)

    if streamed:
        assert response.content == b"".join(made)
    else:
        assert response.json()["choices"][0]["message"]["tool_calls"] == call["tool_calls"]


def test_refusal_in_json_mode(service: Serve, upstream: Upstream) -> None:
    """In JSON mode a refusal has no content, so that no client parses a sentence as JSON."""
    upstream.judge = lambda body: digit({"9": 1.0})
    client = service(upstream, policy=REFUSING)
    message = ask(client, response_format={"type": "json_object"}).json()["choices"][0]["message"]

    assert message["content"] is None
    assert message["refusal"].startswith("This answer was withheld")


@BOTH
def test_notes_past_the_context(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """A request that the notes push past the model's context is asked once more without them, and marked."""

    def script(body: Any) -> Any:
        if "<comity_notes>" in body["messages"][0]["content"]:
            return error(400, "This model's maximum context length is 2048 tokens. However, you requested 2100.")
        return either("short")(body)

    upstream.script = script
    response = ask(service(upstream), streamed=streamed)

    assert said(response) == "short"
    assert response.headers["x-comity-grounding"] == "dropped_context"
    assert response.headers["x-comity-response-path"] == "degraded"
    assert response.headers["x-comity-injected-tokens"] == "0"


def test_context_exceeded_without_notes(service: Serve, upstream: Upstream) -> None:
    """A conversation that is too long by itself gets the upstream's own 400, asked once."""
    upstream.script = lambda body: error(400, "maximum context length is 9", code="context_length_exceeded")
    response = ask(service(upstream), text="hello")

    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"
    assert len(upstream.asked) == 1


def test_judging_turn_past_the_context(service: Serve, upstream: Upstream) -> None:
    """A judging turn that does not fit is asked without the notes, and then as a separate prompt."""

    def judge(body: Any) -> Any:
        if len(body["messages"]) > 2 or "<comity_notes>" in json.dumps(body):
            return error(400, "maximum context length", code="context_length_exceeded")
        return digit({"1": 1.0})

    upstream.judge = judge
    response = ask(service(upstream))

    assert response.headers["x-comity-judge"] == "llm-separate"
    assert [("<comity_notes>" in json.dumps(body)) for body in upstream.judged] == [True, False, False]


@BOTH
def test_debug_object(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Only a caller who asks gets the `comity` object: in the body, or in a last frame with empty choices."""
    upstream.script = either("ok")
    response = ask(service(upstream), streamed=streamed, comity={"debug": True})
    detail = json.loads(events(response)[-2])["comity"] if streamed else response.json()["comity"]

    assert "comity" not in upstream.asked[0]
    assert detail["cultures"][0]["culture"] == "TR"
    assert detail["verdict"]["coverage"] == "partial"
    assert all(item["id"].startswith("tr-") for item in detail["grounding"]["descriptions"])
    if streamed:
        assert json.loads(events(response)[-2])["choices"] == []


def test_fields_that_show_the_notes(service: Serve, upstream: Upstream) -> None:
    """An upstream that returns prompt tokens unasked does not leak the notes; nulls stay as they came."""
    upstream.script = lambda body: whole("x", prompt_token_ids=[1, 2], prompt_logprobs=[{"secret": 1}])
    response = ask(service(upstream))

    assert "prompt_token_ids" not in response.json()
    assert "secret" not in response.text
    upstream.script = lambda body: whole("x", prompt_token_ids=None, kv_transfer_params=None)
    assert ask(service(upstream)).json()["prompt_token_ids"] is None


@pytest.mark.parametrize("hint", ["header", "body"])
def test_explicit_culture_wins(service: Serve, upstream: Upstream, hint: str) -> None:
    """A culture that the caller names is used instead of what the text suggests."""
    client = service(upstream)
    if hint == "header":
        client.headers["x-comity-culture"] = "jp"
        response = ask(client)
    else:
        response = ask(client, comity={"culture": "JP"})

    assert response.headers["x-comity-culture"] == "JP"
    assert "[tr-" not in json.dumps(upstream.asked[0])


def test_opt_out(service: Serve, upstream: Upstream) -> None:
    """A caller can switch inference off; nothing is grounded then."""
    response = ask(service(upstream), comity={"culture": "none"})

    assert "x-comity-culture" not in response.headers
    assert "<comity_notes>" not in json.dumps(upstream.asked[0])


def test_culture_of_the_asker_stays_inside(service: Serve, upstream: Upstream) -> None:
    """What is inferred about the person who asks grounds the request and appears nowhere else."""
    client = service(upstream)
    response = ask(client, text="I am Turkish. May I bring my hosts wine as a gift?", comity={"debug": True})

    assert "[tr-" in json.dumps(upstream.asked[0])
    assert "x-comity-culture" not in response.headers
    assert response.json()["comity"]["cultures"] == []
    assert response.json()["comity"]["grounding"]["descriptions"] == []
    assert 'culture="TR"' not in client.get("/metrics").text


def test_tool_loop_keeps_the_bytes(service: Serve, upstream: Upstream) -> None:
    """The same user message gets the same bytes when tool results follow it, so the prefix cache holds."""
    client = service(upstream)
    first = [{"role": "user", "content": ASKED}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "type": "function", "function": {}}]}
    later = [*first, call, {"role": "tool", "tool_call_id": "c", "content": "In Japan it rains."}]
    for messages in (first, later):
        client.post("/v1/chat/completions", json={"model": "tiny", "messages": messages})

    assert upstream.asked[0]["messages"][0] == upstream.asked[1]["messages"][0]
    assert upstream.asked[1]["messages"][1:] == later[1:]


def test_image_parts_stay(service: Serve, upstream: Upstream) -> None:
    """Parts that are not text stay in their place; the notes are a text part after them."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content = [{"type": "text", "text": ASKED}, image]
    body = {
        "model": "tiny",
        "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": content}],
    }
    service(upstream).post("/v1/chat/completions", json=body)
    sent = upstream.asked[0]["messages"]

    assert sent[0] == {"role": "developer", "content": "Be brief."}
    assert sent[1]["content"][:2] == content
    assert sent[1]["content"][2]["type"] == "text"


def test_completions(service: Serve, upstream: Upstream) -> None:
    """Each of several raw prompts gets notes of its own in front, or none; the answer's text is judged."""
    answer = completion([choice(text="VILE"), choice(1, text="fine")], object="text_completion")
    upstream.script = lambda body: JSONResponse(answer)
    upstream.judge = lambda body: digit({"9": 1.0} if "VILE" in json.dumps(body) else {"0": 1.0})
    client = service(upstream, policy=REFUSING)
    response = client.post("/v1/completions", json={"model": "tiny", "prompt": [ASKED, "Hi."]})

    assert upstream.asked[0]["prompt"][0].startswith("<comity_notes>")
    assert upstream.asked[0]["prompt"][1] == "Hi."
    assert response.json()["choices"][0]["finish_reason"] == "content_filter"
    assert response.json()["choices"][1] == answer["choices"][1]


def test_passthrough_is_marked(service: Serve, upstream: Upstream) -> None:
    """A route that the operator lets through is forwarded and marked as unguarded; others are 501."""
    client = service(upstream, passthrough={"routes": ["/v1/embeddings"]})
    response = client.post("/v1/embeddings?a=b", json={"model": "m", "input": "x"})

    assert response.json() == {"object": "list", "data": []}
    assert response.headers["x-comity-coverage"] == "skipped"
    assert client.post("/v1/responses", json={}).status_code == 501
    assert client.post("/v1/nonsense", json={}).json()["error"]["code"] == "unknown_url"


def test_models(service: Serve, upstream: Upstream) -> None:
    """The model list is the backend's own; without a backend it names the embedded responder."""
    assert [m["id"] for m in service(upstream).get("/v1/models").json()["data"]] == ["tiny"]
    assert [m["id"] for m in service().get("/v1/models").json()["data"]] == ["comity-extractive"]
