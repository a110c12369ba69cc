"""Policies at work: which one a request gets, what it may ask for, and what a policy's thresholds decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from service.settings import Settings
from tests.conftest import Serve, until
from tests.upstream import Upstream, digit, either

ISTANBUL = "What should I bring to a family dinner in Istanbul?"
NOWHERE = "What is 2 + 2?"
BOTH = pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
STRICT: dict[str, Any] = {"mode": "enforce", "repair": False, "fallback": False}


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    """A backend that answers in any shape."""
    upstream.script = either("Fine.")
    return upstream


def ask(
    client: httpx.Client, text: str = NOWHERE, *, key: str = "", header: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    """Send one chat request, by a caller's key and with Comity's own headers."""
    headers = {f"x-comity-{name}": value for name, value in (header or {}).items()}
    if key:
        headers["authorization"] = f"Bearer {key}"
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body, headers=headers)


def refused(response: httpx.Response) -> tuple[int, str, str]:
    """Give status, code and parameter of an error."""
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


@BOTH
@pytest.mark.parametrize(
    ("key", "header", "text", "policy"),
    [
        ("k1", {"policy": "named"}, ISTANBUL, "named"),
        ("k1", {}, ISTANBUL, "keyed"),
        ("k2", {}, ISTANBUL, "turkish"),
        ("k2", {"culture": "TR"}, NOWHERE, "turkish"),
        ("k2", {"culture": "none"}, ISTANBUL, "default"),
        ("k2", {}, NOWHERE, "default"),
    ],
)
def test_which_policy(
    service: Serve, upstream: Upstream, key: str, header: dict[str, str], text: str, policy: str, streamed: bool
) -> None:
    """The policy that a request names comes before its key's, that before its culture's, and that before the default;
    each is counted under its name."""
    client = service(
        upstream,
        policies={"named": {}, "keyed": {}, "turkish": {"cultures": ["TR"]}},
        api_keys=[{"key": "k1", "policy": "keyed", "policies": ["named"]}, "k2"],
    )
    response = ask(client, text, key=key, header=header, stream=streamed)

    assert response.headers["x-comity-policy"] == policy
    assert until(
        lambda: f'comity_policy_requests_total{{mode="shadow",policy="{policy}"}} 1.0' in client.get("/metrics").text
    )


@pytest.mark.parametrize(
    ("policies", "policy"),
    [
        ({"iberian": ["ES"]}, "iberian"),
        ({"iberian": ["ES"], "catalan": ["ES-CT"]}, "catalan"),
        ({"catalan": ["ES-CT"], "iberian": ["ES"]}, "catalan"),
        ({"turkish": ["TR"]}, "default"),
    ],
)
def test_policy_of_a_parent_culture(
    service: Serve, upstream: Upstream, policies: dict[str, list[str]], policy: str
) -> None:
    """A culture without a policy of its own gets the one of the culture that it inherits from."""
    client = service(upstream, policies={name: {"cultures": cultures} for name, cultures in policies.items()})

    assert ask(client, header={"culture": "ES-CT"}).headers["x-comity-policy"] == policy


@pytest.mark.parametrize(("culture", "policy"), [("TR,JP", "turkish"), ("JP,TR", "default"), ("MX,TR", "turkish")])
def test_policy_of_several_cultures(service: Serve, upstream: Upstream, culture: str, policy: str) -> None:
    """Of several cultures the first that a policy claims decides; the default one may claim cultures too."""
    client = service(upstream, policy={"cultures": ["JP"]}, policies={"turkish": {"cultures": ["TR"]}})

    assert ask(client, header={"culture": culture}).headers["x-comity-policy"] == policy


@pytest.mark.parametrize(
    "text", ["I am Japanese. Which gift is polite?", "My family is from Japan; which gift?", "私は日本人です。"]
)
def test_culture_of_the_asker(service: Serve, upstream: Upstream, text: str) -> None:
    """What is inferred about the person who asks chooses no policy, since the policy's name would tell it."""
    client = service(upstream, policies={"japanese": {"cultures": ["JP"], "mode": "off"}})

    assert ask(client, text).headers["x-comity-policy"] == "default"
    assert ask(client, text, header={"culture": "JP"}).headers["x-comity-policy"] == "japanese"
    assert until(lambda: 'policy="default"} 1.0' in client.get("/metrics").text)


