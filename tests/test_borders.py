"""Every fact of the engine that depends on the version, on both sides of every border it has."""

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise

import pytest

from vmakernel.history import COMMITS, numbers
from vmakernel.kernels import Kernel, kernel, releases

# The last version on one side and the first on the other. Where a stable line took a change from a
# release on that nobody found, its releases are a side of their own (4.4.1 stands for 4.4.y).
BORDERS = {
    "rule": [
        "6.0 6.1",
        "6.1.10 6.1.11",
        "6.3.10 6.4",
        "6.6.23 6.6.24",
        "6.6.24 6.7",
        "6.7.11 6.7.12",
        "6.11.8 6.12",
    ],
    "anon": ["2.6.39 3.0", "6.15 6.16"],
    "ranges": ["6.11.8 6.12"],
    "case8_extends_curr": ["4.8 4.9"],
    "mmap_expands": ["6.0 6.1", "6.11.8 6.12"],
    "brk_just_expands": ["6.0 6.1"],
    "clones_anon_vma": ["2.6.33 2.6.34"],
    "dup_prefers_next": ["6.2 6.3"],
    "case3_keeps_pgoff": ["6.3 6.3.0", "6.3.0 6.3.1"],
    "special_flags": ["2.6.14 2.6.15", "2.6.16 2.6.17", "3.13 3.14"],
    "ignored_flags": ["3.13 3.14", "6.18.36 6.18.37"],
    "sticky_flags": ["6.18.36 6.18.37"],
    "absent_flags": [
        "2.6.14 2.6.15",
        "2.6.25 2.6.26",
        "2.6.26 2.6.27",
        "3.11 3.12",
        "6.18.36 6.18.37",
    ],
    "has_uffd": ["4.2 4.3"],
    "has_anon_name": ["5.16 5.17"],
    "copied_dup": ["6.18.7 6.18.8"],
    "copied_uffd_stays_apart": ["7.2 7.3"],
    "anon_pgoff": ["7.2 7.3"],
    "advice": ["2.6.15 2.6.16", "2.6.37 2.6.38", "3.3 3.4"],
    "madvise_merges": ["2.6.12 2.6.13"],
    "madvise_eagain": ["4.10 4.11", "5.16 5.17"],
    "advice_checked_late": ["2.6.31 2.6.32"],
    "huge_once": ["4.3 4.4", "4.4.1 4.5"],
    "huge_anon_only": ["4.7 4.8"],
    "unaccounts": ["6.6.24 6.7"],
    "mprotect_populates": ["4.1 4.2"],
    "mprotect_forgives": ["6.2 6.3", "6.3.9 6.3.10"],
    "mlock_loses": ["6.2 6.3", "6.4.6 6.4.7"],
    "mremap_misplaces": ["6.0 6.1", "6.1.2 6.1.3"],
    "mremap_looks_first": ["5.15 5.16"],
    "mremap_slips": ["5.15 5.16", "5.17.8 5.17.9"],
    "mremap_wants_room": ["5.0 5.1"],
    "mremap_overlaps_alike": ["4.2 4.3"],
    "mremap_moves_many": ["6.16 6.17"],
    "mremap_duplicates": ["4.13 4.14"],
    "mremap_drops_uffd": ["4.19 4.19.1", "4.19.1 4.20", "4.20 4.20.1", "4.20.1 5.0"],
    "unmap_counts_edges": ["2.6.32 2.6.33"],
    "remaps_by_mmap": ["3.19 4.0"],
    "remaps_one_vma": ["4.4 4.4.1", "4.4.1 4.5"],
    "remaps_removed": ["4.4.1 4.5"],
    "read_prepares": ["2.6.23 2.6.24", "2.6.31 2.6.32"],
    "mlock_populates_last": ["2.6.37 2.6.38"],
    "shmdt_compares": ["3.18 3.19"],
    "shm_read_only": ["2.6.20 2.6.21"],
    "write_only_reads": ["2.6.19 2.6.20"],
    "exec_keys": ["4.5 4.6"],
    "exec_key_stays": [
        "4.9 4.9.1",
        "4.9.1 4.10",
        "4.14 4.14.1",
        "4.14.1 4.15",
        "4.16 4.16.1",
        "4.16.1 4.17",
    ],
    "fuse_closes": ["2.6.25 2.6.26"],
    "has_memfd": ["3.16 3.17"],
    "names_shmem": ["6.1.142 6.2"],
    "uffd_shmem": ["4.10 4.11"],
    "uffd_mistakes": ["6.3.10 6.4"],
}
ONE_BY_ONE = ("4.4.1", "4.9.1", "4.14.1", "4.16.1", "4.19.1", "4.20.1", "6.3.0")


def versions() -> list[str]:
    """Return every release, and the stable releases at which anything changed, oldest first."""
    taken = [stable for commit in COMMITS.values() for stable in commit.stable]
    before = [".".join(map(str, (*rest, last - 1))) for *rest, last in map(numbers, taken)]
    return sorted({*releases(), *taken, *before, *ONE_BY_ONE}, key=numbers)


def borders(fact: str) -> Iterator[str]:
    """Give the two sides of every change of a fact."""
    for before, after in pairwise(versions()):
        if getattr(kernel(before), fact) != getattr(kernel(after), fact):
            yield f"{before} {after}"


def test_there_is_no_fact_without_its_borders() -> None:
    assert list(BORDERS) == [
        field.name for field in fields(Kernel) if field.name not in ("version", "own")
    ]


@pytest.mark.parametrize("fact", BORDERS)
def test_a_fact_changes_at_its_borders_and_nowhere_else(fact: str) -> None:
    assert list(borders(fact)) == BORDERS[fact]
