"""An adapter chosen by culture, as the backend sees it."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from service.parts import assemble
from service.settings import Settings, SettingsUnusable
from tests.conftest import ROOT, Serve, until
from tests.upstream import Upstream, Watched, either, error

JAPAN, INDIA, BOTH, NONE = (
    "A gift for a colleague in Japan?",
    "A gift for a wedding in India?",
    "A dinner in Japan, and a wedding in India?",
    "What is the square root of two?",
)
MAP = {"cultures": {"JP": "jp", "IN": "in"}}


def _card(name: str, parent: Any = "tiny") -> dict[str, Any]:
    return {"id": name, "object": "model", "root": f"/models/{name}", "parent": parent}


@pytest.fixture
def adapted(upstream: Upstream) -> Upstream:
    """A backend that serves two adapters of its model, and answers in any shape."""
    upstream.models += [_card("jp"), _card("in"), {"id": "alias", "root": "/models/tiny", "parent": None}]
    upstream.script = either("ok")
    return upstream


def _ask(
    client: httpx.Client, text: str, model: str = "tiny", headers: dict[str, str] | None = None, **more: Any
) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return client.post("/v1/chat/completions", json=body, headers=headers)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("text", "model", "asked", "outcome"),
    [
        (JAPAN, "tiny", "jp", "used"),
        (INDIA, "tiny", "in", "used"),
        (JAPAN, "alias", "jp", "used"),
        (BOTH, "tiny", "tiny", "several"),
        (NONE, "tiny", "tiny", "none"),
        ("A dinner in Turkey?", "tiny", "tiny", "none"),
        (JAPAN, "in", "in", "explicit"),
        (NONE, "in", "in", "explicit"),
    ],
)
def test_choice(
    service: Serve, adapted: Upstream, streamed: bool, text: str, model: str, asked: str, outcome: str
) -> None:
    """The culture decides, the caller's own adapter stands, and two cultures get the base model."""
    client = service(adapted, adapters=MAP)
    response = _ask(client, text, model, stream=streamed)

    assert adapted.asked[0]["model"] == asked
    assert response.headers["x-comity-adapter-outcome"] == outcome
    assert response.headers.get("x-comity-adapter") == (asked if outcome in ("used", "explicit") else None)


def test_first_of_several(service: Serve, adapted: Upstream) -> None:
    """By setting, the adapter of the culture that is grounded first answers for several."""
    response = _ask(service(adapted, adapters={**MAP, "on_several": "first"}), BOTH)

    assert adapted.asked[0]["model"] == response.headers["x-comity-culture"].split(",")[0].lower()


def test_several_that_agree(service: Serve, adapted: Upstream) -> None:
    """Cultures that share one adapter are not several."""
    _ask(service(adapted, adapters={"cultures": {"JP": "jp", "IN": "jp"}}), BOTH)

    assert adapted.asked[0]["model"] == "jp"


def test_adapter_of_a_parent(service: Serve, adapted: Upstream) -> None:
    """A region without an adapter of its own has its country's; both together are one culture."""
    adapted.models.append(_card("es"))
    client = service(adapted, adapters={"cultures": {"ES": "es"}})
    _ask(client, "A dinner?", comity={"culture": "ES-CT"})
    _ask(client, "A dinner?", comity={"culture": ["ES-CT", "ES"]})

    assert [body["model"] for body in adapted.asked] == ["es", "es"]


@pytest.mark.parametrize(
    "cards", [[], [_card("jp", "another")], [_card("jp", None)]], ids=["unlisted", "of_another_model", "no_adapter"]
)
def test_missing_adapter(service: Serve, upstream: Upstream, cards: list[dict[str, Any]]) -> None:
    """An adapter that the backend does not list for this model leaves the base model, marked and counted."""
    upstream.script = either("ok")
    upstream.models += cards
    client = service(upstream, adapters={"cultures": {"JP": "jp"}})
    response = _ask(client, JAPAN)
    counted = 'comity_adapter_requests_total{adapter="none",outcome="missing"} 1.0'

    assert upstream.asked[0]["model"] == "tiny"
    assert response.headers["x-comity-adapter-outcome"] == "missing"
    assert response.headers["x-comity-response-path"] == "degraded"
    assert until(lambda: counted in client.get("/metrics").text)


