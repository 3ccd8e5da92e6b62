"""How long exploring takes, and what it would take without thinking: ``make bench``.

Everything is measured in this one run, each thing beside what it is compared with, so that the
ratios hold on any machine; the times hold for this one, today. Nothing is stored.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from vmakernel import callers, explore, world
from vmakernel.flags import VM_READ, VM_WRITE
from vmakernel.kernels import Kernel, kernel
from vmakernel.shortest import DIFFER, Search
from vmakernel.space import AddressSpace
from vmakernel.vma import PLAIN_OPS, VMA

SIZES = (10, 1_000, 60_000)
BEFORE, AFTER = "6.3", "6.5"
SAMPLE = 50_000  # configurations decided one by one


# --- comparing two rules -------------------------------------------------------------------------


def forget() -> None:
    """Empty every cache, so that a measurement starts from nothing."""
    for module in (world, explore):
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()


def seconds(action: Callable[[], object], times: int = 5) -> float:
    """Return the median time of an action."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def cold(action: Callable[[], object]) -> Callable[[], object]:
    """Return the action done with empty caches."""

    def done() -> None:
        forget()
        action()

    return done


def brute_force(a: Kernel, b: Kernel, uniform: bool) -> float:
    """Return the seconds that one configuration takes when each is spelled out and decided."""
    small, dice = world.world(a, b, uniform=uniform), random.Random(1)
    sizes: Counter[world.Shape] = Counter()
    for one in world.classes(a, b, uniform=uniform):
        sizes[one.key.shape] += one.size
    some = dice.choices(list(sizes), list(sizes.values()), k=SAMPLE)
    asked = [small.sample(shape, dice) for shape in some]
    start = time.perf_counter()
    differ = 0
    for configuration in asked:
        then, now = configuration.decide(a), configuration.decide(b)
        differ += (then.before, then.after) != (now.before, now.after)
    deciding = (time.perf_counter() - start) / SAMPLE
    start = time.perf_counter()
    spelled = sum([1 for _ in itertools.islice(small.everything(), SAMPLE)])
    return deciding + (time.perf_counter() - start) / spelled


def comparing() -> Iterator[tuple[str, ...]]:
    """Measure the exhaustive comparison, and estimate it without classes."""
    a, b = kernel(BEFORE), kernel(AFTER)
    yield "comparing 6.3 with 6.5", "configurations", "classes", "time", "one by one", "ratio"
    for uniform in (True, False):
        known = world.classes(a, b, uniform=uniform)
        total = sum([one.size for one in known])
        taken = seconds(cold(partial(explore.diff, a, b, uniform=uniform)))
        plain = brute_force(a, b, uniform) * total
        yield (
            "  " + ("->close as real drivers have it" if uniform else "->close on any VMA"),
            f"{total:,}",
            f"{len(known):,}",
            f"{taken:.2f} s",
            f"{plain / 3600:.1f} h",
            f"{plain / taken:,.0f}",
        )


def judging() -> Iterator[tuple[str, ...]]:
    """Measure what a widget waits for when the reader changes a rule."""
    base = kernel(AFTER)
    rules = explore.toggled(base)
    yield "a rule changes, the plane follows", "", "", "time", "from nothing", "ratio"
    for uniform in (True, False):
        ask = partial(explore.judge, uniform=uniform)
        first = seconds(cold(partial(ask, base)))
        taken = sum([seconds(partial(ask, rule)) for rule in rules]) / len(rules)
        yield (
            "  " + ("->close as real drivers have it" if uniform else "->close on any VMA"),
            "",
            "",
            f"{taken * 1000:.0f} ms",
            f"{first * 1000:.0f} ms",
            f"{first / taken:.1f}",
        )


# --- searching -----------------------------------------------------------------------------------


class Forgetful(set[bytes]):
    """A set of states that knows none: every program is another story."""

    def __contains__(self, state: object) -> bool:
        return False


def searching() -> Iterator[tuple[str, ...]]:
    """Measure the search for a program, and the same without merging states."""
    yield "the shortest program", "calls", "states", "time", "none merged", "ratio"
    for name, versions, until in (
        ("  that leaks under 6.5", ["6.5"], "leak"),
        ("  that tells 6.9 from 6.12", ["6.9", "6.12"], DIFFER),
        ("  that tells 6.14 from 6.18", ["6.14", "6.18"], DIFFER),
    ):
        kernels = [kernel(version) for version in versions]
        search = Search(*kernels, until=until)
        taken = seconds(search.run, 1)
        plain = Search(*kernels, until=until, most=sys.maxsize)
        plain._seen = Forgetful()
        slow = seconds(partial(plain.run, seconds=60), 1)
        assert search.found is not None
        calls = f"{len(search.found.calls)}"
        states = f"{search.progress.states:,}"
        shown = f"{slow:.2f} s" if plain.found else f"> {slow:.0f} s"
        yield name, calls, states, f"{taken:.2f} s", shown, f"{slow / taken:.1f}"


