"""What is done about an answer: policies, each consistent before the service starts, and which one a request gets."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from retrieval.cultures import Cultures
from service.errors import Forbidden, InvalidRequest
from service.judge import DEFAULT_THRESHOLD
from service.turn import AXES, Hints

Mode = Literal["enforce", "shadow", "off"]
StreamMode = Literal["buffer", "window", "passthrough"]
OnError = Literal["allow", "block", "degrade"]
DEFAULT = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
DIGEST = "sha256:"  # what stands before the digest of a key
_DIGEST = re.compile(r"(?i:sha256):[0-9a-fA-F]{64}")
CULTURE = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?|x-[a-z0-9-]+")
Score = Annotated[float | None, Field(ge=0, le=100)]


class Group(BaseModel):
    """A group of settings: closed and frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def quoted(cultures: Any) -> Any:
    """Refuse a culture id that YAML read as false, as it does NO without quotes; let anything else through."""
    if isinstance(cultures, dict | list | tuple) and any(culture is False for culture in cultures):
        raise ValueError('YAML reads NO as false: quote the culture id, "NO"')
    return cultures


def plain(key: SecretStr) -> SecretStr:
    """Refuse a key that no header can carry; let any other through.

    Raises:
        ValueError: it is empty, has spaces around it, or anything but printable ASCII.
    """
    held = key.get_secret_value()
    if not (held.isascii() and held.isprintable() and held.strip() == held and held):
        raise ValueError("must be printable ASCII without spaces around it, as a header carries it")
    return key


class Thresholds(Group):
    """Scores from which an axis is unsafe; null takes the calibrated one, or 50."""

    overall: Score = Field(None, description="the LLM judge's one digit for the whole answer, brought to 0 to 100")
    custom: Score = Field(None, description="advice against a custom that was found for the request")
    demeaning: Score = Field(None, description="stereotypes and demeaning words")
    harm: Score = Field(None, description="slurs, dehumanisation, incitement: unsafe whatever the culture")

    def over(self, calibrated: Mapping[str, float]) -> Mapping[str, float]:
        """Give every axis its threshold: the one that is set, else the calibrated one, else 50."""
        known = {axis: calibrated.get(axis, DEFAULT_THRESHOLD) for axis in AXES}
        return known | {axis: value for axis, value in self if value is not None}


class StageErrors(Group):
    """What happens when a stage fails or is late: go on without it, take lesser means, or fail the request."""

    detect: OnError = Field("allow", description="allow, degrade: as if no culture was found; block: 503")
    retrieve: OnError = Field(
        "allow", description="allow: no notes; degrade: descriptions are found by their words; block: 503"
    )
    generate: Literal["block", "degrade"] = Field(
        "block", description="block: 502, 503 or 504; degrade: the embedded responder answers from the descriptions"
    )
    judge: OnError = Field(
        "block", description="allow: released unjudged; degrade: the embedded judge alone decides; block: 503"
    )


class Policy(Group):
    """What is done about answers; a named policy takes from this one what it leaves out."""

    mode: Mode = Field("shadow", description="enforce acts; shadow counts what enforce would do; off does not judge")
    stream_mode: StreamMode = Field(
        "buffer",
        description="buffer: a stream is held until its whole answer is judged; window: sentences leave as they are "
        "judged; passthrough: nothing is held (never in enforce)",
    )
    thresholds: Thresholds = Thresholds()
    on_undecided: Literal["allow", "block"] = Field("block", description="in enforce, when the judge cannot decide")
    on_error: StageErrors = StageErrors()
    accept_unjudged: bool = Field(False, description="must be true for on_error.judge: allow in enforce")
    repair: bool = Field(True, description="an unsafe answer is generated once more, told why, and judged again")
    repair_timeout_s: float = Field(30, gt=0, le=86_400, description="seconds for generating and judging that")
    fallback: bool = Field(True, description="else the answer is made of the descriptions, where there are any")
    block_as: Literal["refusal", "error"] = Field(
        "refusal", description="else a refusal: 200 with finish_reason content_filter, or 400 with code content_filter"
    )
    tool_calls: Mode = Field("shadow", description="whether demeaning arguments of tool calls count as unsafe")
    window_chars: int = Field(400, ge=80, le=100_000, description="characters from which sentences make up a window")
    max_judge_calls: int = Field(
        64, ge=1, le=4096, description="windows of one request that are judged apart; the rest is held to the end"
    )
    cultures: tuple[str, ...] = Field((), description="cultures whose requests get this policy, such as [JP, x-maori]")

    _quoted = field_validator("cultures", mode="before")(quoted)

    @field_validator("cultures")
    @classmethod
    def _are_ids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for culture in value:
            if not CULTURE.fullmatch(culture):
                raise ValueError(f"{culture!r} must be a culture id such as JP, ES-CT or x-maori")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        if self.mode == "enforce" and self.stream_mode == "passthrough":
            raise ValueError(
                "stream_mode: passthrough releases unjudged text, which mode: enforce forbids; use buffer or window"
            )
        if self.mode == "enforce" and self.on_error.judge == "allow" and not self.accept_unjudged:
            raise ValueError(
                "on_error.judge: allow in enforce releases unjudged answers; set accept_unjudged: true to accept"
            )
        return self


