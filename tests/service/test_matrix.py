"""Every stage × every fault × every failure policy, whole and streamed: each cell ends as the policy says."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from detection.mentions import Mention, Names
from retrieval.encoder import Encoder, Vectors
from service.guard import Guard
from service.settings import Settings
from tests.conftest import Serve, until
from tests.raw import Pause, Raw, Steps, answering, reply, serving
from tests.upstream import Json

ASKED = "What should I bring to a family dinner in Istanbul?"
LONG = ASKED + " I have never been there." * 1000  # from 4,000 characters on, detection has a time limit
ANSWER = "Bring sweets or pastries."
KINDS = {"down": "error", "slow": "timeout", "garbage": "error"}
BAD: dict[str, Steps] = {"slow": (Pause(20),), "garbage": (reply(b"{broken"),)}


class BrokenNames(Names):
    """Names that cannot be found."""

    def __init__(self, fault: str, released: threading.Event) -> None:
        self._fault, self._released = fault, released

    def find(self, text: str) -> list[Mention]:
        """Raise, take long, or give what are no mentions."""
        if self._fault == "down":
            raise ConnectionError("no names")
        if self._fault == "slow":
            self._released.wait(20)
            return []
        return ["Istanbul", None]  # type: ignore[list-item]


class BrokenEncoder:
    """An encoder that gives no vectors."""

    def __init__(self, whole: Encoder, fault: str, released: threading.Event) -> None:
        self.id = whole.id
        self._fault, self._released, self._whole = fault, released, whole

    def encode(self, texts: list[str]) -> Vectors:
        """Raise, take long, or give vectors that hold no numbers."""
        if self._fault == "down":
            raise ConnectionError("no encoder")
        if self._fault == "slow":
            self._released.wait(20)
        found = self._whole.encode(texts)
        return np.full_like(found, np.nan) if self._fault == "garbage" else found

    encode_queries = encode


@pytest.fixture
def guard(guard: Guard, stage: str, fault: str) -> Iterator[Guard]:
    """The embedded parts, of which one may be broken."""
    released = threading.Event()
    if stage == "detect":
        guard = replace(guard, names=BrokenNames(fault, released))
    if stage == "retrieve":
        index = copy.copy(guard.index)
        index.encoder = BrokenEncoder(index.encoder, fault, released)
        guard = replace(guard, index=index)
    yield guard
    released.set()


@pytest.fixture
def servers(stage: str, fault: str) -> Iterator[tuple[Raw, Raw]]:
    """A backend and a judge at an address of its own, of which one may be down, silent or nonsensical."""
    with ExitStack() as stack:
        backend = stack.enter_context(serving(listening=(stage, fault) != ("generate", "down")))
        judge = stack.enter_context(serving(listening=(stage, fault) != ("judge", "down")))
        backend.script = answering(ANSWER)
        if stage == "generate" and fault in BAD:
            backend.script = lambda asked: BAD[fault]
        if stage == "judge" and fault in BAD:
            judge.judge = lambda asked: BAD[fault]
        yield backend, judge


@dataclass(frozen=True, slots=True)
class Cell:
    """How one cell ends: the status, and what the headers or the error's body say."""

    status: int
    said: dict[str, str]
    counted: str


