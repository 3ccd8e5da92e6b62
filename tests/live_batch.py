"""Fresh random programs on the running kernel, held against the prediction: `make test-live`.

    .venv/bin/python -m tests.live_batch [N [SEED]]

Ends with 1 if anything differed; a program that differs is printed, and so is the seed.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter

from tests.programs import batch
from vmakernel import live
from vmakernel.judge_live import judge, running
from vmakernel.kernels import MAY_REMOVE_VMA

AT_ONCE = 500


def main(count: int = 400, seed: int | None = None) -> int:
    """Run so many programs and say how they ended."""
    seed = random.randrange(1 << 32) if seed is None else seed
    try:
        chosen, machine = running(), live.machine()
    except live.LiveError as why:
        print(f"does not apply: {why}")
        return 0
    print(f"Linux {os.uname().release} as {chosen}, {machine}; seed {seed}")
    ended: Counter[str] = Counter()
    programs = batch(seed, count)
    if chosen.rule is MAY_REMOVE_VMA:  # what it loses would stay until the machine restarts
        programs = [program for program in programs if not program.segments]
    for first in range(0, len(programs), AT_ONCE):
        for one in judge(programs[first : first + AT_ONCE], chosen):
            if one.agrees:
                ended["as predicted"] += 1
            elif one.differs or isinstance(one.real, live.Stopped):
                ended["DIFFERENT"] += 1
                print(f"{one.difference or one.real}\n{one.prediction.scenario}")
            elif one.prediction.refused:
                ended["not predicted: " + one.prediction.refused.rpartition("': ")[2]] += 1
            else:
                ended[f"not run: {one.real}"] += 1
    for what, number in ended.most_common():
        print(f"{number:7} {what}")
    return 1 if ended["DIFFERENT"] else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
