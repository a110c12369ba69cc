"""The steps of a request in their order, and only that; a whole answer is a stream of one piece."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from retrieval.search import Index, Passage
from service import gate, ground, responder, wire
from service.adapters import Adapters
from service.backend import Backend
from service.detect import detect
from service.errors import ContextExceeded, GuardrailUnavailable, UpstreamRejected, envelope
from service.gate import Held
from service.judge import Exchange, Judge, worst
from service.metrics import Metrics
from service.names import Names
from service.queries import Queries
from service.settings import Settings
from service.turn import NO_ADAPTER, Adapter, Detection, Facts, Grounding, Head, Json, Path, Piece, Turn, Verdict

_PATHS = {"chat": "/chat/completions", "completions": "/completions"}
_QUERY_CHARS = 2_000  # more than the encoder reads
_LONG = 20_000  # characters from which detection is done off the event loop


@dataclass(frozen=True, slots=True)
class Guard:
    """The live parts, made once at start: the only container there is."""

    settings: Settings
    index: Index
    names: Names
    judge: Judge
    metrics: Metrics
    workers: Executor
    queries: Queries
    backend: Backend | None = None
    adapters: Adapters | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer in the gate, and how it was asked for: the body that was sent, the notes in it, the adapter."""

    held: Held
    grounding: Grounding
    body: Json | None = None
    adapter: Adapter = NO_ADAPTER


@dataclass(slots=True)
class Clock:
    """Seconds that each stage of one request took."""

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, however it ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - start

    @property
    def overhead_s(self) -> float:
        """Seconds since the beginning that were not spent waiting for the upstream's answer."""
        return time.perf_counter() - self.began - self.stages.get("generate", 0.0)


async def answer(turn: Turn, guard: Guard) -> AsyncGenerator[Head | Piece, None]:
    """Ground one turn, ask the model, judge what it says and release what may leave: first a Head, then pieces.

    Raises:
        ComityError: before the first thing is yielded; afterwards nothing is raised.
    """
    clock = Clock()
    detection, grounding = await _look_up(turn, guard, clock)
    with clock.stage("generate"):
        made = await _generate(turn, detection, grounding, guard)
    held, verdicts = made.held, await _judge(turn, detection, made, guard, clock)
    facts = _facts(detection, made, verdicts, guard, clock)
    if facts.action == "refused" and _blocked_whole(verdicts, guard):
        yield Head(400, facts)
        yield _block(turn, facts)
        return
    yield Head(200, facts)
    for piece in gate.release(held, verdicts, turn, guard.settings.judge):
        yield piece
    if turn.hints.debug and turn.streams:
        yield wire.late(held.first, turn, detail(facts))


