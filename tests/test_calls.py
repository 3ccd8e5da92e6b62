"""Whole system calls, as predicted, against what real kernels did, and what must always hold."""

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.programs import program
from vmakernel import calls
from vmakernel import flags as vm
from vmakernel.flags import InputError
from vmakernel.kernels import MAY_REMOVE_VMA, kernel
from vmakernel.predict import Prediction, predict
from vmakernel.process import UNKNOWN, Declined, Errno, Machine, Process, machine_with
from vmakernel.run import DIFFERENT, predict_all, side_by_side
from vmakernel.scenario import (
    Mmap,
    Mremap,
    Recording,
    ScenarioError,
    parse,
)
from vmakernel.tree import VmaTree
from vmakernel.vma import VMA

KNOWN = machine_with("thp,names")
RECORDED_ON = Machine(pkeys=False)  # of the rest nothing counts in the recordings
SAMPLE = Path(__file__).parent / "data" / "calls.jsonl.gz"
SHARED = Path(__file__).parents[2] / "shared" / "recorded" / "calls"


def lines_of(path: Path) -> list[str]:
    """Return the lines of a packed recording."""
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def sample() -> dict[str, list[str]]:
    """Return the recordings that the tests carry, by kernel."""
    recorded: dict[str, list[str]] = {}
    for line in lines_of(SAMPLE):
        versions, _, recording = line.partition("\t")
        for version in versions.split(","):
            recorded.setdefault(version, []).append(recording)
    return recorded


RECORDED = sample()
VERSIONS = ("2.6.12", "2.6.30", "3.5", "4.3", "4.8", "4.19", "5.17", "6.4", "7.0", *RECORDED)


def disagreements(version: str, recordings: list[str]) -> list[str]:
    """Return the recordings that are not predicted to the letter."""
    chosen = kernel(version)
    predicted = [
        predict(Recording.from_json(line).program(), chosen, machine=RECORDED_ON)
        for line in recordings
    ]
    return [
        f"recorded  {line}\npredicted {told}"
        for prediction, line in zip(predicted, recordings, strict=True)
        if (told := prediction.to_json()) != line
    ]


def under(
    version: str, text: str, *, machine: Machine = UNKNOWN, max_map_count: int | None = None
) -> Prediction:
    """Return what a kernel does with the one scenario of a text."""
    (scenario,) = parse(text)
    return predict(scenario, kernel(version), machine=machine, max_map_count=max_map_count)


def ending(
    version: str, text: str, *, machine: Machine = UNKNOWN, max_map_count: int | None = None
) -> tuple[str, list[str]]:
    """Return the last call's errno and the layout at the end."""
    prediction = under(version, text, machine=machine, max_map_count=max_map_count)
    assert prediction.refused is None
    step = prediction.steps[-1].step
    return step.errno, list(step.layout)


def errnos(version: str, text: str) -> list[str]:
    """Return the errno of every call."""
    return [predicted.step.errno for predicted in under(version, text).steps]


# --- what real kernels did -----------------------------------------------------------------------


@pytest.mark.parametrize("version", RECORDED)
def test_agrees_with_the_sample(version):
    wrong = disagreements(version, RECORDED[version])
    assert not wrong, f"{len(wrong)} of {len(RECORDED[version])}\n" + "\n".join(wrong[:3])


@pytest.mark.nightly
@pytest.mark.skipif(not SHARED.is_dir(), reason="the full recordings (../shared) are not here")
@pytest.mark.parametrize("version", RECORDED)
def test_agrees_with_every_recording(version):
    recordings = lines_of(SHARED / f"{version}.jsonl.gz")
    wrong = disagreements(version, recordings)
    assert not wrong, f"{len(wrong)} of {len(recordings)}\n" + "\n".join(wrong[:3])


# --- versions ------------------------------------------------------------------------------------


def test_two_pairs_of_mprotect_lose_an_attach_from_6_4_to_6_7():
    text = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\nshmdt 0"
    left = {
        version: dict(under(version, text).nattch_after_exit)
        for version in ("6.3", "6.4", "6.7", "6.8", "6.12")
    }
    assert left == {
        "6.3": {"A": 0},
        "6.4": {"A": 1},
        "6.7": {"A": 1},
        "6.8": {"A": 0},
        "6.12": {"A": 0},
    }


