"""The maps of processes: what a listing shows, what it leaves open, and how it may be written."""

from __future__ import annotations

import mmap
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmakernel import kernel, maps
from vmakernel.maps import MapsError, Pair
from vmakernel.predicates import Verdict

TRUE_MAP: Final = Path(__file__).with_name("data") / "python3.maps"

# A heap that grew up to memory without a name.
HEAP: Final = """\
555555000000-555555021000 rw-p 00000000 00:00 0                          [heap]
555555021000-555555030000 rw-p 00000000 00:00 0
"""
# One attach in two pieces, or two attaches.
SYSV: Final = """\
7f0000000000-7f0000001000 rw-s 00000000 00:01 32769                      /SYSV00000000 (deleted)
7f0000001000-7f0000002000 rw-s 00001000 00:01 32769                      /SYSV00000000 (deleted)
"""
# Anonymous pages that differ in one flag each: plain, mergeable, sealed, wipe on fork, userfaultfd,
# a protection key.
FLAGS: Final = """\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac
7f0000001000-7f0000002000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac mg
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac sl
7f0000003000-7f0000004000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me ac wf
7f0000004000-7f0000005000 rw-p 00000000 00:00 0
VmFlags: rd wr mr mw me um ac
7f0000005000-7f0000006000 rw-p 00000000 00:00 0
ProtectionKey:         1
VmFlags: rd wr mr mw me ac
"""
QUOTED: Final = """\
> 7f0000000000-7f0000001000 rw-p 00000000 00:00 0
> 7f0000001000-7f0000002000 rw-p 00000000 00:00 0
"""


def pairs(text: str, version: str = "6.18") -> list[Pair]:
    return maps.parse(text, "a test", page=4096).touching(kernel(version))


def two(left: str, right: str, *, flags: tuple[str, str] | None = None, key: str = "") -> Pair:
    """Compare two neighbours: what stands behind their addresses, and what smaps adds."""
    rows = [f"1000-3000 {left}", f"3000-4000 {right}"]
    if flags:
        rows = [f"{row}\n{key}VmFlags: {letters}" for row, letters in zip(rows, flags, strict=True)]
    (pair,) = pairs("\n".join(rows))
    return pair


def test_the_heap_is_anonymous_and_its_word_no_property() -> None:
    (pair,) = pairs(HEAP)

    assert pair.left.name == "[heap]"
    assert pair.left.vma("H").vm_file is pair.right.vma("A").vm_file is None
    assert pair.maps.fails is None
    assert set(pair.maps.open) == {
        Verdict.POLICY,
        Verdict.FLAGS,
        Verdict.UFFD,
        Verdict.NAME,
        Verdict.ANON_VMA,
        Verdict.PGOFF,
    }
    assert str(pair.maps) == "not told"


@pytest.mark.parametrize("version", ["5.10", "6.3", "6.18"])
def test_sysv_memory_has_close(version: str) -> None:
    (pair,) = pairs(SYSV, version)

    assert pair.maps.fails is pair.smaps.fails is Verdict.CLOSE
    assert "two attaches, or two pieces of one" in pair.maps.why


def test_6_5_lets_one_with_close_grow_so_that_close_decides_nothing() -> None:
    (pair,) = pairs(SYSV, "6.5")

    assert pair.maps.fails is None
    assert Verdict.FILE in pair.maps.open


def test_every_letter_that_only_one_line_shows_is_told() -> None:
    told = pairs(FLAGS)

    assert {pair.maps.fails for pair in told} == {None}
    assert {pair.smaps.fails for pair in told} == {Verdict.FLAGS}
    assert [pair.smaps.why for pair in told] == [
        "mg only on the right",
        "mg only on the left; sl only on the right",
        "sl only on the left; wf only on the right",
        "wf only on the left; um only on the right",
        "um only on the left; protection keys 0 and 1",
    ]


def test_a_quotation_is_read() -> None:
    (pair,) = pairs(QUOTED)

    assert pairs(QUOTED) == pairs(QUOTED.replace("> ", "    ")) == pairs(QUOTED.replace("> ", ""))
    assert pair.maps.fails is None


