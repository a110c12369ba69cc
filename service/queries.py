"""Encodes queries off the event loop, those that wait together in one go.

A batch costs one change of threads instead of one for each query, and finds the encoder's weights still in the cache.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Executor
from functools import partial

from retrieval.encoder import Encoder, Vectors

_BATCH = 8  # the last of them waits for all, so no more


class Queries:
    """The queue before an encoder; belongs to one event loop."""

    def __init__(self, encoder: Encoder, workers: Executor, most: int) -> None:
        """Make an empty queue.

        Args:
            most: batches that are encoded at the same time.
        """
        self._encoder = encoder
        self._workers = workers
        self._most = most
        self._running = 0
        self._waiting: deque[tuple[str, asyncio.Future[Vectors]]] = deque()

    async def encode(self, text: str) -> Vectors:
        """Give the unit vector of one text, shape (dimension,); raises what the encoder raises."""
        found: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        self._waiting.append((text, found))
        self._start()
        return await found

    def _start(self) -> None:
        while self._waiting and self._running < self._most:
            waiting = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
            batch = [(text, found) for text, found in waiting if not found.done()]  # some were given up
            if not batch:
                continue
            texts, asked = [text for text, _ in batch], [found for _, found in batch]
            try:
                encoding = asyncio.get_running_loop().run_in_executor(self._workers, self._encoder.encode, texts)
            except RuntimeError as error:  # the workers take nothing more: each of the batch must hear of it
                for found in asked:
                    found.set_exception(error)
                continue
            self._running += 1
            encoding.add_done_callback(partial(self._end, asked))

    def _end(self, batch: list[asyncio.Future[Vectors]], encoding: asyncio.Future[Vectors]) -> None:
        self._running -= 1
        error = RuntimeError("the workers stopped") if encoding.cancelled() else encoding.exception()
        for row, found in enumerate(batch):
            if not found.done():
                found.set_exception(error) if error else found.set_result(encoding.result()[row])
        self._start()
