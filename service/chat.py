"""The HTTP edge of the OpenAI routes: admission, key, body, turn; then the pipeline writes the reply."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import body, ground, logs, responder, wire
from service.admission import Door
from service.errors import (
    ComityError,
    NotFound,
    Overloaded,
    Stopping,
    TooLarge,
    TooMany,
    TooSlow,
    Unsupported,
    UpstreamFailed,
    WrongMethod,
    unexpected,
)
from service.guard import Guard
from service.pipeline import Clock, answer
from service.policy import Grants
from service.reply import Reply, error_response, json_response, while_connected
from service.translate import refusal, unauthorized
from service.turn import Headers, Json, Route, Turn

_REASONS = {Overloaded: "overloaded", TooMany: "rate_limited"}
Endpoint = Callable[[Request], Awaitable[Response]]
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PLAIN = re.compile(r"[\x20-\x7e]{1,8192}")
# The caller's key is among them, but the backend's client lets it through only where the operator forwards it.
_FORWARDED = ("traceparent", "tracestate", "baggage", "authorization")
_LISTS = frozenset({"tracestate", "baggage"})  # several of them are one list in parts (RFC 9110, section 5.3)
# OpenAI's own routes, so that a client learns that they exist but are not served here.
_KNOWN = (
    "/v1/assistants", "/v1/audio", "/v1/batches", "/v1/chat", "/v1/completions", "/v1/conversations", "/v1/embeddings",
    "/v1/evals", "/v1/files", "/v1/fine_tuning", "/v1/images", "/v1/models", "/v1/moderations", "/v1/organization",
    "/v1/realtime", "/v1/responses", "/v1/threads", "/v1/uploads", "/v1/vector_stores", "/v1/videos",
)  # fmt: skip


def request_id(request: Request) -> str:
    """Give the caller's x-request-id where it is plain and short, else a new one; the same at each call."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get("x-request-id", "")
        request.state.request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
    return str(request.state.request_id)


def guard_of(request: Request) -> Guard:
    """Give the live parts; a request keeps those that it began with, whatever is published meanwhile."""
    if not hasattr(request.state, "guard"):
        request.state.guard = request.app.state.follower.guard
    guard: Guard = request.state.guard
    return guard


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


async def admit(request: Request) -> Grants:
    """Check the caller's key and let the request in, until the door's `leave`; give what the caller may do.

    Raises:
        Unauthorized: keys are configured and the caller has none of them.
        TooMany: the caller has used up its requests for now.
        Overloaded: as many requests as allowed are in flight.
    """
    guard = guard_of(request)
    try:
        caller, grants = guard.keys.check(request.headers.get("authorization"))
        _door(request).enter(request, guard.settings.limits.max_in_flight)
        if grants.requests_per_minute and (wait := await guard.rates.take(caller, grants.requests_per_minute)):
            raise TooMany(grants.requests_per_minute, wait)
    except ComityError as error:
        guard.metrics.rejected(_REASONS.get(type(error), "unauthorized"))
        raise
    return grants


async def read(request: Request) -> Json:
    """Read a JSON body within the limits on size and time.

    Raises:
        TooLarge, TooSlow, InvalidRequest: naming what is wrong.
    """
    return body.parse(await read_raw(request))


async def read_raw(request: Request) -> bytes:
    """Read a body as bytes, refusing one over the limit before it is read to its end.

    Raises:
        TooLarge, TooSlow: it is over a limit.
    """
    limits = guard_of(request).settings.limits
    declared = request.headers.get("content-length", "0")
    content = bytearray()
    too_large = TooLarge(f"the request body is larger than {limits.max_body_bytes} bytes (limits.max_body_bytes)")
    if declared.isdecimal() and int(declared) > limits.max_body_bytes:
        raise too_large
    try:
        async with asyncio.timeout(limits.body_timeout_s):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.max_body_bytes:
                    raise too_large
    except TimeoutError:
        raise TooSlow("the request body took too long to arrive (limits.body_timeout_s)") from None
    return bytes(content)


async def chat_completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    return await _complete(request, "chat")


async def completions(request: Request) -> Response:
    """POST /v1/completions."""
    return await _complete(request, "completions")


async def _complete(request: Request, route: Route) -> Response:
    guard, id, began = guard_of(request), request_id(request), time.perf_counter()
    leave = functools.partial(_door(request).leave, request)
    try:
        grants = await admit(request)
        turn = await _turn(request, guard, id, route)
        ended, clock = None, Clock()
        if guard.traces:
            turn, trace = guard.traces.begin(turn)
            ended = functools.partial(guard.traces.end, trace, turn, clock.spans)
    except ComityError as error:
        leave()
        return _refused(guard, error, id, route, began)
    except ClientDisconnect:
        leave()
        guard.metrics.left("sending")
        return Response(status_code=400)
    except asyncio.CancelledError:  # the server is told to stop and will not wait longer
        leave()
        return _refused(guard, _stopping(), id, route, began)
    except BaseException:
        leave()
        raise
    return Reply(turn, answer(turn, guard, grants, clock), guard.settings.stream, guard.metrics, leave, ended)


async def _turn(request: Request, guard: Guard, id: str, route: Route) -> Turn:
    limits = guard.settings.limits
    turn = wire.turn(
        await read(request),
        route,
        id,
        guard.index.cultures,
        hinted(request),
        forwarded(request),
        limits.max_messages,
    )
    most = limits.max_prompt_tokens
    if most is not None and _estimated(turn) > most:
        param = "messages" if route == "chat" else "prompt"
        raise TooLarge(
            f"more than {most} estimated tokens (limits.max_prompt_tokens)", param=param, code="too_many_tokens"
        )
    return turn