def test_other_text_is_passed_over_and_counted() -> None:
    text = f"It says:\n\n{QUOTED}\nand then it stops.\n"
    listing = maps.parse(text, "a test", page=4096)

    assert (len(listing), listing.passed_over) == (2, 2)
    assert str(listing).endswith("rows passed over: 2")


@pytest.mark.parametrize(
    "text", ["", "nothing of the kind\n", "VmFlags: rd wr\n", "2000-1000 rw-p"]
)
def test_a_text_without_a_map_is_one_sentence(text: str) -> None:
    with pytest.raises(MapsError, match="no line of a memory map in the mail: give what /proc"):
        maps.parse(text, "the mail")


def test_a_line_that_no_kernel_writes_is_passed_over() -> None:
    back = "3000-2000 rw-p 00000000 00:00 0"
    odd = "1001-2000 rw-p 00000000 00:00 0"
    listing = maps.parse(f"{back}\n{odd}\n{QUOTED}", "a test", page=4096)

    assert (len(listing), listing.passed_over) == (2, 2)


NEITHER: Final = "rw-p 00000000 00:00 0"
FILE: Final = "r--p 00000000 fe:00 7 /lib/a.so"
GOES_ON: Final = "r--p 00002000 fe:00 7 /lib/a.so"
PLAIN: Final = "rd mr mw me"


@pytest.mark.parametrize(
    ("left", "right", "fails"),
    [
        (FILE, "r-xp 00002000 fe:00 7 /lib/a.so", Verdict.FLAGS),
        (FILE, "r--s 00002000 fe:00 7 /lib/a.so", Verdict.FLAGS),
        (FILE, "r--p 00002000 fe:00 8 /lib/a.so", Verdict.FILE),
        (FILE, "r--p 00002000 fe:01 7 /lib/a.so", Verdict.FILE),
        (FILE, "r--p 00002000 fe:00 7 /lib/a.so (deleted)", Verdict.FILE),
        (NEITHER, "rw-p 00000000 fe:00 7 /lib/a.so", Verdict.FILE),
        (FILE, "r--p 00003000 fe:00 7 /lib/a.so", Verdict.PGOFF),
        (NEITHER, f"{NEITHER} [anon:one]", Verdict.NAME),
        (f"{NEITHER} [anon:one]", f"{NEITHER} [anon:two]", Verdict.NAME),
        ("r--p 00000000 00:00 0 [vvar]", "r--p 00000000 00:00 0 [vvar_vclock]", Verdict.CLOSE),
        ("rw-s 00000000 00:0f 9 /anon_hugepage (deleted)",) * 2 + (Verdict.CLOSE,),
    ],
)
def test_the_first_check_that_a_column_fails(left: str, right: str, fails: Verdict) -> None:
    assert two(left, right).maps.fails is fails


@pytest.mark.parametrize(
    ("left", "right", "open"),
    [
        (NEITHER, NEITHER, "policy flags uffd anon_vma pgoff"),
        (NEITHER, f"{NEITHER} [stack]", "policy flags uffd name anon_vma pgoff"),
        (f"{NEITHER} [heap]", f"{NEITHER} [anon:one]", "policy flags uffd name anon_vma pgoff"),
        (f"{NEITHER} [anon:one]",) * 2 + ("policy flags uffd anon_vma pgoff",),
        (FILE, GOES_ON, "policy flags file close uffd anon_vma"),
        (
            "rw-s 00000000 00:01 5 /dev/zero (deleted)",
            "rw-s 00002000 00:01 5 /dev/zero (deleted)",
            "policy flags file uffd",
        ),
        (
            "rw-s 00000000 00:01 5 /memfd:a (deleted)",
            "rw-s 00002000 00:01 5 /memfd:a (deleted)",
            "policy flags file close uffd",  # of huge pages, it would have close
        ),
    ],
)
def test_where_no_column_fails_the_rest_stays_open(left: str, right: str, open: str) -> None:
    pair = two(left, right)

    assert pair.maps.fails is None
    assert " ".join(pair.maps.open) == open
    assert pair.maps.why.count(",") == open.count(" ")