class Grants(Group):
    """What a caller's requests get and may ask for."""

    policy: str | None = Field(None, description="name of the policy that the caller's requests get")
    policies: tuple[str, ...] = Field((), description="policies that a request may name instead")
    modes: tuple[Mode, ...] = Field((), description="modes that a request may ask for")
    stream_modes: tuple[StreamMode, ...] = Field((), description="stream modes that a request may ask for")
    hints: bool = Field(True, description="whether a request may name its cultures")
    culture: str | None = Field(None, description="culture of requests that name none and in which none is found")
    requests_per_minute: int | None = Field(
        None, ge=1, le=1_000_000, description="requests let in, evenly refilled; more get 429; null for no limit"
    )

    @field_validator("culture", mode="before")
    @classmethod
    def _is_id(cls, value: Any) -> Any:
        quoted([value])
        if isinstance(value, str) and not CULTURE.fullmatch(value):
            raise ValueError(f"{value!r} must be a culture id such as JP, ES-CT or x-maori")
        return value


class Caller(Grants):
    """An API key and what it may do."""

    key: SecretStr = Field(description="the key, printable ASCII, or its digest as `comity config key` gives it")
    expires: AwareDatetime | None = Field(None, description="when the key ends, with its time zone; null for never")

    @field_validator("expires", mode="before")
    @classmethod
    def _is_time(cls, value: Any) -> Any:
        if isinstance(value, int | float):  # a bare 2027 would be taken for seconds since 1970
            raise ValueError("must be a date and time with its zone, for example 2027-01-01T00:00:00Z")
        return value

    @field_validator("key")
    @classmethod
    def _is_key(cls, value: SecretStr) -> SecretStr:
        key = plain(value).get_secret_value()
        if key.lower().startswith(DIGEST) and not _DIGEST.fullmatch(key):
            raise ValueError(f"a key that begins with {DIGEST} is a digest: 64 hexadecimal digits must follow")
        return value

    @property
    def digest(self) -> bytes:
        """Give the SHA-256 of the key, whether the key or its digest was written down."""
        key = self.key.get_secret_value()
        if _DIGEST.fullmatch(key):
            return bytes.fromhex(key[len(DIGEST) :])
        return hashlib.sha256(key.encode()).digest()


def inherited(named: Any, base: Policy) -> Any:
    """Give named policies what they leave out from the default one; anything odd is left for validation to name."""
    if not isinstance(named, dict):
        return named
    for name in named:
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == DEFAULT:
            raise ValueError(f"{name!r} cannot name a policy: use a-z, 0-9, - and _; the default one is `policy`")
    start = base.model_dump(exclude={"cultures"})
    return {name: _over(start, given) if isinstance(given, dict) else given for name, given in named.items()}