def test_policy_in_the_body(service: Serve, upstream: Upstream) -> None:
    """A request may name its policy in its body too; a header wins, and the backend sees neither."""
    client = service(upstream, policies={"a": {}, "b": {}}, anonymous={"policies": ["a", "b", "default"]})

    assert ask(client, comity={"policy": "a"}).headers["x-comity-policy"] == "a"
    assert ask(client, comity={"policy": "a"}, header={"policy": "b"}).headers["x-comity-policy"] == "b"
    assert ask(client, comity={"policy": "default"}).headers["x-comity-policy"] == "default"
    assert "comity" not in json.dumps([upstream.asked, upstream.headers]).replace('"user-agent": "comity"', "")


@BOTH
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policy", "strict"),
        ("policy", "nonsense"),
        ("mode", "off"),
        ("mode", "enforce"),
        ("stream_mode", "passthrough"),
        ("stream_mode", "window"),
        ("culture", "TR"),
    ],
)
def test_hint_that_is_not_allowed(service: Serve, upstream: Upstream, name: str, value: str, streamed: bool) -> None:
    """Without an operator's leave no request chooses how it is guarded, in a header or in its body: 403, unasked."""
    client = service(upstream, policies={"strict": {}}, api_keys=[{"key": "k", "hints": False}])
    by_header = ask(client, key="k", header={name.replace("_", "-"): value}, stream=streamed)
    by_body = ask(client, key="k", comity={name: value}, stream=streamed)

    assert refused(by_header) == refused(by_body) == (403, "hint_not_allowed", f"comity.{name}")
    assert by_header.headers["x-comity-response-path"] == "error"
    assert upstream.asked == []


def test_leave_of_one_caller(service: Serve, upstream: Upstream) -> None:
    """What one key may is no other key's, and of several policies only those that the key lists."""
    client = service(
        upstream,
        policies={"a": {}, "b": {}},
        api_keys=[{"key": "k1", "policies": ["a"], "modes": ["off"]}, {"key": "k2", "stream_modes": ["window"]}],
        anonymous={"policies": ["a", "b"], "modes": ["off"]},
    )

    assert ask(client, key="k1", header={"policy": "a", "mode": "off"}).status_code == 200
    assert refused(ask(client, key="k1", header={"policy": "b"}))[1] == "hint_not_allowed"
    assert refused(ask(client, key="k1", header={"mode": "enforce"}))[1] == "hint_not_allowed"
    assert refused(ask(client, key="k2", header={"policy": "a"}))[1] == "hint_not_allowed"
    assert refused(ask(client, key="k2", header={"mode": "off"}))[1] == "hint_not_allowed"
    assert ask(client, key="k2", header={"stream-mode": "window", "culture": "TR"}).status_code == 200


def test_opting_out_needs_no_leave(service: Serve, upstream: Upstream) -> None:
    """A caller that may name no culture may still say that none is to be inferred, and ask to be held to the end."""
    client = service(upstream, api_keys=[{"key": "k", "hints": False}])
    response = ask(client, ISTANBUL, key="k", header={"culture": "none", "stream-mode": "buffer"})

    assert response.status_code == 200
    assert "x-comity-culture" not in response.headers


@pytest.mark.parametrize("where", ["header", "body"])
def test_unknown_policy(service: Serve, upstream: Upstream, where: str) -> None:
    """A caller that may name policies and names one that there is not is told so: 400."""
    client = service(upstream, policies={"strict": {}}, anonymous={"policies": ["strict"]})
    response = ask(client, header={"policy": "strcit"}) if where == "header" else ask(client, comity={"policy": "x"})

    assert refused(response) == (400, "unknown_policy", "comity.policy")


@pytest.mark.parametrize(
    ("name", "value"), [("mode", "hard"), ("mode", 1), ("stream_mode", "fast"), ("policy", ""), ("policy", ["a"])]
)
def test_hint_that_is_none(service: Serve, upstream: Upstream, name: str, value: Any) -> None:
    """A value that a hint does not know is 400, naming the hint."""
    client = service(upstream, anonymous={"modes": ["off"], "policies": ["default"]})

    assert refused(ask(client, comity={name: value})) == (400, "invalid_value", f"comity.{name}")


