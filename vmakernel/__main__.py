"""The command line: decide, explain, run, explore, and ask your own kernel."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from vmakernel.explain import explain
from vmakernel.flags import InputError
from vmakernel.kernels import kernel, rules_table
from vmakernel.replay import replay

RULE = "a version (6.5), a moment (pre_git), or a version with a test of your own (6.5:both)"
HAS = "what the machine has: some of pkeys,thp,names,softdirty, or none; nothing is guessed"
FILE = "a file of call scenarios, such as 'seg A 12', 'shmat A 0', 'mprotect 4 4 r'; - is the input"


EXAMPLES = {
    "replay": "replay --rule 6.5 < scenarios.txt",
    "explain": "explain --rule 6.3 --rule 6.5 'P=0-4:rw,f1@0,c C=4-8:r,f1@4,c | modify 4-8:rw'",
    "rules": "rules",
    "run": "run program.txt --rule 6.3 --rule 6.5",
    "diff": "diff 6.3 6.5",
    "judge": "judge 6.12",
    "shortest": "shortest --rule 6.5 --until leak --c",
    "live": "live program.txt",
    "fingerprint": "fingerprint",
}


NOT_COMPARED = 3  # the exit status where something could not be predicted or run


class UsageError(InputError):
    """A call of the command line that cannot be carried out; says what to change."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise one sentence instead of printing the whole usage."""
        if message.endswith("--rule"):
            message = "name a rule: --rule 6.5; give it twice to compare two"
        raise UsageError(f"{message}; see {self.prog} --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; 2 after one sentence on wrong input."""
    if sys.stdout is None:  # it was closed before the start (>&-)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter gets its number
            stream.reconfigure(errors="backslashreplace")
    try:
        options = _parser().parse_args(arguments)
        status = int(options.run(options))
        sys.stdout.flush()
    except InputError as error:
        return _complain(error)
    except BrokenPipeError:  # the reader (head, less) has gone
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            raise
        _drop_output()
        return _complain(f"this could not be written: {error.strerror}")
    except KeyboardInterrupt:
        return 130
    return status


def _drop_output() -> None:
    """Keep Python from complaining at exit about what it could not write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(error: object) -> int:
    print(f"vmakernel: {error}", file=sys.stderr)
    return 2


def _parser() -> _Parser:
    parser = _Parser(prog="vmakernel", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], help: str) -> _Parser:
        command: _Parser = commands.add_parser(
            name,
            help=help,
            description=help,
            epilog=f"Example: python3 -m vmakernel {EXAMPLES[name]}",
        )
        command.set_defaults(run=run)
        return command

    command = add("replay", _replay, "decide recorded scenario lines from standard input")
    command.add_argument("--rule", required=True, metavar="RULE", help=RULE)

    command = add("explain", _explain, "explain one scenario, several rules side by side")
    command.add_argument("--rule", action="append", required=True, metavar="RULE", help=RULE)
    command.add_argument("scenario", help="'VMA* | OP', such as 'P=0-4:rw,c | modify 2-4:r'")

    add("rules", _rules, "list the rules of history: versions, commits, whom they ask")

    command = add("run", _run, "predict whole calls, several kernels side by side")
    command.add_argument("file", metavar="FILE", help=FILE)
    command.add_argument("--rule", action="append", required=True, metavar="RULE", help=RULE)
    command.add_argument("--json", action="store_true", help="in the recorded form; one rule")
    command.add_argument("--has", metavar="WHAT", help=HAS)
    command.epilog = f"{command.epilog}. Ends with 3 if there was a call it could not predict."

    command = add("diff", _diff, "all that changes in the small world from one rule to another")
    command.add_argument("before", metavar="RULE", help=RULE)
    command.add_argument("after", metavar="RULE", help=RULE)
    _small_world(command)

    command = add("judge", _judge, "is a rule safe, and does it refuse nothing that would be?")
    command.add_argument("rule", metavar="RULE", help=RULE)
    _small_world(command)

    command = add("shortest", _shortest, "the shortest program that leaks, or tells rules apart")
    command.add_argument("--rule", action="append", required=True, metavar="RULE", help=RULE)
    command.add_argument("--until", required=True, choices=("leak", "differ"))
    command.add_argument(
        "--seconds", type=_positive, default=60.0, help="how long to search at most (60)"
    )
    form = command.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true")
    form.add_argument("--c", action="store_true", help="a C program for a real kernel")
    form.add_argument("--python", action="store_true", help="a Python program for a real kernel")

    command = add("live", _live, "hold the running kernel against the prediction")
    command.add_argument("file", metavar="FILE", help=FILE)
    command.add_argument("--rule", metavar="RULE", help="predict for this kernel, not for your own")
    command.epilog = (
        f"{command.epilog}. Ends with 0 if all went as predicted, 1 if something else happened, "
        "3 if something was not predicted or could not be run."
    )

    command = add("fingerprint", _fingerprint, "find out which rule the running kernel follows")
    command.add_argument(
        "--leak-probe",
        action="store_true",
        help="also tell leak and repair apart (6.4 to 6.11); a leak costs 48 KiB until you restart",
    )
    return parser


def _replay(options: argparse.Namespace) -> int:
    chosen = kernel(options.rule)
    print(f"vmakernel: {options.rule} is {chosen}: {chosen.rule.summary}", file=sys.stderr)
    return replay(chosen, sys.stdin, sys.stdout)


def _explain(options: argparse.Namespace) -> int:
    width = min(shutil.get_terminal_size((100, 24)).columns, 160)
    print(explain([kernel(name) for name in options.rule], options.scenario, width))
    return 0


def _rules(options: argparse.Namespace) -> int:
    print(rules_table())
    return 0


# Whole calls and the live kernel are imported when they are asked for: replay starts without them.


def _read(file: str) -> tuple[str, str]:
    """Return (text, name) of a scenario file."""
    try:
        if file == "-":
            return sys.stdin.buffer.read().decode("utf-8-sig"), "scenario"
        return Path(file).read_text(encoding="utf-8-sig"), Path(file).stem
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise UsageError(f"cannot read {file}: {reason}; name a file of call scenarios") from None


def _run(options: argparse.Namespace) -> int:
    from vmakernel.process import UNKNOWN, machine_with
    from vmakernel.run import predict_all, side_by_side

    kernels = [kernel(rule) for rule in options.rule]
    text, name = _read(options.file)
    if options.json and len(kernels) > 1:
        raise UsageError("--json is about one kernel: give --rule once")
    machine = UNKNOWN if options.has is None else machine_with(options.has)
    told = predict_all(text, kernels, machine=machine, name=name)
    if options.json:
        print("\n".join([prediction.to_json() for (prediction,) in told]))
    else:
        color = sys.stdout.isatty()
        print("\n\n".join([side_by_side(predictions, color=color) for predictions in told]))
    declined = any(prediction.refused for predictions in told for prediction in predictions)
    return NOT_COMPARED if declined else 0


def _small_world(command: _Parser) -> None:
    command.add_argument("--json", action="store_true")
    command.add_argument(
        "--mixed",
        action="store_true",
        help="let VMAs alike in file and flags differ in ->close, which no real driver does",
    )


def _positive(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write seconds, such as 60")
    return seconds


def _diff(options: argparse.Namespace) -> int:
    from vmakernel.explore import diff

    found = diff(kernel(options.before), kernel(options.after), uniform=not options.mixed)
    print(json.dumps(found.as_json()) if options.json else found)
    if found.groups and not options.json:
        print(
            "\nTo open one in the toggle lab, put into a cell: from vmakernel import widgets, and"
        )
        for group in found.groups:
            asked = f'rule="{options.after}", compared="{options.before}"'
            print(f'widgets.toggle_lab("{group.witness}", {asked})')
    return 0


def _judge(options: argparse.Namespace) -> int:
    from vmakernel.explore import judge

    found = judge(kernel(options.rule), uniform=not options.mixed)
    print(json.dumps(found.as_json()) if options.json else found)
    return 0


def _shortest(options: argparse.Namespace) -> int:
    from vmakernel.shortest import Progress, Search

    def show(progress: Progress) -> None:
        print(f"\r{progress}\x1b[K", end="", file=sys.stderr, flush=True)

    search = Search(*[kernel(name) for name in options.rule], until=options.until)
    watched = sys.stderr.isatty()
    search.run(show if watched else None, options.seconds)
    if watched:
        print("\r\x1b[K", end="", file=sys.stderr)
    if options.json:
        print(json.dumps(search.as_json()))
    elif not (options.c or options.python):
        print(search)
    elif search.found is None:
        print(f"vmakernel: {search}", file=sys.stderr)
        return 1
    else:
        print(search.as_c() if options.c else search.as_python())
    return 0


def _live(options: argparse.Namespace) -> int:
    from vmakernel.judge_live import live_report
    from vmakernel.live import LiveError

    chosen = kernel(options.rule) if options.rule else None
    text, name = _read(options.file)
    try:
        report = live_report(text, chosen, name=name)
    except LiveError as error:
        _complain(f"unsupported: {error}")
        return NOT_COMPARED
    print(report.text)
    return report.status


def _fingerprint(options: argparse.Namespace) -> int:
    from vmakernel.live import fingerprint

    print(fingerprint(leak_probe=options.leak_probe))
    return 0


if __name__ == "__main__":
    sys.exit(main())
