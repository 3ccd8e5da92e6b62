"""Random programs of calls, for the tests and for the running kernel."""

import random

from vmakernel.scenario import (
    ADVICE,
    PROTS,
    Call,
    Fork,
    Killchild,
    Madvise,
    Mlock,
    Mmap,
    Mprotect,
    Mremap,
    Munlock,
    Munmap,
    Read,
    Rfp,
    Rmid,
    Scenario,
    Segment,
    Shmat,
    Shmdt,
    Touch,
    Uffd,
    Unuffd,
    parse,
)


def program(draw: random.Random, number: int = 0) -> Scenario:
    """Return a scenario made of any calls; those of `draw` from hypothesis shrink."""
    segments = [Segment("A", draw.choice([4, 8, 12])), Segment("B", 3)][: draw.choice([0, 1, 2])]
    sources = draw.sample(
        [(name, shared) for name in ("anon", "memfd", "file", "fuse") for shared in (False, True)],
        draw.choice([1, 2, 3]),
    )
    made: list[Call] = []
    forked = False

    def span() -> tuple[int, int]:
        at = draw.randrange(12)
        return at, draw.randint(0 if draw.random() < 0.05 else 1, 12 - at)

    def mmap() -> Mmap:
        at, pages = span()
        source, shared = draw.choice(sources)
        pgoff = 0 if source == "anon" else draw.choice([at, at, at, draw.randrange(6)])
        reserve = draw.random() < 0.1
        return Mmap(at, pages, prot(source), shared, source, pgoff, reserve)

    def prot(source: str = "") -> str:
        plain = source in ("file", "fuse") or any(name in ("file", "fuse") for name, _ in sources)
        return draw.choice(["rw", "rw", "r", "none", "w"] if plain else PROTS)

    def mremap() -> Mremap:
        at, pages = span()
        new = draw.choice([pages, pages, draw.randrange(12), 0 if draw.random() < 0.1 else 1])
        far = draw.choice([20, 40])
        if draw.random() < 0.4:
            return Mremap(at, pages, new, new <= pages and draw.random() < 0.5)
        old = draw.choice([pages] * 9 + [0])
        if draw.random() < 0.3:
            return Mremap(far, old, new, False, at)
        return Mremap(at, old, new, False, draw.choice([far, draw.randrange(24)]))

    def fork() -> Call:
        nonlocal forked
        forked = not forked
        return Fork() if forked else Killchild()

    def segment() -> Call:
        if not segments:
            return mmap()
        name, pages = draw.choice(segments)
        place = draw.choice([0, pages, 20, draw.randrange(14)])
        kinds = [Shmat(name, place, draw.random() < 0.2), Shmdt(place), Rmid(name)]
        return draw.choice(kinds)

    def change() -> Call:
        kind = draw.choice([Mlock, Munlock, Munmap, Read, Touch, Touch])
        return kind(*span())

    makers = (
        (6, lambda: Mprotect(*span(), prot())),
        (3, mmap),
        (3, mremap),
        (3, change),
        (3, lambda: Madvise(*span(), draw.choice(ADVICE))),
        (2, segment),
        (1, lambda: Rfp(*span(), draw.randrange(8))),
        (1, lambda: draw.choice([Uffd, Unuffd])(*span())),
        (1, fork),
    )
    made.append(Shmat("A", 0) if segments else mmap())
    weights = [weight for weight, _ in makers]
    for _ in range(draw.randint(2, 14)):
        made.append(draw.choices([make for _, make in makers], weights)[0]())
    return Scenario(f"random{number}", tuple(segments), tuple(made))


def plain_program(draw: random.Random, number: int = 0) -> Scenario:
    """Return a random program of calls: some mappings, then changes that mostly hit them."""
    pages = draw.choice([6, 10, 12, 16])
    lines = [f"seg A {pages}"]
    for _ in range(draw.randint(1, 3)):
        at = draw.choice([0, 0, pages, 20, 40])
        length = draw.randint(1, pages)
        sharing = draw.choice("ps")
        access = draw.choice(["rw", "rw", "rw", "r"])
        lines.append(
            draw.choice(
                [
                    f"shmat A {at}",
                    f"mmap {at} {length} {access} {sharing} anon",
                    f"mmap {at} {length} {access} {sharing} file {draw.choice([0, at])}",
                    f"mmap {at} {length} {access} {sharing} memfd {draw.choice([0, at])}",
                ]
            )
        )
    for _ in range(draw.randint(2, 8)):
        at, length = draw.randint(0, pages), draw.randint(1, pages)
        grown = draw.randint(1, pages)
        lines.append(
            draw.choice(
                [
                    f"mprotect {at} {length} {draw.choice(['r', 'rw', 'none'])}",
                    f"mprotect {at} {length} {draw.choice(['r', 'rw'])}",
                    f"munmap {at} {length}",
                    f"mremap {at} {length} {grown}",
                    f"mremap {at} {length} {length} f {draw.choice([30, 44])}",
                    f"madvise {at} {length} {draw.choice(['dontfork', 'dofork', 'seq', 'normal'])}",
                    f"mlock {at} {length}",
                    f"munlock {at} {length}",
                    f"touch {at} 1",
                ]
            )
        )
    return parse("\n".join(lines), f"plain{number}")[0]


def batch(seed: int, count: int) -> list[Scenario]:
    """Return so many random programs, the same for the same seed."""
    draw = random.Random(seed)
    make = program, plain_program
    return [make[number % 2](draw, number) for number in range(count)]
