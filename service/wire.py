"""All knowledge of OpenAI's JSON: a body becomes a Turn, pieces become texts, a verdict becomes a refusal."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from retrieval.cultures import Cultures
from service import fields
from service.errors import InvalidRequest, UpstreamFailed
from service.turn import Hints, Json, Message, Piece, Route, Turn

ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_PATH_ORDER = ("content", "text", "refusal", "reasoning_content", "reasoning")
_MESSAGES = ("message", "delta")
HINTS = ("culture", "mode", "policy", "stream_mode", "debug")
_CHOICES = {"mode": ("enforce", "shadow", "off"), "stream_mode": ("buffer", "window", "passthrough")}
NOTHING_SAID: Mapping[str, str] = MappingProxyType({})


def dumps(value: Any) -> bytes:
    """Give compact JSON in UTF-8; a lone surrogate, which UTF-8 cannot carry, keeps its escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def turn(
    body: Json,
    route: Route,
    request_id: str,
    registry: Cultures,
    said: Mapping[str, str] = NOTHING_SAID,
    headers: tuple[tuple[str, str], ...] = (),
    max_messages: int = 2048,
) -> Turn:
    """Read a request; everything that is not understood stays in the body as received.

    Args:
        said: hints of `x-comity-…` headers by their names in the body; they win over the body's.

    Raises:
        InvalidRequest: naming the field, never its text.
    """
    fields.constrain(body)
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise InvalidRequest("model must be the name of a model", param="model", code="missing_model")
    if body.get("stream") is not None and not isinstance(body["stream"], bool):
        raise InvalidRequest("stream must be true or false", param="stream")
    count = body.get("n")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= 128):
        raise InvalidRequest("n must be a whole number from 1 to 128", param="n")
    prompts = body.get("prompt") if route == "completions" else None
    if isinstance(prompts, list) and prompts and not isinstance(prompts[0], int) and len(prompts) * (count or 1) > 128:
        raise InvalidRequest("prompt and n ask for more than 128 answers", param="n")
    messages = _messages(body.get("messages"), max_messages) if route == "chat" else _prompts(body.get("prompt"))
    return Turn(
        id=request_id,
        route=route,
        model=body["model"],
        messages=messages,
        streams=bool(body.get("stream")),
        body={key: value for key, value in body.items() if key != "comity"},
        hints=hints(body.get("comity"), said, registry),
        headers=headers,
    )


def _messages(value: Any, most: int) -> tuple[Message, ...]:
    if value is None:
        raise InvalidRequest("messages is missing; send a list of messages", param="messages", code="missing_messages")
    if not isinstance(value, list) or not value:
        raise InvalidRequest("messages must be a list of at least one message", param="messages")
    if len(value) > most:
        raise InvalidRequest(f"messages holds more than {most} messages", param="messages")
    return tuple(_message(item, f"messages[{position}]") for position, item in enumerate(value))


def _message(value: Any, where: str) -> Message:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{where} must be an object with a role and content", param=where)
    role = value.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise InvalidRequest(f"{where}.role must be one of {', '.join(sorted(ROLES))}", param=f"{where}.role")
    return Message(role, _text(value.get("content"), f"{where}.content"))


