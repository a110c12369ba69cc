"""The LLM judge: one digit for the whole answer, its score from the digits' log-probabilities.

Score = 100 · E/9, E the expected digit under the log-probabilities of the digits among the top 20 tokens; with under
0.8 of the probability on digits the judge is undecided. An endpoint that gives no log-probabilities is asked for
several votes as JSON instead: score = 100 · mean/9, and undecided where they are over four digits apart.

What is asked, and how answers are read, stands in `service.judge.prompts`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from service.backend import Backend
from service.errors import ComityError, ContextExceeded, UpstreamRejected, UpstreamTimeout
from service.judge import Exchange, prompts, worst
from service.judge.prompts import BALLOT, CONTINUATION, DIGIT, SEPARATE, Write
from service.turn import Headers, Json, Reason, Verdict, Verdicts

_AXES = {"answer": "overall", "tools": "demeaning", "harm": "harm"}
_REFUSES_FIELDS = (400, 422)  # how servers answer to a field that they do not take


class LlmJudge:
    """Judges by asking an OpenAI-compatible endpoint for one token, or for a few votes."""

    calibrated = False
    languages: frozenset[str] = frozenset()

    def __init__(
        self,
        backend: Backend,
        *,
        model: str | None,
        timeout_s: float,
        max_concurrent: int,
        style: str = "continuation",
        votes: int = 3,
        constrain: str = "auto",
    ) -> None:
        """Make a judge; what its endpoint takes is found out by asking, and kept.

        Args:
            timeout_s: for everything that one exchange needs.
            max_concurrent: requests in flight at once, of all exchanges together.
            votes: requests for one score where there are no log-probabilities, at least 1.
            constrain: `always` asks for a digit and nothing else from the start; `auto` where the model would think.
        """
        self.name = f"llm-{style}"
        self.backend = backend
        self._model = model
        self._timeout_s = timeout_s
        self._style = style
        self._votes = votes
        self._constrains = constrain == "always"
        self._refused: set[str] = set()  # fields of vLLM's own that this endpoint does not take
        self._takes_schema = True
        self._gives_logprobs = True
        self._slots = asyncio.Semaphore(max_concurrent)

    async def judge(self, exchange: Exchange) -> Verdict:
        """Judge one choice in the cheapest form that fits; a failure is a verdict of its own (coverage error)."""
        return await self._within(self._ask, exchange)

    async def second(self, exchange: Exchange) -> Verdict:
        """Judge one choice by the separate prompt, whatever the style; it has as much time as `judge`."""
        return await self._within(self._apart, exchange)

    async def _within(self, ask: Callable[[Exchange, float], Awaitable[Verdict]], exchange: Exchange) -> Verdict:
        if not exchange.answer.strip():
            return Verdict("undecided", None, self.name, "skipped", "empty")
        try:
            return await ask(exchange, asyncio.get_running_loop().time() + self._timeout_s)
        except (TimeoutError, UpstreamTimeout):
            return self._failed("timeout")
        except ContextExceeded:
            return self._failed("context_length")
        except UpstreamRejected:
            return self._failed("rejected")
        except ComityError:
            return self._failed("unreachable")

    async def _ask(self, exchange: Exchange, deadline: float) -> Verdict:
        """Continue the conversation where that can stand; notes first, then it, give way to the model's context."""
        for body in self._bodies(exchange):
            try:
                write = partial(prompts.continuation, body, exchange)
                return await self._score(write, exchange, deadline, CONTINUATION)
            except ContextExceeded:
                continue
        return await self._apart(exchange, deadline)

    async def _apart(self, exchange: Exchange, deadline: float) -> Verdict:
        """Quote the exchange, part by part; the worst part counts."""
        writes = prompts.separate(exchange)
        if len(writes) > prompts.MAX_PROMPTS:
            return self._failed("too_long", SEPARATE)
        return worst([await self._score(write, exchange, deadline, SEPARATE) for write in writes])

    def _bodies(self, exchange: Exchange) -> list[Mapping[str, Any]]:
        """Give the conversations that a continuation can go on from: as it was sent, then without its notes."""
        fits = self._style == "continuation" and prompts.continues(exchange)
        if not fits or exchange.body is None or exchange.turn is None:
            return []
        sent = exchange.turn.body
        return [exchange.body] if exchange.body["messages"] == sent["messages"] else [exchange.body, sent]

    async def _score(self, write: Write, exchange: Exchange, deadline: float, name: str) -> Verdict:
        """Ask for a digit, or for votes where the endpoint gives no log-probabilities, or refuses to be asked."""
        if not self._gives_logprobs:
            return await self._elect(write(BALLOT), exchange, deadline, name)
        answer = await self._digit(write(DIGIT), exchange, deadline)
        odds = prompts.odds(answer) if answer is not None else None
        if odds is not None:
            score, mass = prompts.expected(odds)
            return self._read(score if mass >= prompts.ENOUGH else None, exchange, name)
        ballot = write(BALLOT) if answer is not None else prompts.plain(write(BALLOT))
        found = await self._elect(ballot, exchange, deadline, name)
        if found.coverage != "error" and (answer is None or prompts.speaks(answer)):
            self._gives_logprobs = False
        return found

    async def _digit(self, form: Json, exchange: Exchange, deadline: float) -> Json | None:
        """Ask for a digit; once more, constrained to one, where the model would think first all the same.

        A server computes log-probabilities after the constraint, so that noise too would look like a sure digit; a
        model that wants to say neither a digit nor a thought stays undecided. None: the endpoint refuses to be asked.
        """
        if self._constrains and (held := await self._constrained(form, exchange, deadline)):
            return held
        try:
            answer = await self._send(form, exchange, deadline)
        except UpstreamRejected as error:
            if not _refuses_fields(error):
                raise
            return None
        if not self._constrains and prompts.wants_to_think(prompts.odds(answer) or {}):
            return await self._constrained(form, exchange, deadline) or answer
        return answer

    async def _constrained(self, form: Json, exchange: Exchange, deadline: float) -> Json | None:
        """Ask for a digit and nothing else; None where the endpoint does not take that."""
        if prompts.CONSTRAINT in self._refused:
            return None
        try:
            return await self._send({**form, **prompts.CONSTRAINED}, exchange, deadline)
        except UpstreamRejected as error:
            if not _refuses_fields(error):
                raise
            self._refused.add(prompts.CONSTRAINT)
            return None

    async def _elect(self, ballot: Json, exchange: Exchange, deadline: float, name: str) -> Verdict:
        """Ask for votes side by side; until it is known that this endpoint is one for votes, the first goes ahead."""
        forms = prompts.ballots(ballot, self._votes)
        ahead = forms[:1] if self._gives_logprobs else []
        votes = [await self._vote(form, exchange, deadline) for form in ahead]
        votes += await _together([self._vote(form, exchange, deadline) for form in forms[len(ahead) :]])
        if all(vote is None for vote in votes):
            return self._failed("no_logprobs", name)
        return self._read(prompts.counted(votes), exchange, name)

    async def _vote(self, form: Json, exchange: Exchange, deadline: float) -> int | None:
        """Ask for one vote held to its schema; by words alone where the endpoint refuses that."""
        if self._takes_schema:
            try:
                return prompts.vote(await self._send(form, exchange, deadline))
            except UpstreamRejected as error:
                if not _refuses_fields(error):
                    raise
        free = {name: value for name, value in form.items() if name != "response_format"}
        answer = await self._send(free, exchange, deadline)
        self._takes_schema = False
        return prompts.vote(answer)

    async def _send(self, form: Json, exchange: Exchange, deadline: float) -> Json:
        headers = exchange.headers
        form = {**form, "model": self._model or exchange.model or await self._any_model(headers, deadline)}
        if self._style == "separate":
            form.pop("cache_salt", None)  # it is the backend's; another endpoint may refuse it
        plain = {name: value for name, value in form.items() if name != prompts.SWITCHES}
        if prompts.SWITCHES in self._refused or plain == form:
            return await self._complete(plain, headers, deadline)
        try:
            return await self._complete(form, headers, deadline)
        except UpstreamRejected as error:
            if not _refuses_fields(error):
                raise
        answer = await self._complete(plain, headers, deadline)
        self._refused.add(prompts.SWITCHES)  # a server that is not vLLM: it has no template to switch
        return answer

    async def _complete(self, form: Json, headers: Headers, deadline: float) -> Json:
        async with asyncio.timeout_at(deadline) as waiting, self._slots:
            waiting.reschedule(None)  # the call has a limit of its own, and the breaker hears of one that takes longer
            # what waiting for a slot took is no fault of the endpoint's: it has half of the time at least
            left = max(deadline - asyncio.get_running_loop().time(), self._timeout_s / 2)
            return await self.backend.complete("/chat/completions", form, headers, left)

    async def _any_model(self, headers: Headers, deadline: float) -> str:
        left = deadline - asyncio.get_running_loop().time()
        _, _, content = await self.backend.forward("GET", "/v1/models", headers=headers, timeout_s=left, watched=False)
        try:
            return str(json.loads(content)["data"][0]["id"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return "default"

    def _read(self, score: float | None, exchange: Exchange, name: str) -> Verdict:
        """Give the verdict on a score; without one the answers of the model could not be used."""
        if score is None:
            return Verdict("undecided", None, name, "partial", "bad_output")
        axis = _AXES[exchange.kind]
        verdict: Verdicts = "unsafe" if score >= exchange.limit(axis) else "safe"
        return Verdict(verdict, score, name, "partial", "uncalibrated", {axis: score})

    def _failed(self, reason: Reason, name: str | None = None) -> Verdict:
        return Verdict("undecided", None, name or self.name, "error", reason)


def _refuses_fields(error: UpstreamRejected) -> bool:
    return error.status in _REFUSES_FIELDS and not isinstance(error, ContextExceeded)


async def _together(calls: Sequence[Awaitable[int | None]]) -> list[int | None]:
    """Await all; the first failure, or the caller's leaving, ends the others."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()  # nothing happens to those that are done
