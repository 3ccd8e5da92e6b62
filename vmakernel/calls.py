"""System calls: what each does to a process, call by call, and the errno it fails with.

Previous: mremap.py; next: predict.py.

Every function is named after its call and takes a Process; it raises Errno where the kernel fails,
having done what the kernel has done by then, and Declined where the answer lies outside the course.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from vmakernel import callers
from vmakernel import flags as vm
from vmakernel import scenario as sc
from vmakernel.mremap import mremap
from vmakernel.process import Declined, Errno, Process, file_ops, kind, segment
from vmakernel.vma import VMA

MAX_PAGES: Final = 1 << 14  # 64 MiB: what any machine can give
MAX_PAGE: Final = 1 << 34  # half of an address space of 47 bits
_PROT: Final = {"r": vm.VM_READ, "w": vm.VM_WRITE, "x": vm.VM_EXEC}
_MAY: Final = vm.VM_MAYREAD | vm.VM_MAYWRITE | vm.VM_MAYEXEC
_ACCESS_TO_MAY: Final = {
    vm.VM_READ: vm.VM_MAYREAD,
    vm.VM_WRITE: vm.VM_MAYWRITE,
    vm.VM_EXEC: vm.VM_MAYEXEC,
}
# Advice: the flags it sets and the flags it clears.
_ADVICE: Final = {
    "normal": (0, vm.VM_SEQ_READ | vm.VM_RAND_READ),
    "seq": (vm.VM_SEQ_READ, vm.VM_RAND_READ),
    "rand": (vm.VM_RAND_READ, vm.VM_SEQ_READ),
    "dontfork": (vm.VM_DONTCOPY, 0),
    "dofork": (0, vm.VM_DONTCOPY),
    "dontdump": (vm.VM_DONTDUMP, 0),
    "dodump": (0, vm.VM_DONTDUMP),
    "huge": (vm.VM_HUGEPAGE, vm.VM_NOHUGEPAGE),
    "nohuge": (vm.VM_NOHUGEPAGE, vm.VM_HUGEPAGE),
}


def access(prot: str) -> int:
    """Return the flags of a protection such as ``rw``."""
    return 0 if prot == "none" else sum([_PROT[letter] for letter in prot])


# --- mapping -------------------------------------------------------------------------------------


def mmap(process: Process, call: sc.Mmap) -> None:
    """Map pages at a fixed place, over whatever was there."""
    if call.pages == 0:
        raise Errno("EINVAL")
    flags = access(call.prot) | _MAY
    pgoff, vm_file = call.pgoff, None if call.source == "anon" else call.source
    if call.noreserve and not process.machine.strict:
        flags |= vm.VM_NORESERVE & ~process.kernel.absent_flags
    if call.shared:
        flags |= vm.VM_SHARED | vm.VM_MAYSHARE
        if vm_file is None:
            pgoff, vm_file = 0, process.new_file("shanon", call.pages)
    elif vm_file is None:
        pgoff = call.at
    _map(process, call.at, call.pages, flags, vm_file, pgoff)


def _map(
    process: Process,
    at: int,
    pages: int,
    flags: int,
    vm_file: str | None,
    pgoff: int,
    over: VMA | None = None,
) -> None:
    """Unmap what is there, account for private writable memory, merge or add (mmap_region()).

    `over` is the VMA whose segment is mapped anew; it may be gone when that is unmapped.
    """
    if flags & vm.VM_EXEC:
        _executable(vm_file)
    if vm_file == "fuse" and not process.kernel.fuse_closes:
        raise Declined("up to 2.6.25 FUSE maps in another way, without ->close")
    if vm_file == "memfd" and not process.kernel.has_memfd:
        raise Declined("there is no memfd before 3.17")
    flags |= _execute_only(process, flags)
    if not process.room(0):
        raise Errno("ENOMEM")
    process.unmap(at, at + pages)
    if over is not None and _destroyed(process, over):
        raise Errno("EINVAL")
    if flags & (vm.VM_WRITE | vm.VM_SHARED | vm.VM_NORESERVE) == vm.VM_WRITE:
        flags |= vm.VM_ACCOUNT
    if vm_file is not None:
        process.reach[vm_file] = max(process.reach[vm_file], pgoff + pages)
    like = VMA(
        "new", at, at + pages, flags, vm_file, pgoff, file_ops(vm_file), anon_pgoff=at
    )  # fmt: skip
    # Every new mapping is soft-dirty, but not yet while it looks for somebody to merge with.
    dirty = vm.VM_SOFTDIRTY & ~process.kernel.absent_flags
    if process.machine.softdirty is False:
        dirty = 0
    new = process.keep(callers.mmap(process.space, process.kernel, like)).vma
    if new is None:
        new = process.space.map(like._replace(name=process.new_name(vm_file)))
    process.space.alter(new, new._replace(vm_flags=new.vm_flags | dirty))


def _executable(vm_file: str | None) -> None:
    if vm_file in ("file", "fuse"):
        raise Declined("whether a file may be executed depends on how its file system is mounted")


def _execute_only(process: Process, flags: int) -> int:
    """Return the protection key of memory that may be executed and nothing else."""
    keys = process.machine.pkeys and process.kernel.exec_keys
    return vm.VM_PKEY_BIT0 if keys and flags & vm.VM_ACCESS == vm.VM_EXEC else 0


def _destroyed(process: Process, vma: VMA) -> bool:
    """Return whether the segment of a VMA that was unmapped is gone with it."""
    process.settle()
    if segment(vma) not in process.gone:
        return False
    if not process.kernel.remaps_removed:
        raise Declined("up to 4.4 the kernel stumbles over a segment that is gone")
    return True


def munmap(process: Process, call: sc.Munmap) -> None:
    """Unmap pages; there need not be any."""
    if call.pages == 0:
        raise Errno("EINVAL")
    process.unmap(call.at, call.at + call.pages)


def remap(process: Process, call: sc.Mremap) -> int:
    """Resize or move pages."""
    return mremap(process, call.at, call.old, call.new, maymove=call.maymove, to=call.to)


def rfp(process: Process, call: sc.Rfp) -> None:
    """Map another part of the file that is mapped there (remap_file_pages(), since v4.0)."""
    if call.pages == 0:
        raise Errno("EINVAL")
    end = call.at + call.pages
    vma = process.find(call.at)
    if vma is None or not vma.vm_flags & vm.VM_SHARED:
        raise Errno("EINVAL")
    if not process.kernel.remaps_by_mmap:
        raise Declined("up to 3.19 remap_file_pages() makes one VMA nonlinear")
    whole = call.at >= vma.vm_start and end <= vma.vm_end
    there = vma.vm_pgoff + call.at - vma.vm_start
    if process.kernel.remaps_one_vma is None and (not whole or call.pgoff == there):
        raise Declined("some stable release of 4.4 lifts a limit here, and which one is not known")
    if process.kernel.remaps_one_vma:
        if not whole:
            raise Errno("EINVAL")
        if call.pgoff == there:
            return
    if vma.vm_flags & vm.VM_LOCKED:
        process.lockable(call.pages)  # what is mapped anew is counted beside what goes
    last = vma
    while last.vm_end < end:
        next = process.find(last.vm_end)
        if next is None or (next.vm_file, next.vm_flags) != (vma.vm_file, vma.vm_flags):
            raise Errno("EINVAL")
        last = next
    flags = vma.vm_flags & (vm.VM_ACCESS | vm.VM_LOCKED)
    flags |= _MAY | vm.VM_SHARED | vm.VM_MAYSHARE
    _map(process, call.at, call.pages, flags, vma.vm_file, call.pgoff, over=vma)


# --- changing flags ------------------------------------------------------------------------------


def _walk(
    process: Process,
    at: int,
    pages: int,
    give: Callable[[VMA, int, int], VMA],
    *,
    holes: bool = False,
    forgives: bool = False,
    loses: bool = False,
) -> bool:
    """Call `give` for the part in each VMA, and return whether there was no hole.

    At a hole it stops, or with `holes` goes on behind it. The mistakes of v6.3: `forgives` a hole
    at the end; `loses` its place when a merge takes it further than it went.
    """
    start, end, came = at, at + pages, at
    whole = True
    while at < end:
        vma = process.find_above(at)
        if vma is None or vma.vm_start >= end:
            return forgives and at > start
        if vma.vm_start > came:
            whole = False
            if not holes:
                break
            at = vma.vm_start
        stop = min(vma.vm_end, end)
        at = max(stop, give(vma, at, stop).vm_end)
        came = stop if loses else at
    return whole


def _reflag(
    process: Process, vma: VMA, start: int, stop: int, flags: int, **fields: str
) -> VMA:  # fmt: skip
    """Change part of a VMA, unless it is like that already."""
    if flags == vma.vm_flags and all(getattr(vma, name) == fields[name] for name in fields):
        return vma
    proposal = callers.propose(process.space, vma, start, stop, flags)
    return process.change(proposal._replace(**fields))  # type: ignore[arg-type]


def mprotect(process: Process, call: sc.Mprotect) -> None:
    """Set the access of pages, VMA by VMA."""
    wanted = access(call.prot)
    may = sum([_ACCESS_TO_MAY[bit] for bit in _PROT.values() if wanted & bit])

    def give(vma: VMA, start: int, stop: int) -> VMA:
        if wanted & vm.VM_EXEC:
            _executable(vma.vm_file)
        if may & ~vma.vm_flags:
            raise Errno("EACCES")
        flags = (vma.vm_flags & ~vm.VM_ACCESS) | wanted
        flags = flags & ~_lost_key(process, vma, wanted) | _execute_only(process, flags)
        if flags == vma.vm_flags:
            return vma
        free = vm.VM_ACCOUNT | vm.VM_WRITE | vm.VM_SHARED | vm.VM_NORESERVE
        if wanted & vm.VM_WRITE:
            if not vma.vm_flags & free:
                flags |= vm.VM_ACCOUNT
        elif process.kernel.unaccounts and vma.vm_file is None and vma.anon_vma is None:
            flags &= ~vm.VM_ACCOUNT
        new = _reflag(process, vma, start, stop, flags)
        private_locked = vma.vm_flags & (vm.VM_WRITE | vm.VM_SHARED | vm.VM_LOCKED) == vm.VM_LOCKED
        if private_locked and wanted & vm.VM_WRITE and process.kernel.mprotect_populates:
            process.populate(
                start, stop, ignore=True
            )  # locked memory is not to fault when it is written to
        return new

    forgives = process.kernel.mprotect_forgives
    if not _walk(process, call.at, call.pages, give, forgives=forgives):
        raise Errno("ENOMEM")


def _lost_key(process: Process, vma: VMA, wanted: int) -> int:
    """Return the protection key if execute-only memory that becomes something else loses it.

    (__arch_override_mprotect_pkey() on x86; a key that stayed is never taken back.)
    """
    if vma.vm_flags & (vm.VM_ACCESS | vm.VM_PKEY_BIT0) != vm.VM_EXEC | vm.VM_PKEY_BIT0:
        return 0
    stays = process.kernel.exec_key_stays
    if not wanted and stays is None:
        raise Declined("which stable release first takes the protection key back here is not known")
    return 0 if not wanted and stays else vm.VM_PKEY_BIT0


def madvise(process: Process, call: sc.Madvise) -> None:
    """Give advice that is kept in the flags; holes are skipped, and reported at the end."""
    kernel, huge = process.kernel, call.advice in ("huge", "nohuge")
    known = call.advice in kernel.advice
    if huge and known:
        if process.machine.thp is None:
            raise Declined(
                "whether huge pages can be advised depends on the kernel: say --has thp or none"
            )
        known = process.machine.thp
    if not known:
        if kernel.advice_checked_late:
            raise Declined("up to 2.6.31 it depends on the VMAs whether unknown advice fails")
        raise Errno("EINVAL")
    if not kernel.madvise_merges:
        raise Declined("madvise() of 2.6.12 splits but does not merge")
    sets, clears = _ADVICE[call.advice]

    def give(vma: VMA, start: int, stop: int) -> VMA:
        if huge and kernel.huge_anon_only and vma.vm_flags & vm.VM_MAYSHARE:
            raise Errno("EINVAL")
        if huge and kernel.huge_once is not False and vma.vm_flags & sets:
            if kernel.huge_once is None:
                raise Declined("whether 4.4 takes this advice twice is not known")
            raise Errno("EINVAL")
        return _advise(process, vma, start, stop, vma.vm_flags & ~clears | sets)

    if not _walk(process, call.at, call.pages, give, holes=True):
        raise Errno("ENOMEM")


def _advise(
    process: Process, vma: VMA, start: int, stop: int, flags: int, **fields: str
) -> VMA:  # fmt: skip
    """Change part of a VMA as madvise() does, with its errno."""
    try:
        return _reflag(process, vma, start, stop, flags, **fields)
    except Errno:
        raise Errno("EAGAIN" if process.kernel.madvise_eagain else "ENOMEM") from None


def mlock(process: Process, call: sc.Mlock) -> None:
    """Lock pages and fault them in; what cannot be faulted in is ENOMEM, and stays locked."""
    process.lockable(call.pages)
    try:
        _lock(process, call.at, call.pages, vm.VM_LOCKED)
        if not process.populate(call.at, call.at + call.pages):
            raise Errno("ENOMEM")
    except Errno:
        if not process.kernel.mlock_populates_last:
            raise Declined("up to 2.6.37 an mlock() that fails stops at another page") from None
        raise


def munlock(process: Process, call: sc.Munlock) -> None:
    """Unlock pages."""
    _lock(process, call.at, call.pages, 0)


def _lock(process: Process, at: int, pages: int, locked: int) -> None:
    def give(vma: VMA, start: int, stop: int) -> VMA:
        return _reflag(process, vma, start, stop, vma.vm_flags & ~vm.VM_LOCKED | locked)

    lost = process.kernel.mlock_loses
    if not _walk(process, at, pages, give, forgives=lost, loses=lost):
        raise Errno("ENOMEM")


def name(process: Process, call: sc.Name) -> None:
    """Name anonymous memory, or take its name away (prctl(PR_SET_VMA), v5.17)."""
    kernel = process.kernel
    if not kernel.has_anon_name:
        raise Errno("EINVAL")
    if process.machine.names is None:
        raise Declined(
            "whether memory can be named depends on the configuration: say --has names or none"
        )
    if not process.machine.names:
        raise Errno("EINVAL")

    def give(vma: VMA, start: int, stop: int) -> VMA:
        mapped = kind(vma)
        if mapped == "file":
            raise Declined("whether a file's memory can be named depends on its file system")
        if mapped != "anon" and not (kernel.names_shmem and mapped in ("shanon", "memfd")):
            raise Errno("EBADF")
        return _advise(process, vma, start, stop, vma.vm_flags, anon_name=call.name or "")

    if not _walk(process, call.at, call.pages, give, holes=True):
        raise Errno("ENOMEM")


# --- userfaultfd ---------------------------------------------------------------------------------


def uffd(process: Process, call: sc.Uffd) -> None:
    """Have userfaultfd watch a range for missing pages (UFFDIO_REGISTER)."""
    _watch(process, call.at, call.pages, "1")


def unuffd(process: Process, call: sc.Unuffd) -> None:
    """Have it watched no more (UFFDIO_UNREGISTER)."""
    _watch(process, call.at, call.pages, "")


def _watch(process: Process, at: int, pages: int, context: str) -> None:
    kernel, end = process.kernel, at + pages
    if not kernel.has_uffd:
        raise Declined("there is no userfaultfd before 4.3")
    if pages == 0:
        raise Errno("EINVAL")
    vmas = list(process.between(at, end))
    for vma in vmas:
        mapped = kind(vma)
        if mapped == "file":
            raise Declined("whether userfaultfd takes a file depends on its file system")
        if mapped != "anon" and not (kernel.uffd_shmem and mapped in ("shanon", "memfd")):
            raise Errno("EINVAL")
    if not vmas:
        raise Errno("EINVAL")
    if kernel.uffd_mistakes and vmas[0].vm_start < at:
        raise Declined("up to 6.3 userfaultfd merges with wrong offsets from inside a VMA on")
    flags = vm.VM_UFFD_MISSING if context else 0

    def give(vma: VMA, start: int, stop: int) -> VMA:
        if vma.userfaultfd == context:
            return vma
        new = vma.vm_flags & ~vm.VM_UFFD_MISSING | flags
        return _reflag(process, vma, start, stop, new, userfaultfd=context)

    _walk(process, at, pages, give, holes=True)


# --- SysV shared memory --------------------------------------------------------------------------


def shmat(process: Process, call: sc.Shmat) -> None:
    """Attach a segment, each time as a file of its own."""
    pages = process.segments[call.segment]
    above = process.find_above(call.at)
    if call.segment in process.gone or (above and above.vm_start < call.at + pages):
        raise Errno("EINVAL")
    flags = vm.VM_READ | _MAY | vm.VM_MAYSHARE | vm.VM_SHARED | vm.VM_WRITE
    if call.ro:
        if not process.kernel.shm_read_only:
            raise Declined("up to 2.6.20 a read-only attach has other flags")
        flags &= ~(vm.VM_WRITE | vm.VM_MAYWRITE | vm.VM_SHARED)
    _map(process, call.at, pages, flags, process.new_file(f"shm:{call.segment}", pages), 0)


def shmdt(process: Process, call: sc.Shmdt) -> None:
    """Detach: unmap every piece of the attach that is where it would be if attached here."""
    file: str | None = None
    size = 0
    vma = process.find_above(call.at)
    while vma is not None and (file is None or vma.vm_end - call.at <= size):
        next = process.find_above(vma.vm_end)
        in_place = vma.vm_start - call.at == vma.vm_pgoff
        ours = file in (None, vma.vm_file) or not process.kernel.shmdt_compares
        if kind(vma) == "shm" and in_place and ours:
            if file is None:
                file = vma.vm_file
                assert file is not None
                size = process.sizes[file]
            process.unmap(vma.vm_start, vma.vm_end)
        vma = next
    if file is None:
        raise Errno("EINVAL")


def rmid(process: Process, call: sc.Rmid) -> None:
    """Have a segment destroyed with its last attach."""
    if call.segment in process.gone:
        raise Errno("EINVAL")
    process.removed.add(call.segment)


# --- faults and forks ----------------------------------------------------------------------------


def touch(process: Process, call: sc.Touch) -> None:
    """Write to each page."""
    process.touch(call.at, call.at + call.pages, write=True)


def read(process: Process, call: sc.Read) -> None:
    """Read each page."""
    process.touch(call.at, call.at + call.pages, write=False)


def fork(process: Process, call: sc.Fork) -> None:
    """Fork a child that does nothing."""
    process.fork()


def killchild(process: Process, call: sc.Killchild) -> None:
    """End the child; ->close runs on each of its VMAs."""
    process.forked = None


# --- all of them ---------------------------------------------------------------------------------

DO: Final[Mapping[type[sc.Call], Callable[[Process, Any], int | None]]] = {
    sc.Shmat: shmat,
    sc.Shmdt: shmdt,
    sc.Mmap: mmap,
    sc.Munmap: munmap,
    sc.Mprotect: mprotect,
    sc.Mremap: remap,
    sc.Madvise: madvise,
    sc.Mlock: mlock,
    sc.Munlock: munlock,
    sc.Rfp: rfp,
    sc.Name: name,
    sc.Uffd: uffd,
    sc.Unuffd: unuffd,
    sc.Touch: touch,
    sc.Read: read,
    sc.Fork: fork,
    sc.Killchild: killchild,
    sc.Rmid: rmid,
}


def do(process: Process, call: sc.Call) -> int | None:
    """Make a call and return the page mremap() returns, if it is one. Raises Errno, Declined."""
    _within_reach(call)
    process.results = []
    try:
        return DO[type(call)](process, call)
    finally:
        process.settle()


def _within_reach(call: sc.Call) -> None:
    """Decline what depends on the machine: its memory, and where the arena lies."""
    pages = max([getattr(call, field, 0) for field in ("pages", "old", "new")])
    if pages > MAX_PAGES:
        raise Declined(f"{pages} pages at once may be more than a machine has; write {MAX_PAGES}")
    if max(getattr(call, "at", 0), getattr(call, "to", 0) or 0) + pages > MAX_PAGE:
        raise Declined("so high an address may lie outside the address space")
