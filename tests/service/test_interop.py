"""The contracts of others: OpenAI's moderation, LiteLLM's generic guardrail, the FMS orchestrator's detectors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.moderation import Categories, CategoryScores, Moderation
from starlette.responses import Response

from service.turn import AXES
from tests.conftest import Serve
from tests.upstream import Json, Upstream, digit, error

PLANTED = "zq-planted-phrase-zq"
RUDE = "Your stupid tea. But the cups are good."  # to the scripted judge; no word list has it
CRUDE = "Those primitive people are lazy."  # to the word list
FINE = "Take your shoes off at the door of a Japanese home."
GUARDRAIL = "/beta/litellm_basic_guardrail_api"
CONTENTS, GENERATION, CHAT = (f"/api/v1/text/{name}" for name in ("contents", "generation", "chat"))
DETECTOR = {"detector-id": "comity"}
STRICT = {"x-comity-policy": "strict"}
ENFORCE: Json = {"mode": "enforce"}


@pytest.fixture(autouse=True)
def _judging(upstream: Upstream) -> None:
    """The judge finds rude what holds the word stupid, and is at a loss about riddles."""

    def judge(body: Json) -> Response:
        said = json.dumps(body["messages"])
        if "riddle" in said:
            return digit({"the": 1.0})
        return digit({"9": 1.0} if "stupid" in said else {"0": 1.0})

    upstream.judge = judge


@pytest.fixture
def down(upstream: Upstream) -> Upstream:
    """A backend whose judge fails every time."""
    upstream.judge = lambda body: error(500)
    return upstream


def moderate(client: httpx.Client, **body: Any) -> Json:
    """Ask for a moderation, past any client library."""
    response = client.post("/v1/moderations", json=body)
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def test_moderation_client(service: Serve, upstream: Upstream) -> None:
    """OpenAI's client reads a result for each of several texts, whatever model it asks for."""
    address = service(upstream).base_url
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        found = client.moderations.create(model="omni-moderation-latest", input=[FINE, RUDE])
        single = client.moderations.create(input=RUDE)

    assert [result.flagged for result in found.results] == [False, True]
    assert [result.flagged for result in single.results] == [True]
    assert found.model == "comity-cultural"
    assert found.id.startswith("modr-")


def test_moderation_async_client(service: Serve, upstream: Upstream) -> None:
    """The asynchronous client reads it too; a text and an image are one input, and the image was not judged."""
    address = service(upstream).base_url

    async def ask() -> Moderation:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
            picture: Any = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
            found = await client.moderations.create(input=[{"type": "text", "text": RUDE}, picture])
        (result,) = found.results
        return result

    result = asyncio.run(ask())
    extra: Any = result.model_extra or {}

    assert result.flagged
    assert (extra["comity"]["coverage"], extra["comity"]["reason"]) == ("partial", "media")


@pytest.mark.parametrize("text", [FINE, RUDE])
def test_moderation_shape(service: Serve, upstream: Upstream, text: str) -> None:
    """Every category of OpenAI's is there, each flag has its score, and what is flagged has a category."""
    (result,) = moderate(service(upstream), input=text)["results"]
    theirs = {field.alias or name for name, field in Categories.model_fields.items()}
    own = {f"comity/{axis}" for axis in AXES}

    assert set(result["categories"]) == set(result["category_scores"]) == theirs | own
    assert set(result["category_applied_input_types"]) == theirs | own
    assert {field.alias or name for name, field in CategoryScores.model_fields.items()} == theirs
    assert all(0 <= score <= 1 for score in result["category_scores"].values())
    assert result["flagged"] is any(result["categories"].values()) is (text == RUDE)
    assert result["category_applied_input_types"]["comity/overall"] == ["text"]
    assert result["category_applied_input_types"]["sexual"] == []  # nobody looked


def test_moderation_by_words(service: Serve) -> None:
    """Demeaning words are harassment in OpenAI's terms, and no threat."""
    (result,) = moderate(service(), input=CRUDE)["results"]
    flagged = {category for category, flag in result["categories"].items() if flag}

    assert {"harassment", "comity/demeaning"} <= flagged <= {"harassment", "comity/demeaning", "comity/overall"}
    assert result["category_scores"]["harassment"] == result["comity"]["axes"]["demeaning"] / 100


@pytest.mark.parametrize(("text", "threatens"), [("Muslims are vermin.", False), ("Kill all the Muslims.", True)])
def test_moderation_of_hate(service: Serve, text: str, threatens: bool) -> None:
    """Dehumanisation is hate in OpenAI's terms, and a call to violence its threatening kind."""
    (result,) = moderate(service(), input=text)["results"]

    assert result["categories"]["hate"]
    assert result["categories"]["comity/harm"]
    assert result["categories"]["hate/threatening"] is threatens
    assert result["category_scores"]["hate/threatening"] == (1.0 if threatens else 0.0)
    assert result["category_applied_input_types"]["hate/threatening"] == ["text"]


