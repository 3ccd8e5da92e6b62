"""The VMAs of an address space, found by address: the kernel's maple tree as a list of short lists.

Previous: ranges.py; next: space.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Final

from vmakernel.vma import VMA

# Short enough that inserting in the middle is cheap, long enough that there are few lists.
LOAD: Final = 512

_start = attrgetter("vm_start")


class VmaTree:
    """VMAs sorted by vm_start; a look-up or a change costs no more than O(log n) in practice."""

    __slots__ = ("_chunks", "_count", "_starts")

    def __init__(self, vmas: Iterable[VMA] = ()) -> None:
        ordered = sorted(vmas, key=_start)
        self._count = len(ordered)
        self._chunks = [ordered[i : i + LOAD] for i in range(0, len(ordered), LOAD)] or [[]]
        self._starts = [chunk[0].vm_start if chunk else 0 for chunk in self._chunks]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[VMA]:
        for chunk in self._chunks:
            yield from chunk

    def _locate(self, address: int) -> tuple[int, int]:
        """Return (chunk, index) of the first VMA that starts above `address`, minus one place."""
        chunk = max(bisect_right(self._starts, address) - 1, 0)
        return chunk, bisect_right(self._chunks[chunk], address, key=_start) - 1

    def around(self, address: int) -> tuple[VMA | None, VMA | None, VMA | None]:
        """Return (the VMA before, the VMA that holds `address`, the next VMA above it)."""
        chunk, index = self._locate(address)
        vmas = self._chunks[chunk]
        if index < 0:
            return None, None, vmas[0] if vmas else None
        found = vmas[index]
        above = self._at(chunk, index + 1)
        if found.vm_end > address:
            return self._at(chunk, index - 1), found, above
        return found, None, above

    def _at(self, chunk: int, index: int) -> VMA | None:
        """Return the VMA at `index`, which may be one place outside its chunk."""
        vmas = self._chunks[chunk]
        if 0 <= index < len(vmas):
            return vmas[index]
        chunk += 1 if index >= 0 else -1
        if not 0 <= chunk < len(self._chunks):
            return None
        return self._chunks[chunk][0 if index >= 0 else -1]

    def add(self, vma: VMA) -> None:
        """Insert `vma`, which must not overlap another."""
        chunk, index = self._locate(vma.vm_start)
        vmas = self._chunks[chunk]
        vmas.insert(index + 1, vma)
        self._count += 1
        if index < 0:
            self._starts[chunk] = vma.vm_start
        if len(vmas) > 2 * LOAD:
            self._chunks.insert(chunk + 1, vmas[LOAD:])
            del vmas[LOAD:]
            self._starts.insert(chunk + 1, self._chunks[chunk + 1][0].vm_start)

    def remove(self, vma: VMA) -> None:
        """Take `vma` out; it must be in here."""
        chunk, index = self._locate(vma.vm_start)
        vmas = self._chunks[chunk]
        assert vmas[index] is vma or vmas[index] == vma
        del vmas[index]
        self._count -= 1
        if not vmas and len(self._chunks) > 1:
            del self._chunks[chunk], self._starts[chunk]
        elif index == 0 and vmas:
            self._starts[chunk] = vmas[0].vm_start

    def swap(self, old: VMA, new: VMA) -> None:
        """Put `new` in the place of `old`; both start at the same page."""
        chunk, index = self._locate(old.vm_start)
        self._chunks[chunk][index] = new
