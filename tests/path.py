"""A request through the pipeline without sockets: a judge that reads, frames cut at will, and what came of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx

from service import wire
from service.backend import Backend
from service.errors import ComityError
from service.guard import Guard
from service.judge import Exchange
from service.pipeline import answer
from service.policy import Policies, Policy
from service.turn import End, Facts, Head, Piece, Turn, Verdict

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
    guard: Guard,
    texts: list[str],
    cuts: Cut,
    policy: Policy,
    *,
    streams: bool = True,
    judge: Reader | None = None,
    thought: str = "",
) -> Served:
    """Send one request through the pipeline, in front of a backend that gives these texts."""
    made = frames(texts, cuts)
    shared = {key: made[0][key] for key in ("id", "object", "created", "model")}
    thoughts = [{**shared, "choices": [{"index": 0, "delta": {"reasoning": part}}]} for part in split(thought, cuts)]
    made[len(texts) : len(texts)] = thoughts
    more = {"reasoning": thought} if thought else {}
    whole = {
        "choices": [
            {"index": i, "message": {"role": "assistant", "content": t, **more}, "finish_reason": "stop"}
            for i, t in enumerate(texts)
        ]
    }

    def respond(request: httpx.Request) -> httpx.Response:
        chunks = [*chunked(body(made), cuts)] if streams else [json.dumps(whole).encode()]

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
        return await collected(turn, parts)

    return asyncio.run(run())


async def collected(turn: Turn, guard: Guard) -> Served:
    """Send one request and take all that comes of it."""
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


def chunked(content: bytes, cuts: Cut) -> Iterator[bytes]:
    """Bytes in parts that know nothing of frames."""
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
