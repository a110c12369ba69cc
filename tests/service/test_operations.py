"""What an operator sees: probes, info, metrics, the API page, and logs without a word of the user's."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from service.guard import Guard
from tests.conftest import Serve, until
from tests.upstream import Upstream, digit, either, error, whole

PLANTED = "zq-planted-phrase-zq"


def _asked(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}


def _logged(capfd: pytest.CaptureFixture[str]) -> str:
    """What was logged up to the line of a request, which is written just after its answer."""
    written = ""

    def is_written() -> bool:
        nonlocal written
        written += capfd.readouterr().err
        return '"event": "request"' in written

    assert until(is_written)
    return written


def test_probes(service: Serve, guard: Guard) -> None:
    """Live, started and ready on embedded parts alone; info tells versions and that the judge is not calibrated."""
    client = service()
    info = client.get("/info").json()

    assert [client.get(path).status_code for path in ("/livez", "/startupz", "/readyz")] == [200, 200, 200]
    assert info["index"]["version"] == guard.index.manifest.version
    assert info["judge"]["calibrated"] is False
    assert info["policies"]["default"]["mode"] == "shadow"
    assert re.fullmatch(r"[0-9a-f]{16}", info["config_hash"])


def test_info_hides_secrets(service: Serve, upstream: Upstream) -> None:
    """Neither keys nor the backend's address with its credentials stand in info."""
    client = service(upstream, api_keys=["s3cret-key"], backend={"api_key": "s3cret-backend"})

    assert "s3cret" not in client.get("/info").text
    assert "s3cret" not in client.get("/metrics").text


def test_metrics_keep_verdict_action_and_coverage_apart(service: Serve, upstream: Upstream) -> None:
    """What the judge said, what was done and how much was judged are three metrics."""
    upstream.judge = lambda body: digit({"9": 1.0})
    client = service(upstream)
    client.post("/v1/chat/completions", json=_asked("A gift in Japan?"))
    assert until(lambda: "comity_requests_total{" in client.get("/metrics").text)
    text = client.get("/metrics").text

    assert 'comity_verdicts_total{judge="llm-continuation",verdict="unsafe"} 1.0' in text
    assert 'comity_actions_total{action="would_refuse",culture="JP",mode="shadow"} 1.0' in text
    assert 'comity_guard_coverage_total{coverage="partial",reason="uncalibrated"} 1.0' in text
    assert 'comity_culture_detected_total{culture="JP",source="inferred"} 1.0' in text
    assert 'comity_requests_total{response_path="upstream",route="chat",status_class="2xx",stream="false"} 1.0' in text


def test_random_models_and_paths_make_no_series(service: Serve, upstream: Upstream) -> None:
    """No text of a request becomes a label: junk models and paths leave the number of series as it was."""
    client = service(upstream)

    def ask(number: int) -> None:
        client.post("/v1/chat/completions", json={**_asked("x"), "model": f"junk-{number}"})
        client.get(f"/junk/{number}")

    def count(name: str) -> int:
        return client.get("/metrics").text.count(name)

    ask(0)
    assert until(lambda: count("comity_actions_total{") == 1)
    before = count("\n")
    for number in range(1, 20):
        ask(number)

    assert count("\n") == before


@pytest.mark.parametrize("streamed", [False, True])
def test_nothing_of_the_text_is_logged(
    service: Serve, upstream: Upstream, capfd: pytest.CaptureFixture[str], streamed: bool
) -> None:
    """Planted text of prompts, answers, hints and headers is in no log line, metric or error."""
    client = service(upstream, log={"level": "debug"})
    texts = []
    for script in (either(PLANTED), lambda body: error(500, PLANTED), lambda body: error(400, PLANTED)):
        upstream.script = script
        body = _asked(f"Tell me of {PLANTED} in Japan", stream=streamed, user=PLANTED)
        response = client.post("/v1/chat/completions", json=body, headers={"x-request-id": PLANTED + "!"})
        if response.status_code != 200:
            texts.append(response.text)
    client.post("/v1/chat/completions", json=_asked(PLANTED), headers={"x-comity-culture": PLANTED})
    client.post("/comity/v1/judge", json={"messages": _asked(PLANTED)["messages"], "response": PLANTED})
    client.get(f"/v1/{PLANTED}?q={PLANTED}")

    assert PLANTED not in client.get("/metrics").text
    assert PLANTED not in "".join(texts)
    assert PLANTED not in capfd.readouterr().err


