"""One structured line a request on standard error; ids, lengths, verdicts and timings, never text."""

from __future__ import annotations

import logging
import sys
import traceback

import structlog

from service.settings import LogSettings
from service.turn import Facts

_logger = structlog.get_logger()


def configure(settings: LogSettings) -> None:
    """Set up the whole process's logging, uvicorn's included."""
    level = getattr(logging, settings.level.upper())
    renderer = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(colors=False)
    )
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.__stderr__),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_without_exception, structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx", "httpcore", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def request(
    request_id: str, route: str, *, status: int, streams: bool, seconds: float, facts: Facts | None, code: str | None
) -> None:
    """Write the line of one finished request."""
    said: dict[str, object] = {
        "request_id": request_id,
        "route": route,
        "status": status,
        "stream": streams,
        "ms": round(1000 * seconds, 1),
    }
    if code:
        said["error"] = code
    if facts:
        known = facts.opening
        said |= {
            "policy": known.policy,
            "mode": known.mode,
            "stream_mode": known.stream_mode,
            "cultures": [found.culture for found in known.detection.shown],
            "grounding": known.grounding.status,
            "injected_tokens": known.grounding.tokens,
            "verdict": facts.verdict.verdict,
            "coverage": facts.verdict.coverage,
            "coverage_reason": facts.verdict.reason,
            "action": facts.action,
            "path": facts.path,
            "repair": facts.repair.outcome if facts.repair else None,
            "adapter": known.adapter.outcome,
            "overhead_ms": round(1000 * facts.overhead_s, 1),
        }
    _logger.info("request", **said)


def started(address: str, backend: str | None, index_version: str, judge: str, mode: str) -> None:
    """Say that the service is up, and on which parts."""
    _logger.info(
        "started",
        address=address,
        backend=backend or "none: the embedded responder answers",
        index_version=index_version,
        judge=judge,
        judge_mode=mode,
    )


def index_opened(version: str, before: str) -> None:
    """Say that another version of the index serves from now on."""
    _logger.info("index opened", index_version=version, before=before)


def index_refused(version: str, serving: str, reason: str) -> None:
    """Say that the version that the pointer names cannot be opened, and which goes on serving."""
    _logger.error("index refused", index_version=version, serving=serving, reason=reason)


def config_opened(hash: str) -> None:
    """Say that another configuration serves from now on."""
    _logger.info("configuration opened", config_hash=hash)


def config_refused(serving: str, reason: str) -> None:
    """Say that the configuration that stands there cannot be used, and which goes on serving."""
    _logger.error("configuration refused", serving=serving, reason=reason)


def rates_alone(error: str) -> None:
    """Say that requests per minute are counted by this process alone, because Redis failed."""
    _logger.error("redis failed; requests per minute are counted by this process alone", error=error)


def rates_shared() -> None:
    """Say that they are counted in Redis again."""
    _logger.info("redis answers; requests per minute are counted together again")


def uncalibrated(policies: list[str], judge: str) -> None:
    """Warn that policies enforce by thresholds that nobody has chosen on labelled data."""
    _logger.warning("enforcing with a judge that is not calibrated", policies=policies, judge=judge)


def crash(request_id: str, error: BaseException) -> None:
    """Write where an unexpected error happened; its message is left out, because it may quote the user."""
    frames = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    _logger.error("crash", request_id=request_id, error=type(error).__name__, frames=frames[-12:])


def _without_exception(logger: object, name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Keep only the kind of an exception that a library logs; its message may quote a request."""
    found = event.pop("exc_info", None)
    if isinstance(found, tuple) and found[0]:
        event["error"] = found[0].__name__
        event["event"] = "a library reported an exception"
    return event