def test_moderation_of_nothing(service: Serve) -> None:
    """An empty text, and an image alone, are not flagged, and said not to be judged."""
    empty, image = (
        moderate(service(), input=given)["results"][0]
        for given in ([""], [{"type": "image_url", "image_url": {"url": "data:,"}}])
    )

    assert not empty["flagged"]
    assert (empty["comity"]["coverage"], empty["comity"]["reason"]) == ("skipped", "empty")
    assert not image["flagged"]
    assert (image["comity"]["coverage"], image["comity"]["reason"]) == ("skipped", "media")
    assert not any(image["category_applied_input_types"].values())


def test_undecided_moderation(service: Serve, upstream: Upstream) -> None:
    """What the judge cannot decide is not flagged, and said so."""
    (result,) = moderate(service(upstream), input="A riddle.")["results"]

    assert not result["flagged"]
    assert result["comity"]["verdict"] == "undecided"


def test_many_moderations(service: Serve, upstream: Upstream) -> None:
    """Two hundred texts have their results in their order."""
    texts = [RUDE if number % 7 == 0 else FINE for number in range(200)]
    found = moderate(service(upstream), input=texts)["results"]

    assert [result["flagged"] for result in found] == [text == RUDE for text in texts]


@pytest.mark.parametrize(("policy", "status"), [("block", 503), ("allow", 200), ("degrade", 200)])
def test_moderation_without_a_judge(service: Serve, down: Upstream, policy: str, status: int) -> None:
    """A judge that fails is a 503 under `block`, said to have failed under `allow`, replaced under `degrade`."""
    response = service(down, policy={"on_error": {"judge": policy}}).post("/v1/moderations", json={"input": FINE})
    assert response.status_code == status
    if policy == "block":
        assert response.json()["error"]["code"] == "guardrail_unavailable"
        assert response.headers["retry-after"] == "5"
        return
    (result,) = response.json()["results"]

    assert not result["flagged"]
    assert result["comity"]["coverage"] == ("error" if policy == "allow" else "partial")
    assert result["comity"]["verdict"] == ("undecided" if policy == "allow" else "safe")


@pytest.mark.parametrize(("policy", "status"), [("block", 503), ("allow", 200), ("degrade", 200)])
def test_detector_without_a_judge(service: Serve, down: Upstream, policy: str, status: int) -> None:
    """A detector fails in its own form, because no detection would read as safe; what words show is detected anyway."""
    client = service(down, policy={"on_error": {"judge": policy}})
    fine, crude = (client.post(CONTENTS, json={"contents": [text]}, headers=DETECTOR) for text in (FINE, CRUDE))

    assert fine.status_code == status
    assert fine.json() == ([[]] if status == 200 else {"code": 503, "message": fine.json()["message"]})
    assert [detection["detection"] for detection in crude.json()[0]] == ["demeaning"]


def guardrail(client: httpx.Client, side: str = "response", **body: Any) -> Json:
    """Ask as LiteLLM's proxy does."""
    nothing: Json = dict.fromkeys(("images", "tools", "tool_calls", "structured_messages"))
    response = client.post(GUARDRAIL, json={"input_type": side, "request_data": {}, **nothing, **body})
    assert response.status_code == 200, response.text
    found: Json = response.json()
    return found


def test_guardrail_in_enforce(service: Serve, upstream: Upstream) -> None:
    """An answer that is unsafe is blocked with a reason that quotes nothing; one that is safe passes."""
    client = service(upstream, policy=ENFORCE)
    blocked, passed = guardrail(client, texts=[FINE, RUDE]), guardrail(client, texts=[FINE])

    assert blocked["action"] == "BLOCKED"
    assert "disrespectful" in blocked["blocked_reason"]
    assert "stupid" not in blocked["blocked_reason"]
    assert (passed["action"], passed["comity"]["verdict"]) == ("NONE", "safe")
    assert not {"texts", "images", "tools"} & (set(passed) | set(blocked))


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_guardrail_that_does_not_act(service: Serve, upstream: Upstream, mode: str) -> None:
    """In shadow the verdict is told and counted and nothing is blocked; off does not judge."""
    client = service(upstream, policy={"mode": mode})
    found = guardrail(client, texts=[RUDE])

    assert found["action"] == "NONE"
    assert found.get("comity", {}).get("verdict") == ("unsafe" if mode == "shadow" else None)
    assert len(upstream.judged) == (mode == "shadow")
    assert ('verdict="unsafe"' in client.get("/metrics").text) is (mode == "shadow")