# --- cost per call -------------------------------------------------------------------------------


class ListOfVmas:
    """The address space as a plain list, searched from its start."""

    def __init__(self, vmas: Iterable[VMA]) -> None:
        self.vmas = list(vmas)

    def __len__(self) -> int:
        return len(self.vmas)

    def __iter__(self) -> Iterator[VMA]:
        return iter(self.vmas)

    def around(self, address: int) -> tuple[VMA | None, VMA | None, VMA | None]:
        """Return (the VMA before, the VMA that holds `address`, the next one above it)."""
        before = None
        for index, vma in enumerate(self.vmas):
            if vma.vm_start > address:
                return before, None, vma
            if vma.vm_end > address:
                return before, vma, self.vmas[index + 1] if index + 1 < len(self) else None
            before = vma
        return before, None, None

    def add(self, vma: VMA) -> None:
        """Insert `vma`."""
        for index, other in enumerate(self.vmas):
            if other.vm_start > vma.vm_start:
                self.vmas.insert(index, vma)
                return
        self.vmas.append(vma)

    def remove(self, vma: VMA) -> None:
        """Take `vma` out."""
        self.vmas.remove(vma)


def alternating(count: int) -> list[VMA]:
    """Return that many VMAs of three pages, readable and writable by turns."""
    return [
        VMA(f"V{n}", 3 * n, 3 * n + 3, VM_READ | VM_WRITE * (n % 2), "1", 3 * n, PLAIN_OPS)
        for n in range(count)
    ]


def per_call(space: AddressSpace, chosen: Kernel, count: int, pairs: int) -> float:
    """Return the seconds that a mprotect() takes: a VMA is split, and merged again."""
    dice = random.Random(count)
    places = [dice.randrange(count) for _ in range(pairs)]
    start = time.perf_counter()
    for n in places:
        at, mark = 3 * n + 1, space.mark()
        flags = VM_READ | VM_WRITE * (n % 2)
        callers.protect(space, chosen, at, at + 1, flags ^ VM_WRITE)
        callers.protect(space, chosen, at, at + 1, flags)
        space.undo(mark)  # so that no history piles up
    return (time.perf_counter() - start) / (2 * pairs)


def scaling() -> Iterator[tuple[str, ...]]:
    """Measure a call in address spaces of several sizes, against a plain list."""
    chosen = kernel(AFTER)
    yield "a mprotect() among so many VMAs", "VMAs", "", "time", "plain list", "ratio"
    costs: dict[str, list[float]] = {"tree": [], "list": []}
    for count in SIZES:
        vmas = alternating(count)
        ours, naive = AddressSpace(vmas), AddressSpace(vmas)
        naive.tree = ListOfVmas(vmas)  # type: ignore[assignment]
        pairs = 2000 if count < 10_000 else 40
        rounds = [
            (per_call(ours, chosen, count, 2000), per_call(naive, chosen, count, pairs))
            for _ in range(5)
        ]
        tree, plain = [statistics.median(column) for column in zip(*rounds, strict=True)]
        costs["tree"].append(tree)
        costs["list"].append(plain)
        yield (
            "",
            f"{count:,}",
            "",
            f"{tree * 1e6:.1f} µs",
            f"{plain * 1e6:,.1f} µs",
            f"{plain / tree:,.1f}",
        )
    slopes = [f"n^{slope(cost):.2f}" for cost in (costs["tree"], costs["list"])]
    yield "  from 1,000 to 60,000 it grows as", "", "", *slopes, ""


def slope(costs: list[float]) -> float:
    """Return the exponent with which the costs grow between the two largest sizes."""
    return math.log(costs[-1] / costs[-2]) / math.log(SIZES[-1] / SIZES[-2])


# --- all of it -----------------------------------------------------------------------------------


def main() -> None:
    """Measure, and print the table as it grows."""
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, one used; medians of 5.")
    print(f"One by one: what {SAMPLE:,} random configurations took, times all of them.\n")
    for part in (comparing, judging, searching, scaling):
        for first, *cells in part():
            print(f"{first:36}" + "".join([f"{cell:>15}" for cell in cells]), flush=True)
        print()


if __name__ == "__main__":
    main()
