"""A real part that is missing is never missed in silence."""

from __future__ import annotations

import pytest

from tests.real import parts


@pytest.fixture(autouse=True)
def _nothing_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """What whoever runs the tests requires is not what these are about."""
    monkeypatch.delenv("REQUIRE_REAL", raising=False)
    monkeypatch.delenv("ALLOW_SKIP", raising=False)


@pytest.mark.parametrize(("required", "allowed"), [("", ""), ("helm node", ""), ("helm vllm", "vllm")])
def test_missing_part_that_may_be(monkeypatch: pytest.MonkeyPatch, required: str, allowed: str) -> None:
    """The test is skipped, and the reason begins with the part and says what to do."""
    monkeypatch.setenv("VLLM_VENV", "no-such-folder")
    monkeypatch.setenv("REQUIRE_REAL", required)
    monkeypatch.setenv("ALLOW_SKIP", allowed)
    with pytest.raises(pytest.skip.Exception, match=r"^real part vllm: there is no vLLM; run `\.ci/vllm`"):
        parts.need("vllm")


def test_missing_part_that_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test fails with what to do."""
    monkeypatch.setenv("VLLM_VENV", "no-such-folder")
    monkeypatch.setenv("REQUIRE_REAL", "node vllm")
    with pytest.raises(pytest.fail.Exception, match=r"real part vllm is required.* run `\.ci/vllm`"):
        parts.need("vllm")


def test_summary_of_a_run_with_skips() -> None:
    """Each part is named once, however many tests went without it; other skips are not its business."""
    reasons = [
        "Skipped: real part vllm: not here: do this",
        "Skipped: real part vllm: not here: do this",
        "Skipped: rain",
    ]
    assert parts.summary(reasons) == ["skipped real part: vllm (not here: do this)"]


def test_summary_of_a_whole_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a run that had every part says so; one that asked for some says nothing."""
    monkeypatch.setattr(parts, "_found", {"helm", "litellm", "node", "vllm"})
    assert parts.summary([]) == ["every real part ran: helm litellm node vllm"]
    monkeypatch.setattr(parts, "_found", {"helm"})
    assert parts.summary([]) == []
