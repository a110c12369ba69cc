"""`comity serve`: settings → live parts → uvicorn, and nothing else."""

from __future__ import annotations

import argparse
import gc
import signal
import sys
from pathlib import Path
from typing import Any

import uvicorn

from retrieval.layout import IndexUnusable
from service import logs
from service.app import create_app
from service.parts import assemble, warn
from service.phrases import PhrasesUnusable
from service.settings import SettingsUnusable
from service.source import Source

UNUSABLE = 2


def main(arguments: list[str]) -> int:
    """Serve until stopped; 2 with one sentence when the configuration or the index cannot be used."""
    parser = argparse.ArgumentParser(prog="comity serve", description="Serve the guardrail.")
    parser.add_argument("--config", type=Path, help="YAML file (default: COMITY_CONFIG)")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    options = parser.parse_args(arguments)
    given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name) is not None}
    overrides: dict[str, Any] = {"server": given} if given else {}
    try:
        given_by = Source(options.config, overrides)
        loaded = given_by.load()
        logs.configure(loaded.log)
        guard = assemble(loaded)
    except (SettingsUnusable, IndexUnusable, PhrasesUnusable) as error:
        print(f"comity serve: {error}", file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        return UNUSABLE
    address = f"http://{loaded.server.host}:{loaded.server.port}"
    logs.started(address, loaded.backend.url, guard.index.version, guard.judge.name, loaded.policy.mode)
    warn(guard)
    _settle()
    signal.signal(signal.SIGTERM, _leave)  # uvicorn drains, then raises the signal again: that is a proper end
    app = create_app(guard, given_by)
    del guard  # else the first version of the index would stay in memory when another serves
    uvicorn.run(
        app,
        host=loaded.server.host,
        port=loaded.server.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nothing here depends on who the peer is
        ws="none",
        timeout_keep_alive=75,  # above the idle time of common ingresses, so that they never meet a closing socket
        timeout_graceful_shutdown=loaded.server.drain_timeout_s,
    )
    return 0


def _settle() -> None:
    """Take what was loaded out of garbage collection: going through all of it would stop every request for 30 ms."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)
