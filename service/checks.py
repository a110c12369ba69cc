"""Check-only routes: what the guardrail would find, without generating anything."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from detection import guesses
from retrieval.description import Description
from retrieval.search import Passage
from service import interop, wire
from service.chat import forwarded, guard_of, hinted, read, request_id
from service.errors import GuardrailUnavailable, InvalidRequest
from service.guard import Guard
from service.policy import Grants
from service.reply import json_response, while_connected
from service.retrieve import find
from service.turn import Detection, Found, Headers, Hints, Json, Turn, Verdict
from service.understand import understand

_MAX_QUERY = 1_000_000
_MAX_DESCRIPTIONS = 50


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a verdict: the headers that go on to a judge elsewhere, the hints in others, and what is allowed."""

    headers: Headers
    hints: Hints
    grants: Grants


async def detect_route(request: Request) -> Response:
    """POST /comity/v1/detect {messages, metadata?} → {cultures, abstained}."""
    return await _answer(request, detect)


async def retrieve_route(request: Request) -> Response:
    """POST /comity/v1/retrieve {query, cultures?, k?} → {descriptions, index_version}."""
    return await _answer(request, retrieve)


async def judge_route(request: Request) -> Response:
    """POST /comity/v1/judge {messages, response, cultures?, descriptions?} → a verdict."""
    asked = wire.hints(None, hinted(request), guard_of(request).index.cultures)
    return await _answer(
        request, functools.partial(judge, caller=Caller(forwarded(request), asked, request.state.grants))
    )


async def _answer(request: Request, work: Callable[[Json, str, Guard], Coroutine[Any, Any, Json]]) -> Response:
    guard, id = guard_of(request), request_id(request)
    found = await read(request)
    return json_response(await while_connected(request, work(found, id, guard)), id)


async def detect(body: Json, id: str, guard: Guard) -> Json:
    """Find the cultures of `messages`; an explicit `metadata.culture` wins, `metadata.debug` shows what was guessed.

    Raises:
        InvalidRequest: naming the field.
    """
    _only(body, {"messages", "metadata"})
    metadata = body.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise InvalidRequest("metadata must be an object", param="metadata")
    turn = _turn(body, id, guard, metadata.get("culture"), "metadata.culture")
    found = await _understood(turn, guard)
    said: Json = {"cultures": [_shown(item) for item in found.found], "abstained": found.abstained}
    if not isinstance(metadata.get("debug", False), bool):
        raise InvalidRequest("metadata.debug must be true or false", param="metadata.debug")
    if metadata.get("debug"):
        said["guesses"] = list(guesses.of(found.ids, turn.question, guard.index.cultures))
    return said


async def retrieve(body: Json, id: str, guard: Guard) -> Json:
    """Find the descriptions that matter to `query`, in `cultures` or in the whole index.

    Raises:
        InvalidRequest, GuardrailUnavailable: naming the field, or that it took too long.
    """
    _only(body, {"query", "cultures", "k"})
    query, k = body.get("query"), body.get("k", guard.settings.retrieval.k)
    if not isinstance(query, str) or len(query) > _MAX_QUERY:
        raise InvalidRequest(f"query must be a string of at most {_MAX_QUERY} characters", param="query")
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= 1000:
        raise InvalidRequest("k must be a whole number from 1 to 1000", param="k")
    cultures = _cultures(body, guard)
    try:
        passages = await find(query, cultures, guard, k=k)
    except Exception as error:  # noqa: BLE001 - whatever broke, there is nothing else to give here
        guard.metrics.failed("retrieve", error)
        raise GuardrailUnavailable("looking descriptions up failed; try again", stage="retrieve") from None
    described = [_passage(passage) for passage in passages]
    return {"descriptions": described, "index_version": guard.index.version}


