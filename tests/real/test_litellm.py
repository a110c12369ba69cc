"""A real LiteLLM proxy that asks the guardrail before and after each call, in front of a scripted model."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import litellm
from tests.conftest import Serve
from tests.real.conftest import free_port, started
from tests.real.parts import need
from tests.upstream import Json, Upstream, digit, either, error, serve

PATH = "/beta/litellm_basic_guardrail_api"
KEY = "key-of-the-guardrail"
PLANTED = "stupid-zq"
FINE = "Take your shoes off at the door. Bow when you are greeted."
BEGUN, RUDE, MORE = "Their tea is good. ", f"Your hosts are {PLANTED} and boring. ", "More is said after that. " * 8
ENFORCE: Json = {"mode": "enforce"}
LIMIT_S = 240  # to start; a slow machine takes half a minute
Start = Callable[..., None]
HELD = {"streaming_transform_mode": "incremental_diff", "streaming_end_of_stream_only": True}
SENTENCES = {"streaming_transform_mode": "incremental_diff"}


class Door:
    """A fixed address for the guardrail that each test starts anew; it keeps what came through."""

    def __init__(self) -> None:
        self.behind: str | None = None
        self.asked: list[Json] = []
        self.app = Starlette(routes=[Route(PATH, self._forward, methods=["POST"])])

    async def _forward(self, request: Request) -> Response:
        """Hand a request on as it came; where there is no guardrail, be a gateway that finds none."""
        content = await request.body()
        self.asked.append(json.loads(content))
        if self.behind is None:
            return Response(status_code=503)
        headers = {name: value for name, value in request.headers.items() if name not in ("host", "content-length")}
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.post(f"{self.behind}{PATH}", content=content, headers=headers)
        return Response(answer.content, answer.status_code, media_type="application/json")


@pytest.fixture(scope="module")
def model() -> Iterator[Upstream]:
    """The model behind LiteLLM, which is the guardrail's judge too."""
    made = Upstream()
    with serve(made.app) as address:
        made.url = f"{address}/v1"
        yield made


@pytest.fixture(scope="module")
def door() -> Door:
    """Where LiteLLM finds the guardrail."""
    return Door()


@pytest.fixture(scope="module")
def proxy(model: Upstream, door: Door, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A LiteLLM that runs; the address of its OpenAI API. A request names the guardrail that it wants."""
    program, folder, port = need("litellm"), tmp_path_factory.mktemp("litellm"), free_port()
    with serve(door.app) as address:
        config = folder / "config.yaml"
        config.write_text(yaml.safe_dump(configured(model.url, address)), encoding="utf-8")
        quiet = ["env", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_TELEMETRY=False"]
        command = [*quiet, program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        log = folder / "litellm.log"
        with log.open("wb") as output, started([*command, "--telemetry", "False"], output) as process:
            deadline = time.monotonic() + LIMIT_S
            while process.poll() is None and time.monotonic() < deadline and not alive(port):
                time.sleep(0.3)
            assert alive(port), tail(log)
            yield f"http://127.0.0.1:{port}/v1"


def configured(model: str, guardrail: str) -> Json:
    """Give LiteLLM's configuration: one model, and the guardrail in several settings of its client."""
    common = {"guardrail": "generic_guardrail_api", "mode": ["pre_call", "post_call"], "api_base": guardrail}
    variants: dict[str, Json] = {
        "plain": {},
        "keyed": {"api_key": KEY},
        "open": {"unreachable_fallback": "fail_open"},
        "held": HELD,
        "sentences": SENTENCES,
    }
    return {
        "model_list": [
            {"model_name": "tiny", "litellm_params": {"model": "openai/tiny", "api_base": model, "api_key": "unused"}}
        ],
        "guardrails": [
            {"guardrail_name": name, "litellm_params": {**common, **more}} for name, more in variants.items()
        ],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }


def alive(port: int) -> bool:
    """Tell whether LiteLLM answers."""
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5, trust_env=False).is_success
    return False


def tail(log: Path) -> str:
    """Give the end of its log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-40:])


@pytest.fixture
def start(service: Serve, model: Upstream, door: Door) -> Iterator[Start]:
    """Start the guardrail behind the door; its judge finds rude what holds the planted word."""
    model.asked.clear()
    model.judged.clear()
    model.judge = lambda body: digit({"9": 1.0} if PLANTED in json.dumps(body["messages"]) else {"0": 1.0})
    door.asked.clear()

    def begin(**groups: Any) -> None:
        door.behind = str(service(model, **groups).base_url).rstrip("/")

    yield begin
    door.behind = None


def ask(proxy: str, guardrail: str = "plain", asked: str = "How do I greet my hosts?") -> str:
    """Ask LiteLLM by OpenAI's client and give the answer."""
    with openai.OpenAI(base_url=proxy, api_key="any", max_retries=0) as client:
        found = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "system", "content": "Be kind."}, {"role": "user", "content": asked}],
            extra_body={"guardrails": [guardrail]},
        )
    return found.choices[0].message.content or ""


