"""A process: its address space, the SysV segments it attaches, and what its page faults leave.

Previous: scenario.py; next: mremap.py.

A fault on private memory gives the VMA an anon_vma, and that decides later merges. A segment counts
its attaches: one for each VMA of each process, and one for every VMA a merge removed without
calling ->close.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from copy import copy
from functools import lru_cache
from string import ascii_uppercase
from typing import Final, NamedTuple

from vmakernel import callers
from vmakernel import flags as vm
from vmakernel.callers import Result
from vmakernel.flags import InputError
from vmakernel.kernels import Kernel
from vmakernel.scenario import Segment
from vmakernel.space import MAX_MAP_COUNT, AddressSpace
from vmakernel.vma import VMA, AnonVma, Proposal, VmOps, ops_of

GONE: Final = -22  # shmctl() of a segment that was destroyed: -EINVAL
UNKNOWN_VMAS: Final = 1024  # more than a process has before a scenario begins

_CLOSES: Final = ("shm", "fuse")


class Errno(Exception):
    """A call that the kernel fails, with the name of the errno and, for a fault, of the signal."""

    def __init__(self, name: str, note: str | None = None) -> None:
        self.name, self.note = name, note
        super().__init__(name)


class Declined(Exception):
    """A call outside the course; the message is one sentence that says why."""


class Machine(NamedTuple):
    """What counts of a machine and a configuration; None: not known, and declined where it matters.

    `pkeys`: protection keys. `thp`: transparent huge pages. `names`: anonymous memory can be named.
    `softdirty`: pages written to are tracked. `page`: bytes. `strict`: vm.overcommit_memory is 2.
    `memlock`: how many pages a process may lock; None: any number. `map_count`: vm.max_map_count.
    """

    pkeys: bool | None = None
    thp: bool | None = None
    names: bool | None = None
    softdirty: bool | None = None
    page: int = 4096
    strict: bool = False
    memlock: int | None = None
    map_count: int = MAX_MAP_COUNT

    @property
    def huge(self) -> int:
        """Pages in a huge page: as many as a page has entries of 8 bytes."""
        return self.page // 8


UNKNOWN: Final = Machine()
HAS: Final = ("pkeys", "thp", "names", "softdirty")


def machine_with(names: str) -> Machine:
    """Return a machine that has these, such as ``thp,names``, and none of the others.

    Raises InputError.
    """
    given = set() if names == "none" else set(names.split(","))
    if unknown := sorted(given - set(HAS)):
        raise InputError(
            f"unknown {unknown[0]!r} in what a machine has: write some of {','.join(HAS)}, or none"
        )
    return Machine(**{name: name in given for name in HAS})


class Process:
    """A process of a kernel on a machine, and the child it may have forked.

    `max_map_count` is how many VMAs the calls may make; None: that many that the process's other
    VMAs do not matter.
    """

    def __init__(
        self,
        kernel: Kernel,
        segments: Iterable[Segment] = (),
        *,
        max_map_count: int | None = None,
        machine: Machine = UNKNOWN,
    ) -> None:
        self.kernel, self.machine = kernel, machine
        self.space = AddressSpace()
        self.open_ended = max_map_count is None
        self.space.max_map_count = machine.map_count if max_map_count is None else max_map_count
        self.segments = dict(segments)
        self.removed: set[str] = set()  # segments that go with their last attach
        self.gone: set[str] = set()
        self.lost: Counter[str] = Counter()  # attaches that merges lost
        self.forked: Counter[str] | None = None  # attaches of the child, while it lives
        self.sizes: dict[str, int] = {}  # pages of each vm_file whose end is known
        self.reach: Counter[str] = Counter()  # pages that each other vm_file has at least
        self.results: list[Result] = []
        self._uses: Counter[str] = Counter()
        self._attached: Counter[str] = Counter()  # VMAs of each segment, as of `_counted` changes
        self._counted = 0
        self._locked = 0  # pages that were asked to be locked, so far
        self._anon_vmas = 0
        taken = {name[0].upper() for name in self.segments}
        self._letters = [c for c in ascii_uppercase if c not in taken] or list(ascii_uppercase)

    def copy(self) -> Process:
        """Return a process in the same state, that can go another way."""
        twin = copy(self)
        twin.space = self.space.copy()
        twin.removed, twin.gone = self.removed.copy(), self.gone.copy()
        twin.lost, twin.forked = self.lost.copy(), self.forked and self.forked.copy()
        twin.sizes, twin.reach = self.sizes.copy(), self.reach.copy()
        twin.results, twin._uses = self.results.copy(), self._uses.copy()
        self._count_attaches()
        twin._attached, twin._counted = self._attached.copy(), 0
        return twin

    # --- names -----------------------------------------------------------------------------------

    def _unique(self, stem: str) -> str:
        self._uses[stem] += 1
        return stem if self._uses[stem] == 1 else f"{stem}#{self._uses[stem]}"

    def new_name(self, vm_file: str | None) -> str:
        """Return a VMA's name: its segment's, or the next free letter."""
        if vm_file is not None and vm_file.startswith("shm:"):
            return self._unique(source(vm_file)[4:])
        letter = self._letters[self._uses["letter"] % len(self._letters)]
        self._uses["letter"] += 1
        return self._unique(letter)

    def new_file(self, stem: str, pages: int) -> str:
        """Return the vm_file of an attach or of shared anonymous memory: each has its own."""
        vm_file = self._unique(stem)
        self.sizes[vm_file] = pages
        return vm_file

    # --- looking ---------------------------------------------------------------------------------

    def find(self, page: int) -> VMA | None:
        """Return the VMA that holds `page` (vma_lookup())."""
        return self.space.tree.around(page)[1]

    def find_above(self, page: int) -> VMA | None:
        """Return the VMA that holds `page`, or the first one above it (find_vma())."""
        _, vma, above = self.space.tree.around(page)
        return vma or above

    def between(self, start: int, end: int) -> Iterator[VMA]:
        """Give each VMA that has one of the pages `start` to `end`."""
        while (vma := self.find_above(start)) is not None and vma.vm_start < end:
            yield vma
            start = vma.vm_end

    def layout(self) -> tuple[str, ...]:
        """Return a line for each VMA: ``start-end perms pgoff source``."""
        return tuple([layout_line(vma) for vma in self.space.tree])

    def nattch(self) -> dict[str, int]:
        """Return how often each segment is attached, by whomever; GONE where it was destroyed."""
        counts = self._attaches()
        return {name: GONE if name in self.gone else counts[name] for name in self.segments}

    def _attaches(self) -> Counter[str]:
        self._count_attaches()
        return self.lost + (self.forked or Counter()) + self._attached

    def _count_attaches(self) -> None:
        """Bring the count of VMAs up to date by what has changed since it was asked for last."""
        if self.space.mark() < self._counted:  # something was taken back
            self._attached = Counter([name for vma in self.space.tree if (name := segment(vma))])
        else:
            for gone, come in self.space.changes(self._counted):
                self._attached.update([name for vma in come if (name := segment(vma))])
                self._attached.subtract([name for vma in gone if (name := segment(vma))])
        self._counted = self.space.mark()

    # --- acting ----------------------------------------------------------------------------------

    def keep(self, result: Result) -> Result:
        """Note a decision, and the attaches it lost."""
        self.results.append(result)
        if result.outcome is not None:
            for vma in result.outcome.lost:
                if name := segment(vma):
                    self.lost[name] += 1
        return result

    def change(self, proposal: Proposal) -> VMA:
        """Give part of a VMA other flags, merging or splitting. Raises Errno."""
        self._count()
        result = self.keep(callers.change(self.space, self.kernel, proposal))
        if result.vma is None:
            raise Errno("ENOMEM")
        return result.vma

    def unmap(self, start: int, end: int) -> None:
        """Unmap pages `start` to `end`. Raises Errno."""
        self._count()
        if callers.unmap(self.space, self.kernel, start, end).status == "no":
            raise Errno("ENOMEM")

    def room(self, vmas: int) -> bool:
        """Return whether so many VMAs more would still be allowed. Raises Declined."""
        self._count()
        return len(self.space.tree) + vmas <= self.space.max_map_count

    def lockable(self, pages: int) -> None:
        """Decline where so many more locked pages may be more than this process is allowed."""
        self._locked += pages
        most = self.machine.memlock
        if most is not None and self._locked > most:
            raise Declined(f"more than {most} locked pages may be too many for this user")

    def _count(self) -> None:
        if self.open_ended and len(self.space.tree) > self.space.max_map_count - UNKNOWN_VMAS:
            raise Declined(
                f"near the limit of {self.space.max_map_count} VMAs the answer depends on how many "
                "the process has besides"
            )

    def settle(self) -> None:
        """Destroy the removed segments that nobody attaches any more."""
        if self.removed:
            counts = self._attaches()
            self.gone |= {name for name in self.removed if counts[name] == 0}

    def fork(self) -> None:
        """Fork a child that does nothing: ->open runs on each VMA it gets (dup_mmap())."""
        inherited = [vma for vma in self.space.tree if not vma.vm_flags & vm.VM_DONTCOPY]
        self.forked = Counter([name for vma in inherited if (name := segment(vma))])

    def exit(self) -> dict[str, int]:
        """End the process and its child, and return the attaches that are left."""
        self.forked = None
        for vma in self.space.vmas:
            self.space.unmap(vma)
        self.settle()
        return self.nattch()

    # --- faults ----------------------------------------------------------------------------------

    def touch(self, start: int, end: int, *, write: bool) -> None:
        """Write to each page, or read it. Raises Errno with the signal's name."""
        needed = vm.VM_WRITE if write else vm.VM_ACCESS
        while start < end:
            vma = self.find(start)
            if vma is None or not vma.vm_flags & needed or keyed(vma):
                raise Errno("EFAULT", "SIGSEGV")
            only_written = vma.vm_flags & vm.VM_ACCESS == vm.VM_WRITE
            if only_written and not write and not self.kernel.write_only_reads:
                raise Declined("up to 2.6.19 write-only memory can be read only once written to")
            stop = min(end, vma.vm_end)
            self._fault(vma, write=write)
            if self._file_end(vma, start, stop) < stop:
                raise Errno("EFAULT", "SIGBUS")
            start = stop

    def populate(self, start: int, end: int, *, ignore: bool = False) -> bool:
        """Fault pages in as mlock() does, and return whether all are there (__mm_populate()).

        With `ignore` it does not matter whether they are.
        """
        while start < end:
            vma = self.find_above(start)
            if vma is None or vma.vm_start >= end:
                break
            stop = min(end, vma.vm_end)
            if vma.vm_flags & vm.VM_ACCESS and not keyed(vma):
                write = vma.vm_flags & (vm.VM_WRITE | vm.VM_SHARED) == vm.VM_WRITE
                self._fault(vma, write=write)
                if not ignore and self._file_end(vma, start, stop) < stop:
                    return False
            elif not ignore:
                return False
            start = stop
        return True

    def _fault(self, vma: VMA, *, write: bool) -> None:
        """Fault some page in: a write to private memory gives the VMA an anon_vma."""
        if vma.userfaultfd:
            raise Declined("a fault on memory that userfaultfd watches waits for an answer")
        if vma.vm_flags & vm.VM_SHARED or vma.anon_vma is not None:
            return
        if write or (vma.vm_file is None and self.kernel.read_prepares):
            self.space.alter(vma, vma._replace(anon_vma=self._anon_vma(vma)))
        elif (
            vma.vm_file is None and vma.pages >= self.machine.huge and self.machine.thp is not False
        ):
            raise Declined("reading so much memory makes an anon_vma or not as huge pages are set")

    def _file_end(self, vma: VMA, start: int, stop: int) -> int:
        """Return the first page from `start` to `stop` behind the end of the file, or `stop`."""
        if vma.vm_file is None:
            return stop
        first = vma.vm_start - vma.vm_pgoff  # where page 0 of the file would be
        if vma.vm_file in self.sizes:
            return min(stop, max(start, first + self.sizes[vma.vm_file]))
        if stop > first + self.reach[vma.vm_file]:
            raise Declined("whether the file goes on behind what mmap() was asked for is not known")
        return stop

    def _anon_vma(self, vma: VMA) -> AnonVma:
        """Share a neighbour's anon_vma, or make a new one (find_mergeable_anon_vma())."""
        before, _, above = self.space.tree.around(vma.vm_start)
        for near, low, high in (above, vma, above), (before, before, vma):
            if low is not None and high is not None and near is not None:
                theirs = near.anon_vma
                if theirs is not None and theirs.singular and self._compatible(low, high):
                    return theirs
        self._anon_vmas += 1
        return AnonVma(str(self._anon_vmas))

    def _compatible(self, low: VMA, high: VMA) -> bool:
        """True where two neighbours differ in nothing but access (anon_vma_compatible())."""
        pages = low.pages
        return (
            low.vm_end == high.vm_start
            and low.policy == high.policy
            and low.vm_file == high.vm_file
            and not (low.vm_flags ^ high.vm_flags) & ~(vm.VM_ACCESS | self.kernel.ignored_flags)
            and low.vm_pgoff + pages == high.vm_pgoff
            and (not self.kernel.anon_pgoff or low.anon_pgoff + pages == high.anon_pgoff)
        )


