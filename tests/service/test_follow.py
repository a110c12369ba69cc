"""A running service and the index's pointer: new versions are followed, broken ones not, and requests keep theirs."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from index.__main__ import main as index_command
from retrieval import search
from retrieval.layout import Layout
from service import follow, logs
from service.app import create_app
from service.chat import guard_of
from service.follow import Follower
from service.guard import Guard
from service.metrics import Metrics
from service.parts import remake, with_index
from service.queries import Queries
from service.settings import Settings
from tests.conftest import ROOT, Kept, until
from tests.shelf import Hashing
from tests.upstream import serve

ROWS = [{"id": "jp-lift-quiet", "culture": "JP", "statement": "In many Japanese office lifts people keep silent."}]
QUESTION = "May I chat in the office lift in Tokyo?"
Write = Callable[..., Layout]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A copy of the serving version, in a folder of the test's own."""
    source, made = Layout(ROOT / "var" / "index"), Layout(tmp_path / "index")
    current = source.current()
    id = current.read_manifest().encoder_id
    shutil.copytree(source.encoder(id), made.encoder(id))
    shutil.copytree(current.root, made.version(current.root.name).root)
    made.pointer.write_text(current.root.name + "\n", encoding="utf-8")
    return made


@pytest.fixture
def guard(guard: Guard, layout: Layout) -> Guard:
    """The embedded parts on that copy, which look for a new version often."""
    settings = Settings(retrieval={"index": layout.root, "poll_s": 0.05})
    logs.configure(settings.log)
    index = search.open_current(layout.root, settings.retrieval.encoder)
    workers = Kept(guard.workers)
    queries = Queries(index.encoder, workers, 1)
    metrics = Metrics()
    metrics.serving(index.manifest.version, len(index.descriptions))
    return replace(guard, settings=settings, index=index, metrics=metrics, workers=workers, queries=queries)


@pytest.fixture
def client(guard: Guard) -> Iterator[httpx.Client]:
    """A client of the service on those parts."""
    with serve(create_app(guard)) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as made:
        yield made


def add(layout: Layout, tmp_path: Path) -> str:
    """Publish a version with one description more; give its name."""
    file = tmp_path / "lift.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    assert index_command(["add", str(file), "--index", str(layout.root)]) == 0
    return layout.current().root.name


def serving(client: httpx.Client) -> str:
    """Give the version that a search comes from."""
    version: str = client.post("/comity/v1/retrieve", json={"query": QUESTION}).json()["index_version"]
    return version


def found(client: httpx.Client) -> list[str]:
    """Search for what only the new version knows."""
    said = client.post("/comity/v1/retrieve", json={"query": QUESTION, "cultures": ["JP"], "k": 1}).json()
    return [item["id"] for item in said["descriptions"]]


def test_new_version(client: httpx.Client, layout: Layout, tmp_path: Path) -> None:
    """What was published is found by the running service, and metrics, probe and log tell of it."""
    before = serving(client)
    assert found(client) != ["jp-lift-quiet"]
    name = add(layout, tmp_path)
    assert until(lambda: serving(client) == name, 20)
    assert found(client) == ["jp-lift-quiet"]
    assert client.get("/readyz").json()["index"] == client.get("/startupz").json()["index_version"] == name
    told = client.get("/metrics").text
    assert f'comity_index_descriptions{{version="{name}"}}' in told
    assert before not in told
    assert 'comity_index_changes_total{outcome="opened"} 1.0' in told


def test_rollback(client: httpx.Client, layout: Layout, tmp_path: Path) -> None:
    """A rollback is followed too."""
    before = serving(client)
    name = add(layout, tmp_path)
    assert until(lambda: serving(client) == name, 20)
    assert index_command(["rollback", "--index", str(layout.root)]) == 0
    assert until(lambda: serving(client) == before, 20)


def truncated(layout: Layout, name: str) -> None:
    """Cut the vectors short."""
    file = layout.version(name).vectors
    file.write_bytes(file.read_bytes()[:-100])


def edited(layout: Layout, name: str) -> None:
    """Change the manifest by hand."""
    file = layout.version(name).manifest
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"descriptions": ', '"descriptions": 1'), encoding="utf-8")


def gone(layout: Layout, name: str) -> None:
    """Take the version away."""
    shutil.rmtree(layout.version(name).root)


def pointless(layout: Layout, name: str) -> None:
    """Make the pointer name nothing."""
    layout.pointer.write_bytes(b"\xff../../etc")


@pytest.mark.parametrize("broken", [truncated, edited, gone, pointless])
def test_broken_version(
    client: httpx.Client, layout: Layout, tmp_path: Path, broken: Callable[[Layout, str], None]
) -> None:
    """A version that cannot be opened changes nothing: the last good one serves on, and probe and metrics say so."""
    before = serving(client)
    beside = Layout(tmp_path / "beside")
    shutil.copytree(layout.root, beside.root)
    name = add(beside, tmp_path)
    shutil.copytree(beside.version(name).root, layout.version(name).root)
    broken(layout, name)
    if broken is not pointless:
        layout.pointer.write_text(name + "\n", encoding="utf-8")
    assert until(lambda: "comity_index_behind 1.0" in client.get("/metrics").text, 20)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json()["index"]) == (200, before)
    assert "cannot be opened" in ready.json()["index_trouble"]
    assert str(layout.root) not in ready.text
    assert serving(client) == before
    assert 'comity_index_changes_total{outcome="refused"} 1.0' in client.get("/metrics").text

    layout.pointer.write_text(before + "\n", encoding="utf-8")
    assert until(lambda: "comity_index_behind 0.0" in client.get("/metrics").text, 20)
    assert "index_trouble" not in client.get("/readyz").json()


