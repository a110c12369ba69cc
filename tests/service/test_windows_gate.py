"""The gate's modes for streams: what leaves when, and that no way of cutting an answer changes what is decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import wire
from service.backend import Backend
from service.errors import ComityError
from service.guard import Guard
from service.judge import Exchange
from service.pipeline import answer
from service.policy import Policies, Policy
from service.turn import End, Facts, Head, Piece, Turn, Verdict

SENTENCES = st.sampled_from(
    [
        "Bring sweets. ",
        "Sit where you are asked to. ",
        "VILE words here! ",
        "UNSURE of that. ",
        "靴を脱ぐ。",
        "No end",
        "\n\n",
        "Is it? ",
    ]
)
Cut = list[int]


class Reader:
    """A judge that reads: VILE is unsafe, UNSURE undecided, BROKEN a failure; it takes its time, more or less."""

    name = "reader"
    calibrated = True
    languages: frozenset[str] = frozenset()

    def __init__(self, pauses: Iterator[int] | None = None) -> None:
        self.read: list[str] = []
        self._pauses = pauses

    async def judge(self, exchange: Exchange) -> Verdict:
        """Judge by one word."""
        for _ in range(next(self._pauses, 0) if self._pauses else 0):
            await asyncio.sleep(0)
        self.read.append(exchange.answer)
        if not exchange.answer.strip():
            return Verdict("undecided", None, self.name, "skipped", "empty")
        if "BROKEN" in exchange.answer:
            return Verdict("undecided", None, self.name, "error", "timeout")
        if "VILE" in exchange.answer:
            return Verdict("unsafe", 90, self.name, "full")
        return Verdict("undecided" if "UNSURE" in exchange.answer else "safe", 10, self.name, "full")


def frames(texts: list[str], cuts: Cut) -> list[dict[str, Any]]:
    """The frames of an answer: each choice's text in parts, the choices taking turns, then ends and usage."""
    parts = [split(text, cuts[index:] + cuts[:index]) for index, text in enumerate(texts)]
    made = [{"index": index, "delta": {"role": "assistant", "content": ""}} for index in range(len(texts))]
    for position in range(max(map(len, parts), default=0)):
        made += [
            {"index": index, "delta": {"content": part[position]}}
            for index, part in enumerate(parts)
            if position < len(part)
        ]
    made += [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(len(texts))]
    shared = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    found: list[dict[str, Any]] = [{**shared, "choices": [choice]} for choice in made]
    return [*found, {**shared, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}}]


def split(text: str, cuts: Cut) -> list[str]:
    """A text in parts of the given lengths, over and over."""
    parts, position, turn = [], 0, 0
    while position < len(text):
        step = cuts[turn % len(cuts)]
        parts.append(text[position : position + step])
        position, turn = position + step, turn + 1
    return parts


def body(payloads: list[dict[str, Any]]) -> bytes:
    """Frames as a backend writes them."""
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in payloads) + b"data: [DONE]\n\n"


class Served:
    """What came of one request."""

    def __init__(self) -> None:
        self.facts: Facts | None = None
        self.status = 0
        self.pieces: list[bytes] = []
        self.error: ComityError | None = None

    @property
    def payloads(self) -> list[dict[str, Any]]:
        """The frames that left."""
        return [json.loads(raw) for raw in self.pieces]

    def text(self, index: int = 0) -> str:
        """The content of a choice that left."""
        choices = [choice for payload in self.payloads for choice in payload["choices"] if choice["index"] == index]
        return "".join((choice.get("delta") or choice.get("message") or {}).get("content") or "" for choice in choices)


