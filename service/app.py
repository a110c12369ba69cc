"""Puts the live parts together and the routes in front of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service import __version__, chat, checks, fms, litellm, moderations, openapi, probes
from service.admission import Door
from service.errors import NotFound, WrongMethod
from service.follow import Follower
from service.front import Front
from service.guard import Guard
from service.parts import disconnect, remake
from service.reload import Reloader
from service.reply import error_response
from service.source import Source

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


def create_app(guard: Guard, source: Source | None = None) -> FastAPI:
    """Give the ASGI application around assembled parts; with a source it follows changes of the configuration."""
    follower = Follower(guard, remake, Reloader(source) if source else None)

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
    app.state.door = Door(guard.metrics.in_flight)
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
