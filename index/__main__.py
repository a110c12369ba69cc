"""`comity index build|add|remove|verify|show|rollback`: their arguments and exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import get_args

from index import commands, model
from index.commands import UNUSABLE
from index.knowledge import KnowledgeBroken
from index.publish import KEEP
from retrieval.encoder import SERVED, Precision
from retrieval.layout import IndexUnusable
from retrieval.vectors import KINDS


def main(arguments: list[str]) -> int:
    """Run one index command; 0 when it worked, 1 when a check failed, 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        outcome = options.run(options)
    except KnowledgeBroken as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return UNUSABLE
    except (IndexUnusable, OSError) as error:
        print(f"comity index: {error}", file=sys.stderr)
        return UNUSABLE
    if options.json or outcome.text:
        print(json.dumps(outcome.data) if options.json else outcome.text)
    for line in outcome.errors:
        print(line, file=sys.stderr)
    return int(outcome.code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="comity index")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--index", type=Path, default=Path("var/index"), help="folder of the index")
    common.add_argument("--json", action="store_true", help="print JSON")
    writing = argparse.ArgumentParser(add_help=False, parents=[common])
    writing.add_argument("--kind", choices=[kind.name for kind in KINDS], help="kind of FAISS index (default: by size)")
    writing.add_argument("--keep", type=_count, default=KEEP, help=f"versions to keep (default: {KEEP})")
    actions = parser.add_subparsers(required=True)
    _build(actions.add_parser("build", parents=[writing], help="build a version from the knowledge, and serve it"))
    _add(actions.add_parser("add", parents=[writing], help="add files of descriptions to the serving version"))
    _remove(actions.add_parser("remove", parents=[writing], help="remove descriptions from the serving version"))
    verify = actions.add_parser("verify", parents=[common], help="check the serving version")
    verify.set_defaults(run=commands.verify)
    show = actions.add_parser("show", parents=[common], help="print the serving version and the versions kept")
    show.set_defaults(run=commands.show)
    rollback = actions.add_parser("rollback", parents=[common], help="serve an earlier version again")
    rollback.add_argument("--to", metavar="VERSION", help="which (default: the one before the serving one)")
    rollback.set_defaults(run=commands.rollback)
    return parser


def _build(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--knowledge", type=Path, default=Path("knowledge"), help="folder of the knowledge base")
    parser.add_argument("--encoder", default=model.DEFAULT, help="sentence-transformers model or folder")
    parser.add_argument("--precision", choices=get_args(Precision), default=SERVED, help="of the encoder's weights")
    parser.add_argument("--query-prompt", metavar="TEXT", help="set before a query (default: the model's own)")
    parser.add_argument("--passage-prompt", metavar="TEXT", help="set before a description (default: the model's own)")
    parser.add_argument("--if-changed", action="store_true", help="encode what changed; nothing did: do nothing")
    parser.add_argument("--fresh", action="store_true", help="forget what was added and removed")
    parser.set_defaults(run=commands.build)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--format", metavar="F", help="format of the files (default: told by their names)")
    parser.add_argument("--culture", metavar="ID", help="culture of rows that name none")
    parser.add_argument(
        "--map", metavar="JSON", help="JSON, or a file of it: the columns of fields, the names of values"
    )
    parser.add_argument("--name", help="under which they are added, and replaced (default: the file's)")
    parser.set_defaults(run=commands.add)


def _remove(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--culture", metavar="ID", help="all descriptions of a culture")
    parser.add_argument("--added", metavar="NAME", help="all that was added under a name")
    parser.set_defaults(run=commands.remove)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("wanted a whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
