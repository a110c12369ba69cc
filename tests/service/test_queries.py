"""The queue before the encoder: who waits together is encoded together, nobody is forgotten, and vectors are kept."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from retrieval.encoder import Vectors
from service.parts import assemble
from service.queries import Queries
from service.settings import Settings
from tests.conftest import ROOT


class _Counting:
    """An encoder whose vectors are the lengths of texts; holds its first call until it is let go."""

    id = "counting"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()

    def encode(self, texts: list[str]) -> Vectors:
        """Passages are none of the queue's business."""
        raise AssertionError(texts)

    def encode_queries(self, texts: list[str]) -> Vectors:
        """Give one number a text, none on the text that says so, or fail on the text that says so."""
        self.batches.append(texts)
        self.go.wait(5)
        if "fail" in texts:
            raise ValueError("cannot")
        return np.array([[np.nan if text == "nan" else len(text)] for text in texts], dtype=np.float32)


async def _together(encoder: _Counting, texts: list[str], most: int = 1) -> list[Any]:
    """Ask for all at once, the first of them being under way before the others come."""
    with ThreadPoolExecutor(2) as workers:
        queries = Queries(encoder, workers, most)
        asked = [asyncio.create_task(queries.encode(text)) for text in texts]
        await asyncio.sleep(0.05)
        encoder.go.set()
        return list(await asyncio.gather(*asked, return_exceptions=True))


async def _in_turn(encoder: _Counting, texts: list[str], cache: int) -> list[Any]:
    """Ask for one after the other."""
    encoder.go.set()
    with ThreadPoolExecutor(1) as workers:
        queries = Queries(encoder, workers, 1, cache)
        return [(await asyncio.gather(queries.encode(text), return_exceptions=True))[0] for text in texts]


def test_those_that_wait() -> None:
    """Queries that come while one is encoded are the next batch, and each gets its own vector."""
    encoder = _Counting()
    found = asyncio.run(_together(encoder, ["a", "bb", "ccc"]))

    assert encoder.batches == [["a"], ["bb", "ccc"]]
    assert [float(vector[0]) for vector in found] == [1, 2, 3]


def test_size_of_a_batch() -> None:
    """No batch is larger than eight, so that nobody waits for all the others."""
    encoder = _Counting()
    asyncio.run(_together(encoder, [str(number) for number in range(20)]))

    assert [len(batch) for batch in encoder.batches] == [1, 8, 8, 3]


def test_several_at_once() -> None:
    """As many batches as allowed are encoded at the same time."""
    encoder = _Counting()
    asyncio.run(_together(encoder, ["a", "b", "c"], most=2))

    assert encoder.batches[:2] == [["a"], ["b"]]


@pytest.mark.parametrize("most", [1, 2])
def test_same_text(most: int) -> None:
    """Equal texts that wait, or come while one of them is encoded, are encoded once, and all get the vector."""
    encoder = _Counting()
    found = asyncio.run(_together(encoder, ["a", "a", "bb", "a", "bb"], most))

    assert sorted(encoder.batches) == [["a"], ["bb"]]
    assert [float(vector[0]) for vector in found] == [1, 1, 2, 1, 2]


def test_encoder_that_fails() -> None:
    """A failure reaches all whose batch it was, and the queue goes on."""
    encoder = _Counting()
    found = asyncio.run(_together(encoder, ["fail", "b", "fail"]))

    assert [type(found[0]), type(found[2])] == [ValueError, ValueError]
    assert found[1] == pytest.approx([1])


def test_query_that_was_given_up() -> None:
    """A query whose request has ended is not encoded any more, unless another request asks the same."""
    encoder = _Counting()

    async def run() -> Vectors:
        with ThreadPoolExecutor(1) as workers:
            queries = Queries(encoder, workers, 1)
            texts = ("a", "gone", "shared", "shared", "c")
            first, gone, left, stayed, last = (asyncio.create_task(queries.encode(text)) for text in texts)
            await asyncio.sleep(0.05)
            gone.cancel()
            left.cancel()
            encoder.go.set()
            await asyncio.gather(first, last)
            return await stayed

    assert asyncio.run(run()) == pytest.approx([6])
    assert encoder.batches == [["a"], ["shared", "c"]]


