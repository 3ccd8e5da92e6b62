"""The VMAs of a real process, as a listing shows them, and what it leaves open.

A line of /proc/PID/maps is a VMA; /proc/PID/smaps adds the flags that the columns of maps do not
show. `pmap -X` and gdb's `info proc mappings` repeat some of it. None shows all that the merge code
compares, so an answer is the first check that is seen to fail, or the checks that stay open.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from vmakernel import flags as vm
from vmakernel.callers import propose
from vmakernel.flags import InputError
from vmakernel.kernels import Kernel
from vmakernel.predicates import ORDER, Verdict, can_vma_merge_after
from vmakernel.space import AddressSpace
from vmakernel.vma import PLAIN_OPS, VMA, VmOps

RECORDED: Final = Path(__file__).with_name("data") / "cat.smaps"

# The two-letter names of flags in smaps (show_smap_vma_flags()) that the engine knows. All others,
# those of kernels to come included, are compared as they stand.
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
    "gu": vm.VM_MAYBE_GUARD,
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
    "um": vm.VM_UFFD_MISSING,
}
_UNNAMED: Final = "??"  # how a kernel writes a flag it has no letters for
_UFFD: Final = {"um", "uw", "ui"}  # while none is set, no userfaultfd is registered
# The last letter tells VM_MAYSHARE: a file opened for reading only is mapped without VM_SHARED.
_PERMS: Final = {"r": vm.VM_READ, "w": vm.VM_WRITE, "x": vm.VM_EXEC, "s": vm.VM_MAYSHARE}

# Who is known by name (as read in 6.12): special mappings, SysV shared memory and huge pages have
# ->close (special_mapping_close(), shm_close(), hugetlb_vm_op_close()); shmem has none.
_SPECIAL: Final = {"[vdso]", "[vvar]", "[vvar_vclock]", "[sigpage]", "[uprobes]"}
_SYSV: Final = re.compile(r"/?SYSV[0-9a-f]{8}( \(deleted\))?")
_HUGE: Final = re.compile(r"/?anon_hugepage( \(deleted\))?")
_SHARED: Final = re.compile(r"/dev/zero \(deleted\)|\[anon_shmem:.*\]")
_HIDES_NAME: Final = re.compile(r"\[(heap|stack(:\d+)?)\]")

_QUOTED: Final = re.compile(r"[\s>|]+")
# Other text may stand before the columns, such as the number of a line.
_MAPS: Final = re.compile(
    r"(?<![0-9a-f])([0-9a-f]{1,16})-([0-9a-f]{1,16})\s+([r-][w-][x-][sp])\s+([0-9a-f]{1,16})"
    r"\s+([0-9a-f]+:[0-9a-f]+)\s+(\d{1,20})(?:\s+(.*))?$"
)
_GDB: Final = re.compile(
    r"\b0x([0-9a-f]{1,16})\s+0x([0-9a-f]{1,16})\s+0x[0-9a-f]{1,16}\s+0x([0-9a-f]{1,16})"
    r"\s+([r-][w-][x-][sp])(?:\s+(.*))?$"
)
_PMAP: Final = ["Address", "Perm", "Offset", "Device", "Inode", "Size"]
_PMAP_ROW: Final = re.compile(
    r"([0-9a-f]{1,16}) ([r-][w-][x-][sp]) ([0-9a-f]{1,16}) ([0-9a-f]+:[0-9a-f]+) (\d{1,20})"
    r" (\d{1,16})"
)
_FIELD: Final = re.compile(
    r"\b(?:(VmFlags):(.*)|(ProtectionKey):\s*(\d{1,9})|([A-Z]\w+):\s+\d+(?: kB)?)$"
)


class MapsError(InputError):
    """A text in which no line of a memory map could be read."""


class Line(NamedTuple):
    """One line of a listing, in pages; what it does not show is left empty."""

    start: int
    end: int
    perms: str
    pgoff: int
    path: str
    flags: str = ""  # the letters of VmFlags
    device: str = ""
    inode: int = 0
    key: int | None = None  # ProtectionKey, a part of vm_flags

    @property
    def pages(self) -> int:
        """The length in pages."""
        return self.end - self.start

    @property
    def name(self) -> str:
        """What is mapped: the file without its folders, [heap] and the like, or anonymous."""
        if self.path.startswith("["):
            return self.path
        return self.path.rpartition("/")[2] or ("anonymous" if self.anonymous else "a file")

    @property
    def anonymous(self) -> bool:
        """True where there is no vm_file: private anonymous memory, and mappings of the kernel."""
        if self.inode or self.device.strip("0:"):
            return False
        return not self.path or (self.path[0] == "[" and not _SHARED.fullmatch(self.path))

    @property
    def anon_name(self) -> str:
        """The name that prctl() gave it, as far as it is shown."""
        match = re.fullmatch(r"\[anon(?:_shmem)?:(.*)\]", self.path)
        return match[1] if match else ""

    @property
    def close(self) -> bool | None:
        """Whether it has ->close, None where that is not shown."""
        if self.path in _SPECIAL or _HUGE.fullmatch(self.path) or "ht" in self.flags.split():
            return True
        if self.perms[-1] == "s" and _SYSV.fullmatch(self.path):
            return True
        if _SHARED.fullmatch(self.path) or (self.anonymous and not self.path):
            return False
        plain = _HIDES_NAME.fullmatch(self.path) or self.anon_name
        return False if self.anonymous and plain else None

    def vma(self, name: str, *, hidden: bool = True) -> VMA:
        """Return the engine's VMA for this line; `hidden`: with the flags that only smaps shows."""
        vm_flags = 0
        if hidden and self.flags:
            for flag in self.flags.split():
                vm_flags |= _VM_FLAGS.get(flag, 0)
        else:
            for letter in self.perms:
                vm_flags |= _PERMS.get(letter, 0)
        ops = None if self.anonymous else PLAIN_OPS
        if self.close:
            ops = VmOps(close=True)
        return VMA(
            name,
            self.start,
            self.end,
            vm_flags,
            self._file,
            # /proc shows no offset where there is no file.
            self.start if self.anonymous else self.pgoff,
            ops,
            anon_name=self.anon_name,
            anon_pgoff=self.start,
        )

    @property
    def _file(self) -> str | None:
        if self.anonymous:
            return None
        # A name stands in the place of the path.
        path = "zero" if _SHARED.fullmatch(self.path) else self.path
        return f"{self.device} {self.inode} {path}"


