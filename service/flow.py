"""Lets a stream through while it is judged: sentence by sentence (`window`), or unheld and judged at its end.

In a window stream each frame waits until the windows that its text lies in are judged. Where windows end depends on the
text alone (`service.windows`), so that frames decide nothing. The answer's prose is cut into windows; every other text
of a choice (refusals, tool calls, fields that nobody knows) is held to the end of the answer and judged there at once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from service import assess, fields, gate, rewrite, wire
from service.assess import Case, Judged
from service.backend import END
from service.errors import GuardrailUnavailable
from service.generate import Pieces
from service.judge import worst
from service.policy import Policy
from service.turn import Json, Piece, Turn, Verdict
from service.windows import Cutter, Window, windows
from service.wire import Texts

PROSE = ("reasoning_content", "reasoning", "content", "text")  # in the order in which models write them
_THOUGHT = PROSE[:2]
UNJUDGED = "the answer could not be judged, so it is withheld; try again"
_AROUND = "around"  # where text outside the choices is
_LAST = "last"  # stands for all that is judged of a choice
Place = tuple[int, str]  # choice, path


@dataclass(slots=True)
class Outcome:
    """What came of a stream: the verdicts, which choices were stopped and which of these had begun to leave."""

    judged: dict[int, Judged] = field(default_factory=dict)
    stopped: dict[int, Verdict] = field(default_factory=dict)
    begun: set[int] = field(default_factory=set)
    first: Json | None = None
    held: list[Piece] = field(default_factory=list)  # frames without choices that wait for what is said instead


def fits(turn: Turn, most: int) -> bool:
    """Tell whether a request's answer can be judged in windows: prose alone, and judge calls enough for it.

    Log-probabilities run ahead of the text where a server holds text back (for stop words), and would show it.
    """
    more = any(turn.body.get(name) for name in ("audio", "logprobs", "top_logprobs"))
    return not rewrite.in_json(turn) and not more and share(turn, most) >= 1


def count(turn: Turn) -> int:
    """Give how many choices a request's answer has."""
    return int(turn.body.get("n") or 1) * (len(turn.messages) if turn.route == "completions" else 1)


