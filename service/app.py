"""Puts the live parts together and the routes in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Literal

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from detection import language
from detection.mentions import Names
from retrieval import search
from retrieval.cultures import Cultures
from retrieval.search import Index
from service import __version__, chat, checks, fms, litellm, moderations, openapi, phrases, probes
from service.adapters import Adapters
from service.admission import Door, Keys
from service.backend import Backend, Timeouts
from service.errors import NotFound, WrongMethod
from service.follow import Follower, with_index
from service.front import Front
from service.guard import Guard
from service.judge import Judge, calibration
from service.judge.calibration import Calibration, CalibrationUnusable
from service.judge.lexical import LexicalJudge
from service.judge.llm import LlmJudge
from service.judge.panel import Panel
from service.metrics import Metrics
from service.policy import Policies
from service.queries import Queries
from service.reply import error_response
from service.settings import Settings, SettingsUnusable

_OPENAI = (
    ("/v1/chat/completions", "POST", chat.chat_completions),
    ("/v1/completions", "POST", chat.completions),
    ("/v1/models", "GET", chat.counted("models", chat.models)),
    ("/v1/moderations", "POST", chat.counted("moderations", moderations.moderations_route)),
)
_CHECKS = (
    ("/comity/v1/detect", "POST", chat.counted("detect", checks.detect_route)),
    ("/comity/v1/retrieve", "POST", chat.counted("retrieve", checks.retrieve_route)),
    ("/comity/v1/judge", "POST", chat.counted("judge", checks.judge_route)),
)
_CONTRACTS = (
    (
        "/beta/litellm_basic_guardrail_api",
        "POST",
        litellm.keyed(chat.counted("litellm_guardrail", litellm.guardrail_route)),
    ),
    ("/api/v1/text/contents", "POST", fms.shaped(chat.counted("fms_contents", fms.contents_route))),
    ("/api/v1/text/generation", "POST", fms.shaped(chat.counted("fms_generation", fms.generation_route))),
    ("/api/v1/text/chat", "POST", fms.shaped(chat.counted("fms_chat", fms.chat_route))),
)
_PROBES = (
    ("/health", "GET", fms.health),
    ("/livez", "GET", probes.livez),
    ("/readyz", "GET", probes.readyz),
    ("/startupz", "GET", probes.startupz),
    ("/info", "GET", probes.info),
    ("/metrics", "GET", probes.metrics),
)


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
    )


async def disconnect(guard: Guard) -> None:
    """Close every connection to the backend and to the judge."""
    for part in (guard.backend, getattr(guard.judge, "backend", None)):
        if part is not None:
            await part.close()


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


def create_app(guard: Guard) -> FastAPI:
    """Give the ASGI application around assembled parts."""
    follower = Follower(guard, remake)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(follower.run())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await disconnect(follower.guard)
            follower.guard.workers.shutdown(wait=False, cancel_futures=True)

    app = FastAPIOffline(
        title="Comity", version=__version__, description=openapi.DESCRIPTION, lifespan=lifespan, redoc_url=None
    )
    app.state.follower = follower
    app.state.keys = Keys(guard.settings.api_keys, guard.settings.anonymous)
    app.state.door = Door(guard.settings.limits.max_in_flight, guard.metrics.in_flight)
    for group, routes in (
        ("OpenAI", _OPENAI),
        ("Checks", _CHECKS),
        ("Contracts of others", _CONTRACTS),
        ("Operations", _PROBES),
    ):
        for path, method, endpoint in routes:
            app.add_api_route(
                path,
                endpoint,
                methods=[method],
                tags=[group],
                response_model=None,
                summary=(endpoint.__doc__ or "").strip(),
                openapi_extra=openapi.BODIES.get(path),
            )
    app.state.methods = {path: method for path, method, _ in (*_OPENAI, *_CHECKS, *_CONTRACTS, *_PROBES)}
    app.add_route(
        "/{path:path}",
        chat.counted("other", chat.other),
        methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        include_in_schema=False,
    )
    app.add_middleware(Front, routes={(method, path): endpoint for path, method, endpoint in _OPENAI[:2]})
    app.add_exception_handler(HTTPException, _http_error)
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    """Give the framework's own errors (an odd method, a missing page of the docs) OpenAI's form."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    found = WrongMethod("this method is not served here") if status == 405 else NotFound("there is no such route here")
    return error_response(found, chat.request_id(request))


def make_backend(settings: Settings, metrics: Metrics) -> Backend | None:
    """Give a client of the generating upstream, or None where none is set."""
    url = settings.backend.url
    return _upstream("backend", url, settings.backend.api_key, settings, metrics) if url else None


def make_adapters(settings: Settings, backend: Backend | None, cultures: Cultures) -> Adapters | None:
    """Give the choice of adapters, or None where none is configured.

    Raises:
        SettingsUnusable: a culture is not registered.
    """
    if backend is None or not settings.adapters.cultures:
        return None
    return Adapters(backend, settings.adapters, cultures)


def make_policies(settings: Settings, cultures: Cultures) -> Policies:
    """Give the policies with the thresholds of the judge that serves.

    Raises:
        SettingsUnusable: a culture is not registered, or the calibration cannot be used.
    """
    for name, policy in {"policy": settings.policy, **settings.policies}.items():
        for culture in policy.cultures:
            if culture not in cultures:
                raise SettingsUnusable(f"{name}: cultures: {culture} is not in the registry of cultures")
    found = _calibration(settings)
    return Policies(
        settings.policy,
        settings.policies,
        cultures,
        calibrated=found.thresholds if found else None,
        enforces=settings.judge_kind == "llm",
    )


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
