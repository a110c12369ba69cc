"""The breaker in front of each upstream, and what is sent again and what is not, all as the upstream sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import Serve, until
from tests.raw import Asked, End, Pause, Raw, Script, Steps, answering, events, judging, reply, serving
from tests.upstream import DONE, Upstream, Watched, error, frames, whole

FAILING: Script = lambda asked: (reply(b"{}", status="502 Bad Gateway"),)  # noqa: E731
CLOSING: Script = lambda asked: (End.CLOSE,)  # noqa: E731
SILENT: Script = lambda asked: (Pause(30),)  # noqa: E731
OFF = {"mode": "off"}
RESET_S = 0.6
either_way = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture
def backend() -> Iterator[Raw]:
    """A backend in good health."""
    with serving() as made:
        yield made


@pytest.fixture
def judge() -> Iterator[Raw]:
    """A judge at an address of its own."""
    with serving() as made:
        yield made


def ask(client: httpx.Client, text: str = "Hello.", *, streamed: bool = False) -> httpx.Response:
    """Ask; the text marks the request in the upstream's view."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": streamed}
    return client.post("/v1/chat/completions", json=body, timeout=10)


def breaking(backend: Raw, **more: object) -> dict[str, object]:
    """Give the settings of a backend whose breaker opens after three failures."""
    return {"url": backend.url, "breaker_failures": 3, "breaker_reset_s": RESET_S, **more}


def state(client: httpx.Client, name: str = "backend") -> float:
    """Give a breaker's state as the metrics tell it."""
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f'comity_circuit_state{{backend="{name}"'))


def seen(backend: Raw, text: str) -> list[tuple[int, int]]:
    """Give on which connections, and as which of their requests, the upstream received one request."""
    return [(asked.connection, asked.turn) for asked in backend.asked if text.encode() in asked.body]


@pytest.mark.parametrize("script", [FAILING, CLOSING, SILENT], ids=["5xx", "broken", "timeout"])
@either_way
def test_opens(service: Serve, backend: Raw, script: Script, streamed: bool) -> None:
    """After so many failures in a row requests are refused at once, and the upstream is left alone."""
    backend.script = script
    waits = {"total_timeout_s": 0.3, "first_byte_timeout_s": 0.3, "breaker_reset_s": 30}
    client = service(backend=breaking(backend, **waits), policy=OFF)
    failed = [ask(client, streamed=streamed) for _ in range(3)]
    refused = ask(client, streamed=streamed)

    assert {response.status_code for response in failed} <= {502, 504}
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "upstream_unavailable")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert len(backend.asked) == 3
    assert state(client) == 2


def test_opens_where_nothing_listens(service: Serve) -> None:
    """A connection that is refused counts as well, its retries not by themselves."""
    with serving(listening=False) as down:
        client = service(backend=breaking(down, breaker_reset_s=30, connect_retries=1), policy=OFF)
        found = [ask(client).status_code for _ in range(4)]

    assert found == [502, 502, 502, 503]


def test_probe_that_succeeds(service: Serve, backend: Raw) -> None:
    """After its rest one request goes through, and its success closes the breaker."""
    backend.script = FAILING
    client = service(backend=breaking(backend), policy=OFF)
    for _ in range(3):
        ask(client)
    backend.script = answering()
    time.sleep(RESET_S + 0.1)

    assert [ask(client).status_code for _ in range(3)] == [200, 200, 200]
    assert state(client) == 0


def test_probe_that_fails(service: Serve, backend: Raw) -> None:
    """A probe that fails opens the breaker for as long again."""
    backend.script = FAILING
    client = service(backend=breaking(backend, breaker_reset_s=2), policy=OFF)
    for _ in range(3):
        ask(client)
    time.sleep(2.1)
    probe, after = ask(client), ask(client)

    assert (probe.status_code, after.status_code) == (502, 503)
    assert len(backend.asked) == 4


def test_one_probe_at_a_time(service: Serve, backend: Raw) -> None:
    """While the probe is out, every other request is refused."""
    backend.script = FAILING
    client = service(backend=breaking(backend), policy=OFF)
    for _ in range(3):
        ask(client)
    backend.script = lambda asked: (Pause(0.5), *answering()(asked))
    time.sleep(RESET_S + 0.1)
    with ThreadPoolExecutor(6) as pool:
        found = sorted(response.status_code for response in pool.map(lambda _: ask(client), range(6)))

    assert found == [200, 503, 503, 503, 503, 503]
    assert len(backend.asked) == 4
    assert ask(client).status_code == 200


