"""LiteLLM's generic guardrail API: its proxy asks before and after each call, and does what the answer says.

The newest user message of a request is held to the floor of universal harm alone: it is a question, not an answer.
Answers are judged under the policy. Nothing is rewritten, because LiteLLM drops rewrites from streams by default, so
the action is never GUARDRAIL_INTERVENED. Of a stream LiteLLM sends what there is so far, again and again; a proxy that
holds text back (`streaming_transform_mode: incremental_diff`) is told how much of its end is half a sentence.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service import gate, interop
from service.chat import Endpoint, guard_of, read, request_id
from service.errors import InvalidRequest
from service.guard import Guard
from service.interop import Asked
from service.judge import Exchange, worst
from service.policy import Chosen
from service.reply import json_response, while_connected
from service.turn import Json, Message, Verdict
from service.windows import Cutter

WITHHELD = "Comity: this answer was withheld because it may be disrespectful to a culture or harmful to its people."
HARMFUL = "Comity: this request was refused because it holds hateful words about people."
UNJUDGED = "Comity: this answer was withheld because it could not be judged; try again."


async def guardrail_route(request: Request) -> Response:
    """POST /beta/litellm_basic_guardrail_api {texts, input_type, …} → {action, blocked_reason?}."""
    guard, id = guard_of(request), request_id(request)
    body = await read(request)
    return json_response(await while_connected(request, guardrail(body, request, id, guard)), id)


def keyed(endpoint: Endpoint) -> Endpoint:
    """Let a caller send its key as `x-api-key`, which is where LiteLLM puts a guardrail's `api_key`."""

    @functools.wraps(endpoint)
    async def wrapped(request: Request) -> Response:
        key = request.headers.get("x-api-key")
        if key and "authorization" not in request.headers:
            header = (b"authorization", b"Bearer " + key.encode("latin-1"))
            request = Request({**request.scope, "headers": [*request.scope["headers"], header]}, request.receive)
        return await endpoint(request)

    return wrapped


async def guardrail(body: Json, request: Request, id: str, guard: Guard) -> Json:
    """Judge what LiteLLM took out of a request or an answer; keys that are not understood are ignored.

    Raises:
        InvalidRequest: naming the field.
    """
    side, structured = body.get("input_type"), body.get("structured_messages")
    if side not in ("request", "response"):
        raise InvalidRequest("input_type must be request or response", param="input_type")
    texts = interop.strings(body.get("texts") or [], "texts", guard.settings.limits.max_messages)
    turn = interop.conversation(structured or interop.UNKNOWN, request, id, guard)
    chosen = interop.policy(turn, request, guard)
    if chosen.policy.mode == "off":
        return {"action": "NONE"}
    if side == "request":
        return await _request((turn.question,) if structured else texts, guard, chosen)
    context = turn.messages if structured else ()
    answers = [Asked(text, context, media=bool(body.get("images"))) for text in texts]
    calls = [] if chosen.policy.tool_calls == "off" else _calls(body.get("tool_calls"), context)
    verdicts = await interop.judged([*answers, *calls], turn, guard, chosen)
    counts = verdicts if chosen.policy.tool_calls == "enforce" else verdicts[: len(answers)]
    said = _acted(counts, _reason(counts, chosen), chosen)
    if chosen.policy.mode == "enforce" and said["action"] == "NONE":
        said["stream_holdback_chars"] = [_unended(text) for text in texts]
    return said


async def _request(texts: Sequence[str], guard: Guard, chosen: Chosen) -> Json:
    """Hold what a user wrote to the floor of universal harm, by the embedded judge."""
    verdicts = []
    for text in texts:
        verdicts.append(await guard.embedded.judge(Exchange("", {"content": text}, thresholds=chosen.thresholds)))
        guard.metrics.judged(verdicts[-1])
        await asyncio.sleep(0)  # others have a turn between two long texts
    harmful = any("harm" in interop.over(verdict, chosen) for verdict in verdicts)
    return _acted(verdicts, HARMFUL if harmful else None, chosen)


def _reason(verdicts: Sequence[Verdict], chosen: Chosen) -> str | None:
    """Say why an answer may not leave, or nothing where it may."""
    if any(verdict.verdict == "unsafe" for verdict in verdicts):
        return WITHHELD
    held = any(gate.decide(verdict, chosen.policy) != "release" for verdict in verdicts)
    return UNJUDGED if held else None


def _unended(text: str) -> int:
    """Count the characters after the last sentence that has ended; LiteLLM asks once more when the stream has."""
    sentences = Cutter(1, len(text) + 1).feed(text)
    return len(text) - (sentences[-1].end if sentences else 0)


def _acted(verdicts: Sequence[Verdict], reason: str | None, chosen: Chosen) -> Json:
    blocks = reason is not None and chosen.policy.mode == "enforce"
    said: Json = {"action": "BLOCKED", "blocked_reason": reason} if blocks else {"action": "NONE"}
    return {**said, "comity": interop.shown(worst(verdicts))} if verdicts else said


def _calls(value: Any, context: tuple[Message, ...]) -> list[Asked]:
    """Read the arguments of tool calls; what is not in OpenAI's form is left alone, as LiteLLM does."""
    functions = [call.get("function") for call in (value if isinstance(value, list) else []) if isinstance(call, dict)]
    arguments = [function.get("arguments") for function in functions if isinstance(function, dict)]
    return [Asked(text, context, kind="tools") for text in arguments if isinstance(text, str)]
