"""What real kernels did: the recordings that the lessons put beside the engine's answer.

Two kinds. *Decisions*: the merge functions of each version's own source, compiled and asked about
the eight cases, with ->close on every choice of VMAs. *Calls*: whole programs of memory calls on
running kernels. `tools/evidence.py` picked both from larger sets; the tests replay the engine on
those.
"""

from __future__ import annotations

import errno
import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, Final

from vmakernel.flags import NotationError
from vmakernel.replay import parse_scenario
from vmakernel.scenario import Recording
from vmakernel.vma import CLOSE_OPS

DATA: Final = Path(__file__).with_name("data")
CASES: Final = (1, 2, 3, 4, 5, 6, 7, 8)


@cache
def _decided() -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / "cases.json").read_text(encoding="ascii"))
    return data


def situation(case: int | str, close: str = "") -> str:
    """Return the scenario that stands for a case, with ->close on the VMAs named in `close`.

    `case` is 1 to 8, "mremap" (growth in place) or "mremap+N" (growth that closes a hole);
    `close` is some of the letters P, C and N, or "all". Raises NotationError.
    """
    known = _decided()["situations"]
    if str(case) not in known:
        raise NotationError(f"there is no case {case!r}: write one of {', '.join(known)}")
    text = known[str(case)]
    _, vmas, _ = parse_scenario(text)
    names = [vma.name for vma in vmas] if close == "all" else list(close)
    if strange := sorted(set(names) - {vma.name for vma in vmas} - set("PCN")):
        there = "".join([vma.name for vma in vmas])
        raise NotationError(
            f"close={close!r} names no VMA {strange[0]!r}: use letters out of {there}, or 'all'"
        )
    told = [vma._replace(vm_ops=CLOSE_OPS) if vma.name in names else vma for vma in vmas]
    return f"{' '.join(map(str, told))} | {text.partition(' | ')[2]}"


def decided(case: int | str, close: str = "") -> dict[str, str]:
    """Return what each group of kernel versions decided: ``P0-8 N8-12 -C leak C``, or no.

    ``-C``: C was removed; ``leak C``: and its ->close, owed, was not called.
    """
    _, vmas, _ = parse_scenario(situation(case))
    held = "".join([v.name for v in vmas if close == "all" or v.name in close]) or "-"
    cells = _decided()["measured"][f"{case} {held}"].split(" | ")
    return dict(zip(groups(), cells, strict=True))


def groups() -> dict[str, list[str]]:
    """Return the groups of versions that decided alike, oldest first, each with its versions."""
    found: dict[str, list[str]] = _decided()["groups"]
    return found


def closes(case: int | str) -> list[str]:
    """Return every choice of VMAs that was recorded as having ->close in this case, "" for none."""
    found = [key.split() for key in _decided()["measured"]]
    return [close.strip("-") for name, close in found if name == str(case)]


@cache
def _calls() -> dict[tuple[str, str], Recording]:
    found = {}
    for line in gzip.decompress((DATA / "calls.jsonl.gz").read_bytes()).decode().splitlines():
        data = json.loads(line)
        found[data.pop("kernel"), data["scenario"]] = Recording.from_json(json.dumps(data))
    return found


def kernels() -> list[str]:
    """Return the kernels whose calls were recorded, oldest first."""
    return list(dict.fromkeys([kernel for kernel, _ in _calls()]))


def calls(kernel: str, scenario: str) -> Recording:
    """Return what a running kernel did with a program of calls.

    Raises NotationError, naming what there is.
    """
    if kernel not in kernels():
        raise NotationError(f"Linux {kernel} was not recorded: there are {', '.join(kernels())}")
    if (kernel, scenario) not in _calls():
        known = [name for version, name in _calls() if version == kernel]
        raise NotationError(f"no recording of {scenario!r} on {kernel}: there are {known}")
    return _calls()[kernel, scenario]


def shown(recording: Recording) -> str:
    """Return a recording as text: a call to a line, what the kernel answered, the VMAs after it."""
    rows = []
    for step in recording.steps:
        told = step.errno or "ok"
        vmas = " | ".join([" ".join(line.split()[:2]) for line in step.layout]) or "nothing mapped"
        nattch = f"  nattch {step.nattch['A']}" if step.nattch and "A" in step.nattch else ""
        rows.append(f"{step.call!s:18} {told:7} {vmas}{nattch}")
    left = recording.nattch_after_exit.get("A")
    if left is not None:  # a negative number is the errno of whoever asked
        told = f"nattch {left}" if left >= 0 else f"no such segment ({errno.errorcode[-left]})"
        rows.append(f"{'exit':26} {told}")
    return "\n".join(rows)
