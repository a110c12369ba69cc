"""What the API page shows of request bodies, which the routes read themselves instead of through models."""

from __future__ import annotations

from typing import Any

DESCRIPTION = (
    "A cultural guardrail that speaks the OpenAI API. Point a client's base URL at `/v1`; the check-only routes under "
    "`/comity/v1` tell what the guardrail finds without generating anything."
)


def _body(properties: dict[str, Any], required: list[str], example: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": required, "example": example}
    content = {"application/json": {"schema": schema}}
    return {
        "requestBody": {"required": True, "content": content},
        "responses": {
            "400": {"description": "the request is malformed; OpenAI's error body names the field"},
            "401": {"description": "the API key is missing or unknown"},
            "403": {"description": "the caller may not name such a hint; an operator can allow it"},
        },
    }


_MESSAGES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"role": {"type": "string"}, "content": {"type": ["string", "array", "null"], "items": {}}},
        "required": ["role"],
    },
}
_ASKED = [{"role": "user", "content": "What should I bring to a family dinner in Istanbul?"}]
_HINTS = {
    "type": "object",
    "description": "hints, removed before the backend sees the request",
    "properties": {
        "culture": {"type": ["string", "array"], "items": {"type": "string"}},
        "policy": {"type": "string"},
        "mode": {"enum": ["enforce", "shadow", "off"]},
        "stream_mode": {"enum": ["buffer", "window", "passthrough"]},
        "debug": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_STREAM = {"type": ["boolean", "null"]}

_ANSWER = "Bring good sweets, and take your shoes off at the door."
_TEXTS = {"type": "array", "items": {"type": "string"}}


def _detector(properties: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    made = _body({**properties, "detector_params": {"type": "object"}}, list(properties), example)
    header = {
        "name": "detector-id",
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "example": "comity",
    }
    wrong = {"422": {"description": "the request is malformed; `code` and `message`, which names the field"}}
    return {**made, "parameters": [header], "responses": {**wrong, "401": made["responses"]["401"]}}


BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _body(
        {"model": {"type": "string"}, "messages": _MESSAGES, "stream": _STREAM, "comity": _HINTS},
        ["model", "messages"],
        {"model": "comity-extractive", "messages": _ASKED},
    ),
    "/v1/completions": _body(
        {
            "model": {"type": "string"},
            "prompt": {"type": ["string", "array"], "items": {}},
            "stream": _STREAM,
            "comity": _HINTS,
        },
        ["model", "prompt"],
        {"model": "comity-extractive", "prompt": _ASKED[0]["content"]},
    ),
    "/comity/v1/detect": _body(
        {"messages": _MESSAGES, "metadata": {"type": "object"}}, ["messages"], {"messages": _ASKED}
    ),
    "/comity/v1/retrieve": _body(
        {
            "query": {"type": "string"},
            "cultures": {"type": "array", "items": {"type": "string"}},
            "k": {"type": "integer", "minimum": 1, "maximum": 1000},
        },
        ["query"],
        {"query": _ASKED[0]["content"], "cultures": ["TR"], "k": 3},
    ),
    "/comity/v1/judge": _body(
        {
            "messages": _MESSAGES,
            "response": {"type": "string"},
            "cultures": {"type": "array", "items": {"type": "string"}},
            "descriptions": {"type": "array", "items": {}},
        },
        ["messages", "response"],
        {"messages": _ASKED, "response": _ANSWER},
    ),
    "/v1/moderations": _body(
        {"input": {"type": ["string", "array"], "items": {}}, "model": {"type": "string"}},
        ["input"],
        {"input": _ANSWER},
    ),
    "/beta/litellm_basic_guardrail_api": _body(
        {
            "input_type": {"enum": ["request", "response"]},
            "texts": _TEXTS,
            "structured_messages": _MESSAGES,
            "tool_calls": {"type": "array", "items": {"type": "object"}},
        },
        ["input_type"],
        {"input_type": "response", "texts": [_ANSWER]},
    ),
    "/api/v1/text/contents": _detector({"contents": _TEXTS}, {"contents": [_ANSWER]}),
    "/api/v1/text/generation": _detector(
        {"prompt": {"type": "string"}, "generated_text": {"type": "string"}},
        {"prompt": _ASKED[0]["content"], "generated_text": _ANSWER},
    ),
    "/api/v1/text/chat": _detector(
        {"messages": _MESSAGES}, {"messages": [*_ASKED, {"role": "assistant", "content": _ANSWER}]}
    ),
}
