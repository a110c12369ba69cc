"""The upstream: any OpenAI-compatible server over httpx, its answers as pieces, its failures translated once."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import ahocorasick_rs
import httpx

from service import sse
from service.errors import (
    ComityError,
    ContextExceeded,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimeout,
)
from service.turn import Json, Piece
from service.wire import dumps

_BUSY = "no connection to the backend became free in time"
# Every httpx request error is one of these or below; a test walks them.
TRANSLATIONS: tuple[tuple[type[httpx.RequestError], type[UpstreamFailed | UpstreamTimeout], str], ...] = (
    (httpx.ConnectTimeout, UpstreamFailed, "the backend cannot be reached: connecting took too long"),
    (httpx.ConnectError, UpstreamFailed, "the backend cannot be reached"),
    (httpx.PoolTimeout, UpstreamTimeout, _BUSY),
    (httpx.TimeoutException, UpstreamTimeout, "the backend stayed silent for too long"),
    (httpx.NetworkError, UpstreamFailed, "the connection to the backend broke"),
    (httpx.ProtocolError, UpstreamFailed, "the backend broke the protocol or closed the connection early"),
    (httpx.DecodingError, UpstreamFailed, "the backend's answer could not be decoded"),
    (httpx.TooManyRedirects, UpstreamFailed, "the backend redirected without end"),
    (httpx.RequestError, UpstreamFailed, "the backend cannot be reached"),
)
_CONTEXT = re.compile(
    r"context_length_exceeded|maximum context length|maximum model length|max_model_len|context window|"
    r"exceeds? the (model'?s )?(maximum )?context|longer than the maximum",
    re.IGNORECASE,
)
END = Piece(sse.DONE, {})  # the last piece of a stream that its backend ended properly
_MAX_ERROR_BYTES = 65_536
_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,79}")
_PLAIN = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_ECHO = 12  # as many characters of the request in an upstream's message are an echo of it


class Backend:
    """One upstream with its own connections."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        connect_timeout_s: float = 5,
        read_timeout_s: float = 300,
        max_answer_bytes: int = 16_777_216,
        max_connections: int = 512,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url
        self._max_answer_bytes = max_answer_bytes
        headers = {"accept-encoding": "identity", "user-agent": "comity"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        limits = httpx.Limits(
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=4,  # below vLLM's five seconds, so that no request meets a socket about to close
        )
        # `retries` repeats failed connects only: nothing was sent then, so nothing is generated twice.
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(read_timeout_s, connect=connect_timeout_s),
            transport=transport or httpx.AsyncHTTPTransport(limits=limits, retries=1, trust_env=False),
            trust_env=False,
        )

    @property
    def root(self) -> str:
        """The upstream's address without its /v1."""
        return self.url.removesuffix("/v1")

    async def pieces(
        self, path: str, body: Mapping[str, Any], headers: tuple[tuple[str, str], ...] = ()
    ) -> AsyncGenerator[Piece, None]:
        """Ask the upstream and give its answer: the frames of a stream, or the whole answer as one piece.

        Close the iterator (`contextlib.aclosing`) to close the upstream's request.

        Args:
            path: below the base URL, for example /chat/completions.

        Raises:
            UpstreamRejected, ContextExceeded, UpstreamFailed, UpstreamTimeout: whatever went wrong, named.
        """
        streams = bool(body.get("stream"))
        with _translated():
            request = self._client.build_request(
                "POST",
                self.url + path,
                content=dumps(body),
                headers=[("content-type", "application/json"), *headers],
            )
            response = await self._client.send(request, stream=True)
            try:
                await _check(response, body, streams)
                if streams:
                    async for piece in self._frames(response, body):
                        yield piece
                else:
                    yield _piece(await self._whole(response), body)
            finally:
                await response.aclose()

    async def complete(self, path: str, body: Mapping[str, Any]) -> Json:
        """Ask for one whole answer and give its JSON; raises as `pieces` does."""
        async with aclosing(self.pieces(path, {**body, "stream": False})) as pieces:
            return (await anext(pieces)).payload

    async def forward(
        self, method: str, path: str, content: bytes, headers: tuple[tuple[str, str], ...], timeout_s: float
    ) -> tuple[int, str, bytes]:
        """Send a request to a path below the root as it is; give status, content type and body."""
        with _translated():
            async with self._client.stream(
                method, self.root + path, content=content, headers=list(headers), timeout=timeout_s
            ) as response:
                if response.headers.get("content-encoding", "identity") != "identity":
                    raise UpstreamFailed("the backend sent an encoded answer, though identity was asked for")
                return response.status_code, response.headers.get("content-type", ""), await self._whole(response)

    async def trouble(self, timeout_s: float = 2) -> str | None:
        """Give one sentence on why the upstream cannot serve, or None when it answers."""
        try:
            status, _, _ = await self.forward("GET", "/v1/models", b"", (), timeout_s)
        except UpstreamTimeout as error:
            return None if error.message == _BUSY else error.message
        except ComityError as error:
            return error.message
        if status in (401, 403):
            return f"the backend refuses the key it was given ({status})"
        return f"the backend answers {status}" if status >= 500 else None

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _frames(self, response: httpx.Response, body: Mapping[str, Any]) -> AsyncIterator[Piece]:
        decoder = sse.Decoder(self._max_answer_bytes)
        size = 0
        chunks = response.aiter_raw()
        async for chunk in chunks:
            size += len(chunk)
            try:
                events = decoder.feed(chunk)
            except sse.FrameTooLong:
                raise _too_long(self._max_answer_bytes) from None
            if size > 4 * self._max_answer_bytes:  # frames carry several times the bytes of their text
                raise _too_long(self._max_answer_bytes)
            for data in events:
                if data.strip() == sse.DONE:
                    await _drain(chunks)
                    yield END
                    return
                yield _piece(data, body)

    async def _whole(self, response: httpx.Response) -> bytes:
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > self._max_answer_bytes:
                raise _too_long(self._max_answer_bytes)
        return bytes(content)