@BOTH
@pytest.mark.parametrize(("mode", "action"), [("enforce", "refused"), ("shadow", "would_refuse"), ("off", "allowed")])
def test_mode_of_a_request(service: Serve, upstream: Upstream, mode: str, action: str, streamed: bool) -> None:
    """Where the caller may, a request chooses whether is acted, counted or not even judged."""
    upstream.judge = lambda body: digit({"9": 1.0})
    client = service(
        upstream, policy={"repair": False, "fallback": False}, anonymous={"modes": ["enforce", "shadow", "off"]}
    )
    response = ask(client, header={"mode": mode}, stream=streamed)

    assert (response.headers["x-comity-mode"], response.headers["x-comity-action"]) == (mode, action)
    assert len(upstream.judged) == (0 if mode == "off" else 1)
    assert until(
        lambda: f'comity_policy_requests_total{{mode="{mode}",policy="default"}} 1.0' in client.get("/metrics").text
    )


@pytest.mark.parametrize("stream_mode", ["buffer", "window", "passthrough"])
def test_stream_mode_of_a_request(service: Serve, upstream: Upstream, stream_mode: str) -> None:
    """Where the caller may, a request chooses how its stream is held."""
    client = service(upstream, anonymous={"stream_modes": ["buffer", "window", "passthrough"]})
    response = ask(client, header={"stream-mode": stream_mode}, stream=True)

    assert response.headers["x-comity-stream-mode"] == stream_mode


@pytest.mark.parametrize(
    ("policy", "header", "param", "word"),
    [
        ({"stream_mode": "passthrough"}, {"mode": "enforce"}, "comity.mode", "passthrough"),
        (STRICT, {"stream-mode": "passthrough"}, "comity.stream_mode", "passthrough"),
        ({}, {"mode": "enforce", "stream-mode": "passthrough"}, "comity.mode", "passthrough"),
        ({"on_error": {"judge": "allow"}}, {"mode": "enforce"}, "comity.mode", "accept_unjudged"),
    ],
)
def test_request_that_contradicts_its_policy(
    service: Serve, upstream: Upstream, policy: dict[str, Any], header: dict[str, str], param: str, word: str
) -> None:
    """What no policy may hold, no request may ask for: 400 that names the hint and the reason, before any asking."""
    client = service(
        upstream, policy=policy, anonymous={"modes": ["enforce"], "stream_modes": ["passthrough", "window"]}
    )
    response = ask(client, header=header, stream=True)

    assert refused(response) == (400, "invalid_value", param)
    assert word in response.json()["error"]["message"]
    assert upstream.asked == []


def test_enforce_without_a_judge_that_may(service: Serve) -> None:
    """A request cannot make the lexical baseline enforce."""
    client = service(anonymous={"modes": ["enforce", "off"]})

    assert refused(ask(client, header={"mode": "enforce"}, model="comity-extractive"))[2] == "comity.mode"
    assert ask(client, header={"mode": "off"}, model="comity-extractive").status_code == 200


def test_named_policies_inherit() -> None:
    """A named policy is as the default one in all that it does not set, groups key by key, but has its own cultures."""
    base = {"thresholds": {"overall": 70, "harm": 10}, "repair": False, "cultures": ["TR"], "window_chars": 90}
    found = Settings(
        policy={**base, "on_error": {"detect": "block"}},
        policies={"a": {"thresholds": {"harm": 20}, "on_error": {"retrieve": "degrade"}}, "b": {"cultures": ["JP"]}},
    ).policies

    assert found["a"].thresholds.model_dump(exclude_none=True) == {"overall": 70, "harm": 20}
    assert (found["a"].on_error.detect, found["a"].on_error.retrieve) == ("block", "degrade")
    assert (found["a"].repair, found["a"].window_chars, found["a"].cultures) == (False, 90, ())
    assert found["b"].thresholds.overall == 70
    assert found["b"].cultures == ("JP",)


