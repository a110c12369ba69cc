"""Ways around the guardrail, each closed: text in odd places, in long answers, beside a refused one, in a hurry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.responses import JSONResponse

from tests.conftest import Serve
from tests.upstream import DONE, Upstream, choice, chunk, completion, digit, error, frames, stream, whole

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "A gift in Japan?"}]}
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


def strict(body: dict[str, Any]) -> Any:
    """A judge that finds VILE wherever it stands in what it is shown."""
    return digit({"9": 1.0} if "VILE" in json.dumps(body) else {"0": 1.0})


def ask(service: Serve, upstream: Upstream, streamed: bool, **groups: Any) -> Any:
    """Ask in enforce, whole or streamed, with the strict judge."""
    upstream.judge = strict
    policy = {"mode": "enforce", "repair": False, "fallback": False, **groups.pop("policy", {})}
    return service(upstream, policy=policy, **groups).post("/v1/chat/completions", json={**BODY, "stream": streamed})


@BOTH
@pytest.mark.parametrize(
    "name", ["logprobs", "finish_reason", "stop_reason", "index", "model", "created", "VILE name", "x"]
)
def test_choice_names_below_a_message(service: Serve, upstream: Upstream, streamed: bool, name: str) -> None:
    """A name that is harmless on a choice is judged like any other below a message."""
    upstream.script = lambda body: (
        stream([*frames(["ok"])[:-1], chunk([choice(delta={name: "VILE"})]), DONE])
        if streamed
        else whole("ok", message={name: "VILE"})
    )

    assert "VILE" not in ask(service, upstream, streamed).text


@pytest.mark.parametrize("name", ["prompt_logprobs", "prompt_token_ids", "token_ids"])
def test_notes_below_a_message(service: Serve, upstream: Upstream, name: str) -> None:
    """Fields that would show the notes are dropped below a message too."""
    upstream.script = lambda body: whole("ok", message={name: "the notes"})

    assert "the notes" not in ask(service, upstream, False).text


@BOTH
def test_text_outside_the_choices(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Text beside the choices is judged with them, and leaves no more when they are refused."""
    more = {"output_text": "VILE", "results": [{"title": "VILE"}]}
    upstream.script = lambda body: (
        stream([*frames(["ok"]), chunk([], **more), DONE]) if streamed else whole("ok", **more)
    )
    response = ask(service, upstream, streamed)

    assert response.headers["x-comity-action"] == "refused"
    assert "VILE" not in response.text


@BOTH
@pytest.mark.parametrize("style", ["separate", "reasoning"])
def test_middle_of_a_long_answer(service: Serve, upstream: Upstream, streamed: bool, style: str) -> None:
    """No part of a long answer goes unjudged, whichever prompt judges it."""
    text = "fine " * 8_000 + "VILE " + "fine " * 8_000
    more = {"reasoning": "I think."} if style == "reasoning" else {}
    upstream.script = lambda body: (
        stream([*frames([text])[:-1], chunk([choice(delta=more)]), DONE]) if streamed else whole(text, message=more)
    )
    response = ask(service, upstream, streamed, judge={"style": "separate" if style == "separate" else "continuation"})

    assert "VILE" not in response.text
    assert len(upstream.judged) >= 4


def test_answer_too_long_to_judge(service: Serve, upstream: Upstream) -> None:
    """An answer of more prompts than are asked is not judged, and said so: in enforce it does not leave."""
    upstream.script = lambda body: whole("fine " * 200_000)
    response = ask(service, upstream, False, judge={"style": "separate"})

    assert response.status_code == 503
    assert upstream.judged == []


