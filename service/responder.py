"""The embedded responder: an answer made of descriptions and their sources, where no model is configured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from retrieval.description import Source
from retrieval.search import Passage
from service.errors import ContextExceeded, NotFound
from service.ground import tokens
from service.turn import Grounding, Json, Piece, Turn
from service.wire import dumps

MODEL = "comity-extractive"
CONTEXT_TOKENS = 32_768


def pieces(turn: Turn, grounding: Grounding, *, instead: bool = False) -> Iterator[Piece]:
    """Answer a turn from its notes, in the shape that was asked for: frames, or one whole answer.

    Raises:
        NotFound: another model than `comity-extractive` is asked for.
        ContextExceeded: the conversation is longer than 32,768 estimated tokens.
    """
    if turn.model != MODEL:
        raise NotFound(
            f"no backend is configured, so the only model is {MODEL}; set COMITY_BACKEND__URL to serve others",
            param="model",
            code="model_not_found",
        )
    asked = sum(tokens(message.text) for message in turn.messages)
    if asked > CONTEXT_TOKENS:
        raise ContextExceeded(
            400,
            f"this model's maximum context length is {CONTEXT_TOKENS} tokens; the messages take about {asked}",
            "invalid_request_error",
            "messages" if turn.route == "chat" else "prompt",
            "context_length_exceeded",
        )
    count = int(turn.body.get("n") or 1) * (len(turn.messages) if turn.route == "completions" else 1)
    texts = [answer(grounding.of(turn.prompt(index)).passages, instead=instead) for index in range(count)]
    said = sum(tokens(text) for text in texts)
    usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
    yield from _frames(turn, texts, usage) if turn.streams else [_whole(turn, texts, usage)]


def answer(passages: tuple[Passage, ...], *, instead: bool = False) -> str:
    """Write the answer: that no model is configured, then each description with its sources, the best match first."""
    why = "No model is configured behind this guardrail"
    if instead:
        why = "The model behind this guardrail cannot answer now"
    if not passages:
        return f"{why}, and its knowledge base holds no description that fits this question."
    lines = [
        f"{why}, so this is not a generated answer. Its knowledge base holds "
        "these descriptions; they tell what many people do, not what each person does."
    ]
    for number, passage in enumerate(sorted(passages, key=lambda p: -p.score), 1):
        found = passage.description
        lines.append(f"\n{number}. {found.statement}")
        if found.offends:
            lines.append(f"   May offend: {found.offends}")
        lines += [f"   Source: {said}" for source in found.sources if (said := _source(source))]
    return "\n".join(lines)


def _source(source: Source) -> str:
    """Give a source in one line; what was imported may lack parts of it."""
    named = ", ".join(part for part in (source.author, source.title) if part)
    return ". ".join(part for part in (named, source.url) if part)


def models() -> Json:
    """Give the model list of a service without a backend."""
    return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "comity"}]}


def _whole(turn: Turn, texts: list[str], usage: Json) -> Piece:
    if turn.route == "chat":
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
            for index, text in enumerate(texts)
        ]
    else:
        choices = [
            {"index": index, "text": text, "logprobs": None, "finish_reason": "stop"}
            for index, text in enumerate(texts)
        ]
    return _piece(turn, "chat.completion", choices, usage=usage)


def _frames(turn: Turn, texts: list[str], usage: Json) -> Iterator[Piece]:
    kind = "chat.completion.chunk"
    for index, text in enumerate(texts):
        if turn.route == "chat":
            yield _piece(turn, kind, [_delta(index, {"role": "assistant", "content": ""})])
        for line in text.splitlines(keepends=True):
            yield _piece(turn, kind, [_delta(index, {"content": line}) if turn.route == "chat" else _text(index, line)])
        last = _delta(index, {}) if turn.route == "chat" else _text(index, "")
        yield _piece(turn, kind, [{**last, "finish_reason": "stop"}])
    options = turn.body.get("stream_options")
    if isinstance(options, dict) and options.get("include_usage"):
        yield _piece(turn, kind, [], usage=usage)


def _delta(index: int, delta: Json) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}


def _text(index: int, text: str) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": None}


def _piece(turn: Turn, kind: str, choices: list[Json], **rest: Any) -> Piece:
    payload = {
        "id": f"chatcmpl-{turn.id}" if turn.route == "chat" else f"cmpl-{turn.id}",
        "object": kind if turn.route == "chat" else "text_completion",
        "created": int(time.time()),
        "model": turn.model,
        "choices": choices,
        **rest,
    }
    return Piece(dumps(payload), payload)
