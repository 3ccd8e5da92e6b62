"""mremap(): shrinking, growing in place, moving; what is checked when, and what a failure leaves.

Previous: process.py; next: calls.py.

A move copies first and unmaps the source afterwards, so for a moment both stand there: memory that
was never touched may merge with its own copy. Up to v6.16 the destination is unmapped before the
source is looked at, and stays unmapped when the call fails.
"""

from __future__ import annotations

from typing import NoReturn

from vmakernel import callers
from vmakernel import flags as vm
from vmakernel.process import Declined, Errno, Process, kind
from vmakernel.vma import VMA


def mremap(
    process: Process, at: int, old: int, new: int, *, maymove: bool = False, to: int | None = None
) -> int:
    """Resize or move pages and return where they are. Raises Errno, Declined."""
    if new == 0:
        raise Errno("EINVAL")
    if to is not None:
        _to(process, at, old, new, to)
        return to
    vma = process.find(at)
    if vma is None and process.kernel.mremap_looks_first:
        _absent(process)
    if old >= new:
        if old > new:
            process.unmap(at + new, at + old)
        return at
    _grow(process, _resizable(process, vma, at, old, new), at, old, new, maymove=maymove)
    return at


def _absent(process: Process) -> NoReturn:
    if process.kernel.mremap_slips:
        raise Declined("from 5.16 to 5.17.8 mremap() of nothing returns 14 instead of failing")
    raise Errno("EFAULT")


def _resizable(process: Process, vma: VMA | None, at: int, old: int, new: int) -> VMA:
    """Return the VMA if its pages may be resized or moved (vma_to_resize(), check_prep_vma())."""
    if vma is None:
        raise Errno("EFAULT")
    shared = vma.vm_flags & (vm.VM_SHARED | vm.VM_MAYSHARE)
    if old == 0 and not shared and not process.kernel.mremap_duplicates:
        raise Errno("EINVAL")
    if old > vma.vm_end - at:
        raise Errno("EFAULT")
    if new > old and vma.vm_flags & (vm.VM_DONTEXPAND | vm.VM_PFNMAP):
        raise Errno("EFAULT")  # before anybody is asked about a merge
    if new > old and vma.vm_flags & vm.VM_LOCKED:
        process.lockable(new - old)
    return vma


def _grow(process: Process, vma: VMA, at: int, old: int, new: int, *, maymove: bool) -> None:
    """Grow in place, the only place that is known."""
    end = at + new
    above = process.find_above(vma.vm_end)
    if at + old == vma.vm_end and (above is None or above.vm_start >= end):
        grown = process.keep(callers.mremap(process.space, process.kernel, vma, new - old, old))
        if grown.vma is None:
            raise Errno("ENOMEM")  # whether it may move or not
        if vma.vm_flags & vm.VM_LOCKED:
            process.populate(at + old, end, ignore=True)
        return
    if not maymove or not process.room(4):
        raise Errno("ENOMEM")
    raise Declined("the kernel itself chooses where these pages go; write 'f' and a page")


def _to(process: Process, at: int, old: int, new: int, to: int) -> None:
    """Move to a fixed place (mremap_to(), remap_move())."""
    kernel = process.kernel
    overlap = at + old > to and to + new > at
    if not kernel.mremap_overlaps_alike:
        overlap = overlap or to <= at < to + new
    vma = process.find(at)
    if kernel.mremap_moves_many:
        if overlap:
            raise Errno("EINVAL")
        if not process.room(6):
            raise Errno("ENOMEM")
        if old == new:
            _move_many(process, at, old, to)
            return
        _resizable(process, vma, at, min(old, new), new)
    elif kernel.mremap_looks_first and vma is None:
        _absent(process)
    if overlap:
        raise Errno("EINVAL")
    if kernel.mremap_wants_room and not process.room(6):
        raise Errno("ENOMEM")
    _move_one(process, at, old, new, to)


def _move_one(process: Process, at: int, old: int, new: int, to: int) -> None:
    """Clear the destination, cut the tail off, and only then look at the source."""
    process.unmap(to, to + new)
    if old > new:
        process.unmap(at + new, at + old)
        old = new
    vma = _resizable(process, process.find(at), at, old, new)
    if not process.room(4):
        raise Errno("ENOMEM")
    _copy(process, vma, at, new, to)
    if old:
        process.unmap(at, at + old)
    if vma.vm_flags & vm.VM_LOCKED:
        process.populate(to + old, to + new, ignore=True)


def _copy(process: Process, vma: VMA, at: int, pages: int, to: int) -> None:
    """Put a VMA like `vma` at page `to`, merging if it can (copy_vma())."""
    kernel = process.kernel
    copy = vma.moved(at, at + pages)._replace(vm_start=to, vm_end=to + pages)
    if vma.anon_vma is None:
        # Untouched memory forgets where it was.
        copy = copy._replace(anon_pgoff=to)
        if vma.vm_file is None:
            copy = copy._replace(vm_pgoff=to)
    new = process.keep(callers.new(process.space, kernel, copy)).vma
    if new is None:
        named = copy._replace(name=process.new_name(vma.vm_file))
        new = process.space.map(named, opened=True)
    if new.userfaultfd and kernel.mremap_drops_uffd is None:
        raise Declined("which stable release first takes a moved VMA from userfaultfd is not known")
    if new.userfaultfd and kernel.mremap_drops_uffd:
        flags = new.vm_flags & ~vm.VM_UFFD_MISSING
        process.space.alter(new, new._replace(userfaultfd="", vm_flags=flags))


def _move_many(process: Process, at: int, pages: int, to: int) -> None:
    """Move every VMA of a range, keeping the gaps between them (remap_move(), v6.17)."""
    end = at + pages
    page = at
    last_end: int | None = None
    while (vma := process.find_above(page)) is not None and vma.vm_start < end:
        if last_end is None and vma.vm_start > at:
            raise Errno("EFAULT")
        alone = last_end is None and vma.vm_end >= end
        if not alone and not _moves_with_others(vma):
            raise Errno("EFAULT")
        page = max(vma.vm_start, at)
        stop = min(vma.vm_end, end)
        _move_one(process, page, stop - page, stop - page, page - at + to)
        last_end, page = vma.vm_end, stop
    if last_end is None:
        raise Errno("EFAULT")


def _moves_with_others(vma: VMA) -> bool:
    """True unless userfaultfd watches it or, as SysV shm, it has its own get_unmapped_area()."""
    return not vma.userfaultfd and kind(vma) != "shm"