@BOTH
def test_sound_that_nobody_hears(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Sound in an answer is not judged: it is undecided for the reason media, never passed as safe, and no block."""
    sound = {"audio": {"id": "a", "data": "SOUND", "transcript": ""}}
    upstream.script = lambda body: (
        stream([chunk([choice(finish=None, delta=sound)]), chunk([choice(delta={})]), DONE])
        if streamed
        else whole("", message=sound)
    )
    response = ask(service, upstream, streamed)

    assert response.headers["x-comity-coverage-reason"] == "media"
    assert response.headers["x-comity-coverage"] == "skipped"
    assert response.headers["x-comity-verdict"] == "undecided"
    assert "SOUND" in response.text


def test_unjudged_choice_beside_a_refused_one(service: Serve, upstream: Upstream) -> None:
    """Where one choice is refused and another could not be judged, the answer's coverage is the least of both."""
    made = [choice(i, message={"role": "assistant", "content": t}) for i, t in enumerate(["VILE", "DOWN"])]
    upstream.script = lambda body: JSONResponse(completion(made))
    client = service(
        upstream,
        policy={
            "mode": "enforce",
            "repair": False,
            "fallback": False,
            "on_error": {"judge": "allow"},
            "accept_unjudged": True,
        },
    )
    upstream.judge = lambda body: error(500) if "DOWN" in json.dumps(body) else strict(body)
    response = client.post("/v1/chat/completions", json={**BODY, "n": 2})

    assert response.headers["x-comity-verdict"] == "unsafe"
    assert response.headers["x-comity-coverage"] == "error"


@pytest.mark.parametrize("status", [400, 422])
def test_three_choices_meet_a_server_without_template_arguments(
    service: Serve, upstream: Upstream, status: int
) -> None:
    """Judgements under way at once each get past the first rejection, whatever its form."""
    made = [choice(i, message={"role": "assistant", "content": "fine"}) for i in range(3)]
    upstream.script = lambda body: JSONResponse(completion(made))
    client = service(upstream, policy={"mode": "enforce", "repair": False, "fallback": False})
    upstream.judge = lambda body: (
        JSONResponse({"detail": [{"loc": ["body"]}]}, status) if "chat_template_kwargs" in body else strict(body)
    )
    response = client.post("/v1/chat/completions", json={**BODY, "n": 3})

    assert response.headers["x-comity-verdict"] == "safe"
    assert response.headers["x-comity-coverage"] == "partial"


def test_parallel_tool_calls(service: Serve, upstream: Upstream) -> None:
    """Arguments of several calls in one stream are put together call by call."""

    def part(index: int, text: str) -> bytes:
        call = {"index": index, "id": f"c{index}", "function": {"name": "f", "arguments": text}}
        return chunk([choice(finish=None, delta={"tool_calls": [call]})])

    made = [part(0, "VI"), part(1, "ok"), part(0, "LE"), part(1, "ay")]
    upstream.script = lambda body: stream([*made, chunk([choice(delta={})]), DONE])

    assert ask(service, upstream, True, policy={"tool_calls": "enforce"}).headers["x-comity-action"] == "refused"


def test_usage_of_a_refused_stream(service: Serve, upstream: Upstream) -> None:
    """Usage that comes with frames of a refused choice is not lost."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    made = [*frames(["VILE"])[:-1], chunk([choice(delta={})], usage=usage), DONE]
    upstream.script = lambda body: stream(made)
    response = ask(service, upstream, True)

    assert '"total_tokens":3' in response.text
    assert "VILE" not in response.text


def test_question_of_each_prompt(service: Serve, upstream: Upstream) -> None:
    """Each of several prompts is judged with its own question and its own descriptions."""
    made = [choice(i, text="fine") for i in range(2)]
    upstream.script = lambda body: JSONResponse(completion(made))
    client = service(upstream)
    client.post(
        "/v1/completions", json={"model": "tiny", "prompt": ["A gift in Japan?", "Sweets for a dinner in Istanbul?"]}
    )
    quoted = sorted(
        (json.loads(body["messages"][1]["content"]) for body in upstream.judged), key=lambda q: str(q["question"])
    )

    assert [q["question"] for q in quoted] == ["A gift in Japan?", "Sweets for a dinner in Istanbul?"]
    assert "Turk" in json.dumps(quoted[1]["customs"])
    assert "Turk" not in json.dumps(quoted[0]["customs"])


def test_each_prompt_has_an_answer_of_its_own(service: Serve) -> None:
    """The embedded responder answers each of several prompts from its own descriptions."""
    body = {"model": "comity-extractive", "prompt": ["A gift in Japan?", "A family dinner in Istanbul?"]}
    first, second = service().post("/v1/completions", json=body).json()["choices"]

    assert "Japan" in first["text"]
    assert "Turk" not in first["text"]
    assert "Turk" in second["text"]


def test_long_token_prompt(service: Serve, upstream: Upstream) -> None:
    """A prompt of many token ids is carried, ungrounded and marked as a prompt that cannot be read."""
    upstream.script = lambda body: JSONResponse(completion([choice(text="fine")]))
    response = service(upstream).post("/v1/completions", json={"model": "tiny", "prompt": list(range(500))})

    assert response.status_code == 200
    assert upstream.asked[0]["prompt"] == list(range(500))


def test_too_many_cultures(service: Serve, upstream: Upstream) -> None:
    """No more cultures than the setting allows are grounded."""
    text = "A wedding gift in Japan, Turkey, Thailand, India and Mexico?"
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}]}
    service(upstream, retrieval={"max_cultures": 1, "k": 20, "min_score": -1}).post("/v1/chat/completions", json=body)
    sent = upstream.asked[0]["messages"][0]["content"]

    assert len({line[3:5] for line in sent.splitlines() if line.startswith("- [")}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "I\u2019m Jewish, what can I bring?",
        "I am a practicing Jew and like gifts.",
        "I'm half Japanese. Which gift?",
        "My husband and I are Indian. A wedding gift?",
        "I am originally from Ethiopia. A gift?",
        "My family is from Thailand; what gift?",
        "We Germans like small gifts.",
    ],
)
def test_culture_of_the_asker(service: Serve, upstream: Upstream, capfd: pytest.CaptureFixture[str], text: str) -> None:
    """However people say who they are, it stands in no header, log line, metric or prompt to another endpoint."""
    client = service(upstream, judge={"url": upstream.url, "model": "other"})
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}]}
    response = client.post("/v1/chat/completions", json=body)

    assert "x-comity-culture" not in response.headers
    assert "comity_culture_detected_total{" not in client.get("/metrics").text
    assert '"cultures": ["' not in capfd.readouterr().err
    assert json.loads(upstream.judged[0]["messages"][1]["content"])["cultures"] == []


def test_names_that_an_upstream_gives_to_errors(
    service: Serve, upstream: Upstream, capfd: pytest.CaptureFixture[str]
) -> None:
    """A backend that puts text of the request into an error's code or type does not get it through either."""
    upstream.script = lambda body: error(400, "no", code="zq planted words", type="zq planted words\n")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Tell me zq planted words please"}]}
    response = service(upstream).post("/v1/chat/completions", json=body)

    assert response.status_code == 400
    assert "zq planted" not in response.text + capfd.readouterr().err