def test_the_decision_that_lost_it_is_kept():
    story = under("6.5", "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw")
    (result,) = story.steps[-1].results
    assert result.outcome is not None
    assert result.outcome.case == 7
    assert [vma.vm_start for vma in result.outcome.lost] == [4]
    assert story.steps[-1].space.startswith("AAAAAAAA|AAAA  A.1=0-8:")


@pytest.mark.parametrize(("version", "errno"), [("6.0", ""), ("6.1.0", "ENOMEM"), ("6.1.11", "")])
@pytest.mark.parametrize("how", ["", " m"])
def test_growth_fails_where_it_had_to_merge(version, errno, how):
    assert ending(version, f"mmap 0 4 rw s fuse 0\nmremap 0 4 8{how}")[0] == errno


@pytest.mark.parametrize(
    ("version", "errno"),
    [("6.0", ""), ("6.1.0", "ENOMEM"), ("6.1.2", "ENOMEM"), ("6.1.3", ""), ("6.2", "")],
)
def test_growth_from_inside_a_vma_failed_in_the_first_6_1(version, errno):
    assert ending(version, "mmap 0 3 rw p anon\nmunmap 2 1\nmremap 1 1 2")[0] == errno


def test_the_leak_ends_with_6_6_24_and_6_7_12():
    text = "seg A 3\nshmat A 0\nmprotect 1 1 none\nmprotect 0 2 w\nshmdt 0"
    versions = ("6.3", "6.4", "6.6.23", "6.6.24", "6.7", "6.7.11", "6.7.12", "6.8")
    left = [under(version, text).nattch_after_exit["A"] for version in versions]
    assert left == [0, 1, 1, 0, 1, 1, 0, 0]


def test_a_forked_pages_move_decides_a_later_merge_from_6_18_8_on():
    text = (
        "mmap 0 1 none p anon\nmmap 4 4 rw p anon\ntouch 4 4\nmremap 7 1 1 f 40\n"
        "mremap 4 3 3 f 20\nmmap 1 3 rw p anon\nmremap 20 3 3 f 4\ntouch 1 1\nmremap 40 1 1 f 7"
    )
    one = ["0-1 ---p 0 anon", "1-8 rw-p 0 anon"]
    assert ending("6.18.7", text)[1] == ["0-1 ---p 0 anon", "1-7 rw-p 0 anon", "7-8 rw-p 0 anon"]
    assert [ending(version, text)[1] for version in ("6.18.8", "6.18.34", "6.18.35")] == [one] * 3


def test_what_may_not_expand_is_efault_before_anybody_is_asked():
    for version in ("2.6.12", "6.0", "6.5", "7.3"):
        process = Process(kernel(version))
        process.space.map(VMA("A", 0, 4, vm.VM_READ | vm.VM_DONTEXPAND))
        with pytest.raises(Errno, match="EFAULT"):
            calls.do(process, Mremap(0, 4, 8))
        assert process.results == []


@pytest.mark.parametrize("version", ["5.10", "6.16"])
def test_a_failed_move_has_cleared_its_destination(version):
    text = "mmap 0 4 rw p anon\nmmap 20 8 r p anon\nmremap 0 8 8 f 20"
    assert ending(version, text) == ("EFAULT", ["0-4 rw-p 0 anon"])


def test_since_6_17_a_move_takes_every_vma_of_its_range():
    text = "mmap 0 2 rw p anon\nmmap 3 2 r p anon\nmremap 0 8 8 f 20"
    assert ending("6.17", text) == ("", ["20-22 rw-p 0 anon", "23-25 r--p 0 anon"])


def test_sysv_shm_moves_alone_even_then():
    text = "seg A 4\nshmat A 0\nmprotect 2 2 r\nmremap 0 4 4 f 20"
    assert ending("7.3", text)[0] == "EFAULT"


def test_memory_that_was_writable_once_stays_accounted_unless_untouched_since_6_7():
    text = "mmap 0 4 r p anon\nmmap 4 4 rw p anon\n{}mprotect 4 4 r"
    apart, one = ["0-4 r--p 0 anon", "4-8 r--p 0 anon"], ["0-8 r--p 0 anon"]
    assert ending("6.6", text.format(""))[1] == apart
    assert ending("6.7", text.format(""))[1] == one
    assert ending("6.7", text.format("touch 4 1\n"))[1] == apart


