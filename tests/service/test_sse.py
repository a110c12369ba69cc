"""The event-stream decoder: any cut of the bytes gives the same events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import sse

_STREAM = (
    b'\xef\xbb\xbf: hello\r\ndata: {"a": "\xc3\xa9"}\r\n\r\nevent: x\nid: 7\ndata:one\ndata: two\n\n: ping\n\n'
    b"data: caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac\r\rdata\n\nretry: 3\n\ndata: [DONE]\n\n"
)
_EVENTS = [b'{"a": "\xc3\xa9"}', b"one\ntwo", "café 日本".encode(), b"", b"[DONE]"]


def _decode(chunks: list[bytes]) -> list[bytes]:
    decoder = sse.Decoder(10_000)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def test_whole_stream() -> None:
    """Comments, other fields, a byte order mark and all three line ends are read as the standard says."""
    assert _decode([_STREAM]) == _EVENTS


@pytest.mark.parametrize("cut", range(len(_STREAM) + 1))
def test_cut_at_every_byte(cut: int) -> None:
    """Where the bytes are cut makes no difference, even inside a character or between CR and LF."""
    assert _decode([_STREAM[:cut], _STREAM[cut:]]) == _EVENTS


@given(st.lists(st.integers(min_value=0, max_value=len(_STREAM)), max_size=20))
def test_cut_in_many_places(cuts: list[int]) -> None:
    """Any number of cuts gives the same events."""
    edges = [0, *sorted(cuts), len(_STREAM)]

    assert _decode([_STREAM[a:b] for a, b in pairwise(edges)]) == _EVENTS


@given(st.text().filter(lambda text: "\r" not in text))
def test_encoded_text_is_decoded_again(text: str) -> None:
    """What `encode` writes, the decoder reads back, line feeds included."""
    data = text.encode("utf-8", "surrogatepass")

    assert _decode([sse.encode(data)]) == [data]


def test_event_without_end() -> None:
    """An event that grows past the limit is refused instead of filling the memory."""
    decoder = sse.Decoder(100)

    with pytest.raises(sse.FrameTooLong):
        decoder.feed(b"data: " + b"x" * 200)


def test_many_lines_in_one_event() -> None:
    """The limit counts all lines of an event, not only the last."""
    decoder = sse.Decoder(100)

    with pytest.raises(sse.FrameTooLong):
        decoder.feed(b"data: xxxxxxxxxx\n" * 20)


def test_unfinished_event() -> None:
    """An event whose blank line never came is not given."""
    assert _decode([b"data: half\n"]) == []