def _estimated(turn: Turn) -> int:
    """Estimate the tokens of a request: its texts, its token ids, and the tools that it describes."""
    prompt = turn.body.get("prompt")
    parts = prompt if turn.route == "completions" and isinstance(prompt, list) else []
    ids = sum(len(part) if isinstance(part, list) else int(isinstance(part, int)) for part in parts)
    tools = [turn.body.get(name) for name in ("tools", "functions") if turn.body.get(name)]
    calls = [each.get("tool_calls") for each in turn.body.get("messages") or () if each.get("tool_calls")]
    said = sum(ground.tokens(message.text) for message in turn.messages)
    return said + ids + sum(ground.tokens(json.dumps(each)) for each in (*tools, *calls))


def hinted(request: Request) -> dict[str, str]:
    """Give the hints in the caller's `x-comity-…` headers, by their names in the body."""
    found = {name: request.headers.get(f"x-comity-{name.replace('_', '-')}") for name in wire.HINTS}
    return {name: value for name, value in found.items() if value}


def forwarded(request: Request) -> Headers:
    """Give the headers that may go on to the backend, those of odd characters or length left out."""
    found = request.headers
    pairs = ((name, ", ".join(found.getlist(name)) if name in _LISTS else found.get(name, "")) for name in _FORWARDED)
    return tuple((name, value) for name, value in pairs if _PLAIN.fullmatch(value))


def _stopping() -> Stopping:
    return Stopping("the service is stopping; try again")


def _refused(guard: Guard, error: ComityError, id: str, route: Route, began: float) -> Response:
    """Give, count and log the response of a request that never became a turn."""
    seconds = time.perf_counter() - began
    guard.metrics.finished(route, streams=False, status=error.status, seconds=seconds, facts=None)
    logs.request(id, route, status=error.status, streams=False, seconds=seconds, facts=None, code=error.code)
    return error_response(error, id)


def counted(route: str, endpoint: Endpoint) -> Endpoint:
    """Wrap the endpoint of an unguarded route: errors become responses, each request is counted and logged once."""

    @functools.wraps(endpoint)
    async def wrapped(request: Request) -> Response:
        guard, began, code = guard_of(request), time.perf_counter(), None
        try:
            request.state.grants = await admit(request)
            response = await endpoint(request)
        except ComityError as error:
            code, response = error.code, error_response(error, request_id(request))
        except ClientDisconnect:
            guard.metrics.left("waiting")
            return Response(status_code=400)
        except asyncio.CancelledError:  # the server is told to stop and will not wait longer
            code, response = "shutting_down", error_response(_stopping(), request_id(request))
        except Exception as error:  # noqa: BLE001 - one generic sentence outside, the place of the fault in the log
            logs.crash(request_id(request), error)
            code, response = "internal_error", error_response(unexpected(), request_id(request))
        finally:
            _door(request).leave(request)
        seconds, status = time.perf_counter() - began, response.status_code
        guard.metrics.finished(route, streams=False, status=status, seconds=seconds, facts=None)
        logs.request(
            response.headers.get("x-request-id", ""),
            route,
            status=status,
            streams=False,
            seconds=seconds,
            facts=None,
            code=code,
        )
        return response

    return wrapped


async def models(request: Request) -> Response:
    """GET /v1/models: the backend's own list, adapters included; without one, the embedded responder."""
    guard, id = guard_of(request), request_id(request)
    if guard.backend is None:
        return json_response(responder.models(), id)
    asking = guard.backend.forward("GET", "/v1/models", headers=forwarded(request), timeout_s=30, watched=False)
    status, headers, content = await while_connected(request, asking)
    if status in (401, 403) and guard.settings.backend.authorization == "forward":
        raise unauthorized(status)
    if status in (429, 503):
        raise refusal(status, b"", {}, headers.get("retry-after", ""))
    kind = headers.get("content-type", "")
    if status != 200 or not kind.startswith("application/json"):
        raise UpstreamFailed(f"the backend answered {status} to a request for its models")
    return Response(content, status, {"x-request-id": id}, media_type=kind)


async def other(request: Request) -> Response:
    """Any other route: forwarded and marked unguarded where the operator allows it, else 404 or 501."""
    guard, path = guard_of(request), request.url.path
    if path in guard.settings.passthrough.routes and guard.backend is not None:
        content = await read_raw(request)
        sent = (("content-type", request.headers.get("content-type", "application/json")), *forwarded(request))
        asked = f"{path}?{request.url.query}" if request.url.query else path
        forwarding = guard.backend.forward(request.method, asked, content, sent)
        status, headers, content = await while_connected(request, forwarding)
        marked = {
            "x-request-id": request_id(request),
            "x-comity-response-path": "passthrough",
            "x-comity-coverage": "skipped",
        }
        return Response(content, status, {**headers, **marked})
    if path in request.app.state.methods:
        raise WrongMethod(f"this route is served with {request.app.state.methods[path]} only")
    if any(path == known or path.startswith(f"{known}/") for known in _KNOWN):
        raise Unsupported(
            "Comity does not guard this route; an operator can let it through unguarded with passthrough.routes"
        )
    raise NotFound("there is no such route here", code="unknown_url")
