"""Endpoints that give no log-probabilities: several votes as JSON, read strictly, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.backend import Backend
from service.judge import Exchange
from service.judge.llm import LlmJudge
from service.judge.prompts import BALLOT, counted, vote
from service.turn import Message, Turn, Verdict
from tests.upstream import Json, Upstream, choice, completion, digit, error, serve, whole

EXCHANGE = Exchange("A gift in Japan?", {"content": "Bring fruit."}, (), ("JP",))
CONVERSATION: Json = {"model": "tiny", "messages": [{"role": "user", "content": "A gift in Japan?"}]}
TURN = Turn("1", "chat", "tiny", (Message("user", "A gift in Japan?"),), False, CONVERSATION)


@pytest.fixture
def voter(upstream: Upstream) -> Upstream:
    """An endpoint that ignores what it is asked about log-probabilities; `script` answers ballots."""
    upstream.judge = lambda body: whole("3")
    upstream.script = lambda body: whole('{"score": 3}')
    return upstream


def judged(upstream: Upstream, times: int = 1, exchange: Exchange = EXCHANGE, **more: Any) -> list[Verdict]:
    """Judge the same again and again."""

    async def run() -> list[Verdict]:
        backend = Backend(upstream.url)
        judge = LlmJudge(backend, **{"model": "guard", "timeout_s": 10, "max_concurrent": 8, **more})
        found = [await judge.judge(exchange) for _ in range(times)]
        await backend.close()
        return found

    return asyncio.run(run())


def saying(*texts: str) -> Callable[[Json], Response]:
    """Give the script of an endpoint that says one text after the other."""
    rest: Iterator[str] = iter(texts)
    return lambda body: whole(next(rest))


def test_ballots(voter: Upstream) -> None:
    """The same exchange is asked about in JSON, three times, the first time without chance."""
    (found,) = judged(voter)
    (asked,) = voter.judged
    first, *others = voter.asked

    assert (found.verdict, found.score, found.judge) == ("safe", 33.33, "llm-separate")
    assert (found.coverage, found.reason, found.axes) == ("partial", "uncalibrated", {"overall": 33.33})
    assert [body["temperature"] for body in voter.asked] == [0, 0.7, 0.7]
    assert [{**body, "temperature": 0} for body in others] == [first, first]
    assert first["messages"][1] == asked["messages"][1]
    assert first["messages"][0]["content"].endswith(BALLOT.words)
    assert first["response_format"]["json_schema"]["schema"]["properties"]["score"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 9,
    }
    assert first["max_tokens"] <= 32
    assert "logprobs" not in first


def test_continuation(voter: Upstream) -> None:
    """A continuation is put to the vote as a continuation: the conversation, the answer and a turn that wants JSON."""
    exchange = Exchange("A gift in Japan?", {"content": "Bring fruit."}, (), (), TURN, CONVERSATION)
    (found,) = judged(voter, exchange=exchange)

    assert found.judge == "llm-continuation"
    assert voter.asked[0]["messages"][:-1] == voter.judged[0]["messages"][:-1]
    assert voter.asked[0]["messages"][-1]["content"].endswith(BALLOT.words)


def test_endpoint_that_is_known(voter: Upstream) -> None:
    """An endpoint without log-probabilities is not asked for them again."""
    found = judged(voter, 3)

    assert [verdict.verdict for verdict in found] == ["safe"] * 3
    assert (len(voter.judged), len(voter.asked)) == (1, 9)


@pytest.mark.parametrize("votes", [1, 2, 5])
def test_number_of_votes(voter: Upstream, votes: int) -> None:
    """As many votes are asked for as the operator says."""
    judged(voter, 2, votes=votes)

    assert len(voter.asked) == 2 * votes


@pytest.mark.parametrize(
    ("said", "verdict", "score"),
    [
        (["9", '{"score": 8}', " 7\n"], "unsafe", 88.89),
        (["4", "5", "4"], "safe", 48.15),
        (["5", "4", "5"], "unsafe", 51.85),
        (["2", "6", "4"], "safe", 44.44),
        (["1", "6", "4"], "undecided", None),
        (["0", "9", "0"], "undecided", None),
        (["8", "no idea", "9"], "unsafe", 94.44),
        (["8", "no idea", "8 or so"], "undecided", None),
        (["no idea", "7", "no"], "undecided", None),
    ],
)
def test_votes(voter: Upstream, said: list[str], verdict: str, score: float | None) -> None:
    """The mean counts; more than four digits between two votes, or most of them unreadable, decide nothing."""
    voter.script = saying(*said)
    (found,) = judged(voter)

    assert (found.verdict, found.score) == (verdict, score)
    assert (found.coverage, found.reason) == ("partial", "bad_output" if score is None else "uncalibrated")


def test_no_vote_can_be_read(voter: Upstream) -> None:
    """Where no vote can be read, log-probabilities are what is missing; the endpoint is asked for them again."""
    voter.script = lambda body: whole("I cannot help with that.")
    found = judged(voter, 2)

    assert [(verdict.verdict, verdict.coverage, verdict.reason) for verdict in found] == [
        ("undecided", "error", "no_logprobs")
    ] * 2
    assert (len(voter.judged), len(voter.asked)) == (2, 6)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": "x"},
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 3}}]},
    ],
)
def test_no_chat_answer(voter: Upstream, body: Json) -> None:
    """An endpoint whose answers are none of OpenAI's is an error of coverage, never a score."""
    voter.judge = voter.script = lambda _: JSONResponse(body)
    (found,) = judged(voter)

    assert (found.verdict, found.coverage) == ("undecided", "error")