def test_crash_tells_nothing(service: Serve, upstream: Upstream, capfd: pytest.CaptureFixture[str]) -> None:
    """An unexpected error is one generic sentence outside, and a place without its message in the log."""
    client = service(upstream)

    class Broken:
        name, calibrated = "broken", False

        async def judge(self, exchange: object) -> None:
            raise KeyError(PLANTED)

    guard = client.guard  # type: ignore[attr-defined]
    object.__setattr__(guard, "judge", Broken())
    response = client.post("/v1/chat/completions", json=_asked("x"))
    logged = capfd.readouterr().err

    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert PLANTED not in response.text + logged
    assert '"error": "KeyError"' in logged
    assert "test_operations.py" in logged


def test_crash_of_a_check(service: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    """An unexpected error of a check-only route has one id: in the header, the body, and every log line."""
    client = service()
    object.__setattr__(client.guard, "index", None)  # type: ignore[attr-defined]
    response = client.post("/comity/v1/detect", json={"messages": _asked(PLANTED)["messages"]})
    written = _logged(capfd)
    logged = [json.loads(line) for line in written.splitlines() if '"request_id"' in line]

    assert response.status_code == 500
    assert {line["request_id"] for line in logged} == {response.headers["x-request-id"]}
    assert response.json()["error"]["comity"]["request_id"] == response.headers["x-request-id"]
    assert PLANTED not in response.text + written


def test_one_line_a_request(service: Serve, upstream: Upstream, capfd: pytest.CaptureFixture[str]) -> None:
    """Each request is one JSON line with its id, verdict, action and coverage."""
    upstream.script = lambda body: whole("ok")
    client = service(upstream)
    response = client.post("/v1/chat/completions", json=_asked("A gift in Japan?"), headers={"x-request-id": "r-1"})
    written = _logged(capfd)
    lines = [json.loads(line) for line in written.splitlines() if '"event": "request"' in line]

    assert response.status_code == 200
    assert [line["request_id"] for line in lines] == ["r-1"]
    assert {"verdict", "action", "coverage", "status", "ms", "overhead_ms", "cultures"} <= set(lines[0])


def test_api_page_without_a_cdn(service: Serve) -> None:
    """The API page loads every script and style from the service itself."""
    client = service()
    page = client.get("/docs")
    assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert page.status_code == 200
    assert assets
    assert "http://" not in page.text.replace(str(client.base_url), "")
    assert "https://" not in page.text
    assert [client.get(asset).status_code for asset in assets] == [200] * len(assets)


def test_openapi_names_every_route(service: Serve) -> None:
    """The OpenAPI document holds the routes with their request bodies."""
    paths = service().get("/openapi.json").json()["paths"]

    assert "/v1/chat/completions" in paths
    assert "requestBody" in paths["/comity/v1/judge"]["post"]


def test_detect_route(service: Serve) -> None:
    """The detect route gives cultures with roles, confidence and evidence that points at the words."""
    text = "What do hosts in Thailand expect of Japanese guests?"
    found = service().post("/comity/v1/detect", json={"messages": _asked(text)["messages"]}).json()
    evidence = found["cultures"][0]["evidence"][0]

    assert [item["culture"] for item in found["cultures"]] == ["TH", "JP"]
    assert text[evidence["start"] : evidence["end"]] == "Thailand"
    assert found["abstained"] is None


def test_retrieve_route(service: Serve, guard: Guard) -> None:
    """The retrieve route gives sourced descriptions of the asked cultures and the index version."""
    body = {"query": "Where do I put my chopsticks while I talk at dinner?", "cultures": ["JP"], "k": 3}
    found = service().post("/comity/v1/retrieve", json=body).json()

    assert found["index_version"] == guard.index.manifest.version
    assert all(item["culture"] == "JP" and item["sources"] for item in found["descriptions"])
    assert "chopsticks" in found["descriptions"][0]["id"]