def test_faults_side_by_side_share_an_anon_vma_and_can_merge_later():
    text = "mmap 0 4 rw p anon\nmprotect 2 2 rwx\ntouch 0 1\ntouch 2 1\nmprotect 2 2 rw"
    assert ending("6.5", text)[1] == ["0-4 rw-p 0 anon"]


def test_reading_leaves_no_anon_vma():
    read = "mmap 0 4 rw p anon\nread 0 4"
    vma = under("6.5", read).steps[-1].vmas[0]
    assert vma.anon_vma is None
    assert under("6.5", f"{read}\ntouch 0 1").steps[-1].vmas[0].anon_vma is not None


def test_locked_memory_is_faulted_in_when_it_becomes_writable():
    text = "mmap 0 4 r p anon\nmlock 0 4\nmprotect 0 4 rw"
    assert under("6.12", text).steps[-1].vmas[0].anon_vma is not None
    assert under("4.1", text).steps[-1].vmas[0].anon_vma is None


@pytest.mark.parametrize(
    ("call", "kernels"),
    [
        ("mprotect 0 8 r", {"6.2": "ENOMEM", "6.3.8": "", "6.3.10": "ENOMEM", "6.5": "ENOMEM"}),
        ("mlock 0 8", {"6.2": "ENOMEM", "6.3.8": "", "6.4.6": "", "6.4.7": "ENOMEM"}),
    ],
)
def test_6_3_does_not_notice_a_hole_at_the_end(call, kernels):
    text = f"mmap 0 4 rw p anon\n{call}"
    assert {version: ending(version, text)[0] for version in kernels} == kernels


def test_6_3_loses_its_place_when_mlock_merges_with_what_follows():
    text = "mmap 0 6 r s memfd 0\nmlock 2 2\nmlock 0 6"
    assert ending("6.3", text)[0] == "ENOMEM"
    assert ending("6.5", text)[0] == ""


def test_a_fork_counts_its_attaches_unless_told_not_to():
    text = "seg A 8\nshmat A 0\nmadvise 4 4 dontfork\nfork\nkillchild"
    attaches = [predicted.step.nattch for predicted in under("6.5", text).steps]
    assert attaches == [{"A": 1}, {"A": 2}, {"A": 3}, {"A": 2}]


def test_a_removed_segment_goes_with_its_last_attach():
    text = "seg A 4\nshmat A 0\nrmid A\nrmid A\nshmdt 0\nshmat A 0\nrmid A"
    assert errnos("6.12", text) == ["", "", "", "", "EINVAL", "EINVAL"]
    story = under("6.12", text)
    assert [predicted.step.nattch for predicted in story.steps][2:5] == [
        {"A": 1},
        {"A": -22},
        {"A": -22},
    ]
    assert story.nattch_after_exit == {"A": -22}


def test_errnos_as_the_kernel_gives_them():
    for version in ("5.10", "6.12", "7.3"):
        assert errnos(
            version,
            "seg A 2\nshmat A 0 ro\nmprotect 0 2 rw\nshmat A 1\nshmdt 1\nrfp 0 2 0\nmremap 0 2 0\n"
            "mremap 0 2 2 f 1\nmmap 9 0 r p anon\nmunmap 0 0\nmprotect 0 0 r\ntouch 0 1\n"
            "mmap 4 2 rw p anon\nmremap 4 0 2 f 20\nuffd 0 2\nread 7 1\nmadvise 4 3 seq",
        ) == [
            "", "EACCES", "EINVAL", "EINVAL", "EINVAL", "EINVAL",
            "EINVAL", "EINVAL", "EINVAL", "", "EFAULT",
            "", "EINVAL", "EINVAL", "EFAULT", "ENOMEM",
        ]  # fmt: skip


def test_behind_a_segment_is_a_bus_error_and_mlock_says_enomem():
    grown = "seg A 2\nshmat A 0\nmremap 0 2 4\n"
    step = under("6.12", f"{grown}touch 1 2").steps[-1].step
    assert (step.errno, step.note) == ("EFAULT", "SIGBUS")
    assert ending("6.12", f"{grown}mlock 0 4")[0] == "ENOMEM"


