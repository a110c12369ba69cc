"""The command `comity`: each verb is the main function of one module, loaded only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys

from service import __version__

COMMANDS = {
    "serve": ("service.serve", "main", "serve the guardrail"),
    "detect": ("service.ask", "detect", "find the cultures of a text"),
    "retrieve": ("service.ask", "retrieve", "find the descriptions that matter to a text"),
    "judge": ("service.ask", "judge", "judge an answer"),
    "knowledge": ("index.stock", "main", "check the knowledge base, or count what it holds"),
    "index": ("index.__main__", "main", "build, add to, remove from, verify, show or roll back the index"),
    "evaluate": ("evaluation.__main__", "main", "measure detection, retrieval or the judge"),
    "config": ("service.config", "main", "check or show the configuration, print its schema, make a key"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when all is well, 1 when a check failed, 2 when the input cannot be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("--version", "-V"):
        print(f"comity {__version__}")
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        asks = not arguments or arguments[0] in ("--help", "-h", "help")
        print(_usage(), file=sys.stdout if asks and arguments else sys.stderr)
        return 0 if asks and arguments else 2
    module, function, _ = COMMANDS[arguments[0]]
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        print(f"comity: {arguments[0]} is not part of this image; use a checkout of the project", file=sys.stderr)
        return 2
    try:
        return int(getattr(importlib.import_module(module), function)(arguments[1:]))
    except ModuleNotFoundError as error:
        print(f"comity: {arguments[0]} needs {error.name}; run `make install`", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def _usage() -> str:
    lines = [f"  {name:<10} {said}" for name, (_, _, said) in COMMANDS.items()]
    return "\n".join(["usage: comity COMMAND [--help] …", "", *lines])


if __name__ == "__main__":
    sys.exit(main())
