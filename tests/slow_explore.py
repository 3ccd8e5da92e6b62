"""Every configuration of the small world, decided one by one: `make test-slow`.

It takes an hour on two processors. Four moments of history decide all 305 million
configurations, and what they do is counted; the classes have to claim exactly that. With the word
``mixed`` behind it, ->close may be on any VMA: four times as many. It may be interrupted: the parts
that were counted are kept in dist/slow, and the next run goes on from there.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path

from vmakernel.explore import Deed, deed, diff, judge
from vmakernel.kernels import kernel
from vmakernel.outcome import Outcome
from vmakernel.world import SHAPES, Configuration, asked_by, classes_of, configure, world

KERNELS = tuple([kernel(version) for version in ("6.3", "6.5", "6.9", "6.12")])
PARTS = 16  # of each shape

ROOT = Path(__file__).resolve().parent.parent
CODE = b"".join([path.read_bytes() for path in sorted((ROOT / "vmakernel").glob("*.py"))])
KEPT = ROOT / "dist/slow" / hashlib.sha256(CODE).hexdigest()[:12]

Counts = Counter[tuple[tuple[Deed, ...], tuple[bool, ...]]]


def answer(outcomes: list[Outcome]) -> tuple[tuple[Deed, ...], tuple[bool, ...]]:
    """Return what each kernel does, and which two of them differ in anything at all."""
    ends = [(outcome.before, outcome.after) for outcome in outcomes]
    return tuple(map(deed, outcomes)), tuple([one != other for one, other in combinations(ends, 2)])


def decide(configuration: Configuration) -> list[Outcome]:
    """Return what each kernel does with a configuration."""
    return [configuration.decide(one) for one in KERNELS]


def counted_once(task: tuple[bool, int, int]) -> Counts:
    """Count a part, or read what was counted of it by this same code."""
    kept = KEPT / "-".join(map(str, task))
    try:
        counts: Counts = pickle.loads(kept.read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError):
        counts = spell_out(task)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(pickle.dumps(counts))
    return counts


def spell_out(task: tuple[bool, int, int]) -> Counts:
    """Count the answers for one part of a shape, configuration by configuration."""
    uniform, number, part = task
    small, shape = world(*KERNELS, uniform=uniform), SHAPES[number]
    counts: Counts = Counter()
    refused = 0
    nexts = small.neighbours(shape, "N")
    for like, curr in small.ranges(shape)[part::PARTS]:
        for prev in small.neighbours(shape, "P", like):
            for next in nexts:
                if small.possible(prev, curr, next):
                    outcomes = decide(configure(shape, like, prev, curr, next))
                    if any(outcome.merged for outcome in outcomes):
                        counts[answer(outcomes)] += 1
                    else:
                        refused += 1
    if refused:
        counts[NOBODY] += refused
    return counts


NOBODY = (tuple([Deed()] * len(KERNELS)), tuple([False for _ in combinations(KERNELS, 2)]))


def claim(uniform: bool) -> Counts:
    """Count the same by classes."""
    counts: Counts = Counter()
    for one in classes_of(world(*KERNELS, uniform=uniform), asked_by(*KERNELS)):
        counts[answer(decide(one.example))] += one.size
    return counts


def main(uniform: bool) -> int:
    """Compare, and return the exit status."""
    claimed = claim(uniform)
    tasks = [(uniform, number, part) for number in range(len(SHAPES)) for part in range(PARTS)]
    counted: Counts = Counter()
    start = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for done, counts in enumerate(pool.map(counted_once, tasks), 1):
            counted.update(counts)
            minutes = (time.monotonic() - start) / 60
            share = f"{counted.total():,} of {claimed.total():,}"
            print(f"\r{done} of {len(tasks)} parts, {share}, {minutes:.1f} min", end="", flush=True)
    print()
    wrong = [
        f"counted {counted[key]:,}, claimed {claimed[key]:,}: {key}"
        for key in counted | claimed
        if counted[key] != claimed[key]
    ]
    for index, one in enumerate(KERNELS):
        told = judge(one, uniform=uniform)
        allowed = sum([n for (deeds, _), n in counted.items() if deeds[index].grows])
        lost = sum([n for (deeds, _), n in counted.items() if deeds[index].loses_close])
        if (allowed, lost) != (told.allowed, told.lost):
            wrong.append(f"{one} merges in {allowed:,} and loses a close in {lost:,}")
    for index, (a, b) in enumerate(combinations(KERNELS, 2)):
        differing = sum([n for (_, differ), n in counted.items() if differ[index]])
        if differing != diff(a, b, uniform=uniform).differing:
            wrong.append(f"{a} and {b} differ in {differing:,}")
    print("\n".join(wrong) or f"all {counted.total():,} as claimed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(uniform="mixed" not in sys.argv[1:]))