def test_names_keep_neighbours_apart_and_are_shown():
    text = "mmap 0 4 rw p anon\nname 1 2 heap"
    assert errnos("5.16", text) == ["", "EINVAL"]
    _, layout = ending("5.17", text, machine=KNOWN)
    assert layout == ["0-1 rw-p 0 anon", "1-3 rw-p 0 anon:heap", "3-4 rw-p 0 anon"]
    _, layout = ending("5.17", f"{text}\nname 1 2", machine=KNOWN)
    assert layout == ["0-4 rw-p 0 anon"]
    shared = "mmap 0 4 rw s anon\nname 0 4 x"
    assert ending("6.1", shared, machine=KNOWN)[0] == "EBADF"
    assert ending("6.2", shared, machine=KNOWN)[1] == ["0-4 rw-s 0 shanon:x"]


def test_a_moved_vma_leaves_userfaultfd():
    text = "mmap 0 4 rw p anon\nuffd 0 4\nmremap 0 4 4 f 20"
    vma = under("6.12", text).steps[-1].vmas[0]
    assert not vma.userfaultfd
    assert not vma.vm_flags & vm.VM_UFFD_MISSING
    assert under("4.19", text).steps[-1].vmas[0].userfaultfd


# --- borders found by reading ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "errno"),
    [("2.6.13", "EAGAIN"), ("4.10", "EAGAIN"), ("4.11", "ENOMEM"), ("5.16", "ENOMEM"),
     ("5.17", "EAGAIN"), ("7.3", "EAGAIN")],
)  # fmt: skip
def test_madvise_at_the_limit_changed_its_errno_twice(version, errno):
    assert ending(version, "mmap 0 4 rw p anon\nmadvise 0 2 seq", max_map_count=1)[0] == errno


@pytest.mark.parametrize("version", ["5.17", "6.12", "7.3"])
def test_a_name_at_the_limit_is_eagain(version):
    text = "mmap 0 4 rw p anon\nname 0 2 heap"
    assert ending(version, text, machine=KNOWN, max_map_count=1)[0] == "EAGAIN"
    assert ending(version, "mmap 0 4 rw p anon\nname 2 4 heap", machine=KNOWN)[0] == "ENOMEM"


def test_remapping_the_last_attach_of_a_removed_segment_destroys_it():
    text = "seg A 8\nshmat A 0\nrmid A\nrfp {} 0"
    step = under("6.18", text.format("0 8")).steps[-1].step
    assert (step.errno, step.layout, step.nattch) == ("EINVAL", (), {"A": -22})
    step = under("6.18", text.format("0 4")).steps[-1].step
    assert (step.errno, step.nattch) == ("", {"A": 1})
    assert "stumbles" in (under("4.3", "seg A 8\nshmat A 0\nrmid A\nrfp 0 8 1").refused or "")


def test_remap_file_pages_took_one_vma_and_no_linear_offset_to_4_4():
    pieces = "mmap 0 3 rw s anon\nrfp 0 1 1\nrfp 0 2 1"
    assert [ending(version, pieces)[0] for version in ("4.3", "4.4", "4.5")] == ["EINVAL"] * 2 + [
        ""
    ]
    same = "seg A 8\nshmat A 0\nrfp 2 4 2"
    assert [len(ending(version, same)[1]) for version in ("4.0", "4.4", "4.5")] == [1, 1, 3]
    assert "not known" in (under("4.4.100", same).refused or "")


def test_a_move_counts_vmas_first_since_5_1():
    text = "mmap 0 4 rw p anon\nmmap 10 2 r p anon\nmremap 0 4 4 f 10"
    moved, both = ["10-14 rw-p 0 anon"], ["0-4 rw-p 0 anon", "10-12 r--p 0 anon"]
    assert ending("5.0", text, max_map_count=5) == ("", moved)
    assert ending("5.1", text, max_map_count=5) == ("ENOMEM", both)
    assert ending("5.0", text, max_map_count=4) == ("ENOMEM", both[:1])
    assert ending("5.1", text, max_map_count=4) == ("ENOMEM", both)


@pytest.mark.parametrize("call", ["munmap 2 2", "mmap 2 2 r p anon"])
def test_at_the_limit_an_edge_could_not_be_cut_off_to_2_6_32(call):
    text = f"mmap 0 4 rw p anon\n{call}"
    errors = [ending(version, text, max_map_count=1)[0] for version in ("2.6.32", "2.6.33")]
    assert errors == ["ENOMEM", ""]


