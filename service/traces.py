"""OpenTelemetry spans over OTLP: of a request, of each stage, of the upstream's answer; never text of either side.

Spans are made when the request has ended, of the times that its stages took anyway; only their ids are drawn before, so
that the upstream's own spans hang below the span of its answer (W3C Trace Context).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from threading import Thread
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import __version__
from service.settings import TraceSettings
from service.turn import Facts, Turn

PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
_CONVENTION = TraceContextTextMapPropagator()
_SCOPE = InstrumentationScope("comity", __version__)
_IDS = RandomIdGenerator()
_NAME = 128  # characters of a model's name, which the caller chooses


@dataclass(frozen=True, slots=True)
class Trace:
    """A request's trace at its beginning: its own context, its parent, and the context of the upstream's answer."""

    context: SpanContext
    parent: SpanContext | None
    upstream: SpanContext
    began_ns: int
    ticks: float

    def at(self, tick: float) -> int:
        """Give the nanoseconds since 1970 of a reading of `time.perf_counter`."""
        return self.began_ns + round(1e9 * (tick - self.ticks))


class Traces:
    """Makes spans and hands them to a thread that sends them; more than its queue holds are dropped."""

    def __init__(self, settings: TraceSettings) -> None:
        """Take a collector's address.

        Raises:
            ValueError: it is none.
        """
        exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint}/v1/traces", timeout=settings.timeout_s)
        self._sample, self._timeout_s = settings.sample, settings.timeout_s
        self._spans = BatchSpanProcessor(exporter)
        own = Resource.create({"service.name": "comity", "service.version": __version__})
        self._resource = own.merge(OTELResourceDetector().detect())  # what the environment says wins

    def begin(self, turn: Turn) -> tuple[Turn, Trace]:
        """Join the caller's trace or begin one; give the turn with the headers that the upstream is to get."""
        told = {name: value for name, value in turn.headers if name == "traceparent"}
        caller = get_current_span(_CONVENTION.extract(told)).get_span_context()
        sampled = caller.trace_flags.sampled if caller.is_valid else random.random() < self._sample  # noqa: S311 - a lot
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        trace_id = caller.trace_id if caller.is_valid else _IDS.generate_trace_id()
        own, upstream = (
            SpanContext(trace_id, _IDS.generate_span_id(), is_remote=False, trace_flags=flags) for _ in range(2)
        )
        parent = f"00-{trace_id:032x}-{upstream.span_id:016x}-{int(flags):02x}"
        dropped = ("traceparent",) if caller.is_valid else ("traceparent", "tracestate")
        kept = tuple(pair for pair in turn.headers if pair[0] not in dropped)
        trace = Trace(own, caller if caller.is_valid else None, upstream, time.time_ns(), time.perf_counter())
        return replace(turn, headers=(*kept, ("traceparent", parent))), trace

    def end(
        self,
        trace: Trace,
        turn: Turn,
        stages: Mapping[str, tuple[float, float]],
        status: int,
        facts: Facts | None,
        code: str | None,
    ) -> None:
        """Make the spans of a request that has ended, well or not.

        Args:
            stages: by name, from when to when by `time.perf_counter`.
            status: 499 where the client left.
            code: of what went wrong, also after a stream had begun with status 200.
        """
        if not trace.context.trace_flags.sampled:
            return
        told: dict[str, Any] = {
            "http.request.method": "POST",
            "http.route": PATHS[turn.route],
            "http.response.status_code": status,
            "comity.request_id": turn.id,
        }
        failed = Status(StatusCode.ERROR) if code and not 400 <= status < 500 else Status(StatusCode.UNSET)
        if code:
            told["error.type"] = code
        for name, (start, end) in stages.items():
            self._stage(trace, turn, facts, name, trace.at(start), trace.at(end), failed if facts is None else None)
        told |= _of_request(facts) if facts else {}
        name, now = f"POST {PATHS[turn.route]}", time.time_ns()
        self._send(name, trace.context, trace.parent, SpanKind.SERVER, told, trace.began_ns, now, failed)

    def close(self) -> None:
        """Send what waits, but no longer than a sending may take."""
        closing = Thread(target=self._spans.shutdown, daemon=True)
        closing.start()
        closing.join(self._timeout_s)

    def _stage(
        self, trace: Trace, turn: Turn, facts: Facts | None, name: str, start: int, end: int, status: Status | None
    ) -> None:
        if name == "generate":
            model, called = turn.model[:_NAME], "chat" if turn.route == "chat" else "text_completion"
            told: dict[str, Any] = {"gen_ai.operation.name": called, "gen_ai.request.model": model}
            told |= {"gen_ai.request.stream": turn.streams, **(_usage(facts) if facts else {})}
            kind = SpanKind.INTERNAL if facts and facts.path == "embedded" else SpanKind.CLIENT
            self._send(f"{called} {model}", trace.upstream, trace.context, kind, told, start, end, status)
            return
        own = SpanContext(trace.context.trace_id, _IDS.generate_span_id(), False, trace.context.trace_flags)
        told = _OF_STAGE[name](facts) if facts and name in _OF_STAGE else {}
        self._send(f"comity.{name}", own, trace.context, SpanKind.INTERNAL, told, start, end)

    def _send(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        start_ns: int,
        end_ns: int,
        status: Status | None = None,
    ) -> None:
        self._spans.on_end(
            ReadableSpan(
                name,
                context=context,
                parent=parent,
                resource=self._resource,
                attributes=attributes,
                kind=kind,
                status=status or Status(StatusCode.UNSET),
                start_time=start_ns,
                end_time=max(start_ns, end_ns),
                instrumentation_scope=_SCOPE,
            )
        )


