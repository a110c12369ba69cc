"""Bad requests: one clear OpenAI error that names the field, the service unharmed, nothing of the text logged."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service.fields import CONSTRAINTS
from tests.conftest import Serve
from tests.upstream import Upstream, error

PLANTED = "zq-planted-phrase-zq"
GOOD: dict[str, Any] = {"model": "comity-extractive", "messages": [{"role": "user", "content": "Hello."}]}


def _user(content: Any) -> dict[str, Any]:
    return {**GOOD, "messages": [{"role": "user", "content": content}]}


def _nested(levels: int) -> Any:
    value: Any = PLANTED
    for _ in range(levels):
        value = [value]
    return value


BAD: list[tuple[str, bytes | dict[str, Any], str | None]] = [
    ("not JSON", b'{"model": zq-planted-phrase-zq', None),
    ("empty body", b"", None),
    ("not an object", b'["zq-planted-phrase-zq"]', None),
    ("not UTF-8", b'{"model": "\xff zq-planted-phrase-zq"}', None),
    ("not a number", b'{"model": "x", "messages": [], "temperature": NaN}', None),
    ("endless number", b'{"seed": ' + b"9" * 6000 + b"}", None),
    ("no model", {"messages": GOOD["messages"]}, "model"),
    ("messages missing", {"model": "comity-extractive"}, "messages"),
    ("messages empty", {**GOOD, "messages": []}, "messages"),
    ("messages a string", {**GOOD, "messages": PLANTED}, "messages"),
    ("message a string", {**GOOD, "messages": [PLANTED]}, "messages[0]"),
    ("no role", {**GOOD, "messages": [{"content": PLANTED}]}, "messages[0].role"),
    ("unknown role", {**GOOD, "messages": [{"role": PLANTED, "content": "x"}]}, "messages[0].role"),
    ("content a number", _user(7), "messages[0].content"),
    ("part a string", _user([PLANTED]), "messages[0].content[0]"),
    ("part without text", _user([{"type": "text"}]), "messages[0].content[0].text"),
    ("stream a word", {**GOOD, "stream": "yes"}, "stream"),
    ("n of zero", {**GOOD, "n": 0}, "n"),
    ("n true", {**GOOD, "n": True}, "n"),
    ("lone surrogate", b'{"model":"m","messages":[{"role":"user","content":"\\ud800 zq"}]}', "messages[0].content"),
    ("NUL", _user(f"{PLANTED}\0"), "messages[0].content"),
    ("NUL in a key", {**GOOD, f"{PLANTED}\0": 1}, "body"),
    ("deep nesting", {**GOOD, "tools": _nested(200)}, "tools"),
    ("deepest nesting", b'{"tools": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
    ("unknown model", {**GOOD, "model": PLANTED}, "model"),
    ("100k-token message", _user("word " * 100_000), "messages"),
    ("unknown culture", {**GOOD, "comity": {"culture": PLANTED}}, "comity.culture"),
    ("unknown hint", {**GOOD, "comity": {PLANTED: 1}}, "comity"),
    ("hint of a mode", {**GOOD, "comity": {"mode": "off"}}, "comity.mode"),
    ("hint of a window", {**GOOD, "comity": {"stream_mode": "window"}}, "comity.stream_mode"),
    ("debug a word", {**GOOD, "comity": {"debug": "yes"}}, "comity.debug"),
    ("hint a word", {**GOOD, "comity": PLANTED}, "comity"),
]


@pytest.mark.parametrize(("sent", "param"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_request(
    service: Serve, capfd: pytest.CaptureFixture[str], sent: bytes | dict[str, Any], param: str | None
) -> None:
    """Each bad request gets a 4xx in OpenAI's form naming the field; the next good one is served; nothing leaks."""
    client = service()
    content = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    response = client.post("/v1/chat/completions", content=content)
    found = response.json()["error"]

    assert 400 <= response.status_code < 500
    assert found["param"] == param
    assert set(found) == {"message", "type", "param", "code", "comity"}
    assert found["comity"]["request_id"] == response.headers["x-request-id"]
    assert found["message"]
    assert client.post("/v1/chat/completions", json=GOOD).status_code == 200
    assert PLANTED not in response.text
    assert PLANTED not in capfd.readouterr().err


def test_twenty_megabytes(service: Serve) -> None:
    """A body over the limit is refused with 413, whether its length is declared or not."""
    client, body = service(), b"x" * 20_000_000
    try:
        declared: httpx.Response | None = client.post("/v1/chat/completions", content=body)
    except httpx.WriteError:  # the service closed the connection while the client was still sending
        declared = None
    undeclared = client.post("/v1/chat/completions", content=iter([body[:11_000_000]]))

    assert declared is None or declared.status_code == 413
    assert undeclared.status_code == 413
    assert undeclared.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("echo", True),
        ("prompt_logprobs", 0),
        ("return_token_ids", True),
        ("return_tokens_as_token_ids", True),
        ("chat_template", "{{ messages }}"),
        ("chat_template_kwargs", {"custom": 1}),
        ("chat_template_kwargs", {"enable_thinking": "no"}),
        ("documents", [{"text": "x"}]),
        ("continue_final_message", True),
        ("add_generation_prompt", False),
        ("truncate_prompt_tokens", 10),
        ("prompt_embeds", "AAAA"),
    ],
)
def test_constrained_field(service: Serve, upstream: Upstream, name: str, value: Any) -> None:
    """A field that would leak or cut off the notes is refused by name before the backend sees anything."""
    response = service(upstream).post("/v1/chat/completions", json={**GOOD, name: value})

    assert response.status_code == 400
    assert response.json()["error"]["param"] == name
    assert response.json()["error"]["code"] == "unsupported_parameter"
    assert upstream.asked == []


