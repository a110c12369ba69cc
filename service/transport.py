"""httpx over aiohttp's connections: several times the requests a second of httpx's own, and what may be sent again."""

from __future__ import annotations

from contextvars import ContextVar
from types import SimpleNamespace
from typing import Literal

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

_KEPT_S = 4  # below vLLM's five seconds, so that hardly a request meets a socket about to close
_BROKE = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError)
_reused: ContextVar[bool] = ContextVar("reused", default=False)


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

    return AiohttpTransport(verify=False, trust_env=False, client=session)


def _tracing() -> aiohttp.TraceConfig:
    """Note in the request's own context whether it went over a kept connection."""
    noting = aiohttp.TraceConfig()
    noting.on_connection_reuseconn.append(_note)
    return noting


async def _note(session: aiohttp.ClientSession, context: SimpleNamespace, found: object) -> None:
    _reused.set(True)


def forget() -> None:
    """Begin a new attempt, of which nothing is known."""
    _reused.set(False)


def cause(error: Exception) -> Exception:
    """Give the transport's own error, which tells more than the class of httpx that wraps it."""
    return error.__cause__ if isinstance(error.__cause__, aiohttp.ClientError) else error


def repeatable(error: Exception) -> Literal["connect", "stale_connection"] | None:
    """Tell why a request may be sent again: it was never sent, or its kept connection had been closed meanwhile.

    A server that closes an idle connection does so without reading; one that broke off on a fresh connection may have
    begun to generate, so that is not repeated.
    """
    found = cause(error)
    if isinstance(found, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return "connect"
    if found is error and isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "connect"
    broke = isinstance(found, _BROKE)
    silent = isinstance(getattr(found, "message", ""), str)  # else it holds the part of a response that came
    return "stale_connection" if broke and silent and _reused.get() else None
