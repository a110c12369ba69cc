"""Every way a request can fail, and the one body they all share (OpenAI's envelope).

ComityError
├─ InvalidRequest 400        ├─ Overloaded 429, TooMany 429
├─ Unauthorized 401          ├─ UpstreamRejected (their 4xx) ── ContextExceeded
├─ Forbidden 403             ├─ UpstreamFailed 502
├─ NotFound 404              │
├─ WrongMethod 405           ├─ UpstreamTimeout 504
├─ TooLarge 413              ├─ GuardrailUnavailable 503
├─ TooSlow 408               ├─ Stopping 503
│                            ├─ UpstreamUnavailable 503
│                            └─ (ComityError itself 500: a fault of our own)
└─ Unsupported 501

A policy block is not in this tree: it is a verdict, and a verdict is a value.
No message ever holds text of the user.
"""

from __future__ import annotations

import math
from typing import Any


class ComityError(Exception):
    """A failure with a status and an OpenAI error body."""

    status = 500
    type = "api_error"
    code: str | None = "internal_error"
    stage = "internal"
    retry_after_s: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code:
            self.code = code

    def body(self, request_id: str) -> dict[str, Any]:
        """Give the error as OpenAI's envelope, with Comity's detail in a namespace of its own."""
        return envelope(self.message, self.type, self.param, self.code, {"request_id": request_id, "stage": self.stage})


class InvalidRequest(ComityError):
    """The request is malformed or asks for what would defeat the guardrail."""

    status, type, code, stage = 400, "invalid_request_error", "invalid_value", "request"


class Unauthorized(ComityError):
    """The API key is missing or unknown."""

    status, type, code, stage = 401, "authentication_error", "invalid_api_key", "request"


class Forbidden(ComityError):
    """The caller asks for what its key may not have."""

    status, type, code, stage = 403, "permission_error", "hint_not_allowed", "request"


class NotFound(ComityError):
    """No such route or model."""

    status, type, code, stage = 404, "invalid_request_error", "not_found", "request"


class WrongMethod(ComityError):
    """The route exists, but not with this method."""

    status, type, code, stage = 405, "invalid_request_error", "method_not_allowed", "request"


class TooLarge(ComityError):
    """The body is larger than `limits.max_body_bytes`."""

    status, type, code, stage = 413, "invalid_request_error", "request_too_large", "request"


class TooSlow(ComityError):
    """The body did not arrive within `limits.body_timeout_s`."""

    status, type, code, stage = 408, "invalid_request_error", "request_timeout", "request"


class Unsupported(ComityError):
    """An OpenAI route that Comity does not guard and was not told to pass through."""

    status, type, code, stage = 501, "invalid_request_error", "unsupported_route", "request"


class Overloaded(ComityError):
    """More requests in flight than `limits.max_in_flight`."""

    status, type, code, stage = 429, "rate_limit_error", "overloaded", "request"
    retry_after_s = 1


class TooMany(ComityError):
    """More requests than the caller's `requests_per_minute`."""

    status, type, code, stage = 429, "rate_limit_error", "rate_limit_exceeded", "request"

    def __init__(self, per_minute: int, wait_s: float) -> None:
        super().__init__(f"more than {per_minute} requests a minute; try again in {math.ceil(wait_s)} s")
        self.retry_after_s = math.ceil(wait_s)
        self.headers = (
            ("x-ratelimit-limit-requests", str(per_minute)),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", f"{wait_s:.3f}s"),
        )


class UpstreamRejected(ComityError):
    """The upstream answered 4xx; status, type and code are its own."""

    stage = "generate"

    def __init__(self, status: int, message: str, type: str, param: str | None, code: str | None) -> None:
        super().__init__(message, param=param)
        self.status, self.type, self.code = status, type, code


class ContextExceeded(UpstreamRejected):
    """The upstream says that the prompt is longer than the model's context."""


class UpstreamFailed(ComityError):
    """The upstream is unreachable, broke off, or answered with what is no OpenAI answer."""

    status, code, stage = 502, "upstream_error", "generate"


class UpstreamTimeout(ComityError):
    """The upstream took longer than its timeouts allow."""

    status, code, stage = 504, "upstream_timeout", "generate"


class UpstreamUnavailable(ComityError):
    """The upstream failed several times in a row, so it is not asked for a while."""

    status, code, stage = 503, "upstream_unavailable", "generate"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__("the backend failed several times in a row and is given a rest; try again")
        self.retry_after_s = retry_after_s


class GuardrailUnavailable(ComityError):
    """A stage failed whose failure policy is to block."""

    status, code = 503, "guardrail_unavailable"
    retry_after_s = 5

    def __init__(self, message: str, *, stage: str) -> None:
        super().__init__(message)
        self.stage = stage


class Stopping(ComityError):
    """The service is being stopped and waits no longer for this answer."""

    status, code, stage = 503, "shutting_down", "request"
    retry_after_s = 1


def unexpected() -> ComityError:
    """Give the one sentence that is said of a fault of our own."""
    return ComityError("an internal error occurred; it was logged under this request id")


def envelope(message: str, type: str, param: str | None, code: str | None, detail: dict[str, Any]) -> dict[str, Any]:
    """Build OpenAI's error body; `code` and `param` are strings or null."""
    return {"error": {"message": message, "type": type, "param": param, "code": code, "comity": detail}}
