"""What is said in place of an answer that could not be made better: customs or a refusal, in the asker's language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from service import phrases
from service.guard import Guard
from tests.conftest import Serve, until
from tests.upstream import DONE, Json, Upstream, choice, chunk, completion, digit, either, frames, stream, whole

BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
POLICY: Json = {"mode": "enforce", "repair": False}
ALL: Json = {"min_score": -1, "k": 4}  # a test's question in any language finds descriptions
IN_JAPAN = {
    "en": "What should I bring to a dinner with a family in Japan?",
    "de": "Was soll ich zu einem Abendessen bei einer Familie in Japan mitbringen?",
    "ar": "ماذا يجب أن أحضر معي إلى عشاء مع عائلة في اليابان؟",
    "ja": "日本の家庭に夕食に招かれたら何を持って行けばいいですか。",
    "zh-Hant": "去日本人家裡吃飯應該帶什麼禮物？",
}
NOWHERE = {"en": "What can I bring to a dinner?", "de": "Was soll ich zum Abendessen mitbringen?"} | {
    "ar": "ماذا يجب أن أحضر معي إلى العشاء الليلة؟",
    "ja": "夕食に招かれたら何を持って行けばいいですか。",
}
DEMANDS = {
    "en": "Write a text that mocks Japanese tea ceremonies.",
    "de": "Schreibe einen Text, der sich über die Japaner lustig macht und sie verspottet.",
    "ar": "اكتب نصًا يسخر من اليابانيين ومن عاداتهم.",
    "ja": "日本人をばかにする文章を書いてください。",
}


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    """A backend whose answers are VILE, and a judge that finds that and is unsure of UNSURE."""

    def judge(body: Json) -> Response:
        shown = json.dumps(body)
        return digit({"9": 1.0} if "VILE" in shown else {"I": 0.5, "9": 0.5} if "UNSURE" in shown else {"0": 1.0})

    upstream.script = either("VILE words.")
    upstream.judge = judge
    return upstream


def ask(client: httpx.Client, text: str = IN_JAPAN["en"], *, streamed: bool = False, **more: Any) -> httpx.Response:
    """Send one chat request that names its culture where its text does."""
    body: Json = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": streamed, **more}
    if text in IN_JAPAN.values() or text in DEMANDS.values():
        body["comity"] = {"culture": "JP", **body.get("comity", {})}
    return client.post("/v1/chat/completions", json=body)


def message(response: httpx.Response, index: int = 0) -> Json:
    """Give one choice's message and finish reason, the deltas of a stream put together."""
    if response.headers["content-type"] == "application/json":
        found = next(each for each in response.json()["choices"] if each["index"] == index)
        return {**found["message"], "finish_reason": found["finish_reason"]}
    data = [part.removeprefix("data: ") for part in response.text.split("\n\n") if part.startswith("data: ")]
    assert data.pop() == "[DONE]"
    made: Json = {}
    for each in (each for frame in data for each in json.loads(frame)["choices"] if each["index"] == index):
        for key, value in each["delta"].items():
            made[key] = made[key] + value if isinstance(value, str) and made.get(key) and key != "role" else value
        made["finish_reason"] = each["finish_reason"]
    return made


def told(response: httpx.Response) -> tuple[str, ...]:
    """Give verdict, action and path, as the headers have them."""
    return tuple(response.headers[f"x-comity-{name}"] for name in ("verdict", "action", "response-path"))


@BOTH
@pytest.mark.parametrize("language", IN_JAPAN)
def test_fallback(service: Serve, upstream: Upstream, guard: Guard, language: str, streamed: bool) -> None:
    """Customs take the place of an unsafe answer, introduced in the asker's language, each on a line."""
    response = ask(service(upstream, policy=POLICY, retrieval=ALL), IN_JAPAN[language], streamed=streamed)
    made = message(response)
    head, _, rest = made["content"].partition("\n\n")
    customs = [line.removeprefix("- ").strip("\u2068\u2069") for line in rest.split("\n")]

    assert told(response) == ("unsafe", "replaced", "fallback")
    assert made["finish_reason"] == "stop"
    assert head.startswith(phrases.say("instead", language))
    assert (head == phrases.say("instead", "en")) is (language == "en")
    assert len(customs) >= 2
    assert set(customs) <= {each.statement for each in guard.index.descriptions if each.culture == "JP"}
    assert all(("\n- \u2068" + custom + "\u2069" in made["content"]) is (language == "ar") for custom in customs)
    assert "VILE" not in response.text


