"""The shortest program: it does what it claims, and there is none shorter."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vmakernel import calls, live, recorded
from vmakernel.guard import Stopped
from vmakernel.kernels import kernel
from vmakernel.own import OwnRule, Question
from vmakernel.predict import predict
from vmakernel.process import Process
from vmakernel.programs import ProgramError, as_c, as_python
from vmakernel.scenario import Mmap, Scenario, Segment, parse, parse_call
from vmakernel.shortest import (
    DIFFER,
    LEAK,
    Progress,
    Search,
    View,
    _digest,
    _do,
    _moves,
    shortest,
)


def left(version: str, scenario: Scenario) -> int:
    """Return how many attaches are left when the process has ended."""
    prediction = predict(scenario, kernel(version))
    assert prediction.refused is None
    return prediction.nattch_after_exit["A"]


def found(search: Search) -> Scenario:
    assert search.found is not None
    return search.found


@pytest.fixture(scope="module")
def leak() -> Search:
    return shortest(kernel("6.5"))


# --- the leak ------------------------------------------------------------------------------------


def test_the_leak_is_found_and_is_no_longer_than_the_published_one(leak):
    #     AAA      shmat
    #     A|AA     the first page made r
    #     AAA      then all of it: case 7 removes the rest, and its close is never called
    published = recorded.calls("6.6.17", "S5.fixed")  # of fc0c8f9089c2
    assert published.nattch_after_exit["A"] == left("6.6.17", published.program()) == 1
    attach, *changes, detach = map(str, published.program().calls)
    assert (attach, len(changes), detach) == ("shmat A 0", 3, "shmdt 0")
    assert len(found(leak).calls) < 1 + len(changes)
    assert (
        str(found(leak))
        == "scenario shortest\nseg A 3\nshmat A 0\nmprotect 0 1 r\nmprotect 0 3 r\n"
    )


@pytest.mark.parametrize(
    ("version", "lost"),
    [
        *[(version, 1) for version in ("6.4", "6.5", "6.6.17", "6.7")],
        *[(version, 0) for version in ("6.0", "6.3", "6.6.24", "6.8", "6.9", "6.12", "7.3")],
    ],
)
def test_it_leaks_under_no_other_rule(leak, version, lost):
    assert left(version, found(leak)) == lost


def test_there_is_none_shorter(leak):
    # Every program of two calls was continued, so every one of them was tried and did not leak.
    assert leak.depth == len(found(leak).calls)


def test_under_a_safe_rule_there_is_none():
    for version in ("6.3", "6.9", "6.12"):
        search = shortest(kernel(version), most=1500)
        assert search.found is None
        assert search.ended.startswith("1,500 states are as many as it may remember: none of the")


def test_a_small_enough_search_ends():
    search = shortest(kernel("6.5"), pages=1, window=1)
    assert search.found is None
    assert search.ended == "there is no such program"


@pytest.mark.skipif(bool(live.why_unsupported()), reason=f"live: {live.why_unsupported()}")
def test_the_running_kernel_does_as_its_rule_says(leak):
    fingerprint = live.fingerprint()
    if fingerprint.verdict == live.MAY_REMOVE_VMA:
        pytest.skip("it would leave memory behind under this kernel")
    recording = live.run(found(leak))
    assert recording.nattch_after_exit == {"A": 0}
    version = {live.ALWAYS_REFUSE: "6.3", live.ONLY_WHEN_REMOVED: "6.12"}[fingerprint.verdict or ""]
    expected = predict(found(leak), kernel(version)).recording
    assert [step.layout for step in recording.steps] == [step.layout for step in expected.steps]


# --- two kernels ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "calls"),
    [
        ("6.0", "6.1.0", 2),  # shmat, mremap: the regression
        ("6.1.0", "6.3", 2),  # the workaround
        ("6.3", "6.5", 3),
        ("6.5", "6.9", 3),
        ("6.9", "6.12", 3),
        ("6.14", "6.18", 4),  # needs a fault on anonymous memory
    ],
)
def test_two_kernels_are_told_apart(before, after, calls):
    search = shortest(kernel(before), kernel(after), until=DIFFER)
    assert len(found(search).calls) == calls
    old, new = [one.steps[-1].step.layout for one in search.predictions]
    assert old != new
    for one, other in zip(*[p.steps[:-1] for p in search.predictions], strict=True):
        assert one.step.layout == other.step.layout  # it is the last call that shows it


def test_kernels_that_decide_alike_are_not():
    assert shortest(kernel("6.8"), kernel("6.9"), until=DIFFER, most=1500).found is None


def test_what_was_found_begins_at_page_0(leak):
    for search in (leak, shortest(kernel("6.9"), kernel("6.12"), until=DIFFER)):
        places = [getattr(call, "at", 0) for call in found(search).calls]
        ends = [getattr(call, "to", None) for call in found(search).calls]
        places += [end for end in ends if end is not None]
        assert min(places) == 0
        assert parse(str(search.found)) == (search.found,)


# --- states that are one -------------------------------------------------------------------------


def after(*lines: str) -> Process:
    """Return a process of 6.5 after some calls."""
    process = Process(kernel("6.5"), [Segment("A", 2)])
    for line in lines:
        calls.do(process, parse_call(line))
    return process


def test_place_and_names_do_not_matter_but_all_else_does():
    here = after("shmat A 3", "mmap 5 2 rw p anon", "touch 5 1")
    for same in (
        after("mmap 15 2 rw p anon", "touch 16 1", "shmat A 13"),
        after("shmat A 1", "shmdt 1", "shmat A 3", "mmap 5 2 rw p anon", "touch 5 2"),
    ):
        assert _digest(same) == _digest(here)
    for other in (
        after("shmat A 3", "mmap 5 2 rw p anon"),
        after("shmat A 3", "mmap 6 2 rw p anon", "touch 6 1"),
        after("shmat A 3", "mmap 5 2 r p anon"),
        after("mmap 3 2 rw p anon", "touch 3 1", "shmat A 5"),
    ):
        assert _digest(other) != _digest(here)


def test_merging_states_loses_none():
    # Every program of three calls, each a story of its own, reaches what the search has seen.
    search = Search(kernel("6.9"), pages=2, window=3)
    while len(search._waiting[0]) < 3 and not search.ended:
        search._continue(search._waiting.popleft())
    reached = set()

    def everything(process: Process, depth: int) -> None:
        if depth == 3:
            return
        for call in _moves([process], 2, 3):
            further = process.copy()
            _do(further, call)
            reached.add(_digest(further))
            everything(further, depth + 1)

    everything(Process(kernel("6.9"), [Segment("A", 2)]), 0)
    assert search._seen == reached


# --- a condition of one's own --------------------------------------------------------------------


def two_lost(view: View) -> bool:
    return view.lost == 2 and view.layout == ("0-3 r--s 0 shm:A",)


def test_a_condition_of_ones_own():
    search = shortest(kernel("6.5"), until=two_lost)
    prediction = predict(found(search), kernel("6.5"))
    assert prediction.nattch_after_exit == {"A": 2}
    assert prediction.steps[-1].step.layout == ("0-3 r--s 0 shm:A",)


def test_a_condition_over_two_kernels():
    search = shortest(
        kernel("6.0"), kernel("6.1.0"), until=lambda old, new: new.errno == "ENOMEM" != old.errno
    )
    assert [p.steps[-1].step.errno for p in search.predictions] == ["", "ENOMEM"]


def loops(view: View) -> bool:
    while view.calls:
        pass
    return False


def raises(view: View) -> bool:
    return bool(view.vmas[1].pages)


def mumbles(view: View) -> bool:
    return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("condition", "complaint"),
    [
        (loops, "loops did not come back within 2 s and was stopped"),
        (raises, "raises raised IndexError in its line 2: tuple index out of range"),
        (mumbles, "mumbles answered None"),
    ],
)
def test_a_condition_that_goes_wrong_ends_in_a_sentence_with_its_program(condition, complaint):
    with pytest.raises(Stopped) as stopped:
        shortest(kernel("6.5"), until=condition)
    assert str(stopped.value).startswith(complaint)
    assert "shmat A 0" in str(stopped.value)
    assert "\n" not in str(stopped.value)


# --- interrupted, continued, bounded -------------------------------------------------------------


@pytest.mark.nightly
def test_it_is_interrupted_and_goes_on_to_the_same_end():
    whole = shortest(kernel("6.5"), until=two_lost)
    search = Search(kernel("6.5"), until=two_lost)
    pieces = 0
    while not search.ended:
        before = search.progress.states
        search.run(seconds=0.05)
        assert search.progress.states >= before
        pieces += 1
    assert pieces > 1
    assert search.found == whole.found


def test_an_interrupt_at_any_moment_loses_nothing():
    base = kernel("6.9").rule
    questions = 0
    moments = {6 * n * (n + 1) for n in range(1, 50)}  # ever further apart

    def now_and_then(ask: Question) -> bool:
        nonlocal questions
        questions += 1
        if questions in moments:
            raise KeyboardInterrupt
        if ask.role == "removed":
            return base.refuses_removal(ask.vma, ask.proposal, ask.case)
        return ask.role == "next" and ask.vma.has_close

    rule = OwnRule("interrupted", True, True, base.removed, base.mremap, test=now_and_then)
    search = Search(kernel("6.12"), kernel("6.9").with_rule(rule), until=DIFFER)
    interrupts = 0
    while not search.ended:
        search.run()
        interrupts += not search.ended
    assert interrupts > 2
    whole = shortest(kernel("6.12"), kernel("6.9"), until=DIFFER)
    assert search.found == whole.found
    assert search._seen == whole._seen


def test_an_interrupted_search_says_how_far_it_came():
    search = Search(kernel("6.9")).run(seconds=0.05)
    assert str(search).startswith("Nothing found yet: interrupted while trying programs of ")
    assert json.loads(json.dumps(search.as_json()))["ended"] == "interrupted"
    assert (search.as_c(), search.as_python(), search.predictions) == ("", "", [])


@pytest.mark.nightly
def test_progress_is_told():
    told: list[Progress] = []
    search = Search(kernel("6.9"), most=3000).run(told.append)
    assert told[-1] == search.progress
    assert [one.states for one in told] == sorted(one.states for one in told)
    assert told[-1].states == 3000
    assert told[-1].depth >= 3
    assert told[-1].rate > 0
    assert "3,000 states" in str(told[-1])


def test_what_it_remembers_is_bounded():
    search = Search(kernel("6.9"), most=200).run()
    assert search.progress.states == 200
    assert "200 states are as many as it may remember" in str(search)
    assert search.run().progress.states == 200


def test_wrong_searches_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="only two kernels can differ"):
        Search(kernel("6.5"), until=DIFFER)
    with pytest.raises(ValueError, match="write leak or differ"):
        Search(kernel("6.5"), until="leaks")
    with pytest.raises(ValueError, match="write numbers from 1"):
        Search(kernel("6.5"), pages=0)
    with pytest.raises(ValueError, match="write numbers from 1"):
        Search(kernel("6.5"), window=2)
    with pytest.raises(ValueError, match="write numbers from 1"):
        Search(kernel("6.5"), most=0)
    with pytest.raises(ValueError, match="name a kernel"):
        Search(until=LEAK)


def test_as_json(leak):
    data = json.loads(json.dumps(leak.as_json()))
    assert data["rules"] == ["6.5 (may_remove_vma)"]
    assert (data["until"], data["found"], data["calls"]) == ("leak", True, 3)
    assert data["outcomes"] == [
        {
            "rule": "6.5 (may_remove_vma)",
            "layout": ["0-3 r--s 0 shm:A"],
            "nattch": 2,
            "nattch_after_exit": 1,
        }
    ]
    assert parse(data["scenario"]) == (leak.found,)


# --- as programs ---------------------------------------------------------------------------------

EVERYTHING = """\
scenario everything
seg A 3
seg at 2
shmat A 0
shmat at 4 ro
mmap 8 3 rw p anon
mmap 12 1 none sN anon
touch 8 2
mprotect 9 1 rwx
mprotect 20 1 r
mremap 8 1 1 f 16
mremap 10 1 2
mremap 10 1 2 m
madvise 9 1 dontfork
mlock 9 1
munlock 9 1
munmap 9 1
shmdt 4
"""
COMPILER = shutil.which("gcc") or shutil.which("cc")


@pytest.fixture(params=["c", "python"])
def made(request, tmp_path: Path) -> Callable[[Scenario], list[str]]:
    """Return what makes a runnable program of a scenario, in each language."""

    def make(scenario: Scenario) -> list[str]:
        if request.param == "python":
            (tmp_path / "program.py").write_text(as_python(scenario, "a note"))
            return [sys.executable, "-W", "error", str(tmp_path / "program.py")]
        if COMPILER is None:
            pytest.skip("there is no C compiler")
        (tmp_path / "program.c").write_text(as_c(scenario, "a note"))
        build = [COMPILER, "-Wall", "-Wextra", "-Werror", "-O2", "-o", "program", "program.c"]
        done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [str(tmp_path / "program")]

    return make


def ran(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def shown(recording) -> str:
    """Return what a program would print of a recording."""
    errors = {
        "ENOMEM": "Cannot allocate memory", "EFAULT": "Bad address", "EINVAL": "Invalid argument",
    }  # fmt: skip
    lines = []
    for step in recording.steps:
        lines.append(f"{step.call}" + (f": {errors[step.errno]}" if step.errno else ""))
        lines += [f"    {' '.join(line.split()[:2])}" for line in step.layout]
        lines += [f"    nattch {name} = {n}" for name, n in (step.nattch or {}).items()]
    for name, n in recording.nattch_after_exit.items():
        lines.append(f"after the end: nattch {name} = {n}, {'lost' if n else 'nothing is lost'}")
    return "\n".join(lines) + "\n"


@pytest.mark.skipif(bool(live.why_unsupported()), reason=f"live: {live.why_unsupported()}")
def test_a_program_shows_what_this_kernel_does(made, leak):
    if live.fingerprint().verdict == live.MAY_REMOVE_VMA:
        pytest.skip("it would leave memory behind under this kernel")
    for scenario in (found(leak), *parse(EVERYTHING), *parse("mmap 0 2 rw p anon\nmunmap 0 1")):
        status, printed = ran(made(scenario))
        assert (status, printed) == (0, shown(live.run(scenario)))


def test_a_program_carries_its_story(leak):
    for text in (leak.as_c(), leak.as_python()):
        assert "6.5 (may_remove_vma): 0-3 r--s; nattch 2, 1 after the end" in text
        assert "mprotect 0 3 r" in text
        assert "@" not in text


def test_what_cannot_be_written_is_named():
    for line, complaint in (
        ("uffd 0 1", "'uffd' cannot be written as a program"),
        ("mmap 0 1 r p file 0", "maps a file"),
    ):
        for write in (as_c, as_python):
            with pytest.raises(ProgramError, match=complaint):
                write(Scenario("x", (), (Mmap(0, 1, "rw", False, "anon"), *parse(line)[0].calls)))
