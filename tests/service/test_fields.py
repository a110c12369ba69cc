"""The closed field policy: every string of an answer is guarded unless a table says otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import fields
from service.turn import Piece
from service.wire import Texts, clean
from tests.upstream import choice, completion

_NAMES = st.sampled_from(["content", "refusal", "reasoning", "tool_calls", "x", "function", "arguments", "annotations"])
_LEAVES = st.recursive(
    st.one_of(st.text(min_size=1, max_size=5), st.integers(), st.none(), st.booleans()),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_NAMES, below, max_size=3)),
    max_leaves=8,
)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in items for text in _strings(item)]


@given(st.dictionaries(_NAMES, _LEAVES, max_size=4))
def test_no_string_is_overlooked(message: dict[str, Any]) -> None:
    """Any string below a message, wherever it stands, is among the guarded texts."""
    found = [text for _, text in fields.guarded(choice(message=message))]

    assert sorted(found) == sorted(_strings(message))


@given(st.dictionaries(_NAMES, _LEAVES, max_size=4))
def test_delta_and_message_have_the_same_paths(message: dict[str, Any]) -> None:
    """A frame and a whole answer with the same content give the same paths and texts."""
    assert list(fields.guarded(choice(delta=message))) == list(fields.guarded(choice(message=message)))


@given(st.lists(st.text(min_size=1), min_size=1, max_size=6), st.lists(st.text(min_size=1), max_size=6))
def test_frames_add_up_to_the_whole(content: list[str], arguments: list[str]) -> None:
    """Frames of content and of tool arguments, in any cut, give the texts of the whole answer."""

    def call(text: str) -> dict[str, Any]:
        return {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}

    streamed, whole = Texts(), Texts()
    for text in content:
        streamed.add(completion([choice(finish=None, delta={"content": text})]))
    for text in arguments:
        streamed.add(completion([choice(finish=None, delta=call(text))]))
    message = {"role": "assistant", "content": "".join(content), **(call("".join(arguments)) if arguments else {})}
    whole.add(completion([choice(message=message)]))

    assert streamed.of(0) == whole.of(0)


@pytest.mark.parametrize(
    "path", ["role", "tool_calls[].id", "tool_calls[].type", "audio.id", "audio.data", "index", "finish_reason"]
)
def test_carried_fields(path: str) -> None:
    """Fields that the table carries are not judged."""
    assert any(row.path.endswith(path) and row.policy == "carried" for row in fields.ANSWER)
    leaf: Any = "carried text"
    for part in reversed(path.split(".")):
        leaf = {part.removesuffix("[]"): [leaf] if part.endswith("[]") else leaf}
    made = choice(message=leaf) if path not in ("index", "finish_reason") else {**choice(), path: "carried text"}

    assert list(fields.guarded(made)) == []


def test_every_row_has_a_policy() -> None:
    """Each table ends with a rule for what it does not name, and no path stands twice."""
    for table in (fields.REQUEST, fields.ANSWER):
        paths = [row.path for row in table]
        assert paths[-1] == "*"
        assert len(paths) == len(set(paths))
        assert {row.policy for row in table} == {"guarded", "constrained", "carried"}


def test_clean_answer_stays_the_same_object() -> None:
    """An answer without fields that show the notes is not written again."""
    payload = completion([choice(message={"content": "x"})], prompt_logprobs=None)
    piece = Piece(json.dumps(payload).encode(), payload)

    assert clean(piece) is piece


@pytest.mark.parametrize("name", [*fields.DROPPED, *fields.DROPPED_IN_CHOICE])
def test_dropped_fields(name: str) -> None:
    """Each field that would show the notes is dropped from the answer and from its choices."""
    payload = completion([{**choice(message={"content": "x"}), name: ["notes"]}], **{name: ["notes"]})
    found = clean(Piece(json.dumps(payload).encode(), payload))

    assert (name in fields.DROPPED_IN_CHOICE) is (name not in found.payload["choices"][0])
    assert (name in fields.DROPPED) is (name not in found.payload)
