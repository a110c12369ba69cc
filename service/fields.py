"""The closed policy of every OpenAI field: guarded (inspected), constrained (refused or limited), or carried.

A field that nobody inspects is a way around the guardrail, so the tables name each one, and what they do not name has a
rule too: unknown request fields are carried, unknown strings of an answer are guarded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from service.errors import InvalidRequest

Policy = Literal["guarded", "constrained", "carried"]


@dataclass(frozen=True, slots=True)
class Field:
    """One row of a table: a path (`[]` any element, `*` anything else below), what is done with it, and why."""

    path: str
    policy: Policy
    note: str


@dataclass(frozen=True, slots=True)
class Constraint:
    """A request field that may leak or cut off the notes; `allows` tells which values do no harm."""

    name: str
    allows: Callable[[Any], bool]
    note: str


def _unset(value: Any) -> bool:
    return value is None


def _off(value: Any) -> bool:
    return value is None or value is False


def _on(value: Any) -> bool:
    return value is None or value is True


_SWITCHES = frozenset({"enable_thinking", "thinking", "preserve_thinking", "clear_thinking"})
_EFFORTS = frozenset({"none", "minimal", "low", "medium", "high"})


def _harmless_template_arguments(value: Any) -> bool:
    if value is None:
        return True
    return isinstance(value, dict) and all(
        (key in _SWITCHES and isinstance(item, bool))
        or (key == "reasoning_effort" and isinstance(item, str) and item in _EFFORTS)
        for key, item in value.items()
    )


CONSTRAINTS = (
    Constraint("echo", _off, "would return the prompt, notes included"),
    Constraint("prompt_logprobs", _unset, "would return the prompt's tokens, notes included"),
    Constraint("return_token_ids", _off, "would return the prompt's tokens, notes included"),
    Constraint("return_tokens_as_token_ids", _off, "would hide the answer's text from inspection of its tokens"),
    Constraint("chat_template", _unset, "could drop or rewrite the notes"),
    Constraint(
        "chat_template_kwargs",
        _harmless_template_arguments,
        "could drop or rewrite the notes; allowed are enable_thinking, thinking, preserve_thinking, clear_thinking "
        "(booleans) and reasoning_effort",
    ),
    Constraint("documents", _unset, "would put text into the prompt that is not inspected"),
    Constraint("continue_final_message", _off, "would let the model continue a message, notes included"),
    Constraint("add_generation_prompt", _on, "would let the model continue a message, notes included"),
    Constraint("truncate_prompt_tokens", _unset, "could cut off the notes"),
    Constraint("prompt_embeds", _unset, "would put content into the prompt that is not inspected"),
)

REQUEST = (
    Field("messages[].role", "guarded", "decides where notes go; one of OpenAI's roles"),
    Field(
        "messages[].content", "guarded", "string or parts; read for detection, notes are added to the last user message"
    ),
    Field("prompt", "guarded", "completions: a string or an array of strings; read for detection, notes go before it"),
    Field("model", "carried", "understood: chooses the model or adapter"),
    Field("stream", "carried", "understood: true, false or null"),
    Field("n", "carried", "understood: every choice is judged"),
    Field("response_format", "carried", "understood: decides the form of a refusal"),
    Field("tools", "carried", "kept; the judging turn is asked with the same tools and tool_choice none"),
    Field("comity", "constrained", "Comity's own hints; checked, and removed before the upstream sees it"),
    *(Field(constraint.name, "constrained", constraint.note) for constraint in CONSTRAINTS),
    Field("*", "carried", "as received"),
)

ANSWER = (
    Field("choices[].message.content", "guarded", "string or parts"),
    Field("choices[].message.refusal", "guarded", ""),
    Field("choices[].message.reasoning", "guarded", "vLLM's newer name"),
    Field("choices[].message.reasoning_content", "guarded", "vLLM's older name"),
    Field("choices[].message.tool_calls[].function.arguments", "guarded", "assembled over all frames"),
    Field("choices[].message.tool_calls[].function.name", "guarded", ""),
    Field("choices[].message.function_call", "guarded", "name and arguments"),
    Field("choices[].text", "guarded", "completions"),
    Field("choices[].message.role", "carried", ""),
    Field("choices[].message.tool_calls[].id", "carried", ""),
    Field("choices[].message.tool_calls[].type", "carried", ""),
    Field("choices[].message.audio.id", "carried", ""),
    Field("choices[].message.audio.data", "carried", "sound is not judged; its transcript is"),
    Field("choices[].index", "carried", ""),
    Field("choices[].finish_reason", "carried", ""),
    Field("choices[].stop_reason", "carried", ""),
    Field("choices[].logprobs", "carried", "tokens of the judged text; replaced together with it"),
    Field("choices[].token_ids", "constrained", "dropped: tokens instead of text"),
    Field("choices[].prompt_logprobs", "constrained", "dropped: holds the notes"),
    Field("choices[].prompt_token_ids", "constrained", "dropped: holds the notes"),
    Field("prompt_logprobs", "constrained", "dropped: holds the notes"),
    Field("prompt_token_ids", "constrained", "dropped: holds the notes"),
    Field("choices[].message.prompt_logprobs", "constrained", "dropped: holds the notes"),
    Field("choices[].message.prompt_token_ids", "constrained", "dropped: holds the notes"),
    Field("choices[].message.token_ids", "constrained", "dropped: tokens instead of text"),
    Field("prompt_text", "constrained", "dropped: holds the notes"),
    Field("choices[].*", "guarded", "any other string below a choice, message or delta, names of fields included"),
    Field("id", "carried", ""),
    Field("object", "carried", ""),
    Field("model", "carried", ""),
    Field("system_fingerprint", "carried", ""),
    Field("service_tier", "carried", ""),
    Field("kv_transfer_params", "carried", "vLLM: of use to its own engines only"),
    Field("ec_transfer_params", "carried", "vLLM: of use to its own engines only"),
    Field("usage", "carried", "the upstream's own count; injected tokens are reported beside it"),
    Field("*", "guarded", "any other string beside the choices; numbers and null are carried as received"),
)

_MESSAGE = "choices[].message."
_CHOICE = "choices[]."
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def _paths(policy: Policy, prefix: str) -> frozenset[str]:
    """Give the paths below a prefix that the table has with a policy, those of deeper levels left out."""
    found = {row.path.removeprefix(prefix) for row in ANSWER if row.policy == policy and row.path.startswith(prefix)}
    return frozenset(path for path in found if path != "*" and not path.startswith(("choices[]", "message.")))


CARRIED_AROUND = _paths("carried", "")
DROPPED = tuple(sorted(_paths("constrained", "")))
DROPPED_IN_CHOICE = tuple(sorted(_paths("constrained", _CHOICE)))
_CARRIED_IN_CHOICE = _paths("carried", _CHOICE)
_CARRIED_IN_MESSAGE = _paths("carried", _MESSAGE)


def constrain(body: dict[str, Any]) -> None:
    """Refuse a request field whose value would leak or cut off the notes.

    Raises:
        InvalidRequest: naming the field.
    """
    for constraint in CONSTRAINTS:
        if constraint.name in body and not constraint.allows(body[constraint.name]):
            raise InvalidRequest(
                f"{constraint.name} cannot be used through the guardrail: it {constraint.note}. Leave it out.",
                param=constraint.name,
                code="unsupported_parameter",
            )


def guarded(choice: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give (path, text) of every guarded string of one choice, streamed or whole alike.

    The delta of a frame and the message of a whole answer have the same paths, so that frames put together give the
    same texts as the whole answer.
    """
    for key, value in choice.items():
        if key in ("message", "delta") and isinstance(value, dict):
            yield from _below("", value, _CARRIED_IN_MESSAGE)
        elif key not in DROPPED_IN_CHOICE:
            yield from _below("", {key: value}, _CARRIED_IN_CHOICE)


