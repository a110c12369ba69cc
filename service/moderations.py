"""OpenAI's moderation endpoint: Comity's axes in its shape, and beside them what that shape cannot say."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service import interop
from service.chat import guard_of, read, request_id
from service.errors import InvalidRequest
from service.guard import Guard
from service.interop import Asked
from service.policy import Chosen
from service.reply import json_response, while_connected
from service.turn import AXES, Axis, Json, Verdict

MODEL = "comity-cultural"
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
    "self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
# Slurs, dehumanisation and incitement against a people are what OpenAI calls hate, and incitement is its threatening
# kind. Words that demean one need not be hateful; as language that belittles a target they are harassment. Advice
# against a custom is in no category of theirs: it stands, like every axis, in one of our own.
_OWN: dict[str, Axis] = {f"comity/{axis}": axis for axis in AXES}
_AXIS: dict[str, Axis] = {"hate": "harm", "hate/threatening": "harm", "harassment": "demeaning", **_OWN}


async def moderations_route(request: Request) -> Response:
    """POST /v1/moderations {input, model?} → OpenAI's results, each with a `comity` object."""
    guard, id = guard_of(request), request_id(request)
    body = await read(request)
    return json_response(await while_connected(request, moderate(body, request, id, guard)), id)


async def moderate(body: Json, request: Request, id: str, guard: Guard) -> Json:
    """Judge each input by itself.

    Raises:
        InvalidRequest, GuardrailUnavailable: naming the field, or the stage that failed.
    """
    if set(body) - {"input", "model"}:
        raise InvalidRequest("this route takes only input, model", param="body", code="unknown_parameter")
    if body.get("model") is not None and not isinstance(body["model"], str):
        raise InvalidRequest("model must be the name of a model", param="model")
    asked = _inputs(body.get("input"))
    turn = interop.conversation(interop.UNKNOWN, request, id, guard)
    chosen = interop.policy(turn, request, guard)
    verdicts = await interop.judged(asked, turn, guard, chosen)
    interop.answerable(verdicts, chosen)
    return {"id": f"modr-{id}", "model": MODEL, "results": [result(verdict, chosen) for verdict in verdicts]}


def result(verdict: Verdict, chosen: Chosen) -> Json:
    """Give one verdict as OpenAI's moderation object.

    A category that nothing was judged for is false, scores 0 and applies to no type of input. Comity's axes stand
    beside OpenAI's categories as `comity/AXIS`, so that what is flagged always has a category.
    """
    found = interop.over(verdict, chosen)
    # what another judge overruled stays under its threshold, so that scores and flags never contradict each other
    judged: dict[Axis | None, float] = {
        axis: min(verdict.axes[axis], 0.99 * chosen.thresholds[axis]) for axis in AXES if axis in verdict.axes
    }
    judged.update(found.items())
    incites = any(violation.reason == "incitement" for violation in verdict.violations)
    axes = {category: _AXIS.get(category) for category in (*CATEGORIES, *_OWN)}
    not_so = () if incites else ("hate/threatening",)
    return {
        "flagged": verdict.verdict == "unsafe",
        "categories": {name: axis in found and name not in not_so for name, axis in axes.items()},
        "category_scores": {
            name: 0.0 if name in not_so else round(judged.get(axis, 0.0) / 100, 4) for name, axis in axes.items()
        },
        "category_applied_input_types": {name: ["text"] if axis in judged else [] for name, axis in axes.items()},
        "comity": interop.shown(verdict),
    }


def _inputs(value: Any) -> list[Asked]:
    """Read the input: a string, a list of strings (one result each), or a list of parts (one result in all)."""
    if isinstance(value, str):
        return [Asked(value)]
    if not isinstance(value, list) or not value:
        raise InvalidRequest("input must be a string, a list of strings or a list of content parts", param="input")
    if len(value) > interop.MOST_TEXTS:
        raise InvalidRequest(f"input holds more than {interop.MOST_TEXTS} items", param="input")
    if all(isinstance(item, str) for item in value):
        return [Asked(item) for item in value]
    texts = [_part(item, f"input[{position}]") for position, item in enumerate(value)]
    return [Asked("\n".join(text for text in texts if text is not None), media=None in texts)]


def _part(value: Any, where: str) -> str | None:
    """Read a content part: its text, or None for an image."""
    kind = value.get("type") if isinstance(value, dict) else None
    if kind not in ("text", "image_url"):
        raise InvalidRequest(f"{where} must be a part of type text or image_url", param=where)
    if kind == "image_url":
        return None
    if not isinstance(value.get("text"), str):
        raise InvalidRequest(f"{where}.text must be a string", param=f"{where}.text")
    return str(value["text"])