@pytest.mark.parametrize(
    ("version", "vmas"), [("2.6.23", 1), ("2.6.24", 2), ("2.6.31", 2), ("2.6.32", 1)]
)
def test_reading_made_an_anon_vma_while_there_was_no_zero_page(version, vmas):
    text = "mmap 0 2 rw p anon\nmmap 6 2 rw p anon\nread 0 2\nmremap 0 2 2 f 4"
    assert len(ending(version, text)[1]) == vmas


def test_advice_of_huge_pages_was_given_once_and_to_private_memory():
    twice, shared = (
        "mmap 0 4 rw p anon" + 2 * "\nmadvise 0 4 huge",
        "mmap 0 4 rw s anon\nmadvise 0 4 huge",
    )
    assert ending("4.3", twice, machine=KNOWN)[0] == "EINVAL"
    assert ending("4.5", twice, machine=KNOWN)[0] == ""
    assert "not known" in (under("4.4", twice, machine=KNOWN).refused or "")
    assert [ending(v, shared, machine=KNOWN)[0] for v in ("4.7", "4.8")] == ["EINVAL", ""]
    assert ending("6.12", shared, machine=machine_with("none"))[0] == "EINVAL"


def test_memory_is_accounted_in_spite_of_noreserve_before_there_was_such_a_flag():
    text = "mmap 0 2 r p anon\nmmap 2 2 r pN anon"
    assert [len(ending(version, text)[1]) for version in ("2.6.26", "2.6.27", "6.12")] == [1, 2, 2]
    strict = Machine(strict=True)
    assert len(ending("6.12", text, machine=strict)[1]) == 1


def test_shmdt_took_pieces_of_another_segment_along_to_3_18():
    text = "seg A 8\nseg B 8\nshmat A 0\nmunmap 4 4\nshmat B 20\nmremap 24 4 4 f 4\nshmdt 0"
    assert ending("3.18", text)[1] == ["20-24 rw-s 0 shm:B"]
    assert ending("3.19", text)[1] == ["4-8 rw-s 4 shm:B", "20-24 rw-s 0 shm:B"]


@pytest.mark.parametrize(
    ("version", "text", "why"),
    [
        ("2.6.25", "mmap 0 4 r p fuse 0", "without ->close"),
        ("3.16", "mmap 0 4 r p memfd 0", "no memfd before 3.17"),
        ("2.6.20", "seg A 4\nshmat A 0 ro", "other flags"),
        ("2.6.19", "mmap 0 2 w p anon\nread 0 1", "only once written to"),
        ("2.6.37", "mmap 0 2 none p anon\nmlock 0 2", "stops at another page"),
        ("2.6.30", "mmap 0 2 r p anon\nmadvise 0 1 dodump", "unknown advice"),
        ("5.17.8", "mremap 0 2 4", "returns 14"),
        ("4.19.50", "mmap 0 4 rw p anon\nuffd 0 4\nmremap 0 4 4 f 20", "not known"),
    ],
)
def test_what_was_not_read_is_declined(version, text, why):
    prediction = under(version, text)
    assert prediction.refused is not None
    assert why in prediction.refused


def test_a_user_who_may_lock_little_is_not_guessed():
    few = Machine(memlock=4)
    assert ending("6.12", "mmap 0 8 rw p anon\nmlock 0 4", machine=few)[0] == ""
    refused = under("6.12", "mmap 0 8 rw p anon\nmlock 0 4\nmlock 4 1", machine=few).refused
    assert "more than 4 locked pages" in (refused or "")
    # 6.1.192: EAGAIN, the pages that go are still counted
    again = "mmap 0 4 rw s memfd 0\nmlock 0 4\nrfp 1 1 2"
    assert "more than 4 locked pages" in (under("6.1.192", again, machine=few).refused or "")
    assert under("6.1.192", again).refused is None


# --- execute-only memory -------------------------------------------------------------------------

KEYS, NO_KEYS = Machine(pkeys=True), Machine(pkeys=False)