def test_guardrail_before_the_call(service: Serve, upstream: Upstream) -> None:
    """A question is not judged as an answer: no judge is asked, and rude words in it do not block."""
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": f"Is this fair: {RUDE}"}]
    texts = [message["content"] for message in messages]
    found = guardrail(service(upstream, policy=ENFORCE), "request", texts=texts, structured_messages=messages)

    assert found["action"] == "NONE"
    assert upstream.judged == []


@pytest.mark.parametrize(("mode", "action"), [("enforce", "BLOCKED"), ("shadow", "NONE"), ("off", "NONE")])
def test_hateful_request(service: Serve, upstream: Upstream, mode: str, action: str) -> None:
    """What a user writes is refused in enforce for hateful words alone, and only for the newest message."""
    system, hateful, other = (
        {"role": role, "content": text}
        for role, text in (("system", "Be kind."), ("user", "Kill all the Muslims."), ("user", "And tea?"))
    )
    client = service(upstream, policy={"mode": mode})
    newest = guardrail(client, "request", texts=["x", "y"], structured_messages=[system, hateful])
    earlier = guardrail(client, "request", texts=["x", "y"], structured_messages=[hateful, other])
    plain = guardrail(client, "request", texts=["Tea?", hateful["content"]])

    assert [newest["action"], earlier["action"], plain["action"]] == [action, "NONE", action]
    assert "Muslims" not in json.dumps(newest)
    assert upstream.judged == []


@pytest.mark.parametrize(("policy", "action"), [("block", "BLOCKED"), ("allow", "NONE")])
def test_guardrail_that_cannot_tell(service: Serve, upstream: Upstream, policy: str, action: str) -> None:
    """What the judge cannot decide is blocked or not as the policy has it."""
    client = service(upstream, policy={**ENFORCE, "on_undecided": policy})

    assert guardrail(client, texts=["A riddle."])["action"] == action
    assert guardrail(client, texts=[""])["action"] == "NONE"


@pytest.mark.parametrize(("policy", "text", "action"), [
    ("block", FINE, "BLOCKED"),
    ("allow", FINE, "NONE"),
    ("allow", CRUDE, "BLOCKED"),
    ("degrade", FINE, "NONE"),
    ("degrade", CRUDE, "BLOCKED"),
])  # fmt: skip
def test_guardrail_without_a_judge(service: Serve, down: Upstream, policy: str, text: str, action: str) -> None:
    """When the judge fails, LiteLLM is told what the policy says, as a verdict and not as an error."""
    client = service(down, policy={**ENFORCE, "accept_unjudged": True, "on_error": {"judge": policy}})

    assert guardrail(client, texts=[text])["action"] == action


@pytest.mark.parametrize(("mode", "judged"), [("off", 1), ("shadow", 2), ("enforce", 2)])
def test_guardrail_of_tool_calls(service: Serve, upstream: Upstream, mode: str, judged: int) -> None:
    """Arguments of tool calls are judged where the policy says so; beside a safe answer they block only in enforce."""
    calls = [{"id": "1", "type": "function", "function": {"name": "send", "arguments": json.dumps({"text": FINE})}}]
    client = service(upstream, policy={**ENFORCE, "tool_calls": mode})
    found = guardrail(client, texts=[FINE], tool_calls=[*calls, "odd", {"function": None}])

    assert found["action"] == "NONE"
    assert found["comity"]["verdict"] == "safe"
    assert client.get("/metrics").text.count("comity_verdicts_total{") >= 1
    assert len(upstream.judged) in (1, judged)  # the embedded judge may be the one that reads arguments


def test_unfinished_sentence(service: Serve, upstream: Upstream) -> None:
    """Of a stream so far LiteLLM is told how many characters are of a sentence that has not ended."""
    found = guardrail(service(upstream, policy=ENFORCE), texts=["Bow first. Then", "Bow. ", "Bow"])

    assert found["stream_holdback_chars"] == [4, 0, 3]


def test_key_of_litellm(service: Serve, upstream: Upstream) -> None:
    """The key that LiteLLM sends as x-api-key lets it in; a wrong one does not, nor is it taken elsewhere."""
    client = service(upstream, api_keys=["right"])
    sent = {"texts": [FINE], "input_type": "response"}
    statuses = [
        client.post(path, json=sent, headers={"x-api-key": key}).status_code
        for path, key in ((GUARDRAIL, "right"), (GUARDRAIL, "wrong"), (GUARDRAIL, ""), ("/v1/moderations", "right"))
    ]

    assert statuses == [200, 401, 401, 401]


