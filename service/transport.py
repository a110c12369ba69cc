"""httpx over aiohttp's connections: several times the requests a second of httpx's own, and what may be sent again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Literal

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

_KEPT_S = 4  # below vLLM's five seconds, so that hardly a request meets a socket about to close
_RACE_S = 1  # a connection that had been closed breaks within a round trip; what breaks later may have been begun
_PART = 65_536
_BROKE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
_reused: ContextVar[float | None] = ContextVar("reused", default=None)  # when the request went over a kept connection


class _Transport(AiohttpTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and give its response as soon as its headers are there."""
        response = await super().handle_async_request(request)
        if isinstance(response.stream, AiohttpResponseStream):
            response.stream = _Body(response.stream._aiohttp_response)
        return response


class _Body(AiohttpResponseStream):
    """A body that ends when its connection does: aiohttp leaves a reader waiting after chunks that it cannot parse."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        content, connection = self._aiohttp_response.content, self._aiohttp_response.connection
        protocol = connection.protocol if connection is not None else None
        closed = protocol.closed if protocol is not None else None  # a protocol without messages is false

        def fail(_: object) -> None:
            if not content.is_eof() and content.exception() is None:
                content.set_exception(aiohttp.ClientPayloadError("the connection ended within the body"))

        if closed is not None:
            closed.remove_done_callback(_hear)  # once for each connection, however many answers it has brought
            closed.add_done_callback(_hear)
            closed.add_done_callback(fail)
        try:
            async for chunk in content.iter_any():
                yield chunk
        except aiohttp.ClientError:
            if rest := content._read_nowait(-1):  # what came before the break, which aiohttp would keep for itself
                yield rest
            raise
        finally:
            if closed is not None:
                closed.remove_done_callback(fail)


def _hear(closed: asyncio.Future[None]) -> None:
    """Take note of how a connection ended, which asyncio would otherwise report as forgotten."""
    if not closed.cancelled():
        closed.exception()


class Large(httpx.AsyncByteStream):
    """A large request body in parts, so that writing it does not hold up every other request; may be sent again."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), _PART):
            yield self._content[start : start + _PART]


def connections(url: str, max_connections: int) -> httpx.AsyncBaseTransport:
    """Give a transport with a pool of its own, which opens with the first request."""

    def session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max_connections,
                keepalive_timeout=_KEPT_S,
                ssl=httpx.create_ssl_context() if url.startswith("https:") else False,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # what an upstream sets for one caller is not sent for another
            trace_configs=[_tracing()],
        )

    return _Transport(verify=False, trust_env=False, client=session)


def _tracing() -> aiohttp.TraceConfig:
    """Note in the request's own context when it went over a kept connection."""
    noting = aiohttp.TraceConfig()
    noting.on_connection_reuseconn.append(_note)
    return noting


async def _note(session: aiohttp.ClientSession, context: SimpleNamespace, found: object) -> None:
    _reused.set(time.monotonic())


def forget() -> None:
    """Begin a new attempt, of which nothing is known."""
    _reused.set(None)


def cause(error: Exception) -> Exception:
    """Give the transport's own error, which tells more than the class of httpx that wraps it."""
    return error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error


def repeatable(error: Exception) -> Literal["connect", "stale_connection"] | None:
    """Tell why a request may be sent again: it was never sent, or its kept connection had been closed meanwhile.

    A server that closes an idle connection does so without reading, and the break is seen at once; one that broke off
    on a fresh connection, or later, may have begun to generate, so that is not repeated.
    """
    found = cause(error)
    if isinstance(found, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return "connect"
    if found is error and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    broke = isinstance(found, _BROKE)
    silent = isinstance(getattr(found, "message", ""), str)  # else it holds the part of a response that came
    sent = _reused.get()
    return "stale_connection" if broke and silent and sent is not None and time.monotonic() - sent < _RACE_S else None
