"""Encodes queries off the event loop, those that wait together in one go, and keeps the latest vectors.

A batch costs one change of threads instead of one for each query, and finds the encoder's weights still in the cache.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from functools import partial

import numpy as np

from retrieval.encoder import Encoder, Vectors

_BATCH = 8  # the last of them waits for all, so no more
_Asked = list[asyncio.Future[Vectors]]  # all who wait for one text


class Queries:
    """The queue before an encoder; belongs to one event loop."""

    def __init__(self, encoder: Encoder, workers: Executor, most: int, cache: int = 0) -> None:
        """Make an empty queue.

        Args:
            most: batches that are encoded at the same time.
            cache: texts whose vectors are kept, those asked for last; 0 keeps none.
        """
        self._encoder = encoder
        self._workers = workers
        self._most = most
        self._cache = cache
        self._running = 0
        self._kept: OrderedDict[str, Vectors] = OrderedDict()
        self._waiting: OrderedDict[str, _Asked] = OrderedDict()
        self._encoding: dict[str, _Asked] = {}

    async def encode(self, text: str) -> Vectors:
        """Give the unit vector of one text, read-only, shape (dimension,); raises what the encoder raises."""
        kept = self._kept.get(text)
        if kept is not None:
            self._kept.move_to_end(text)
            return kept
        found: asyncio.Future[Vectors] = asyncio.get_running_loop().create_future()
        asked = self._waiting.get(text) or self._encoding.get(text)
        if asked:
            asked.append(found)
        else:
            self._waiting[text] = [found]
            self._start()
        return await found

    def _start(self) -> None:
        while self._waiting and self._running < self._most:
            waiting = [self._waiting.popitem(last=False) for _ in range(min(_BATCH, len(self._waiting)))]
            batch = {text: asked for text, asked in waiting if not all(found.done() for found in asked)}
            if not batch:  # all were given up
                continue
            try:
                encoding = asyncio.get_running_loop().run_in_executor(
                    self._workers, self._encoder.encode_queries, list(batch)
                )
            except RuntimeError as error:  # the workers take nothing more: each of the batch must hear of it
                _answer(batch, error)
                continue
            self._running += 1
            self._encoding |= batch
            encoding.add_done_callback(partial(self._end, batch))

    def _end(self, batch: dict[str, _Asked], encoding: asyncio.Future[Vectors]) -> None:
        self._running -= 1
        for text in batch:
            del self._encoding[text]
        error = RuntimeError("the workers stopped") if encoding.cancelled() else encoding.exception()
        if error:
            _answer(batch, error)
        else:
            for (text, asked), row in zip(batch.items(), encoding.result(), strict=True):
                vector = row.copy()  # a row alone would hold the whole batch in memory
                vector.flags.writeable = False
                self._keep(text, vector)
                _answer({text: asked}, vector)
        self._start()

    def _keep(self, text: str, vector: Vectors) -> None:
        if self._cache and np.isfinite(vector).all():  # what is no vector has failed
            self._kept[text] = vector
            if len(self._kept) > self._cache:
                self._kept.popitem(last=False)


def _answer(batch: dict[str, _Asked], said: Vectors | BaseException) -> None:
    for asked in batch.values():
        for found in asked:
            if not found.done():
                found.set_exception(said) if isinstance(said, BaseException) else found.set_result(said)
