"""Bad requests to the contracts of others: one sentence that names the field, in the form of that contract."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Serve

PLANTED = "zq-planted-phrase-zq"
GUARDRAIL = "/beta/litellm_basic_guardrail_api"
CONTENTS, GENERATION, CHAT = (f"/api/v1/text/{name}" for name in ("contents", "generation", "chat"))
DETECTOR = {"detector-id": "comity"}
MESSAGES = [{"role": "user", "content": "Hello."}]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/moderations", {}, "input"),
        ("/v1/moderations", {"input": []}, "input"),
        ("/v1/moderations", {"input": 7}, "input"),
        ("/v1/moderations", {"input": [PLANTED] * 257}, "input"),
        ("/v1/moderations", {"input": [PLANTED, 7]}, "input[0]"),
        ("/v1/moderations", {"input": [{"type": PLANTED}]}, "input[0]"),
        ("/v1/moderations", {"input": [{"type": "text", "text": [PLANTED]}]}, "input[0].text"),
        ("/v1/moderations", {"input": PLANTED, "model": 7}, "model"),
        ("/v1/moderations", {"input": PLANTED, PLANTED: 7}, "body"),
        (GUARDRAIL, {}, "input_type"),
        (GUARDRAIL, {"input_type": PLANTED}, "input_type"),
        (GUARDRAIL, {"input_type": "response", "texts": PLANTED}, "texts"),
        (GUARDRAIL, {"input_type": "response", "texts": [PLANTED, 7]}, "texts"),
        (GUARDRAIL, {"input_type": "response", "texts": ["x"] * 3000}, "texts"),
        (GUARDRAIL, {"input_type": "request", "structured_messages": PLANTED}, "messages"),
        (GUARDRAIL, {"input_type": "request", "structured_messages": [{"role": PLANTED}]}, "messages[0].role"),
    ],
)
def test_openai_error(
    service: Serve, capfd: pytest.CaptureFixture[str], path: str, body: dict[str, Any], param: str
) -> None:
    """Moderations and the guardrail answer 400 in OpenAI's form; nothing of the text is in it or in the log."""
    response = service().post(path, json=body)

    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert PLANTED not in response.text + capfd.readouterr().err


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        (CONTENTS, {}, "contents"),
        (CONTENTS, {"contents": PLANTED}, "contents"),
        (CONTENTS, {"contents": [PLANTED, None]}, "contents"),
        (CONTENTS, {"contents": [PLANTED] * 257}, "contents"),
        (CONTENTS, {"contents": [PLANTED], "detector_params": PLANTED}, "detector_params"),
        (CONTENTS, {"contents": [PLANTED], "detector_params": {"threshold": 50}}, "threshold"),
        (CONTENTS, {"contents": [PLANTED], "detector_params": {"threshold": True}}, "threshold"),
        (GENERATION, {"prompt": PLANTED}, "generated_text"),
        (GENERATION, {"prompt": None, "generated_text": PLANTED}, "prompt"),
        (CHAT, {}, "messages"),
        (CHAT, {"messages": [{"role": PLANTED, "content": PLANTED}]}, "messages[0].role"),
        (CHAT, {"messages": MESSAGES, "detector_params": {"threshold": PLANTED}}, "threshold"),
    ],
)
def test_detector_error(
    service: Serve, capfd: pytest.CaptureFixture[str], path: str, body: dict[str, Any], named: str
) -> None:
    """A detector answers 422 with a code and a message that names the field, and with nothing else."""
    response = service().post(path, json=body, headers=DETECTOR)
    found = response.json()

    assert response.status_code == 422
    assert set(found) == {"code", "message"}
    assert found["code"] == 422
    assert named in found["message"]
    assert response.headers["x-request-id"]
    assert PLANTED not in response.text + capfd.readouterr().err


@pytest.mark.parametrize("path", [CONTENTS, GENERATION, CHAT])
def test_detector_without_its_id(service: Serve, path: str) -> None:
    """The header that names the detector is required; any name will do."""
    response = service().post(path, json={"contents": [], "prompt": "", "generated_text": "", "messages": MESSAGES})

    assert response.status_code == 422
    assert "detector-id" in response.json()["message"]


def test_detector_errors_of_the_door(service: Serve) -> None:
    """What fails before the route does, a key or a size, has the detectors' form and its own status."""
    client = service(api_keys=["right"], limits={"max_body_bytes": 1024})
    key = {**DETECTOR, "authorization": "Bearer right"}
    unknown = client.post(CONTENTS, json={"contents": []}, headers=DETECTOR)
    large = client.post(CONTENTS, json={"contents": ["x" * 2000]}, headers=key)
    broken = client.post(CONTENTS, content=b"{", headers=key)

    assert [response.status_code for response in (unknown, large, broken)] == [401, 413, 422]
    for response in (unknown, large, broken):
        assert response.json()["code"] == response.status_code
        assert response.json()["message"]


@pytest.mark.parametrize("path", ["/v1/moderations", GUARDRAIL, CONTENTS])
def test_unknown_culture(service: Serve, path: str) -> None:
    """A culture in the header that is not registered is named as the fault."""
    body = {"input": "x", "contents": ["x"], "texts": ["x"], "input_type": "response"}
    sent = {"input": "x"} if path == "/v1/moderations" else body
    response = service().post(path, json=sent, headers={**DETECTOR, "x-comity-culture": "QQ"})

    assert response.status_code in (400, 422)
    assert "culture" in response.text
