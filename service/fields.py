"""The closed policy of every OpenAI field: guarded (inspected), constrained (refused or limited), or carried.

A field that nobody inspects is a way around the guardrail, so the tables name each one, and what they do not name has a
rule too: unknown request fields are carried, unknown strings of an answer's choices are guarded.
"""

from __future__ import annotations

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
    Field("prompt_text", "constrained", "dropped: holds the notes"),
    Field("choices[].*", "guarded", "any other string below a choice, message or delta"),
    Field("usage", "carried", "the upstream's own count; injected tokens are reported beside it"),
    Field("*", "carried", "as received"),
)

_CARRIED = {
    field.path.removeprefix("choices[].").removeprefix("message.")
    for field in ANSWER
    if field.policy == "carried" and field.path.startswith("choices[]")
}
DROPPED = tuple(field.path for field in ANSWER if field.policy == "constrained" and "[]" not in field.path)
DROPPED_IN_CHOICE = tuple(
    field.path.removeprefix("choices[].")
    for field in ANSWER
    if field.policy == "constrained" and field.path.startswith("choices[]")
)


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
            for name, item in value.items():
                yield from _strings(name, name, item)
        else:
            yield from _strings(key, key, value)


def _strings(path: str, rule: str, value: Any) -> Iterator[tuple[str, str]]:
    """Walk a value; `path` has real positions, `rule` has [] for them and is what the table names."""
    if rule in _CARRIED or rule in DROPPED_IN_CHOICE:
        return
    if isinstance(value, str):
        if value:
            yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(f"{path}.{key}", f"{rule}.{key}", item)
    elif isinstance(value, list):
        for position, item in enumerate(value):
            index = item.get("index", position) if isinstance(item, dict) else position
            yield from _strings(f"{path}[{index}]", f"{rule}[]", item)
