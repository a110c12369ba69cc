"""Every setting with its default and one sentence; a strict YAML file, overridden by COMITY_… variables.

Nested values are written with two underscores: `COMITY_BACKEND__URL`. Unknown keys are refused at start.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from redis.asyncio.connection import parse_url

from service import address
from service.policy import CULTURE, DEFAULT, Caller, Grants, Group, Policy, contradiction, inherited, plain, quoted

PREFIX = "COMITY_"
Key = Annotated[SecretStr, AfterValidator(plain)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsUnusable(Exception):
    """The configuration cannot be used; the message is one sentence that names the key."""


class Server(Group):
    """Where the service listens, and who may call it."""

    host: str = Field("127.0.0.1", description="address to listen on; any other than loopback needs api_keys")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    allow_anonymous: bool = Field(False, description="serve an address other than loopback without API keys")
    drain_timeout_s: int = Field(30, ge=0, le=3600, description="seconds that answers under way have after SIGTERM")


class BackendSettings(Group):
    """The OpenAI-compatible server that generates; without it the embedded responder answers."""

    url: str | None = Field(None, description="base URL with its /v1, for example http://127.0.0.1:8000/v1")
    api_key: Key | None = Field(None, description="key sent to the backend")
    authorization: Literal["replace", "forward"] = Field(
        "replace",
        description="forward: the caller's Authorization goes to the backend, which checks it",
    )
    connect_timeout_s: Seconds = Field(5, description="seconds to connect")
    first_byte_timeout_s: Seconds = Field(300, description="seconds until a stream's first byte")
    between_frames_timeout_s: Seconds = Field(120, description="longest silence of a stream after that")
    total_timeout_s: Seconds = Field(900, description="seconds for any answer, streamed or whole")
    connect_retries: int = Field(2, ge=0, le=10, description="failed connects that are tried again, with jitter")
    breaker_failures: int = Field(5, ge=0, description="failures in a row that open the breaker; 0 for no breaker")
    breaker_reset_s: Seconds = Field(10, description="seconds that an open breaker waits before one request probes")
    max_answer_bytes: int = Field(
        16_777_216, ge=1024, description="largest answer that is held for judging, frames of a stream four times that"
    )
    max_connections: int = Field(1024, ge=1, description="open connections to the backend")

    _url = field_validator("url")(address.usable)


class DetectionSettings(Group):
    """Whose culture a request is about."""

    enabled: bool = Field(True, description="infer cultures; explicit hints work either way")
    max_chars: int = Field(200_000, ge=1000, description="characters of a conversation that are searched, latest first")
    meaning: bool = Field(True, description="where words are silent or tied, let the nearest descriptions vote")
    timeout_s: Seconds = Field(2, description="seconds to search a long conversation, or to encode one")


class RetrievalSettings(Group):
    """Which descriptions matter to a message."""

    enabled: bool = Field(True, description="look descriptions up")
    index: Path = Field(Path("var/index"), description="folder of the index that `comity index build` writes")
    encoder: str = Field("comity-minilm", description="encoder that the index must have been built with")
    k: int = Field(4, ge=1, le=50, description="most descriptions for one request")
    min_score: float = Field(0.3, ge=-2, le=2, description="score under which a description does not matter")
    max_cultures: int = Field(3, ge=1, le=8, description="cultures that one request is grounded in")
    workers: int = Field(2, ge=1, le=64, description="threads that encode queries")
    timeout_s: Seconds = Field(2, description="seconds to encode a query and search")
    poll_s: Seconds = Field(2, description="seconds between looks for a new index or configuration")
    cache: int = Field(1024, ge=0, le=1_000_000, description="queries whose vectors are kept in memory; 0 for none")


class GroundingSettings(Group):
    """How descriptions are handed to the model."""

    enabled: bool = Field(True, description="add notes to requests")
    placement: Literal["user", "system"] = Field("user", description="the last user message, or the system message")
    max_tokens: int = Field(400, ge=32, le=8192, description="budget of the notes, in estimated tokens")


class JudgeSettings(Group):
    """What an answer is worth; the policy says what is done about it."""

    kind: Literal["auto", "llm", "lexical"] = Field(
        "auto", description="auto: llm where a backend is set, else lexical"
    )
    timeout_s: Seconds = Field(30, description="seconds for judging one answer")
    style: Literal["continuation", "separate"] = Field("continuation", description="prompt of the LLM judge")
    url: str | None = Field(None, description="another OpenAI-compatible endpoint for judging; default: the backend")
    model: str | None = Field(None, description="model that judges; default: the model that answered")
    api_key: Key | None = Field(None, description="key sent to judge.url")
    constrain: Literal["auto", "always"] = Field(
        "auto", description="always: the digit is constrained from the start, for models that think all the same"
    )
    votes: int = Field(3, ge=1, le=9, description="answers asked for where the endpoint gives no log-probabilities")
    calibration: Path | None = Field(None, description="file that `comity evaluate judge --calibrate` wrote")
    max_concurrent: int = Field(64, ge=1, description="judge calls in flight at once")

    _url = field_validator("url")(address.usable)

    @model_validator(mode="after")
    def _consistent(self) -> JudgeSettings:
        if self.url and not self.model:
            raise ValueError("model must name the model that judges at judge.url")
        return self


class AdapterSettings(Group):
    """Which LoRA adapter of the backend answers for a culture."""

    cultures: dict[str, str] = Field(
        default_factory=dict, description="culture id → name of an adapter as the backend lists it, for example JP: jp"
    )
    on_several: Literal["base", "first"] = Field(
        "base", description="cultures that want different adapters: the base model, or the first that has one"
    )
    judge: Literal["adapter", "base"] = Field(
        "adapter", description="model that judges an adapter's answer; the adapter itself reuses its prefix cache"
    )
    refresh_s: Seconds = Field(30, description="age at which the backend's list of adapters is asked for again")

    _quoted = field_validator("cultures", mode="before")(quoted)

    @field_validator("cultures")
    @classmethod
    def _are_named(cls, value: dict[str, str]) -> dict[str, str]:
        for culture, adapter in value.items():
            if not CULTURE.fullmatch(culture):
                raise ValueError(f"{culture!r} must be a culture id such as JP, ES-CT or x-maori")
            if not adapter.strip():
                raise ValueError(f"{culture} needs the name of an adapter")
        return value


class StreamSettings(Group):
    """How streams are kept alive."""

    ping_after_s: Seconds = Field(10, description="silence before the first comment line, which commits status 200")
    ping_every_s: Seconds = Field(10, description="seconds between comment lines after that")


class LimitSettings(Group):
    """What one request and all together may take."""

    max_body_bytes: int = Field(10_485_760, ge=1024, description="largest request body")
    body_timeout_s: Seconds = Field(60, description="seconds for a request body to arrive")
    max_messages: int = Field(2048, ge=1, description="most messages in a request")
    max_prompt_tokens: int | None = Field(
        None, ge=1, description="most estimated tokens in the text of a request; null for no limit"
    )
    max_in_flight: int = Field(1024, ge=1, description="requests served at once; more get 429")
    redis_url: SecretStr | None = Field(
        None, description="redis:// address where replicas count requests per minute together; else each counts its own"
    )
    redis_timeout_s: Seconds = Field(0.25, description="seconds for counting there; then this process counts alone")

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        try:
            if value:
                parse_url(value.get_secret_value())
        except ValueError:  # its message may quote the password
            reason = "must be a redis://, rediss:// or unix:// address, for example redis://127.0.0.1:6379/0"
            raise ValueError(f"{reason}; odd characters of a password are written in percent code") from None
        return value


class PassthroughSettings(Group):
    """Other routes of the backend, forwarded unguarded and marked so."""

    routes: tuple[str, ...] = Field((), description="paths to forward, for example /v1/embeddings, /tokenize")

    @field_validator("routes")
    @classmethod
    def _are_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            dots = {".", ".."} & set(path.split("/"))
            if not path.startswith("/") or any(mark in path for mark in "?#%\\ ") or dots or "//" in path:
                raise ValueError(f"{path!r} must be a plain path such as /v1/embeddings")
            if path.rstrip("/") in ("/v1/chat/completions", "/v1/completions"):
                raise ValueError(f"{path} is guarded and cannot be passed through")
        return value


class TraceSettings(Group):
    """OpenTelemetry spans of requests; never text of a prompt or an answer."""

    endpoint: str | None = Field(None, description="OTLP/HTTP collector, such as http://127.0.0.1:4318; null for none")
    sample: float = Field(1, ge=0, le=1, description="share of traces that begin here; a caller's own decision is kept")
    timeout_s: Seconds = Field(10, description="seconds for sending spans, off the path of requests")

    _url = field_validator("endpoint")(address.usable)


class LogSettings(Group):
    """One structured line a request on standard error; never text of a prompt or an answer."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="lowest level that is written")
    format: Literal["json", "text"] = Field("json", description="json for machines, text for a terminal")


