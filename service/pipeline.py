"""The steps of a request in their order, and only that; a whole answer is a stream of one piece."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from detection.weights import ROLES
from service import assess, flow, gate, generate, ground, query, retrieve, rewrite
from service.assess import Case, Judged
from service.errors import GuardrailUnavailable, envelope
from service.flow import Outcome
from service.gate import Held
from service.guard import Guard
from service.judge import worst
from service.policy import Chosen, Grants, StreamMode
from service.remedy import Remedy, remedy
from service.report import blocked, detail
from service.turn import Detection, End, Facts, Grounding, Head, Json, Opening, Path, Piece, Turn, Verdict
from service.understand import supposed, understand
from service.wire import dumps

_NOTHING = Remedy({}, {})
_PATHS: dict[str, Path] = {"refused": "blocked", "replaced": "fallback", "repaired": "repaired"}
Items = AsyncGenerator[Head | Piece | End, None]


@dataclass(slots=True)
class Clock:
    """Seconds that each stage of one request took, and from when to when by `time.perf_counter`."""

    began: float = field(default_factory=time.perf_counter)
    stages: dict[str, float] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage, however it ends."""
        start = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            self.stages[name] = self.stages.get(name, 0.0) + end - start
            self.spans[name] = (self.spans.get(name, (start, end))[0], end)

    @property
    def overhead_s(self) -> float:
        """Seconds since the beginning that were not spent waiting for the upstream's answer."""
        return time.perf_counter() - self.began - self.stages.get("generate", 0.0)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a request before it is sent on."""

    detection: Detection
    grounding: Grounding
    chosen: Chosen


async def answer(turn: Turn, guard: Guard, grants: Grants | None = None, clock: Clock | None = None) -> Items:
    """Ground one turn, ask the model, judge what it says and release what may leave: first a Head, then pieces.

    Args:
        grants: what the caller may ask for; default is what a caller without a key may.
        clock: is told how long the stages take; it can be read however the request ends.

    Raises:
        ComityError: before the first piece is yielded; afterwards too where a stream leaves while it is judged.
    """
    clock = clock or Clock()
    found = await _look_up(turn, guard, guard.settings.anonymous if grants is None else grants, clock)
    guard.metrics.governed(found.chosen.name, found.chosen.policy.mode)
    items = _flowing if turn.streams and _leaves_early(turn, found.chosen) else _held
    async with aclosing(items(turn, found, guard, clock)) as made:
        async for item in made:
            yield item


def _leaves_early(turn: Turn, chosen: Chosen) -> bool:
    mode = "passthrough" if chosen.policy.mode == "off" else chosen.policy.stream_mode
    return mode == "passthrough" or (mode == "window" and flow.fits(turn, chosen.policy.max_judge_calls))


async def _held(turn: Turn, found: Found, guard: Guard, clock: Clock) -> Items:
    """Hold the answer to its end, judge it, and release it or what takes its place."""
    with clock.stage("generate"):
        asked, held = await generate.whole(turn, found.detection, found.grounding, found.chosen, guard)
    async with aclosing(_judged(Case(turn, found.detection, asked, found.chosen, guard), held, clock)) as items:
        async for item in items:
            yield item


async def _judged(case: Case, held: Held, clock: Clock) -> Items:
    turn, policy = case.turn, case.chosen.policy
    with clock.stage("judge"):
        judged = await _judge(case, held)
    stopped = _stopped(judged, case)
    said = _NOTHING
    if stopped:
        with clock.stage("repair"):
            said = await remedy(case, stopped, frozenset())
    facts = _facts(case, "buffer", judged, said, clock, rewrite.usage_of(held.pieces))
    if policy.block_as == "error" and [*said.done.values()] == ["refused"] * len(held.choices):
        yield Head(400, facts)
        yield _block(turn, facts)
        return
    yield Head(200, facts)
    for piece in rewrite.replace(held.pieces, said.instead, turn, facts.usage) if stopped else held.pieces:
        yield piece
    if turn.streams and _tells(turn, facts):
        yield rewrite.late(held.first, turn, detail(facts))


def _tells(turn: Turn, facts: Facts) -> bool:
    """Tell whether a stream ends with its facts: when asked for, and to mark what was released unjudged in enforce."""
    return turn.hints.debug or facts.action == "allowed_unjudged"


async def _flowing(turn: Turn, found: Found, guard: Guard, clock: Clock) -> Items:
    """Let a stream leave while it is judged, and end it with what takes the place of what may not leave."""
    policy, outcome = found.chosen.policy, flow.Outcome()
    stream_mode: StreamMode = (
        "passthrough" if policy.mode == "off" else policy.stream_mode
    )  # nothing waits to be judged
    begun, stand_in = False, None
    async with AsyncExitStack() as closing:
        with clock.stage("generate"):
            opening = generate.opened(turn, found.detection, found.grounding, found.chosen, guard)
            asked, source = await closing.enter_async_context(opening)
        case = Case(turn, found.detection, asked, found.chosen, guard)
        timed = await closing.enter_async_context(aclosing(_timed(source, clock)))
        if stream_mode == "window":
            pieces = flow.Windows(case, outcome).pieces(timed)
        else:
            pieces = flow.passthrough(timed, case, outcome)
        judging = time.perf_counter()
        try:
            async for piece in await closing.enter_async_context(aclosing(pieces)):
                if not begun:
                    yield Head(200, _opening(case, stream_mode))
                    begun = True
                yield piece
        except generate.DOWN as error:
            if begun or policy.on_error.generate == "block":
                raise
            asked, source = generate.standing_in(turn, found.grounding, guard, error)
            stand_in = replace(case, asked=asked), await gate.hold(source, streams=True)
    if policy.mode != "off":
        clock.spans["judge"] = (judging, time.perf_counter())  # beside generating, so it is no stage of its own time
    rest = _judged(*stand_in, clock) if stand_in else _ended(case, outcome, stream_mode, clock, begun=begun)
    async with aclosing(rest) as items:
        async for item in items:
            yield item


async def _ended(case: Case, outcome: Outcome, stream_mode: StreamMode, clock: Clock, *, begun: bool) -> Items:
    """End a stream that was judged while it left: with what is said in place of what was stopped, and the facts."""
    turn, policy = case.turn, case.chosen.policy
    said = _NOTHING
    if outcome.stopped:
        with clock.stage("repair"):
            said = await remedy(case, outcome.stopped, outcome.begun)
    judged = outcome.judged or _unjudged(case, list(range(flow.count(turn))))
    for each in judged.values():
        _count(case.guard, each)
    facts = _facts(case, stream_mode, judged, said, clock, rewrite.usage_of(outcome.held))
    if not begun and policy.block_as == "error" and [*said.done.values()] == ["refused"] * flow.count(turn):
        yield Head(400, facts)
        yield _block(turn, facts)
        return
    if not begun:
        yield Head(200, facts)
    for choice in (choice for choices in said.instead.values() for choice in choices):
        yield rewrite.frame(outcome.first, turn, [choice])
    for piece in rewrite.replace(outcome.held, {}, turn, facts.usage):
        yield piece
    if usage := _untold(turn, outcome, said):
        yield rewrite.frame(outcome.first, turn, [], usage=usage)
    if _tells(turn, facts):
        yield rewrite.late(outcome.first, turn, detail(facts))
    yield End(facts)


def _untold(turn: Turn, outcome: Outcome, said: Remedy) -> Json | None:
    """Give the usage of a repair where the answer before it was stopped before it told its own."""
    options = turn.body.get("stream_options")
    wanted = isinstance(options, dict) and options.get("include_usage")
    return said.repair.usage if wanted and said.repair and not rewrite.usage_of(outcome.held) else None


async def _timed(source: AsyncGenerator[Piece, None], clock: Clock) -> AsyncGenerator[Piece, None]:
    """Count the waiting for the backend's frames as its time, not as ours."""
    async with aclosing(source):
        while True:
            with clock.stage("generate"):
                piece = await anext(source, None)
            if piece is None:
                return
            yield piece