def share(turn: Turn, most: int) -> int:
    """Give how many windows one text of each choice may have, so that all stay under the budget of judge calls."""
    return (most // count(turn) - 2) // 2  # thought and answer have a text each; the rest and tool calls a call


async def passthrough(pieces: Pieces, case: Case, outcome: Outcome) -> AsyncGenerator[Piece, None]:
    """Let every frame through at once, and judge the whole answer when it has ended.

    Raises:
        UpstreamFailed: the stream broke off.
    """
    texts, ended = Texts(), False
    async for piece in pieces:
        if piece is END:
            ended = True
            break
        texts.add(piece.payload)
        outcome.first = outcome.first or piece.payload
        yield wire.clean(piece)
    gate.complete(texts, ended=ended)
    if case.chosen.policy.mode == "off":
        return
    indices = sorted(texts.choices)
    work = [assess.choice(case, index, texts.of(index), media=index in texts.media) for index in indices]
    outcome.judged.update(zip(indices, await assess.together(work), strict=True))


async def whole(case: Case, index: int, texts: Mapping[str, str], *, media: bool) -> Judged:
    """Judge a choice that is all there by the same windows as a stream of it, as far as a stream would have come."""
    policy = case.chosen.policy
    most = share(case.turn, policy.max_judge_calls)
    work = []
    for path in PROSE:
        found = windows(texts[path], policy.window_chars, most) if path in texts else []
        work += [assess.judged(case, case.exchange(index, {path: texts[path][w.start : w.end]})) for w in found]
    rest = {path: text for path, text in texts.items() if path not in PROSE}
    said = await assess.together(work)
    if not rest and said:
        return _folded(said, None, policy, media=media)
    last = await assess.choice(case, index, rest, media=False)
    return _folded([*said, last.verdict], last.tools, policy, media=media)


def _folded(said: list[Verdict], tools: Verdict | None, policy: Policy, *, media: bool) -> Judged:
    """Give the worst of the verdicts on a choice's windows, up to the one at which enforcing it stops."""
    if policy.mode == "enforce":
        stop = next((i for i, verdict in enumerate(said) if gate.decide(verdict, policy) != "release"), len(said))
        said = said[: stop + 1]
    spoken = [verdict for verdict in said if verdict.coverage != "skipped"] or said
    found = worst(spoken)
    if found.coverage == "full" and any(verdict.reason == "tool_calls" for verdict in said):
        found = replace(found, coverage="partial", reason="tool_calls")
    return Judged(assess.heard(found, media=media), tools, said[-1])


class Windows:
    """One window stream: what was received, what is judged, and what has left."""

    def __init__(self, case: Case, outcome: Outcome) -> None:
        self._case = case
        self._policy = case.chosen.policy
        self._enforces = self._policy.mode == "enforce"
        self._most = share(case.turn, self._policy.max_judge_calls)
        self._out = outcome
        self._texts = Texts()
        self._cutters: dict[Place, Cutter] = {}
        self._waiting: deque[tuple[Piece, dict[Place, int]]] = deque()
        self._clear: dict[Place, int] = {}
        self._jobs: dict[int, deque[tuple[Place | None, int, asyncio.Task[Judged]]]] = {}
        self._said: dict[int, list[Verdict]] = {}
        self._tools: dict[int, Verdict] = {}
        self._loose: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Judged]] = set()
        self._ended = False
        self._closed: set[Place] = set()
        self._late: dict[int, dict[str, str]] = {}  # thoughts that come after the answer has begun
        self._worded: deque[dict[Place, int]] = deque()  # what frames with text wait for, while nothing has left

    async def pieces(self, source: Pieces) -> AsyncGenerator[Piece, None]:
        """Give the frames that may leave, as soon as they may; judging goes on while the answer is generated.

        Raises:
            GuardrailUnavailable: a window could not be judged in enforce, and the policy is to block.
            UpstreamFailed: the stream broke off.
        """
        reading: asyncio.Future[Piece | None] | None = asyncio.ensure_future(anext(source, None))
        try:
            while True:
                self._settle()
                for piece in self._free():
                    yield piece
                if not (reading or any(self._jobs.values())) or len(self._out.stopped) >= count(self._case.turn):
                    break  # all is judged, or nothing more can leave and reading on would only keep the backend busy
                running = {task for jobs in self._jobs.values() for _, _, task in jobs if not task.done()}
                if waiting := running | ({reading} if reading else set()):
                    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if reading and reading.done():
                    more = self._take(reading.result())
                    reading = asyncio.ensure_future(anext(source, None)) if more else None
            self._conclude()
        finally:
            await self._stop(reading)

    def _take(self, piece: Piece | None) -> bool:
        """Take in a frame, and begin to judge the windows that it completes; False at the end of the stream."""
        if piece is None or piece is END:
            gate.complete(self._texts, ended=piece is END)
            self._finish()
            self._ended = True
            return False
        self._texts.add(piece.payload)
        self._out.first = self._out.first or piece.payload
        needs: dict[Place, int] = {}
        for choice in wire.choices_of(piece.payload):
            index = wire.index_of(choice)
            for path, text in fields.guarded(choice):
                place, end = self._grow(index, path, text)
                needs[place] = max(end, needs.get(place, 0))
            if fields.carries_media(choice) or choice.get("logprobs"):
                needs[index, _LAST] = 1  # what nobody reads leaves after all that is read
        for path, text in fields.around(piece.payload):  # judged with the rest of the first choice
            self._loose[path] = self._loose.get(path, "") + text
            needs[min(self._texts.choices, default=0), _AROUND] = 1
        self._waiting.append((wire.clean(piece), needs))
        if needs and not self._out.begun:
            self._worded.append(needs)
        return True

    def _grow(self, index: int, path: str, text: str) -> tuple[Place, int]:
        """Add to a text, and give what must be judged, and how far, before this frame may leave."""
        place = index, path
        if path not in PROSE:
            return place, 1  # anything above nothing: until the rest of the choice is judged
        if place in self._closed:
            late = self._late.setdefault(index, {})
            late[f"late.{path}"] = late.get(f"late.{path}", "") + text
            return (index, _LAST), 1
        if path not in _THOUGHT:  # the answer begins, so the thought before it is complete
            for thought in _THOUGHT:
                self._close((index, thought))
        cutter = self._cutters.get(place)
        if cutter is None:
            cutter = self._cutters[place] = Cutter(self._policy.window_chars, self._most)
        for window in cutter.feed(text):
            self._judge(place, window, cutter)
        return place, cutter.length

    def _close(self, place: Place) -> None:
        cutter = self._cutters.get(place)
        if cutter is None or place in self._closed:
            return
        self._closed.add(place)
        for window in cutter.finish():
            self._judge(place, window, cutter)

    def _finish(self) -> None:
        for place in list(self._cutters):
            self._close(place)
        for index in sorted(self._texts.choices):
            if index in self._out.stopped:
                continue
            rest = {path: text for path, text in self._texts.of(index).items() if path not in PROSE}
            rest |= self._late.get(index, {})
            if index == min(self._texts.choices):
                rest |= {f"{_AROUND}.{path}": text for path, text in self._loose.items()}
            if rest or not (self._jobs.get(index) or index in self._said):
                work = assess.choice(self._case, index, rest, media=False)
                self._job(index, None, 0, asyncio.ensure_future(work))

    def _judge(self, place: Place, window: Window, cutter: Cutter) -> None:
        index, path = place
        if index in self._out.stopped:
            return
        exchange = self._case.exchange(index, {path: cutter.text[window.start : window.end]})

        async def work() -> Judged:
            return Judged(await assess.judged(self._case, exchange))

        self._job(index, place, window.end, asyncio.ensure_future(work()))

    def _job(self, index: int, place: Place | None, end: int, task: asyncio.Task[Judged]) -> None:
        self._jobs.setdefault(index, deque()).append((place, end, task))
        self._tasks.add(task)

    def _settle(self) -> None:
        """Take the verdicts that are there, each choice's in the order of its text; stop choices that may not go on."""
        for index, jobs in self._jobs.items():
            while jobs and jobs[0][2].done() and index not in self._out.stopped:
                place, end, task = jobs.popleft()
                judged = task.result()
                self._said.setdefault(index, []).append(judged.verdict)
                if judged.tools:
                    self._tools[index] = judged.tools
                decision = gate.decide(judged.verdict, self._policy) if self._enforces else "release"
                if decision == "fail":
                    self._case.guard.metrics.judged(judged.verdict)
                    raise GuardrailUnavailable(UNJUDGED, stage="judge")
                if decision == "act":
                    self._out.stopped[index] = judged.verdict
                    self._cancel(index)
                elif place is None:
                    self._clear |= dict.fromkeys(self._rest(index), 1)
                else:
                    self._clear[place] = end
            if self._ended and not jobs:
                self._clear[index, _LAST] = 1

    def _rest(self, index: int) -> list[Place]:
        return [(index, path) for path in (*self._texts.choices.get(index, ()), _AROUND) if path not in PROSE]

    def _cancel(self, index: int) -> None:
        for _, _, task in self._jobs[index]:
            task.cancel()
        self._jobs[index].clear()

    def _free(self) -> list[Piece]:
        """Give the frames at the front that may leave; those of a stopped choice never do."""
        free: list[Piece] = []
        if not (self._out.begun or self._text_may_leave()):
            return free  # a frame without text commits no status, so that this does not depend on how frames are cut
        while self._waiting and self._may_leave(self._waiting[0][1]):
            piece, needs = self._waiting.popleft()
            left: Piece | None = piece
            if self._out.stopped and (left := rewrite.without(piece, self._out.stopped)):
                left = next(rewrite.replace([left], {}, self._case.turn), None)  # without text outside the choices
            if left is None:
                continue
            if self._out.stopped and not rewrite.indices(left):
                self._out.held.append(left)  # the usage comes after what is said instead
                continue
            self._out.begun |= {index for index, _ in needs if index not in self._out.stopped}
            free.append(left)
        return free

    def _text_may_leave(self) -> bool:
        """Tell whether the first text that is not stopped may leave, or nothing is to come any more."""
        if self._ended and not any(self._jobs.values()):
            return True
        while self._worded and all(index in self._out.stopped for index, _ in self._worded[0]):
            self._worded.popleft()
        return bool(self._worded) and self._may_leave(self._worded[0])

    def _may_leave(self, needs: Mapping[Place, int]) -> bool:
        return all(place[0] in self._out.stopped or self._clear.get(place, 0) >= end for place, end in needs.items())

    def _conclude(self) -> None:
        for index, said in self._said.items():
            media = index in self._texts.media
            self._out.judged[index] = _folded(said, self._tools.get(index), self._policy, media=media)

    async def _stop(self, reading: asyncio.Future[Piece | None] | None) -> None:
        tasks: list[asyncio.Future[Any]] = [*self._tasks, *([reading] if reading else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
