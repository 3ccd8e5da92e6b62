"""The values: a VMA, its operations, its anon_vma, and a proposal to merge.

Previous: flags.py; next: layout.py.

Everything here is immutable. Addresses and lengths are in pages, ranges are half open. One notation
prints and parses all of it: ``P=0-4:rw,f1@0,c`` is VMA P over pages 0..3, readable and writable,
mapping file 1 from its page 0, with a ``vm_ops->close``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from vmakernel.flags import NotationError, parse_flags, parse_page, print_flags


class VmOps(NamedTuple):
    """The driver's operations that matter to merging (struct vm_operations_struct).

    `open` runs on the new piece of a split, `close` when a VMA is unmapped; a merge runs neither.
    `may_split` is False where the driver's ->may_split refuses (->split before v5.11).
    """

    open: bool = True
    close: bool = False
    may_split: bool = True


PLAIN_OPS: Final = VmOps()
CLOSE_OPS: Final = VmOps(close=True)


class AnonVma(NamedTuple):
    """What ties a VMA to its anonymous pages: the object's name and how long the VMA's chain is.

    A chain longer than one means that the VMA went through a fork (anon_vma_chain not singular).
    """

    name: str
    chain: int = 1

    @property
    def singular(self) -> bool:
        """True as list_is_singular(&vma->anon_vma_chain) is: exactly one link."""
        return self.chain == 1


class VMA(NamedTuple):
    """One virtual memory area (struct vm_area_struct), named for the reader's sake."""

    name: str
    vm_start: int
    vm_end: int
    vm_flags: int = 0
    vm_file: str | None = None
    vm_pgoff: int = 0
    vm_ops: VmOps | None = None
    anon_vma: AnonVma | None = None
    userfaultfd: str = ""
    anon_name: str = ""
    policy: str = ""
    anon_pgoff: int = 0

    @property
    def pages(self) -> int:
        """The length in pages (vma_pages())."""
        return self.vm_end - self.vm_start

    @property
    def has_close(self) -> bool:
        """True where ``vm_ops && vm_ops->close``."""
        return self.vm_ops is not None and self.vm_ops.close

    @property
    def has_open(self) -> bool:
        """True where ``vm_ops && vm_ops->open``."""
        return self.vm_ops is not None and self.vm_ops.open

    def moved(self, vm_start: int, vm_end: int) -> VMA:
        """Return this VMA over other pages, its offsets following its start."""
        delta = vm_start - self.vm_start
        return self._replace(
            vm_start=vm_start,
            vm_end=vm_end,
            vm_pgoff=self.vm_pgoff + delta,
            anon_pgoff=self.anon_pgoff + delta,
        )

    def __str__(self) -> str:
        return _print_vma(self)

    def __repr__(self) -> str:
        return _print_vma(self)


class Proposal(NamedTuple):
    """A range, what it would be, and its neighbours: what a caller asks the merge code.

    `curr` is the VMA that holds the range now, None where nothing is mapped. Where the range starts
    inside `curr`, `prev` is `curr` itself, as the kernel's callers pass it. `next` is the first VMA
    at or after the range's end. (struct vma_merge_struct since v6.12, arguments before.)
    """

    vm_start: int
    vm_end: int
    vm_flags: int
    vm_file: str | None
    vm_pgoff: int
    anon_vma: AnonVma | None
    userfaultfd: str
    anon_name: str
    policy: str
    anon_pgoff: int
    prev: VMA | None
    curr: VMA | None
    next: VMA | None
    copied: bool = False  # mremap() moves a VMA here (copied_from in struct vma_merge_struct)

    @property
    def pages(self) -> int:
        """The length of the range in pages."""
        return self.vm_end - self.vm_start


# --- The notation -----------------------------------------------------------------------------

_VMA = re.compile(r"([^\s=|;,:/]+)=(\d+)-(\d+):([^,\s]*)((?:,[^,\s]+)*)")
_RANGE = re.compile(r"(\d+)-(\d+)")


class Attributes(NamedTuple):
    """The comma-separated part behind the flags; None where nothing was written."""

    vm_file: str | None = None
    vm_pgoff: int | None = None
    close: bool = False
    may_split: bool = True
    anon_vma: AnonVma | None = None
    userfaultfd: str | None = None
    anon_name: str | None = None
    policy: str | None = None
    anon_pgoff: int | None = None


