"""The connections under httpx: what their errors become, what may be sent again, and what is not kept."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.backend import Backend
from service.errors import ComityError, UpstreamFailed, UpstreamTimeout
from service.translate import TRANSLATIONS
from service.transport import cause, repeatable
from tests.upstream import completion, serve

BODY = {"model": "tiny", "messages": [{"role": "user", "content": "Hello there."}]}


def _all(kind: type[aiohttp.ClientError]) -> list[type[aiohttp.ClientError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _all(below))]


def _made(kind: type[aiohttp.ClientError]) -> aiohttp.ClientError:
    """An instance without its constructor, of which each class has another."""
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", sorted(set(_all(aiohttp.ClientError)), key=str))
@pytest.mark.parametrize("wrapped", [True, False])
def test_every_error_of_the_connections(kind: type[aiohttp.ClientError], wrapped: bool) -> None:
    """Each error class of aiohttp, bare or wrapped by httpx, becomes one of ours; a new class finds a row too."""

    def handler(request: httpx.Request) -> httpx.Response:
        if wrapped:
            raise httpx.ConnectTimeout("secret") from _made(kind)
        raise _made(kind)

    async def run() -> None:
        backend = Backend("http://upstream/v1", transport=httpx.MockTransport(handler), connect_retries=0)
        await backend.complete("/chat/completions", BODY)

    with pytest.raises(ComityError) as found:
        asyncio.run(run())
    assert isinstance(found.value, UpstreamFailed | UpstreamTimeout)
    assert "secret" not in found.value.message


def test_translations_are_in_order() -> None:
    """No row of the table hides a later, more special one, whichever library it is of."""
    kinds = [row[0] for row in TRANSLATIONS]

    assert not [(a, b) for i, a in enumerate(kinds) for b in kinds[i + 1 :] if issubclass(b, a)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (httpx.ConnectError("x"), "connect"),
        (httpx.ConnectTimeout("x"), "connect"),
        (httpx.ReadError("x"), None),
        (httpx.RemoteProtocolError("x"), None),
        (aiohttp.ConnectionTimeoutError("x"), "connect"),
        (aiohttp.ServerDisconnectedError(), None),
        (aiohttp.ClientOSError(104, "reset"), None),
        (aiohttp.ClientPayloadError("x"), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_be_sent_again(error: Exception, reason: str | None) -> None:
    """Only what was never sent, where nothing is known of a kept connection."""
    wrapped = httpx.ConnectTimeout("httpx's own word for all of them")
    wrapped.__cause__ = error

    assert repeatable(error) == reason
    if isinstance(error, aiohttp.ClientError):
        assert cause(wrapped) is error
        assert repeatable(wrapped) == reason


def test_cookies_of_the_backend() -> None:
    """A cookie that the backend sets for one caller is not sent for the next."""
    seen: list[dict[str, Any]] = []

    async def answer(request: Request) -> Response:
        seen.append(dict(request.cookies))
        response = JSONResponse(completion([]))
        response.set_cookie("session", "of-somebody")
        return response

    async def run(address: str) -> None:
        backend = Backend(f"{address}/v1")
        for _ in range(2):
            await backend.complete("/chat/completions", BODY)
        await backend.close()

    with serve(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as address:
        asyncio.run(run(address))

    assert seen == [{}, {}]


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable of the environment does not lead requests elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")

    async def answer(request: Request) -> Response:
        return JSONResponse(completion([]))

    async def run(address: str) -> Any:
        backend = Backend(f"{address}/v1")
        found = await backend.complete("/chat/completions", BODY)
        await backend.close()
        return found

    with serve(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as address:
        assert asyncio.run(run(address))["object"] == "chat.completion"