def test_harmless_values_of_constrained_fields(service: Serve, upstream: Upstream) -> None:
    """Values that change nothing, and the switches for thinking, go through as they came."""
    harmless = {
        "echo": False,
        "prompt_logprobs": None,
        "add_generation_prompt": True,
        "continue_final_message": False,
        "chat_template_kwargs": {"enable_thinking": False, "reasoning_effort": "low"},
    }
    response = service(upstream).post("/v1/chat/completions", json={**GOOD, **harmless})

    assert response.status_code == 200
    assert {name: upstream.asked[0][name] for name in harmless} == harmless


def test_every_constraint_is_tested() -> None:
    """No constrained field is without a case in this file."""
    marks = test_constrained_field.pytestmark

    assert {row[0] for row in marks[0].args[1]} == {constraint.name for constraint in CONSTRAINTS}


def test_unknown_fields_are_carried(service: Serve, upstream: Upstream) -> None:
    """Everything that Comity does not understand reaches the backend as it came, big and precise numbers included."""
    body = {**GOOD, "seed": 2**63 + 1, "top_p": 0.1, "vllm_xargs": {"a": [None, {"b": "ü"}]}, "metadata": {"x": "y"}}
    service(upstream).post("/v1/chat/completions", json=body)

    assert upstream.asked[0] == body


@pytest.mark.parametrize("key", ["wrong", "", "Basic x"])
def test_wrong_key(service: Serve, key: str) -> None:
    """With keys configured, a missing or wrong key is a 401 on every route but probes and metrics."""
    client = service(api_keys=["right"])
    headers = {"authorization": key if " " in key else f"Bearer {key}"} if key else {}
    for method, path in (("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/comity/v1/detect")):
        response = client.request(method, path, headers=headers)
        assert response.status_code == 401
        assert response.json()["error"]["type"] == "authentication_error"

    assert client.get("/livez").status_code == 200
    assert client.post("/v1/chat/completions", json=GOOD, headers={"authorization": "Bearer right"}).status_code == 200


def test_wrong_method(service: Serve) -> None:
    """A wrong method is told in OpenAI's form."""
    response = service().get("/v1/chat/completions")

    assert response.status_code == 405
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("detect", {}, "messages"),
        ("detect", {"messages": GOOD["messages"], "metadata": {"culture": "QQ"}}, "metadata.culture"),
        ("retrieve", {}, "query"),
        ("retrieve", {"query": "x", "k": 0}, "k"),
        ("retrieve", {"query": "x", "k": 10_000}, "k"),
        ("retrieve", {"query": "x", "cultures": ["QQ"]}, "cultures"),
        ("retrieve", {"query": "x", "cultures": "JP"}, "cultures"),
        ("judge", {"messages": GOOD["messages"]}, "response"),
        ("judge", {"messages": GOOD["messages"], "response": "x", "descriptions": [1]}, "descriptions[0]"),
        ("judge", {"messages": GOOD["messages"], "response": "x", "more": 1}, "body"),
    ],
)
def test_bad_check(service: Serve, path: str, body: dict[str, Any], param: str) -> None:
    """The check-only routes name the field too."""
    response = service().post(f"/comity/v1/{path}", json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("given", ["short", "a" * 200, "bad id\u00e9"])
def test_request_id(service: Serve, given: str) -> None:
    """A plain request id comes back; one that is long or odd is replaced."""
    response = service().post("/v1/chat/completions", json=GOOD, headers={b"x-request-id": given.encode()})

    assert (response.headers["x-request-id"] == given) is (given == "short")


@pytest.mark.parametrize(
    ("more", "message", "param"),
    [
        ({}, f"invalid value: '{PLANTED}'", None),
        ({"temperature": "zq-short"}, "{'loc': 'body.temperature', 'input': 'zq-short'}", "body.temperature"),
        ({"user": "zq-short"}, "no such user zq-short", None),
        ({}, "1 validation error: input_value=[...]", "messages"),
    ],
)
def test_upstream_that_echoes_the_request(
    service: Serve,
    upstream: Upstream,
    capfd: pytest.CaptureFixture[str],
    more: dict[str, str],
    message: str,
    param: str | None,
) -> None:
    """A backend whose error quotes the request does not get that through; the field it names stays."""
    upstream.script = lambda body: error(400, message, param=param or PLANTED)
    response = service(upstream).post("/v1/chat/completions", json={**_user(f"Tell me of {PLANTED} please"), **more})
    shown = response.text + capfd.readouterr().err

    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("the backend refused the request (400)")
    assert response.json()["error"]["param"] == param
    assert PLANTED not in shown
    assert "zq-short" not in shown