async def _drain(chunks: AsyncIterator[bytes]) -> None:
    """Read to the end of a body whose content is complete, so that its connection can be used again."""
    with suppress(TimeoutError, httpx.RequestError):
        async with asyncio.timeout(0.5):
            for _ in range(16):
                await anext(chunks, None)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except httpx.RequestError as error:
        for kind, ours, message in TRANSLATIONS:
            if isinstance(error, kind):
                raise ours(message) from None
        raise
    except (httpx.InvalidURL, httpx.HTTPError):
        raise UpstreamFailed("the backend's address cannot be used") from None


def _too_long(limit: int) -> UpstreamFailed:
    return UpstreamFailed(
        f"the backend's answer is longer than backend.max_answer_bytes ({limit})", code="answer_too_large"
    )


async def _check(response: httpx.Response, body: Mapping[str, Any], streams: bool) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise UpstreamFailed("the backend sent an encoded answer, though identity was asked for")
    if response.status_code != 200:
        raise await _refusal(response, body)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = "text/event-stream" if streams else "application/json"
    if kind != wanted:
        raise UpstreamFailed(f"the backend answered with another content type than {wanted}")


async def _refusal(response: httpx.Response, body: Mapping[str, Any]) -> ComityError:
    content = bytearray()
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > _MAX_ERROR_BYTES:
            break
    try:
        payload = json.loads(bytes(content[:_MAX_ERROR_BYTES]))
    except (ValueError, RecursionError):
        payload = {}
    error = _error(response.status_code, payload if isinstance(payload, dict) else {}, body)
    retry = response.headers.get("retry-after", "")
    if re.fullmatch(r"[0-9]{1,9}", retry):
        error.retry_after_s = min(int(retry), 3600)
    return error


def _error(status: int, payload: Json, body: Mapping[str, Any]) -> ComityError:
    """Translate an upstream's error body; OpenAI nests it under `error`, older vLLM does not."""
    nested = payload.get("error")
    found: Json = nested if isinstance(nested, dict) else payload
    said = found.get("message") if isinstance(found.get("message"), str) else ""
    code = str(found["code"]) if isinstance(found.get("code"), str | int) else None
    if status in (401, 403):
        return UpstreamFailed("the backend refuses the key it was given", code="upstream_auth")
    if status >= 500 or status < 400:
        error: ComityError = (
            UpstreamTimeout("the backend timed out")
            if status == 504
            else UpstreamFailed(f"the backend answered {status}")
        )
        error.status = status if status in (503, 504) else error.status
        return error
    kind = ContextExceeded if status in (400, 413, 422) and _CONTEXT.search(f"{code} {said}") else UpstreamRejected
    given = list(_strings(body))
    param = _plain(found.get("param"), _PARAM, given)
    if not said or "input_value" in said or "'input':" in said or _echoes(said, given):
        said = f"the backend refused the request ({status}){f' because of {param}' if param else ''}"
    type_ = _plain(found.get("type"), _PLAIN, given) or "invalid_request_error"
    return kind(status, said[:1000], type_, param, code and _plain(code, _PLAIN, given))


def _plain(value: Any, pattern: re.Pattern[str], given: list[str]) -> str | None:
    """Give an upstream's short name for something, or None where it could be text of the user."""
    return value if isinstance(value, str) and pattern.fullmatch(value) and not _echoes(value, given) else None


def _strings(body: Mapping[str, Any]) -> Iterator[str]:
    """Give every string of a request that may be text of the user: all values but the model, roles and types."""
    todo: list[Any] = [value for name, value in body.items() if name != "model"]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            todo.extend(item for name, item in value.items() if name not in ("role", "type"))
        elif isinstance(value, list):
            todo.extend(value)


def _echoes(message: str, given: list[str]) -> bool:
    """Tell whether an upstream's words repeat text of the request: a short string whole, or a run of a long one."""
    said = message[:1000]
    if any(4 <= len(string) < _ECHO and string in said for string in given):
        return True
    runs = {said[start : start + _ECHO] for start in range(len(said) - _ECHO + 1)}
    if not runs:
        return False
    automaton = ahocorasick_rs.AhoCorasick(runs)  # one pass over a request of any size
    return any(automaton.find_matches_as_indexes(string) for string in given if len(string) >= _ECHO)


def _piece(data: bytes, body: Mapping[str, Any]) -> Piece:
    try:
        payload = json.loads(data)
    except (ValueError, RecursionError):
        raise UpstreamFailed("the backend sent what is not JSON") from None
    if not isinstance(payload, dict):
        raise UpstreamFailed("the backend sent JSON that is not an object")
    error = payload.get("error")
    if error:
        code = error.get("code") if isinstance(error, dict) else None
        raise _error(code if isinstance(code, int) and 400 <= code < 600 else 500, payload, body)
    return Piece(data, payload)
