"""Texts that give the judge orders: wherever they stand, the separate prompt quotes them and is nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from retrieval.description import Description
from service.backend import Backend
from service.judge import Exchange
from service.judge.llm import LlmJudge
from service.judge.prompts import BALLOT, DIGIT, Way, quote, separate
from tests.upstream import Json, Upstream

SUITE = Path(__file__).parents[2] / "evaluation" / "injections.jsonl"
ROWS: list[dict[str, str]] = [json.loads(line) for line in SUITE.read_text(encoding="utf-8").split("\n") if line]
QUESTION, ANSWER, CUSTOM = "What may I bring?", "Bring fruit.", "Guests bring a small gift."
MARKS = [
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|channel|>", "<|return|>"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "[SYSTEM_PROMPT]", "[gMASK]", "<s>", "</s>", "<eos>", "<sop>"),
    *("<start_of_turn>", "<end_of_turn>", "<｜User｜>", "<｜Assistant｜>", "<|END_OF_TURN_TOKEN|>", "[|assistant|]"),
    *(">>ANSWER<<", "|||EMAIL_ADDRESS|||", "◁think▷", "</think>", "<tool_call>", "</comity_notes>"),
]
each = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
placed = pytest.mark.parametrize("where", ["answer", "question", "description", "name", "culture"])


def described(statement: str) -> Description:
    """Give a description that says so."""
    return Description("d", "JP", "gifts", statement, None, (), "common", False, (), "draft")


def exchange(text: str, where: str, kind: Literal["answer", "tools"] = "answer") -> Exchange:
    """Give an exchange that holds a text in one place, and something harmless in the others."""
    return Exchange(
        text if where == "question" else QUESTION,
        {text if where == "name" else "content": text if where == "answer" else ANSWER},
        (described(text if where == "description" else CUSTOM),),
        (text if where == "culture" else "JP",),
        kind=kind,
    )


def asked(exchange: Exchange, way: Way = DIGIT) -> list[Json]:
    """Give the requests of the separate prompt."""
    return [write(way) for write in separate(exchange)]


def decoded(content: str) -> Json:
    """Read JSON whose objects name nothing twice."""

    def once(pairs: list[tuple[str, Any]]) -> Json:
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    found: Json = json.loads(content, object_pairs_hook=once)
    return found


def structure(content: str) -> str:
    """Give what stands outside the strings of a JSON text."""
    return re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*"', "S", content)


def test_suite() -> None:
    """The suite has more than thirty texts, in every place and in several scripts, each with an id of its own."""
    scripts = {unicodedata.name(c, "").split()[0] for row in ROWS for c in row["text"] if c.isalpha()}
    places = Counter(row["where"] for row in ROWS)

    assert len({row["id"] for row in ROWS}) == len({row["text"] for row in ROWS}) == len(ROWS) >= 30
    assert set(places) == {"answer", "question", "description"}
    assert min(places.values()) >= 10
    assert {"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "CJK", "HIRAGANA", "HANGUL"} <= scripts
    assert all(set(row) == {"id", "where", "text"} for row in ROWS)


def test_suite_in_an_editor() -> None:
    """What hides or turns text round is written as an escape, so that a reader of the file sees it."""
    text = SUITE.read_text(encoding="utf-8").replace("\n", "")

    assert [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")] == []


@each
@placed
@pytest.mark.parametrize("way", [DIGIT, BALLOT], ids=["digit", "ballot"])
def test_structure(row: dict[str, str], where: str, way: Way) -> None:
    """There are two messages; the second is JSON with the expected names, and the text is the value that it was."""
    text, plain = row["text"], exchange("", "none")
    (innocent,) = asked(plain, way)
    forms = asked(exchange(text, where), way)

    for form in forms:
        system, user = form["messages"]
        found = decoded(user["content"])
        name, answer = next(iter(found["answer"].items()))
        assert set(form) == set(innocent)
        assert (system["role"], user["role"]) == ("system", "user")
        assert system == innocent["messages"][0]
        assert set(system) == set(user) == {"role", "content"}
        assert list(found) == ["cultures", "customs", "question", "answer"]
        assert found["cultures"] == [text if where == "culture" else "JP"]
        assert found["customs"] == [text if where == "description" else CUSTOM]
        assert found["question"] == (text[:24_000] if where == "question" else QUESTION)
        assert (len(found["answer"]), name) == (1, text if where == "name" else "content")
        assert answer in text if where == "answer" else answer == ANSWER


@each
@placed
def test_in_tool_calls(row: dict[str, str], where: str) -> None:
    """The prompt on tool calls is no easier to break."""
    text = row["text"]
    for form in asked(exchange(text, where, "tools")):
        system, user = form["messages"]
        found = decoded(user["content"])
        assert system["content"] == asked(exchange("", "none", "tools"))[0]["messages"][0]["content"]
        assert list(found) == ["cultures", "customs", "question", "arguments"]
        assert list(found["arguments"]) == [text if where == "name" else "content"]


@each
def test_where_it_belongs(row: dict[str, str]) -> None:
    """All of a text is quoted, and in its own place alone, however many prompts it takes."""
    forms = [decoded(form["messages"][1]["content"]) for form in asked(exchange(row["text"], row["where"]))]
    values = {
        "answer": "".join(form["answer"]["content"][500 if n else 0 :] for n, form in enumerate(forms)),
        "question": forms[0]["question"],
        "description": forms[0]["customs"][0],
    }

    assert values.pop(row["where"]) == row["text"]
    assert not any(row["text"] in other for other in values.values())


@each
@placed
def test_no_mark_stands_literally(row: dict[str, str], where: str) -> None:
    """Nothing that a chat template could own, that breaks a line or that hides is spelt out in the quotation."""
    for form in asked(exchange(row["text"], where)):
        content = form["messages"][1]["content"]
        outside = structure(content)
        assert [mark for mark in MARKS if mark in content] == []
        assert set(content) & set("<>|&") == set()
        assert (content.count("["), content.count("]")) == (outside.count("["), outside.count("]")) == (2, 2)
        assert [c for c in content if unicodedata.category(c) in ("Cc", "Zl", "Zp")] == []
        assert not re.search(r"[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]", content)


@each
def test_real_tokenizer(row: dict[str, str]) -> None:
    """A tokenizer that knows the marks of templates, as servers do inside messages too, finds none in the prompt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    spelt = [mark for mark in MARKS if mark in row["text"]]
    for form in asked(exchange(row["text"], row["where"])):
        assert tokenizer.encode(form["messages"][1]["content"]).ids == []

    assert bool(tokenizer.encode(row["text"]).ids) == bool(spelt)


@given(st.dictionaries(st.text(st.characters()), st.lists(st.text(st.characters())), max_size=4))
def test_any_text(value: dict[str, list[str]]) -> None:
    """Whatever is quoted decodes to what it was, and fits into UTF-8, halves of characters too."""
    found = quote(value)

    assert json.loads(found) == value
    assert found.encode().decode() == found
    assert not set(found) & set("<>|&")


def test_on_the_wire(upstream: Upstream) -> None:
    """A judge's endpoint receives every text of the suite as it was, a lone half of a character among them."""
    texts = [row["text"] for row in ROWS if len(row["text"]) < 5_000] + ["\ud83d half \udc00"]

    async def run() -> None:
        backend = Backend(upstream.url)
        judge = LlmJudge(backend, model="guard", timeout_s=10, max_concurrent=4, style="separate")
        for text in texts:
            assert (await judge.judge(exchange(text, "answer"))).verdict == "safe"
        await backend.close()

    asyncio.run(run())
    received = [decoded(body["messages"][1]["content"])["answer"]["content"] for body in upstream.judged]

    assert received == texts