# What may differ in a check that is left open.
_OPEN: Final = {
    Verdict.POLICY: "a memory policy",
    Verdict.FLAGS: "flags that are not shown",
    Verdict.FILE: "the file opened twice",
    Verdict.CLOSE: "an owner with close",
    Verdict.UFFD: "userfaultfd",
    Verdict.NAME: "a name behind [heap] or [stack]",
    Verdict.ANON_VMA: "the anonymous pages behind it",
    Verdict.PGOFF: "an offset kept from where it was before",
}


class Answer(NamedTuple):
    """What a listing tells of two neighbours: the first check seen to fail, or those left open."""

    fails: Verdict | None
    open: tuple[Verdict, ...]
    differs: str = ""

    @property
    def why(self) -> str:
        """What differs; or, where nothing shown does, what still could."""
        return self.differs or ", ".join([_OPEN[check] for check in self.open])

    def __str__(self) -> str:
        return self.fails.value if self.fails else NOT_TOLD


NOT_TOLD: Final = "not told"


class Pair(NamedTuple):
    """Two lines that touch, and what keeps them apart."""

    left: Line
    right: Line
    maps: Answer  # by what /proc/PID/maps shows
    smaps: Answer  # by the flags of smaps as well, where the listing has them

    def __str__(self) -> str:
        left, right = (f"{line.perms} {line.name[:18]}" for line in self[:2])
        return f"{left:24}| {right:24} {self.maps}"


