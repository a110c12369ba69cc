"""The values that pass between the steps of a request: small, frozen, each made by one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from detection.table import Kind as NameKind
from detection.weights import Role
from retrieval.search import Passage

Json = dict[str, Any]
Kind = NameKind | Literal["caller", "meaning"]
Headers = tuple[tuple[str, str], ...]
Route = Literal["chat", "completions"]
GroundingStatus = Literal["grounded", "none", "off", "lessened", "failed", "dropped_context", "not_possible"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message as far as Comity reads it: its role and all of its text, parts joined by line feeds."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class Hints:
    """What the caller said: cultures (explicit input wins) or that none may be inferred, and how to be guarded."""

    cultures: tuple[str, ...] = ()
    infer: bool = True
    debug: bool = False
    policy: str | None = None
    mode: str | None = None
    stream_mode: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What the client asked; `body` is the request as received, without Comity's own field, never changed."""

    id: str
    route: Route
    model: str
    messages: tuple[Message, ...]
    streams: bool
    body: Mapping[str, Any]
    hints: Hints = Hints()
    headers: Headers = ()

    def prompt(self, choice: int) -> int:
        """Give the position of the prompt that a choice answers: completions number n choices for each prompt."""
        return choice // int(self.body.get("n") or 1) if self.route == "completions" else 0

    @property
    def question(self) -> str:
        """The text of the last user message; empty where there is none."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why a culture was found: the words, and where they stand (character offsets in that message's text).

    Of the kind `meaning` the text is the id of the nearest description.
    """

    kind: Kind
    text: str
    start: int
    end: int
    message: int


@dataclass(frozen=True, slots=True)
class Found:
    """One culture in one role; confidence is 0 to 1, made from `chance`, what its evidence says by itself.

    `kind` is that of the evidence that says most.
    """

    culture: str
    role: Role
    confidence: float
    evidence: tuple[Evidence, ...]
    chance: float = 1.0
    kind: Kind = "caller"


@dataclass(frozen=True, slots=True)
class Detection:
    """The cultures of a request in the order that grounding uses, or why there are none."""

    found: tuple[Found, ...] = ()
    abstained: str | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """Culture ids in order, each once."""
        return tuple(dict.fromkeys(found.culture for found in self.found))

    @property
    def shown(self) -> tuple[Found, ...]:
        """What may leave the request: nothing that was inferred about the person who asks."""
        return tuple(f for f in self.found if f.role != "user" or f.evidence[0].kind == "caller")


@dataclass(frozen=True, slots=True)
class Grounding:
    """The notes that a request carries: passages in canonical order, estimated tokens, one block for each prompt."""

    status: GroundingStatus
    passages: tuple[Passage, ...] = ()
    blocks: tuple[str, ...] = ()
    tokens: int = 0
    parts: tuple[Grounding, ...] = ()

    def of(self, prompt: int) -> Grounding:
        """Give the grounding of one of several prompts; there is only this one where there is one prompt."""
        return self.parts[min(prompt, len(self.parts) - 1)] if self.parts else self


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of an answer: a frame of a stream, or a whole answer; `raw` are its bytes as received."""

    raw: bytes
    payload: Json


@dataclass(frozen=True, slots=True)
class Violation:
    """What a judge holds against an answer."""

    description_id: str | None
    text: str
    reason: str


Axis = Literal["overall", "custom", "demeaning", "harm"]
AXES: tuple[Axis, ...] = ("overall", "custom", "demeaning", "harm")
Verdicts = Literal["safe", "unsafe", "undecided"]
Coverage = Literal["full", "partial", "skipped", "error"]
Reason = Literal[
    "lexical_baseline",
    "uncalibrated",
    "unsupported_language",
    "no_description",
    "media",
    "too_long",
    "off",
    "empty",
    "timeout",
    "unreachable",
    "rejected",
    "bad_output",
    "no_logprobs",
    "context_length",
    "degraded",
    "tool_calls",
]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge said (score 0 to 100, higher is worse), and how much of the answer it could judge."""

    verdict: Verdicts
    score: float | None
    judge: str
    coverage: Coverage
    reason: Reason | None = None
    axes: Mapping[str, float] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()


AdapterOutcome = Literal["off", "none", "used", "explicit", "missing", "several"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """Which adapter answers (none: the base model) and why; `base` is the model that it was trained on."""

    outcome: AdapterOutcome = "off"
    name: str | None = None
    base: str | None = None


NO_ADAPTER = Adapter()

Action = Literal["allowed", "would_refuse", "allowed_unjudged", "repaired", "replaced", "refused"]
Path = Literal["upstream", "embedded", "degraded", "repaired", "fallback", "blocked"]
RepairOutcome = Literal["used", "unsafe", "failed", "timeout", "not_possible"]


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of an answer before its first byte: for the headers of a stream that is not held."""

    detection: Detection
    grounding: Grounding
    policy: str
    mode: str
    stream_mode: str
    index_version: str
    adapter: Adapter = NO_ADAPTER


@dataclass(frozen=True, slots=True)
class Repair:
    """How generating an unsafe answer once more went: the verdict on the second answer, and what it cost."""

    outcome: RepairOutcome
    verdict: Verdict | None = None
    usage: Json | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that Comity knows about one finished answer: for headers, body, metrics, the log line and spans.

    `usage` takes the place of the upstream's where an answer was generated once more; `spent` is what was counted in
    all.
    """

    opening: Opening
    verdict: Verdict
    action: Action
    path: Path
    overhead_s: float
    stages: Mapping[str, float]
    tools: Verdict | None = None
    repair: Repair | None = None
    usage: Json | None = None
    spent: Json | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The first thing that an answer yields: its status and what the headers may say.

    With an Opening alone the pieces that follow leave at once, and the facts come at the end.
    """

    status: int
    known: Facts | Opening


@dataclass(frozen=True, slots=True)
class End:
    """The facts of an answer whose pieces have left before they were known."""

    facts: Facts
