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

from service import transport
from service.backend import END, Backend
from service.errors import ComityError, UpstreamFailed, UpstreamTimeout
from service.translate import TRANSLATIONS
from service.transport import cause, repeatable
from service.turn import Piece
from tests.conftest import Serve
from tests.raw import STREAM, End, Pause, Steps, answering, chunked, serving
from tests.upstream import DONE, completion, frames, serve

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


async def _texts(backend: Backend) -> tuple[str, bool]:
    """Ask for a stream; give its text, and whether it had its [DONE]."""
    found = [piece async for piece in backend.pieces("/chat/completions", {**BODY, "stream": True})]
    deltas = [choice["delta"] for piece in found for choice in piece.payload.get("choices", ())]
    return "".join(delta.get("content") or "" for delta in deltas), found[-1] is END


WHOLE = chunked([*frames(["Hello", " there."]), DONE], ends=False)
ENDS: dict[str, Steps] = {
    "closes_at_once": (STREAM + WHOLE, End.CLOSE),
    "closes_soon": (STREAM + WHOLE, Pause(0.005), End.CLOSE),
    "closes_later": (STREAM + WHOLE, Pause(0.1), End.CLOSE),
    "resets_soon": (STREAM + WHOLE, Pause(0.005), End.RESET),
    "resets_later": (STREAM + WHOLE, Pause(0.1), End.RESET),
    "garbage_at_once": (STREAM, Pause(0.2), WHOLE + b"zzz\r\n", End.CLOSE),
    "garbage_soon": (STREAM, Pause(0.2), WHOLE, Pause(0.005), b"zzz\r\n", End.CLOSE),
    "garbage_and_silence": (STREAM, Pause(0.2), WHOLE, Pause(0.005), b"zzz\r\n", Pause(5)),
}


@pytest.mark.parametrize("steps", ENDS.values(), ids=ENDS)
def test_stream_that_breaks_after_done(service: Serve, steps: Steps) -> None:
    """What happens to the connection after [DONE], at once or later, is no matter: 200, and all of the text."""
    with serving() as raw:
        raw.script = lambda asked: steps
        client = service(backend={"url": raw.url}, policy={"mode": "off"})
        response = client.post("/v1/chat/completions", json={**BODY, "stream": True})

    assert response.status_code == 200
    assert " there." in response.text
    assert response.text.endswith("data: [DONE]\n\n")


def test_stream_that_broke_while_nobody_read() -> None:
    """What came before a connection broke is not lost for one who was busy with an earlier piece meanwhile."""

    async def run(url: str) -> list[Piece]:
        backend = Backend(url)
        found: list[Piece] = []
        async for piece in backend.pieces("/chat/completions", {**BODY, "stream": True}):
            if not found:
                await asyncio.sleep(0.3)
            found.append(piece)
        await backend.close()
        return found

    with serving() as raw:
        first, *rest = [*frames(["Hello", " there."]), DONE]
        raw.script = lambda asked: (
            STREAM + chunked([first], ends=False),
            Pause(0.1),
            chunked(rest, ends=False),
            End.CLOSE,
        )
        found = asyncio.run(run(raw.url))

    assert len(found) == 5
    assert found[-1] is END


def test_end_that_comes_later() -> None:
    """Nobody waits for what may follow [DONE] for long: a connection that is then still in use is given up instead."""

    async def run(url: str) -> None:
        backend = Backend(url)
        for _ in range(2):
            assert await _texts(backend) == ("Hello.", True)
        await backend.close()

    with serving() as raw:
        unended = STREAM + chunked([*frames(["Hello."]), DONE], ends=False)
        raw.script = lambda asked: (unended, Pause(0.3), b"0\r\n\r\n")
        asyncio.run(run(raw.url))

        assert [asked.connection for asked in raw.asked] == [0, 1]


@pytest.mark.parametrize(("idle_s", "connections"), [(0.0, 1), (0.8, 2)], ids=["soon", "later"])
def test_idle_connection(monkeypatch: pytest.MonkeyPatch, idle_s: float, connections: int) -> None:
    """A kept connection is used again soon, and not after the time that is below vLLM's five seconds."""
    assert transport._KEPT_S < 5
    monkeypatch.setattr(transport, "_KEPT_S", 0.4)

    async def run(url: str) -> None:
        backend = Backend(url)
        await backend.complete("/chat/completions", BODY)
        await asyncio.sleep(idle_s)
        await backend.complete("/chat/completions", BODY)
        await backend.close()

    with serving() as raw:
        raw.script = answering()
        asyncio.run(run(raw.url))

        assert raw.connections == connections


def test_pauses_before_connecting_again() -> None:
    """The pauses are drawn at random, each from a span twice as long as the one before."""
    asked: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    async def run() -> None:
        transport = httpx.MockTransport(refuse)
        backend = Backend("http://upstream/v1", transport=transport, connect_retries=3, jitter=draw)
        with pytest.raises(UpstreamFailed):
            await backend.complete("/chat/completions", BODY)

    asyncio.run(run())

    assert asked == [(0, 0.2), (0, 0.4), (0, 0.8)]


def test_pauses_are_not_all_the_same() -> None:
    """By default it is chance that draws, so that those who failed together do not come back together."""
    jitter = Backend("http://upstream/v1")._jitter

    assert len({jitter(0, 1) for _ in range(20)}) > 1
    assert all(0 <= jitter(0, 0.1) <= 0.1 for _ in range(20))
