"""Makes the live parts: all of them at the start, and those that change when an index or a configuration does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import SecretStr

from detection import language
from detection.mentions import Names
from retrieval import search
from retrieval.cultures import Cultures
from retrieval.search import Index
from service import logs, phrases
from service.adapters import Adapters
from service.admission import Keys
from service.backend import Backend, Timeouts
from service.guard import Guard
from service.judge import Judge, calibration
from service.judge.calibration import Calibration, CalibrationUnusable
from service.judge.lexical import LexicalJudge
from service.judge.llm import LlmJudge
from service.judge.panel import Panel
from service.metrics import Metrics
from service.policy import Policies
from service.queries import Queries
from service.rates import LocalRates, Rates, SharedRates
from service.settings import Settings, SettingsUnusable

if TYPE_CHECKING:
    from service.traces import Traces

Closing = Backend | Rates


def assemble(settings: Settings) -> Guard:
    """Open the index and the encoder and make every live part; takes a second or two.

    Raises:
        IndexUnusable: the index is missing, broken, or of another encoder.
        SettingsUnusable, PhrasesUnusable: the configuration, or a translation, cannot be used.
    """
    phrases.load()
    language.load()
    index = search.open_current(settings.retrieval.index, settings.retrieval.encoder)
    index.encoder.encode_queries(["warm"])  # the first call allocates; no request should wait for that
    metrics = Metrics()
    metrics.serving(index.version, index.size)
    backend = make_backend(settings, metrics)
    workers = ThreadPoolExecutor(settings.retrieval.workers, thread_name_prefix="encode")
    judge = make_judge(settings, metrics)
    return Guard(
        settings=settings,
        keys=Keys(settings.api_keys, settings.anonymous),
        rates=make_rates(settings, metrics),
        policies=make_policies(settings, index.cultures),
        index=index,
        names=Names(index.cultures, index.names),
        judge=judge,
        embedded=LexicalJudge(),
        metrics=metrics,
        workers=workers,
        queries=Queries(index.encoder, workers, settings.retrieval.workers, settings.retrieval.cache),
        backend=backend,
        adapters=make_adapters(settings, backend, index.cultures),
        traces=make_traces(settings),
    )


def warn(guard: Guard) -> None:
    """Say so in the log where policies enforce by thresholds that nobody has chosen."""
    named = guard.policies.names
    enforcing = [name for name in named if guard.policies.named(name).policy.mode == "enforce"]
    if enforcing and not guard.judge.calibrated:
        logs.uncalibrated(enforcing, guard.judge.name)


async def disconnect(guard: Guard) -> None:
    """Close every connection: to the backend, to the judge, to Redis."""
    try:
        for part in connected(guard):
            await part.close()
    finally:
        if guard.traces:
            await asyncio.to_thread(guard.traces.close)  # it sends what waits


def connected(guard: Guard) -> list[Closing]:
    """Give the parts that hold connections."""
    return [part for part in (guard.backend, getattr(guard.judge, "backend", None), guard.rates) if part is not None]


def remake(guard: Guard, index: Index) -> Guard:
    """Give the parts that serve with another version of the index.

    Raises:
        SettingsUnusable: the settings name a culture that this version's registry lacks.
    """
    made = with_index(guard, index)
    if made.names is guard.names:  # the same registry: nothing else depends on the index
        return made
    return replace(
        made,
        policies=make_policies(made.settings, index.cultures),
        adapters=make_adapters(made.settings, made.backend, index.cultures),
    )


def reconfigure(guard: Guard, settings: Settings) -> Guard:
    """Give the parts that serve by other settings; those whose settings are the same go on, with their connections.

    Raises:
        SettingsUnusable: the settings name a culture that the registry lacks, or their calibration cannot be used.
    """
    policies = make_policies(settings, guard.index.cultures)  # first: what is refused must have made nothing
    old, metrics = guard.settings, guard.metrics
    upstream = settings.backend == old.backend
    backend = guard.backend if upstream else make_backend(settings, metrics)
    judged = upstream and settings.judge == old.judge and settings.judge.calibration is None  # its file may differ now
    judge = guard.judge if judged else make_judge(settings, metrics)
    adapters = guard.adapters
    if not upstream or settings.adapters != old.adapters:
        adapters = make_adapters(settings, backend, guard.index.cultures)
    where = (settings.limits.redis_url, settings.limits.redis_timeout_s)
    same_rates = where == (old.limits.redis_url, old.limits.redis_timeout_s)
    queries = guard.queries
    if settings.retrieval.cache != old.retrieval.cache:
        queries = Queries(guard.index.encoder, guard.workers, settings.retrieval.workers, settings.retrieval.cache)
    return replace(
        guard,
        settings=settings,
        keys=Keys(settings.api_keys, settings.anonymous),
        rates=guard.rates if same_rates else make_rates(settings, metrics),
        policies=policies,
        judge=judge,
        queries=queries,
        backend=backend,
        adapters=adapters,
    )


def with_index(guard: Guard, index: Index) -> Guard:
    """Give the same parts around another index; what hangs on the registry of cultures is left to the caller."""
    settings = guard.settings
    old, new = guard.index.manifest.files, index.manifest.files
    same = all(old.get(file) == new.get(file) for file in ("cultures.jsonl", "names.jsonl"))
    names = guard.names if same else Names(index.cultures, index.names)
    queries = guard.queries
    if index.encoder is not guard.index.encoder:
        queries = Queries(index.encoder, guard.workers, settings.retrieval.workers, settings.retrieval.cache)
    return replace(guard, index=index, names=names, queries=queries)


def make_backend(settings: Settings, metrics: Metrics) -> Backend | None:
    """Give a client of the generating upstream, or None where none is set."""
    url = settings.backend.url
    return _upstream("backend", url, settings.backend.api_key, settings, metrics) if url else None


def make_rates(settings: Settings, metrics: Metrics) -> Rates:
    """Give what counts the requests of callers: together with other replicas where a Redis is set."""
    url = settings.limits.redis_url
    return SharedRates(url.get_secret_value(), settings.limits.redis_timeout_s, metrics) if url else LocalRates()


def make_traces(settings: Settings) -> Traces | None:
    """Give what makes spans, or None where no collector is set.

    Raises:
        SettingsUnusable: the extra that it needs is not installed.
    """
    if settings.traces.endpoint is None:
        return None
    try:
        from service.traces import Traces
    except ModuleNotFoundError:
        raise SettingsUnusable(
            "traces.endpoint is set, but the extra is missing: pip install 'comity[traces]'"
        ) from None
    return Traces(settings.traces)


def make_adapters(settings: Settings, backend: Backend | None, cultures: Cultures) -> Adapters | None:
    """Give the choice of adapters, or None where none is configured."""
    if backend is None or not settings.adapters.cultures:
        return None
    return Adapters(backend, settings.adapters, cultures)


def make_policies(settings: Settings, cultures: Cultures) -> Policies:
    """Give the policies with the thresholds of the judge that serves.

    Raises:
        SettingsUnusable: a culture is not registered, or the calibration cannot be used.
    """
    _registered(settings, cultures)
    found = _calibration(settings)
    return Policies(
        settings.policy,
        settings.policies,
        cultures,
        calibrated=found.thresholds if found else None,
        enforces=settings.judge_kind == "llm",
    )


def _registered(settings: Settings, cultures: Cultures) -> None:
    """Hold every culture that the settings name to the registry.

    Raises:
        SettingsUnusable: naming the setting and the culture.
    """
    named = {"policy": settings.policy, **settings.policies}
    wanted = [(f"{name}: cultures", culture) for name, policy in named.items() for culture in policy.cultures]
    wanted += [
        ("culture of a caller", each.culture) for each in (settings.anonymous, *settings.api_keys) if each.culture
    ]
    wanted += [("adapters.cultures", culture) for culture in settings.adapters.cultures]
    for where, culture in wanted:
        if culture not in cultures:
            raise SettingsUnusable(f"{where}: {culture} is not in the registry of cultures")


def _calibration(settings: Settings) -> Calibration | None:
    """Read the thresholds of the judge that serves.

    Raises:
        SettingsUnusable: they cannot be read, or are another judge's.
    """
    if settings.judge.calibration is None:
        return None
    try:
        found = calibration.read(settings.judge.calibration)
    except CalibrationUnusable as error:
        raise SettingsUnusable(f"judge.calibration: {error}") from None
    if found.judge != settings.judge_name:
        raise SettingsUnusable(
            f"judge.calibration: it is of the judge {found.judge}, but {settings.judge_name} serves; "
            "`comity evaluate judge` asks the separate prompt, so set judge.style: separate"
        )
    return found


def make_judge(settings: Settings, metrics: Metrics) -> Judge:
    """Make the judge; its connections and breaker are its own, so that judging cannot starve answering."""
    judge, found = settings.judge, _calibration(settings)
    if settings.judge_kind == "lexical":
        return LexicalJudge()
    url = judge.url or settings.backend.url
    assert url is not None  # noqa: S101 - the settings hold an LLM judge to an address
    key = judge.api_key if judge.url else settings.backend.api_key
    llm = LlmJudge(
        _upstream("judge", url, key, settings, metrics),
        model=judge.model,
        timeout_s=judge.timeout_s,
        max_concurrent=judge.max_concurrent,
        votes=judge.votes,
        constrain=judge.constrain,
        style=settings.judge_style,
    )
    llm.calibrated, llm.languages = found is not None, found.languages if found else frozenset()
    return Panel(llm, LexicalJudge(), metrics.appealed)


def _upstream(
    name: Literal["backend", "judge"], url: str, key: SecretStr | None, settings: Settings, metrics: Metrics
) -> Backend:
    backend = settings.backend
    return Backend(
        url,
        name=name,
        api_key=key.get_secret_value() if key else None,
        # the caller's key goes to the backend that is to check it, and to no other endpoint
        forwards_key=backend.authorization == "forward" and url == backend.url,
        timeouts=Timeouts(
            backend.connect_timeout_s,
            backend.first_byte_timeout_s,
            backend.between_frames_timeout_s,
            backend.total_timeout_s,
        ),
        connect_retries=backend.connect_retries,
        breaker_failures=backend.breaker_failures,
        breaker_reset_s=backend.breaker_reset_s,
        max_answer_bytes=backend.max_answer_bytes,
        max_connections=backend.max_connections if name == "backend" else settings.judge.max_concurrent,
        metrics=metrics,
    )