def around(payload: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Give (path, text) of every string of an answer outside its choices that the table does not carry."""
    for key, value in payload.items():
        if key != "choices" and key not in CARRIED_AROUND and key not in DROPPED:
            yield from _below("", {key: value}, frozenset())


def carries_media(choice: dict[str, Any]) -> bool:
    """Tell whether a choice holds sound, which no judge here can hear."""
    message = choice.get("message") or choice.get("delta")
    audio = message.get("audio") if isinstance(message, dict) else None
    return isinstance(audio, dict) and bool(audio.get("data"))


def _below(path: str, value: dict[str, Any], carried: frozenset[str], rule: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if not _NAME.fullmatch(key):  # a name that is none may be text
            yield f"{path}(key)", key
        yield from _strings(f"{path}{key}", f"{rule}{key}", item, carried)


def _strings(path: str, rule: str, value: Any, carried: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Walk a value; `path` has real positions, `rule` has [] for them and is what the table names."""
    if rule in carried:
        return
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, dict):
        yield from _below(f"{path}.", value, carried, f"{rule}.")
    elif isinstance(value, list):
        for position, item in enumerate(value):
            index = item.get("index", position) if isinstance(item, dict) else position
            where = index if isinstance(index, int) else position
            yield from _strings(f"{path}[{where}]", f"{rule}[]", item, carried)
