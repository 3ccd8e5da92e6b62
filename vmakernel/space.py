"""The address space: carries out what was decided, and can take it back.

Previous: tree.py; next: callers.py.

Decisions are pure; here things happen. Every change is written into a journal: what went, what
came, and what there is to say about it. Undo is nothing but the journal read backwards, and the
log is the journal read forwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from vmakernel.flags import InputError
from vmakernel.layout import parse_layout, strip
from vmakernel.outcome import Outcome
from vmakernel.tree import VmaTree
from vmakernel.vma import VMA

# The default of sysctl vm.max_map_count.
MAX_MAP_COUNT: Final = 65530


class Log(NamedTuple):
    """What happened to VMAs, in order; each a tuple of names, `dups` of (to, from)."""

    removed: tuple[str, ...] = ()
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    dups: tuple[tuple[str, str], ...] = ()


NOTHING: Final = Log()


class SpaceError(InputError):
    """VMAs that cannot stand in one address space; says which."""


class InvariantError(AssertionError):
    """The engine broke one of its own promises; the message holds the whole state."""


class AddressSpace:
    """VMAs, what happened to them, and a journal to take it back.

    No split makes more than `max_map_count` VMAs (sysctl vm.max_map_count).
    """

    __slots__ = ("_journal", "_past", "_pieces", "max_map_count", "tree")

    def __init__(self, vmas: Iterable[VMA] = ()) -> None:
        given = sorted(vmas, key=lambda vma: vma.vm_start)
        names = set()
        end = 0
        for vma in given:
            if vma.vm_start < end:
                raise SpaceError(
                    f"{vma} overlaps its left neighbour: move its start to {end} or above"
                )
            if vma.name in names:
                raise SpaceError(f"two VMAs are called {vma.name}: give each a name of its own")
            names.add(vma.name)
            end = vma.vm_end
        self.tree = VmaTree(given)
        self.max_map_count = MAX_MAP_COUNT
        self._pieces = 0
        self._past = NOTHING  # what happened before the journal begins
        self._journal: list[tuple[list[VMA], list[VMA], Log, int]] = []

    def copy(self) -> AddressSpace:
        """Return an address space in the same state, with nothing to take back."""
        twin = AddressSpace(self.tree)
        twin._past, twin._pieces = self.log, self._pieces
        twin.max_map_count = self.max_map_count
        return twin

    # --- looking -------------------------------------------------------------------------------

    @property
    def vmas(self) -> tuple[VMA, ...]:
        """All VMAs, lowest address first."""
        return tuple(self.tree)

    def named(self, name: str) -> VMA | None:
        """Return the VMA called `name`, if there is one."""
        return next((vma for vma in self.tree if vma.name == name), None)

    @property
    def log(self) -> Log:
        """All that happened so far."""
        told = [self._past, *[log for _, _, log, _ in self._journal if log is not NOTHING]]
        return Log(*[tuple(itertools.chain(*kind)) for kind in zip(*told, strict=True)])

    @property
    def full(self) -> bool:
        """True where a split would make too many VMAs."""
        return len(self.tree) >= self.max_map_count

    def neighbours(self, start: int, end: int) -> tuple[VMA | None, VMA | None, VMA | None]:
        """Return (prev, curr, next) of a range as the kernel's callers find them.

        Where the range starts inside curr, prev is curr itself.
        """
        prev, curr, above = self.tree.around(start)
        if curr is not None and curr.vm_start < start:
            prev = curr
        return prev, curr, above

    # --- acting --------------------------------------------------------------------------------

    def _change(self, gone: list[VMA], come: list[VMA], log: Log = NOTHING) -> None:
        self._journal.append((gone, come, log, self._pieces))
        for vma in gone:
            self.tree.remove(vma)
        for vma in come:
            self.tree.add(vma)

    def merge(self, outcome: Outcome) -> VMA:
        """Carry out a decided merge and return the extended VMA; no ->open or ->close is called."""
        assert outcome.returned is not None
        log = NOTHING
        removed = outcome.removed
        if removed or outcome.dups:
            log = Log(
                removed=tuple([vma.name for vma in removed]),
                leaked=tuple([vma.name for vma in removed if vma.has_close]),
                dups=outcome.dups,
            )
        come = [vma for vma in outcome.after if vma is not None]
        self._change(list(outcome.before), come, log)
        return outcome.returned

    def map(self, vma: VMA, *, opened: bool = False) -> VMA:
        """Add a new VMA; `opened`: it is a copy, and ->open runs on it."""
        self._change([], [vma], Log(opened=(vma.name,)) if opened and vma.has_open else NOTHING)
        return vma

    def alter(self, vma: VMA, new: VMA) -> VMA:
        """Put `new` in the place of `vma`: other flags, another length, no hook called."""
        if new != vma:
            self._change([vma], [new])
        return new

    def split(self, vma: VMA, at: int, *, new_below: bool, clone: bool = True) -> tuple[VMA, VMA]:
        """Split `vma` at page `at` and return (lower, upper); ->open runs on the new piece.

        `new_below`: the lower part is the new piece. `clone`: so is the anon_vma chain (v2.6.34).
        (__split_vma())
        """
        assert vma.vm_start < at < vma.vm_end
        name = f"{vma.name.partition('.')[0]}.{self._pieces + 1}"
        lower, upper = vma._replace(vm_end=at), vma.moved(at, vma.vm_end)
        if new_below:
            lower = lower._replace(name=name)
        else:
            upper = upper._replace(name=name)
        log = Log(
            opened=(name,) if vma.has_open else (),
            dups=((name, vma.name),) if clone and vma.anon_vma else (),
        )
        self._change([vma], [lower, upper], log)
        self._pieces += 1
        return lower, upper

    def unmap(self, vma: VMA) -> None:
        """Remove `vma`, running its ->close (remove_vma())."""
        log = Log(removed=(vma.name,), closed=(vma.name,) if vma.has_close else ())
        self._change([vma], [], log)

    # --- taking back ---------------------------------------------------------------------------

    def mark(self) -> int:
        """Return a mark to which undo() can go back."""
        return len(self._journal)

    def changes(self, start: int, end: int | None = None) -> Iterator[tuple[list[VMA], list[VMA]]]:
        """Give what went and what came with each change since the mark `start`, to `end`."""
        for gone, come, _, _ in self._journal[start:end]:
            yield gone, come

    def undo(self, mark: int | None = None) -> None:
        """Take back the last change, or all changes since `mark`."""
        target = max(len(self._journal) - 1, 0) if mark is None else mark
        while len(self._journal) > target:
            gone, come, _, pieces = self._journal.pop()
            for vma in come:
                self.tree.remove(vma)
            for vma in gone:
                self.tree.add(vma)
            self._pieces = pieces

    # --- promises ------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise InvariantError unless every promise holds."""
        try:
            end = 0
            names = set()
            for vma in self.tree:
                assert vma.vm_start < vma.vm_end, f"{vma} is empty"
                assert vma.vm_start >= end, f"{vma} overlaps its left neighbour"
                assert vma.name not in names, f"the name {vma.name} stands twice"
                end = vma.vm_end
                names.add(vma.name)
            assert len(names) == len(self.tree), "the count is off"
            log = self.log
            gone = log.removed
            assert len(set(gone)) == len(gone), "a VMA was removed twice"
            assert not names & set(gone), "a removed VMA is still here"
            both = set(log.closed) & set(log.leaked)
            assert not both, f"{both} both closed and leaked"
            assert set(log.closed) | set(log.leaked) <= set(gone), "closed but still here"
        except AssertionError as broken:
            raise InvariantError(f"{broken} in {self!r} after {self.log}") from None

    # --- notation ------------------------------------------------------------------------------

    @classmethod
    def parse(cls, text: str) -> AddressSpace:
        """Return the address space that `text` describes, as repr() writes it or in a part of that.

        Raises NotationError or SpaceError.
        """
        return cls(parse_layout(text))

    def __str__(self) -> str:
        return " ".join([str(vma) for vma in self.tree])

    def __repr__(self) -> str:
        return f"{strip(self.tree)}  {self}"
