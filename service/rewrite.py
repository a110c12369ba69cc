"""Changes to answers: choices replaced or left out, frames of our own, usages added up; the rest keeps its bytes."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from service import fields
from service.turn import Json, Piece, Turn
from service.wire import choices_of, dumps, index_of


def replace(
    pieces: Iterable[Piece], instead: Mapping[int, Sequence[Json]], turn: Turn, usage: Json | None = None
) -> Iterator[Piece]:
    """Put other choices in the place of some; all other choices and frames pass untouched.

    Text outside the choices was judged with one of them, so it leaves no more once any choice is replaced.

    Args:
        instead: choice index → what is said instead, one choice object, or for streams one for each frame.
        usage: what the answer reports as its usage from now on.
    """
    said: set[int] = set()
    for piece in pieces:
        choices = list(choices_of(piece.payload))
        counts = bool(usage and piece.payload.get("usage"))
        touched = any(index_of(choice) in instead for choice in choices)
        if not touched and not counts and not any(fields.around(piece.payload)):
            yield piece
            continue
        kept: list[Json] = []
        more: list[Json] = []
        for choice in choices:
            index = index_of(choice)
            if index not in instead:
                kept.append(choice)
            elif index not in said:
                said.add(index)
                kept += instead[index][:1]
                more += instead[index][1:]
        carried = {key: value for key, value in piece.payload.items() if key in fields.CARRIED_AROUND | {"created"}}
        if counts:
            carried["usage"] = usage
        if kept or carried.get("usage"):
            payload = {**carried, "choices": kept}
            yield Piece(dumps(payload), payload)
        for choice in more:
            yield frame(piece.payload, turn, [choice])


def without(piece: Piece, dropped: Collection[int]) -> Piece | None:
    """Give a frame without some choices, or None where nothing of it is left; untouched where it has none of them."""
    choices = list(choices_of(piece.payload))
    kept = [choice for choice in choices if index_of(choice) not in dropped]
    if len(kept) == len(choices):
        return piece
    if not kept:
        return None
    payload = {**piece.payload, "choices": kept}
    return Piece(dumps(payload), payload)


def indices(piece: Piece) -> list[int]:
    """Give the index of each choice that a piece holds."""
    return [index_of(choice) for choice in choices_of(piece.payload)]


def parts_of(pieces: Iterable[Piece], index: int) -> list[Json]:
    """Give the choice objects of one choice, a frame's each."""
    return [choice for piece in pieces for choice in choices_of(piece.payload) if index_of(choice) == index]


def usage_of(pieces: Iterable[Piece]) -> Json | None:
    """Give the usage that an answer reports, the last one of a stream."""
    found = [usage for piece in pieces if isinstance(usage := piece.payload.get("usage"), dict)]
    return found[-1] if found else None


def added(one: Json, other: Json) -> Json:
    """Add two usages up, number by number."""
    both: Json = {}
    for key in [*one, *(key for key in other if key not in one)]:
        a, b = one.get(key), other.get(key)
        if isinstance(a, dict) or isinstance(b, dict):
            both[key] = added(a if isinstance(a, dict) else {}, b if isinstance(b, dict) else {})
        elif _number(a) is not None or _number(b) is not None:
            both[key] = (_number(a) or 0) + (_number(b) or 0)
        else:
            both[key] = b if a is None else a
    return both


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def in_json(turn: Turn) -> bool:
    """Tell whether the caller asked for an answer in JSON."""
    kind, held = turn.body.get("response_format"), turn.body.get("structured_outputs")
    if isinstance(kind, dict) and kind.get("type") in ("json_object", "json_schema"):
        return True
    by_vllm = isinstance(held, dict) and bool(held.get("json") or held.get("json_object"))
    return by_vllm or bool(turn.body.get("guided_json"))


def refusal(index: int, text: str, turn: Turn) -> Json:
    """Give one refused choice: finish_reason content_filter, the text as refusal and, outside JSON mode, as content."""
    message = {"role": "assistant", "content": None if in_json(turn) else text, "refusal": text}
    return _choice(index, message, text, "content_filter", turn)


def spoken(index: int, text: str, turn: Turn) -> Json:
    """Give one choice that says a text of ours as an answer."""
    return _choice(index, {"role": "assistant", "content": text}, text, "stop", turn)


def _choice(index: int, message: Json, text: str, reason: str, turn: Turn) -> Json:
    if turn.route == "completions":
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
    key = "delta" if turn.streams else "message"
    return {"index": index, key: message, "logprobs": None, "finish_reason": reason}


def frame(first: Json | None, turn: Turn, choices: list[Json], **rest: Any) -> Piece:
    """Give one more frame of a stream, named as its first one is."""
    kind = "chat.completion.chunk" if turn.route == "chat" else "text_completion"
    first = first or {}
    payload = {
        "id": first.get("id", turn.id),
        "object": kind,
        "created": first.get("created", int(time.time())),
        "model": first.get("model", turn.model),
        "choices": choices,
        **rest,
    }
    return Piece(dumps(payload), payload)


def late(first: Json | None, turn: Turn, detail: Json) -> Piece:
    """Give the frame with empty choices that carries the `comity` object of a stream, sent before [DONE]."""
    return frame(first, turn, [], comity=detail)