def test_probe_that_takes_long(service: Serve, backend: Raw) -> None:
    """A probe that generates for long keeps the others waiting no longer than the breaker's rest."""
    backend.script = FAILING
    client = service(backend=breaking(backend), policy=OFF)
    for _ in range(3):
        ask(client)
    backend.script = lambda asked: (Pause(5), *answering()(asked)) if b"slow" in asked.body else answering()(asked)
    time.sleep(RESET_S + 0.1)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, client, "slow")
        assert until(lambda: len(backend.asked) == 4)
        refused = ask(client).status_code
        time.sleep(RESET_S + 0.1)
        found = [ask(client).status_code for _ in range(2)]
        went_on = not slow.done()

    assert (refused, found, went_on) == (503, [200, 200], True)
    assert slow.result().status_code == 200


def test_probe_whose_client_leaves(service: Serve, backend: Raw) -> None:
    """A probe whose client leaves says nothing, and the next request probes."""
    backend.script = FAILING
    client = service(backend=breaking(backend), policy=OFF)
    for _ in range(3):
        ask(client)
    backend.script = SILENT
    time.sleep(RESET_S + 0.1)
    with pytest.raises(httpx.ReadTimeout):
        client.post(
            "/v1/chat/completions",
            json={"model": "tiny", "messages": [{"role": "user", "content": "Hello."}]},
            timeout=0.4,
        )
    assert until(lambda: bool(backend.left))
    backend.script = answering()

    assert until(lambda: ask(client).status_code == 200, 2)


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "404 Not Found", "429 Too Many Requests"])
def test_rejections_do_not_count(service: Serve, backend: Raw, status: str) -> None:
    """An upstream that says no is in good health."""
    backend.script = lambda asked: (reply(b'{"error": {"message": "no"}}', status=status),)
    client = service(backend=breaking(backend), policy=OFF)

    assert 503 not in {ask(client).status_code for _ in range(5)}
    assert len(backend.asked) == 5


@pytest.mark.parametrize("status", ["500 Internal Server Error", "501 Not Implemented"])
@either_way
def test_poisonous_prompts(service: Serve, backend: Raw, status: str, streamed: bool) -> None:
    """A prompt that a living server cannot answer is nobody else's trouble, however often it is asked."""
    backend.script = lambda asked: (reply(b"{}", status=status),)
    client = service(backend=breaking(backend), policy=OFF)

    assert {ask(client, streamed=streamed).status_code for _ in range(5)} == {502}
    assert len(backend.asked) == 5
    assert state(client) == 0


@pytest.mark.parametrize(("code", "state_after"), [(500, 0), (503, 2)])
def test_error_frames(service: Serve, backend: Raw, code: int, state_after: int) -> None:
    """An error in mid-stream counts as the status that it names."""
    frame = b'data: {"error": {"message": "no", "code": %d}}\n\n' % code
    backend.script = lambda asked: (events([frame, DONE]),)
    client = service(backend=breaking(backend, breaker_reset_s=30), policy=OFF)
    for _ in range(3):
        ask(client, streamed=True)

    assert state(client) == state_after


@pytest.mark.parametrize("parts", [[], [b": wait\n\n"], frames(["x"])[:2]], ids=["nothing", "comments", "cut"])
def test_streams_that_end_early(service: Serve, backend: Raw, parts: list[bytes]) -> None:
    """A stream that ends in order, but before its answer does, is a failure that breaker and metrics hear of."""
    backend.script = lambda asked: (events(parts),)
    client = service(backend=breaking(backend, breaker_reset_s=30), policy={"mode": "shadow"})
    found = [ask(client, streamed=True).status_code for _ in range(4)]
    counted = 'comity_upstream_errors_total{backend="backend",error_type="upstream_error"} 3.0'

    assert found == [502, 502, 502, 503]
    assert until(lambda: counted in client.get("/metrics").text)