def test_execute_only_memory_takes_a_key_that_keeps_neighbours_apart():
    #  none|none -> x|none -> none|none: from 4.17 on the key goes again
    text = "mmap 0 4 none p anon\nmprotect 0 2 x\nmprotect 0 2 none\nmprotect 0 2 r\nmprotect 2 2 r"
    assert len(ending("4.17", text, machine=KEYS)[1]) == 1
    assert len(ending("4.16", text, machine=KEYS)[1]) == 2
    assert len(ending("4.5", text, machine=KEYS)[1]) == 1
    assert len(ending("4.16", text, machine=NO_KEYS)[1]) == 1


@pytest.mark.parametrize(("machine", "errnos"), [(KEYS, ["EFAULT", "ENOMEM"]), (NO_KEYS, ["", ""])])
def test_a_key_forbids_reading_and_locking(machine, errnos):
    (program,) = parse("mmap 0 2 x p anon\nread 0 1\nmlock 0 1")
    steps = predict(program, kernel("6.12"), machine=machine).steps
    assert [one.errno for one in steps[1:]] == errnos
    assert [one.note for one in steps[1:2]] == ["SIGSEGV" if machine is KEYS else None]


def test_without_knowing_the_machine_only_what_depends_on_it_is_declined():
    told = under("6.12", "mmap 0 4 rw p anon\nmprotect 0 2 x\nmunmap 2 2\nread 0 1\nmunmap 0 4")
    assert [one.errno for one in told.steps] == ["", "", ""]
    assert told.refused is not None
    assert told.refused.startswith("'read 0 1': it depends on whether the CPU has protection keys")
    assert under("6.12", "mmap 0 4 rw p anon\nmprotect 0 2 x").refused is None
    assert under("4.5", "mmap 0 4 x p anon\nread 0 1").refused is None


def test_soft_dirty_decided_merges_in_3_12_and_3_13():
    text = "mmap 0 2 rw p anon\nmmap 2 2 rw p anon"
    assert "soft-dirty" in (under("3.12", text).refused or "")
    tracked = {
        has: len(ending("3.12", text, machine=Machine(softdirty=has))[1]) for has in (False, True)
    }
    assert tracked == {False: 1, True: 2}
    assert len(ending("3.14", text)[1]) == 1


def test_a_machine_is_described_in_words():
    assert machine_with("thp,names") == Machine(False, True, True, False)
    assert machine_with("none") == Machine(False, False, False, False)
    with pytest.raises(InputError, match=r"unknown 'pkey' .*: write some of pkeys,thp"):
        machine_with("pkey")
    with pytest.raises(InputError, match="unknown 'none'"):
        machine_with("none,pkeys")


# --- the limit -----------------------------------------------------------------------------------


def test_the_limit_on_vmas_stops_splits_but_not_one_more_mmap():
    full = "mmap 0 1 rw p anon\nmmap 2 4 r p anon\n"
    errors = {
        call: ending("6.12", full + call, max_map_count=2)[0]
        for call in ("mprotect 3 1 rw", "munmap 3 1", "munmap 2 1", "madvise 3 1 seq", "mlock 3 1")
    }
    assert errors == {
        "mprotect 3 1 rw": "ENOMEM",
        "munmap 3 1": "ENOMEM",
        "munmap 2 1": "",
        "madvise 3 1 seq": "EAGAIN",
        "mlock 3 1": "ENOMEM",
    }
    assert ending("5.10", f"{full}madvise 3 1 seq", max_map_count=2)[0] == "ENOMEM"
    assert ending("6.12", f"{full}mremap 2 1 1 f 9", max_map_count=2)[0] == "ENOMEM"
    assert ending("6.12", f"{full}mmap 8 1 r p anon", max_map_count=2)[0] == ""
    more = f"{full}mmap 8 1 r p anon\nmmap 10 1 r p anon"
    assert ending("6.12", more, max_map_count=2)[0] == "ENOMEM"


