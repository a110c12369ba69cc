"""What a judge can do wrong, in shadow and in enforce: an answer leaves marked, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.conftest import Serve
from tests.raw import Asked, End, Forever, Pause, Raw, Steps, answering, head, reply, said, serving
from tests.upstream import Json

SECRET = "The answer."
ALLOWING: Json = {
    "mode": "enforce",
    "repair": False,
    "fallback": False,
    "on_error": {"judge": "allow"},
    "accept_unjudged": True,
}
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@dataclass(frozen=True, slots=True)
class Fault:
    """What the judge does, and the reason that the coverage names."""

    name: str
    reasons: tuple[str, ...]
    steps: Steps = ()
    door: Steps = ()

    def script(self, asked: Asked) -> Steps:
        """Do it."""
        return self.steps


def answered(name: str, reason: str, status: str) -> Fault:
    """Give an error that the judge answers with."""
    return Fault(name, (reason,), (reply(b'{"error": {"message": "no", "type": "theirs"}}', status=status),))


FAULTS = [
    Fault("closes_at_once", ("unreachable",), door=(End.CLOSE,)),
    Fault("closes_without_a_byte", ("unreachable",), (End.CLOSE,)),
    Fault("resets", ("unreachable",), (End.RESET,)),
    Fault("silent", ("timeout",), (Pause(30),)),
    Fault("silent_on_the_way", ("timeout",), (head("content-length: 1000"), b'{"choices"', Pause(30))),
    Fault("never_ends", ("timeout", "unreachable"), (head("content-length: 100000000"), Forever(b" " * 100, 0.05))),
    Fault("no_http", ("unreachable",), (b"SSH-2.0-OpenSSH_9.2p1\r\n", End.CLOSE)),
    Fault("no_json", ("unreachable",), (reply(b"{broken"),)),
    Fault("cut", ("unreachable",), (head("content-length: 1000"), b'{"choices"', End.CLOSE)),
    Fault("a_page", ("unreachable",), (reply(b"<html>", kind="text/html"),)),
    Fault("no_logprobs", ("no_logprobs",), (reply(said("0")),)),
    Fault("no_choices", ("no_logprobs", "unreachable"), (reply(b"{}"),)),
    answered("their_fault", "unreachable", "500 Internal Server Error"),
    answered("unavailable", "unreachable", "503 Service Unavailable"),
    answered("unauthorized", "unreachable", "401 Unauthorized"),
    answered("rate_limited", "rejected", "429 Too Many Requests"),
    answered("unknown_model", "rejected", "404 Not Found"),
]
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@pytest.fixture
def backend() -> Iterator[Raw]:
    """A backend in good health."""
    with serving() as made:
        made.script = answering(SECRET)
        yield made


@pytest.fixture
def judge() -> Iterator[Raw]:
    """A judge at an address of its own."""
    with serving() as made:
        yield made


def at(judge: Raw, **policy: object) -> Json:
    """Give the settings of a judge."""
    return {"url": judge.url, "model": "judge", "timeout_s": 0.6, **policy}


def ask(client: httpx.Client, *, streamed: bool) -> httpx.Response:
    """Ask."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello."}], "stream": streamed}
    return client.post("/v1/chat/completions", json=body, timeout=10)


def break_(judge: Raw, fault: Fault) -> None:
    """Let the judge do what the fault says."""
    judge.judge, judge.door = fault.script, fault.door


@each_fault
@either_way
def test_in_shadow(service: Serve, backend: Raw, judge: Raw, fault: Fault, streamed: bool) -> None:
    """In shadow the answer leaves all the same, and says that it was not judged and why."""
    break_(judge, fault)
    response = ask(service(backend={"url": backend.url}, judge=at(judge)), streamed=streamed)

    assert response.status_code == 200
    assert SECRET in response.text
    assert response.headers["x-comity-verdict"] == "undecided"
    assert response.headers["x-comity-coverage"] == "error"
    assert response.headers["x-comity-coverage-reason"] in fault.reasons
    assert len(backend.asked) == 1


@each_fault
@either_way
def test_in_enforce(service: Serve, backend: Raw, judge: Raw, fault: Fault, streamed: bool) -> None:
    """In enforce nothing of the answer leaves: a 503 that says when to try again."""
    break_(judge, fault)
    response = ask(
        service(
            backend={"url": backend.url},
            judge=at(judge),
            policy={"mode": "enforce", "repair": False, "fallback": False},
        ),
        streamed=streamed,
    )

    assert (response.status_code, response.json()["error"]["code"]) == (503, "guardrail_unavailable")
    assert int(response.headers["retry-after"]) >= 1
    assert SECRET not in response.text
    assert len(backend.asked) == 1


@each_fault
@either_way
def test_in_enforce_that_allows(service: Serve, backend: Raw, judge: Raw, fault: Fault, streamed: bool) -> None:
    """Where the operator accepts it, the answer leaves in enforce too, marked as unjudged."""
    break_(judge, fault)
    response = ask(service(backend={"url": backend.url}, judge=at(judge), policy=ALLOWING), streamed=streamed)

    assert response.status_code == 200
    assert SECRET in response.text
    assert response.headers["x-comity-action"] == "allowed_unjudged"
    assert response.headers["x-comity-response-path"] == "degraded"
    assert response.headers["x-comity-coverage"] == "error"


@pytest.mark.parametrize(
    ("policy", "status"),
    [({}, 200), ({"mode": "enforce", "repair": False, "fallback": False}, 503), (ALLOWING, 200)],
    ids=["shadow", "enforce", "allow"],
)
@either_way
def test_nothing_listens(service: Serve, backend: Raw, policy: Json, status: int, streamed: bool) -> None:
    """A judge that is down is like any other fault, and is asked again once it is up."""
    with serving(listening=False) as judge:
        client = service(backend={"url": backend.url}, judge=at(judge, timeout_s=5), policy=policy)
        failed = ask(client, streamed=streamed)
        judge.listen()
        fine = ask(client, streamed=streamed)

    assert failed.status_code == status
    assert status == 503 or failed.headers["x-comity-coverage-reason"] == "unreachable"
    assert (fine.status_code, fine.headers["x-comity-verdict"]) == (200, "safe")


def test_silent_judge_of_a_committed_stream(service: Serve, backend: Raw, judge: Raw) -> None:
    """A stream that pings while its judge is silent ends, in enforce, with an error frame and [DONE]."""
    break_(judge, FAULTS[3])
    client = service(
        backend={"url": backend.url},
        judge=at(judge),
        policy={"mode": "enforce", "repair": False, "fallback": False},
        stream={"ping_after_s": 0.1, "ping_every_s": 0.1},
    )
    response = ask(client, streamed=True)

    assert response.status_code == 200
    assert response.text.startswith(": ping\n\n")
    assert '"code":"guardrail_unavailable"' in response.text
    assert response.text.endswith("}\n\ndata: [DONE]\n\n")
    assert SECRET not in response.text