class Settings(BaseSettings):
    """The whole configuration, frozen."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    overrides: ClassVar[dict[str, Any]] = {}

    version: Literal["v1"] = Field("v1", description="version of this file's format")
    api_keys: Annotated[tuple[Caller, ...], NoDecode] = Field(
        (), description="keys that callers may use, each a text or a group; in COMITY_API_KEYS separated by commas"
    )
    anonymous: Grants = Grants()
    policy: Policy = Policy()
    policies: dict[str, Policy] = Field(
        default_factory=dict, description="named policies; what one leaves out is as in `policy`, except its cultures"
    )
    server: Server = Server()
    backend: BackendSettings = BackendSettings()
    detection: DetectionSettings = DetectionSettings()
    retrieval: RetrievalSettings = RetrievalSettings()
    grounding: GroundingSettings = GroundingSettings()
    judge: JudgeSettings = JudgeSettings()
    adapters: AdapterSettings = AdapterSettings()
    stream: StreamSettings = StreamSettings()
    limits: LimitSettings = LimitSettings()
    passthrough: PassthroughSettings = PassthroughSettings()
    traces: TraceSettings = TraceSettings()
    log: LogSettings = LogSettings()

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str) and value.lstrip().startswith("["):
            value = json.loads(value)
        elif isinstance(value, str):
            value = [key.strip() for key in value.split(",") if key.strip()]
        if not isinstance(value, list | tuple):
            return value
        return [{"key": item} if isinstance(item, str | SecretStr) else item for item in value]

    @field_validator("api_keys")
    @classmethod
    def _are_keys(cls, value: tuple[Caller, ...]) -> tuple[Caller, ...]:
        if len({caller.digest for caller in value}) < len(value):
            raise ValueError("a key stands in it twice; each caller needs one of its own")
        return value

    @field_validator("policies", mode="before")
    @classmethod
    def _inherit(cls, value: Any, info: ValidationInfo) -> Any:
        return inherited(value, info.data.get("policy", Policy()))

    @model_validator(mode="after")
    def _policies_are_whole(self) -> Settings:
        wrong = contradiction(
            {DEFAULT: self.policy, **self.policies},
            {"anonymous": (self.anonymous,), "api_keys": self.api_keys},
            enforces=self.judge_kind == "llm",
        )
        if wrong:
            raise ValueError(wrong)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.judge.kind == "llm" and not (self.backend.url or self.judge.url):
            raise ValueError("judge.kind is llm, but neither backend.url nor judge.url is set")
        if self.api_keys and self.backend.authorization == "forward":
            raise ValueError(
                "backend.authorization is forward, but api_keys are set: a caller has one Authorization header; "
                "set one of the two"
            )
        if self.adapters.cultures and not self.backend.url:
            raise ValueError("adapters.cultures is set, but no backend that could serve adapters: set backend.url")
        if not self.api_keys and not self.server.allow_anonymous and not address.is_loopback(self.server.host):
            raise ValueError(
                f"server.host {self.server.host} is not loopback: set COMITY_API_KEYS, or server.allow_anonymous: true"
            )
        return self

    @property
    def hash(self) -> str:
        """What tells one configuration from another, without its secrets."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def judge_kind(self) -> Literal["llm", "lexical"]:
        """The judge that serves, `auto` resolved."""
        if self.judge.kind == "auto":
            return "llm" if self.backend.url or self.judge.url else "lexical"
        return self.judge.kind

    @property
    def judge_style(self) -> Literal["continuation", "separate"]:
        """The prompt of the LLM judge; another endpoint has no cache, and its model may be of another family."""
        return "separate" if self.judge.url else self.judge.style

    @property
    def judge_name(self) -> str:
        """The name of the judge that serves, as verdicts carry it."""
        return "lexical-baseline" if self.judge_kind == "lexical" else f"llm-{self.judge_style}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let overrides win over the environment, and that over the file (whose values come as arguments)."""
        return InitSettingsSource(settings_cls, init_kwargs=cls.overrides), env_settings, init_settings
