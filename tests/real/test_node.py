"""The official client for JavaScript, straight and through the guardrail: it cannot tell one from the other."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.conftest import ROOT, Serve
from tests.real.parts import lack, need
from tests.upstream import DONE, Json, Upstream, choice, chunk, completion, either, error, frames, stream

FOLDER = ROOT / "tests" / "node"
INSTALL = "npm install --prefix tests/node --ignore-scripts --no-save --no-package-lock --no-audit --no-fund"
LOGPROBS: Json = {
    "content": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}],
    "refusal": None,
}
CALLS: list[Json] = [
    {"id": f"call_{city}", "type": "function", "function": {"name": "look", "arguments": f'{{"city": "{city}"}}'}}
    for city in ("Oslo", "Rome")
]
TEXT: Json = {"index": 0, "text": "Hi.", "logprobs": None, "finish_reason": "stop"}


def message(index: int = 0, finish: str = "stop", **fields: Any) -> Json:
    """Give one choice with a message."""
    return choice(index, finish, message={"role": "assistant", "content": None, "refusal": None, **fields})


def calling(body: Json) -> Response:
    """Call two tools, whole or in pieces."""
    if not body.get("stream"):
        return JSONResponse(completion([message(finish="tool_calls", tool_calls=CALLS)]))
    deltas: list[Json] = [{"role": "assistant", "content": None}]
    for index, call in enumerate(CALLS):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        deltas.append({"tool_calls": [{**call, "index": index, "function": {"name": name, "arguments": ""}}]})
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": letter}}]} for letter in arguments]
    end = chunk([choice(0, "tool_calls", delta={})])
    return stream([*(chunk([choice(0, None, delta=delta)]) for delta in deltas), end, DONE])


def script(body: Json) -> Response:
    """Answer as the model's name says."""
    usage = chunk([], usage={"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7})
    made: dict[str, Any] = {
        "whole": lambda: either("Hello.")(body),
        "stream": lambda: stream([*frames(["Hel", "lo ", "🌍"]), usage, DONE]),
        "tools": lambda: calling(body),
        "choices": lambda: JSONResponse(completion([message(0, content="a"), message(1, content="b")])),
        "logprobs": lambda: JSONResponse(completion([message(content="Hi") | {"logprobs": LOGPROBS}])),
        "json": lambda: either('{"name": "tea"}')(body),
        "vision": lambda: either("A dot.")(body),
        "text": lambda: JSONResponse({**completion([TEXT]), "object": "text_completion"}),
        "error": lambda: error(400, "temperature must be under 2", param="temperature", code="bad_value"),
        "limited": lambda: error(429, "slow down", headers={"retry-after": "1"}),
        "slow": lambda: stream([*frames(["x"] * 200), DONE], pause_s=0.05),
    }
    found: Response = made[body["model"]]()
    return found


def run(node: str, address: str) -> Json:
    """Run the client against a server and give what it saw."""
    if not any((folder / "node_modules" / "openai").is_dir() for folder in (FOLDER, ROOT)):
        lack("node", f"there is no openai for it; run `{INSTALL}` here")
    found = subprocess.run(  # noqa: S603 - our own script
        [node, str(FOLDER / "client.mjs"), address], capture_output=True, text=True, timeout=120, check=False
    )
    assert found.returncode == 0, found.stderr
    seen: Json = json.loads(found.stdout)
    return seen


def test_javascript_client(service: Serve, upstream: Upstream) -> None:
    """Objects, pieces, parsed answers, errors and an aborted stream are the same; only x-comity-* tells."""
    node = need("node")
    upstream.script = script
    client = service(upstream, stream={"ping_after_s": 0.2, "ping_every_s": 0.2})
    guarded = run(node, f"{client.base_url}/v1")
    assert upstream.closed.wait(2), "the aborted stream went on"
    through = list(upstream.asked)
    upstream.asked.clear()
    straight = run(node, upstream.url)

    assert (guarded.pop("comity") > 5, straight.pop("comity")) == (True, 0)
    assert (guarded.pop("hasRequestId"), straight.pop("hasRequestId")) == (True, False)
    assert guarded == straight
    assert through == upstream.asked


def test_what_it_saw(service: Serve, upstream: Upstream) -> None:
    """What the client saw is what the backend said, so that both being wrong alike does not pass."""
    upstream.script = script
    seen = run(need("node"), f"{service(upstream, stream={'ping_after_s': 0.2}).base_url}/v1")

    assert seen["whole"]["choices"][0]["message"]["content"] == "Hello."
    assert "".join(c["delta"].get("content") or "" for it in seen["stream"] for c in it["choices"]) == "Hello 🌍"
    assert seen["stream"][-1]["usage"]["total_tokens"] == 7
    assert seen["tools"]["choices"][0]["message"]["tool_calls"] == CALLS
    assert [it["function"]["arguments"] for it in seen["toolsHelper"]["choices"][0]["message"]["tool_calls"]] == [
        it["function"]["arguments"] for it in CALLS
    ]
    assert [it["message"]["content"] for it in seen["choices"]["choices"]] == ["a", "b"]
    assert seen["logprobs"]["choices"][0]["logprobs"] == LOGPROBS
    assert seen["structured"]["message"]["content"] == '{"name": "tea"}'
    assert seen["completion"]["choices"][0]["text"] == "Hi."
    assert (seen["error"]["name"], seen["error"]["code"]) == ("BadRequestError", "bad_value")
    assert seen["errorStream"] == seen["error"]
    assert (seen["limited"]["name"], seen["limited"]["status"]) == ("RateLimitError", 429)
    assert seen["abort"] == {"aborted": True, "finished": False}


def test_pin() -> None:
    """The client's version is pinned exactly and once, and no lock file names where it was fetched."""
    wanted: Json = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["dependencies"]

    assert wanted["openai"].replace(".", "").isdigit()
    assert f"openai@{wanted['openai']}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert not (FOLDER / "package-lock.json").exists()