def conforms(found: Any, located: bool) -> Iterator[Json]:
    """Hold detections to what the detector API's schema requires and allows; give each of them."""
    assert isinstance(found, list)
    for detection in found:
        assert isinstance(detection["detection"], str)
        assert isinstance(detection["detection_type"], str)
        assert isinstance(detection["score"], float)
        assert 0 <= detection["score"] <= 1
        assert isinstance(detection["metadata"], dict)
        for evidence in detection.get("evidence", []):
            assert {"name", "value"} == set(evidence)
            assert isinstance(evidence["name"], str)
            assert isinstance(evidence["value"], str)
        if located:
            assert isinstance(detection["start"], int)
            assert isinstance(detection["end"], int)
            assert isinstance(detection["text"], str)
        known = {"start", "end", "text"} if located else set()
        assert set(detection) <= known | {"detection", "detection_type", "score", "evidence", "metadata"}
        yield detection


def test_contents(service: Serve) -> None:
    """Each content has its detections, at the code points of the sentence that is meant."""
    texts = [FINE, f"🍵 Tea. {CRUDE} More tea. Muslims are vermin!", ""]
    found = service().post(CONTENTS, json={"contents": texts, "detector_params": {}}, headers=DETECTOR).json()
    fine, (rude, hateful), empty = (list(conforms(each, located=True)) for each in found)

    assert (fine, empty) == ([], [])
    assert rude["text"] == texts[1][rude["start"] : rude["end"]] == CRUDE
    assert (rude["detection"], rude["detection_type"]) == ("demeaning", "cultural_respect")
    assert (hateful["detection"], hateful["text"]) == ("harm", "Muslims are vermin!")
    assert hateful["evidence"] == [{"name": "reason", "value": "dehumanisation"}]


def test_contents_without_a_place(service: Serve, upstream: Upstream) -> None:
    """Where the judge names no sentence, the detection is the whole content."""
    found = service(upstream).post(CONTENTS, json={"contents": [RUDE]}, headers=DETECTOR).json()
    (detection,) = conforms(found[0], located=True)

    assert (detection["start"], detection["end"], detection["text"]) == (0, len(RUDE), RUDE)
    assert (detection["detection"], detection["score"]) == ("overall", 1.0)


@pytest.mark.parametrize(("threshold", "count"), [(0.3, 1), (0.6, 0), (None, 0)])
def test_threshold_of_the_caller(service: Serve, upstream: Upstream, threshold: float | None, count: int) -> None:
    """A threshold from 0 to 1 takes the place of the policy's; what is under it is not reported."""
    upstream.judge = lambda body: digit({"4": 1.0})
    sent = {"contents": ["Hm."], "detector_params": {"threshold": threshold, "other": 1}}
    found = service(upstream).post(CONTENTS, json=sent, headers=DETECTOR).json()

    assert len(list(conforms(found[0], located=True))) == count


def test_policy_of_the_request(service: Serve, upstream: Upstream) -> None:
    """Thresholds are those of the policy that the caller names, where it may."""
    upstream.judge = lambda body: digit({"4": 1.0})
    groups = {"policies": {"strict": {"thresholds": {"overall": 20}}}, "anonymous": {"policies": ["strict"]}}
    client, sent = service(upstream, **groups), {"contents": ["Hm."]}
    usual, strict = (client.post(CONTENTS, json=sent, headers={**DETECTOR, **more}) for more in ({}, STRICT))
    refused = service(upstream).post(CONTENTS, json=sent, headers={**DETECTOR, **STRICT})

    assert (len(usual.json()[0]), len(strict.json()[0])) == (0, 1)
    assert (refused.status_code, refused.json()["code"]) == (403, 403)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATION, {"prompt": "Tell me about India.", "generated_text": RUDE}),
        (CHAT, {"messages": [{"role": "user", "content": "India?"}, {"role": "assistant", "content": RUDE}]}),
    ],
)
def test_exchange(service: Serve, upstream: Upstream, path: str, body: Json) -> None:
    """A generated text is judged as an answer to its prompt, with the descriptions that matter to that."""
    found = service(upstream).post(path, json={**body, "detector_params": {}}, headers=DETECTOR).json()
    (detection,) = conforms(found, located=False)
    quoted = json.dumps(upstream.judged[0])

    assert detection["detection"] == "overall"
    assert "India" in quoted
    assert "customs" in quoted


def test_health(service: Serve, upstream: Upstream) -> None:
    """The orchestrator's probe learns in its own words whether requests can be served; it needs no key."""
    assert service(api_keys=["k"]).get("/health").json() == {"status": "HEALTHY"}
    upstream.list = lambda models: error(500)
    response = service(upstream).get("/health")

    assert (response.status_code, response.json()["status"]) == (503, "UNHEALTHY")
    assert response.json()["reason"]
