"""Replay: recorded proposals in, results out, in exactly the recorded form.

Previous: callers.py; next: explain.py.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple, TextIO

from vmakernel import callers
from vmakernel.callers import Result
from vmakernel.flags import InputError, NotationError, parse_flags, parse_page
from vmakernel.kernels import Kernel
from vmakernel.layout import parse_layout
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, Attributes, ops_of, parse_attributes, parse_range, parse_vma


class Operation(NamedTuple):
    """One operation of a scenario line, parsed."""

    kind: str
    start: int
    end: int
    vm_flags: int | None = None  # None: keep what the VMA has
    attributes: Attributes = Attributes()
    name: str = ""  # mremap: the VMA to grow, by end - start pages
    text: str = ""  # as it was written

    def __str__(self) -> str:
        return self.text


_IDENTITY: Final = re.compile(r"[^=|\s]*(?:\d[^=|\s]*|:)")
KINDS: Final = ("new", "mmap", "brk", "modify", "mremap", "protect", "unmap")


@lru_cache(maxsize=65536)
def parse_operation(text: str) -> Operation:
    """Return the operation in `text`, such as ``modify 4-8:rw``.

    Raises NotationError.
    """
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind not in KINDS:
        raise NotationError(_unknown(kind))
    if kind == "mremap":
        name, plus, pages = rest.rpartition("+")
        if not plus or not pages.isdecimal() or not pages.strip("0"):
            raise NotationError(f"{text!r}: write mremap NAME+PAGES, such as mremap P+4")
        return Operation(kind, 0, parse_page(pages), name=name.strip(), text=text)
    place, colon, what = rest.partition(":")
    flags, _, attributes = what.partition(",")
    if not colon:
        place, _, attributes = rest.partition(",")
    start, end = parse_range(place)
    if kind == "unmap":
        if colon or attributes:
            raise NotationError(f"{text!r}: unmap takes a range alone, such as unmap 4-8")
        return Operation(kind, start, end, text=text)
    if kind != "modify" and not colon:
        raise NotationError(f"{text!r}: write flags behind the range, such as {kind} {place}:rw")
    keep = kind == "modify" and (not colon or flags in ("", "="))
    vm_flags = None if keep else parse_flags(flags)
    return Operation(kind, start, end, vm_flags, parse_attributes(attributes), text=text)


def _unknown(kind: str) -> str:
    if not kind:
        return "an operation is missing: write one, or remove the ; before it"
    known = {**{name: name for name in KINDS}, "munmap": "unmap", "mprotect": "protect"}
    close = difflib.get_close_matches(kind, known, n=1)
    hint = f"did you mean {known[close[0]]}?" if close else f"use one of {', '.join(KINDS)}"
    return f"unknown operation {kind!r}: {hint}"


def run(space: AddressSpace, kernel: Kernel, operation: Operation) -> Result:
    """Run one operation on `space`.

    Raises NotationError where the operation does not fit the space.
    """
    kind, start, end, vm_flags, attributes, name, _ = operation
    if kind == "mremap":
        vma = space.named(name)
        if vma is None:
            raise NotationError(f"mremap {name}+{end}: there is no VMA {name}")
        return callers.mremap(space, kernel, vma, end)
    if kind == "unmap":
        return callers.unmap(space, kernel, start, end)
    if kind == "protect":
        assert vm_flags is not None
        return callers.protect(space, kernel, start, end, vm_flags)
    _, curr, next = space.neighbours(start, end)
    if kind == "modify":
        if curr is None or curr.vm_end < end:
            raise NotationError(f"modify {start}-{end} must lie inside one VMA")
        proposal = callers.propose(
            space, curr, start, end, curr.vm_flags if vm_flags is None else vm_flags
        )
        if attributes.userfaultfd is not None:
            proposal = proposal._replace(userfaultfd=attributes.userfaultfd)
        if attributes.anon_name is not None:
            proposal = proposal._replace(anon_name=attributes.anon_name)
        if attributes.policy is not None:
            proposal = proposal._replace(policy=attributes.policy)
        return callers.modify(space, kernel, proposal)
    if curr is not None or (next is not None and next.vm_start < end):
        raise NotationError(f"{kind} {start}-{end} overlaps {curr or next}: choose unmapped pages")
    assert vm_flags is not None
    file = attributes.vm_file
    pgoff = start if attributes.vm_pgoff is None else attributes.vm_pgoff
    like = VMA(
        "new",
        start,
        end,
        vm_flags,
        file,
        pgoff,
        ops_of(file, close=attributes.close),
        attributes.anon_vma,
        attributes.userfaultfd or "",
        attributes.anon_name or "",
        attributes.policy or "",
        start if file is not None else pgoff,
    )
    propose = {"new": callers.new, "mmap": callers.mmap, "brk": callers.brk}[kind]
    return propose(space, kernel, like)


def parse_scenario(text: str) -> tuple[str, list[VMA], list[Operation]]:
    """Return (ID, VMAs, operations) of ``[ID] VMA* | OP [; OP]*``; the layout may be a strip.

    Raises NotationError.
    """
    layout, bar, operations = text.strip().rpartition("|")
    if not bar or not operations.strip():
        raise NotationError(
            f"no operation in {text.strip()!r}: write VMA* | OP, such as P=0-4:rw | modify 2-4:r"
        )
    identity, _, rest = layout.strip().partition(" ")
    if not _IDENTITY.fullmatch(identity):
        identity, rest = "", layout
    return identity, parse_layout(rest), parse_operations(operations)


def parse_operations(text: str) -> list[Operation]:
    """Return the operations in ``OP [; OP]*``.

    Raises NotationError.
    """
    return [parse_operation(part.strip()) for part in text.split(";")]


def replay_line(kernel: Kernel, line: str) -> str:
    """Return the result line of one scenario line; ``ID error …`` where the era had no such flag.

    Raises NotationError or SpaceError for a malformed line.
    """
    identity, _, rest = line.strip().partition(" ")
    layout, bar, operations = rest.rpartition("|")
    if not bar:
        raise NotationError(f"no | in {line.strip()!r}: write ID VMA* | OP [; OP]*")
    space = AddressSpace([parse_vma(word) for word in layout.split()])
    parsed = parse_operations(operations)
    if kernel.absent_flags:
        for flags in [vma.vm_flags for vma in space.tree] + [op.vm_flags or 0 for op in parsed]:
            if flags & kernel.absent_flags:
                return f"{identity} error flag not in this era"
    results = [run(space, kernel, operation) for operation in parsed]
    if len(results) == 1 and results[0].status == "no":
        return f"{identity} no"
    return f"{identity} {print_result(space, results)}"


def print_result(space: AddressSpace, results: list[Result]) -> str:
    """Return the recorded form of what happened."""
    statuses = [
        f"{status}:{vma.name}={vma.vm_start}-{vma.vm_end}" if vma else status
        for status, vma, _ in results
    ]
    log = space.log
    parts = [
        "/".join(statuses),
        "as=" + (";".join([str(vma) for vma in space.tree]) or "-"),
        "removed=" + (",".join(log.removed) or "-"),
        "closed=" + (",".join(log.closed) or "-"),
        "leaked=" + (",".join(log.leaked) or "-"),
    ]
    if log.opened:
        parts.append("opened=" + ",".join(log.opened))
    if log.dups:
        parts.append("dup=" + ",".join([f"{to}<{source}" for to, source in log.dups]))
    return " ".join(parts)


def replay(kernel: Kernel, lines: Iterable[str], out: TextIO) -> int:
    """Write a result line to `out` for each scenario line; return 2 if one was malformed."""
    malformed = 0
    for line in lines:
        if not line.strip():
            continue
        try:
            out.write(replay_line(kernel, line) + "\n")
        except InputError as error:
            malformed = 2
            out.write(f"{line.split(maxsplit=1)[0]} error {error}\n")
    return malformed
