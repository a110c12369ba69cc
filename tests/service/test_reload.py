"""A running service and its configuration: a good change serves whole, a bad one not at all; requests keep theirs."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from service import logs
from service.admission import Keys
from service.app import create_app
from service.backend import Backend
from service.guard import Guard
from service.metrics import Metrics
from service.parts import assemble, make_policies
from service.responder import MODEL
from service.source import Source
from tests.conftest import ROOT, Kept, until
from tests.upstream import DONE, Upstream, frames, serve, stream

BASE = f"retrieval: {{index: '{ROOT / 'var' / 'index'}', poll_s: 0.05}}\n"
CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Good morning"}]}
Write = Callable[[str], None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The configuration of the running service."""
    made = tmp_path / "comity.yaml"
    made.write_text(BASE, encoding="utf-8")
    return made


@pytest.fixture
def write(file: Path) -> Write:
    """Replaces the configuration at once, as a deployment does."""

    def written(text: str) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(BASE + text, encoding="utf-8")
        beside.replace(file)

    return written


def made(guard: Guard, source: Source) -> Guard:
    """The parts that a configuration makes, on the index and the encoder that are open already."""
    settings = source.load()
    logs.configure(settings.log)
    return replace(
        guard,
        settings=settings,
        keys=Keys(settings.api_keys, settings.anonymous),
        policies=make_policies(settings, guard.index.cultures),
        metrics=Metrics(),
        workers=Kept(guard.workers),
    )


@pytest.fixture
def client(guard: Guard, file: Path) -> Iterator[httpx.Client]:
    """A client of the service that follows the file."""
    source = Source(file)
    app = create_app(made(guard, source), source)
    with serve(app) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as opened:
        yield opened


def hash_of(client: httpx.Client) -> str:
    """The hash of the configuration that serves."""
    found: str = client.get("/info").json()["config_hash"]
    return found


def test_change(client: httpx.Client, write: Write) -> None:
    """A policy that is written into the file serves without a restart; the hash, metrics and log tell of it."""
    before = hash_of(client)
    write("policy: {mode: 'off'}\n")
    assert until(lambda: hash_of(client) != before, 20)
    assert client.post("/v1/chat/completions", json=CHAT).headers["x-comity-mode"] == "off"
    assert 'comity_config_reload_total{result="opened"} 1.0' in client.get("/metrics").text
    write("")
    assert until(lambda: hash_of(client) == before, 20)


def test_keys_rotate(client: httpx.Client, write: Write) -> None:
    """A key that is added lets its caller in, and one that is taken out does not, without a restart."""

    def status(key: str) -> int:
        return client.post("/v1/chat/completions", json=CHAT, headers={"authorization": f"Bearer {key}"}).status_code

    write("api_keys: [old-key]\n")
    assert until(lambda: status("new-key") == 401, 20)
    assert status("old-key") == 200
    write("api_keys: [old-key, new-key]\n")
    assert until(lambda: status("new-key") == 200, 20)
    assert status("old-key") == 200
    write("api_keys: [new-key]\n")
    assert until(lambda: status("old-key") == 401, 20)
    assert status("new-key") == 200


