"""Writes an answer to the client: status with the first byte, frames or one body, pings, and [DONE] always last."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service import logs, sse
from service.errors import ComityError, Stopping, unexpected
from service.metrics import Metrics
from service.report import SCHEMA_VERSION, detail, told
from service.settings import StreamSettings
from service.turn import End, Facts, Head, Json, Opening, Piece, Turn
from service.wire import dumps

_WRITE = 65_536  # bytes of released frames that go out at once
T = TypeVar("T")
Ended = Callable[[int, Facts | None, str | None], None]
_SSE = (
    ("content-type", "text/event-stream; charset=utf-8"),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)
_JSON = (("content-type", "application/json"),)


@dataclass(slots=True)
class _Sent:
    """How far one answer has come."""

    status: int = 0
    events: bool = False
    known: Facts | Opening | None = None
    facts: Facts | None = None
    first_s: float | None = None
    code: str | None = None


class Reply(Response):
    """An ASGI response that runs the pipeline, and cancels it when the client leaves."""

    def __init__(
        self,
        turn: Turn,
        answer: AsyncGenerator[Head | Piece | End, None],
        settings: StreamSettings,
        metrics: Metrics,
        leave: Callable[[], None],
        ended: Ended | None = None,
    ) -> None:
        """Write what `answer` yields.

        Args:
            leave: frees the request's place; it may be called several times.
            ended: hears of the end: the status, what is known of the answer, the code of what went wrong.
        """
        super().__init__()
        self._turn = turn
        self._answer = answer
        self._settings = settings
        self._metrics = metrics
        self._leave = leave
        self._ended = ended
        self._sent = _Sent()
        self._status = 200
        self._began = time.perf_counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Race the answer against the client's leaving; whichever ends first ends both."""
        began = time.perf_counter()
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                self._metrics.left("answering" if self._sent.status else "waiting")
                self._sent.code = "client_left"
        except asyncio.CancelledError:  # the server is told to stop and will not wait longer
            self._sent.code = "shutting_down"
            if not writing.done():
                writing.cancel()
                await self._error(Stopping("the service is stopping; try again"), send)
            raise
        finally:
            self._leave()
            leaving.cancel()
            writing.cancel()
            self._finish(time.perf_counter() - began)
            await asyncio.gather(writing, leaving, return_exceptions=True)

    async def _write(self, send: Send) -> None:
        try:
            async with aclosing(self._answer) as answer:
                await self._pieces(answer, send)
        except ComityError as error:
            self._metrics.errored(error)
            self._sent.code = error.code
            await self._error(error, send)
        except Exception as error:  # noqa: BLE001 - the last line of defence: one generic sentence outside
            logs.crash(self._turn.id, error)
            self._metrics.errored(unexpected())
            self._sent.code = "internal_error"
            await self._error(unexpected(), send)

    async def _pieces(self, answer: AsyncGenerator[Head | Piece | End, None], send: Send) -> None:
        frames = bytearray()  # what is released is there already: few writes are as soon as many, and cheaper
        while (item := await self._next(answer, send)) is not None:
            if isinstance(item, Head):
                await self._begin(item, send)
            elif isinstance(item, End):
                self._sent.facts = item.facts
            elif self._sent.events:
                self._first()
                frames += sse.encode(item.raw)
                if self._lives or len(frames) >= _WRITE:
                    await send({"type": "http.response.body", "body": bytes(frames), "more_body": True})
                    frames.clear()
            else:
                body = self._whole(item)
                self._leave()
                await self._start(send, self._status, length=len(body))
                await send({"type": "http.response.body", "body": body, "more_body": False})
        self._leave()  # before the last byte: whoever has it may ask again at once
        if self._sent.events:
            frames += sse.encode(sse.DONE)
            await send({"type": "http.response.body", "body": bytes(frames), "more_body": False})

    async def _begin(self, head: Head, send: Send) -> None:
        self._sent.known, self._status = head.known, head.status
        if isinstance(head.known, Facts):
            self._sent.facts = head.known
        if self._turn.streams and head.status == 200 and not self._sent.status:
            await self._start(send, 200)

    @property
    def _lives(self) -> bool:
        """Whether pieces leave as they come, while more of the answer is waited for."""
        return isinstance(self._sent.known, Opening) and not self._sent.facts

    def _first(self) -> None:
        if self._sent.first_s is None:
            self._sent.first_s = time.perf_counter() - self._began

    async def _next(self, answer: AsyncGenerator[Head | Piece | End, None], send: Send) -> Head | Piece | End | None:
        """Await the next item, sending comment lines while it is late; the first of them commits status 200."""
        if not self._turn.streams or (self._sent.known and not self._lives):
            return await anext(answer, None)
        waiting = asyncio.ensure_future(anext(answer, None))
        try:
            while True:
                silence = self._settings.ping_every_s if self._sent.status else self._settings.ping_after_s
                done, _ = await asyncio.wait({waiting}, timeout=silence)
                if done:
                    break
                if not self._sent.status:
                    await self._start(send, 200)
                await send({"type": "http.response.body", "body": sse.PING, "more_body": True})
            return await waiting
        finally:
            if not waiting.done():
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)

    async def _start(self, send: Send, status: int, *, length: int | None = None) -> None:
        """Commit the status: events where no length is given, else one body of that many bytes."""
        self._sent.status, self._sent.events = status, length is None
        kind = _SSE if length is None else (*_JSON, ("content-length", str(length)))
        pairs = [*kind, ("x-request-id", self._turn.id), *self._said()]
        await send({"type": "http.response.start", "status": status, "headers": encoded(pairs)})

    def _said(self) -> list[tuple[str, str]]:
        pairs = [("x-comity-schema-version", SCHEMA_VERSION)]
        known = self._sent.known
        if self._turn.streams and known:
            mode = known.opening.stream_mode if isinstance(known, Facts) else known.stream_mode
            pairs.append(("x-comity-stream-mode", mode))
        return pairs + (told(known) if known else [])

    def _whole(self, piece: Piece) -> bytes:
        if not (self._turn.hints.debug and self._sent.facts):
            return piece.raw
        return dumps({**piece.payload, "comity": detail(self._sent.facts)})

    async def _error(self, error: ComityError, send: Send) -> None:
        body = dumps(error.body(self._turn.id))
        self._leave()
        if self._sent.events:
            tail = sse.encode(body) + sse.encode(sse.DONE)
            await send({"type": "http.response.body", "body": tail, "more_body": False})
        elif not self._sent.status:
            self._sent.status = error.status
            pairs = [*_JSON, ("x-request-id", self._turn.id), ("x-comity-response-path", "error"), *retry(error)]
            await send({"type": "http.response.start", "status": error.status, "headers": encoded(pairs)})
            await send({"type": "http.response.body", "body": body, "more_body": False})

    def _finish(self, seconds: float) -> None:
        turn, sent = self._turn, self._sent
        status = 499 if sent.code == "client_left" else sent.status or 500
        failed = sent.code is not None
        self._metrics.finished(
            turn.route, streams=turn.streams, status=status, seconds=seconds, facts=sent.facts, failed=failed
        )
        if self._ended:
            try:
                self._ended(status, sent.facts, sent.code)
            except Exception as error:  # noqa: BLE001 - telling of it must not undo an answer
                logs.crash(turn.id, error)
        if sent.first_s is not None and sent.known:
            known = sent.known.opening if isinstance(sent.known, Facts) else sent.known
            self._metrics.first_token(known.stream_mode, sent.first_s)
        logs.request(
            turn.id, turn.route, status=status, streams=turn.streams, seconds=seconds, facts=sent.facts, code=sent.code
        )


def error_response(error: ComityError, request_id: str) -> Response:
    """Give the response of a request that failed before it became a turn."""
    pairs = {"x-request-id": request_id, "x-comity-response-path": "error", **dict(retry(error)), **dict(error.headers)}
    return Response(dumps(error.body(request_id)), error.status, pairs, media_type="application/json")


def json_response(payload: Json, request_id: str) -> Response:
    """Give one JSON object."""
    return Response(dumps(payload), 200, {"x-request-id": request_id}, media_type="application/json")


def retry(error: ComityError) -> list[tuple[str, str]]:
    """Give the Retry-After header of an error that passes by itself."""
    return [("retry-after", str(error.retry_after_s))] if error.retry_after_s else []


def encoded(pairs: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Give headers as ASGI wants them."""
    return [(name.encode("ascii"), value.encode("ascii", "replace")) for name, value in pairs]


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client whose body was read, and stop when the client leaves.

    Raises:
        ClientDisconnect: it left first.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