def test_streams_without_done(service: Serve, backend: Raw) -> None:
    """A stream that finished, though without [DONE], is a success between failures."""
    finished = (events(frames(["x"])),)
    backend.script = lambda asked: finished if len(backend.asked) % 3 == 0 else FAILING(asked)
    client = service(backend=breaking(backend), policy=OFF)

    assert [ask(client, streamed=True).status_code for _ in range(6)] == [502, 502, 200, 502, 502, 200]


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (reply(b"{}", status="500 Oh"), 500),
        (reply(b"{}", status="503 Oh"), 503),
        (reply(b"{}", "content-encoding: gzip"), 502),
    ],
    ids=["500", "503", "encoded"],
)
def test_route_out_of_order(service: Serve, backend: Raw, answer: bytes, status: int) -> None:
    """What a passed-through route answers says nothing of the other routes."""
    backend.script = lambda asked: (answer,) if "tokenize" in asked.line else answering()(asked)
    client = service(backend=breaking(backend), passthrough={"routes": ["/tokenize"]}, policy=OFF)

    assert {client.post("/tokenize", json={}).status_code for _ in range(5)} == {status}
    assert ask(client).status_code == 200


def test_list_that_is_slow(service: Serve, upstream: Upstream) -> None:
    """Readiness probes that find the list of models slow do not open the breaker."""
    slow = Watched([b"{}"], 30, "application/json")
    slow.upstream = upstream
    upstream.list = lambda models: slow
    client = service(upstream, backend={"breaker_failures": 1}, policy=OFF)

    assert (client.get("/readyz").status_code, state(client)) == (503, 0)
    assert ask(client).status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/v1/models"])
def test_list_beside_broken_answers(service: Serve, upstream: Upstream, path: str) -> None:
    """That models can be listed closes no breaker: it was opened by answers, and an answer closes it."""
    upstream.script = lambda body: error(503)
    client = service(upstream, backend={"breaker_failures": 1, "breaker_reset_s": RESET_S}, policy=OFF)
    ask(client)
    time.sleep(RESET_S + 0.1)

    assert client.get(path).status_code == 200
    assert state(client) == 2
    upstream.script = lambda body: whole()
    assert ask(client).status_code == 200
    assert state(client) == 0


def test_failures_not_in_a_row(service: Serve, backend: Raw) -> None:
    """One answer between failures begins the count anew."""
    backend.script = lambda asked: answering()(asked) if len(backend.asked) % 3 == 0 else FAILING(asked)
    client = service(backend=breaking(backend), policy=OFF)

    assert [ask(client).status_code for _ in range(6)] == [502, 502, 200, 502, 502, 200]


def test_no_breaker(service: Serve, backend: Raw) -> None:
    """With 0 failures there is no breaker."""
    backend.script = FAILING
    client = service(backend=breaking(backend, breaker_failures=0), policy=OFF)

    assert {ask(client).status_code for _ in range(12)} == {502}
    assert len(backend.asked) == 12


@either_way
def test_dead_judge(service: Serve, backend: Raw, judge: Raw, streamed: bool) -> None:
    """The judge's breaker is its own: in shadow answers go on, and the dead judge is not asked any more."""
    judge.judge = FAILING
    client = service(backend=breaking(backend, breaker_reset_s=30), judge={"url": judge.url, "model": "judge"})
    found = [ask(client, streamed=streamed) for _ in range(8)]

    assert {response.status_code for response in found} == {200}
    assert {response.headers["x-comity-coverage-reason"] for response in found} == {"unreachable"}
    assert (len(judge.judged), len(backend.asked)) == (3, 8)
    assert (state(client), state(client, "judge")) == (0, 2)


def test_dead_judge_at_the_same_address(service: Serve, backend: Raw) -> None:
    """A backend that fails only when it is asked to judge goes on answering."""
    backend.judge = FAILING
    client = service(backend=breaking(backend, breaker_reset_s=30))

    assert {ask(client).status_code for _ in range(8)} == {200}
    assert len(backend.judged) == 3


def racing(asked: Asked) -> Steps:
    """Answer once on the first connection, and close it as soon as another request arrives on it."""
    return (End.CLOSE,) if asked.connection == 0 and asked.turn > 0 else answering()(asked)