def kind(vma: VMA) -> str:
    """Return what a VMA maps: anon, shanon, shm, file, memfd or fuse."""
    return "anon" if vma.vm_file is None else source(vma.vm_file).partition(":")[0]


def segment(vma: VMA) -> str:
    """Return the segment that a VMA attaches, "" if none."""
    if vma.vm_file is None or not vma.vm_file.startswith("shm:"):
        return ""
    return source(vma.vm_file)[4:]


def source(vm_file: str) -> str:
    """Return what a layout line calls a vm_file: attaches of one segment look alike."""
    return vm_file.partition("#")[0]


def keyed(vma: VMA) -> bool:
    """Return whether a protection key keeps everybody from reading and writing."""
    return bool(vma.vm_flags & vm.VM_PKEY_BIT0)


def file_ops(vm_file: str | None) -> VmOps | None:
    """Return the operations of what maps `vm_file`: SysV shm and FUSE have ->close."""
    closes = vm_file is not None and source(vm_file).partition(":")[0] in _CLOSES
    return ops_of(vm_file, close=closes)


@lru_cache(maxsize=65536)
def layout_line(vma: VMA) -> str:
    """Return how /proc/self/maps shows a VMA, in pages."""
    flags = vma.vm_flags
    perms = "".join(
        [
            letter if flags & bit else "-"
            for letter, bit in (("r", vm.VM_READ), ("w", vm.VM_WRITE), ("x", vm.VM_EXEC))
        ]
    )
    perms += "s" if flags & vm.VM_MAYSHARE else "p"
    if vma.vm_file is None:
        text = "0 anon"
    elif vma.anon_name:
        text = f"{vma.vm_pgoff} shanon"
    else:
        text = f"{vma.vm_pgoff} {source(vma.vm_file)}"
    name = f":{vma.anon_name}" if vma.anon_name else ""
    return f"{vma.vm_start}-{vma.vm_end} {perms} {text}{name}"
