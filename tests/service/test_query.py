"""What a conversation asks the index."""

from __future__ import annotations

import json

import pytest

from service.query import query
from service.turn import Message
from tests.conftest import Serve
from tests.upstream import Upstream

OTHER = "How do people in Lima greet each other at work?"
GIFT, FLOWERS = "日本の家に招かれました。手土産は何がいいですか。", "花は?"
LONG = "My manager in Osaka invited me to dinner with her family next Friday evening."


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], ""),
        ([("system", "Be kind.")], ""),
        ([("user", LONG)], LONG),
        ([("user", "  ")], ""),
        ([("user", LONG), ("assistant", "Great!"), ("user", "What do I bring?")], f"{LONG}\nWhat do I bring?"),
        ([("user", LONG), ("user", OTHER)], OTHER),
        ([("user", LONG), ("user", "Why?"), ("user", "And for men?")], f"{LONG}\nWhy?\nAnd for men?"),
        ([("user", "One."), ("user", LONG), ("user", "Why?"), ("user", "So?")], f"{LONG}\nWhy?\nSo?"),
        ([("user", LONG), ("tool", "42 results"), ("user", "Thanks")], f"{LONG}\nThanks"),
        ([("user", LONG), ("assistant", "Bow.")], LONG),
        ([("user", GIFT), ("user", FLOWERS)], f"{GIFT}\n{FLOWERS}"),
    ],
)  # fmt: skip
def test_query(said: list[tuple[str, str]], expected: str) -> None:
    """A message that says enough stands alone; one that does not takes the user's messages before it along."""
    assert query([Message(*each) for each in said]) == expected


def test_long_message() -> None:
    """Of a megabyte the beginning and the end are kept, where what is asked stands."""
    found = query(
        [Message("user", f"How do I greet my host? {'Here is my diary. ' * 60_000} What do I bring to dinner?")]
    )
    assert found.startswith("How do I greet my host?")
    assert found.endswith("What do I bring to dinner?")
    assert len(found) <= 1_001


def test_follow_up(service: Serve) -> None:
    """A question that means nothing alone is grounded in what it refers to."""
    talk = [
        {"role": "user", "content": "We are invited to a home in Osaka. Do we keep our shoes on at the entrance?"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Why is that?"},
    ]
    said = service().post("/v1/chat/completions", json={"model": "comity-extractive", "messages": talk})
    assert said.headers["x-comity-grounding"] == "grounded"
    assert "shoes" in said.json()["choices"][0]["message"]["content"].split("2. ")[0]


def test_follow_up_is_looked_up(service: Serve, upstream: Upstream) -> None:
    """A question that means nothing alone is judged by descriptions of what it refers to, as the chat is grounded."""
    talk = [
        {"role": "user", "content": "We are invited to a home in Osaka. Do we keep our shoes on at the entrance?"},
        {"role": "assistant", "content": "No."},
        {"role": "user", "content": "Why is that?"},
    ]
    service(upstream).post("/comity/v1/judge", json={"messages": talk, "response": "Because of the floor."})

    assert "take off their shoes at the entrance" in json.dumps(upstream.judged[0])