@pytest.mark.parametrize("streamed", [False, True])
def test_adapter_that_went_away(service: Serve, adapted: Upstream, streamed: bool) -> None:
    """An adapter unloaded since the list was read is a 404 for nobody: the base model answers, marked."""

    def script(body: dict[str, Any]) -> Response:
        return error(404, "no such model") if body["model"] == "jp" else either("base")(body)

    adapted.script = script
    client = service(adapted, adapters=MAP)
    response = _ask(client, JAPAN, stream=streamed)

    assert response.status_code == 200
    assert [body["model"] for body in adapted.asked] == ["jp", "tiny"]
    assert response.headers["x-comity-adapter-outcome"] == "missing"
    assert until(lambda: 'comity_upstream_retries_total{reason="adapter_missing"} 1.0' in client.get("/metrics").text)
    adapted.models = adapted.models[:1]
    _ask(client, JAPAN)
    assert [body["model"] for body in adapted.asked] == ["jp", "tiny", "tiny"]


def test_list_that_cannot_be_had(service: Serve, adapted: Upstream) -> None:
    """A failing list leaves the base model when nothing is known yet, and what is known when something is."""
    client = service(adapted, adapters={**MAP, "refresh_s": 0.01})
    adapted.list = lambda models: JSONResponse({"data": "?"})
    first = _ask(client, JAPAN)
    fresh = service(adapted, adapters={**MAP, "refresh_s": 0.01})
    adapted.list = lambda models: JSONResponse({"data": models})
    _ask(fresh, JAPAN)
    adapted.list = lambda models: error(500)
    last = _ask(fresh, JAPAN)

    assert first.headers["x-comity-adapter-outcome"] == "missing"
    assert last.headers["x-comity-adapter"] == "jp"


def test_list_is_kept(service: Serve, adapted: Upstream) -> None:
    """The list is asked for once while it is fresh, not with each request."""
    client = service(adapted, adapters=MAP)
    for _ in range(4):
        _ask(client, JAPAN)

    assert len(adapted.listed) == 1


def test_list_that_is_newer(service: Serve, adapted: Upstream) -> None:
    """An old list serves while a newer one is asked for in the background, and then the newer one does."""
    client = service(adapted, adapters={**MAP, "refresh_s": 0.01})
    assert _ask(client, JAPAN).headers["x-comity-adapter-outcome"] == "used"
    adapted.models = adapted.models[:1]

    assert until(lambda: _ask(client, JAPAN).headers["x-comity-adapter-outcome"] == "missing")


@pytest.mark.parametrize("text", [NONE, JAPAN])
def test_list_that_hangs(service: Serve, adapted: Upstream, text: str) -> None:
    """A list that does not come holds up nobody who wants no adapter, and others not until it is given up."""
    slow = Watched([b"{}"], 30, "application/json")
    slow.upstream = adapted
    adapted.list = lambda models: slow
    client = service(adapted, adapters=MAP, policy={"mode": "off"})
    found = [_ask(client, text).headers["x-comity-adapter-outcome"] for _ in range(3)]

    assert found == ["none" if text == NONE else "missing"] * 3
    assert until(lambda: len(adapted.listed) == 1)
    assert not adapted.closed.is_set()


def test_newer_list_that_is_slow(service: Serve, adapted: Upstream) -> None:
    """Where a list is known nobody waits for a newer one, though that one would say something else."""
    client = service(adapted, adapters={**MAP, "refresh_s": 0.01}, policy={"mode": "off"})
    _ask(client, JAPAN)
    slow = Watched([json.dumps({"data": adapted.models[:1]}).encode()], 0.5, "application/json")
    slow.upstream = adapted
    adapted.list = lambda models: slow
    time.sleep(0.02)

    assert _ask(client, JAPAN).headers["x-comity-adapter-outcome"] == "used"
    assert until(lambda: _ask(client, JAPAN).headers["x-comity-adapter-outcome"] == "missing")


