"""Probes that tell the truth, what is running, and the metrics page."""

from __future__ import annotations

from dataclasses import asdict

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from service import __version__
from service.chat import guard_of

_LONG = {"culture_ids", "files", "removed"}  # of the manifest; `comity index show` has them


async def livez(request: Request) -> Response:
    """GET /livez: the event loop turns; nothing else is touched."""
    return JSONResponse({"status": "ok"})


async def startupz(request: Request) -> Response:
    """GET /startupz: index, encoder and names are loaded (the service does not listen before that)."""
    return JSONResponse({"status": "ok", "index_version": guard_of(request).index.version})


async def readyz(request: Request) -> Response:
    """GET /readyz: 200 when requests can be served, else 503 with the reason; embedded parts alone are enough."""
    guard = guard_of(request)
    trouble = await guard.backend.trouble() if guard.backend else None
    backend = "embedded" if guard.backend is None else trouble or "ok"
    body = {"status": "unready" if trouble else "ok", "index": guard.index.version, "backend": backend}
    if behind := request.app.state.follower.trouble:
        body["index_trouble"] = behind  # the last good version goes on serving, so this is no reason to be unready
    reloader = request.app.state.follower.reloader
    if reloader and reloader.trouble:
        body["config_trouble"] = "the configuration cannot be used; the log says why"  # as with the index
    if trouble:
        body["reason"] = trouble
    return JSONResponse(body, 503 if trouble else 200)


async def info(request: Request) -> Response:
    """GET /info: versions, the judge and whether it is calibrated, and a hash of the configuration."""
    guard = guard_of(request)
    settings = guard.settings
    return JSONResponse(
        {
            "name": "comity",
            "version": __version__,
            "config_hash": settings.hash,
            "config_loaded_at": request.app.state.follower.loaded_at,
            "api_keys": len(settings.api_keys),
            "index": {key: value for key, value in asdict(guard.index.manifest).items() if key not in _LONG},
            "backend": "openai-compatible" if guard.backend else "embedded",
            "judge": {
                "name": guard.judge.name,
                "model": settings.judge.model,
                "calibrated": guard.judge.calibrated,
                "languages": sorted(guard.judge.languages),
            },
            "policies": {
                name: {
                    "mode": chosen.policy.mode,
                    "stream_mode": chosen.policy.stream_mode,
                    "thresholds": dict(chosen.thresholds),
                }
                for name, chosen in ((name, guard.policies.named(name)) for name in guard.policies.names)
            },
            "passthrough": list(settings.passthrough.routes),
        }
    )


async def metrics(request: Request) -> Response:
    """GET /metrics in Prometheus' text format."""
    return Response(guard_of(request).metrics.render(), media_type=CONTENT_TYPE_LATEST)