def _of_request(facts: Facts) -> dict[str, Any]:
    known = facts.opening
    return {
        "comity.policy": known.policy,
        "comity.mode": known.mode,
        "comity.stream_mode": known.stream_mode,
        "comity.action": facts.action,
        "comity.verdict": facts.verdict.verdict,
        "comity.coverage": facts.verdict.coverage,
        "comity.path": facts.path,
        "comity.overhead_ms": round(1000 * facts.overhead_s, 3),
    }


def _of_detection(facts: Facts) -> dict[str, Any]:
    """Tell the cultures that may be told: none that was inferred about the person who asks."""
    found = facts.opening.detection
    told: dict[str, Any] = {"comity.cultures": [each.culture for each in found.shown]}
    return told | ({"comity.abstained": found.abstained} if found.abstained else {})


def _of_retrieval(facts: Facts) -> dict[str, Any]:
    known = facts.opening
    return {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": known.index_version,
        "comity.descriptions": len(known.grounding.passages),
    }


def _of_grounding(facts: Facts) -> dict[str, Any]:
    grounding = facts.opening.grounding
    return {"comity.grounding": grounding.status, "comity.injected_tokens": grounding.tokens}


def _of_verdict(facts: Facts) -> dict[str, Any]:
    """Tell verdict, coverage and action apart."""
    found = facts.verdict
    told: dict[str, Any] = {
        "comity.judge": found.judge,
        "comity.verdict": found.verdict,
        "comity.coverage": found.coverage,
        "comity.action": facts.action,
        **{f"comity.score.{axis}": score for axis, score in found.axes.items()},
    }
    return told | ({"comity.coverage_reason": found.reason} if found.reason else {})


def _of_repair(facts: Facts) -> dict[str, Any]:
    return {"comity.repair": facts.repair.outcome} if facts.repair else {}


def _usage(facts: Facts) -> dict[str, int]:
    """Tell the tokens that the upstream counted, both answers' where one was generated once more."""
    names = {"prompt_tokens": "gen_ai.usage.input_tokens", "completion_tokens": "gen_ai.usage.output_tokens"}
    spent = facts.spent or {}
    return {said: value for name, said in names.items() if isinstance(value := spent.get(name), int)}


_OF_STAGE: dict[str, Callable[[Facts], dict[str, Any]]] = {
    "detect": _of_detection,
    "retrieve": _of_retrieval,
    "ground": _of_grounding,
    "judge": _of_verdict,
    "repair": _of_repair,
}
