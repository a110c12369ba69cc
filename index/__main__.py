"""`comity index build|verify|show|rollback` and `comity knowledge check`: what writes and checks an index."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from index import knowledge
from index.knowledge import KnowledgeBroken
from retrieval import encoder, search
from retrieval.layout import IndexUnusable, Layout

OK, FAILED, UNUSABLE = 0, 1, 2


def main(arguments: list[str]) -> int:
    """Run one index command; 0 when it worked, 1 when a check failed, 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KnowledgeBroken as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return UNUSABLE
    except (IndexUnusable, OSError) as error:
        print(f"comity index: {error}", file=sys.stderr)
        return UNUSABLE


def check(arguments: list[str]) -> int:
    """Run `comity knowledge check`."""
    parser = argparse.ArgumentParser(prog="comity knowledge")
    actions = parser.add_subparsers(required=True)
    action = actions.add_parser("check", help="check every row of the knowledge base")
    action.add_argument("--knowledge", type=Path, default=Path("knowledge"), help="folder of the knowledge base")
    action.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        found = knowledge.load(options.knowledge)
    except KnowledgeBroken as error:
        if options.json:
            print(json.dumps({"ok": False, "faults": [asdict(fault) for fault in error.faults]}))
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return FAILED
    cultures = len({row.culture for row in found.descriptions})
    said = {"ok": True, "descriptions": len(found.descriptions), "cultures": cultures}
    print(json.dumps(said) if options.json else f"{len(found.descriptions)} descriptions of {cultures} cultures: ok")
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comity index")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--index", type=Path, default=Path("var/index"), help="folder of the index")
    common.add_argument("--json", action="store_true", help="print JSON")
    actions = parser.add_subparsers(required=True)
    build = actions.add_parser("build", parents=[common], help="build a new version and make it the serving one")
    build.add_argument("--knowledge", type=Path, default=Path("knowledge"), help="folder of the knowledge base")
    build.add_argument("--encoder", default="all-MiniLM-L6-v2", help="sentence-transformers model or folder")
    build.add_argument("--if-changed", action="store_true", help="do nothing when knowledge and encoder are the same")
    build.set_defaults(run=_build)
    for name, run, said in (
        ("verify", _verify, "check the serving version"),
        ("show", _show, "print the serving version's manifest and the versions kept"),
        ("rollback", _rollback, "make the version before the serving one the serving one"),
    ):
        actions.add_parser(name, parents=[common], help=said).set_defaults(run=run)
    return parser


def _build(options: argparse.Namespace) -> int:
    from index import build  # these import torch: seconds that the other commands need not wait

    layout = Layout(options.index)
    hashed = build.knowledge_hash(options.knowledge)
    found = knowledge.load(options.knowledge)
    if options.if_changed and _unchanged(options, hashed):
        manifest = layout.current().read_manifest()
        print(f"index: version {manifest.version} is up to date", file=sys.stderr)
        if options.json:
            print(json.dumps(asdict(manifest)))
        return OK
    print(f"index: {len(found.descriptions)} descriptions; loading the encoder {options.encoder}", file=sys.stderr)
    from index import export

    version = build.build(found, options.knowledge, hashed, layout, export.export(options.encoder, layout))
    manifest = version.read_manifest()
    said = f"index: version {manifest.version} of {manifest.descriptions} descriptions is serving from {layout.root}"
    print(json.dumps(asdict(manifest)) if options.json else said)
    return OK


def _unchanged(options: argparse.Namespace, hashed: str) -> bool:
    """Tell whether this knowledge was built with this encoder already; an operator's rollback is left in place."""
    layout = Layout(options.index)
    try:
        serving = search.open_current(options.index, options.encoder).manifest
        newest = layout.version(layout.published()[-1]).read_manifest()
    except IndexUnusable:  # missing, damaged, or of another encoder: build
        return False
    return any(manifest.knowledge == hashed and manifest.encoder == options.encoder for manifest in (serving, newest))


def _verify(options: argparse.Namespace) -> int:
    from index import build

    layout = Layout(options.index)
    version = layout.current()
    faults = build.verify(version, encoder.load(layout.encoder(version.read_manifest().encoder_id)))
    if options.json:
        print(json.dumps({"ok": not faults, "version": version.root.name, "faults": faults}))
    elif not faults:
        print(f"index: version {version.root.name} verifies")
    for fault in faults:
        print(f"comity index: version {version.root.name}: {fault}", file=sys.stderr)
    return FAILED if faults else OK


def _show(options: argparse.Namespace) -> int:
    layout = Layout(options.index)
    said = asdict(layout.current().read_manifest()) | {"versions": layout.published()}
    print(json.dumps(said, indent=None if options.json else 2))
    return OK


def _rollback(options: argparse.Namespace) -> int:
    from index import build

    layout = Layout(options.index)
    serving, kept = layout.current().root.name, layout.published()
    earlier = [name for name in kept if name < serving]
    if not earlier:
        print(f"comity index: there is no version before {serving} in {layout.root}", file=sys.stderr)
        return FAILED
    build.point(layout, earlier[-1])
    said = f"index: version {earlier[-1]} is serving again"
    print(json.dumps({"version": earlier[-1]}) if options.json else said)
    return OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