def cell(stage: str, fault: str, on_error: str) -> Cell:
    """Give what is claimed of a cell."""
    series = f'comity_guard_errors_total{{error_type="{KINDS[fault]}",stage="{stage}"}} 1.0'
    went_on = {"response-path": "degraded", "verdict": "safe", "action": "allowed", "coverage": "partial"}
    if stage == "generate":
        code = "upstream_timeout" if fault == "slow" else "upstream_error"
        series = f'comity_upstream_errors_total{{backend="backend",error_type="{code}"}} 1.0'
        if on_error == "block":
            return Cell(504 if fault == "slow" else 502, {"code": code, "stage": stage}, series)
        return Cell(200, {**went_on, "coverage-reason": "uncalibrated", "grounding": "grounded"}, series)
    if stage == "judge":
        reason = "timeout" if fault == "slow" else "unreachable"
        series = f'comity_guard_errors_total{{error_type="{reason}",stage="judge"}} 1.0'
    if on_error == "block":
        return Cell(503, {"code": "guardrail_unavailable", "stage": stage}, series)
    if stage == "judge" and on_error == "allow":
        unjudged = {"verdict": "undecided", "action": "allowed_unjudged", "coverage": "error"}
        return Cell(200, {**went_on, **unjudged, "coverage-reason": reason}, series)
    if stage == "judge":
        return Cell(200, {**went_on, "coverage-reason": "degraded", "judge": "lexical-baseline"}, series)
    if (stage, on_error) == ("retrieve", "allow"):
        return Cell(200, {**went_on, "coverage-reason": "no_description", "grounding": "failed"}, series)
    grounding = "none" if stage == "detect" else "lessened"
    return Cell(200, {**went_on, "coverage-reason": "uncalibrated", "grounding": grounding}, series)


def refused(stage: str, on_error: str) -> str | None:
    """Give the setting by whose name a cell is refused at start."""
    if on_error != "allow":
        return None
    return {"generate": "on_error.generate", "judge": "accept_unjudged: true"}.get(stage)


def ask(client: httpx.Client, text: str, *, streamed: bool) -> httpx.Response:
    """Ask, and give up after ten seconds."""
    body: Json = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": streamed}
    return client.post("/v1/chat/completions", json=body, timeout=10)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("on_error", ["allow", "block", "degrade"])
@pytest.mark.parametrize("fault", ["down", "slow", "garbage"])
@pytest.mark.parametrize("stage", ["detect", "retrieve", "generate", "judge"])
def test_stage_that_fails(
    service: Serve, servers: tuple[Raw, Raw], stage: str, fault: str, on_error: str, streamed: bool
) -> None:
    """In enforce a stage that is down, slow or talks nonsense lets the answer go on, fail or take lesser means, as the
    policy says; the answer says so, the failure is counted, nothing hangs, and what no policy may be never starts."""
    backend, judge = servers
    policy: Json = {"mode": "enforce", "on_error": {stage: on_error}}
    if setting := refused(stage, on_error):
        with pytest.raises(ValidationError, match=setting):
            Settings(backend={"url": backend.url}, policy=policy)
        if stage == "generate":
            return
        policy["accept_unjudged"] = True
    client = service(
        policy=policy,
        backend={"url": backend.url, "connect_retries": 0, "first_byte_timeout_s": 0.5, "total_timeout_s": 0.5},
        judge={"url": judge.url, "model": "judge", "timeout_s": 0.5},
        detection={"timeout_s": 0.3},
        retrieval={"timeout_s": 0.3},
    )
    response = ask(client, LONG if (stage, fault) == ("detect", "slow") else ASKED, streamed=streamed)
    wanted = cell(stage, fault, on_error)

    assert response.status_code == wanted.status
    if wanted.status == 200:
        assert response.headers.items() >= {f"x-comity-{name}": value for name, value in wanted.said.items()}.items()
        assert ("Source:" if stage == "generate" else ANSWER) in response.text
        assert "No model is configured" not in response.text  # there is one, and it failed
        assert response.text.endswith("data: [DONE]\n\n") is streamed
    else:
        error = response.json()["error"]
        assert (error["code"], error["comity"]["stage"]) == (wanted.said["code"], wanted.said["stage"])
        assert response.headers["x-comity-response-path"] == "error"
        assert ANSWER not in response.text
    notes = any(b"<comity_notes>" in asked.body for asked in backend.asked)
    found = stage in ("generate", "judge") or (stage, on_error) == ("retrieve", "degrade")
    assert notes is (found and (stage, fault) != ("generate", "down"))
    assert until(lambda: wanted.counted in client.get("/metrics").text)
    assert until(lambda: "comity_in_flight_requests 0.0" in client.get("/metrics").text)