def compare(kernel: Kernel, left: Line, right: Line, *, hidden: bool = True) -> Answer:
    """Return what keeps two touching lines apart; `hidden`: by the flags of smaps as well."""
    hidden = hidden and bool(left.flags and right.flags)
    one, two = left.vma("left", hidden=hidden), right.vma("right", hidden=hidden)
    if _hides_name(left, right):
        two = two._replace(anon_name=one.anon_name)
    space = AddressSpace((one, two))
    proposal = propose(space, two, two.vm_start, two.vm_end, two.vm_flags)
    rule = kernel.rule
    seen = {can_vma_merge_after(kernel, proposal)} - {Verdict.OK}
    # To become one VMA, the right one would have to go.
    if rule.refuses_prev(one, proposal) or rule.refuses_removal(two, proposal, 7):
        seen.add(Verdict.CLOSE)
    letters = _letters(kernel, left, right) if hidden else ""
    if not letters and left.perms != right.perms:
        letters = f"{left.perms} and {right.perms}"
    if not letters and (special := one.vm_flags & kernel.special_flags):
        letters = f"memory with {vm.names(special)} never merges"
    if letters:
        seen.add(Verdict.FLAGS)
    if not seen:
        return Answer(None, _left_open(kernel, left, right, hidden=hidden))
    first = min(seen, key=ORDER.index)
    says = {
        Verdict.FLAGS: letters,
        Verdict.FILE: "another path, device or inode",
        Verdict.CLOSE: f"{right.name} has close"
        + ("; two attaches, or two pieces of one" if _SYSV.fullmatch(right.path) else ""),
        Verdict.NAME: f"{left.anon_name or 'no name'} and {right.anon_name or 'no name'}",
        Verdict.PGOFF: f"offset {right.pgoff}, not {left.pgoff + left.pages}",
    }
    return Answer(first, (), says.get(first) or first.value)


def _hides_name(left: Line, right: Line) -> bool:
    """True where the word [heap] or [stack] stands in the place of a name."""
    return any(line.anonymous and _HIDES_NAME.fullmatch(line.path) for line in (left, right))


def _letters(kernel: Kernel, left: Line, right: Line) -> str:
    """Say which of the flags that count only one of the lines shows."""
    ignored = {name for name, bit in _VM_FLAGS.items() if bit & kernel.ignored_flags}
    ours, theirs = ([f for f in line.flags.split() if f not in ignored] for line in (left, right))
    differs = [
        f"{' '.join(only)} only on the {side}"
        for side, has, other in (("left", ours, theirs), ("right", theirs, ours))
        if (only := [f for f in has if has.count(f) > other.count(f)])
    ]
    # A listing that names the key of one line only was shortened by hand.
    if (left.key or 0) != (right.key or 0):
        differs.append(f"protection keys {left.key or 0} and {right.key or 0}")
    return "; ".join(differs)


def _left_open(kernel: Kernel, left: Line, right: Line, *, hidden: bool) -> tuple[Verdict, ...]:
    """Return the checks in which two lines that look alike may still differ."""
    flags = left.flags.split()
    private = left.perms[-1] == "p"
    asks_close = kernel.rule.after or kernel.rule.asks_removal(7)
    could = {
        Verdict.POLICY: True,
        Verdict.FLAGS: not hidden or _UNNAMED in flags or None in (left.key, right.key),
        Verdict.FILE: not left.anonymous,
        Verdict.CLOSE: asks_close and None in (left.close, right.close),
        Verdict.UFFD: kernel.has_uffd and (not hidden or bool(_UFFD & set(flags))),
        Verdict.NAME: kernel.has_anon_name and _hides_name(left, right),
        Verdict.ANON_VMA: private,
        Verdict.PGOFF: left.anonymous or (kernel.anon_pgoff and private),
    }
    return tuple([check for check in ORDER if could[check]])