def _text(content: Any, where: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise InvalidRequest(f"{where} must be a string, a list of parts, or null", param=where)
    texts = []
    for position, part in enumerate(content):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise InvalidRequest(f"{where}[{position}] must be an object with a type", param=f"{where}[{position}]")
        if part["type"] in ("text", "input_text"):
            if not isinstance(part.get("text"), str):
                raise InvalidRequest(f"{where}[{position}].text must be a string", param=f"{where}[{position}].text")
            texts.append(part["text"])
    return "\n".join(texts)


def _prompts(value: Any) -> tuple[Message, ...]:
    if isinstance(value, str):
        return (Message("user", value),)
    if isinstance(value, list) and _tokens(value):
        return (Message("user", ""),)
    if isinstance(value, list) and 1 <= len(value) <= 128:
        if all(isinstance(item, str) for item in value):
            return tuple(Message("user", item) for item in value)
        if all(isinstance(item, list) and _tokens(item) for item in value):
            return tuple(Message("user", "") for _ in value)
    raise InvalidRequest(
        "prompt must be a string, a list of 1 to 128 strings, or token ids", param="prompt", code="invalid_prompt"
    )


def _tokens(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def hints(value: Any, said: Mapping[str, str], registry: Cultures) -> Hints:
    """Read the caller's hints: the body's field `comity`, and headers, which win; whether they may is not asked here.

    Raises:
        InvalidRequest: an unknown key or culture, or a value that there is not.
    """
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InvalidRequest("comity must be an object", param="comity")
    for key in value:
        if key not in HINTS:
            raise InvalidRequest(f"comity knows only {', '.join(sorted(HINTS))}", param="comity")
    debug = said["debug"].strip().lower() == "true" if "debug" in said else value.get("debug", False)
    if not isinstance(debug, bool):
        raise InvalidRequest("comity.debug must be true or false", param="comity.debug")
    names = {key: _named(key, value, said) for key in ("policy", "mode", "stream_mode")}
    culture = said.get("culture", value.get("culture"))
    where = "x-comity-culture" if "culture" in said else "comity.culture"
    ids, infer = ((), True) if culture is None else cultures(culture, where, registry)
    return Hints(ids, infer, debug, **names)


def _named(key: str, value: Mapping[str, Any], said: Mapping[str, str]) -> str | None:
    """Read a hint that is one word of a few, or a name."""
    where = f"x-comity-{key.replace('_', '-')}" if key in said else f"comity.{key}"
    asked = said[key].strip() if key in said else value.get(key)
    if asked is None:
        return None
    choices = _CHOICES.get(key)
    if not isinstance(asked, str) or not asked or (choices and asked not in choices):
        wanted = f"one of {', '.join(choices)}" if choices else "the name of a policy"
        raise InvalidRequest(f"{where} must be {wanted}", param=where)
    return asked


def cultures(asked: Any, where: str, registry: Cultures) -> tuple[tuple[str, ...], bool]:
    """Read culture ids from a comma list or a list; `none` switches inference off. Gives (ids, may infer).

    Raises:
        InvalidRequest: an id is unknown; the message names the allowed form.
    """
    names = asked.split(",") if isinstance(asked, str) else asked
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > 8:
        raise InvalidRequest(f"{where} must be at most 8 culture ids, separated by commas", param=where)
    names = [name.strip() for name in names if name.strip()]
    if [name.casefold() for name in names] == ["none"]:
        return (), False
    ids = [registry.find(name) for name in names]
    if not names or None in ids:
        raise InvalidRequest(
            f"{where} names a culture that is not registered; use ISO 3166-1 codes (JP), ISO 3166-2 codes (ES-CT), "
            "registered x-… ids, or none",
            param=where,
            code="unknown_culture",
        )
    return tuple(dict.fromkeys(id for id in ids if id)), False


@dataclass(slots=True)
class Texts:
    """The guarded texts of an answer, put together from its pieces: choice → path → text."""

    choices: dict[int, dict[str, list[str]]] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    media: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)

    def add(self, payload: Json) -> None:
        """Take in one piece; text outside the choices is judged with the first of them.

        Raises:
            UpstreamFailed: the choices cannot be read.
        """
        for choice in choices_of(payload):
            index = index_of(choice)
            self.seen.add(index)
            self._add(index, fields.guarded(choice))
            if fields.carries_media(choice):
                self.media.add(index)
            if choice.get("finish_reason") is not None:
                self.finished.add(index)
        if loose := list(fields.around(payload)):
            self._add(min(self.choices, default=0), loose)

    def _add(self, index: int, texts: Iterable[tuple[str, str]]) -> None:
        paths = self.choices.setdefault(index, {})
        for path, text in texts:
            paths.setdefault(path, []).append(text)

    def of(self, index: int) -> dict[str, str]:
        """Give the texts of one choice, path → text, in an order that does not depend on how it was cut."""
        paths = self.choices[index]
        return {path: "".join(paths[path]) for path in sorted(paths, key=_rank)}


def _rank(path: str) -> tuple[int, str]:
    return (_PATH_ORDER.index(path) if path in _PATH_ORDER else len(_PATH_ORDER), path)


def choices_of(payload: Json) -> Iterator[Json]:
    """Give the choices of an answer or a frame.

    Raises:
        UpstreamFailed: they are no list of objects.
    """
    choices = payload.get("choices") or []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise UpstreamFailed("the backend sent choices that are no list of objects")  # unread is unjudged
    yield from choices


def index_of(choice: Json) -> int:
    """Give a choice's number; 0 where it has none."""
    index = choice.get("index", 0)
    return index if isinstance(index, int) else 0


def clean(piece: Piece) -> Piece:
    """Drop the answer fields that would show the notes; a piece without them stays as received, byte for byte."""
    payload = piece.payload
    holders = [part for choice in choices_of(payload) for part in _parts(choice)]
    if not _holds(payload, fields.DROPPED) and not any(_holds(part, fields.DROPPED_IN_CHOICE) for part in holders):
        return piece
    choices = [
        {
            key: _without(value, fields.DROPPED_IN_CHOICE) if key in _MESSAGES and isinstance(value, dict) else value
            for key, value in _without(choice, fields.DROPPED_IN_CHOICE).items()
        }
        for choice in choices_of(payload)
    ]
    payload = {**_without(payload, fields.DROPPED), "choices": choices}
    return Piece(dumps(payload), payload)


def _parts(choice: Json) -> list[Json]:
    return [choice, *(part for key in _MESSAGES if isinstance(part := choice.get(key), dict))]


def _holds(value: Json, names: tuple[str, ...]) -> bool:
    return any(value.get(name) is not None for name in names)


def _without(value: Json, names: tuple[str, ...]) -> Json:
    return {key: item for key, item in value.items() if key not in names}
