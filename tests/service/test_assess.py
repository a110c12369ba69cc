"""What a verdict covers, and what counts of a choice: languages, descriptions, tool calls, answers in JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from starlette.responses import JSONResponse

from retrieval.description import Description
from service import assess, rewrite, wire
from service.errors import InvalidRequest
from service.guard import Guard
from service.judge import Exchange
from service.turn import Coverage, Reason, Verdict
from tests.conftest import REFUSING, Serve
from tests.upstream import Upstream, digit, either, error, whole

ENGLISH = "Bring sweets when you visit, and take your shoes off at the door. "
GERMAN = "Bringen Sie Süßigkeiten mit, wenn Sie eingeladen sind, und ziehen Sie an der Tür die Schuhe aus. "
TURKISH = "Ziyarete giderken tatlı götürün ve kapıda ayakkabılarınızı çıkarın, ev sahibi buna sevinir. "
CUSTOM = Description("jp-x", "JP", "dining", "Many people do so.", None, (), "common_custom", False, (), "drafted")


@dataclass
class Judge:
    """A judge as far as coverage asks for it."""

    languages: frozenset[str]
    calibrated: bool = True
    name: str = "judge"

    async def judge(self, exchange: Exchange) -> Verdict:
        """Nobody asks."""
        raise AssertionError


@pytest.mark.parametrize(
    ("text", "cultures", "customs", "coverage", "reason"),
    [
        (ENGLISH, (), (), "full", None),
        (GERMAN, (), (), "full", None),
        (TURKISH, (), (), "partial", "unsupported_language"),
        (ENGLISH * 40 + TURKISH * 20, (), (), "partial", "unsupported_language"),
        ("42 / 7 = 6", (), (), "full", None),
        ("6 × 7 = 42, 6 × 8 = 48; " * 8, (), (), "partial", "unsupported_language"),
        (ENGLISH, ("JP",), (), "partial", "no_description"),
        (ENGLISH, ("JP",), (CUSTOM,), "full", None),
    ],
    ids=["English", "German", "Turkish", "Turkish at the end", "too short", "no language", "no description", "all"],
)
def test_coverage(
    text: str, cultures: tuple[str, ...], customs: tuple[Description, ...], coverage: Coverage, reason: Reason | None
) -> None:
    """Full is said of text in languages that the judge is validated for, with descriptions of cultures found."""
    said = Verdict("safe", 0, "judge", "partial", "uncalibrated", {"overall": 0})
    exchange = Exchange("q", {"content": text}, customs, cultures)
    found = assess.covered(said, exchange, Judge(frozenset({"en", "de"})))
    assert (found.coverage, found.reason, found.verdict) == (coverage, reason, "safe")


def test_uncalibrated_judge() -> None:
    """A judge that nobody calibrated never covers an answer in full."""
    said = Verdict("safe", 0, "judge", "partial", "uncalibrated", {"overall": 0})
    found = assess.covered(said, Exchange("q", {"content": ENGLISH}), Judge(frozenset(), calibrated=False))
    assert (found.coverage, found.reason) == ("partial", "uncalibrated")


@pytest.mark.parametrize("name", ["tool_calls_note", "function_calling"])
def test_field_named_like_a_tool_call(service: Serve, upstream: Upstream, name: str) -> None:
    """Only tool calls themselves are judged apart; a field that is merely named so counts as words."""
    upstream.script = lambda body: whole("Fine.", message={name: "VILE"})
    upstream.judge = lambda body: digit({"9" if "VILE" in str(body) else "0": 1.0})
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    response = service(upstream, policy=REFUSING).post("/v1/chat/completions", json=asked)
    assert response.headers["x-comity-action"] == "refused"


@pytest.mark.parametrize(
    "more",
    [
        {"structured_outputs": {"json": {"type": "object"}}},
        {"structured_outputs": {"json_object": True}},
        {"guided_json": {}},
    ],
)
def test_json_by_other_names(guard: Guard, more: dict[str, Any]) -> None:
    """Answers in JSON are known by vLLM's own fields too."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    wanted = bool(next(iter(more.values())))
    assert rewrite.in_json(wire.turn({**body, **more}, "chat", "1", guard.index.cultures)) is wanted


def test_too_many_answers(guard: Guard) -> None:
    """Prompts times choices is limited: one request cannot ask for thousands of answers."""
    body = {"model": "m", "prompt": ["a"] * 65, "n": 2}
    with pytest.raises(InvalidRequest, match="more than 128 answers"):
        wire.turn(body, "completions", "1", guard.index.cultures)


def test_text_that_belongs_to_no_choice(service: Serve, upstream: Upstream) -> None:
    """Text beside an empty list of choices is no answer: the backend is at fault, and the error has OpenAI's form."""
    upstream.script = lambda body: JSONResponse({"id": "1", "choices": [], "note": "VILE"})
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    response = service(upstream, policy=REFUSING).post("/v1/chat/completions", json=asked)
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "upstream_error"


def test_customs_of_the_asker_are_not_told(service: Serve, upstream: Upstream) -> None:
    """A culture that was only guessed of the person who asks shows in no fallback."""
    upstream.script = either("VILE words.")
    upstream.judge = lambda body: digit({"9": 1.0})
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "I am Thai. How do I greet my teacher?"}]}
    client = service(upstream, policy={"mode": "enforce", "repair": False}, retrieval={"min_score": -1})
    response = client.post("/v1/chat/completions", json=asked)
    assert "x-comity-culture" not in response.headers
    assert response.headers["x-comity-action"] == "refused"
    assert "Thai" not in response.text


def test_degrade_keeps_the_backends_error(service: Serve, upstream: Upstream) -> None:
    """Where prose was not asked for, the responder stands in for nobody: the backend's own error stays."""
    upstream.script = lambda body: error(503)
    client = service(upstream, policy={"on_error": {"generate": "degrade"}})
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
    assert client.post("/v1/chat/completions", json=asked).status_code == 200
    held = {**asked, "response_format": {"type": "json_object"}}
    assert client.post("/v1/chat/completions", json=held).status_code in (502, 503)


def test_unjudged_stream_is_marked(service: Serve, upstream: Upstream) -> None:
    """A stream that leaves unjudged by the operator's will says so in its last frame, asked for or not."""
    upstream.script = either("Fine.")
    upstream.judge = lambda body: error(500)
    allowing = {"mode": "enforce", "stream_mode": "window", "on_error": {"judge": "allow"}, "accept_unjudged": True}
    asked = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    said = service(upstream, policy=allowing).post("/v1/chat/completions", json=asked).text
    assert '"action":"allowed_unjudged"' in said
