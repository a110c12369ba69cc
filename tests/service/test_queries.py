"""The queue before the encoder: who waits together is encoded together, and nobody is forgotten."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from retrieval.encoder import Vectors
from service.queries import Queries


class _Counting:
    """An encoder whose vectors are the lengths of texts; holds its first call until it is let go."""

    id = "counting"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.go = threading.Event()

    def encode(self, texts: list[str]) -> Vectors:
        """Give one number a text, or fail on the text that says so."""
        self.batches.append(texts)
        self.go.wait(5)
        if "fail" in texts:
            raise ValueError("cannot")
        return np.array([[len(text)] for text in texts], dtype=np.float32)


async def _together(encoder: _Counting, texts: list[str], most: int = 1) -> list[object]:
    """Ask for all at once, the first of them being under way before the others come."""
    with ThreadPoolExecutor(2) as workers:
        queries = Queries(encoder, workers, most)
        asked = [asyncio.create_task(queries.encode(text)) for text in texts]
        await asyncio.sleep(0.05)
        encoder.go.set()
        return list(await asyncio.gather(*asked, return_exceptions=True))


def test_those_that_wait() -> None:
    """Queries that come while one is encoded are the next batch, and each gets its own vector."""
    encoder = _Counting()
    found = asyncio.run(_together(encoder, ["a", "bb", "ccc"]))

    assert encoder.batches == [["a"], ["bb", "ccc"]]
    assert [float(vector[0]) for vector in found] == [1, 2, 3]  # type: ignore[index]


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


def test_encoder_that_fails() -> None:
    """A failure reaches those whose batch it was, and the queue goes on."""
    encoder = _Counting()
    found = asyncio.run(_together(encoder, ["fail", "b"]))

    assert isinstance(found[0], ValueError)
    assert found[1] == pytest.approx([1])


def test_query_that_was_given_up() -> None:
    """A query whose request has ended is not encoded any more."""
    encoder = _Counting()

    async def run() -> None:
        with ThreadPoolExecutor(1) as workers:
            queries = Queries(encoder, workers, 1)
            first, gone, last = (asyncio.create_task(queries.encode(text)) for text in ("a", "gone", "c"))
            await asyncio.sleep(0.05)
            gone.cancel()
            encoder.go.set()
            await asyncio.gather(first, last)

    asyncio.run(run())

    assert encoder.batches == [["a"], ["c"]]


def test_workers_that_stop() -> None:
    """Where the workers take nothing more, each of those that wait hears of it."""
    encoder = _Counting()

    async def run() -> list[object]:
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
