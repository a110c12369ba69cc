"""`comity config check|show|schema|key`: the configuration, secrets masked, or why it cannot be used; a new key."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from pathlib import Path

import yaml
from pydantic import SecretStr

from retrieval import cultures
from retrieval.layout import IndexUnusable, Layout
from service import source
from service.parts import make_policies
from service.policy import DIGEST, Caller
from service.schema import schema
from service.settings import Settings, SettingsUnusable


def main(arguments: list[str]) -> int:
    """Run `comity config`; 0 when usable, 2 when not."""
    parser = argparse.ArgumentParser(prog="comity config")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, help="YAML file (default: COMITY_CONFIG)")
    common.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("check", parents=[common], help="say whether the configuration can be used")
    actions.add_parser("show", parents=[common], help="print every setting as it stands, secrets masked")
    actions.add_parser("key", help="make a key, and the digest of it that may stand in the configuration")
    actions.add_parser("schema", help="print the JSON Schema of the file")
    options = parser.parse_args(arguments)
    if options.action == "schema":
        print(json.dumps(schema(), indent=2))  # noqa: T201
        return 0
    if options.action == "key":
        key = f"ck-{secrets.token_urlsafe(32)}"
        print(f"key     {key}\ndigest  {DIGEST}{Caller(key=SecretStr(key)).digest.hex()}")  # noqa: T201
        return 0
    try:
        loaded = source.load(options.config)
        if options.action == "check":
            _check_names(loaded)
    except (SettingsUnusable, IndexUnusable) as error:
        print(f"comity config: {error}", file=sys.stderr)  # noqa: T201 - a command prints its result
        return 2
    if options.action == "check":
        print(json.dumps({"ok": True}) if options.json else "configuration: ok")  # noqa: T201
        return 0
    values = json.loads(loaded.model_dump_json())
    print(json.dumps(values) if options.json else yaml.safe_dump(values, sort_keys=False).rstrip())  # noqa: T201
    return 0


def _check_names(loaded: Settings) -> None:
    """Hold cultures to the registry, and the calibration to the judge, as far as there is an index to ask.

    Raises:
        SettingsUnusable, IndexUnusable: one of them cannot be used.
    """
    if loaded.retrieval.index.is_dir():
        registry = cultures.load(Layout(loaded.retrieval.index).current().cultures)
        make_policies(loaded, registry)