def stream(proxy: str, guardrail: str) -> tuple[str, str]:
    """Ask for a stream; give the text that was released, and the message of the error that ended it."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hm?"}], "stream": True}
    response = httpx.post(f"{proxy}/chat/completions", json={**body, "guardrails": [guardrail]}, timeout=60)
    if response.status_code != 200:
        return "", response.json()["error"]["message"]
    lines = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: {")]
    frames = [json.loads(line) for line in lines]
    texts = [choice["delta"].get("content") or "" for frame in frames for choice in frame.get("choices", ())]
    return "".join(texts), next((frame["error"]["message"] for frame in frames if "error" in frame), "")


def test_safe_answer(proxy: str, start: Start, model: Upstream, door: Door) -> None:
    """It passes as the model gave it; LiteLLM asked once about the request and once about the answer."""
    start(policy=ENFORCE)
    model.script = either(FINE)

    assert ask(proxy) == FINE
    assert [asked["input_type"] for asked in door.asked] == ["request", "response"]
    assert door.asked[1]["texts"] == [FINE]
    assert len(model.judged) == 1


def test_unsafe_answer(proxy: str, start: Start, model: Upstream) -> None:
    """LiteLLM refuses it with our reason, and nothing of it leaves."""
    start(policy=ENFORCE)
    model.script = either(BEGUN + RUDE)
    with pytest.raises(openai.BadRequestError, match="withheld because it may be disrespectful") as caught:
        ask(proxy)

    assert PLANTED not in caught.value.response.text


def test_unsafe_answer_in_shadow(proxy: str, start: Start, model: Upstream) -> None:
    """It passes, and was judged."""
    start(policy={"mode": "shadow"})
    model.script = either(RUDE)

    assert ask(proxy) == RUDE
    assert len(model.judged) == 1


def test_hateful_request(proxy: str, start: Start, model: Upstream) -> None:
    """LiteLLM refuses a call to violence before the model is asked; a rude question reaches it."""
    start(policy=ENFORCE)
    model.script = either(FINE)
    with pytest.raises(openai.BadRequestError, match="hateful words"):
        ask(proxy, asked="Kill all the Muslims.")

    assert model.asked == []
    assert ask(proxy, asked=RUDE) == FINE


@pytest.mark.parametrize(("policy", "passes"), [("block", False), ("allow", True), ("degrade", True)])
def test_judge_that_fails(proxy: str, start: Start, model: Upstream, policy: str, passes: bool) -> None:
    """The policy decides, also where LiteLLM would let a guardrail fail."""
    start(policy={**ENFORCE, "accept_unjudged": True, "on_error": {"judge": policy}})
    model.judge = lambda body: error(500)
    model.script = either(FINE)
    if passes:
        assert ask(proxy, "open") == FINE
    else:
        with pytest.raises(openai.BadRequestError, match="could not be judged"):
            ask(proxy, "open")


def test_guardrail_that_is_away(proxy: str, start: Start, model: Upstream) -> None:
    """LiteLLM fails closed by its default, and goes on where it was told so."""
    model.script = either(FINE)
    with pytest.raises(openai.InternalServerError):
        ask(proxy)

    assert ask(proxy, "open") == FINE


def test_key(proxy: str, start: Start, model: Upstream) -> None:
    """The `api_key` of LiteLLM's guardrail is one of ours."""
    start(api_keys=[KEY])
    model.script = either(FINE)

    assert ask(proxy, "keyed") == FINE
    with pytest.raises(openai.InternalServerError):
        ask(proxy)


@pytest.mark.parametrize(("guardrail", "released"), [("held", ""), ("sentences", BEGUN)])
def test_unsafe_stream(proxy: str, start: Start, model: Upstream, guardrail: str, released: str) -> None:
    """A proxy that holds text back releases nothing unsafe: nothing at all, or the sentences before."""
    start(policy=ENFORCE)
    model.script = either(BEGUN + RUDE + MORE)

    assert stream(proxy, guardrail) == (released, litellm.WITHHELD)


def test_unsafe_stream_by_default(proxy: str, start: Start, model: Upstream) -> None:
    """A proxy that holds nothing back breaks off soon after the unsafe words, which have left by then."""
    start(policy=ENFORCE)
    model.script = either(BEGUN + RUDE + MORE)
    released, message = stream(proxy, "plain")

    assert message == litellm.WITHHELD
    assert len(released) < len(BEGUN + RUDE) + 30


@pytest.mark.parametrize("guardrail", ["plain", "held", "sentences"])
def test_safe_stream(proxy: str, start: Start, model: Upstream, guardrail: str) -> None:
    """All of it arrives, a last sentence without a stop included."""
    start(policy=ENFORCE)
    model.script = either(FINE + " " + MORE + "The end")

    assert stream(proxy, guardrail) == (FINE + " " + MORE + "The end", "")