def test_given_up_while_encoded() -> None:
    """A text that is being encoded for a request that has ended serves the one that asks for it then."""
    encoder = _Counting()

    async def run() -> Vectors:
        with ThreadPoolExecutor(1) as workers:
            queries = Queries(encoder, workers, 1)
            gone = asyncio.create_task(queries.encode("a"))
            await asyncio.sleep(0.05)
            gone.cancel()
            await asyncio.sleep(0)
            later = asyncio.create_task(queries.encode("a"))
            await asyncio.sleep(0)
            encoder.go.set()
            return await later

    assert asyncio.run(run()) == pytest.approx([1])
    assert encoder.batches == [["a"]]


def test_workers_that_stop() -> None:
    """Where the workers take nothing more, each of those that wait hears of it."""
    encoder = _Counting()

    async def run() -> list[Any]:
        workers = ThreadPoolExecutor(1)
        queries = Queries(encoder, workers, 1)
        asked = [asyncio.create_task(queries.encode(text)) for text in ("a", "b", "c")]
        await asyncio.sleep(0.05)
        workers.shutdown(wait=False)
        encoder.go.set()
        async with asyncio.timeout(5):
            return list(await asyncio.gather(*asked, queries.encode("d"), return_exceptions=True))

    first, *others = asyncio.run(run())

    assert first == pytest.approx([1])
    assert [type(found) for found in others] == [RuntimeError] * 3


@pytest.mark.parametrize(
    ("cache", "texts", "encoded"),
    [
        (0, "aa", "aa"),
        (1, "aa", "a"),
        (1, "aba", "aba"),
        (2, "abab", "ab"),
        (2, "abacb", "abcb"),  # a was asked for after b, so b makes room for c
        (2, "abacab", "abcb"),
        (9, "abcabc", "abc"),
    ],
)
def test_texts_that_come_again(cache: int, texts: str, encoded: str) -> None:
    """The vectors of as many texts as allowed are kept, those asked for last."""
    encoder = _Counting()
    found = asyncio.run(_in_turn(encoder, list(texts), cache))

    assert encoder.batches == [[text] for text in encoded]
    assert [float(vector[0]) for vector in found] == [1] * len(texts)


@pytest.mark.parametrize("texts", [["a", "a "], ["a", "A"], ["é", "e\u0301"], ["", " "]])
def test_texts_that_differ(texts: list[str]) -> None:
    """Only the same text, to the last character, is known again."""
    encoder = _Counting()
    asyncio.run(_in_turn(encoder, texts, 9))

    assert encoder.batches == [[text] for text in texts]


@pytest.mark.parametrize("text", ["fail", "nan"])
def test_failure_is_not_kept(text: str) -> None:
    """A text that could not be encoded, or whose vector is none, is encoded again when it comes again."""
    encoder = _Counting()
    asyncio.run(_in_turn(encoder, [text, text], 9))

    assert encoder.batches == [[text], [text]]


@pytest.mark.parametrize("cache", [0, 9])
def test_read_only(cache: int) -> None:
    """Nobody can change a vector that others may get too."""
    first, again = asyncio.run(_in_turn(_Counting(), ["a", "a"], cache))

    for vector in (first, again):
        with pytest.raises(ValueError, match="read-only"):
            vector[0] = 9


@pytest.mark.parametrize("cache", [0, 2])
def test_assembled(cache: int) -> None:
    """The service keeps as many vectors as its setting says."""
    made = assemble(Settings(retrieval={"index": ROOT / "var" / "index", "cache": cache}))

    async def twice() -> bool:
        return await made.queries.encode("tea") is await made.queries.encode("tea")

    assert asyncio.run(twice()) is bool(cache)
    made.workers.shutdown()