def test_no_alternatives(voter: Upstream) -> None:
    """An endpoint that gives the odds of no other token than its own is one without log-probabilities."""
    content = [{"token": "3", "logprob": -0.1, "bytes": None, "top_logprobs": []}]
    said = choice(message={"role": "assistant", "content": "3"}, logprobs={"content": content})
    voter.judge = lambda body: JSONResponse(completion([said]))
    found = judged(voter, 2)

    assert [verdict.score for verdict in found] == [33.33, 33.33]
    assert len(voter.judged) == 1


def test_nothing_said_once(voter: Upstream) -> None:
    """A judge that once says nothing is put to the vote for that exchange, and asked for log-probabilities again."""
    silent = JSONResponse(completion([choice(message={"role": "assistant", "content": ""})]))
    answers = iter([silent, digit({"9": 1.0})])
    voter.judge = lambda body: next(answers)
    found = judged(voter, 2)

    assert [verdict.score for verdict in found] == [33.33, 100.0]
    assert (len(voter.judged), len(voter.asked)) == (2, 3)


@pytest.mark.parametrize("status", [400, 422])
def test_log_probabilities_refused(voter: Upstream, status: int) -> None:
    """An endpoint that refuses to be asked for log-probabilities is put to the vote, and remembered."""
    voter.judge = lambda body: error(status, "logprobs is not supported with this model")
    found = judged(voter, 2)

    assert [verdict.score for verdict in found] == [33.33, 33.33]
    assert len(voter.judged) == 2  # with the fields of vLLM, and without
    assert len(voter.asked) == 6


@pytest.mark.parametrize("status", [400, 422])
def test_schema_refused(voter: Upstream, status: int) -> None:
    """An endpoint that refuses a schema is asked for JSON in words alone, and remembered."""

    def script(body: Json) -> Response:
        return error(status, "response_format is not supported") if "response_format" in body else whole('{"score":8}')

    voter.script = script
    found = judged(voter, 2)
    refused = [body for body in voter.asked if "response_format" in body]

    assert [verdict.score for verdict in found] == [88.89, 88.89]
    assert len(refused) == 2  # with the fields of vLLM, and without
    assert len(voter.asked) - len(refused) == 6
    assert voter.asked[-1]["messages"][0]["content"].endswith(BALLOT.words)


@pytest.mark.parametrize(
    ("answer", "reason", "requests"),
    [
        (lambda: error(500), "unreachable", 1),
        (lambda: error(404), "rejected", 1),
        (lambda: error(429), "rejected", 1),
        (lambda: error(400), "rejected", 4),
        (lambda: error(400, "maximum context length", code="context_length_exceeded"), "context_length", 1),
    ],
)
def test_failing_endpoint(voter: Upstream, answer: Callable[[], Response], reason: str, requests: int) -> None:
    """A failure is a verdict with its reason; only a refused field is left out, form by form, and not three times."""
    voter.judge = voter.script = lambda body: answer()
    (found,) = judged(voter)

    assert (found.verdict, found.coverage, found.reason) == ("undecided", "error", reason)
    assert len(voter.judged) + len(voter.asked) == requests


def test_one_vote_fails(voter: Upstream) -> None:
    """One failing vote fails the judging: two answers are not what was asked for."""
    answers = iter([whole("0"), whole("0"), error(500)])
    voter.script = lambda body: next(answers)
    (found,) = judged(voter)

    assert (found.verdict, found.coverage, found.reason) == ("undecided", "error", "unreachable")


