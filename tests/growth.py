"""How time grows with the size of a text: a ratio within one run, so that a slow or busy machine changes nothing."""

import gc
import time
from collections.abc import Callable


def growth(call: Callable[[str], object], piece: str, size: int) -> float:
    """Give how many times longer `call` takes on ten times `size` characters: 10 where it is linear, 100 for a square.

    The best of several tries, with the garbage collector held: what it costs grows with the whole test run's heap.
    """
    short, long = ((piece * (length // len(piece) + 1))[:length] for length in (size, 10 * size))
    tries = 0
    ratio = 100.0
    while ratio > 40 and tries < 4:
        tries += 1
        ratio = min(ratio, _seconds(call, long) / max(_seconds(call, short), 0.002))
    return ratio


def _seconds(call: Callable[[str], object], text: str) -> float:
    gc.collect()
    gc.disable()
    try:
        start = time.process_time()
        call(text)
        return time.process_time() - start
    finally:
        gc.enable()