async def _look_up(turn: Turn, guard: Guard, grants: Grants, clock: Clock) -> Found:
    """Detect, choose the policy, ground; each of several prompts by itself, so that none gets the notes of another."""
    guard.policies.permit(turn.hints, grants)
    several = turn.route == "completions" and len(turn.messages) > 1
    parts = [replace(turn, messages=(message,)) for message in turn.messages] if several else [turn]
    with clock.stage("detect"):
        detections = [await _detected(part, guard, grants, len(parts)) for part in parts]
    if not any(detection.found for detection in detections):
        detections = [supposed(detection, turn, grants.culture) for detection in detections]
    found = {(item.culture, item.role): item for detection in detections for item in detection.found}
    ranked = sorted(found.values(), key=lambda item: (ROLES.index(item.role), -item.confidence))
    merged = Detection(tuple(ranked), None if found else detections[0].abstained)
    detection = merged if several else detections[0]
    chosen = guard.policies.choose(turn.hints, grants, tuple(found.culture for found in detection.shown))
    groundings = [await _ground(*pair, chosen, guard, clock) for pair in zip(parts, detections, strict=True)]
    return Found(detection, ground.together(groundings) if several else groundings[0], chosen)


async def _detected(turn: Turn, guard: Guard, grants: Grants, share: int) -> Detection:
    """Detect, or do without as the policy says; it is chosen without a culture, since there is none."""
    try:
        return await understand(turn, guard, share=share)
    except Exception as error:  # noqa: BLE001 - whatever broke, the stage's failure policy decides
        guard.metrics.failed("detect", error)
        if guard.policies.choose(turn.hints, grants, ()).policy.on_error.detect == "block":
            raise GuardrailUnavailable("detecting cultures failed; try again", stage="detect") from None
        return Detection(abstained="failed")