# --- what is declined ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "text", "why"),
    [
        ("6.5", "mmap 0 4 rw p anon\nmremap 0 2 8 m", "itself chooses"),
        ("6.5", "mmap 0 4 rx p file 0", "may be executed"),
        ("6.5", "mmap 0 4 r s fuse 0\nmprotect 0 4 rx", "may be executed"),
        ("6.5", "mmap 0 4 rw p anon\nname 0 4 x", "can be named depends on the"),
        ("6.5", "mmap 0 4 rw p anon\nmadvise 0 4 huge", "huge pages can be advised"),
        ("6.5", "mmap 0 4 rw p file 0\nuffd 0 4", "userfaultfd takes a file"),
        ("6.5", "mmap 0 4 rw p anon\nuffd 0 4\ntouch 0 1", "waits for an answer"),
        ("6.5", "mmap 0 4 rw s file 0\nmremap 0 4 8\ntouch 7 1", "goes on behind"),
        ("6.5", "mmap 0 512 rw p anon\nread 0 1", "huge pages are set"),
        ("6.5", "mmap 0 99999 rw p anon", "more than a machine has"),
        ("6.5", "mmap 17179869184 4 rw p anon", "outside the address space"),
        ("6.3", "mmap 0 4 rw p anon\nuffd 1 1", "wrong offsets"),
        ("4.2", "mmap 0 4 rw p anon\nuffd 0 4", "before 4.3"),
        ("3.19", "mmap 0 4 rw s memfd 0\nrfp 0 1 2", "nonlinear"),
        ("2.6.12", "mmap 0 4 rw p anon\nmadvise 0 1 seq", "does not merge"),
    ],
)
def test_what_lies_outside_is_declined_in_a_sentence(version, text, why):
    prediction = under(version, text)
    call = text.splitlines()[-1]
    assert prediction.refused is not None
    assert prediction.refused.startswith(f"'{call}': ")
    assert why in prediction.refused
    assert json.loads(prediction.to_json()) == {
        "scenario": "scenario",
        "refused": prediction.refused,
    }


def test_naming_a_file_is_declined():
    prediction = under("6.5", "mmap 0 4 rw p file 0\nname 0 4 x", machine=KNOWN)
    assert prediction.refused is not None
    assert "depends on its file system" in prediction.refused


def test_the_work_grows_with_the_calls_and_no_faster(monkeypatch):
    seen: Counter[str] = Counter()
    for name in ("add", "remove", "around"):
        real = getattr(VmaTree, name)

        def counted(tree, *arguments, real=real):
            seen["work"] += 1
            return real(tree, *arguments)

        monkeypatch.setattr(VmaTree, name, counted)
    every = VmaTree.__iter__

    def gone_through(tree):
        for vma in every(tree):
            seen["work"] += 1
            yield vma

    monkeypatch.setattr(VmaTree, "__iter__", gone_through)

    def work(calls_made: int) -> int:
        seen.clear()
        holes = "\n".join([f"mprotect {page} 1 none" for page in range(1, 2 * calls_made, 2)])
        text = f"seg A 4\nshmat A 10000\nmmap 0 {2 * calls_made} rw p anon\n{holes}"
        (told,) = predict_all(text, [kernel("6.18")])
        side_by_side(told)
        return seen["work"]

    small, large = work(100), work(800)
    assert large < 9 * small


def test_layouts_are_as_they_were_in_whatever_order_they_are_asked_for():
    story = under("6.12", "mmap 0 4 rw p anon\nmprotect 1 2 r\nmunmap 0 2\nmmap 0 2 rw p anon")
    forwards = [one.step.layout for one in story.steps]
    assert [len(layout) for layout in forwards] == [1, 3, 2, 3]
    assert [one.step.layout for one in reversed(story.steps)] == forwards[::-1]
    assert [one.first(1) for one in story.steps] == [
        (layout[:1], len(layout)) for layout in forwards
    ]


def test_so_many_vmas_that_the_others_count_are_declined():
    process = Process(kernel("6.12"))
    for page in range(0, 2 * 64506, 2):
        process.space.map(VMA(f"V{page}", page, page + 1, vm.VM_READ, vm_pgoff=page))
    calls.do(process, Mmap(1, 1, "none", False, "anon"))
    with pytest.raises(Declined, match="near the limit of 65530"):
        calls.do(process, Mmap(3, 1, "none", False, "anon"))


def test_no_recorded_scenario_is_declined():
    for version, recordings in RECORDED.items():
        for line in recordings[::10]:
            program = Recording.from_json(line).program()
            assert predict(program, kernel(version), machine=RECORDED_ON).refused is None