class Maps:
    """All lines of one process, lowest address first, and where they come from."""

    def __init__(self, lines: Iterable[Line], source: str, passed_over: int = 0) -> None:
        self.lines = tuple(lines)
        self.source = source
        self.passed_over = passed_over  # rows of the text that are no part of a map

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
        if self.passed_over:
            rows.append(f"rows passed over: {self.passed_over}")
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
        return [
            Pair(
                left,
                right,
                compare(kernel, left, right, hidden=False),
                compare(kernel, left, right),
            )
            for left, right in zip(self.lines, self.lines[1:], strict=False)
            if left.end == right.start
        ]


def parse(text: str, source: str, page: int = mmap.PAGESIZE) -> Maps:
    """Return the VMAs in a listing written on a machine with pages of `page` bytes.

    Reads /proc/PID/maps and smaps, `pmap -X` (and `-XX`) and gdb's `info proc mappings`, quoted or
    with other text between; rows that are none of it are counted. Raises MapsError.
    """
    lines: list[Line] = []
    passed_over = 0
    header = ""
    for row in text.split("\n"):
        # The columns stay where they are.
        if mark := _QUOTED.match(row):
            row = " " * mark.end() + row[mark.end() :]
        row = row.rstrip()
        if row.split()[:6] == _PMAP and "Mapping" in row:
            header = row
        elif line := _read(row, header, page):
            lines.append(line)
        elif lines and (field := _FIELD.search(row)):
            lines[-1] = _add(lines[-1], field)
        elif row:
            passed_over += 1
    if not lines:
        raise MapsError(
            f"no line of a memory map in {source}: give what /proc/PID/maps, /proc/PID/smaps, "
            f"`pmap -X PID` or gdb's `info proc mappings` shows, with pages of {page} bytes"
        )
    return Maps(lines, source, passed_over)


def _add(line: Line, field: re.Match[str]) -> Line:
    if field[1]:
        return line._replace(flags=" ".join(field[2].split()))
    if field[3]:
        return line._replace(key=int(field[4]))
    # A whole entry names the key wherever the processor has keys; a cut one may have lost it.
    return line._replace(key=0) if field[5] == "Rss" and line.key is None else line


def _read(row: str, header: str, page: int) -> Line | None:
    """Return the VMA in this row, or None."""
    flags, key = "", None
    device, inode = "", 0
    if match := _MAPS.search(row):
        start, end, offset = (int(match[at], 16) for at in (1, 2, 4))
        perms, path, device, inode = match[3], match[7], match[5], int(match[6])
    elif match := _GDB.search(row):
        start, end, offset = (int(match[at], 16) for at in (1, 2, 3))
        perms, path = match[4], match[5]
    elif header:
        # Both the flags and the mapping may be "sh" or "dd": only the place tells them apart.
        place = header.index("Mapping")
        names, cells, path = header[:place].split(), row[:place].split(), row[place:]
        match = _PMAP_ROW.fullmatch(" ".join(cells[:6]))
        if match is None:
            return None
        start, offset = int(match[1], 16), int(match[3], 16)
        end = start + int(match[6]) * 1024
        perms, device, inode = match[2], match[4], int(match[5])
        if "VmFlags" in names:
            flags = " ".join(cells[names.index("VmFlags") :])
            key = 0
        named = dict(zip(names, cells, strict=False)).get("ProtectionKey", "")
        key = int(named[:9]) if named.isdecimal() else key
    else:
        return None
    if start >= end or (start | end | offset) % page:
        return None
    return Line(
        start // page, end // page, perms, offset // page, path or "", flags, device, inode, key
    )


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
        with suppress(MapsError):
            return parse(text, f"this process, on Linux {os.uname().release}")
    return recorded()
