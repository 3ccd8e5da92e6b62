"""The small world: every address space of up to three VMAs around a range, and its classes.

Previous: own.py; next: explore.py.

`World.everything` spells out every combination of what the merge code looks at: many millions of
configurations, far too many to decide one by one. But the merge code does not care which file two
VMAs map, only whether it is the same; and a neighbour that would not match anyway may have any
anon_vma. So the configurations fall into a few thousand *classes* that no kernel can tell apart:
the engine decides one for all, and the answer counts for all. That no class mixes two answers is
tested: on every configuration of a smaller world, on samples of this one, and by `make test-slow`
on all of it.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from vmakernel import callers
from vmakernel.flags import parse_flags, print_flags
from vmakernel.kernels import Kernel, Rule
from vmakernel.outcome import Outcome
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, AnonVma, Proposal, ops_of

Around = tuple[VMA | None, VMA | None, VMA | None]  # prev, curr and next

# --- shapes and configurations -------------------------------------------------------------------


class Shape(NamedTuple):
    """Who asks, about which part of curr, and where the neighbours are."""

    call: str  # new (a moved range), mmap, modify, or mremap (prev grows in place)
    part: str  # of curr: whole, head, tail or inside; empty where nothing is mapped yet
    prev: str  # touching, gap (it is there, but further off) or none
    next: str


_PLACES: Final = ("touching", "gap", "none")
_AROUND: Final = tuple(itertools.product(_PLACES, _PLACES))
SHAPES: Final = (
    *[Shape(call, "", *places) for call in ("new", "mmap") for places in _AROUND],
    *[Shape("modify", part, *a) for part in ("whole", "head", "tail", "inside") for a in _AROUND],
    *[Shape("mremap", "", "touching", place) for place in _PLACES],
)
# The pages of curr (none: an empty place) and of the range.
_PARTS: Final = {
    "": ((4, 4), (4, 8)),
    "whole": ((4, 8), (4, 8)),
    "head": ((4, 12), (4, 8)),
    "tail": ((4, 12), (8, 12)),
    "inside": ((4, 16), (8, 12)),
}
# So far off is the offset of a VMA that does not continue the range.
ELSEWHERE: Final = 96


class Configuration(NamedTuple):
    """One address space and one question to the merge code."""

    shape: Shape
    vmas: tuple[VMA, ...]
    proposal: Proposal

    @property
    def scenario(self) -> str:
        """The scenario that replays it: ``VMA* | OP``."""
        ask, curr = self.proposal, self.proposal.curr
        if self.shape.call == "mremap":
            operation = f"mremap P+{ask.pages}"
        elif curr is None:
            like = VMA("R", *ask[:5], None, *ask[5:10])
            operation = f"{self.shape.call} {str(like).partition('=')[2]}"
        else:
            operation = f"modify {ask.vm_start}-{ask.vm_end}:{print_flags(ask.vm_flags)}"
            for letter, old, new in (
                ("u", curr.userfaultfd, ask.userfaultfd),
                ("n", curr.anon_name, ask.anon_name),
                ("p", curr.policy, ask.policy),
            ):
                operation += f",{letter}{new or 0}" if old != new else ""
        return f"{' '.join(map(str, self.vmas))} | {operation}".lstrip()

    def decide(self, kernel: Kernel) -> Outcome:
        """Return what the merge code of `kernel` does; growth that does not ask it is case 0."""
        if self.shape.call == "mmap":
            return callers.decide_mmap(kernel, self.proposal)
        if self.shape.call != "mremap":
            return callers.decide(kernel, self.proposal)
        prev = self.vmas[0]
        space = AddressSpace(self.vmas)
        _, grown, outcome = callers.mremap(space, kernel, prev, self.proposal.pages)
        return outcome or Outcome(0, grown, (prev,), (grown,), (), ())

    @property
    def with_one_neighbour(self) -> list[Configuration]:
        """The same question where prev or next is not there."""
        found = []
        for name in "PN":
            kept = tuple([vma for vma in self.vmas if vma.name != name])
            ask = self.proposal
            if name == "N":
                ask = ask._replace(next=None)
            elif ask.prev is not None and ask.prev.name == "P" and self.shape.call != "mremap":
                ask = ask._replace(prev=None)
            else:
                continue
            found.append(self._replace(vmas=kept, proposal=ask))
        return found


def configure(
    shape: Shape, like: VMA, prev: VMA | None, curr: VMA | None, next: VMA | None
) -> Configuration:
    """Return the configuration that proposes a range `like` this VMA between the others."""
    inside = curr is not None and curr.vm_start < like.vm_start
    return Configuration(
        shape,
        tuple([vma for vma in (prev, curr, next) if vma is not None]),
        Proposal(
            like.vm_start,
            like.vm_end,
            like.vm_flags,
            like.vm_file,
            like.vm_pgoff,
            like.anon_vma,
            like.userfaultfd,
            like.anon_name,
            like.policy,
            like.anon_pgoff,
            curr if inside else prev,
            curr,
            next,
            shape.call == "new",
        ),
    )


# --- the world -----------------------------------------------------------------------------------


class World(NamedTuple):
    """The values that each attribute takes; the world holds every combination of them.

    The range has no policy and no name, and its offset is its address: what counts is how its
    neighbours differ from it. A neighbour behind a gap is one plain VMA. A change of mapped pages
    changes one thing, as system calls do: flags, userfaultfd, name or policy.
    `uniform`: all VMAs of a file have ->close or none has, and memory without a file has none (real
    drivers: VMAs alike in file and flags); otherwise every VMA has it or not, whatever it maps.
    """

    uniform: bool
    range_flags: tuple[int, ...]
    flags: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...]  # how far off vm_pgoff and anon_pgoff are
    files: tuple[str | None, ...] = ("1", None)
    labels: tuple[str, ...] = ("", "1")  # of userfaultfd, name and policy
    anon_vmas: tuple[AnonVma | None, ...] = (
        None,
        AnonVma("1"),
        AnonVma("2"),
        AnonVma("1", 2),
        AnonVma("2", 2),
    )

    def everything(self, shapes: Iterable[Shape] = SHAPES) -> Iterator[Configuration]:
        """Yield every configuration; every count in this package is a count of these."""
        for shape in shapes:
            nexts = self.neighbours(shape, "N")
            for like, curr in self.ranges(shape):
                for prev in self.neighbours(shape, "P", like):
                    for next in nexts:
                        if self.possible(prev, curr, next):
                            yield configure(shape, like, prev, curr, next)

    def sample(self, shape: Shape, dice: random.Random, alike: float = 0) -> Configuration:
        """Return a configuration of this shape; any of them, if nothing is made `alike`.

        `alike` is how often, 0 to 1, a neighbour is of those that may match: where none matches,
        nothing happens.
        """
        while True:
            like, curr = dice.choice(self.ranges(shape))
            around = []
            for name in "PN":
                vma = dice.choice(self.neighbours(shape, name, like))
                if vma is not None and dice.random() < alike:
                    vma = dice.choice(self.matching(shape, name, like))
                around.append(vma)
            prev, next = around
            if self.possible(prev, curr, next):
                return configure(shape, like, prev, curr, next)

    def matching(self, shape: Shape, name: str, like: VMA) -> list[VMA | None]:
        """Return neighbours that differ from the range in flags, ->close and anon_vma at most."""
        touching, span = _place(shape, name)
        if not touching or span is None or (shape.call == "mremap" and name == "P"):
            return self.neighbours(shape, name, like)
        same = _vma(name, span, 0, like.vm_file)._replace(userfaultfd=like.userfaultfd)
        return [vma for flags in self.flags for vma in self.dressed(same._replace(vm_flags=flags))]

    def possible(self, *vmas: VMA | None) -> bool:
        """True unless, in a uniform world, two VMAs of one file differ in ->close."""
        if not self.uniform:
            return True
        closes: dict[str | None, bool] = {None: False}
        return all(
            closes.setdefault(vma.vm_file, vma.has_close) == vma.has_close
            for vma in vmas
            if vma is not None
        )

    # --- its parts -------------------------------------------------------------------------------

    def ranges(self, shape: Shape) -> list[tuple[VMA, VMA | None]]:
        """Return every range of a shape, as a VMA that would be like it, with the curr it is in."""
        return _ranges(self, shape.call, shape.part)

    def bare_ranges(self, shape: Shape) -> list[tuple[VMA, list[VMA | None]]]:
        """Return each range and every curr it may be in, without anon_vma and ->close."""
        return _bare_ranges(self, shape.call, shape.part)

    def neighbours(self, shape: Shape, name: str, like: VMA | None = None) -> list[VMA | None]:
        """Return everything that may stand beside the range as P or as N."""
        if shape.call == "mremap" and name == "P":
            assert like is not None
            grows = _vma("P", (0, 4), like.vm_flags, like.vm_file)
            return [vma for vma in self.dressed(grows) if vma.anon_vma == like.anon_vma]
        return _neighbours(self, name, *_place(shape, name))

    def bare_neighbours(self, shape: Shape, name: str, like: VMA) -> list[VMA | None]:
        """Return the same without anon_vma and ->close."""
        if shape.call == "mremap" and name == "P":
            return [_vma("P", (0, 4), like.vm_flags, like.vm_file)]
        return _bare_neighbours(self, name, *_place(shape, name))

    def choices(self, shape: Shape, around: Around) -> list[tuple[bool, ...]]:
        """Return who of prev, curr and next may have ->close together."""
        free = shape.prev == "touching", True, shape.next == "touching"
        options = [
            self.closes(vma.vm_file) if vma is not None and one else (False,)
            for vma, one in zip(around, free, strict=True)
        ]
        return [
            closes
            for closes in itertools.product(*options)
            if self.possible(
                *[
                    vma and vma._replace(vm_ops=ops_of(vma.vm_file, close=close))
                    for vma, close in zip(around, closes, strict=True)
                ]
            )
        ]

    def closes(self, vm_file: str | None) -> tuple[bool, ...]:
        """Return whether a VMA of this file may be without ->close, and may have it."""
        return (False,) if self.uniform and vm_file is None else (False, True)

    def dressed(self, vma: VMA) -> list[VMA]:
        """Return `vma` with every anon_vma, with and without ->close."""
        return [
            vma._replace(vm_ops=ops_of(vma.vm_file, close=close), anon_vma=anon)
            for close in self.closes(vma.vm_file)
            for anon in self.anon_vmas
        ]


def world(*kernels: Kernel, uniform: bool = True) -> World:
    """Return the small world in which these kernels can be compared.

    Flags that one of them does not know are left out; the anonymous offset is in if one looks.
    """
    absent = 0
    for one in kernels:
        absent |= one.absent_flags
    offsets = any(one.anon_pgoff for one in kernels)
    # Only memory that may be written holds anonymous pages, and has such an offset.
    may = "W" if offsets else ""

    def known(*texts: str) -> tuple[int, ...]:
        return tuple([bits for bits in map(parse_flags, texts) if not bits & absent])

    return World(
        uniform,
        known(f"rw{may}", f"rw{may}D", f"rw{may}I"),
        known(f"rw{may}", f"r{may}", f"rw{may}D"),
        ((0, 0), (ELSEWHERE, ELSEWHERE), *([(0, ELSEWHERE)] if offsets else [])),
    )


def _place(shape: Shape, name: str) -> tuple[bool, tuple[int, int] | None]:
    """Return whether P or N touches, and its pages."""
    where = shape.prev if name == "P" else shape.next
    if where == "none":
        return False, None
    touching = where == "touching"
    if name == "P":
        return touching, (0, 4 if touching else 2)
    end = max(_PARTS[shape.part][0][1], _PARTS[shape.part][1][1])
    return touching, (end if touching else end + 2, end + 4)


def _vma(name: str, span: tuple[int, int], vm_flags: int, vm_file: str | None) -> VMA:
    """Return a VMA whose offsets are its address, so that all such continue each other."""
    start, end = span
    ops = ops_of(vm_file, close=False)
    return VMA(name, start, end, vm_flags, vm_file, start, ops, anon_pgoff=start)


@lru_cache(maxsize=64)
def _bare_ranges(world: World, call: str, part: str) -> list[tuple[VMA, list[VMA | None]]]:
    curr_span, span = _PARTS[part]
    contexts = world.labels if call == "new" else world.labels[:1]
    found: list[tuple[VMA, list[VMA | None]]] = []
    for file, flags, context in itertools.product(world.files, world.range_flags, contexts):
        like = _vma("R", span, flags, file)._replace(userfaultfd=context)
        currs: list[VMA | None] = [None]
        if call == "modify":
            same = _vma("C", curr_span, flags, file)
            currs = [same._replace(vm_flags=old) for old in world.flags if old != flags]
            for label in world.labels[1:]:
                currs.append(same._replace(userfaultfd=label))
                currs.append(same._replace(anon_name=label))
                currs.append(same._replace(policy=label))
        found.append((like, currs))
    return found


@lru_cache(maxsize=64)
def _ranges(world: World, call: str, part: str) -> list[tuple[VMA, VMA | None]]:
    found: list[tuple[VMA, VMA | None]] = []
    anon_vmas = world.anon_vmas if call != "mmap" else (None,)
    for like, currs in _bare_ranges(world, call, part):
        for curr in currs:
            if curr is None:
                found += [(like._replace(anon_vma=anon), None) for anon in anon_vmas]
            else:
                found += [(like._replace(anon_vma=c.anon_vma), c) for c in world.dressed(curr)]
    return found


@lru_cache(maxsize=64)
def _bare_neighbours(
    world: World, name: str, touching: bool, span: tuple[int, int] | None
) -> list[VMA | None]:
    if span is None:
        return [None]
    if not touching:
        return [_vma(name, span, world.flags[0], None)]
    found: list[VMA | None] = []
    for file, flags, offset in itertools.product(world.files, world.flags, world.offsets):
        vma = _vma(name, span, flags, file)
        vma = vma._replace(vm_pgoff=vma.vm_pgoff + offset[0], anon_pgoff=vma.anon_pgoff + offset[1])
        for labels in itertools.product(world.labels, repeat=3):
            userfaultfd, anon_name, policy = labels
            found.append(vma._replace(userfaultfd=userfaultfd, anon_name=anon_name, policy=policy))
    return found


@lru_cache(maxsize=64)
def _neighbours(
    world: World, name: str, touching: bool, span: tuple[int, int] | None
) -> list[VMA | None]:
    bare = _bare_neighbours(world, name, touching, span)
    if not touching:
        return bare
    return [vma for one in bare if one is not None for vma in world.dressed(one)]


# --- its classes ---------------------------------------------------------------------------------


class Key(NamedTuple):
    """All that the merge code can know of a configuration.

    `prev` and `next` say which of the kernels would merge the range with that neighbour alone if
    nobody had ->close. A neighbour that none of them would take is never looked at again, and its
    ->close and its anon_vma are None here.
    """

    shape: Shape
    prev: tuple[bool, ...]
    next: tuple[bool, ...]
    sticky: tuple[int, ...] = ()  # flags that a merge hands on
    theme: tuple[object, ...] = ()  # what a learner's own test might look at besides
    closes: tuple[bool | None, ...] = ()  # of prev, curr and next
    anon_vmas: tuple[tuple[int, int] | None, ...] = ()  # of prev, the range and next, renamed


class Class(NamedTuple):
    """Configurations that no kernel in question can tell apart: how many, and a plain one."""

    key: Key
    size: int
    example: Configuration


def free(kernel: Kernel) -> Kernel:
    """Return `kernel` without any close test, which also sits in can_vma_merge_*()."""
    rule = Rule("no close test", before=False, after=False, mremap=kernel.rule.mremap)
    own = kernel.own and kernel.own._replace(can_vma_merge_before=None, can_vma_merge_after=None)
    return kernel.with_rule(rule).with_own(own)


def classes(*kernels: Kernel, uniform: bool = True, themes: bool = False) -> tuple[Class, ...]:
    """Return the classes of the small world of these kernels, whatever their close tests are.

    `themes`: keep apart what differs in the flags, the file or the context of the range.
    """
    return classes_of(world(*kernels, uniform=uniform), asked_by(*kernels), themes=themes)


def asked_by(*kernels: Kernel) -> tuple[Kernel, ...]:
    """Return the kernels to ask which neighbours match: these, without their close tests, once."""
    asked = [free(one) for one in kernels]
    # A learner's predicate may take what no kernel takes.
    asked += [free(one).with_own(one.own) for one in kernels if one.own is not None]
    return tuple(dict.fromkeys(asked))


@lru_cache(maxsize=32)
def classes_of(
    world: World, kernels: tuple[Kernel, ...], *, themes: bool = False
) -> tuple[Class, ...]:
    """Return the classes of `world` for kernels without close tests.

    What a VMA is like, whether it has ->close and which anon_vma it has are independent: each is
    counted alone, and the counts are multiplied.
    """
    found = []
    for shape in SHAPES:
        for key, some in _bare_classes(world, shape, kernels, themes=themes).items():
            options = _anon_classes(world.anon_vmas, shape, *_looked_at(key))
            for renamed, (times, chosen) in options.items():
                prev, curr, next = [
                    vma
                    and vma._replace(vm_ops=ops_of(vma.vm_file, close=bool(close)), anon_vma=anon)
                    for vma, close, anon in zip(some.around, key.closes, chosen, strict=True)
                ]
                like = some.like._replace(anon_vma=chosen[1])
                example = configure(shape, like, prev, curr, next)
                found.append(Class(key._replace(anon_vmas=renamed), some.size * times, example))
    return tuple(found)


def key_of(
    configuration: Configuration, kernels: tuple[Kernel, ...], *, themes: bool = False
) -> Key:
    """Return the key of the class that a configuration is in, for kernels without close tests."""
    shape, vmas, ask = configuration
    named = {vma.name: vma for vma in vmas}
    prev, curr, next = [named.get(name) for name in "PCN"]
    like = VMA("R", *ask[:5], None, None, *ask[6:10])
    around = _bare(prev), _bare(curr), _bare(next)
    key = _key(
        kernels,
        shape,
        like,
        around,
        _takes(kernels, shape, like, around[1], around[0]),
        _takes(kernels, shape, like, around[1], around[2]),
        (
            bool(prev and prev.has_close),
            bool(curr and curr.has_close),
            bool(next and next.has_close),
        ),
        themes=themes,
    )
    anon_vmas = prev and prev.anon_vma, ask.anon_vma, next and next.anon_vma
    return key._replace(anon_vmas=_renamed(anon_vmas, *_looked_at(key)))


def _bare(vma: VMA | None) -> VMA | None:
    return vma and vma._replace(vm_ops=ops_of(vma.vm_file, close=False), anon_vma=None)


def _takes(
    kernels: tuple[Kernel, ...], shape: Shape, like: VMA, curr: VMA | None, side: VMA | None
) -> tuple[bool, ...]:
    """Ask each kernel whether it would merge the range with this neighbour, were it alone."""
    if side is None:
        return (False,) * len(kernels)
    left = side.name == "P"
    _, _, ask = configure(shape, like, side if left else None, curr, None if left else side)
    decide = callers.decide_mmap if shape.call == "mmap" else callers.decide
    return tuple([decide(kernel, ask).merged for kernel in kernels])


def _key(
    kernels: tuple[Kernel, ...],
    shape: Shape,
    like: VMA,
    around: Around,
    prev_takes: tuple[bool, ...],
    next_takes: tuple[bool, ...],
    closes: tuple[bool, ...],
    *,
    themes: bool,
) -> Key:
    """Return the key of a configuration, its anon_vmas still to come."""
    curr = around[1]
    left, right = _looked_at(Key(shape, prev_takes, next_takes))
    looked_at = left, curr is not None and (left or right), right
    sticky = 0
    for kernel in kernels:
        sticky |= kernel.sticky_flags
    hands_on: list[int] = []
    if sticky and (left or right):
        hands_on = [like.vm_flags & sticky]
        hands_on += [
            vma.vm_flags & sticky if vma and asked else 0
            for vma, asked in zip(around, looked_at, strict=True)
        ]
    theme: list[object] = []
    if themes and (left or right):
        theme = [like.vm_flags, like.vm_file, like.userfaultfd]
        if curr is not None:
            theme += [curr.userfaultfd, curr.anon_name, curr.policy]
    return Key(
        shape,
        prev_takes,
        next_takes,
        tuple(hands_on),
        tuple(theme),
        tuple([close if asked else None for close, asked in zip(closes, looked_at, strict=True)]),
    )


class _Some(NamedTuple):
    """So many ways to make a configuration of bare VMAs, and the plainest."""

    size: int
    like: VMA
    around: Around

    @property
    def length(self) -> int:
        """How much there is to read."""
        return sum([len(str(vma)) for vma in (self.like, *self.around) if vma is not None])


def _bare_classes(
    world: World, shape: Shape, kernels: tuple[Kernel, ...], *, themes: bool
) -> dict[Key, _Some]:
    """Return the classes as far as they do not depend on anon_vmas."""
    found: dict[Key, _Some] = {}
    sticky = 0
    for kernel in kernels:
        sticky |= kernel.sticky_flags
    for like, currs in world.bare_ranges(shape):
        # One VMA stands for all that the kernels take alike.
        sides = []
        for name in "PN":
            side: dict[object, tuple[VMA | None, tuple[bool, ...], int]] = {}
            for vma in world.bare_neighbours(shape, name, like):
                takes = _takes(kernels, shape, like, currs[0], vma)
                alike = takes, vma and vma.vm_file, vma and vma.vm_flags & sticky
                first, _, count = side.get(alike, (vma, takes, 0))
                side[alike] = first, takes, count + 1
            sides.append(side.values())
        # Nobody looks at what curr is like, but for the flags that it would hand on.
        several = currs if sticky or themes else currs[:1]
        times = len(currs) // len(several)
        for (prev, left, lefts), (next, right, rights) in itertools.product(*sides):
            for curr in several:
                some = _Some(lefts * rights * times, like, (prev, curr, next))
                for closes in world.choices(shape, some.around):
                    key = _key(
                        kernels, shape, like, some.around, left, right, closes, themes=themes
                    )
                    known = found.get(key, some._replace(size=0))
                    plainest = min(some, known, key=lambda one: one.length)
                    found[key] = plainest._replace(size=known.size + some.size)
    return found


def _looked_at(key: Key) -> tuple[bool, bool]:
    """Return whether anybody looks at prev and at next."""
    # mremap() may grow prev without asking the merge code at all.
    return any(key.prev) or key.shape.call == "mremap", any(key.next)


def _renamed(
    anon_vmas: tuple[AnonVma | None, ...], left: bool, right: bool
) -> tuple[tuple[int, int] | None, ...]:
    """Number the anon_vmas that are looked at in the order in which they come."""
    numbers: dict[str, int] = {}
    looked_at = left, left or right, right
    return tuple(
        [
            (numbers.setdefault(anon.name, len(numbers)), anon.chain) if anon and asked else None
            for anon, asked in zip(anon_vmas, looked_at, strict=True)
        ]
    )


@lru_cache(maxsize=256)
def _anon_classes(
    anon_vmas: tuple[AnonVma | None, ...], shape: Shape, left: bool, right: bool
) -> dict[tuple[tuple[int, int] | None, ...], tuple[int, tuple[AnonVma | None, ...]]]:
    """Return the choices of anon_vmas for prev, the range and next: how many are alike, and one."""
    none = (None,)
    found: dict[tuple[tuple[int, int] | None, ...], tuple[int, tuple[AnonVma | None, ...]]] = {}
    for chosen in itertools.product(
        anon_vmas if shape.prev == "touching" else none,
        anon_vmas if shape.call != "mmap" else none,
        anon_vmas if shape.next == "touching" else none,
    ):
        if shape.call == "mremap" and chosen[0] != chosen[1]:
            continue  # the range is to be more of prev
        renamed = _renamed(chosen, left, right)
        count, first = found.get(renamed, (0, chosen))
        found[renamed] = count + 1, first
    return found
