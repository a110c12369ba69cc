"""What the tests share: the built index, an upstream for each test, and a way to serve the guardrail."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import logs
from service.admission import Keys
from service.app import create_app
from service.guard import Guard
from service.metrics import Metrics
from service.parts import assemble, make_adapters, make_backend, make_judge, make_policies, make_rates
from service.queries import Queries
from service.settings import Settings
from tests.real import parts
from tests.upstream import Upstream, serve

ROOT = Path(__file__).parent.parent
Serve = Callable[..., httpx.Client]
REFUSING: dict[str, Any] = {"mode": "enforce", "repair": False, "fallback": False}  # nothing but a refusal


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads the configuration of whoever runs it."""
    for name in os.environ:
        if name.startswith("COMITY_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def guard() -> Iterator[Guard]:
    """The embedded parts on the index that `make index` built."""
    made = assemble(Settings(retrieval={"index": ROOT / "var" / "index"}))
    yield made
    made.workers.shutdown()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A scripted OpenAI-compatible server of this test's own; `upstream.url` is its base URL."""
    made = Upstream()
    with serve(made.app) as address:
        made.url = f"{address}/v1"
        yield made


@pytest.fixture
def service(guard: Guard) -> Iterator[Serve]:
    """Serve the guardrail with settings of the test's own; give a client of it."""
    with ExitStack() as stack:

        def start(upstream: Upstream | None = None, **groups: Any) -> httpx.Client:
            if upstream is not None:
                groups["backend"] = {"url": upstream.url, **groups.get("backend", {})}
            groups["retrieval"] = {"index": ROOT / "var" / "index", **groups.get("retrieval", {})}
            settings = Settings(**groups)
            logs.configure(settings.log)
            metrics = Metrics()
            backend = make_backend(settings, metrics)
            workers = Kept(guard.workers)
            made = replace(
                guard,
                settings=settings,
                keys=Keys(settings.api_keys, settings.anonymous),
                rates=make_rates(settings, metrics),
                policies=make_policies(settings, guard.index.cultures),
                judge=make_judge(settings, metrics),
                metrics=metrics,
                backend=backend,
                adapters=make_adapters(settings, backend, guard.index.cultures),
                workers=workers,
                queries=Queries(guard.index.encoder, workers, settings.retrieval.workers),
            )
            address = stack.enter_context(serve(create_app(made)))
            client = httpx.Client(base_url=address, timeout=30, trust_env=False)
            client.guard = made  # type: ignore[attr-defined]
            return stack.enter_context(client)

        yield start


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end which real programs the run did without, where nobody can overlook it."""
    skipped = (report.longrepr for report in terminalreporter.stats.get("skipped", ()))
    for line in parts.summary([reason[2] for reason in skipped if isinstance(reason, tuple)]):
        terminalreporter.write_line(line)


def until(holds: Callable[[], bool], seconds: float = 5) -> bool:
    """Wait until something holds that happens just after the client has its answer; tell whether it did."""
    deadline = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


class Kept(Executor):
    """The shared workers, which outlive each served application."""

    def __init__(self, workers: Executor) -> None:
        self._workers = workers

    def submit(self, *arguments: Any, **named: Any) -> Any:
        """Hand the work on."""
        return self._workers.submit(*arguments, **named)

    def shutdown(self, *arguments: Any, **named: Any) -> None:
        """Leave the shared workers running."""
