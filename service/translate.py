"""An upstream's failures in our own words: transport errors from one table, error bodies without text of the user."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import ahocorasick_rs
import aiohttp
import httpx

from service.errors import ComityError, ContextExceeded, UpstreamFailed, UpstreamRejected, UpstreamTimeout
from service.transport import cause
from service.turn import Json

_UNREACHABLE = "the backend cannot be reached"
_SLOW = "the backend took longer than backend.connect_timeout_s"
_BROKE = "the connection to the backend broke"
_PROTOCOL = "the backend broke the protocol or closed the connection early"
_SILENT = "the backend stayed silent for too long"
# Every error of the two transports is one of these or below; a test walks them.
TRANSLATIONS: tuple[tuple[type[Exception], type[UpstreamFailed | UpstreamTimeout], str], ...] = (
    (aiohttp.ConnectionTimeoutError, UpstreamTimeout, _SLOW),
    (aiohttp.ServerTimeoutError, UpstreamTimeout, _SILENT),
    (aiohttp.ServerDisconnectedError, UpstreamFailed, _PROTOCOL),
    (aiohttp.ClientConnectorError, UpstreamFailed, _UNREACHABLE),
    (aiohttp.ClientConnectionError, UpstreamFailed, _BROKE),
    (aiohttp.ClientPayloadError, UpstreamFailed, "the backend's answer broke off"),
    (aiohttp.ClientResponseError, UpstreamFailed, _PROTOCOL),
    (aiohttp.InvalidURL, UpstreamFailed, "the backend's address cannot be used"),
    (aiohttp.ClientError, UpstreamFailed, _UNREACHABLE),
    (httpx.ConnectTimeout, UpstreamTimeout, _SLOW),
    (httpx.ConnectError, UpstreamFailed, _UNREACHABLE),
    (httpx.PoolTimeout, UpstreamTimeout, "no connection to the backend became free in time"),
    (httpx.TimeoutException, UpstreamTimeout, _SILENT),
    (httpx.NetworkError, UpstreamFailed, _BROKE),
    (httpx.ProtocolError, UpstreamFailed, _PROTOCOL),
    (httpx.DecodingError, UpstreamFailed, "the backend's answer could not be decoded"),
    (httpx.TooManyRedirects, UpstreamFailed, "the backend redirected without end"),
    (httpx.RequestError, UpstreamFailed, _UNREACHABLE),
)
_CONTEXT = re.compile(
    r"context_length_exceeded|maximum context length|maximum model length|context window|"
    r"exceeds? the (model'?s )?(maximum )?context|longer than the maximum",
    re.IGNORECASE,
)
_PARAM = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]]{0,79}")
_PLAIN = re.compile(r"[A-Za-z0-9_. -]{1,64}")
_ECHO = 12  # as many characters of the request in an upstream's message are an echo of it


@contextmanager
def translated() -> Iterator[None]:
    """Turn what a transport raises into an error of ours.

    Raises:
        UpstreamFailed, UpstreamTimeout: with a sentence of ours, never the transport's.
    """
    try:
        yield
    except (httpx.RequestError, aiohttp.ClientError) as error:
        found = cause(error)
        for kind, ours, message in TRANSLATIONS:
            if isinstance(found, kind):
                raise ours(message) from None
        raise
    except (httpx.InvalidURL, httpx.HTTPError):
        raise UpstreamFailed("the backend's address cannot be used") from None


def refusal(status: int, content: bytes, body: Mapping[str, Any], retry_after: str = "") -> ComityError:
    """Give the error of an answer whose status is not 200; `body` is what was asked, which it may echo."""
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        payload = {}
    found = error(status, payload if isinstance(payload, dict) else {}, body)
    if re.fullmatch(r"[0-9]{1,9}", retry_after):
        found.retry_after_s = min(int(retry_after), 3600)
    return found


def unauthorized(status: int) -> UpstreamRejected:
    """Give the error of a caller whose own key, forwarded, the backend refuses."""
    return UpstreamRejected(status, "the backend refuses this API key", "authentication_error", None, "invalid_api_key")


def error(status: int, payload: Json, body: Mapping[str, Any]) -> ComityError:
    """Translate an upstream's error body; OpenAI nests it under `error`, older vLLM does not."""
    nested = payload.get("error")
    found: Json = nested if isinstance(nested, dict) else payload
    said = found.get("message") if isinstance(found.get("message"), str) else ""
    code = str(found["code"]) if isinstance(found.get("code"), str | int) else None
    if status in (401, 403):
        return UpstreamFailed("the backend refuses the key it was given", code="upstream_auth")
    if status >= 500 or status < 400:
        failure: ComityError = (
            UpstreamTimeout("the backend timed out")
            if status == 504
            else UpstreamFailed(f"the backend answered {status}")
        )
        failure.status = status if status in (503, 504) else failure.status
        return failure
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
