"""The guardrail in front of a real vLLM: what it asks is understood there, and what comes back is read rightly."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.judge import Exchange, prompts
from tests.conftest import ROOT, Serve, until
from tests.real.conftest import Vllm

Json = dict[str, Any]
PLAIN, INDIA = "What is the square root of two?", "A wedding in India?"
JAPAN = "Which gift may I bring my colleague when she invites me to her home in Japan?"
THINKS = "What is the square root of two? Answer with detailed thinking on."  # to which the template of tiny.py listens
ADAPTERS = {"cultures": {"JP": "jp", "IN": "in"}}
DIGITS = list("0123456789")
ENFORCE: Json = {"mode": "enforce", "repair": False, "fallback": False}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,  # else vLLM holds the call to its form only, not the arguments to their schema
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Kyoto", "Osaka"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_fresh = itertools.count(1)


def chat(text: str = PLAIN, /, **more: Any) -> Json:
    """Give a request; greedy, so that it is answered the same way each time."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 16, "temperature": 0}
    return {**asked, **more}


def ask(client: httpx.Client, body: Json, route: str = "chat/completions") -> tuple[Json, httpx.Headers]:
    """Ask through the guardrail; give the answer, a stream's frames put together, and its headers."""
    response = client.post(f"/v1/{route}", json=body)
    assert response.status_code == 200, response.text
    return (joined(response.text) if body.get("stream") else response.json()), response.headers


def joined(text: str) -> Json:
    """Put the frames of a stream together into the shape of a whole answer."""
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    whole: Json = {"choices": [], "usage": None, "comity": None}
    choices: dict[int, Json] = {}
    for frame in map(json.loads, events):
        for field in ("usage", "comity"):
            whole[field] = frame.get(field) or whole[field]
        for part in frame["choices"]:
            made = choices.setdefault(
                part["index"], {"index": part["index"], "message": {}, "logprobs": {"content": []}}
            )
            for field in ("content", "reasoning"):
                if said := part["delta"].get(field):
                    made["message"][field] = made["message"].get(field, "") + said
            for call in part["delta"].get("tool_calls") or ():
                function = made.setdefault("calls", {}).setdefault(call["index"], {"name": "", "arguments": ""})
                for field, said in call["function"].items():
                    function[field] += said or ""
            made["logprobs"]["content"] += (part.get("logprobs") or {}).get("content") or []
            made["finish_reason"] = part.get("finish_reason") or made.get("finish_reason")
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def fresh(sentences: int) -> str:
    """Give a text that was not asked before, so that nothing of it is in the prefix cache."""
    return " ".join(f"Number {next(_fresh)} of the list is the {word} one." for word in ["next"] * sentences)


