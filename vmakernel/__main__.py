"""The command line: ``python -m vmakernel replay``, ``explain`` and ``rules``."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence

from vmakernel.explain import explain
from vmakernel.flags import NotationError
from vmakernel.kernels import Kernel, UnknownKernel, kernel, rules_table
from vmakernel.replay import replay
from vmakernel.space import SpaceError


class UsageError(ValueError):
    """A call of the command line that cannot be carried out; says what to change."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence."""

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise UsageError instead of printing the whole usage."""
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; 2 after one sentence on wrong input."""
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except (NotationError, SpaceError, UnknownKernel, UsageError) as error:
        print(f"vmakernel: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, less) has gone; keep Python from complaining about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _parser() -> Parser:
    parser = Parser(prog="vmakernel", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    command = commands.add_parser(
        "replay", help="decide recorded scenario lines from standard input"
    )
    command.add_argument("--rule", required=True, metavar="RULE", help=_RULE_HELP)
    command.set_defaults(run=_replay)
    command = commands.add_parser("explain", help="explain one scenario under one rule or several")
    command.add_argument("--rule", action="append", required=True, metavar="RULE", help=_RULE_HELP)
    command.add_argument("scenario", help="'VMA* | OP', such as 'P=0-4:rw,c | modify 2-4:r'")
    command.set_defaults(run=_explain)
    command = commands.add_parser("rules", help="list the rules of history with their commits")
    command.set_defaults(run=_rules)
    return parser


_RULE_HELP = "a version (6.5), a moment (pre_git) or a test of your own (6.5:both)"


def _replay(options: argparse.Namespace) -> int:
    chosen = kernel(options.rule)
    _say(chosen, options.rule)
    return replay(chosen, sys.stdin, sys.stdout)


def _say(chosen: Kernel, name: str) -> None:
    print(f"vmakernel: {name} is {chosen}: {chosen.rule.summary}", file=sys.stderr)


def _explain(options: argparse.Namespace) -> int:
    width = min(shutil.get_terminal_size((100, 24)).columns, 160)
    print(explain([kernel(name) for name in options.rule], options.scenario, width))
    return 0


def _rules(options: argparse.Namespace) -> int:
    print(rules_table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