@either_way
def test_connection_closed_under_a_request(service: Serve, backend: Raw, streamed: bool) -> None:
    """A kept connection that the server closes just then is no one's failure: sent anew, and answered once."""
    backend.script = racing
    client = service(backend={"url": backend.url}, policy=OFF)
    found = [ask(client, f"question {number}", streamed=streamed).status_code for number in range(3)]

    assert found == [200, 200, 200]
    assert seen(backend, "question 0") == [(0, 0)]
    assert seen(backend, "question 1") == [(0, 1), (1, 0)]
    assert seen(backend, "question 2") == [(1, 1)]
    assert until(lambda: 'comity_upstream_retries_total{reason="stale_connection"} 1.0' in client.get("/metrics").text)


def test_judge_closed_under_a_request(service: Serve, backend: Raw, judge: Raw) -> None:
    """It is the same with the judge's connection."""
    judge.judge = lambda asked: (End.CLOSE,) if (asked.connection, asked.turn) == (0, 1) else judging({"0": 1.0})(asked)
    client = service(backend={"url": backend.url}, judge={"url": judge.url, "model": "judge"})

    assert [ask(client).headers["x-comity-verdict"] for _ in range(3)] == ["safe"] * 3
    assert len(judge.judged) == 4


@either_way
def test_new_connection_closed_under_a_request(service: Serve, backend: Raw, streamed: bool) -> None:
    """What broke off on a fresh connection may have been begun, so it is not sent again."""
    backend.script = CLOSING
    client = service(backend={"url": backend.url}, policy=OFF)

    assert ask(client, "question", streamed=streamed).status_code == 502
    assert seen(backend, "question") == [(0, 0)]


@either_way
def test_kept_connection_closed_late(service: Serve, backend: Raw, streamed: bool) -> None:
    """What breaks on a kept connection after a while may have been begun, so it is not sent again."""
    backend.script = lambda asked: (Pause(1.3), End.CLOSE) if asked.turn else answering()(asked)
    client = service(backend={"url": backend.url}, policy=OFF)

    assert ask(client, "question 0", streamed=streamed).status_code == 200
    assert ask(client, "question 1", streamed=streamed).status_code == 502
    assert seen(backend, "question 1") == [(0, 1)]


@pytest.mark.parametrize(
    "steps",
    [
        (b"HTTP/1.1 200", End.CLOSE),
        (reply(b"{}", status="500 Oh"),),
        (reply(b"{}", status="503 Oh"),),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ncontent-type: application/json\r\n\r\n{", End.CLOSE),
    ],
    ids=["after_a_byte", "500", "503", "in_the_body"],
)
def test_kept_connection_that_fails_otherwise(service: Serve, backend: Raw, steps: Steps) -> None:
    """A request that got a byte of a response is not sent again."""
    backend.script = lambda asked: steps if asked.turn else answering()(asked)
    client = service(backend={"url": backend.url}, policy=OFF)

    assert ask(client, "question 0").status_code == 200
    assert ask(client, "question 1").status_code in (502, 503)
    assert seen(backend, "question 1") == [(0, 1)]


@either_way
def test_backend_that_comes_up_meanwhile(service: Serve, streamed: bool) -> None:
    """A refused connection is tried again; the request is sent once."""
    with serving(listening=False) as backend:
        client = service(backend={"url": backend.url, "connect_retries": 10}, policy=OFF)
        coming = threading.Timer(0.3, backend.listen)
        coming.start()
        response = ask(client, "question", streamed=streamed)
        coming.join()

        assert response.status_code == 200
        assert seen(backend, "question") == [(0, 0)]
        assert until(lambda: 'comity_upstream_retries_total{reason="connect"}' in client.get("/metrics").text)


def test_request_that_breaks_every_connection(service: Serve, backend: Raw) -> None:
    """A request under which one kept connection after the other is closed is sent again once, not for each of them."""
    backend.script = lambda asked: (End.CLOSE,) if b"poison" in asked.body else (Pause(0.3), *answering()(asked))
    client = service(backend={"url": backend.url}, policy=OFF)
    with ThreadPoolExecutor(4) as pool:
        assert [response.status_code for response in pool.map(lambda _: ask(client), range(4))] == [200] * 4

    assert ask(client, "poison").status_code == 502
    assert len(seen(backend, "poison")) <= 2