def test_anonymous_shared_memory_with_a_name_is_the_same_file() -> None:
    named = "rw-s 00002000 00:01 5 [anon_shmem:one]"

    assert two("rw-s 00000000 00:01 5 /dev/zero (deleted)", named).maps.fails is Verdict.NAME
    assert two("rw-s 00000000 00:01 6 /dev/zero (deleted)", named).maps.fails is Verdict.FILE


@pytest.mark.parametrize(
    ("left", "right", "version", "fails"),
    [
        (PLAIN, f"{PLAIN} ss", "6.18", Verdict.FLAGS),
        (PLAIN, f"{PLAIN} zz", "6.18", Verdict.FLAGS),  # of a kernel to come
        (PLAIN, f"{PLAIN} ??", "6.18", Verdict.FLAGS),
        (PLAIN, f"{PLAIN} sd", "6.18", None),
        (PLAIN, f"{PLAIN} sd", "3.13", Verdict.FLAGS),
        (PLAIN, f"{PLAIN} gu", "6.17", Verdict.FLAGS),
        (PLAIN, f"{PLAIN} gu", "6.19", None),
        (f"{PLAIN} pf io de",) * 2 + ("6.18", Verdict.FLAGS),
        (f"{PLAIN} mm",) * 2 + ("3.13", None),  # VM_SPECIAL since 3.14
    ],
)
def test_flags_of_smaps(left: str, right: str, version: str, fails: Verdict | None) -> None:
    text = f"1000-3000 {FILE}\nVmFlags: {left}\n3000-4000 {GOES_ON}\nVmFlags: {right}\n"
    (pair,) = pairs(text, version)

    assert pair.smaps.fails is fails
    assert pair.maps.fails is None


def test_smaps_leaves_less_open() -> None:
    whole = "Rss: 4 kB\n"

    cut = two(NEITHER, NEITHER, flags=(PLAIN, PLAIN))
    full = two(NEITHER, NEITHER, flags=(PLAIN, PLAIN), key=whole)
    watched = two(NEITHER, NEITHER, flags=(f"{PLAIN} um", f"{PLAIN} um"), key=whole)
    unnamed = two(NEITHER, NEITHER, flags=(f"{PLAIN} ??", f"{PLAIN} ??"), key=whole)

    # A line that only grep left may have lost its protection key.
    assert " ".join(cut.smaps.open) == "policy flags anon_vma pgoff"
    assert " ".join(full.smaps.open) == "policy anon_vma pgoff"
    assert " ".join(watched.smaps.open) == "policy uffd anon_vma pgoff"
    assert " ".join(unnamed.smaps.open) == "policy flags anon_vma pgoff"


def test_since_7_3_a_private_file_has_a_second_offset() -> None:
    (pair,) = pairs(f"1000-3000 {FILE}\n3000-4000 {GOES_ON}\n", "7.3")

    assert Verdict.PGOFF in pair.maps.open


PMAP: Final = """\
4674:   bash
         Address Perm   Offset Device  Inode Size Rss {}Mapping
    55ee40b8b000 r--p 00000000  fe:00 260104    8   8 {}dd
    55ee40b8d000 r--p 00002000  fe:00 260104    4   4 {}sh
7fff00000000 rw-p 00000000  00:00      0    4   4 {}
                                         ==== === =======
                                           16  16 {}KB
"""


def test_pmap_is_read_by_the_place_of_its_columns() -> None:
    short = maps.parse(PMAP.format(*[""] * 5), "pmap -X", page=4096)
    row = "      rd mr mw me "
    long = maps.parse(
        PMAP.format(f"{'VmFlags':>17} ", row, "   rd mr mw me sh ", " rd wr mr mw me  ", ""),
        "pmap -XX",
        page=4096,
    )

    assert [(line.pages, line.pgoff, line.name) for line in short] == [
        (2, 0, "dd"),
        (1, 2, "sh"),
        (1, 0, "anonymous"),
    ]
    assert [line.name for line in long] == ["dd", "sh", "anonymous"]
    assert [line.flags for line in long] == ["rd mr mw me", "rd mr mw me sh", "rd wr mr mw me"]
    keyed = maps.parse(SAMPLES[-1], "pmap -XX", page=4096).touching(kernel("6.18"))[0]
    assert keyed.smaps.why == "protection keys 1 and 0"
    assert (short.passed_over, short.touching(kernel("6.18"))[0].maps.fails) == (3, Verdict.FILE)


