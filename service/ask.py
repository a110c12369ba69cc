"""`comity detect|retrieve|judge`: the check-only steps on the command line, on the embedded parts."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retrieval.layout import IndexUnusable
from service import checks, source
from service.errors import ComityError
from service.guard import Guard
from service.parts import assemble, disconnect
from service.phrases import PhrasesUnusable
from service.settings import SettingsUnusable
from service.turn import Json

UNUSABLE = 2


def detect(arguments: list[str]) -> int:
    """Print the cultures of a text."""
    options = _parser("detect", "text").parse_args(arguments)
    body = {"messages": [{"role": "user", "content": _read(options.text)}]}
    return _run(options, checks.detect, body, _cultures)


def retrieve(arguments: list[str]) -> int:
    """Print the descriptions that matter to a text."""
    parser = _parser("retrieve", "text")
    parser.add_argument("--culture", action="append", default=[], help="search only this culture; may be repeated")
    parser.add_argument("-k", type=int, default=4, help="most descriptions")
    options = parser.parse_args(arguments)
    body = {"query": _read(options.text), "cultures": options.culture, "k": options.k}
    return _run(options, checks.retrieve, body, _descriptions)


def judge(arguments: list[str]) -> int:
    """Print the verdict on an answer; 1 when it is unsafe."""
    parser = _parser("judge", "answer")
    parser.add_argument("--question", default="", help="what the answer replies to")
    parser.add_argument("--culture", action="append", default=[], help="culture to judge for; may be repeated")
    options = parser.parse_args(arguments)
    body: Json = {"messages": [{"role": "user", "content": options.question}], "response": _read(options.answer)}
    if options.culture:
        body["cultures"] = options.culture
    return _run(options, checks.judge, body, _verdict)


def _parser(name: str, what: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"comity {name}")
    parser.add_argument(what, help="the text, or - to read it from standard input")
    parser.add_argument("--config", type=Path, help="YAML file (default: COMITY_CONFIG)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _read(text: str) -> str:
    if text == "-":
        text = sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        print("comity: the text is not UTF-8", file=sys.stderr)  # noqa: T201 - a command prints its result
        raise SystemExit(UNUSABLE) from None
    return text


def _run(options: argparse.Namespace, work: Callable[..., Any], body: Json, said: Callable[[Json], str]) -> int:
    async def asked(guard: Guard) -> Json:
        try:
            found: Json = await work(body, "cli", guard)
            return found
        finally:
            await disconnect(guard)
            guard.workers.shutdown()

    try:
        found = asyncio.run(asked(assemble(source.load(options.config))))
    except (SettingsUnusable, IndexUnusable, PhrasesUnusable) as error:
        print(f"comity: {error}", file=sys.stderr)  # noqa: T201 - a command prints its result
        return UNUSABLE
    except ComityError as error:
        print(f"comity: {error.message}", file=sys.stderr)  # noqa: T201
        return UNUSABLE
    print(json.dumps(found, ensure_ascii=False) if options.json else said(found))  # noqa: T201
    return 1 if found.get("verdict") == "unsafe" else 0


def _cultures(found: Json) -> str:
    rows = [
        f"{item['culture']}  {item['role']}  {item['confidence']:.2f}  "
        + ", ".join(f"{evidence['kind']}: {evidence['text']}" for evidence in item["evidence"])
        for item in found["cultures"]
    ]
    return "\n".join(rows) or f"no culture ({found['abstained']})"


def _descriptions(found: Json) -> str:
    rows = [f"{item['score']:.2f}  {item['id']}  {item['text']}" for item in found["descriptions"]]
    return "\n".join(rows) or "no description matters to this"


def _verdict(found: Json) -> str:
    lines = [f"{found['verdict']}  score {found['score']}  {found['judge']}  coverage {found['coverage']}"]
    lines += [f"  {item['reason']}: {item['text']}" for item in found["violations"]]
    return "\n".join(lines)
