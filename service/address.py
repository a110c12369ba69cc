"""Addresses in the configuration: which are usable, and which only this machine can reach."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def usable(value: str | None) -> str | None:
    """Give an endpoint's base URL without a slash at its end, or None where none is set.

    Raises:
        ValueError: it is no http address, or holds what does not belong into one.
    """
    if value is None or not value.strip():
        return None
    parts = urlsplit(value)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is no number, or too large
        usable = False
    if not usable:
        raise ValueError("must be an http:// or https:// address, for example http://127.0.0.1:8000/v1")
    if parts.query or parts.fragment:
        raise ValueError("must end with its path, without ? or #")
    if parts.username or parts.password:
        raise ValueError("must not hold credentials; give the key in api_key")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
