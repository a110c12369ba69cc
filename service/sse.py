"""Server-sent events as bytes: feed what arrives, take out the payloads; no I/O, no JSON.

Source: WHATWG HTML, section 9.2.6 (lines end in CR LF, LF or CR; a blank line ends an event; a line that begins with a
colon is a comment). Of the fields only `data` matters to OpenAI's protocol; `id` is never passed on, because a
remembered id makes a blank line dispatch an empty event in some clients.
"""

from __future__ import annotations

DONE = b"[DONE]"
PING = b": ping\n\n"
_BOM = b"\xef\xbb\xbf"


class FrameTooLong(ValueError):
    """An event grew past the limit before it ended."""


class Decoder:
    """Turns a byte stream, cut anywhere, into the data of its events."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._data: list[bytes] = []
        self._size = 0
        self._began = False
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes and give the data of every event that they complete.

        Raises:
            FrameTooLong: the event under way is larger than the limit.
        """
        events: list[bytes] = []
        for byte_line in self._lines(chunk):
            data = self._line(byte_line)
            if data is not None:
                events.append(data)
        if len(self._buffer) + self._size > self._max_bytes:
            raise FrameTooLong(f"an event is longer than {self._max_bytes} bytes")
        return events

    def _lines(self, chunk: bytes) -> list[bytes]:
        if self._after_cr and chunk:  # a CR at the very end of the last chunk may be half of CR LF
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        self._after_cr = chunk.endswith(b"\r") or (not chunk and self._after_cr)
        chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._buffer += chunk
        if not self._began and len(self._buffer) >= len(_BOM):
            self._began = True
            if self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
        if b"\n" not in chunk:  # looking at the new bytes only keeps a long line linear
            return []
        *lines, rest = self._buffer.split(b"\n")
        self._buffer = bytearray(rest)
        return [bytes(line) for line in lines]

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            data, self._data, self._size = self._data, [], 0
            return b"\n".join(data) if data else None
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
            self._size += len(value)
        return None


def encode(data: bytes) -> bytes:
    """Give the bytes of one event."""
    return b"".join(b"data: " + line + b"\n" for line in data.split(b"\n")) + b"\n"