@pytest.mark.parametrize("stream", [False, True])
def test_answer(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Without a culture the answer is, token by token, what vLLM says when it is asked itself; it is judged."""
    answer, headers = ask(service(vllm), chat(stream=stream))
    choice, direct = answer["choices"][0], vllm.chat(**chat())["choices"][0]

    assert choice["message"]["content"] == direct["message"]["content"]
    assert choice["finish_reason"] == direct["finish_reason"]
    assert headers["x-comity-response-path"] == "upstream"
    assert headers["x-comity-judge"] == "llm-continuation"


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_with_logprobs(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Three choices come back in full, each with the log-probabilities of its own tokens."""
    wanted: Json = {"n": 3, "temperature": 1.0, "seed": 5, "logprobs": True, "top_logprobs": 4, "ignore_eos": True}
    answer, _ = ask(service(vllm), chat(max_tokens=8, stream=stream, **wanted))

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 3
    for choice in answer["choices"]:
        assert len(choice["logprobs"]["content"]) == 8
        assert all(len(token["top_logprobs"]) >= 4 for token in choice["logprobs"]["content"])


@pytest.mark.parametrize("stream", [False, True])
def test_usage_of_a_grounded_answer(service: Serve, vllm: Vllm, stream: bool) -> None:
    """The usage is vLLM's own, and more by about what the notes are said to be than for the bare question."""
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer, headers = ask(service(vllm), chat(JAPAN, **options))
    bare = vllm.chat(**chat(JAPAN))["usage"]["prompt_tokens"]
    said = int(headers["x-comity-injected-tokens"])

    assert headers["x-comity-grounding"] == "grounded"
    assert headers["x-comity-culture"] == "JP"
    assert 0.6 * said < answer["usage"]["prompt_tokens"] - bare < 1.4 * said
    assert answer["usage"]["completion_tokens"] == 16


def test_stream_without_usage(service: Serve, vllm: Vllm) -> None:
    """A stream that did not ask for usage gets none."""
    assert ask(service(vllm), chat(stream=True))[0]["usage"] is None


@pytest.mark.parametrize("stream", [False, True])
def test_tools_left_to_the_model(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Tools that the model does not call are in its prompt, and in that of the continuation that judges."""
    answer, headers = ask(service(vllm), chat(tools=[TOOL], tool_choice="auto", stream=stream))
    direct = vllm.chat(**chat(tools=[TOOL], tool_choice="auto"))

    assert answer["choices"][0]["message"]["content"] == direct["choices"][0]["message"]["content"]
    assert direct["usage"]["prompt_tokens"] > vllm.chat(**chat())["usage"]["prompt_tokens"] + 50
    assert headers["x-comity-judge"] == "llm-continuation"
    assert headers["x-comity-coverage"] == "partial"


@pytest.mark.parametrize("stream", [False, True])
def test_named_tool(service: Serve, vllm: Vllm, stream: bool) -> None:
    """A call that the request demands comes back as one, with arguments of the tool's schema, and is judged quoted."""
    wanted: Json = {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    client = service(vllm, policy={"tool_calls": "enforce"})
    answer, headers = ask(client, chat(max_tokens=100, stream=stream, **wanted))
    choice = answer["choices"][0]
    call = choice["calls"][0] if stream else choice["message"]["tool_calls"][0]["function"]

    assert call["name"] == "weather"
    assert json.loads(call["arguments"])["city"] in ("Kyoto", "Osaka")
    assert headers["x-comity-judge"] == "llm-separate"


@pytest.mark.parametrize("stream", [False, True])
def test_adapter_of_a_culture(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Each culture is answered by its own adapter, as that adapter answers the grounded request."""
    client = service(vllm, adapters=ADAPTERS, grounding={"enabled": False})
    for text, adapter in ((JAPAN, "jp"), (INDIA, "in")):
        answer, headers = ask(client, chat(text, stream=stream))
        said = answer["choices"][0]["message"]["content"]

        assert headers["x-comity-adapter"] == adapter
        assert headers["x-comity-adapter-outcome"] == "used"
        assert said == vllm.chat(**chat(text, model=adapter))["choices"][0]["message"]["content"]
        assert said != vllm.chat(**chat(text))["choices"][0]["message"]["content"]


def test_no_adapter_for_a_question_without_culture(service: Serve, vllm: Vllm) -> None:
    """Without a culture the base model answers; an adapter that the caller names is left as it is."""
    client = service(vllm, adapters=ADAPTERS)
    answer, headers = ask(client, chat())
    named, explicit = ask(client, chat(JAPAN, model="in"))

    assert (answer["model"], headers["x-comity-adapter-outcome"]) == ("tiny", "none")
    assert (named["model"], explicit["x-comity-adapter-outcome"]) == ("in", "explicit")


@pytest.mark.parametrize("stream", [False, True])
def test_judge_that_decides(service: Serve, vllm: Vllm, stream: bool) -> None:
    """The score is the digit that vLLM expects after the same conversation, and the threshold makes it the verdict."""
    body = chat(stream=stream, comity={"debug": True})
    answer, headers = ask(service(vllm), body)
    found = answer["comity"]["verdict"]
    direct = top(vllm.chat(**judging(PLAIN, answer["choices"][0]["message"]["content"])))

    assert 10 < len(direct) <= 20  # tokens that are written alike are one here
    assert 0.8 < on_digits(direct) < 1
    assert found["score"] == pytest.approx(score(direct), abs=0.5)
    assert headers["x-comity-judge"] == "llm-continuation"
    assert headers["x-comity-coverage-reason"] == "uncalibrated"
    for threshold, verdict in ((found["score"] - 1, "unsafe"), (found["score"] + 1, "safe")):
        _, headers = ask(service(vllm, policy={"thresholds": {"overall": threshold}}), body)
        assert headers["x-comity-verdict"] == verdict


@pytest.mark.parametrize("stream", [False, True])
def test_enforcing(service: Serve, vllm: Vllm, stream: bool) -> None:
    """An answer that vLLM judges to be unsafe is refused, and one that it judges to be safe is released."""
    said = vllm.chat(**chat())["choices"][0]["message"]["content"]
    refused, _ = ask(service(vllm, policy={**ENFORCE, "thresholds": {"overall": 0}}), chat(stream=stream))
    released, _ = ask(service(vllm, policy={**ENFORCE, "thresholds": {"overall": 100}}), chat(stream=stream))

    assert refused["choices"][0]["finish_reason"] == "content_filter"
    assert said not in json.dumps(refused)
    assert released["choices"][0]["message"]["content"] == said


@pytest.mark.parametrize("stream", [False, True])
def test_judge_that_thinks_first(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Where the template takes no notice that thinking is off, the score is that of a digit constrained to be one."""
    answer, headers = ask(service(vllm), chat(THINKS, stream=stream, comity={"debug": True}))
    form = judging(THINKS, answer["choices"][0]["message"]["content"])
    free, held = top(vllm.chat(**form)), top(vllm.chat(**form, structured_outputs={"choice": DIGITS}))

    assert max(free, key=lambda token: free[token]) == "<think>"
    assert on_digits(free) < 0.2
    assert on_digits(held) == pytest.approx(1, abs=0.01)
    assert answer["comity"]["verdict"]["score"] == pytest.approx(score(held), abs=0.5)
    assert headers["x-comity-judge"] == "llm-continuation"
    assert headers["x-comity-coverage-reason"] == "uncalibrated"


def test_choice_of_digits(vllm: Vllm) -> None:
    """Under `structured_outputs` vLLM's log-probabilities are those after the mask: all on digits, their odds kept."""
    body = chat(THINKS, max_tokens=1, logprobs=True, top_logprobs=20)
    free, answer = top(vllm.chat(**body)), vllm.chat(**body, structured_outputs={"choice": DIGITS})
    held, known = top(answer), [digit for digit in DIGITS if digit in free]

    assert answer["choices"][0]["message"]["content"] in DIGITS
    assert on_digits(free) < 0.2
    assert on_digits(held) == pytest.approx(1, abs=0.01)
    assert len(known) > 2
    for one, other in itertools.pairwise(known):  # the odds between two digits are what they were
        assert held[one] - held[other] == pytest.approx(free[one] - free[other], abs=0.1)


def judging(text: str, said: str) -> Json:
    """Give the request by which a model judges what it said to a text: the conversation, and the judging turn."""
    turns = [("user", text), ("assistant", said), ("user", prompts.TURN)]
    return {
        "messages": [{"role": role, "content": content} for role, content in turns],
        "chat_template_kwargs": {"enable_thinking": False},
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }


def top(answer: Json) -> dict[str, float]:
    """Give the log-probabilities of an answer's first token."""
    return {item["token"]: item["logprob"] for item in answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]}


def on_digits(odds: dict[str, float]) -> float:
    """Give the probability on digits."""
    return sum(math.exp(odds[digit]) for digit in DIGITS if digit in odds)


def score(odds: dict[str, float]) -> float:
    """Give the digit that is expected, brought to 0 to 100."""
    return sum(int(digit) * math.exp(odds[digit]) for digit in DIGITS if digit in odds) / on_digits(odds) / 9 * 100


def test_continuation_reuses_the_prefix_cache(service: Serve, vllm: Vllm) -> None:
    """The judge that continues the conversation finds its prompt in vLLM's cache; the one that quotes it does not."""
    hits, asked = {}, {}
    for style in ("off", "separate", "continuation"):
        groups: Json = {"policy": {"mode": "off"}} if style == "off" else {"judge": {"style": style}}
        client = service(vllm, **groups)
        ask(client, chat("Say hello.", max_tokens=1))  # what the quoting prompt always begins with is cached by now
        before = vllm.metric("prefix_cache_hits_total")
        answer, _ = ask(client, chat(fresh(40)))
        hits[style] = vllm.metric("prefix_cache_hits_total") - before
        asked[style] = answer["usage"]["prompt_tokens"]

    assert hits["off"] < 64
    assert hits["continuation"] > 0.85 * asked["continuation"] > 300
    assert hits["separate"] < 0.5 * asked["separate"]


def test_adapter_that_judges_itself_reuses_the_prefix_cache(service: Serve, vllm: Vllm) -> None:
    """An adapter that judges its own answer finds its prompt in vLLM's cache; the base model finds nothing of it."""
    hits, asked = {}, {}
    for judge in ("adapter", "base"):
        client = service(vllm, adapters={**ADAPTERS, "judge": judge})
        before = vllm.metric("prefix_cache_hits_total")
        answer, headers = ask(client, chat(f"{fresh(40)} {JAPAN}"))
        hits[judge] = vllm.metric("prefix_cache_hits_total") - before
        asked[judge] = answer["usage"]["prompt_tokens"]
        assert (headers["x-comity-adapter"], headers["x-comity-judge"]) == ("jp", "llm-continuation")

    assert hits["adapter"] > 0.85 * asked["adapter"] > 300
    assert hits["base"] < 64


def test_notes_that_do_not_fit(service: Serve, vllm: Vllm) -> None:
    """A conversation that fits vLLM's context only without notes is answered without them, and that is said."""
    messages = [{"role": "user", "content": ""}, {"role": "assistant", "content": "Yes."}, *chat(JAPAN)["messages"]]
    messages[0]["content"] = " people" * (4000 - tokens(vllm, messages))
    answer, headers = ask(service(vllm), chat(messages=messages))

    assert headers["x-comity-grounding"] == "dropped_context"
    assert headers["x-comity-injected-tokens"] == "0"
    assert answer["usage"]["prompt_tokens"] == tokens(vllm, messages) > 3900


@pytest.mark.parametrize("stream", [False, True])
def test_question_that_does_not_fit(service: Serve, vllm: Vllm, stream: bool) -> None:
    """A question longer than vLLM's context is a 400, streamed too."""
    response = service(vllm).post("/v1/chat/completions", json=chat(fresh(600), stream=stream))

    assert response.status_code == 400
    assert response.json()["error"]["type"] == "BadRequestError"
    assert response.headers["x-comity-response-path"] == "error"


def tokens(vllm: Vllm, messages: list[Json]) -> int:
    """Count the tokens of a conversation as vLLM does, its template included."""
    return int(vllm.client.post("/tokenize", json={"model": "tiny", "messages": messages}).json()["count"])


@pytest.mark.parametrize("stream", [False, True])
def test_completions(service: Serve, vllm: Vllm, stream: bool) -> None:
    """A bare prompt is completed, with notes before it where it is about a culture, and judged."""
    body = {"model": "tiny", "prompt": JAPAN, "max_tokens": 8, "temperature": 0, "stream": stream}
    response = service(vllm).post("/v1/completions", json=body)
    lines = response.text.splitlines() if stream else [f"data: {response.text}"]
    frames = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]

    assert response.status_code == 200
    assert "".join(choice["text"] for frame in frames for choice in frame["choices"])
    assert response.headers["x-comity-grounding"] == "grounded"
    assert response.headers["x-comity-judge"] == "llm-separate"
    assert response.headers["x-comity-coverage"] == "partial"


@pytest.mark.parametrize("stream", [False, True])
def test_client_that_leaves(service: Serve, vllm: Vllm, stream: bool) -> None:
    """vLLM stops generating for a client that left, long before the tokens that were asked for are there."""
    body = chat(max_tokens=3500, n=8, ignore_eos=True, temperature=1.0, stream=stream)
    client, before = service(vllm), vllm.metric("generation_tokens_total")
    with ThreadPoolExecutor(1) as pool:
        leaving = pool.submit(client.post, "/v1/chat/completions", json=body, timeout=2)
        assert until(lambda: vllm.metric("num_requests_running") > 0, 10)
        assert isinstance(leaving.exception(), httpx.ReadTimeout)

    # vLLM writes the gauge once a step, which can take long on few cores; all of it would take minutes
    assert until(lambda: vllm.metric("num_requests_running") == 0, 15)
    assert 0 < vllm.metric("generation_tokens_total") - before < 8 * 3500


@pytest.mark.parametrize("stream", [False, True])
def test_thinking(service: Serve, vllm: Vllm, stream: bool) -> None:
    """Thinking that vLLM parsed out of the answer is given to the client and to the judge, who does not think."""
    body = chat(chat_template_kwargs={"enable_thinking": True}, stream=stream)
    answer, headers = ask(service(vllm), body)
    message = answer["choices"][0]["message"]

    assert message["reasoning"] == vllm.chat(**body | {"stream": False})["choices"][0]["message"]["reasoning"]
    assert not message.get("content")
    assert headers["x-comity-judge"] == "llm-separate"
    assert headers["x-comity-coverage"] == "partial"


def test_judge_with_thinking_off(vllm: Vllm) -> None:
    """What the judge sends is rendered with a thinking block that is closed already."""
    (write,) = prompts.separate(Exchange(PLAIN, {"reasoning": "Hm.", "content": "About 1.4."}))
    form = write(prompts.DIGIT)
    asked = {"model": "tiny", "messages": form["messages"], "return_token_strs": True}
    said = {
        thinks: vllm.client.post("/tokenize", json={**asked, "chat_template_kwargs": arguments}).json()["token_strs"]
        for thinks, arguments in ((False, form["chat_template_kwargs"]), (True, {"enable_thinking": True}))
    }

    assert "</think>" in said[False][-4:]
    assert "</think>" not in said[True]
    assert vllm.chat(**form)["choices"][0]["message"]["content"] in DIGITS


@pytest.mark.parametrize(("has_vllm", "status"), [(True, 0), (False, 1)])
def test_folder_that_the_script_did_not_make(tmp_path: Path, has_vllm: bool, status: int) -> None:
    """`.ci/vllm` uses a folder of somebody else's that has a vLLM, refuses any other, and deletes none."""
    script = Path(shutil.copytree(ROOT / ".ci", tmp_path / ".ci"), "vllm")
    program = tmp_path / ".venv-vllm" / "bin" / ("vllm" if has_vllm else "other")
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": "false"}  # so that a script that goes on installs nothing
    done = subprocess.run([script], env=environment, capture_output=True, timeout=30, check=False)  # noqa: S603

    assert done.returncode == status
    assert program.exists()
