"""The upstream: any OpenAI-compatible server over httpx, with its deadlines, its retries and its breaker."""

from __future__ import annotations

import asyncio
import functools
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from service import sse
from service.breaker import UNWATCHED, Breaker
from service.errors import ComityError, UpstreamFailed, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable
from service.metrics import Metrics
from service.translate import error, refusal, translated, unauthorized
from service.transport import Large, connections, forget, repeatable
from service.turn import Headers, Json, Piece
from service.wire import dumps

END = Piece(sse.DONE, {})  # the last piece of a stream that its backend ended properly
_MAX_ERROR_BYTES = 65_536
_parsed = functools.lru_cache(maxsize=64)(httpx.URL)
_STALE = 1  # a second kept connection that breaks under the same request is no race
_LARGE = 1_048_576  # bytes from which a request is written in parts
_OURS = frozenset({"upstream_auth", "answer_too_large"})  # failures that say nothing about the backend's health
_DOWN = frozenset({None, 200, 502, 503, 504})  # with any other status a living server has said what it thinks
_DRAIN_S = 0.02  # the client waits for it, and what ends a stream comes with its [DONE] or right after it
_PASSED = ("content-type", "retry-after")  # headers of an answer that is handed on


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to connect, and for a stream until its first byte and between its frames, and for any whole answer."""

    connect_s: float = 5
    first_byte_s: float = 300
    between_frames_s: float = 120
    total_s: float = 900


@dataclass(slots=True)
class _Asked:
    """A request that the breaker hears of: its ticket, and the status that the upstream gave in a head or a frame."""

    ticket: int
    status: int | None = None


class Backend:
    """One upstream with connections and a breaker of its own."""

    def __init__(
        self,
        url: str,
        *,
        name: str = "backend",
        api_key: str | None = None,
        forwards_key: bool = False,
        timeouts: Timeouts | None = None,
        connect_retries: int = 2,
        breaker_failures: int = 5,
        breaker_reset_s: float = 10,
        max_answer_bytes: int = 16_777_216,
        max_connections: int = 1024,
        metrics: Metrics | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Make a client; nothing is connected before the first request.

        Args:
            name: what metrics call it.
            forwards_key: the caller's Authorization header goes on to the upstream; otherwise it never does.
            jitter: gives the seconds before connecting again, between two bounds.
        """
        self.url = url
        self.name = name
        self._forwards_key = forwards_key
        self._timeouts = timeouts or Timeouts()
        self._connect_retries = connect_retries
        self._max_answer_bytes = max_answer_bytes
        self._metrics = metrics or Metrics()
        self._jitter = jitter
        self.per_caller = forwards_key and not api_key  # what it lets see may differ from caller to caller
        self._headers = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "comity"}
        if api_key:
            self._headers["authorization"] = f"Bearer {api_key}"
        self._transport = transport or connections(url, max_connections)
        self._breaker = Breaker(
            breaker_failures, breaker_reset_s, changed=lambda state: self._metrics.circuit(name, state)
        )
        self._metrics.circuit(name, "closed")

    @property
    def root(self) -> str:
        """The upstream's address without its /v1."""
        return self.url.removesuffix("/v1")

    async def pieces(
        self, path: str, body: Mapping[str, Any], headers: Headers = (), timeout_s: float | None = None
    ) -> AsyncGenerator[Piece, None]:
        """Ask the upstream and give its answer: the frames of a stream, or the whole answer as one piece.

        Close the iterator (`contextlib.aclosing`) to close the upstream's request.

        Args:
            path: below the base URL, for example /chat/completions.
            timeout_s: for the whole of it; default is the backend's own.

        Raises:
            UpstreamRejected, ContextExceeded, UpstreamFailed, UpstreamTimeout, UpstreamUnavailable: what went wrong.
        """
        streams = bool(body.get("stream"))
        wait = _Wait(self._timeouts, streams, timeout_s)
        with self._watched(self._enter()) as asked:
            request = self._request("POST", self.url + path, dumps(body), (_JSON, *headers))
            response = await self._open(request, wait)
            asked.status = response.status_code
            try:
                if response.status_code in (401, 403) and self._forwards_key:
                    raise unauthorized(response.status_code)
                await _check(response, body, wait, streams)
                if not streams:
                    piece = _piece(await self._whole(response, wait), body, asked)
                    self._breaker.succeeded(asked.ticket)
                    yield piece
                    return
                async for piece in self._frames(response, body, wait, asked):
                    self._breaker.succeeded(asked.ticket) if piece is END else self._breaker.answered(asked.ticket)
                    yield piece
                self._breaker.succeeded(asked.ticket)
            finally:
                await response.aclose()

    async def complete(
        self, path: str, body: Mapping[str, Any], headers: Headers = (), timeout_s: float | None = None
    ) -> Json:
        """Ask for one whole answer and give its JSON; raises as `pieces` does."""
        async with aclosing(self.pieces(path, {**body, "stream": False}, headers, timeout_s)) as pieces:
            return (await anext(pieces)).payload

    async def forward(
        self,
        method: str,
        path: str,
        content: bytes = b"",
        headers: Headers = (),
        timeout_s: float | None = None,
        *,
        watched: bool = True,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send a request to a path below the root as it is; give status, the headers to hand on, and body.

        Args:
            watched: the breaker may refuse it and hears how it ended; not so what says nothing about generating.

        Raises:
            UpstreamFailed, UpstreamTimeout, UpstreamUnavailable: it could not be had; any status is an answer.
        """
        wait = _Wait(self._timeouts, streams=False, total_s=timeout_s)
        ticket = self._enter() if watched else UNWATCHED
        with self._watched(ticket):
            response = await self._open(self._request(method, self.root + path, content, headers), wait)
            try:
                found = await self._whole(response, wait)
            finally:
                await response.aclose()
            if response.status_code < 500:  # else one route may be out of order, which says nothing of the others
                self._breaker.succeeded(ticket)
        _refuse_encoded(response)
        return response.status_code, _passed(response), found

    async def trouble(self, timeout_s: float = 2) -> str | None:
        """Give one sentence on why the upstream cannot serve, or None when it answers."""
        try:
            status, _, _ = await self.forward("GET", "/v1/models", timeout_s=timeout_s, watched=False)
        except ComityError as failure:
            return failure.message
        if status in (401, 403) and not self._forwards_key:
            return f"the backend refuses the key it was given ({status})"
        return f"the backend answers {status}" if status >= 500 else None

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def _request(self, method: str, url: str, content: bytes, headers: Headers) -> httpx.Request:
        kept = {name: value for name, value in headers if name != "authorization" or self._forwards_key}
        with translated():
            named = {**self._headers, **kept}
            known = {"timeout": {"connect": self._timeouts.connect_s}}
            if len(content) < _LARGE:
                return httpx.Request(method, _parsed(url), headers=named, content=content, extensions=known)
            named["content-length"] = str(len(content))
            return httpx.Request(method, _parsed(url), headers=named, stream=Large(content), extensions=known)

    def _enter(self) -> int:
        """Give the breaker's ticket for one request.

        Raises:
            UpstreamUnavailable: the breaker is open.
        """
        ticket = self._breaker.enter()
        if ticket is None:
            self._metrics.upstream_failed(self.name, "upstream_unavailable")
            raise UpstreamUnavailable(self._breaker.retry_after_s)
        return ticket

    @contextmanager
    def _watched(self, ticket: int) -> Iterator[_Asked]:
        """Tell the breaker and the metrics how one request ended."""
        asked = _Asked(ticket)
        try:
            yield asked
        except ComityError as failure:
            fails = asked.status in _DOWN and failure.code not in _OURS
            (self._breaker.failed if fails else self._breaker.succeeded)(ticket)
            rejected = isinstance(failure, UpstreamRejected)
            self._metrics.upstream_failed(self.name, "rejected" if rejected else failure.code or "other")
            raise
        finally:
            self._breaker.left(ticket)

    async def _open(self, request: httpx.Request, wait: _Wait) -> httpx.Response:
        """Send a request; again only where it was never sent, or met a connection that had been closed meanwhile."""
        tries = {"connect": self._connect_retries, "stale_connection": _STALE}
        while True:
            forget()
            try:
                async with wait.limit():
                    response = await self._transport.handle_async_request(request)
            except Exception as failure:
                reason = repeatable(failure)
                if reason is None or tries[reason] == 0:
                    with translated():
                        raise
                tries[reason] -= 1
                self._metrics.retried(reason)
                if reason == "connect":
                    pause = 0.1 * 2 ** (self._connect_retries - tries[reason])
                    async with wait.limit():
                        await asyncio.sleep(self._jitter(0, pause))
            else:
                self._metrics.upstream_answered(self.name, response.status_code)
                return response

    async def _frames(
        self, response: httpx.Response, body: Mapping[str, Any], wait: _Wait, asked: _Asked
    ) -> AsyncIterator[Piece]:
        decoder = sse.Decoder(self._max_answer_bytes)
        size, finished = 0, False
        chunks = response.aiter_raw()
        while (chunk := await wait.next(chunks)) is not None:
            size += len(chunk)
            try:
                events = decoder.feed(chunk)
            except sse.FrameTooLong:
                raise _too_long(self._max_answer_bytes) from None
            # frames carry several times the bytes of their text
            if size > 4 * self._max_answer_bytes or any(len(data) > self._max_answer_bytes for data in events):
                raise _too_long(self._max_answer_bytes)
            for data in events:
                if data.strip() == sse.DONE:
                    await _drain(chunks)
                    yield END
                    return
                piece = _piece(data, body, asked)
                finished = finished or _finishes(piece.payload)
                yield piece
        if not finished:
            raise UpstreamFailed("the backend's stream broke off before its end")

    async def _whole(self, response: httpx.Response, wait: _Wait) -> bytes:
        content = bytearray()
        chunks = response.aiter_raw()
        while (chunk := await wait.next(chunks)) is not None:
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise _too_long(self._max_answer_bytes)
        return bytes(content)


_JSON = ("content-type", "application/json")


class _Wait:
    """The deadlines of one request: none is started anew by a retry, each is told apart in its error."""

    def __init__(self, timeouts: Timeouts, streams: bool, total_s: float | None = None) -> None:
        self._now = asyncio.get_running_loop().time
        self._timeouts = timeouts
        self._streams = streams
        self._total = self._now() + (timeouts.total_s if total_s is None else total_s)
        self._last = "total_timeout_s" if total_s is None else None
        self._next = self._now() + timeouts.first_byte_s
        self._setting = "first_byte_timeout_s"

    async def next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        """Give the next bytes of a body, or None at its end."""
        with translated():
            async with self.limit():
                chunk = await anext(chunks, None)
        if self._streams:
            self._next = self._now() + self._timeouts.between_frames_s
            self._setting = "between_frames_timeout_s"
        return chunk

    def limit(self) -> _Limit:
        """Bound one wait by whichever deadline comes first."""
        if self._streams and self._next < self._total:
            return _Limit(self._next, self._setting)
        return _Limit(self._total, self._last)


class _Limit:
    """One wait's deadline, as a context."""

    def __init__(self, when: float, setting: str | None) -> None:
        self._timeout = asyncio.timeout_at(when)
        self._setting = setting

    async def __aenter__(self) -> None:
        """Start."""
        await self._timeout.__aenter__()

    async def __aexit__(self, *found: Any) -> None:
        """End, and name the setting where time ran out."""
        try:
            await self._timeout.__aexit__(*found)
        except TimeoutError:
            limit = f"backend.{self._setting}" if self._setting else "this request can wait"
            raise UpstreamTimeout(f"the backend took longer than {limit}") from None


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of a body whose content is complete, so that its connection can be used again."""
    with suppress(TimeoutError, ComityError), translated():
        async with asyncio.timeout(_DRAIN_S):
            for _ in range(16):
                await anext(chunks, None)


def _finishes(payload: Json) -> bool:
    """Tell whether a frame ends a choice."""
    choices = payload.get("choices")
    found = choices if isinstance(choices, list) else []
    return any(isinstance(choice, dict) and choice.get("finish_reason") is not None for choice in found)


def _passed(response: httpx.Response) -> Mapping[str, str]:
    """Give the headers that are handed on, those of odd characters left out."""
    found = ((name, response.headers.get(name, "")) for name in _PASSED)
    return {name: value for name, value in found if value and value.isascii()}


def _too_long(limit: int) -> UpstreamFailed:
    return UpstreamFailed(
        f"the backend's answer is longer than backend.max_answer_bytes ({limit})", code="answer_too_large"
    )


async def _check(response: httpx.Response, body: Mapping[str, Any], wait: _Wait, streams: bool) -> None:
    _refuse_encoded(response)
    if response.status_code != 200:
        content = bytearray()
        chunks = response.aiter_raw()
        with suppress(ComityError):  # a status that is known is not lost with its words
            while len(content) <= _MAX_ERROR_BYTES and (chunk := await wait.next(chunks)) is not None:
                content += chunk
        said = bytes(content[:_MAX_ERROR_BYTES])
        raise refusal(response.status_code, said, body, response.headers.get("retry-after", ""))
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = "text/event-stream" if streams else "application/json"
    if kind != wanted:
        raise UpstreamFailed(f"the backend answered with another content type than {wanted}")


def _refuse_encoded(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UpstreamFailed("the backend sent an encoded answer, though identity was asked for")


def _piece(data: bytes, body: Mapping[str, Any], asked: _Asked) -> Piece:
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamFailed("the backend sent what is not JSON") from None
    if not isinstance(payload, dict):
        raise UpstreamFailed("the backend sent JSON that is not an object")
    found = payload.get("error")
    if found:
        code = found.get("code") if isinstance(found, dict) else None
        asked.status = code if isinstance(code, int) and 400 <= code < 600 else 500
        raise error(asked.status, payload, body)
    return Piece(data, payload)
