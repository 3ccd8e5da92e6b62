"""Scenario text: what it reads, what it prints, and what it says about a slip of the pen."""

import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vmakernel import scenario
from vmakernel.scenario import (
    Call,
    Fork,
    Killchild,
    Madvise,
    Mmap,
    Mremap,
    Name,
    Recording,
    Scenario,
    ScenarioError,
    Segment,
    Shmat,
    parse,
    parse_call,
)

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared/recorded/calls"


def lines_of(path: Path) -> list[str]:
    """The lines of a compressed text file."""
    return gzip.decompress(path.read_bytes()).decode().splitlines()


SAMPLE = lines_of(DATA / "live-6.18.15.jsonl.gz")

WHOLE_MIDDLE = """\
# the middle of a segment, and back
scenario whole-middle
seg A 12          # 12 pages
shmat A 0

mprotect 4 4 r
mprotect 4 4 rw
"""


def test_a_text_becomes_values() -> None:
    (read,) = parse(WHOLE_MIDDLE)

    assert read.name == "whole-middle"
    assert read.segments == (Segment("A", 12),)
    assert read.calls[0] == Shmat("A", 0)
    assert list(map(str, read.calls)) == ["shmat A 0", "mprotect 4 4 r", "mprotect 4 4 rw"]


def test_a_file_may_hold_many_scenarios_and_one_needs_no_name() -> None:
    many = parse("scenario a\nmunmap 0 1\nscenario b\nscenario c\nfork")
    one = parse("munmap 0 1", name="my file # 1")

    assert [(s.name, len(s.calls)) for s in many] == [("a", 1), ("b", 0), ("c", 1)]
    assert [s.name for s in one] == ["my-file-1"]


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("shmat A 3 ro", Shmat("A", 3, ro=True)),
        ("mmap 0 4 rw p anon", Mmap(0, 4, "rw", False, "anon")),
        ("mmap 1 2 none sN memfd 7", Mmap(1, 2, "none", True, "memfd", 7, noreserve=True)),
        ("mremap 0 4 8", Mremap(0, 4, 8)),
        ("mremap 0 4 8 m", Mremap(0, 4, 8, maymove=True)),
        ("mremap 0 4 8 f 20", Mremap(0, 4, 8, to=20)),
        ("madvise 0 0 dontfork", Madvise(0, 0, "dontfork")),
        ("name 1 2 heap.7", Name(1, 2, "heap.7")),
        ("name 1 2", Name(1, 2)),
        ("fork", Fork()),
    ],
)
def test_a_line_and_its_call(line: str, call: Call) -> None:
    assert parse_call(line) == call
    assert str(call) == line


def test_every_recorded_scenario_reads_and_prints_as_it_was() -> None:
    recordings = [Recording.from_json(line) for line in SAMPLE]

    assert [recording.to_json() for recording in recordings] == SAMPLE
    programs = tuple(recording.program() for recording in recordings)
    assert parse("".join(map(str, programs))) == programs
    assert len({type(call) for program in programs for call in program.calls}) >= 14