def within(handler: Callable[[Json], Awaitable[str]], *, times: int, **more: Any) -> list[Verdict]:
    """Judge several exchanges at once against an endpoint of one's own, after one that makes it known."""

    async def answer(request: Request) -> Response:
        return whole(await handler(await request.json()))

    async def run(address: str) -> list[Verdict]:
        backend = Backend(address)
        judge = LlmJudge(backend, **{"model": "guard", "timeout_s": 10, "max_concurrent": 8, **more})
        await judge.judge(EXCHANGE)
        found = await asyncio.gather(*(judge.judge(EXCHANGE) for _ in range(times)))
        await backend.close()
        return found

    with serve(Starlette(routes=[Route("/chat/completions", answer, methods=["POST"])])) as address:
        return asyncio.run(run(address))


def test_side_by_side() -> None:
    """Once the endpoint is known, no vote waits for another: here all three must be there before any is answered."""
    seen, together = 0, asyncio.Event()

    async def handler(body: Json) -> str:
        nonlocal seen
        seen += 1
        if seen == 4 + 3:  # the first exchange takes one request for a digit and three votes
            together.set()
        if seen > 4:
            await together.wait()
        return "2"

    assert [verdict.score for verdict in within(handler, times=1)] == [22.22]


@pytest.mark.parametrize("most", [1, 2, 4])
def test_slots(most: int) -> None:
    """Votes take the judge's slots one by one, so that no more requests are in flight than the operator allows."""
    now, peak = 0, 0

    async def handler(body: Json) -> str:
        nonlocal now, peak
        now += 1
        peak = max(peak, now)
        await asyncio.sleep(0.02)
        now -= 1
        return "2"

    found = within(handler, times=4, max_concurrent=most)

    assert [verdict.score for verdict in found] == [22.22] * 4
    assert 1 <= peak <= most


def test_time_runs_out() -> None:
    """Votes share the time of one judging; those that wait for a slot have no more of it."""

    async def handler(body: Json) -> str:
        await asyncio.sleep(1 if body["max_tokens"] > 1 else 0)
        return "2"

    found = within(handler, times=3, max_concurrent=1, timeout_s=0.2)

    assert [(verdict.verdict, verdict.coverage, verdict.reason) for verdict in found] == [
        ("undecided", "error", "timeout")
    ] * 3


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("0", 0),
        ("9", 9),
        (" 4\n", 4),
        ('{"score": 7}', 7),
        ('{\n  "score": 7\n}', 7),
        ("", None),
        ("10", None),
        ("-1", None),
        ("٣", None),
        ("²", None),
        ("７", None),
        ("3.", None),
        ("3 because", None),
        ("Score: 3", None),
        ('"3"', None),
        ("[3]", None),
        ("null", None),
        ("{}", None),
        ('{"score": "7"}', None),
        ('{"score": 7.0}', None),
        ('{"score": true}', None),
        ('{"score": 10}', None),
        ('{"score": -1}', None),
        ('{"score": 1e0}', None),
        ('{"score": [7]}', None),
        ('{"score": 7, "why": ""}', None),
        ('{"score": 9, "score": 0}', None),
        ('{"Score": 7}', None),
        ('{"rating": {"score": 7}}', None),
        ('[["score", 7]]', None),
        ('[{"score": 7}]', None),
        ('{"score": 7} {"score": 7}', None),
        ('```json\n{"score": 7}\n```', None),
        ("{" * 5_000, None),
        ("[" * 200_000, None),
        ('{"score": ' + "1" * 5_000 + "}", None),
    ],
)
def test_reading(said: str, found: int | None) -> None:
    """A lone digit, or an object with a score from 0 to 9 and nothing else; nothing is guessed."""
    assert vote(completion([choice(message={"role": "assistant", "content": said})])) == found


@given(st.text(max_size=40))
def test_any_text(said: str) -> None:
    """No text makes the reader fail, and what it reads is a digit."""
    assert vote({"choices": [{"message": {"content": said}}]}) in (None, *range(10))


@given(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=9))
def test_any_votes(votes: list[int | None]) -> None:
    """A score lies between the votes that were read, and stands for most of them."""
    score, read = counted(votes), [vote for vote in votes if vote is not None]

    if score is not None:
        assert min(read) / 9 - 0.001 <= score / 100 <= max(read) / 9 + 0.001
        assert len(read) > len(votes) / 2
        assert max(read) - min(read) <= 4
