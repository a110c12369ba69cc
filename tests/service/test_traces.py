"""Spans as a real OTLP receiver gets them: what they tell, what they hang below, and that no text is in them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from service import parts
from service.admission import Keys
from service.app import create_app
from service.guard import Guard
from service.metrics import Metrics
from service.parts import make_backend, make_judge, make_policies, make_rates, make_traces
from service.settings import Settings, SettingsUnusable
from service.turn import Turn
from tests.conftest import Kept
from tests.upstream import DONE, Upstream, digit, frames, serve, stream, whole

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "planted-secret-text"
CHAT = {
    "model": "tiny",
    "messages": [{"role": "user", "content": f"May I open a gift at once in Japan? {SECRET}"}],
}


@dataclass
class Collector:
    """A receiver of OTLP over HTTP."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""

    def named(self, name: str) -> Span:
        """The one span of a name."""
        (found,) = [span for span in self.spans if span.name == name]
        return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A running receiver."""
    made = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.raw += (body := self.rfile.read(int(self.headers["content-length"])))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in resource.scope_spans:
                    made.spans += scope.spans
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield made
        server.shutdown()


@contextmanager
def client(guard: Guard, upstream: Upstream, endpoint: str | None, **traces: Any) -> Iterator[httpx.Client]:
    """A client of a service that sends its spans; they have been sent when it is left."""
    mode, stream_mode = traces.pop("mode", "shadow"), traces.pop("stream_mode", "buffer")
    settings = Settings(
        backend={"url": upstream.url},
        retrieval=guard.settings.retrieval.model_dump(),
        traces={"endpoint": endpoint, "timeout_s": 2, **traces},
        policy={"mode": mode, "stream_mode": stream_mode},
    )
    metrics = Metrics()
    made = replace(
        guard,
        settings=settings,
        keys=Keys((), settings.anonymous),
        rates=make_rates(settings, metrics),
        policies=make_policies(settings, guard.index.cultures),
        judge=make_judge(settings, metrics),
        metrics=metrics,
        workers=Kept(guard.workers),
        backend=make_backend(settings, metrics),
        traces=make_traces(settings),
    )
    with serve(create_app(made)) as address, httpx.Client(base_url=address, timeout=30, trust_env=False) as opened:
        yield opened


def told(span: Span) -> dict[str, Any]:
    """The attributes of a span."""
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [each.string_value for each in value.values] if kind == "array_value" else value
    return found


@pytest.mark.parametrize("stream_mode", [None, "buffer", "window", "passthrough"])
def test_spans(guard: Guard, upstream: Upstream, collector: Collector, stream_mode: str | None) -> None:
    """A request is one trace: the server's span below the caller's, its stages below it, each with what it found."""
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    streamed = stream_mode is not None
    events = [*frames(["Please wait. ", "Thank you."]), DONE]
    upstream.script = lambda body: stream(events, 0.02) if streamed else whole(usage=usage)
    with client(guard, upstream, collector.url, stream_mode=stream_mode or "buffer") as asking:
        headers = {"traceparent": CALLER, "tracestate": "a=b"}
        answer = asking.post("/v1/chat/completions", json={**CHAT, "stream": streamed}, headers=headers)
        assert answer.status_code == 200
    assert {span.trace_id.hex() for span in collector.spans} == {CALLER[3:35]}
    server = collector.named("POST /v1/chat/completions")
    assert (server.kind, server.parent_span_id.hex()) == (Span.SPAN_KIND_SERVER, CALLER[36:52])
    below = [span for span in collector.spans if span is not server]
    assert {span.parent_span_id for span in below} == {server.span_id}
    assert {"comity.detect", "comity.retrieve", "comity.ground", "chat tiny", "comity.judge"} <= {s.name for s in below}
    assert all(server.start_time_unix_nano <= span.start_time_unix_nano for span in below)
    assert all(span.end_time_unix_nano <= server.end_time_unix_nano + 1_000_000 for span in below)
    judged = told(collector.named("comity.judge"))
    if stream_mode in (None, "buffer"):
        assert judged["comity.verdict"] == answer.headers["x-comity-verdict"]
    assert (judged["comity.action"], told(server)["comity.action"]) == ("allowed", "allowed")
    assert told(collector.named("comity.detect"))["comity.cultures"] == ["JP"]
    assert told(server)["comity.request_id"] == answer.headers["x-request-id"]
    generated = collector.named("chat tiny")
    assert generated.kind == Span.SPAN_KIND_CLIENT
    assert upstream.headers[0]["traceparent"] == f"00-{CALLER[3:35]}-{generated.span_id.hex()}-01"
    assert upstream.headers[0]["tracestate"] == "a=b"
    if not streamed:
        assert told(generated)["gen_ai.usage.input_tokens"] == 9


def test_no_text(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """Neither what was asked nor what was answered is in any span."""
    upstream.script = lambda body: whole(f"Wait a little. {SECRET}")
    with client(guard, upstream, collector.url) as asking:
        asking.post("/v1/chat/completions", json=CHAT)
        asking.post("/v1/completions", json={"model": "tiny", "prompt": SECRET})
    assert collector.spans
    assert SECRET.encode() not in collector.raw


def test_verdict_and_action_apart(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """What the judge said and what was done about it are told apart."""
    upstream.judge = lambda body: digit({"9": 1.0})
    with client(guard, upstream, collector.url) as asking:
        assert asking.post("/v1/chat/completions", json=CHAT).headers["x-comity-action"] == "would_refuse"
    judged = told(collector.named("comity.judge"))
    assert (judged["comity.verdict"], judged["comity.action"]) == ("unsafe", "would_refuse")


def test_asker_is_not_told(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """A culture that was inferred about the person who asks is in no span, though it was found."""
    text = "I am Turkish. May I bring my hosts wine as a gift?"
    with client(guard, upstream, collector.url) as asking:
        asking.post("/v1/chat/completions", json={**CHAT, "messages": [{"role": "user", "content": text}]})
    assert "[tr-" in str(upstream.asked[0]["messages"]), "its notes were given"
    assert told(collector.named("comity.detect"))["comity.cultures"] == []
    assert "comity.abstained" not in told(collector.named("comity.detect"))


def test_callers_decision_is_kept(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """A caller who does not sample is heard; without one the share that is set decides; the upstream hears the same."""
    with client(guard, upstream, collector.url) as asking:
        asking.post("/v1/chat/completions", json=CHAT, headers={"traceparent": CALLER[:-1] + "0"})
    with client(guard, upstream, collector.url, sample=0) as asking:
        asking.post("/v1/chat/completions", json=CHAT)
        asking.post("/v1/chat/completions", json=CHAT, headers={"traceparent": "garbage"})
    assert collector.spans == []
    assert [each["traceparent"][-2:] for each in upstream.headers] == ["00", "00", "00"]


def test_failed_request(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """A request whose backend fails has a span that says so, and so has the call that failed."""
    upstream.script = lambda body: stream([b"data: nonsense\n\n"])
    with client(guard, upstream, collector.url) as asking:
        status = asking.post("/v1/chat/completions", json=CHAT).status_code
    server = collector.named("POST /v1/chat/completions")
    assert status == told(server)["http.response.status_code"] == 502
    assert (server.status.code, told(server)["error.type"]) == (2, "upstream_error")
    failed = collector.named("chat tiny")
    assert (failed.status.code, failed.parent_span_id) == (2, server.span_id)
    assert upstream.headers[0]["traceparent"].split("-")[2] == failed.span_id.hex()


def test_stream_that_breaks(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """A stream that breaks after its 200 is told as failed."""
    upstream.script = lambda body: stream(frames(["One. ", "Two."])[:2])
    with client(guard, upstream, collector.url, mode="off") as asking:
        asking.post("/v1/chat/completions", json={**CHAT, "stream": True})
    server = collector.named("POST /v1/chat/completions")
    assert (told(server)["http.response.status_code"], server.status.code) == (200, 2)


def test_long_name_of_a_model(guard: Guard, upstream: Upstream, collector: Collector) -> None:
    """A caller cannot fill spans with the name of a model."""
    with client(guard, upstream, collector.url) as asking:
        asking.post("/v1/chat/completions", json={**CHAT, "model": "m" * 100_000})
    assert len(collector.raw) < 10_000


def test_collector_is_gone(guard: Guard, upstream: Upstream) -> None:
    """A dead collector fails no request and slows none."""
    with client(guard, upstream, "http://127.0.0.1:1") as asking:
        for _ in range(20):
            answer = asking.post("/v1/chat/completions", json=CHAT)
            assert answer.status_code == 200
            assert float(answer.headers["x-comity-overhead-ms"]) < 2000


def test_collector_is_silent() -> None:
    """A collector that accepts and never answers holds up the end no longer than a sending may take."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        settings = Settings(traces={"endpoint": f"http://127.0.0.1:{listening.getsockname()[1]}", "timeout_s": 1})
        traces = make_traces(settings)
        assert traces
        turn = Turn("id", "chat", "m", (), False, {})
        for _ in range(1000):
            turn, trace = traces.begin(turn)
            traces.end(trace, turn, {}, 200, None, None)
        began = time.monotonic()
        traces.close()
        assert time.monotonic() - began < 10


def test_off_by_default(guard: Guard, upstream: Upstream) -> None:
    """Without an endpoint there are no spans, and the caller's header goes on as it came."""
    with client(guard, upstream, None) as asking:
        asking.post("/v1/chat/completions", json=CHAT, headers={"traceparent": CALLER})
    assert upstream.headers[0]["traceparent"] == CALLER


def test_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without the libraries stops the start with what to install."""
    monkeypatch.setitem(__import__("sys").modules, "service.traces", None)
    with pytest.raises(SettingsUnusable, match=r"comity\[traces\]"):
        parts.make_traces(Settings(traces={"endpoint": "http://127.0.0.1:4318"}))