def serve(
    guard: Guard, texts: list[str], cuts: Cut, policy: Policy, *, streams: bool = True, judge: Reader | None = None
) -> Served:
    """Send one request through the pipeline, in front of a backend that gives these texts."""
    made = frames(texts, cuts)
    whole = {
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
            for i, t in enumerate(texts)
        ]
    }

    def respond(request: httpx.Request) -> httpx.Response:
        chunks = [*_chunked(body(made), cuts)] if streams else [json.dumps(whole).encode()]

        async def content() -> AsyncIterator[bytes]:
            for chunk in chunks:
                await asyncio.sleep(0)
                yield chunk

        return httpx.Response(200, content=content(), headers={"content-type": kind})

    kind = "text/event-stream" if streams else "application/json"
    asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": streams, "n": len(texts)}
    turn = wire.turn(asked, "chat", "r1", guard.index.cultures)

    async def run() -> Served:
        backend = Backend("http://backend/v1", transport=httpx.MockTransport(respond))
        parts = replace(
            guard,
            backend=backend,
            judge=judge or Reader(),
            policies=Policies(policy, {}, guard.index.cultures),
        )
        return await _collected(turn, parts)

    return asyncio.run(run())


async def _collected(turn: Turn, guard: Guard) -> Served:
    served = Served()
    try:
        async for item in answer(turn, guard):
            if isinstance(item, Head):
                served.status = item.status
                served.facts = item.known if isinstance(item.known, Facts) else None
            elif isinstance(item, End):
                served.facts = item.facts
            else:
                assert isinstance(item, Piece)
                served.pieces.append(item.raw)
    except ComityError as error:
        served.error = error
    return served


def _chunked(content: bytes, cuts: Cut) -> Iterator[bytes]:
    position, turn = 0, 0
    while position < len(content):
        step = 40 * cuts[turn % len(cuts)]
        yield content[position : position + step]
        position, turn = position + step, turn + 1


def policy(mode: str = "enforce", stream_mode: str = "window", **more: Any) -> Policy:
    """A policy whose windows are short."""
    return Policy.model_validate(
        {"mode": mode, "stream_mode": stream_mode, "window_chars": 80, "repair": False, **more}
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(st.lists(SENTENCES, min_size=1, max_size=14).map("".join), min_size=1, max_size=3),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    other=st.lists(st.integers(1, 30), min_size=1, max_size=9),
    pauses=st.lists(st.integers(0, 6), max_size=40),
)
def test_any_split_gives_the_same(guard: Guard, texts: list[str], cuts: Cut, other: Cut, pauses: list[int]) -> None:
    """However the frames are cut and the judge dawdles: the same verdict, whole too, the same bytes where allowed."""
    one = serve(guard, texts, cuts, policy(), judge=Reader(iter(pauses)))
    two = serve(guard, texts, other, policy())
    whole = serve(guard, texts, cuts, policy(), streams=False)
    assert one.facts
    assert two.facts
    assert whole.facts
    assert one.facts.verdict.verdict == two.facts.verdict.verdict == whole.facts.verdict.verdict
    assert one.facts.action == two.facts.action == whole.facts.action
    if one.facts.action == "allowed":
        assert one.payloads == frames(texts, cuts)
    else:
        assert all("VILE" not in one.text(index) and "UNSURE" not in one.text(index) for index in range(len(texts)))
        for index, text in enumerate(texts):
            if "VILE" not in text and "UNSURE" not in text:
                assert one.text(index) == text
    if any("VILE" not in text and "UNSURE" not in text for text in texts):  # else the backend was spared its end
        assert one.payloads[-1].get("usage")


def test_text_leaves_before_the_answer_ends(guard: Guard) -> None:
    """In a window stream the first sentences have left while the backend is still writing."""
    first = "Bring good sweets when you visit a family for the first time, and hand them over at the door. "
    gate = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        made = frames([first + "Stay a while."], [len(first)])
        for payload in made[:2]:
            yield body([payload]).removesuffix(b"data: [DONE]\n\n")
        await gate.wait()
        yield body(made[2:])

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content(), headers={"content-type": "text/event-stream"})

    async def run() -> None:
        parts = replace(
            guard,
            backend=Backend("http://backend/v1", transport=httpx.MockTransport(respond)),
            judge=Reader(),
            policies=Policies(policy(), {}, guard.index.cultures),
        )
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        items = answer(wire.turn(asked, "chat", "r1", guard.index.cultures), parts)
        async with asyncio.timeout(5):
            assert isinstance(await anext(items), Head)
            said = await anext(items)
            assert isinstance(said, Piece)
            gate.set()
            rest = [item async for item in items]
        assert isinstance(rest[-1], End)

    asyncio.run(run())


