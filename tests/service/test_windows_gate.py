"""The gate's modes for streams: what leaves when, and that no way of cutting an answer changes what is decided."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service import wire
from service.backend import Backend
from service.guard import Guard
from service.pipeline import answer
from service.policy import Policies, Policy
from service.turn import End, Head, Piece
from tests.path import Cut, Reader, Served, body, collected, frames, policy, serve

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


THOUGHTS = st.lists(SENTENCES, max_size=6).map("".join)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    thought=THOUGHTS,
    text=st.lists(SENTENCES, min_size=1, max_size=8).map("".join),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    pauses=st.lists(st.integers(0, 6), max_size=20),
)
def test_thought_and_answer(guard: Guard, thought: str, text: str, cuts: Cut, pauses: list[int]) -> None:
    """With a thought before the answer too a stream and a whole answer meet the same verdict and action."""
    one = serve(guard, [text], cuts, policy(), judge=Reader(iter(pauses)), thought=thought)
    whole = serve(guard, [text], cuts, policy(), streams=False, thought=thought)
    assert one.facts
    assert whole.facts
    assert (one.facts.verdict.verdict, one.facts.action) == (whole.facts.verdict.verdict, whole.facts.action)


def test_answer_leaves_while_a_thought_is_held(guard: Guard) -> None:
    """A short thought is judged when the answer begins, and does not hold the answer back to its end."""
    served = serve(guard, [LONG * 6], [30], policy(), thought="Let me see.", judge=(reader := Reader()))
    assert served.facts
    assert served.facts.action == "allowed"
    assert reader.read[0] == "Let me see."


def send(guard: Guard, payloads: list[dict[str, Any]], policy: Policy, **asked: Any) -> Served:
    """Send one streamed request in front of a backend that gives these frames."""

    async def content() -> AsyncIterator[bytes]:
        for payload in payloads:
            await asyncio.sleep(0.01)
            yield body([payload]).removesuffix(b"data: [DONE]\n\n")
        yield b"data: [DONE]\n\n"

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=content(), headers={"content-type": "text/event-stream"})

    made = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True, **asked}
    turn = wire.turn(made, "chat", "r1", guard.index.cultures)

    async def run() -> Served:
        backend = Backend("http://backend/v1", transport=httpx.MockTransport(respond))
        policies = Policies(policy, {}, guard.index.cultures)
        return await collected(turn, replace(guard, backend=backend, judge=Reader(), policies=policies))

    return asyncio.run(run())


def test_log_probabilities_run_ahead(guard: Guard) -> None:
    """Log-probabilities of text that is not judged yet never leave: such frames wait, or the answer is held."""
    made = frames([LONG * 2 + "VILE words."], [len(LONG)])
    ahead = {
        **made[2],
        "choices": [{"index": 0, "delta": {"content": ""}, "logprobs": {"content": [{"token": "VILE"}]}}],
    }
    served = send(guard, [*made[:3], ahead, *made[3:]], policy())
    assert b"VILE" not in b"".join(served.pieces)
    assert served.text().startswith(LONG)
    held = send(guard, made, policy(), logprobs=True)
    assert held.facts
    assert held.facts.opening.stream_mode == "buffer"


def test_strings_beside_the_choices(guard: Guard) -> None:
    """A string in every frame, a router's name for example, costs no choice its answer when another is stopped."""
    made = [{**frame, "provider": "somewhere"} for frame in frames(["VILE words.", LONG], [20])]
    served = send(guard, made, policy(fallback=False), n=2)
    assert served.text(1) == LONG
    assert "VILE" not in served.text(0)


def test_sound_in_shadow(guard: Guard) -> None:
    """Sound in a stream of sentences is no error: it leaves at the end, and the coverage says that nobody heard it."""
    made = frames([LONG], [20])
    sound = {**made[1], "choices": [{"index": 0, "delta": {"audio": {"id": "a", "data": "SOUND"}}}]}
    served = send(guard, [*made[:-2], sound, *made[-2:]], policy("shadow"))
    assert served.error is None
    assert b"SOUND" in b"".join(served.pieces)
    assert served.facts
    assert served.facts.verdict.reason == "media"


def test_many_frames_without_text(guard: Guard) -> None:
    """Thousands of frames without text cost each the same, however many wait."""
    made = frames(["No end of a sentence here"], [25])
    empty = {**made[1], "choices": [{"index": 0, "delta": {"content": ""}}]}
    payloads = [*made[:2], *[empty] * 20_000, *made[2:]]

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=_all(body(payloads)), headers={"content-type": "text/event-stream"})

    async def run() -> Served:
        backend = Backend("http://backend/v1", transport=httpx.MockTransport(respond))
        parts = replace(guard, backend=backend, judge=Reader(), policies=Policies(policy(), {}, guard.index.cultures))
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        async with asyncio.timeout(60):  # quadratic, it would take many minutes
            return await collected(wire.turn(asked, "chat", "r1", guard.index.cultures), parts)

    assert len(asyncio.run(run()).pieces) == len(payloads)


async def _all(content: bytes) -> AsyncIterator[bytes]:
    yield content


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
    assert len(reader.read) == 3
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
