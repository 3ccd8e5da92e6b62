"""This machine's own kernel against the engine, over written scenarios and fresh random ones."""

import dataclasses
import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from tests.programs import batch
from vmakernel import live
from vmakernel.judge_live import Judgement, _upstream, difference, judge, live_report, running
from vmakernel.kernels import MAY_REMOVE_VMA, kernel
from vmakernel.predict import predict
from vmakernel.process import Machine
from vmakernel.scenario import Recording, parse

DATA = Path(__file__).parent / "data"


def recorded(name: str) -> list[Recording]:
    """Return the recordings of a file."""
    lines = gzip.decompress((DATA / name).read_bytes()).decode().splitlines()
    return [Recording.from_json(line) for line in lines]


RECORDED = recorded("live-6.18.15.jsonl.gz")


def why_not() -> str | None:
    """Return why nothing can be predicted for this machine's kernel, None if it can."""
    try:
        running()
    except live.Unsupported as why:
        return str(why)
    return None


UNSUPPORTED = why_not()
here = pytest.mark.skipif(UNSUPPORTED is not None, reason=f"no live kernel: {UNSUPPORTED}")

THERE_AND_BACK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\nshmdt 0"


@here
def test_this_kernel_does_as_predicted():
    # Always the same programs; fresh ones are `make test-live`.
    scenarios = [recording.program() for recording in RECORDED] + batch(seed=20230309, count=200)
    if running().rule is MAY_REMOVE_VMA:  # what it loses would stay until the machine restarts
        scenarios = [scenario for scenario in scenarios if not scenario.segments]

    judged = judge(scenarios, running())

    # Where there is little memory or time, one or the other may be stopped: that is no difference.
    wrong = [one for one in judged if one.differs]
    assert not wrong, f"{len(wrong)} of {len(judged)}\n" + "\n".join(map(told, wrong[:5]))
    assert sum(one.agrees for one in judged) > len(judged) // 2


def told(one: Judgement) -> str:
    """Return what differed, and the program."""
    return f"{one.difference or one.real}\n{one.prediction.scenario}"


def mispredicted(recordings: list[Recording], version: str, machine: Machine) -> list[str]:
    """Return the names of the programs that are not predicted to the letter."""
    chosen = kernel(version)
    predictions = [predict(one.program(), chosen, machine=machine) for one in recordings]
    assert [one.refused for one in predictions if one.refused] == []
    pairs = zip(predictions, recordings, strict=True)
    return [real.scenario for one, real in pairs if one.recording != real]


def test_the_recorded_6_18_15_did_as_predicted():
    assert mispredicted(RECORDED, "6.18.15", Machine(pkeys=False, thp=True)) == []


def test_the_recorded_6_1_192_with_protection_keys_did_as_predicted():
    # Debian's 6.1.0-56-amd64 (6.1.192-2) in QEMU 7.2, whose CPU "max" has pku without KVM too.
    programs = recorded("live-pkeys.jsonl.gz")
    machine = Machine(pkeys=True, thp=True)
    assert mispredicted(programs, "6.1.192", machine) == []
    assert len(mispredicted(programs, "6.1.192", machine._replace(pkeys=False))) == 16


@here
def test_a_wrong_prediction_is_shown_with_the_question_behind_it():
    told, status = live_report(THERE_AND_BACK, kernel("6.5"))
    if "as predicted ✓" in told:
        pytest.skip("this kernel is itself a leaky one")
    assert "≠ mprotect 4 4 rw" in told
    assert "the engine asked prev" in told
    assert "0 of 1 scenarios as predicted" in told
    assert status == 1


@here
def test_a_right_prediction_says_so():
    told, status = live_report(THERE_AND_BACK)
    assert "1 of 1 scenarios as predicted" in told
    assert status == 0


@here
@pytest.mark.parametrize(
    "text",
    ["mmap 0 4 rx p file 0", "mmap 0 4 rw p anon\nmremap 0 4 8 m\nmmap 99999 1 r p anon"],
)
def test_what_is_not_predicted_or_not_run_is_no_success(text):
    told, status = live_report(text)
    assert "0 of 1 scenarios as predicted, 1 not compared" in told
    assert status == 3


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


@pytest.mark.parametrize(
    ("release", "version", "signature", "upstream"),
    [
        ("6.8.0-45-generic", "#45-Ubuntu SMP", "Ubuntu 6.8.0-45.45-generic 6.8.12", "6.8.12"),
        ("6.11.4-301.fc41.x86_64", "#1 SMP", "", "6.11.4"),
        ("6.1.0-44-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.164-1", "", "6.1.164"),
    ],
)
def test_a_distributions_kernel_tells_what_it_is_made_from(release, version, signature, upstream):
    uname = os.uname_result(("Linux", "box", release, version, "x86_64"))
    assert _upstream(uname, signature) == upstream


@pytest.mark.parametrize("release", ["4.18.0-553.el8_10.x86_64", "5.15.0-91-generic"])
def test_a_kernel_with_changes_of_its_own_is_not_guessed(release):
    uname = os.uname_result(("Linux", "box", release, "#1 SMP", "x86_64"))
    with pytest.raises(live.Unsupported, match="own changes: name a rule"):
        _upstream(uname, "")


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
