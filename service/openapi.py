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
    "properties": {"culture": {"type": "string"}, "debug": {"type": "boolean"}, "stream_mode": {"enum": ["buffer"]}},
}
_STREAM = {"type": ["boolean", "null"]}

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": _body(
        {"model": {"type": "string"}, "messages": _MESSAGES, "stream": _STREAM, "comity": _HINTS},
        ["model", "messages"],
        {"model": "comity-extractive", "messages": _ASKED},
    ),
    "/v1/completions": _body(
        {"model": {"type": "string"}, "prompt": {"type": ["string", "array"], "items": {}}, "stream": _STREAM},
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
        {"messages": _ASKED, "response": "Bring good sweets, and take your shoes off at the door."},
    ),
}