@pytest.mark.nightly
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings themselves are not at hand")
def test_every_recording_at_hand_reads_and_prints_as_it_was() -> None:
    lines = [line for path in SHARED.glob("*.gz") for line in lines_of(path)]

    recordings = [Recording.from_json(line) for line in lines]

    assert len(recordings) >= 11 * 1737
    assert [recording.to_json() for recording in recordings] == lines
    assert all(parse(str(r.program())) == (r.program(),) for r in recordings)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mprotct 4 4 r", "line 1: 'mprotct 4 4 r': there is no call 'mprotct'; did you mean 'mpr"),
        ("SHMAT A 0", "did you mean 'shmat'?"),
        ("xyz", "there is no call 'xyz'; write one of shmat, shmdt, mmap"),
        ("\n\nmprotect 4 4", "line 3: 'mprotect 4 4': a protection is missing at the end; write"),
        ("mprotect 4 x r", "'x' is not a whole number of pages; write 0, 1, 2, ..."),
        ("mprotect 4 -1 r", "'-1' is not a whole number of pages"),
        ("mprotect 0x4 1 r", "'0x4' is not a whole number of pages"),
        ("mprotect ٤ 1 r", "'٤' is not a whole number of pages"),
        ("munmap 0 " + "9" * 5000, "is too many pages; write at most"),
        ("mprotect 4 4 rwz", "'rwz' is not a protection; write one of none, r, w, x, rw"),
        ("munmap 1 2 3", "'3' is one word too many; write 'munmap AT N'"),
        ("mmap 0 4 rw q anon", "'q' is not a way of sharing; write one of p, s, pN, sN"),
        ("mmap 0 4 rw p disk 0", "'disk' is not something to map; write one of anon, file"),
        ("mmap 0 4 rw p anon 3", "'3' is one word too many"),
        ("mmap 0 4 rw p file", "a number of pages is missing at the end"),
        ("mremap 0 4 8 f", "a number of pages is missing at the end"),
        ("mremap 0 4 8 x", "'x' is one word too many; write 'mremap AT OLD NEW [m | f TO]'"),
        ("madvise 0 4 free", "'free' is not advice; write one of normal, seq"),
        ("name 0 4 a[b", "'a[b' cannot name memory"),
        ("shmat B 0", "there is no segment 'B'; write 'seg B 12' before it"),
        ("shmat A 0\nseg A 4", "line 1: 'shmat A 0': there is no segment 'A'"),
        ("rmid B", "there is no segment 'B'"),
        ("seg A 0", "a segment has at least one page; write 1 or more"),
        ("seg A 4\nseg A 5", "line 2: 'seg A 5': there is already a segment 'A'"),
        ("seg 4 A", "'4' does not name a segment; write a letter, such as A"),
        ("seg A", "a number of pages is missing at the end; write 'seg SEGMENT N'"),
        ("fork\nfork", "line 2: 'fork': a forked child is still alive; write 'killchild' before"),
        ("killchild", "there is no forked child; write 'fork' before it"),
        ("scenario", "a name is missing at the end; write 'scenario NAME'"),
        ("scenario a b", "'b' is one word too many"),
        ("scenario a\nscenario b\nscenario a", "there is already a scenario 'a'"),
        ("fork\nscenario a", "lines before it belong to no scenario; move this line to the top"),
        ("# nothing", "there is no call; write one, such as 'mmap 0 4 rw p anon'"),
        ("seg A 4", "there is no call"),
    ],
)
def test_a_slip_is_named_with_what_to_write_instead(text: str, sentence: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse(text)

    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_error_knows_its_line() -> None:
    with pytest.raises(ScenarioError) as caught:
        parse("fork\n  kilchild # end it\n")

    assert (caught.value.line_number, caught.value.line) == (2, "  kilchild # end it")
    assert caught.value.problem == "there is no call 'kilchild'; did you mean 'killchild'?"


@pytest.mark.parametrize(
    "line", ["", "[]", "{", "7", '{"scenario":"a"}', "[" * 100_000, '{"x":' + "9" * 5000 + "}"]
)
def test_what_is_no_recording_is_said_to_be_none(line: str) -> None:
    with pytest.raises(ScenarioError, match="it is no recording; write"):
        Recording.from_json(line)


# -- anything at all -------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(*scenario.CALLS, *scenario.PROTS, *scenario.ADVICE, *scenario.SOURCES),
        *[
            "scenario",
            "seg",
            "A",
            "B",
            "m",
            "f",
            "ro",
            "p",
            "s",
            "pN",
            "#",
            "0",
            "1",
            "12",
            "-1",
            "é",
        ],
    ]
)
LINES = st.lists(WORDS, max_size=7).map(" ".join)


def problem_of(read: Callable[[], object]) -> str | None:
    """What a ScenarioError says, in one sentence; None if there is none. Nothing else may come."""
    try:
        read()
    except ScenarioError as error:
        return str(error)
    return None


@given(st.one_of(st.text(), st.lists(LINES, max_size=6).map("\n".join)))
@example("\x85fork\x0b\x1c")
@example("scenario a#b\nfork\r\nkillchild\r\n")
def test_any_text_is_read_or_refused_in_one_sentence(text: str) -> None:
    problem = problem_of(lambda: parse(text))

    if problem is None:
        read = parse(text)
        assert parse("".join(map(str, read))) == read
    else:
        assert len(problem.splitlines()) == 1


PAGES = st.integers(0, scenario.MAX_PAGE)


def calls_of(kind: type[Call]) -> st.SearchStrategy[Call]:
    """Calls of one kind, made from what their form allows."""
    if kind is Mremap:
        return st.builds(Mremap, PAGES, PAGES, PAGES, st.booleans()) | st.builds(
            Mremap, PAGES, PAGES, PAGES, to=PAGES
        )
    if kind is Mmap:
        prot, source = st.sampled_from(scenario.PROTS), st.sampled_from(scenario.SOURCES[1:])
        return st.builds(
            Mmap, PAGES, PAGES, prot, st.booleans(), source, PAGES, st.booleans()
        ) | st.builds(
            Mmap, PAGES, PAGES, prot, st.booleans(), noreserve=st.booleans(), source=st.just("anon")
        )
    fields: dict[str, st.SearchStrategy[object]] = {
        "segment": st.just("A"),
        "ro": st.booleans(),
        "prot": st.sampled_from(scenario.PROTS),
        "advice": st.sampled_from(scenario.ADVICE),
        "name": st.none() | st.from_regex(r"[A-Za-z0-9_.:-]{1,79}", fullmatch=True),
    }
    return st.builds(kind, **{f.name: fields.get(f.name, PAGES) for f in dataclasses.fields(kind)})


ANY_CALL = st.one_of([calls_of(k) for k in scenario.CALLS.values() if k not in (Fork, Killchild)])


@given(st.lists(ANY_CALL, min_size=1))
def test_any_scenario_reads_back(calls: list[Call]) -> None:
    made = Scenario("made", (Segment("A", 12),), tuple(calls))

    assert parse(str(made)) == (made,)


KEYS = ["scenario", "segments", "steps", "op", "errno", "layout", "nattch_after_exit", "vm_flags"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(JSON)
def test_any_json_is_a_recording_or_refused_in_one_sentence(data: object) -> None:
    problem = problem_of(lambda: Recording.from_json(json.dumps(data)))

    assert problem is None or len(problem.splitlines()) == 1