def _number(text: str, attr: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise NotationError(f"{attr!r} needs a page number such as {attr[:1]}1@4 or @4")
    return parse_page(text)


@lru_cache(maxsize=4096)
def parse_attributes(text: str) -> Attributes:
    """Return the attributes in `text`, such as ``f1@0,c,a1x2,u1,n1,p1``.

    Raises NotationError for an attribute that does not exist.
    """
    found: dict[str, object] = {}
    for attr in text.split(",") if text else ():
        kind, value = attr[:1], attr[1:]
        if attr == "c":
            found["close"] = True
        elif attr == "k":
            found["may_split"] = False
        elif kind == "f":
            file, at, pgoff = value.partition("@")
            if not file:
                raise NotationError(f"{attr!r} names no file: write f1@0")
            found["vm_file"], found["vm_pgoff"] = file, _number(pgoff, attr) if at else 0
        elif kind == "@":
            found["vm_pgoff"] = _number(value, attr)
        elif kind == "^":
            found["anon_pgoff"] = _number(value, attr)
        elif kind == "a" and value:
            name, x, chain = value.partition("x")
            length = _number(chain, attr) if x else 1
            if not name or length < 1:
                raise NotationError(
                    f"{attr!r} is no anon_vma: write a1, or a1x2 for a chain of two"
                )
            found["anon_vma"] = AnonVma(name, length)
        elif kind in ("u", "n", "p") and value:
            field = {"u": "userfaultfd", "n": "anon_name", "p": "policy"}[kind]
            found[field] = "" if value == "0" else value
        else:
            raise NotationError(
                f"unknown attribute {attr!r}: use f1@0, @4, c, k, a1, a1x2, u1, n1, p1 or ^4"
            )
    return Attributes(**found)  # type: ignore[arg-type]


def _ordered(start: int, end: int) -> tuple[int, int]:
    if start >= end:
        raise NotationError(f"{start}-{end} is an empty range: its end must lie above its start")
    return start, end


def parse_range(text: str) -> tuple[int, int]:
    """Return (start, end) of ``4-8``, in pages.

    Raises NotationError for an empty or reversed range.
    """
    match = _RANGE.fullmatch(text)
    if match is None:
        raise NotationError(f"{text!r} is no range: write START-END in pages, such as 4-8")
    return _ordered(parse_page(match[1]), parse_page(match[2]))


def ops_of(vm_file: str | None, *, close: bool, may_split: bool = True) -> VmOps | None:
    """Return the operations of a VMA; plain anonymous memory has none at all."""
    if close or not may_split:
        return VmOps(close=close, may_split=may_split)
    return PLAIN_OPS if vm_file is not None else None


@lru_cache(maxsize=65536)
def parse_vma(text: str) -> VMA:
    """Return the VMA that ``NAME=START-END:FLAGS[,attribute]*`` stands for.

    Raises NotationError.
    """
    match = _VMA.fullmatch(text)
    if match is None:
        raise NotationError(
            f"{text!r} is no VMA: write NAME=START-END:FLAGS, such as P=0-4:rw,f1@0,c"
        )
    name, first, last, flags, attributes = match.groups()
    start, end = _ordered(parse_page(first), parse_page(last))
    attrs = parse_attributes(attributes[1:])
    pgoff = start if attrs.vm_pgoff is None else attrs.vm_pgoff
    anon_pgoff = attrs.anon_pgoff
    if anon_pgoff is None:
        anon_pgoff = pgoff if attrs.vm_file is None else start
    return VMA(
        name,
        start,
        end,
        parse_flags(flags),
        attrs.vm_file,
        pgoff,
        ops_of(attrs.vm_file, close=attrs.close, may_split=attrs.may_split),
        attrs.anon_vma,
        attrs.userfaultfd or "",
        attrs.anon_name or "",
        attrs.policy or "",
        anon_pgoff,
    )


@lru_cache(maxsize=65536)
def _print_vma(vma: VMA) -> str:
    out = [f"{vma.name}={vma.vm_start}-{vma.vm_end}:{print_flags(vma.vm_flags)}"]
    if vma.vm_file is not None:
        out.append(f"f{vma.vm_file}@{vma.vm_pgoff}")
    elif vma.vm_pgoff != vma.vm_start:
        out.append(f"@{vma.vm_pgoff}")
    if vma.vm_ops is not None:
        if vma.vm_ops.close:
            out.append("c")
        if not vma.vm_ops.may_split:
            out.append("k")
    if vma.anon_vma is not None:
        name, chain = vma.anon_vma
        out.append(f"a{name}" if chain == 1 else f"a{name}x{chain}")
    for letter, value in ("u", vma.userfaultfd), ("n", vma.anon_name), ("p", vma.policy):
        if value:
            out.append(letter + value)
    if vma.anon_pgoff != (vma.vm_pgoff if vma.vm_file is None else vma.vm_start):
        out.append(f"^{vma.anon_pgoff}")
    return ",".join(out)