def _over(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in given.items():
        nested = isinstance(value, dict) and isinstance(base.get(key), dict)
        both[key] = _over(base[key], value) if nested else value
    return both


def contradiction(
    known: Mapping[str, Policy], callers: Mapping[str, Sequence[Grants]], *, enforces: bool
) -> str | None:
    """Give one sentence on what policies and callers say against each other, or None.

    Args:
        callers: by the setting that they stand in.
        enforces: whether a judge serves that may enforce.
    """
    for where, group in callers.items():
        for name in (name for grants in group for name in (grants.policy, *grants.policies) if name is not None):
            if name not in known:
                return f"{where} names the policy {name!r}, which is not in policies"
    owners: dict[str, str] = {}
    for name, policy in known.items():
        if policy.mode == "enforce" and not enforces:
            where = "policy" if name == DEFAULT else f"policies.{name}"
            return (
                f"{where}.mode is enforce, but there is no LLM judge (the lexical baseline cannot enforce): set "
                "backend.url or judge.url, and leave judge.kind at auto"
            )
        for culture in policy.cultures:
            if owners.setdefault(culture, name) != name:
                return f"policies {owners[culture]} and {name} both claim the culture {culture}"
    return None


@dataclass(frozen=True, slots=True)
class Chosen:
    """The policy of one request, its name, and its thresholds."""

    name: str
    policy: Policy
    thresholds: Mapping[str, float]


class Policies:
    """Every policy by name, and the rule by which a request gets one."""

    def __init__(
        self,
        default: Policy,
        named: Mapping[str, Policy],
        registry: Cultures,
        *,
        calibrated: Mapping[str, float] | None = None,
        enforces: bool = True,
    ) -> None:
        """Take the policies of the settings.

        Args:
            calibrated: thresholds of the judge that serves, by axis.
            enforces: whether a judge serves that may enforce.
        """
        self._known = {DEFAULT: default, **named}
        self._registry = registry
        self._calibrated = dict(calibrated or {})
        self._enforces = enforces
        self._of_culture = {culture: name for name, policy in self._known.items() for culture in policy.cultures}

    @property
    def names(self) -> tuple[str, ...]:
        """Every policy's name, the default one first."""
        return tuple(self._known)

    def named(self, name: str = DEFAULT) -> Chosen:
        """Give a policy by its name."""
        return self._chosen(name, self._known[name])

    def permit(self, hints: Hints, grants: Grants) -> None:
        """Hold a request's hints to what its caller may ask for.

        Raises:
            Forbidden, InvalidRequest: naming the hint.
        """
        if hints.cultures and not grants.hints:
            raise Forbidden("this API key may not name cultures", param="comity.culture")
        if hints.policy is not None and grants.policies and hints.policy not in self._known:
            raise InvalidRequest("comity.policy names no policy here", param="comity.policy", code="unknown_policy")
        for what, asked, allowed in (
            ("policy", hints.policy, grants.policies),
            ("mode", hints.mode, grants.modes),
            ("stream_mode", hints.stream_mode, (*grants.stream_modes, "buffer")),
        ):
            if asked is not None and asked not in allowed:
                raise Forbidden(
                    f"comity.{what} cannot be chosen so by this caller; an operator can allow it",
                    param=f"comity.{what}",
                )

    def choose(self, hints: Hints, grants: Grants, cultures: tuple[str, ...]) -> Chosen:
        """Give the policy of a request: the one it names, else its key's, else its first culture's, else the default.

        Args:
            cultures: ids in the order that grounding uses, none that was inferred about the person who asks.

        Raises:
            InvalidRequest: the mode or stream mode that it asks for contradicts the policy.
        """
        name = hints.policy or grants.policy or self._cultural(cultures)
        policy = self._known[name]
        asked = {key: value for key in ("mode", "stream_mode") if (value := getattr(hints, key)) is not None}
        if asked:
            policy = self._with(policy, asked)
        return self._chosen(name, policy)

    def _cultural(self, cultures: tuple[str, ...]) -> str:
        lines = (self._registry.lineage(culture) for culture in cultures)
        return next((self._of_culture[known] for line in lines for known in line if known in self._of_culture), DEFAULT)

    def _with(self, policy: Policy, asked: Mapping[str, str]) -> Policy:
        where = f"comity.{next(iter(asked))}"
        try:
            made = Policy.model_validate({**policy.model_dump(), **asked})
        except ValidationError as error:
            reason = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
            raise InvalidRequest(f"{where}: {reason}", param=where) from None
        if made.mode == "enforce" and not self._enforces:
            raise InvalidRequest(f"{where}: there is no judge here that may enforce", param=where)
        return made

    def _chosen(self, name: str, policy: Policy) -> Chosen:
        return Chosen(name, policy, policy.thresholds.over(self._calibrated))