def test_inherited_contradiction() -> None:
    """A policy that becomes a contradiction by what it inherits is refused under its own name."""
    with pytest.raises(ValidationError, match=r"(?s)policies\.strict.*stream_mode: passthrough"):
        Settings(
            backend={"url": "http://h/v1"},
            policy={"stream_mode": "passthrough"},
            policies={"strict": {"mode": "enforce"}},
        )


@BOTH
@pytest.mark.parametrize(
    ("axis", "text", "score"),
    [
        ("demeaning", "Those people are filthy.", 90),
        ("custom", "Sticking chopsticks upright in a bowl of rice.", 70),
    ],
)
def test_threshold_of_an_axis(
    service: Serve, upstream: Upstream, axis: str, text: str, score: int, streamed: bool
) -> None:
    """An axis is unsafe from its own threshold on, and under it no other axis is held against the answer."""
    upstream.script = either(text)
    policies = {"at": {"thresholds": {axis: score}}, "above": {"thresholds": {axis: score + 1}}}
    client = service(
        upstream,
        judge={"kind": "lexical"},
        policies=policies,
        anonymous={"policies": ["at", "above"]},
        retrieval={"min_score": -1, "k": 20},
    )
    asked = "How are chopsticks used at a table in Japan?"
    at, above = (ask(client, asked, header={"policy": name}, stream=streamed) for name in policies)

    assert (at.headers["x-comity-verdict"], at.headers["x-comity-action"]) == ("unsafe", "would_refuse")
    assert (above.headers["x-comity-verdict"], above.headers["x-comity-action"]) == ("safe", "allowed")


@pytest.mark.parametrize(("overall", "verdict"), [(None, "unsafe"), (55, "unsafe"), (56, "safe"), (100, "safe")])
def test_threshold_on_the_whole(service: Serve, upstream: Upstream, overall: float | None, verdict: str) -> None:
    """The LLM judge's score of the whole answer is held to the threshold of the axis overall, 50 unless it is set."""
    upstream.judge = lambda body: digit({"5": 1.0})
    response = ask(service(upstream, policy={**STRICT, "thresholds": {"overall": overall}}))

    assert response.headers["x-comity-verdict"] == verdict
    assert response.headers["x-comity-action"] == ("refused" if verdict == "unsafe" else "allowed")


def test_calibrated_thresholds(service: Serve, upstream: Upstream, tmp_path: Path) -> None:
    """A calibration gives the thresholds that no policy sets, /info shows each policy's, and coverage becomes full."""
    made = {"judge": "llm-continuation", "axes": {"overall": {"threshold": 60}, "harm": {"threshold": 30}}}
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps({**made, "languages": ["en"]}), encoding="utf-8")
    upstream.judge = lambda body: digit({"5": 1.0})
    upstream.script = either("You could bring sweets or pastries to the family.")
    client = service(upstream, judge={"calibration": path}, policies={"strict": {"thresholds": {"overall": 20}}})
    found, response = client.get("/info").json(), ask(client)

    assert found["judge"] | {"model": None} == {
        "name": "llm-continuation",
        "model": None,
        "calibrated": True,
        "languages": ["en"],
    }
    assert found["policies"]["default"]["thresholds"] == {"overall": 60, "custom": 50, "demeaning": 50, "harm": 30}
    assert found["policies"]["strict"]["thresholds"]["overall"] == 20
    assert (response.headers["x-comity-verdict"], response.headers["x-comity-coverage"]) == ("safe", "full")


def test_info(service: Serve, upstream: Upstream) -> None:
    """/info tells every policy's mode, stream mode and thresholds, and of whom no key."""
    client = service(
        upstream,
        policies={"strict": {"mode": "enforce", "stream_mode": "window"}},
        api_keys=[{"key": "secret-key", "policy": "strict"}],
    )
    found = client.get("/info")
    fifty = dict.fromkeys(("overall", "custom", "demeaning", "harm"), 50.0)

    assert found.json()["judge"]["calibrated"] is False
    assert found.json()["policies"] == {
        "default": {"mode": "shadow", "stream_mode": "buffer", "thresholds": fifty},
        "strict": {"mode": "enforce", "stream_mode": "window", "thresholds": fifty},
    }
    assert "secret-key" not in found.text