def test_secret_rotates(client: httpx.Client, write: Write, tmp_path: Path) -> None:
    """A key in a mounted file is followed when the file changes, though the configuration does not."""
    secret = tmp_path / "key"
    secret.write_text("first-key\n")
    write(f"api_keys: ['${{file:{secret}}}']\n")

    def status(key: str) -> int:
        return client.get("/v1/models", headers={"authorization": f"Bearer {key}"}).status_code

    assert until(lambda: (status("first-key"), status("second-key")) == (200, 401), 20)
    secret.write_text("second-key\n")
    assert until(lambda: (status("first-key"), status("second-key")) == (401, 200), 20)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("policy: {mode: enforce}\n", "no LLM judge"),
        ("polcy: {}\n", "polcy: is not a setting"),
        ("limits: {max_messages: many}\n", "limits.max_messages"),
        ("policies: {a: {cultures: [ZZ]}}\n", "ZZ is not in the registry"),
        ("server: {port: 1}\n", "server cannot change while the service runs"),
        ("backend:\n  api_key: ${NOT_SET_AT_ALL}\n", "NOT_SET_AT_ALL"),
        ("policy: {mode: [\n", "this is not YAML"),
        ("log: {level: !!bool maybe}\n", "a value cannot be read"),
    ],
)
def test_bad_change(
    client: httpx.Client, write: Write, capfd: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    """What cannot be used changes nothing: the last good configuration serves on, and log, probe and metrics say so."""
    before = hash_of(client)
    write(text)
    assert until(lambda: "comity_config_behind 1.0" in client.get("/metrics").text, 20)
    assert hash_of(client) == before
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert "cannot be used" in ready.json()["config_trouble"]
    said = [line for line in capfd.readouterr().err.splitlines() if "configuration refused" in line]
    assert len(said) == 1, "once, however often it is looked at"
    assert reason in said[0]
    write("")
    assert until(lambda: "comity_config_behind 0.0" in client.get("/metrics").text, 20)
    assert "config_trouble" not in client.get("/readyz").json()


def test_file_is_lost(client: httpx.Client, write: Write, file: Path) -> None:
    """A file that goes away changes nothing, and is followed again when it is back."""
    before = hash_of(client)
    file.unlink()
    assert until(lambda: "comity_config_behind 1.0" in client.get("/metrics").text, 20)
    assert hash_of(client) == before
    write("policy: {mode: 'off'}\n")
    assert until(lambda: hash_of(client) != before, 20)


def test_example_is_read_once(guard: Guard, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A configuration that does not change is not read again, whatever its comments say."""
    file = tmp_path / "comity.yaml"
    text = (ROOT / "comity.example.yaml").read_text(encoding="utf-8").replace("poll_s: 2", "poll_s: 0.05")
    file.write_text(text.replace("var/index", str(ROOT / "var" / "index")), encoding="utf-8")
    source = Source(file)
    app = create_app(made(guard, source), source)
    with serve(app) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        time.sleep(0.5)
        assert "comity_config_reload_total{" not in client.get("/metrics").text
    assert "configuration opened" not in capfd.readouterr().err


def test_change_while_it_starts(guard: Guard, file: Path, write: Write) -> None:
    """What changes between reading the configuration and serving by it is followed too."""
    write("api_keys: [old-key]\n")
    source = Source(file)
    parts = made(guard, source)
    write("api_keys: [new-key]\n")
    with serve(create_app(parts, source)) as address, httpx.Client(base_url=address, timeout=30) as client:
        new = {"authorization": "Bearer new-key"}
        assert until(lambda: client.get("/v1/models", headers=new).status_code == 200, 20)


def test_pointer(guard: Guard, tmp_path: Path) -> None:
    """In a folder of versions the pointer decides: moved, it is followed; to nothing, it is not."""
    for name, mode in (("one.yaml", "shadow"), ("two.yaml", "off")):
        (tmp_path / name).write_text(f"{BASE}policy: {{mode: '{mode}'}}\n", encoding="utf-8")
    pointer = tmp_path / "CURRENT"
    pointer.write_text("one.yaml\n")
    source = Source(tmp_path)

    with (
        serve(create_app(made(guard, source), source)) as address,
        httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
    ):

        def found() -> str:
            mode: str = client.post("/v1/chat/completions", json=CHAT).headers["x-comity-mode"]
            return mode

        assert found() == "shadow"
        pointer.write_text("two.yaml\n")
        assert until(lambda: found() == "off", 20)
        pointer.write_text("../secret.yaml\n")
        assert until(lambda: "comity_config_behind 1.0" in client.get("/metrics").text, 20)
        assert found() == "off"


def test_load_while_it_changes(client: httpx.Client, write: Write) -> None:
    """Under load no request fails or is served by half of a configuration while it changes many times."""
    stop = threading.Event()

    def ask() -> list[tuple[int, str, str]]:
        found = []
        while not stop.is_set():
            answer = client.post("/v1/chat/completions", json=CHAT)
            found.append((answer.status_code, answer.headers["x-comity-mode"], answer.headers["x-comity-policy"]))
        return found

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        for turn in range(8):
            hash = hash_of(client)
            write("policy: {mode: 'off'}\n" if turn % 2 == 0 else "policy: {mode: shadow}\n")
            assert until(lambda hash=hash: hash_of(client) != hash, 20)  # type: ignore[misc]
        stop.set()
        found = {row for each in asked for row in each.result()}
    assert found == {(200, "off", "default"), (200, "shadow", "default")}


def test_stream_outlives_its_backend(guard: Guard, file: Path, write: Write, upstream: Upstream) -> None:
    """A stream from a backend that the configuration no longer names goes on to its end; then its connections close."""
    write(f"backend: {{url: '{upstream.url}'}}\npolicy: {{mode: 'off'}}\n")
    source = Source(file)
    upstream.script = lambda body: stream([*frames(["One. ", "Two. ", "Three."]), DONE], pause_s=0.5)
    app = create_app(replace(assemble(source.load()), workers=Kept(guard.workers)), source)
    with serve(app) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        before, old = hash_of(client), weakref.ref(app.state.follower.guard)
        closed = watch_close(app.state.follower.guard.backend)
        with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
            lines = answer.iter_lines()
            said = [next(lines)]
            write(f"backend: {{url: '{upstream.url}'}}\npolicy: {{mode: shadow}}\njudge: {{kind: lexical}}\n")
            assert until(lambda: hash_of(client) != before, 20)
            before = hash_of(client)
            write("")
            assert until(lambda: hash_of(client) != before, 20)
            gc.collect()
            assert not closed.wait(0.3), "the stream still uses it, though the parts between are gone"
            said += list(lines)
        assert "data: [DONE]" in said
        assert "Three." in "".join(said)
        assert closed.wait(20)
        assert old() is None


def watch_close(backend: Backend | None) -> threading.Event:
    """Tell when a backend's connections are closed."""
    assert backend
    closed, close = threading.Event(), backend.close

    async def closing() -> None:
        await close()
        closed.set()

    backend.close = closing  # type: ignore[method-assign]
    return closed