# --- what must always hold -----------------------------------------------------------------------


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.sampled_from(VERSIONS))
def test_promises_hold_after_any_call(draw, version):
    scenario = program(draw)
    process = Process(kernel(version), scenario.segments, machine=KNOWN)
    before = process.space.mark()
    spaces = [repr(process.space)]
    marks = [before]
    for call in scenario.calls:
        try:
            calls.do(process, call)
        except Errno:
            pass
        except Declined:
            break
        process.space.check()
        assert all(count >= 0 or count == -22 for count in process.nattch().values())
        spaces.append(repr(process.space))
        marks.append(process.space.mark())
    for mark, space in zip(reversed(marks), reversed(spaces), strict=True):
        process.space.undo(mark)
        assert repr(process.space) == space
        process.space.check()


@settings(max_examples=150)
@given(st.randoms(use_true_random=False), st.sampled_from(VERSIONS))
def test_only_the_leaky_rule_leaves_attaches_behind(draw, version):
    scenario = program(draw)
    prediction = predict(scenario, kernel(version), machine=KNOWN)
    left = prediction.nattch_after_exit.values()
    if prediction.kernel.rule is not MAY_REMOVE_VMA:
        assert all(count in (0, -22) for count in left)
    lost = [
        vma.vm_file
        for predicted in prediction.steps
        for result in predicted.results
        if result.outcome is not None
        for vma in result.outcome.lost
    ]
    if prediction.refused is None:
        shm = [file for file in lost if file is not None and file.startswith("shm:")]
        assert sum([count for count in left if count > 0]) == len(shm)


@settings(max_examples=100)
@given(st.randoms(use_true_random=False), st.sampled_from(VERSIONS))
def test_a_prediction_is_a_recording_of_its_scenario(draw, version):
    scenario = program(draw)
    prediction = predict(scenario, kernel(version), machine=KNOWN)
    if prediction.refused is None:
        recording = Recording.from_json(prediction.to_json())
        assert recording == prediction.recording
        assert recording.program() == scenario
        assert predict(scenario, kernel(version), machine=KNOWN) == prediction


# --- shown ---------------------------------------------------------------------------------------

LEAK = "scenario leak\nseg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\nshmdt 0\n"


def test_side_by_side_marks_what_differs_and_nothing_else():
    (told,) = predict_all(LEAK, [kernel("6.3"), kernel("6.5")])
    shown = side_by_side(told).splitlines()
    marked = [line.split() for line in shown if line.startswith(DIFFERENT)]
    assert marked == [
        ["≠", "0-4", "rw-s", "0", "shm:A", "0-8", "rw-s", "0", "shm:A"],
        ["≠", "4-8", "rw-s", "4", "shm:A"],
        ["≠", "nattch", "A=0", "nattch", "A=1"],
        ["≠", "nattch", "A=0", "nattch", "A=1"],
    ]
    assert shown[0] == "leak"
    assert shown[1].split("   ") == ["", " 6.3 (workaround)", "", " 6.5 (may_remove_vma)"]


def test_color_is_only_for_those_who_ask():
    (told,) = predict_all(LEAK, [kernel("6.3"), kernel("6.5")])
    plain, lit = side_by_side(told), side_by_side(told, color=True)
    assert "\x1b" not in plain
    assert lit.replace("\x1b[1;33m", "").replace("\x1b[0m", "") == plain
    assert lit.count("\x1b[1;33m≠") == plain.count("≠")


def test_a_declined_scenario_says_where_and_why():
    (told,) = predict_all("mmap 0 4 rx p file 0\nmunmap 0 4", [kernel("6.5")], name="mine")
    shown = side_by_side(told)
    assert shown.splitlines()[0] == "mine"
    assert "munmap" not in shown
    assert "6.5 (may_remove_vma) declined: 'mmap 0 4 rx p file 0': whether" in shown


def test_many_scenarios_make_many_lines_of_json():
    text = LEAK + "scenario other\nmmap 0 4 rx s fuse 0\n"
    first, second = [one.to_json() for (one,) in predict_all(text, [kernel("6.5")])]
    assert json.loads(first)["nattch_after_exit"] == {"A": 1}
    assert set(json.loads(second)) == {"scenario", "refused"}


def test_a_slip_of_the_pen_is_told_with_its_line():
    with pytest.raises(ScenarioError, match="line 2: 'mprotekt 0 4 r'"):
        predict_all("mmap 0 4 rw p anon\nmprotekt 0 4 r", [kernel("6.5")])