async def judge(body: Json, id: str, guard: Guard, caller: Caller | None = None) -> Json:
    """Judge `response` to `messages`, against `descriptions` or those that are retrieved.

    Args:
        caller: who asks; default is one without a key, hints and headers.

    Raises:
        InvalidRequest, Forbidden, GuardrailUnavailable: naming the field, or the stage that failed.
    """
    _only(body, {"messages", "response", "cultures", "descriptions"})
    if not isinstance(body.get("response"), str):
        raise InvalidRequest("response must be a string", param="response")
    caller = caller or Caller((), Hints(), guard.settings.anonymous)
    named = _cultures(body, guard)
    hints = replace(caller.hints, cultures=named, infer=False) if named else caller.hints
    guard.policies.permit(hints, caller.grants)
    turn = replace(_turn(body, id, guard, None, ""), hints=hints, headers=caller.headers)
    chosen, asked = guard.policies.choose(hints, caller.grants, hints.cultures), body.get("descriptions")
    given = None if asked is None else _described(asked, guard)
    text = interop.Asked(body["response"], turn.messages, descriptions=given)
    (verdict,) = await interop.judged([text], turn, guard, chosen)
    return _verdict(verdict)


async def _understood(turn: Turn, guard: Guard) -> Detection:
    try:
        return await understand(turn, guard)
    except Exception as error:  # noqa: BLE001 - the same
        guard.metrics.failed("detect", error)
        raise GuardrailUnavailable("detecting cultures failed; try again", stage="detect") from None


def _only(body: Json, known: set[str]) -> None:
    if set(body) - known:
        raise InvalidRequest(
            f"this route takes only {', '.join(sorted(known))}", param="body", code="unknown_parameter"
        )


def _turn(body: Json, id: str, guard: Guard, culture: Any, where: str) -> Turn:
    hint = {} if culture is None else {"comity": {"culture": culture}}
    try:
        return wire.turn(
            {"model": "-", "messages": body.get("messages"), **hint},
            "chat",
            id,
            guard.index.cultures,
            max_messages=guard.settings.limits.max_messages,
        )
    except InvalidRequest as error:
        if error.param == "comity.culture":
            raise InvalidRequest(error.message.replace("comity.culture", where), param=where, code=error.code) from None
        raise


def _cultures(body: Json, guard: Guard) -> tuple[str, ...]:
    asked = body.get("cultures")
    if asked is None or asked == []:
        return ()
    if not isinstance(asked, list):
        raise InvalidRequest("cultures must be a list of culture ids", param="cultures")
    ids, _ = wire.cultures(asked, "cultures", guard.index.cultures)
    if not ids:
        raise InvalidRequest("cultures must hold culture ids here; leave it out to name none", param="cultures")
    return ids


def _described(asked: Any, guard: Guard) -> tuple[Description, ...]:
    """Read the descriptions that a caller gives."""
    if not isinstance(asked, list) or len(asked) > _MAX_DESCRIPTIONS:
        raise InvalidRequest(f"descriptions must be a list of at most {_MAX_DESCRIPTIONS}", param="descriptions")
    return tuple(_given(item, position, guard) for position, item in enumerate(asked))


def _given(item: Any, position: int, guard: Guard) -> Description:
    text, id = (item, f"given-{position}") if isinstance(item, str) else (None, None)
    if isinstance(item, dict) and set(item) == {"id", "text"}:
        text, id = item["text"], item["id"]
    if not isinstance(text, str) or not isinstance(id, str):
        where = f"descriptions[{position}]"
        raise InvalidRequest(f"{where} must be a string or an object with id and text", param=where)
    known = guard.index.descriptions.find(id)
    return Description(
        id=id,
        culture="",
        topic="",
        statement=text,
        offends=known.offends if known else None,
        questions=(),
        strength="common_custom",
        harmful=False,
        sources=(),
        review="drafted",
    )


def _shown(found: Found) -> Json:
    evidence = [
        {"kind": e.kind, "text": e.text, "start": e.start, "end": e.end, "message": e.message} for e in found.evidence
    ]
    return {"culture": found.culture, "role": found.role, "confidence": found.confidence, "evidence": evidence}


def _passage(passage: Passage) -> Json:
    found = passage.description
    return {
        "id": found.id,
        "culture": found.culture,
        "topic": found.topic,
        "text": found.statement,
        "score": round(passage.score, 4),
        "harmful": found.harmful,
        "sources": [{"author": s.author, "title": s.title, "url": s.url, "date": s.date} for s in found.sources],
    }


def _verdict(verdict: Verdict) -> Json:
    return {
        "verdict": verdict.verdict,
        "score": verdict.score,
        "axes": dict(verdict.axes),
        "violations": [
            {"description_id": v.description_id, "text": v.text, "reason": v.reason} for v in verdict.violations
        ],
        "judge": verdict.judge,
        "coverage": verdict.coverage,
        "coverage_reason": verdict.reason,
    }