@pytest.mark.parametrize("card", [_card("jp", ["tiny"]), {**_card("jp"), "root": {}}, {"id": ["jp"]}, "jp", None])
def test_garbage_in_the_list(service: Serve, adapted: Upstream, card: Any) -> None:
    """A model whose names are no text is none; the others stand."""
    adapted.models = [adapted.models[0], card, _card("in")]
    client = service(adapted, adapters=MAP)

    assert _ask(client, JAPAN).headers["x-comity-adapter-outcome"] == "missing"
    assert _ask(client, INDIA).headers["x-comity-adapter-outcome"] == "used"


def _guarded(adapted: Upstream, *keys: str) -> None:
    """Let the backend list its models only for some keys."""
    fine = adapted.list

    def listing(models: list[Any]) -> Response:
        return fine(models) if adapted.listed[-1].get("authorization") in keys else error(401)

    adapted.list = listing


@pytest.mark.parametrize("bad", [{"authorization": "Bearer bad"}, {}], ids=["bad_key", "no_key"])
def test_key_that_may_not_list(service: Serve, adapted: Upstream, bad: dict[str, str]) -> None:
    """Where callers' own keys go on, one that may not list models leaves the list of the others as it is."""
    _guarded(adapted, "Bearer good")
    client = service(adapted, backend={"authorization": "forward"}, adapters={**MAP, "refresh_s": 0.01})
    good = {"authorization": "Bearer good"}
    keys = (bad, good, bad, good)
    found = [_ask(client, JAPAN, headers=key).headers["x-comity-adapter-outcome"] for key in keys]

    assert found == ["missing", "used", "used", "used"]


def test_list_for_the_key_of_our_own(service: Serve, adapted: Upstream) -> None:
    """Where the backend's own key is set, the list that all share is asked for with it, whoever asks first."""
    _guarded(adapted, "Bearer own")
    client = service(adapted, backend={"authorization": "forward", "api_key": "own"}, adapters=MAP)
    response = _ask(client, JAPAN, headers={"authorization": "Bearer bad"})

    assert response.headers["x-comity-adapter-outcome"] == "used"
    assert adapted.headers[0]["authorization"] == "Bearer bad"


def test_refused_key_of_our_own(service: Serve, adapted: Upstream) -> None:
    """A list that is refused to Comity itself is not asked for with each message."""
    _guarded(adapted)
    client = service(adapted, adapters=MAP)
    for _ in range(3):
        _ask(client, JAPAN, headers={"authorization": "Bearer ignored"})

    assert len(adapted.listed) == 1


def test_culture_inferred_about_the_asker(service: Serve, adapted: Upstream) -> None:
    """What is guessed of the person who asks chooses no adapter: its name would stand in the answer."""
    client = service(adapted, adapters=MAP)
    response = _ask(client, "I am Japanese. How do I make tea?")

    assert adapted.asked[0]["model"] == "tiny"
    assert "x-comity-adapter" not in response.headers


@pytest.mark.parametrize(("setting", "judge"), [("adapter", "jp"), ("base", "tiny")])
def test_who_judges(service: Serve, adapted: Upstream, setting: str, judge: str) -> None:
    """An adapter's answer is judged by the adapter, whose cache holds it, or by the base model."""
    client = service(adapted, adapters={**MAP, "judge": setting})
    _ask(client, JAPAN)
    _ask(client, NONE, "jp")

    assert [body["model"] for body in adapted.judged] == [judge, judge]


def test_without_adapters(service: Serve, adapted: Upstream) -> None:
    """Where none is configured nothing is asked, chosen or said."""
    response = _ask(service(adapted), JAPAN)

    assert adapted.listed == []
    assert adapted.asked[0]["model"] == "tiny"
    assert not [name for name in response.headers if "adapter" in name]


def test_unregistered_culture() -> None:
    """A culture that the registry lacks is refused at start by name."""
    settings = Settings(
        backend={"url": "http://127.0.0.1:9/v1"},
        retrieval={"index": ROOT / "var" / "index"},
        adapters={"cultures": {"x-nobody": "a"}},
    )

    with pytest.raises(SettingsUnusable, match="x-nobody"):
        assemble(settings)