@BOTH
@pytest.mark.parametrize("language", DEMANDS)
def test_offence_that_was_demanded(service: Serve, upstream: Upstream, language: str, streamed: bool) -> None:
    """Who demands an offence gets a respectful correction in its place, with what is true of the people."""
    response = ask(service(upstream, policy=POLICY, retrieval=ALL), DEMANDS[language], streamed=streamed)

    assert told(response) == ("unsafe", "replaced", "fallback")
    assert message(response)["content"].startswith(phrases.say("correction", language))


@pytest.mark.parametrize(
    "text",
    [
        "How do I avoid insulting my hosts at a dinner in Japan?",
        "What could offend a Japanese family at a dinner?",
        "A colleague mocks Japanese customs. What can I tell him?",
        "Which roast goes well with sake for guests in Japan?",
    ],
)
def test_offence_that_is_asked_about(service: Serve, upstream: Upstream, text: str) -> None:
    """Who asks how not to offend has demanded nothing, and is not told off."""
    response = ask(service(upstream, policy=POLICY, retrieval=ALL), text)

    assert message(response)["content"].startswith(phrases.say("instead", "en"))


@BOTH
def test_demanded_offence_that_is_repaired(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """A demand to offend is put to the model once more, which is told to decline it kindly; its correction leaves."""
    better = "I would rather tell you what tea ceremonies mean to people."
    upstream.script = lambda body: either(better if "<comity_review>" in json.dumps(body) else "VILE words.")(body)
    response = ask(service(upstream, policy={"mode": "enforce"}, retrieval=ALL), DEMANDS["en"], streamed=streamed)

    assert message(response)["content"] == better
    assert told(response) == ("unsafe", "repaired", "repaired")
    assert "asks to mock, demean or offend, do not do that" in upstream.asked[1]["messages"][0]["content"]


@BOTH
@pytest.mark.parametrize("language", NOWHERE)
def test_refusal(service: Serve, upstream: Upstream, language: str, streamed: bool) -> None:
    """Where there is no description, a refusal in the asker's language is left."""
    response = ask(service(upstream, policy=POLICY), NOWHERE[language], streamed=streamed)
    text = phrases.say("refused", language)

    assert told(response) == ("unsafe", "refused", "blocked")
    assert message(response) == {
        "role": "assistant",
        "content": text,
        "refusal": text,
        "finish_reason": "content_filter",
    }
    assert (text == phrases.say("refused", "en")) is (language == "en")


@BOTH
@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_json_mode(service: Serve, upstream: Upstream, kind: str, streamed: bool) -> None:
    """In JSON mode no sentence of ours stands where a client parses: no content, a refusal, customs or not."""
    client = service(upstream, policy=POLICY, retrieval=ALL)
    response = ask(client, IN_JAPAN["de"], streamed=streamed, response_format={"type": kind})
    made = message(response)

    assert told(response) == ("unsafe", "refused", "blocked")
    assert (made["content"], made["finish_reason"]) == (None, "content_filter")
    assert made["refusal"] == phrases.say("refused", "de")


@BOTH
def test_json_mode_that_is_repaired(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """In JSON mode a better answer is the model's own JSON."""
    upstream.script = lambda body: either('{"a": 1}' if "<comity_review>" in json.dumps(body) else '{"a": "VILE"}')(
        body
    )
    client = service(upstream, policy={"mode": "enforce"})
    response = ask(client, streamed=streamed, response_format={"type": "json_object"})

    assert json.loads(message(response)["content"]) == {"a": 1}
    assert upstream.asked[1]["response_format"] == {"type": "json_object"}


@BOTH
@pytest.mark.parametrize(
    ("policy", "text", "status", "action"),
    [
        ({}, IN_JAPAN["en"], 200, "repaired"),
        ({"repair": False}, IN_JAPAN["en"], 200, "replaced"),
        ({"repair": False, "fallback": False}, IN_JAPAN["en"], 400, "refused"),
        ({"repair": False}, NOWHERE["en"], 400, "refused"),
    ],
)
def test_block_as_error(
    service: Serve, upstream: Upstream, policy: Json, text: str, status: int, action: str, streamed: bool
) -> None:
    """By setting the client gets a 400 that it does not retry, but only where no better answer was possible."""
    upstream.script = lambda body: either("kind" if "<comity_review>" in json.dumps(body) else "VILE words.")(body)
    client = service(upstream, policy={"mode": "enforce", "block_as": "error", **policy}, retrieval=ALL)
    response = ask(client, text, streamed=streamed)

    assert (response.status_code, response.headers["x-comity-action"]) == (status, action)
    assert "VILE" not in response.text
    if status == 400:
        assert response.json()["error"]["code"] == "content_filter"
        assert response.json()["error"]["comity"]["verdict"] == "unsafe"


@pytest.mark.parametrize("role", [True, False], ids=["role_first", "text_first"])
def test_block_as_error_in_windows(service: Serve, upstream: Upstream, role: bool) -> None:
    """A window stream of which no text has left is a 400 too, whether or not its first frame holds a role alone."""
    upstream.script = lambda body: stream([*frames(["VILE words."])[0 if role else 1 :], DONE])
    policy = {**POLICY, "block_as": "error", "stream_mode": "window"}
    response = ask(service(upstream, policy=policy), NOWHERE["en"], streamed=True)

    assert (response.status_code, response.headers["x-comity-action"]) == (400, "refused")


def test_block_as_error_of_one_choice(service: Serve, upstream: Upstream) -> None:
    """One refused choice among others is no error: the others leave."""
    made = [choice(i, message={"role": "assistant", "content": text}) for i, text in enumerate(["VILE", "fine"])]
    upstream.script = lambda body: JSONResponse(completion(made))
    response = ask(service(upstream, policy={**POLICY, "block_as": "error"}), NOWHERE["en"], n=2)

    assert response.status_code == 200
    assert message(response, 0)["finish_reason"] == "content_filter"
    assert response.json()["choices"][1] == made[1]


@BOTH
def test_completions(service: Serve, upstream: Upstream, streamed: bool) -> None:
    """Each of several raw prompts is answered in its own language and from its own descriptions."""
    made = [choice(i, text=f"VILE {i}") for i in range(3)]
    upstream.script = lambda body: (
        stream([*(chunk([each], object="text_completion") for each in made), DONE])
        if streamed
        else JSONResponse(completion(made, object="text_completion"))
    )
    prompts = [IN_JAPAN["de"], NOWHERE["ja"], "How are guests greeted at a dinner in Istanbul?"]
    body = {"model": "tiny", "prompt": prompts, "stream": streamed}
    response = service(upstream, policy=POLICY, retrieval=ALL).post("/v1/completions", json=body)
    data = [part.removeprefix("data: ") for part in response.text.split("\n\n") if part.startswith("data: {")]
    answers = [json.loads(each) for each in data] if streamed else [response.json()]
    found = {each["index"]: each for answer in answers for each in answer["choices"]}

    assert found[0]["text"].startswith(phrases.say("instead", "de"))
    assert "Japan" in found[0]["text"]
    assert "Turk" not in found[0]["text"]
    assert found[1]["text"] == phrases.say("refused", "ja")
    assert "Turk" in found[2]["text"]
    assert [found[index]["finish_reason"] for index in range(3)] == ["stop", "content_filter", "stop"]
    assert told(response) == ("unsafe", "refused", "blocked")


@BOTH
@pytest.mark.parametrize("stream_mode", ["buffer", "window", "passthrough"])
@pytest.mark.parametrize(("mode", "action"), [("shadow", "would_refuse"), ("off", "allowed")])
def test_policy_that_does_not_act(
    service: Serve, upstream: Upstream, mode: str, action: str, stream_mode: str, streamed: bool
) -> None:
    """Shadow changes nothing and says what enforce would have done; off does not even judge."""
    client = service(upstream, policy={"mode": mode, "stream_mode": stream_mode, "block_as": "error"}, retrieval=ALL)
    response = ask(client, streamed=streamed)

    assert message(response)["content"] == "VILE words."
    assert "x-comity-repair" not in response.headers
    assert len(upstream.asked) == 1
    assert (not upstream.judged) is (mode == "off")
    counted = f'comity_actions_total{{action="{action}",culture="JP",mode="{mode}"}} 1.0'
    assert until(lambda: counted in client.get("/metrics").text)


@BOTH
@pytest.mark.parametrize("language", NOWHERE)
def test_undecided(service: Serve, upstream: Upstream, language: str, streamed: bool) -> None:
    """An answer that the judge cannot decide about is withheld as unchecked, not as disrespectful, and not repaired."""
    upstream.script = either("UNSURE words.")
    response = ask(service(upstream, policy={"mode": "enforce"}, retrieval=ALL), NOWHERE[language], streamed=streamed)

    assert told(response) == ("undecided", "refused", "blocked")
    assert message(response)["content"] == phrases.say("unjudged", language)
    assert len(upstream.asked) == 1


def _calling(words: str, streamed: bool) -> Response:
    """Give an answer of words and of one tool call whose arguments are VILE."""
    calls = [{"index": 0, "id": "c1", "type": "function", "function": {"name": "post", "arguments": '{"t":"VILE"}'}}]
    if not streamed:
        return whole(words, message={"tool_calls": calls})
    return stream([*frames([words] if words else [])[:-1], chunk([choice(delta={"tool_calls": calls})]), DONE])


@BOTH
@pytest.mark.parametrize(
    ("tool_calls", "words", "told_of", "counted"),
    [
        ("shadow", "Done.", ("safe", "allowed", "full", None), 1),
        ("enforce", "Done.", ("unsafe", "refused", "full", None), 1),
        ("off", "Done.", ("safe", "allowed", "partial", "tool_calls"), 0),
        ("shadow", "", ("undecided", "allowed", "skipped", "tool_calls"), 1),
        ("enforce", "", ("unsafe", "refused", "full", None), 1),
        ("off", "", ("undecided", "allowed", "skipped", "tool_calls"), 0),
    ],
)
def test_tool_calls(
    service: Serve,
    upstream: Upstream,
    tmp_path: Path,
    tool_calls: str,
    words: str,
    told_of: tuple[str | None, ...],
    counted: int,
    streamed: bool,
) -> None:
    """Arguments of tool calls are counted in shadow, acted on in enforce, and where it is off the coverage says so."""
    calibration = tmp_path / "calibration.json"
    judge = {"judge": "llm-continuation", "axes": {"overall": {"threshold": 50}}, "languages": ["en"]}
    calibration.write_text(json.dumps(judge), encoding="utf-8")
    upstream.script = lambda body: _calling(words, streamed)
    client = service(upstream, policy={**POLICY, "tool_calls": tool_calls}, judge={"calibration": calibration})
    response = ask(client, NOWHERE["en"], streamed=streamed, tools=[{"type": "function", "function": {"name": "post"}}])
    names = ("verdict", "action", "coverage", "coverage-reason")
    series = 'comity_tool_call_verdicts_total{coverage="full",verdict="unsafe"} 1.0'

    assert tuple(response.headers.get(f"x-comity-{name}") for name in names) == told_of
    assert ("VILE" in response.text) is (tool_calls != "enforce")
    assert (series in client.get("/metrics").text) is bool(counted)


def test_tool_calls_of_the_second_answer(service: Serve, upstream: Upstream) -> None:
    """Tool calls of an answer that was generated once more are judged and counted like those of a first one."""
    upstream.script = lambda body: (
        _calling("Done.", False) if "<comity_review>" in json.dumps(body) else whole("VILE words.")
    )
    client = service(upstream, policy={"mode": "enforce"})
    series = 'comity_tool_call_verdicts_total{coverage="partial",verdict="unsafe"} 1.0'

    assert message(ask(client, NOWHERE["en"]))["tool_calls"]
    assert until(lambda: series in client.get("/metrics").text)


@BOTH
@pytest.mark.parametrize("grounding", [True, False])
@pytest.mark.parametrize("repair", [True, False])
def test_harmful_custom(service: Serve, upstream: Upstream, grounding: bool, repair: bool, streamed: bool) -> None:
    """A custom that harms is no guidance: it stands in no note, in no review and in no fallback."""
    client = service(
        upstream,
        policy={"mode": "enforce", "repair": repair},
        retrieval={"min_score": -1, "k": 50},
        grounding={"enabled": grounding, "max_tokens": 8000},
    )
    asked = "Is it usual for a groom's parents to demand money from the bride's side in India?"
    response = ask(client, asked, streamed=streamed)

    assert message(response)["content"].startswith("The original answer was replaced")
    assert "India" in message(response)["content"]
    assert ("<comity_review>" in json.dumps(upstream.asked)) is repair
    assert "illegal since 1961" not in json.dumps(upstream.asked) + json.dumps(upstream.judged) + response.text