LONG = "Sit where you are asked to, and praise the food that is brought to you by the family. "


def test_what_has_left_stays_left(guard: Guard) -> None:
    """An unsafe sentence after others ends the choice with a notice; the sentences before it have left."""
    served = serve(guard, [LONG * 2 + "VILE words."], [7], policy())
    assert served.text().startswith(LONG)
    assert "VILE" not in served.text()
    assert "withheld" in served.text()
    last = [choice for payload in served.payloads for choice in payload["choices"]][-1]
    assert last["finish_reason"] == "content_filter"
    assert served.facts
    assert served.facts.action == "refused"


def test_unsafe_from_the_start(guard: Guard) -> None:
    """Where nothing of a choice has left, the whole of it is replaced, as in buffer."""
    served = serve(guard, ["VILE words. " + LONG * 3], [7], policy(fallback=False))
    assert served.text().startswith("This answer was withheld")
    assert LONG not in served.text()


def test_all_stopped_frees_the_backend(guard: Guard) -> None:
    """When no choice may go on, the rest of the answer is not read to its end."""
    reader = Reader()
    served = serve(guard, ["VILE words. " + LONG * 200], [500], policy(fallback=False), judge=reader)
    assert served.facts
    assert served.facts.action == "refused"
    assert len(reader.read) < 100


def test_judge_that_fails_within_a_stream(guard: Guard) -> None:
    """A window that cannot be judged ends the stream with an error; nothing of it, or after it, has left."""
    served = serve(guard, [LONG * 2 + "BROKEN judge here. " + LONG * 3], [9], policy())
    assert served.error is not None
    assert served.error.status == 503
    assert "BROKEN" not in served.text()


def test_shadow_lets_all_through(guard: Guard) -> None:
    """In shadow a window stream is judged to its end and leaves untouched; what enforce would do is said."""
    served = serve(guard, [LONG + "VILE words. " + LONG], [9], policy("shadow"))
    assert served.payloads == frames([LONG + "VILE words. " + LONG], [9])
    assert served.facts
    assert served.facts.action == "would_refuse"


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_passthrough(guard: Guard, mode: str) -> None:
    """Nothing is held in passthrough: frames leave as they come, and the verdict comes at the end."""
    reader = Reader()
    served = serve(guard, [LONG + "VILE words."], [9], policy(mode, "passthrough"), judge=reader)
    assert served.payloads == frames([LONG + "VILE words."], [9])
    assert served.facts
    assert served.facts.action == ("would_refuse" if mode == "shadow" else "allowed")
    assert served.facts.opening.stream_mode == "passthrough"
    assert bool(reader.read) == (mode == "shadow")


def test_budget_of_judge_calls(guard: Guard) -> None:
    """With the judge calls used up the rest is one window; with too few for the choices the answer is held."""
    reader = Reader()
    serve(guard, [LONG * 40], [30], policy(max_judge_calls=8), judge=reader)
    assert len(reader.read) == 4
    served = serve(guard, [LONG, LONG], [30], policy(max_judge_calls=2), judge=(reader := Reader()))
    assert served.facts
    assert served.facts.opening.stream_mode == "buffer"
    assert len(reader.read) == 2


def test_windows_overlap(guard: Guard) -> None:
    """Each window is judged together with the sentence before it."""
    reader = Reader()
    serve(
        guard,
        ["".join(f"This is sentence number {n} of some length, as sentences go here. " for n in range(8))],
        [11],
        policy(),
        judge=reader,
    )
    assert len(reader.read) > 2
    for before, after in zip(reader.read, reader.read[1:], strict=False):
        assert after.startswith(before[before.rindex("This is sentence") :])
