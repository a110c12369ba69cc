"""Asks the check-only route for verdicts: of a running service, or of one put together in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import httpx
from tqdm import tqdm

from service import logs, source
from service.app import create_app
from service.parts import assemble
from service.settings import LogSettings
from service.turn import Verdicts

_TRIES = (0.5, 1.0, 2.0, 4.0)  # seconds between tries where the service says that it is busy
REFUSED = "refused"  # the reason of an answer where the service did not take the exchange
_OURS = {400, 413, 422}  # statuses that say: this exchange cannot be judged


class JudgeUnusable(Exception):
    """There is nothing that could be asked; the message is one sentence."""


class ExchangeRefused(Exception):
    """The service does not take one exchange; the message is its own, and names the field."""

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class Answer:
    """A verdict as the route gives it; where none came it is undecided, and its reason says why."""

    verdict: str
    score: float | None
    coverage: str
    reason: str | None = None
    judge: str = ""
    axes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Who:
    """What answers: version of Comity, of its index, name of the judge and of its model where one is set."""

    comity: str
    index: str
    judge: str
    model: str | None


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked and how: a running service, or without an address the parts of this process.

    `config` and `index` are for the latter alone: a settings file, and the folder of the index.
    """

    base_url: str | None = None
    key: str | None = None
    config: Path | None = None
    index: Path | None = None
    concurrency: int = 8
    timeout_s: float = 120


class Asker:
    """A service that is open to be asked; `who` is what answers."""

    def __init__(self, client: httpx.AsyncClient, who: Who, concurrency: int) -> None:
        self.who = who
        self._client = client
        self._concurrency = concurrency

    async def ask(self, bodies: Sequence[Mapping[str, Any]], *, strict: bool = True) -> list[Answer]:
        """Have every exchange judged, some at once, with a progress bar on a terminal; answers in order.

        A judge or a service that fails on an exchange is an answer without a verdict.

        Args:
            strict: whether an exchange that the service does not take ends it all.

        Raises:
            JudgeUnusable: the service wants another key, or has no such route.
            ExchangeRefused: it does not take an exchange, for example for a culture that it does not know.
        """
        out: dict[int, Answer] = {}
        waiting = iter(enumerate(bodies))

        async def work() -> None:
            for position, body in waiting:
                try:
                    out[position] = await _judged(self._client, position, body)
                except ExchangeRefused:
                    if strict:
                        raise
                    out[position] = _without(REFUSED)
                bar.update()

        with tqdm(total=len(bodies), desc="judging", unit="exchange", disable=None) as bar:
            await _together([asyncio.create_task(work()) for _ in range(min(self._concurrency, len(bodies)))])
        return [out[position] for position in range(len(bodies))]


@asynccontextmanager
async def opened(target: Target) -> AsyncIterator[Asker]:
    """Open a service.

    Raises:
        JudgeUnusable: nothing answers at the address, or it is no such service.
        SettingsUnusable, IndexUnusable: in this process, nothing can be put together.
    """
    async with _served(target) if target.base_url else _embedded(target) as client:
        yield Asker(client, await _who(client), target.concurrency)


async def _together(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for all; the first error ends all."""
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _served(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {target.key}"} if target.key else {}
    address = str(target.base_url).rstrip("/").removesuffix("/v1")  # people have OpenAI's base URL at hand
    limits = httpx.Limits(max_connections=target.concurrency)
    try:
        client = httpx.AsyncClient(
            base_url=address,
            headers=headers,
            timeout=target.timeout_s,
            limits=limits,
            trust_env=False,
        )
    except (httpx.InvalidURL, UnicodeEncodeError) as error:
        raise JudgeUnusable("the address or the key cannot be sent in a request") from error
    async with client:
        yield client


@asynccontextmanager
async def _embedded(target: Target) -> AsyncIterator[httpx.AsyncClient]:
    """Put the service together here and call it without a socket: the same route, the same bytes."""
    overrides: dict[str, Any] = {"api_keys": (), "server": {"host": "127.0.0.1"}}  # nobody else can ask it
    if target.index:
        overrides["retrieval"] = {"index": target.index}
    found = source.load(target.config, **overrides)
    logs.configure(LogSettings(level="warning", format="text"))  # a line a request would drown the progress bar
    app = create_app(assemble(found))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app, raise_app_exceptions=False),
            base_url="http://in-process",
            timeout=target.timeout_s,
        ) as client,
    ):
        yield client


async def _who(client: httpx.AsyncClient) -> Who:
    try:
        answer = await client.get("/info")
        answer.raise_for_status()
        said = answer.json()
        judge = said["judge"]
        return Who(str(said["version"]), str(said["index"]["version"]), str(judge["name"]), judge.get("model"))
    except httpx.HTTPStatusError as error:
        raise JudgeUnusable(f"{client.base_url}: /info answered with {error.response.status_code}") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise JudgeUnusable(f"{client.base_url}: no service answers there ({type(error).__name__})") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise JudgeUnusable(f"{client.base_url}: what answers there is not Comity") from error


async def _judged(client: httpx.AsyncClient, position: int, body: Mapping[str, Any]) -> Answer:
    try:
        answer = await client.post("/comity/v1/judge", json=body)
        for pause in _TRIES:
            if answer.status_code != 429:
                break
            await asyncio.sleep(pause)
            answer = await client.post("/comity/v1/judge", json=body)
    except httpx.TimeoutException:
        return _without("timeout")
    except httpx.HTTPError:
        return _without("unreachable")
    if answer.status_code in _OURS:
        raise ExchangeRefused(position, _message(answer))
    if answer.status_code in (401, 403):
        raise JudgeUnusable(f"{client.base_url}: {_message(answer)}")
    if answer.status_code in (404, 405):
        raise JudgeUnusable(f"{client.base_url}: the service has no route /comity/v1/judge")
    return _read(answer) if answer.status_code == 200 else _without(f"http_{answer.status_code}")


def _read(answer: httpx.Response) -> Answer:
    """Read a verdict; what is none is an answer without one, so that a broken judge is counted and not believed."""
    try:
        said = answer.json()
        score = None if said["score"] is None else float(said["score"])
        axes = {str(axis): float(value) for axis, value in said["axes"].items()}
        numbers = [*axes.values(), *([] if score is None else [score])]
        if said["verdict"] not in get_args(Verdicts) or not all(0 <= number <= 100 for number in numbers):
            return _without("bad_output")
        reason = said.get("coverage_reason")
        return Answer(said["verdict"], score, str(said["coverage"]), reason, str(said["judge"]), axes)
    except (ValueError, LookupError, TypeError, AttributeError):
        return _without("bad_output")


def _without(reason: str) -> Answer:
    return Answer("undecided", None, "error", reason)


def _message(answer: httpx.Response) -> str:
    try:
        error = answer.json()["error"]
        param, message = error.get("param"), str(error["message"])
        return message if not param or message.startswith(str(param)) else f"{param}: {message}"
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"the service answered with {answer.status_code}"