async def understand(turn: Turn, guard: Guard, *, share: int = 1) -> Detection:
    """Detect the cultures of a conversation as the settings allow, and count them.

    Args:
        share: parts that have one budget of `detection.max_chars` together.
    """
    settings = guard.settings.detection
    look = partial(
        detect,
        turn.messages,
        turn.hints,
        guard.names,
        infer=settings.enabled,
        max_chars=max(1, settings.max_chars // share),
    )
    if sum(len(message.text) for message in turn.messages) > _LONG:
        found = await asyncio.get_running_loop().run_in_executor(guard.workers, look)
    else:
        found = look()
    guard.metrics.detected(found)
    return found


async def retrieve(query: str, cultures: tuple[str, ...], guard: Guard, *, k: int | None = None) -> tuple[Passage, ...]:
    """Find the descriptions that matter to a query, encoding off the event loop.

    Raises:
        TimeoutError: it took longer than `retrieval.timeout_s`.
    """
    settings = guard.settings.retrieval
    if not query.strip():
        return ()
    async with asyncio.timeout(settings.timeout_s):
        vector = await guard.queries.encode(query[:_QUERY_CHARS])
    return guard.index.search(vector, cultures, settings.k if k is None else k, settings.min_score)


async def _look_up(turn: Turn, guard: Guard, clock: Clock) -> tuple[Detection, Grounding]:
    """Detect and ground; each of several prompts by itself, so that none gets the notes of another."""
    several = turn.route == "completions" and len(turn.messages) > 1
    parts = [replace(turn, messages=(message,)) for message in turn.messages] if several else [turn]
    with clock.stage("detect"):
        detections = [await understand(part, guard, share=len(parts)) for part in parts]
    groundings = [await _ground(*pair, guard, clock) for pair in zip(parts, detections, strict=True)]
    if not several:
        return detections[0], groundings[0]
    found = {item.culture: item for detection in detections for item in detection.found}
    merged = Detection(tuple(found.values()), None if found else detections[0].abstained)
    return merged, ground.together(groundings)


async def _ground(turn: Turn, detection: Detection, guard: Guard, clock: Clock) -> Grounding:
    settings = guard.settings
    if not settings.retrieval.enabled:
        return Grounding("off")
    cultures = tuple(id for id in detection.ids if guard.index.covers(id))[: settings.retrieval.max_cultures]
    if not cultures:
        return Grounding("none")
    try:
        with clock.stage("retrieve"):
            passages = await retrieve(turn.question, cultures, guard)
    except Exception as error:  # noqa: BLE001 - whatever broke, the stage's failure policy decides
        guard.metrics.failed("retrieve", error)
        if settings.retrieval.on_error == "block":
            raise GuardrailUnavailable("looking descriptions up failed; try again", stage="retrieve") from None
        return Grounding("failed")
    if not settings.grounding.enabled:
        kept = tuple(passage for passage in passages if not passage.description.harmful)
        return Grounding("off", kept)  # the judge reads them all the same
    with clock.stage("ground"):
        grounding = ground.notes(passages, cultures, settings.grounding.max_tokens)
    guard.metrics.retrieved(grounding)
    return grounding


async def _generate(turn: Turn, detection: Detection, grounding: Grounding, guard: Guard) -> Generated:
    """Ask for the answer, once more without notes where the notes push it past the model's context."""
    if guard.backend is None:
        return Generated(await gate.hold(_each(responder.pieces(turn, grounding)), streams=turn.streams), grounding)
    adapter = await _adapter(turn, detection, guard)
    body = ground.place(turn, grounding, guard.settings.grounding.placement)
    if body is None:
        grounding, body = Grounding("not_possible"), dict(turn.body)
    try:
        return await _ask(turn, body, grounding, adapter, guard)
    except ContextExceeded:
        if grounding.status != "grounded":
            raise
        guard.metrics.retried("context_length")
        return await _ask(turn, dict(turn.body), Grounding("dropped_context"), adapter, guard)


async def _adapter(turn: Turn, detection: Detection, guard: Guard) -> Adapter:
    """Choose by the cultures that may be shown: the adapter's name stands in the answer."""
    if guard.adapters is None:
        return NO_ADAPTER
    shown = tuple(dict.fromkeys(found.culture for found in detection.shown))
    return await guard.adapters.choose(turn.model, shown, turn.headers)


async def _ask(turn: Turn, body: Json, grounding: Grounding, adapter: Adapter, guard: Guard) -> Generated:
    """Ask the adapter that was chosen, and the base model where the backend has lost it meanwhile."""
    assert guard.backend is not None  # noqa: S101 - the caller answers without one itself
    path = _PATHS[turn.route]
    if adapter.outcome == "used" and guard.adapters is not None:
        adapted = {**body, "model": adapter.name}
        try:
            held = await gate.hold(guard.backend.pieces(path, adapted, turn.headers), streams=turn.streams)
            return Generated(held, grounding, adapted, adapter)
        except UpstreamRejected as error:
            if error.status != 404:
                raise
            guard.adapters.forget()
            guard.metrics.retried("adapter_missing")
            adapter = Adapter("missing")
    held = await gate.hold(guard.backend.pieces(path, body, turn.headers), streams=turn.streams)
    return Generated(held, grounding, body, adapter)


async def _each(pieces: Iterator[Piece]) -> AsyncGenerator[Piece, None]:
    for piece in pieces:
        yield piece


async def _judge(
    turn: Turn, detection: Detection, made: Generated, guard: Guard, clock: Clock
) -> Mapping[int, Verdict]:
    """Judge every choice, side by side.

    Raises:
        GuardrailUnavailable: the judge failed in enforce, and `judge.on_error` is block.
    """
    settings, held = guard.settings.judge, made.held
    if settings.mode == "off":
        skipped = Verdict("undecided", None, guard.judge.name, "skipped", "off")
        for _ in held.choices:
            guard.metrics.judged(skipped)
        return dict.fromkeys(held.choices, skipped)
    shown = tuple(found.culture for found in detection.shown)  # what is guessed of the asker goes to no other endpoint
    with clock.stage("judge"):
        model = _judging(turn, made.adapter, guard)
        exchanges = [_exchange(turn, index, texts, made, shown, model) for index, texts in held.choices.items()]
        found = await _all_judged(exchanges, guard.judge)
    verdicts = {
        index: gate.heard(verdict, media=index in held.media)
        for index, verdict in zip(held.choices, found, strict=True)
    }
    for verdict in verdicts.values():
        guard.metrics.judged(verdict)
    if settings.mode == "enforce" and any(gate.decide(verdict, settings) == "fail" for verdict in verdicts.values()):
        raise GuardrailUnavailable("the answer could not be judged, so it is withheld; try again", stage="judge")
    return verdicts


async def _all_judged(exchanges: list[Exchange], judge: Judge) -> list[Verdict]:
    tasks = [asyncio.create_task(judge.judge(exchange)) for exchange in exchanges]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # nothing happens to those that are done


def _judging(turn: Turn, adapter: Adapter, guard: Guard) -> str:
    """Give the model that judges where no setting names one: the adapter that answered, or its base model."""
    if guard.settings.adapters.judge == "adapter":
        return adapter.name or turn.model
    return adapter.base or turn.model


def _exchange(
    turn: Turn, choice: int, texts: Mapping[str, str], made: Generated, cultures: tuple[str, ...], model: str
) -> Exchange:
    prompt = turn.prompt(choice)
    several = turn.route == "completions"
    question = turn.messages[min(prompt, len(turn.messages) - 1)].text if several else turn.question
    descriptions = tuple(passage.description for passage in made.grounding.of(prompt).passages)
    return Exchange(question, texts, descriptions, cultures, turn, made.body, model)


def _facts(detection: Detection, made: Generated, verdicts: Mapping[int, Verdict], guard: Guard, clock: Clock) -> Facts:
    action = gate.action(verdicts, guard.settings.judge)
    path: Path = "upstream" if guard.backend else "embedded"
    lessened = made.grounding.status in ("failed", "dropped_context", "not_possible")
    if lessened or made.adapter.outcome == "missing" or action == "allowed_unjudged":
        path = "degraded"
    if guard.adapters is not None:
        guard.metrics.adapted(guard.adapters.label(made.adapter.name), made.adapter.outcome)
    return Facts(
        detection=detection,
        grounding=made.grounding,
        verdict=worst(list(verdicts.values())),
        action=action,
        path="blocked" if action == "refused" else path,
        index_version=guard.index.manifest.version,
        overhead_s=clock.overhead_s,
        stages=clock.stages,
        adapter=made.adapter,
    )


def _blocked_whole(verdicts: Mapping[int, Verdict], guard: Guard) -> bool:
    """Tell whether the answer becomes an error: by setting, and where nothing of it may leave."""
    policy = guard.settings.judge
    return policy.block_as == "error" and all(gate.decide(v, policy) == "refuse" for v in verdicts.values())


def _block(turn: Turn, facts: Facts) -> Piece:
    said: dict[str, Any] = {"request_id": turn.id, "stage": "judge", "verdict": facts.verdict.verdict}
    payload = envelope(gate.REFUSAL, "invalid_request_error", None, "content_filter", said)
    return Piece(wire.dumps(payload), payload)


def detail(facts: Facts) -> Json:
    """Give the `comity` object of an answer: what was found, what was said, what was done."""
    shown = {found.culture for found in facts.detection.shown}
    hides = len(facts.detection.shown) < len(facts.detection.found)
    verdict = facts.verdict
    return {
        "cultures": [
            {"culture": found.culture, "role": found.role, "confidence": found.confidence}
            for found in facts.detection.shown
        ],
        "grounding": {
            "status": facts.grounding.status,
            "tokens": facts.grounding.tokens,
            "descriptions": [
                {"id": passage.description.id, "score": round(passage.score, 4)}
                for passage in facts.grounding.passages
                if not hides or passage.description.culture in shown
            ],
        },
        "verdict": {
            "verdict": verdict.verdict,
            "score": verdict.score,
            "axes": dict(verdict.axes),
            "judge": verdict.judge,
            "coverage": verdict.coverage,
            "reason": verdict.reason,
        },
        "adapter": {"name": facts.adapter.name, "outcome": facts.adapter.outcome},
        "action": facts.action,
        "path": facts.path,
        "index_version": facts.index_version,
        "stages_ms": {name: round(1000 * seconds, 2) for name, seconds in facts.stages.items()},
    }