def test_gdb_is_read_where_it_shows_permissions() -> None:
    text = """\
process 16594
Mapped address spaces:

          Start Addr           End Addr       Size     Offset  Perms  objfile
      0x55e4a9dea000     0x55e4a9dec000     0x2000        0x0  r--p   /usr/bin/sleep
      0x55e4a9dec000     0x55e4a9ded000     0x1000     0x2000  r--p   /usr/bin/sleep
      0x55e4a9ded000     0x55e4a9dee000     0x1000        0x0  r--p
"""
    one, two = pairs(text)

    assert Verdict.FILE in one.maps.open
    assert two.maps.fails is Verdict.FILE
    with pytest.raises(MapsError):  # as gdb 11 wrote it
        maps.parse(text.replace("r--p", ""), "gdb", page=4096)


def test_a_real_map_is_read_to_the_last_line() -> None:
    text = TRUE_MAP.read_text(encoding="ascii")
    listing = maps.parse(text, "a test", page=4096)
    told = {
        (pair.left.name, pair.right.name, pair.right.perms): pair
        for pair in listing.touching(kernel("6.18"))
    }
    twins = [pair.left.name for pair in told.values() if pair.maps.fails is None]

    assert (len(listing), listing.passed_over) == (len(text.splitlines()), 0)
    assert listing.ordered
    assert listing.disjoint
    # As in lesson 01: VM_ACCOUNT keeps them apart, which maps does not show.
    assert twins == ["libc.so.6", "libexpat.so.1.8.10", "ld-linux-x86-64.so.2"]
    assert told["[vvar]", "[vvar_vclock]", "r--p"].maps.fails is Verdict.CLOSE
    assert told["python3.11", "anonymous", "rw-p"].maps.fails is Verdict.FILE


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_the_map_of_this_process() -> None:
    with mmap.mmap(-1, 8 * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(mmap.MADV_DONTFORK, 2 * mmap.PAGESIZE, mmap.PAGESIZE)
        listing = maps.mine()

    assert listing.passed_over == 0
    assert listing.ordered
    assert listing.disjoint
    split = [line for line in listing if "dc" in line.flags.split() and line.pages == 1]
    if any(line.flags for line in listing):  # smaps is not in every kernel
        assert split
    for pair in listing.touching(kernel("6.18")):
        if pair.left in split or pair.right in split:
            assert pair.smaps.fails in (Verdict.FLAGS, Verdict.FILE)


SAMPLES: Final = [
    HEAP,
    SYSV,
    FLAGS,
    QUOTED,
    PMAP.format(*[""] * 5),
    PMAP.format(
        "ProtectionKey VmFlags ", "            1   rd wr ", *["            0   rd wr "] * 3
    ),
]


@given(
    text=st.sampled_from(SAMPLES),
    cuts=st.lists(
        st.tuples(
            st.integers(0, 400),
            st.integers(0, 9),
            st.text("0f9 -:>[]()?\n\t\x00xrwsp/é٣", max_size=6),
        ),
        max_size=6,
    ),
    version=st.sampled_from(["2.6.12", "6.3", "6.5", "6.18", "7.3"]),
)
def test_a_damaged_listing_is_read_or_refused(
    text: str, cuts: list[tuple[int, int, str]], version: str
) -> None:
    for at, length, instead in cuts:
        text = text[:at] + instead + text[at + length :]
    try:
        listing = maps.parse(text, "a test", page=4096)
    except MapsError:
        return

    assert listing.lines
    assert str(listing)
    for pair in listing.touching(kernel(version)):
        for answer in (pair.maps, pair.smaps):
            assert answer.fails is not Verdict.OK
            assert bool(answer.fails) != bool(answer.open)
            assert answer.why


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(MapsError):
        assert maps.parse(text, "a test").lines
