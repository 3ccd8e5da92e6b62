"""The VMAs of a real process, as /proc/self/smaps lists them, or a recording of some.

A line of /proc/self/maps is a VMA; smaps adds the flags that the columns of maps do not show.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from vmakernel import flags as vm
from vmakernel.callers import propose
from vmakernel.kernels import Kernel
from vmakernel.predicates import Verdict, can_vma_merge_after
from vmakernel.space import AddressSpace
from vmakernel.vma import PLAIN_OPS, VMA

RECORDED: Final = Path(__file__).with_name("data") / "cat.smaps"

# The two-letter names of flags in smaps (show_smap_vma_flags()) that the merge code may look at.
_VM_FLAGS: Final = {
    "rd": vm.VM_READ,
    "wr": vm.VM_WRITE,
    "ex": vm.VM_EXEC,
    "sh": vm.VM_SHARED,
    "mr": vm.VM_MAYREAD,
    "mw": vm.VM_MAYWRITE,
    "me": vm.VM_MAYEXEC,
    "ms": vm.VM_MAYSHARE,
    "gd": vm.VM_GROWSDOWN,
    "pf": vm.VM_PFNMAP,
    "lo": vm.VM_LOCKED,
    "io": vm.VM_IO,
    "sr": vm.VM_SEQ_READ,
    "rr": vm.VM_RAND_READ,
    "dc": vm.VM_DONTCOPY,
    "de": vm.VM_DONTEXPAND,
    "ac": vm.VM_ACCOUNT,
    "nr": vm.VM_NORESERVE,
    "dd": vm.VM_DONTDUMP,
    "sd": vm.VM_SOFTDIRTY,
    "mm": vm.VM_MIXEDMAP,
    "hg": vm.VM_HUGEPAGE,
    "nh": vm.VM_NOHUGEPAGE,
}
_PERMS: Final = {"r": vm.VM_READ, "w": vm.VM_WRITE, "x": vm.VM_EXEC, "s": vm.VM_SHARED}
_LINE: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) \S+ \d+ *(.*)")


class Line(NamedTuple):
    """One line of a maps file, in pages; `flags` is what smaps adds, "" if only maps was read."""

    start: int
    end: int
    perms: str
    pgoff: int
    path: str
    flags: str = ""

    @property
    def pages(self) -> int:
        """The length in pages."""
        return self.end - self.start

    @property
    def name(self) -> str:
        """What is mapped: the file without its folders, [heap] and the like, or anonymous."""
        return self.path.rpartition("/")[2] or "anonymous"

    def vma(self, name: str, *, hidden: bool = True) -> VMA:
        """Return the engine's VMA for this line; `hidden`: with the flags that only smaps shows."""
        vm_flags = 0
        for letter in self.perms:
            vm_flags |= _PERMS.get(letter, 0)
        for flag in self.flags.split() if hidden else ():
            vm_flags |= _VM_FLAGS.get(flag, 0)
        file = self.path or None
        pgoff = self.pgoff if file else self.start
        ops = PLAIN_OPS if file else None
        return VMA(name, self.start, self.end, vm_flags, file, pgoff, ops, anon_pgoff=self.start)


class Pair(NamedTuple):
    """Two lines that touch, and the first check between them that fails."""

    left: Line
    right: Line
    maps: Verdict  # by what /proc/self/maps shows
    smaps: Verdict  # by what smaps shows as well

    def __str__(self) -> str:
        left, right = (f"{line.perms} {line.name[:18]}" for line in self[:2])
        return f"{left:24}| {right:24} {self.maps}"


class Maps:
    """All lines of one process, lowest address first, and where they come from."""

    def __init__(self, lines: Iterable[Line], source: str) -> None:
        self.lines = tuple(lines)
        self.source = source

    def __len__(self) -> int:
        return len(self.lines)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    def __repr__(self) -> str:
        # No number and no address: the same on every machine.
        order = "lowest address first" if self.ordered else "out of order"
        return f"VMAs, one to a line, {order}, {'none' if self.disjoint else 'some'} overlapping"

    def __str__(self) -> str:
        rows = [f"{'line':>4} {'pages':>6}  perms  {'offset':>6}  what is mapped"]
        for number, line in enumerate(self.lines):
            rows.append(f"{number:4} {line.pages:6}  {line.perms}   {line.pgoff:6}  {line.name}")
        return "\n".join(rows)

    @property
    def ordered(self) -> bool:
        """True where each line starts above the one before."""
        starts = [line.start for line in self.lines]
        return starts == sorted(starts)

    @property
    def disjoint(self) -> bool:
        """True where no line overlaps the next."""
        return all(a.end <= b.start for a, b in zip(self.lines, self.lines[1:], strict=False))

    def touching(self, kernel: Kernel) -> list[Pair]:
        """Return the neighbours without a gap between them, each with what keeps them apart."""
        shown = self._verdicts(kernel, hidden=False)
        told = self._verdicts(kernel, hidden=True)
        return [
            Pair(left, right, shown[right], told[right])
            for left, right in zip(self.lines, self.lines[1:], strict=False)
            if left.end == right.start
        ]

    def _verdicts(self, kernel: Kernel, *, hidden: bool) -> dict[Line, Verdict]:
        vmas = [line.vma(f"L{at}", hidden=hidden) for at, line in enumerate(self.lines)]
        space = AddressSpace(vmas)
        verdicts = {}
        for line, vma in zip(self.lines[1:], vmas[1:], strict=True):
            proposal = propose(space, vma, vma.vm_start, vma.vm_end, vma.vm_flags)
            verdicts[line] = can_vma_merge_after(kernel, proposal)
        return verdicts


def parse(text: str, source: str, page: int = mmap.PAGESIZE) -> Maps:
    """Return the lines of a maps or smaps file written with pages of `page` bytes.

    Rows that are neither a VMA nor its VmFlags are passed by.
    """
    lines: list[Line] = []
    for row in text.splitlines():
        if match := _LINE.fullmatch(row.rstrip()):
            start, end, offset = (int(match[at], 16) // page for at in (1, 2, 4))
            lines.append(Line(start, end, match[3], offset, match[5]))
        elif row.startswith("VmFlags:") and lines:
            lines[-1] = lines[-1]._replace(flags=row.removeprefix("VmFlags:").strip())
    return Maps(lines, source)


def recorded() -> Maps:
    """Return the VMAs of the program `cat`, recorded on Linux 6.18 (x86-64, pages of 4 KiB)."""
    text = RECORDED.read_text(encoding="ascii")
    return parse(text, "the program cat, recorded on Linux 6.18", page=4096)


def mine() -> Maps:
    """Return the VMAs of this very process, or the recording where /proc cannot be read."""
    for name in ("smaps", "maps"):
        try:
            text = Path("/proc/self", name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if found := parse(text, f"this process, on Linux {os.uname().release}"):
            return found
    return recorded()
