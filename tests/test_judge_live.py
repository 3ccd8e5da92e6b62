"""This machine's own kernel against the engine, over written scenarios and fresh random ones."""

import dataclasses
import gzip
import os
import random
from pathlib import Path
from typing import Any

import pytest

from vmakernel import live
from vmakernel.judge_live import difference, judge, live_text, running
from vmakernel.kernels import kernel
from vmakernel.predict import predict
from vmakernel.scenario import Recording, Scenario, parse

RECORDED = [
    Recording.from_json(line)
    for line in gzip.decompress(
        (Path(__file__).parent / "data" / "live-6.18.15.jsonl.gz").read_bytes()
    )
    .decode()
    .splitlines()
]
UNSUPPORTED = live.why_unsupported()
here = pytest.mark.skipif(UNSUPPORTED is not None, reason=f"no live kernel: {UNSUPPORTED}")

THERE_AND_BACK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\nshmdt 0"


def invent(draw: random.Random) -> str:
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
    return "\n".join(lines)


def disagreements(scenarios: list[Scenario]) -> list[str]:
    """Return where the running kernel and the engine differ.

    What cannot run here is left out; so is what the engine declines, of which there may be little.
    """
    found = []
    judged = judge(scenarios, running())
    declined = [one.prediction.refused for one in judged if one.prediction.refused]
    assert len(declined) <= len(judged) / 50, declined
    for one in judged:
        if one.prediction.refused or isinstance(one.real, live.Unsupported):
            continue
        if not one.agrees:
            story = "; ".join(map(str, one.prediction.scenario.calls))
            found.append(f"{one.prediction.scenario.name}: {one.difference or one.real} [{story}]")
    return found


@here
def test_this_kernel_does_the_written_scenarios_as_predicted():
    wrong = disagreements([recording.program() for recording in RECORDED])
    assert not wrong, f"{len(wrong)} of {len(RECORDED)}\n" + "\n".join(wrong[:5])


@here
def test_this_kernel_does_a_fresh_random_batch_as_predicted():
    seed = int(os.environ.get("LIVE_SEED", random.randrange(10**9)))
    print(f"LIVE_SEED={seed}")
    draw = random.Random(seed)
    batch = [parse(invent(draw), f"random-{number}")[0] for number in range(200)]
    wrong = disagreements(batch)
    assert not wrong, f"LIVE_SEED={seed}: {len(wrong)} of 200\n" + "\n".join(wrong[:5])


@here
def test_a_wrong_prediction_is_shown_with_the_question_behind_it():
    told = live_text(THERE_AND_BACK, kernel("6.5"))
    if "as predicted ✓" in told:
        pytest.skip("this kernel is itself a leaky one")
    assert "≠ mprotect 4 4 rw" in told
    assert "the engine asked prev" in told
    assert "0 of 1 scenarios as predicted" in told


@here
def test_a_right_prediction_says_so():
    told = live_text(THERE_AND_BACK)
    assert "1 of 1 scenarios as predicted" in told


@pytest.mark.parametrize(
    ("release", "version", "expected"),
    [
        ("6.18.44-generic", "#1 SMP", "6.18.44"),
        ("6.1.0-44-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.164-1 (2026-03-01)", "6.1.164"),
        ("7.9.1", "#1 SMP", "7.3"),
        ("6.9-custom", "#1 SMP", "6.9"),
    ],
)
def test_the_running_kernel_is_recognised(monkeypatch, release, version, expected):
    monkeypatch.setattr(live, "why_unsupported", lambda: None)
    uname = os.uname_result(("Linux", "box", release, version, "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: uname)
    assert running().version == expected


def test_without_a_kernel_to_ask_it_says_why(monkeypatch):
    monkeypatch.setattr(live, "why_unsupported", lambda: "this is not Linux")
    with pytest.raises(live.Unsupported, match="this is not Linux"):
        running()


def test_every_kind_of_difference_is_found():
    (scenario,) = parse(THERE_AND_BACK)
    story = predict(scenario, kernel("6.12"))
    real = story.recording
    assert difference(story, real) is None
    last = real.steps[-1]
    changes: list[tuple[dict[str, Any], str]] = [
        ({"errno": "ENOMEM"}, "predicted success, it was ENOMEM"),
        ({"layout": ("0-4 rw-s 0 shm:A",)}, "predicted nothing mapped, it was 0-4 rw-s"),
        ({"nattch": {"A": 9}}, "predicted nattch 0, it was nattch 9"),
    ]
    for change, told in changes:
        other = dataclasses.replace(
            real, steps=(*real.steps[:-1], dataclasses.replace(last, **change))
        )
        assert told in (difference(story, other) or "")
    other = dataclasses.replace(real, nattch_after_exit={"A": 1})
    assert difference(story, other) == "at exit: predicted nattch 0, it was nattch 1"
