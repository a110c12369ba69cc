"""A server of raw bytes: it follows a script on each connection, and notes what it saw there.

For what no well-behaved HTTP server does: broken framing, silence, resets, a head without an end, a connection that is
closed under a request.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.upstream import DONE, Json, choice, completion, digit, frames


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as received: on which connection and as which of that connection's, both counted from 0."""

    connection: int
    turn: int
    line: str
    headers: dict[str, str]
    body: bytes
    began: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Json:
        """The body."""
        found: Json = json.loads(self.body) if self.body else {}
        return found

    @property
    def judging(self) -> bool:
        """Whether it asks for a judge's digit."""
        return self.json.get("max_tokens") == 1 and self.json.get("top_logprobs") == 20

    @property
    def streams(self) -> bool:
        """Whether it asks for a stream."""
        return bool(self.json.get("stream"))


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing for so many seconds, or until the peer leaves."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Forever:
    """Say the same again and again until the peer leaves."""

    data: bytes
    every_s: float = 0.0


class End(Enum):
    """How the server ends a connection: in order, or by a reset."""

    CLOSE = "close"
    RESET = "reset"


Step = bytes | Pause | Forever | End
Steps = Sequence[Step]
Script = Callable[[Asked], Steps]


def head(*headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Give a response's head."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def reply(body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """Give a response with its length."""
    return head(f"content-length: {len(body)}", *headers, status=status, kind=kind) + body


def chunked(parts: Sequence[bytes], *, ends: bool = True) -> bytes:
    """Give a body in chunks, one for each part; without `ends` the last chunk is missing."""
    body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return body + (b"0\r\n\r\n" if ends else b"")


STREAM = head("transfer-encoding: chunked", kind="text/event-stream")


def events(parts: Sequence[bytes], *, ends: bool = True) -> bytes:
    """Give a response that is a stream of ready-made events."""
    return STREAM + chunked(parts, ends=ends)


def said(text: str) -> bytes:
    """Give the JSON of a whole chat answer."""
    return json.dumps(completion([choice(message={"role": "assistant", "content": text})])).encode()


def answering(text: str = "Hello.") -> Script:
    """Give the script of a server in good health, streamed or whole as it is asked."""
    return lambda asked: (events([*frames([text]), DONE]) if asked.streams else reply(said(text)),)


def judging(odds: dict[str, float]) -> Script:
    """Give the script of a judge in good health."""
    return lambda asked: (reply(bytes(digit(odds).body)),)


class Raw:
    """The server's state: scripts in force, requests as received, peers that left while they were served."""

    def __init__(self) -> None:
        self.door: Steps = ()  # what is done on a connection before anything is read
        self.script: Script = answering()
        self.judge: Script = judging({"0": 1.0})
        self.asked: list[Asked] = []
        self.judged: list[Asked] = []
        self.left: list[tuple[Asked, float]] = []
        self.connections = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"

    def listen(self) -> None:
        """Begin to take connections."""
        self._listener.listen(64)
        self._start(self._accept)

    def close(self) -> None:
        """Close everything and wait for its threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # the listener was closed
                return
            connection.settimeout(30)
            with self._lock:
                self._open.add(connection)
                number, self.connections = self.connections, self.connections + 1
            self._start(self._serve, connection, number)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, suppress(OSError):
            turn = 0
            serving = self._follow(connection, self.door)
            while serving and (asked := _read(connection, number, turn)):
                serving, turn = self._answer(connection, asked), turn + 1
        with self._lock:
            self._open.discard(connection)

    def _answer(self, connection: socket.socket, asked: Asked) -> bool:
        if asked.line.startswith("GET "):
            listed = {"object": "list", "data": [{"id": "tiny", "object": "model"}]}
            return self._follow(connection, (reply(json.dumps(listed).encode()),))
        (self.judged if asked.judging else self.asked).append(asked)
        try:
            steps = (self.judge if asked.judging else self.script)(asked)
            return self._follow(connection, steps, asked)
        except OSError:  # it left while the server was writing
            self.left.append((asked, time.monotonic()))
            raise

    def _follow(self, connection: socket.socket, steps: Steps, asked: Asked | None = None) -> bool:
        """Do what a script says; tell whether the connection may take another request."""
        for step in steps:
            if isinstance(step, bytes):
                connection.sendall(step)
            elif isinstance(step, Pause):
                if _gone(connection, step.seconds):
                    raise BrokenPipeError
            elif isinstance(step, Forever):
                while not _gone(connection, step.every_s):
                    connection.sendall(step.data)
                raise BrokenPipeError
            else:
                if step is End.RESET:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
        return True


def _read(connection: socket.socket, number: int, turn: int) -> Asked | None:
    """Read one request, or None where the peer closed the connection instead."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return None
        received += more
    top, _, body = received.partition(b"\r\n\r\n")
    line, *rest = top.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (item.partition(":") for item in rest)}
    parts, missing = [body], int(headers.get("content-length", 0)) - len(body)
    while missing > 0:
        if not (more := connection.recv(min(missing, 1 << 20))):
            return None
        parts.append(more)
        missing -= len(more)
    return Asked(number, turn, line, headers, b"".join(parts))


def _gone(connection: socket.socket, seconds: float) -> bool:
    """Wait, and tell at once when the peer closes the connection; bytes that nobody has read yet hide that."""
    deadline = time.monotonic() + seconds
    readable, _, _ = select.select([connection], [], [], seconds)
    if readable and not connection.recv(1, socket.MSG_PEEK):
        return True
    time.sleep(max(0.0, deadline - time.monotonic()))
    return False


@contextmanager
def serving(*, listening: bool = True) -> Iterator[Raw]:
    """Run a server for as long as the context lasts; `raw.url` is its base URL."""
    made = Raw()
    try:
        if listening:
            made.listen()
        yield made
    finally:
        made.close()
