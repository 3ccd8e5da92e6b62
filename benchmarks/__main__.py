"""How long exploring takes, and what it would take without thinking: ``make bench``.

``python3 -m benchmarks --chart growth.svg`` (or .png) draws its last part.

Everything is measured in this one run, each thing beside what it is compared with, so that the
ratios hold on any machine; the times hold for this one, today. Nothing else is stored.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from vmakernel import explore, growth, world
from vmakernel.kernels import Kernel, kernel
from vmakernel.run import predict_all, side_by_side
from vmakernel.shortest import DIFFER, Search

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


def scaling() -> Iterator[tuple[str, ...]]:
    """Measure a call in address spaces of several sizes, against a plain list."""
    yield "a mprotect() among so many VMAs", "VMAs", "", "time", "plain list", "ratio"
    found = growth.measure(AFTER)
    for count, tree, plain in zip(*found, strict=True):
        yield "", f"{count:,}", "", growth.micro(tree), growth.micro(plain), f"{plain / tree:,.1f}"
    slopes = [f"n^{exponent:.2f}" for exponent in found.slopes.values()]
    yield "  from 1,000 to 60,000 it grows as", "", "", *slopes, ""


def running() -> Iterator[tuple[str, ...]]:
    """Measure what `run` takes for programs of several lengths; each call makes two VMAs more."""
    yield "so many calls under 6.18", "calls", "", "time", "a call", "ratio"
    least = 0.0
    for count in (500, 2_000, 8_000):
        calls = "\n".join([f"mprotect {page} 1 none" for page in range(1, 2 * count, 2)])
        text = f"mmap 0 {2 * count} rw p anon\n{calls}"
        taken = seconds(lambda: side_by_side(predict_all(text, [kernel("6.18")])[0]), 3)  # noqa: B023
        least = least or taken / count
        cost = taken / count
        yield (
            "",
            f"{count:,}",
            "",
            f"{taken:.2f} s",
            growth.micro(cost),
            f"{cost / least:.1f}",
        )


def chart(file: Path) -> str:
    """Measure the last part alone, write it as a chart to `file`, and return its numbers."""
    if file.suffix not in (".svg", ".png"):
        raise ValueError(f"cannot write {file.name}: end its name in .svg or .png")
    found = growth.measure(AFTER)
    file.write_bytes(found.png() if file.suffix == ".png" else found.svg.encode())
    return found.text


# --- all of it -----------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table as it grows; or draw what a call costs."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks", description=main.__doc__)
    parser.add_argument("--chart", metavar="FILE", type=Path, help="an .svg or .png to write")
    file = parser.parse_args(arguments).chart
    if file is not None:
        try:
            print(chart(file))
        except (OSError, ValueError) as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2
        return 0
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, one used; medians of 5.")
    print(f"One by one: what {SAMPLE:,} random configurations took, times all of them.\n")
    for part in (comparing, judging, searching, scaling, running):
        for first, *cells in part():
            print(f"{first:36}" + "".join([f"{cell:>15}" for cell in cells]), flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