def test_load_while_versions_change(client: httpx.Client, layout: Layout, tmp_path: Path) -> None:
    """While the pointer moves to and fro under load no request fails, and none mixes two versions."""
    before = serving(client)
    name = add(layout, tmp_path)
    stop, seen = threading.Event(), set[tuple[str, bool]]()

    def ask() -> None:
        while not stop.is_set():
            said = client.post("/comity/v1/retrieve", json={"query": QUESTION, "cultures": ["JP"], "k": 1})
            assert said.status_code == 200
            ids = [item["id"] for item in said.json()["descriptions"]]
            seen.add((said.json()["index_version"], ids == ["jp-lift-quiet"]))

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        for _ in range(3):
            for version in (before, name):
                layout.pointer.write_text(version + "\n", encoding="utf-8")
                assert until(lambda wanted=version: client.get("/readyz").json()["index"] == wanted, 20)  # type: ignore[misc]
        stop.set()
        for each in asking:
            each.result()
    assert seen == {(before, False), (name, True)}


def test_request_keeps_its_version(guard: Guard, layout: Layout, tmp_path: Path) -> None:
    """Parts that a request took before a change are whole afterwards: the old version's, one and all."""

    async def run() -> tuple[Guard, Guard]:
        follower = Follower(guard, remake)
        held = follower.guard
        await asyncio.get_running_loop().run_in_executor(None, add, layout, tmp_path)
        await follower.look()
        return held, follower.guard

    held, new = asyncio.run(run())
    assert held.index.manifest.version != new.index.manifest.version
    assert len(held.index.descriptions) + 1 == len(new.index.descriptions)
    assert new.index.encoder is held.index.encoder
    assert (new.queries, new.names, new.metrics) == (held.queries, held.names, held.metrics)
    (vector,) = held.index.encoder.encode_queries([QUESTION])
    assert all(passage.description.id != "jp-lift-quiet" for passage in held.index.find(QUESTION, vector, (), 9, -1))


def test_policy_of_a_lost_culture(guard: Guard, layout: Layout, tmp_path: Path) -> None:
    """A version whose registry lacks a culture that a policy is for is refused, for the policy would not hold."""
    settings = guard.settings.model_copy(
        update={"policies": {"tea": guard.settings.policy.model_copy(update={"cultures": ("JP",)})}}
    )
    held = replace(guard, settings=settings, queries=Queries(guard.index.encoder, guard.workers, 1))

    async def run() -> Any:
        knowledge = tmp_path / "knowledge"
        shutil.copytree(ROOT / "knowledge", knowledge)
        registry = knowledge / "cultures.jsonl"
        kept = [line for line in registry.read_text(encoding="utf-8").splitlines() if json.loads(line)["id"] != "JP"]
        registry.write_text("\n".join(kept) + "\n", encoding="utf-8")
        (knowledge / "descriptions" / "JP.jsonl").unlink()
        shutil.rmtree(knowledge / "cues")
        (knowledge / "names.jsonl").unlink()
        arguments = ["build", "--knowledge", str(knowledge), "--index", str(layout.root)]
        assert await asyncio.get_running_loop().run_in_executor(None, index_command, arguments) == 0
        follower = Follower(held, remake)
        await follower.look()
        return follower

    follower = asyncio.run(run())
    assert follower.guard is held
    assert follower.trouble is not None


def test_refused_version_is_tried_again(
    guard: Guard, layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log tells of a version that is refused, once; it is tried again, and followed once it is mended."""
    name = add(layout, tmp_path)
    file = layout.version(name).vectors
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    follower = Follower(guard, remake)

    async def look(times: int) -> None:
        for _ in range(times):
            await follower.look()

    capfd.readouterr()
    monkeypatch.setattr(follow, "_AGAIN_S", 0)
    asyncio.run(look(3))
    told = "".join(capfd.readouterr())
    assert (told.count("index refused"), told.count(name) > 0) == (1, True)
    assert follower.guard is guard
    file.write_bytes(whole)
    monkeypatch.setattr(follow, "_AGAIN_S", 3600)
    asyncio.run(look(1))
    assert follower.guard is guard
    monkeypatch.setattr(follow, "_AGAIN_S", 0)
    asyncio.run(look(1))
    assert (follower.guard.index.manifest.version, follower.trouble) == (name, None)


def test_other_encoder(guard: Guard) -> None:
    """A version of another encoder gets a queue of its own: vectors of two encoders are never compared."""
    index = copy.copy(guard.index)
    index.encoder = Hashing(guard.index.manifest.dimension)
    made = with_index(guard, index)
    assert made.queries is not guard.queries
    vector = asyncio.run(made.queries.encode("tea"))
    assert (vector == index.encoder.encode(["tea"])[0]).all()
    assert with_index(guard, copy.copy(guard.index)).queries is guard.queries


def test_other_registry(guard: Guard) -> None:
    """Names are those of the index's registry: where it changed they are made anew, else kept."""
    index = copy.copy(guard.index)
    assert with_index(guard, index).names is guard.names
    files = {**index.manifest.files, "cultures.jsonl": "0" * 64}
    index.manifest = replace(index.manifest, files=files)
    assert with_index(guard, index).names is not guard.names


def test_parts_of_a_request(guard: Guard) -> None:
    """However often a request asks for the live parts, it gets those that it began with."""
    follower = SimpleNamespace(guard=guard)
    scope = {"type": "http", "headers": [], "app": SimpleNamespace(state=SimpleNamespace(follower=follower))}
    begun = guard_of(Request(scope))
    follower.guard = replace(guard)
    assert guard_of(Request(scope)) is begun is guard
    assert guard_of(Request({**scope, "state": {}})) is follower.guard
