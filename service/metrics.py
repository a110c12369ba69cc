"""Every Prometheus instrument, in a registry of its own; labels are closed sets, never text of a request."""

from __future__ import annotations

from typing import Any, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service import __version__
from service.breaker import State
from service.errors import ComityError
from service.turn import Detection, Facts, Grounding, Verdict

_STATES: tuple[State, ...] = ("closed", "half_open", "open")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The instruments and the few verbs that feed them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        make: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "comity_requests_total", "Finished requests.", ["route", "stream", "status_class", "response_path"], **make
        )
        self._duration = Histogram(
            "comity_request_duration_seconds", "Whole requests.", ["route", "stream"], buckets=_SECONDS, **make
        )
        self._overhead = Histogram(
            "comity_overhead_seconds",
            "Requests without the wait for the upstream.",
            ["route"],
            buckets=_SECONDS,
            **make,
        )
        self._stage = Histogram(
            "comity_stage_duration_seconds", "One stage of a request.", ["stage"], buckets=_SECONDS, **make
        )
        self.in_flight = Gauge("comity_in_flight_requests", "Requests being served.", **make)
        self._rejected = Counter("comity_rejected_total", "Requests refused at the door.", ["reason"], **make)
        self._disconnects = Counter(
            "comity_client_disconnects_total", "Clients that left before their answer ended.", ["phase"], **make
        )
        self._encoded = Counter("comity_detection_encoded_total", "Detections that asked the encoder.", **make)
        self._cultures = Counter("comity_culture_detected_total", "Cultures found.", ["culture", "source"], **make)
        self._abstained = Counter("comity_culture_abstained_total", "Requests without a culture.", ["reason"], **make)
        self._hits = Counter("comity_retrieval_hits_total", "Descriptions given to a model.", **make)
        self._empty = Counter("comity_retrieval_empty_total", "Searches that found nothing that matters.", **make)
        self._injected = Counter("comity_injected_tokens_total", "Estimated tokens of notes.", **make)
        self._verdicts = Counter(
            "comity_verdicts_total", "What the judge said of choices.", ["judge", "verdict"], **make
        )
        self._coverage = Counter(
            "comity_guard_coverage_total", "How much of a choice was judged.", ["coverage", "reason"], **make
        )
        self._actions = Counter(
            "comity_actions_total", "What was done with answers.", ["action", "mode", "culture"], **make
        )
        self._errors = Counter("comity_guard_errors_total", "Stages that failed.", ["stage", "error_type"], **make)
        self._watch_versions(make)
        self._watch_policies(make)
        self._watch_upstreams(make)
        Gauge("comity_build_info", "Version of the service.", ["version"], **make).labels(__version__).set(1)

    def _watch_versions(self, make: dict[str, Any]) -> None:
        self._index = Gauge("comity_index_descriptions", "Descriptions in the serving index.", ["version"], **make)
        self._followed = Counter(
            "comity_index_changes_total", "Versions that the pointer came to name.", ["outcome"], **make
        )
        self._behind = Gauge("comity_index_behind", "1 while the pointer names a version that is no use.", **make)
        self._reloads = Counter("comity_config_reload_total", "Configurations that were read anew.", ["result"], **make)
        self._stale = Gauge("comity_config_behind", "1 while the configuration that stands there is no use.", **make)

    def _watch_policies(self, make: dict[str, Any]) -> None:
        self._policies = Counter("comity_policy_requests_total", "Requests by policy.", ["policy", "mode"], **make)
        self._appeals = Counter(
            "comity_judge_appeals_total",
            "Objections of the embedded judge that were judged again.",
            ["outcome"],
            **make,
        )
        self._repairs = Counter("comity_repairs_total", "Unsafe answers generated once more.", ["outcome"], **make)
        self._calls = Counter(
            "comity_tool_call_verdicts_total", "What the judge said of tool calls.", ["verdict", "coverage"], **make
        )
        self._first = Histogram(
            "comity_time_to_first_token_seconds",
            "Streams until their first frame.",
            ["stream_mode"],
            buckets=_SECONDS,
            **make,
        )

    def _watch_upstreams(self, make: dict[str, Any]) -> None:
        self._retries = Counter("comity_upstream_retries_total", "Requests sent again.", ["reason"], **make)
        self._answered = Counter(
            "comity_upstream_requests_total", "Answers of an upstream.", ["backend", "status_class"], **make
        )
        self._failed = Counter(
            "comity_upstream_errors_total", "Requests that an upstream failed.", ["backend", "error_type"], **make
        )
        self._circuit = Gauge(
            "comity_circuit_state", "Breaker of an upstream: 0 closed, 1 half open, 2 open.", ["backend"], **make
        )
        self._adapters = Counter(
            "comity_adapter_requests_total", "Which adapter answered, and why.", ["adapter", "outcome"], **make
        )

    def render(self) -> bytes:
        """Give the text that Prometheus reads."""
        return generate_latest(self.registry)

    def serving(self, version: str, descriptions: int) -> None:
        """Note which index serves; it alone, so that versions do not pile up."""
        self._index.clear()
        self._index.labels(version).set(descriptions)

    def follows(self, outcome: Literal["opened", "refused"]) -> None:
        """Count a version that the pointer came to name."""
        self._followed.labels(outcome).inc()

    def behind(self, is_behind: bool) -> None:
        """Note whether the pointer names a version that could not be opened."""
        self._behind.set(is_behind)

    def reloaded(self, outcome: Literal["opened", "refused"]) -> None:
        """Count a configuration that was read anew."""
        self._reloads.labels(outcome).inc()

    def behind_config(self, is_behind: bool) -> None:
        """Note whether the configuration that stands there cannot be used."""
        self._stale.set(is_behind)

    def detected(self, detection: Detection) -> None:
        """Count cultures, but none that was inferred about the person who asks."""
        for found in detection.shown:
            source = "caller" if found.evidence[0].kind == "caller" else "inferred"
            self._cultures.labels(found.culture, source).inc()
        if detection.abstained:
            self._abstained.labels(detection.abstained).inc()

    def encoded(self) -> None:
        """Count a detection that words did not decide."""
        self._encoded.inc()

    def retrieved(self, grounding: Grounding) -> None:
        """Count what a search gave."""
        self._hits.inc(len(grounding.passages))
        self._injected.inc(grounding.tokens)
        if not grounding.passages:
            self._empty.inc()

    def judged(self, verdict: Verdict) -> None:
        """Count one choice's verdict and its coverage, apart."""
        self._verdicts.labels(verdict.judge, verdict.verdict).inc()
        self._coverage.labels(verdict.coverage, verdict.reason or "none").inc()
        if verdict.coverage == "error":
            self._errors.labels("judge", verdict.reason or "unknown").inc()

    def governed(self, policy: str, mode: str) -> None:
        """Count a request by the policy that it gets."""
        self._policies.labels(policy, mode).inc()

    def repaired(self, outcome: str) -> None:
        """Count an answer that was generated once more, by what came of it."""
        self._repairs.labels(outcome).inc()

    def appealed(self, outcome: str) -> None:
        """Count an objection of the embedded judge by what the separate prompt said of it."""
        self._appeals.labels(outcome).inc()

    def called(self, verdict: Verdict) -> None:
        """Count the verdict on the tool calls of one choice."""
        self._calls.labels(verdict.verdict, verdict.coverage).inc()

    def first_token(self, stream_mode: str, seconds: float) -> None:
        """Note how long a stream's client waited for its first frame."""
        self._first.labels(stream_mode).observe(seconds)

    def failed(self, stage: str, error: Exception) -> None:
        """Count a stage that failed, by the kind of failure."""
        kind = "timeout" if isinstance(error, TimeoutError) else "error"
        self._errors.labels(stage, kind).inc()

    def retried(self, reason: str) -> None:
        """Count a request that was sent to the upstream again."""
        self._retries.labels(reason).inc()

    def upstream_answered(self, backend: str, status: int) -> None:
        """Count an answer's status."""
        self._answered.labels(backend, f"{status // 100}xx").inc()

    def upstream_failed(self, backend: str, kind: str) -> None:
        """Count a request that an upstream failed; the kind is a code of ours, never the upstream's word."""
        self._failed.labels(backend, kind).inc()

    def circuit(self, backend: str, state: State) -> None:
        """Note the state of an upstream's breaker."""
        self._circuit.labels(backend).set(_STATES.index(state))

    def adapted(self, adapter: str, outcome: str) -> None:
        """Count a request by the adapter that the configuration names for it."""
        self._adapters.labels(adapter, outcome).inc()

    def rejected(self, reason: str) -> None:
        """Count a request that was refused at the door."""
        self._rejected.labels(reason).inc()

    def left(self, phase: str) -> None:
        """Count a client that left before (`waiting`) or while (`answering`) bytes went out."""
        self._disconnects.labels(phase).inc()

    def finished(
        self, route: str, *, streams: bool, status: int, seconds: float, facts: Facts | None, failed: bool = False
    ) -> None:
        """Count one request that ended, whichever way."""
        stream = str(streams).lower()
        path = facts.path if facts else "error" if failed or status >= 400 else "unguarded"
        self._requests.labels(route, stream, f"{status // 100}xx", path).inc()
        self._duration.labels(route, stream).observe(seconds)
        if facts:
            self._overhead.labels(route).observe(facts.overhead_s)
            for stage, took in facts.stages.items():
                self._stage.labels(stage).observe(took)
            shown = facts.opening.detection.shown
            self._actions.labels(facts.action, facts.opening.mode, shown[0].culture if shown else "none").inc()

    def errored(self, error: ComityError) -> None:
        """Count a request that ended in an error of the generating or judging stage."""
        if error.stage in ("generate", "internal"):
            self._errors.labels(error.stage, type(error).__name__).inc()
