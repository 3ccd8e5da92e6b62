"""Replay: recorded proposals in, results out, in exactly the recorded form.

Previous: callers.py; next: explain.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from vmakernel import callers
from vmakernel.callers import Result
from vmakernel.flags import NotationError, parse_flags
from vmakernel.kernels import Kernel
from vmakernel.space import AddressSpace, SpaceError
from vmakernel.vma import VMA, Attributes, ops_of, parse_attributes, parse_range, parse_vma


class Operation(NamedTuple):
    """One operation of a scenario line, parsed."""

    kind: str
    start: int
    end: int
    vm_flags: int | None = None  # None: keep what the VMA has
    attributes: Attributes = Attributes()
    name: str = ""  # mremap: the VMA to grow, by end - start pages


KINDS = ("new", "mmap", "modify", "mremap", "protect", "unmap")


@lru_cache(maxsize=65536)
def parse_operation(text: str) -> Operation:
    """Return the operation in `text`, such as ``modify 4-8:rw``.

    Raises NotationError.
    """
    kind, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if kind not in KINDS:
        raise NotationError(f"unknown operation {kind!r}: use one of {', '.join(KINDS)}")
    if kind == "mremap":
        name, plus, pages = rest.rpartition("+")
        if not plus or not pages.isdecimal() or int(pages) == 0:
            raise NotationError(f"{text!r}: write mremap NAME+PAGES, such as mremap P+4")
        return Operation(kind, 0, int(pages), name=name.strip())
    place, colon, what = rest.partition(":")
    flags, _, attributes = what.partition(",")
    if not colon:
        place, _, attributes = rest.partition(",")
    start, end = parse_range(place)
    if kind == "unmap":
        if colon or attributes:
            raise NotationError(f"{text!r}: unmap takes a range alone, such as unmap 4-8")
        return Operation(kind, start, end)
    if kind != "modify" and not colon:
        raise NotationError(f"{text!r}: write flags behind the range, such as {kind} {place}:rw")
    keep = kind == "modify" and (not colon or flags in ("", "="))
    return Operation(
        kind, start, end, None if keep else parse_flags(flags), parse_attributes(attributes)
    )


def run(space: AddressSpace, kernel: Kernel, operation: Operation) -> Result:
    """Run one operation on `space`.

    Raises NotationError where the operation does not fit the space.
    """
    kind, start, end, vm_flags, attributes, name = operation
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
    prev, curr, next = space.neighbours(start, end)
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
    return (callers.new if kind == "new" else callers.mmap)(space, kernel, like)


def replay_line(kernel: Kernel, line: str) -> str:
    """Return the result line of one scenario line; ``ID error …`` where it cannot be expressed."""
    identity, _, rest = line.strip().partition(" ")
    try:
        layout, bar, operations = rest.partition("|")
        if not bar:
            raise NotationError("no | between VMAs and operations: write ID VMA* | OP [; OP]*")
        return f"{identity} {_replay(kernel, layout, operations)}"
    except (NotationError, SpaceError) as error:
        return f"{identity} error {error}"


def _replay(kernel: Kernel, layout: str, operations: str) -> str:
    space = AddressSpace([parse_vma(word) for word in layout.split()])
    parsed = [parse_operation(text.strip()) for text in operations.split(";")]
    if kernel.absent_flags:
        for flags in [vma.vm_flags for vma in space.tree] + [op.vm_flags or 0 for op in parsed]:
            if flags & kernel.absent_flags:
                raise NotationError("flag not in this era")
    results = [run(space, kernel, operation) for operation in parsed]
    if len(results) == 1 and results[0].status == "no":
        return "no"
    return print_result(space, results)


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