async def _ground(turn: Turn, detection: Detection, chosen: Chosen, guard: Guard, clock: Clock) -> Grounding:
    settings = guard.settings
    if not settings.retrieval.enabled:
        return Grounding("off")
    cultures = retrieve.described(detection, guard)
    if not cultures:
        return Grounding("none")
    with clock.stage("retrieve"):
        asked, on_error = query.query(turn.messages), chosen.policy.on_error.retrieve
        passages, failed = await retrieve.look_up(asked, cultures, guard, on_error)
    if failed and not passages:
        return Grounding("failed")
    if not settings.grounding.enabled:
        kept = tuple(passage for passage in passages if not passage.description.harmful)
        return Grounding("off", kept)  # the judge reads them all the same
    with clock.stage("ground"):
        grounding = ground.notes(passages, cultures, settings.grounding.max_tokens)
    guard.metrics.retrieved(grounding)
    if failed:
        return replace(grounding, status="lessened" if grounding.passages else "failed")
    return grounding


async def _judge(case: Case, held: Held) -> Mapping[int, Judged]:
    """Judge every choice, side by side.

    Raises:
        GuardrailUnavailable: the judge failed in enforce, and the policy is to block.
    """
    policy = case.chosen.policy
    if policy.mode == "off":
        found = _unjudged(case, list(held.choices))
    else:
        windowed = policy.stream_mode == "window" and flow.fits(case.turn, policy.max_judge_calls)
        look = flow.whole if windowed else assess.choice
        work = [look(case, index, texts, media=index in held.media) for index, texts in held.choices.items()]
        found = dict(zip(held.choices, await assess.together(work), strict=True))
    for judged in found.values():
        _count(case.guard, judged)
    if policy.mode == "enforce" and any(gate.decide(each.decisive, policy) == "fail" for each in found.values()):
        raise GuardrailUnavailable(flow.UNJUDGED, stage="judge")
    return found


def _unjudged(case: Case, indices: list[int]) -> dict[int, Judged]:
    return dict.fromkeys(indices, Judged(Verdict("undecided", None, case.guard.judge.name, "skipped", "off")))


def _count(guard: Guard, judged: Judged) -> None:
    guard.metrics.judged(judged.verdict)
    if judged.tools:
        guard.metrics.called(judged.tools)


def _stopped(judged: Mapping[int, Judged], case: Case) -> dict[int, Verdict]:
    """Give the choices that may not leave, and why."""
    policy = case.chosen.policy
    if policy.mode != "enforce":
        return {}
    return {index: each.decisive for index, each in judged.items() if gate.decide(each.decisive, policy) == "act"}


def _opening(case: Case, stream_mode: str) -> Opening:
    return Opening(
        detection=case.detection,
        grounding=case.asked.grounding,
        policy=case.chosen.name,
        mode=case.chosen.policy.mode,
        stream_mode=stream_mode,
        index_version=case.guard.index.version,
        adapter=case.asked.adapter,
    )


def _facts(
    case: Case, stream_mode: str, judged: Mapping[int, Judged], said: Remedy, clock: Clock, usage: Json | None
) -> Facts:
    verdicts = {index: each.verdict for index, each in judged.items()}
    action = gate.action(verdicts, said.done, case.chosen.policy)
    guard, asked = case.guard, case.asked
    if guard.adapters is not None:
        guard.metrics.adapted(guard.adapters.label(asked.adapter.name), asked.adapter.outcome)
    tools = [each.tools for each in judged.values() if each.tools]
    second = said.repair.usage if said.repair else None
    return Facts(
        opening=_opening(case, stream_mode),
        verdict=worst(list(verdicts.values())),
        action=action,
        path=_PATHS.get(action) or _path(case, action, verdicts),
        overhead_s=clock.overhead_s,
        stages=clock.stages,
        tools=worst(tools) if tools else None,
        repair=said.repair,
        usage=rewrite.added(usage, second) if usage and second else None,
        spent=rewrite.added(usage, second) if usage and second else usage,
    )


def _path(case: Case, action: str, verdicts: Mapping[int, Verdict]) -> Path:
    lessened = case.asked.grounding.status in ("failed", "lessened", "dropped_context", "not_possible")
    stood_in = any(verdict.reason == "degraded" for verdict in verdicts.values())
    missing = case.asked.adapter.outcome == "missing" or case.detection.abstained == "failed"
    if lessened or stood_in or missing or case.asked.instead or action == "allowed_unjudged":
        return "degraded"
    return "upstream" if case.guard.backend else "embedded"


def _block(turn: Turn, facts: Facts) -> Piece:
    said: dict[str, Any] = {"request_id": turn.id, "stage": "judge", "verdict": facts.verdict.verdict}
    payload = envelope(blocked(facts), "invalid_request_error", None, "content_filter", said)
    return Piece(dumps(payload), payload)
