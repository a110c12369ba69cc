"""The detector API of the FMS guardrails orchestrator: texts in, detections with offsets and scores (0 to 1) out."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service import interop
from service.chat import Endpoint, guard_of, read, request_id
from service.errors import InvalidRequest
from service.guard import Guard
from service.interop import Asked
from service.judge.harm import KINDS
from service.policy import Chosen
from service.probes import readyz
from service.reply import while_connected
from service.turn import Axis, Json, Turn, Verdict, Violation
from service.wire import dumps

TYPE = "cultural_respect"  # of every detection; its class is the axis
_Work = Callable[[Json, Request, str, Guard], Coroutine[Any, Any, list[Any]]]


def shaped(endpoint: Endpoint) -> Endpoint:
    """Give every error of an endpoint the form that this contract has for it: a code and a message."""

    @functools.wraps(endpoint)
    async def wrapped(request: Request) -> Response:
        response = await endpoint(request)
        if response.status_code < 400 or not response.body:
            return response
        error = json.loads(bytes(response.body))["error"]
        said = {"code": response.status_code, "message": error["message"]}
        kept = {name: value for name, value in response.headers.items() if name in ("x-request-id", "retry-after")}
        return Response(dumps(said), response.status_code, kept, media_type="application/json")

    return wrapped


async def contents_route(request: Request) -> Response:
    """POST /api/v1/text/contents {contents, detector_params?} → for each content its detections."""
    return await _answer(request, contents)


async def generation_route(request: Request) -> Response:
    """POST /api/v1/text/generation {prompt, generated_text, detector_params?} → detections."""
    return await _answer(request, generation)


async def chat_route(request: Request) -> Response:
    """POST /api/v1/text/chat {messages, detector_params?} → detections in the last message."""
    return await _answer(request, chat)


async def health(request: Request) -> Response:
    """GET /health: readiness in the words that the orchestrator reads; it asks without a key."""
    ready = await readyz(request)
    reason = json.loads(bytes(ready.body)).get("reason")
    said = {"status": "UNHEALTHY", "reason": reason} if reason else {"status": "HEALTHY"}
    return Response(dumps(said), ready.status_code, media_type="application/json")


async def contents(body: Json, request: Request, id: str, guard: Guard) -> list[Any]:
    """Judge each content by itself.

    Raises:
        InvalidRequest, GuardrailUnavailable: naming the field, or the stage that failed.
    """
    texts, threshold = interop.strings(body.get("contents"), "contents"), _threshold(body)
    turn = interop.conversation(interop.UNKNOWN, request, id, guard)
    chosen = interop.policy(turn, request, guard)
    verdicts = await _verdicts([Asked(text) for text in texts], turn, request, guard, chosen)
    pairs = zip(texts, verdicts, strict=True)
    return [_located(text, verdict, interop.over(verdict, chosen, threshold)) for text, verdict in pairs]


async def generation(body: Json, request: Request, id: str, guard: Guard) -> list[Any]:
    """Judge a generated text as an answer to its prompt.

    Raises:
        InvalidRequest, GuardrailUnavailable: naming the field, or the stage that failed.
    """
    for name in ("prompt", "generated_text"):
        if not isinstance(body.get(name), str):
            raise InvalidRequest(f"{name} must be a string", param=name)
    turn = interop.conversation([{"role": "user", "content": body["prompt"]}], request, id, guard)
    return await _whole(Asked(body["generated_text"], turn.messages), turn, body, request, guard)


async def chat(body: Json, request: Request, id: str, guard: Guard) -> list[Any]:
    """Judge the last message of a conversation, as an answer to what stands before it.

    Raises:
        InvalidRequest, GuardrailUnavailable: naming the field, or the stage that failed.
    """
    turn = interop.conversation(body.get("messages"), request, id, guard)
    return await _whole(Asked(turn.messages[-1].text, turn.messages[:-1]), turn, body, request, guard)


async def _answer(request: Request, work: _Work) -> Response:
    guard, id = guard_of(request), request_id(request)
    try:
        body = await read(request)
        if not request.headers.get("detector-id", "").strip():
            raise InvalidRequest("the header detector-id is missing", param="detector-id")
        found = await while_connected(request, work(body, request, id, guard))
    except InvalidRequest as error:
        error.status = 422  # as this contract has it
        raise
    marked = {"x-comity-coverage": "error"} if getattr(request.state, "unjudged", False) else {}
    return Response(dumps(found), 200, {"x-request-id": id, **marked}, media_type="application/json")


def _threshold(body: Json) -> float | None:
    """Read the least score that the caller wants (0 to 1), brought to 0 to 100; parameters of others are ignored."""
    params = body.get("detector_params")
    if params is not None and not isinstance(params, dict):
        raise InvalidRequest("detector_params must be an object", param="detector_params")
    value = (params or {}).get("threshold")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest("threshold must be a number from 0 to 1", param="detector_params.threshold")
    return float(100 * value)


async def _verdicts(asked: list[Asked], turn: Turn, request: Request, guard: Guard, chosen: Chosen) -> list[Verdict]:
    """Judge; what the policy lets go unjudged is marked in a header, since no detection reads as safe."""
    verdicts = await interop.judged(asked, turn, guard, chosen)
    interop.answerable(verdicts, chosen, speaks=False)
    request.state.unjudged = any(verdict.coverage == "error" for verdict in verdicts)
    return verdicts


async def _whole(asked: Asked, turn: Turn, body: Json, request: Request, guard: Guard) -> list[Json]:
    """Give the detections of a text that the contract has no offsets for: one for each axis."""
    threshold, chosen = _threshold(body), interop.policy(turn, request, guard)
    (verdict,) = await _verdicts([asked], turn, request, guard, chosen)
    return [_detection(axis, score, verdict) for axis, score in interop.over(verdict, chosen, threshold).items()]


def _located(text: str, verdict: Verdict, found: dict[Axis, float]) -> list[Json]:
    """Give the detections of a text with their places: sentences where the judge names them, else all of it.

    Offsets count code points.
    """
    made: list[Json] = []
    for axis, score in found.items():
        mine = [violation for violation in verdict.violations if _axis(violation) == axis]
        places = [(start, violation) for violation in mine if (start := text.find(violation.text)) >= 0]
        made += [
            {**_place(text, start, start + len(violation.text)), **_detection(axis, score, verdict, violation)}
            for start, violation in places
        ]
        if not places:
            made.append({**_place(text, 0, len(text)), **_detection(axis, score, verdict)})
    return sorted(made, key=lambda detection: (detection["start"], detection["end"]))


def _place(text: str, start: int, end: int) -> Json:
    return {"start": start, "end": end, "text": text[start:end]}


def _axis(violation: Violation) -> Axis:
    """Tell on which axis a violation counts: with a description it is about a custom."""
    if violation.description_id is not None:
        return "custom"
    return "harm" if violation.reason in KINDS else "demeaning"


def _detection(axis: Axis, score: float, verdict: Verdict, violation: Violation | None = None) -> Json:
    made: Json = {"detection": axis, "detection_type": TYPE, "score": round(score / 100, 4)}
    if violation is not None:
        made["evidence"] = [{"name": "reason", "value": violation.reason}]
        if violation.description_id is not None:
            made["evidence"].append({"name": "description", "value": violation.description_id})
    said = {"verdict": verdict.verdict, "judge": verdict.judge, "coverage": verdict.coverage, "reason": verdict.reason}
    return {**made, "metadata": said}
