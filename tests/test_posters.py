"""The posters: what they say is what the engine, kernels.py and the recordings say."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from vmakernel import explore, posters, recorded
from vmakernel.call_pictures import Attaches, Moment, attaches, life, predictions
from vmakernel.draw import Picture
from vmakernel.explain import trace
from vmakernel.kernels import MOMENTS, RULES, kernel, releases, rules_table
from vmakernel.lesson import under
from vmakernel.posters import (
    FIELDS,
    anatomy,
    grid,
    parts,
    spans,
    stopped_by,
    timeline,
    toll,
)
from vmakernel.predicates import Verdict
from vmakernel.scenario import ScenarioError
from vmakernel.vma import VMA

SVG = "{http://www.w3.org/2000/svg}"
LEAK = recorded.calls("6.6.17", "S5.fixed").program()
RMID = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\nrmid A\nshmdt 0"
SOME: dict[str, Callable[[], Picture]] = {
    "anatomy": anatomy,
    "timeline": timeline,
    "life": lambda: life(LEAK, "6.3", "6.5"),
    "a long life": lambda: life(recorded.calls("6.6.17", "S5.loop10").program(), "6.5"),
}


def words(shown: Picture) -> list[str]:
    return [text.text or "" for text in ET.fromstring(shown.svg).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def judged() -> list[explore.Judgement]:
    return [explore.judge(kernel(version)) for version in MOMENTS.values()]


# --- what holds of every picture ------------------------------------------------------------------


@pytest.mark.parametrize("draw_it", SOME.values(), ids=SOME)
def test_a_poster_is_well_formed_the_same_twice_and_within_its_width(
    draw_it: Callable[[], Picture],
) -> None:
    shown = draw_it()
    root = ET.fromstring(shown.svg)
    width, height = float(root.get("width") or 0), float(root.get("height") or 0)

    assert draw_it().svg == shown.svg
    assert root.get("role") == "img"
    assert root.get("aria-label") == shown.text == repr(shown)
    assert width <= 720
    for text in root.iter(f"{SVG}text"):
        kind = text.get("class") or ""
        wide = len(text.text or "") * (6.1 if "small" in kind else 7.3)
        x = float(text.get("x") or 0) - (wide / 2 if "mid" in kind else 0)
        assert x >= 0, text.text
        assert x + wide <= width + 1, text.text
        assert 0 < float(text.get("y") or 0) <= height


# --- the anatomy ----------------------------------------------------------------------------------


def test_every_field_of_a_vma_is_in_the_anatomy() -> None:
    assert set(FIELDS) == set(VMA._fields)
    shown = words(anatomy())
    for name, field in FIELDS.items():
        assert name in shown
        assert field.notation in shown
        assert field.notation.strip("-") in posters.EXAMPLE
        assert f"{name} {field.notation}: {field.records}" in anatomy().text


def test_the_check_of_each_field_is_the_one_the_engine_names() -> None:
    found = {name: stopped_by(name) for name in FIELDS}

    assert {one.partition(" ")[0] for one in found.values()} == {
        *(verdict.value for verdict in Verdict if verdict is not Verdict.OK),
        "they",
        "",
    }
    assert found["anon_pgoff"] == "pgoff (7.3)"
    assert {found[name] for name in ("vm_start", "name")} == {""}
    assert found["vm_end"] == "they do not touch (6.3)"
    # Unchanged, and without close, the example goes on: whatever says no is the change.
    plain = f"{posters.EXAMPLE} | new {posters._NEXT}".replace(",c", "")
    for version, scenario in ("6.3", plain), ("7.3", plain.replace(",u1", "")):
        outcome = trace(kernel(version), scenario)[0].result.outcome
        assert outcome is not None
        assert outcome.merged


# --- the timeline ---------------------------------------------------------------------------------


def test_releases_are_all_there_are_and_each_follows_one_rule() -> None:
    known = releases()

    assert known[0] == "2.6.12"
    assert known[-1] == "7.3"
    assert len(known) == len(set(known)) == 28 + 20 + 21 + 20 + 20 + 4
    assert [one for _, span in spans() for one in span] == list(known)


def test_the_timeline_says_what_the_rules_say() -> None:
    shown, text = words(timeline()), timeline().text
    for rule, span in spans():
        assert rule.commit in shown
        assert rule.summary in shown
        assert f"{span[0]} to {span[-1]}" in text or span[0] in text
        assert posters.asks(rule)[:2] == tuple(
            "asked" if yes else "–" for yes in (rule.after, rule.before)
        )
        assert kernel(span[0]).rule == kernel(span[-1]).rule == rule
    assert shown.count("asked") == sum(posters.asks(rule).count("asked") for rule in RULES)
    assert posters.stable_changes() == (
        ("6.1", "6.1.11", "C"),
        ("6.6", "6.6.24", "E"),
        ("6.7", "6.7.12", "E"),
    )
    for _, first, _ in posters.stable_changes():
        assert first in text
        assert first in rules_table() or first == "6.6.24"
    assert [when in text for when in ("Apr 2005", "May 2022", "Jan 2023", "Aug 2024")] == [True] * 4


def test_each_release_is_one_step_wide() -> None:
    root = ET.fromstring(timeline().svg)
    bars = [
        float(rect.get("width") or 0)
        for rect in root.iter(f"{SVG}rect")
        if rect.get("height") == "20" and not rect.get("class")
    ]
    step = bars[0] / len(spans()[0][1])
    assert bars == [len(span) * step for _, span in spans()]


# --- what each rule costs -------------------------------------------------------------------------


def test_the_parts_are_all_that_would_merge(judged: list[explore.Judgement]) -> None:
    for point in judged:
        sizes = [part.size for part in parts(point)]
        assert min(sizes) >= 0
        assert sum(sizes) == point.possible
        merges, loses, refused, _ = sizes
        assert merges + loses == point.allowed
        assert (loses == 0) == point.safe
        assert (refused == 0) == point.minimal


def test_the_toll_says_every_share(judged: list[explore.Judgement]) -> None:
    shown = toll(judged)
    said = words(shown)
    for point in judged:
        assert f"{point.kernel.version} {point.kernel.rule.name}" in said
        for part in parts(point):
            share = f"{part.size / point.possible:.1%}"
            assert f"{part.words} {share}" in shown.text
            assert any(f"{part.letter} {share}" in line for line in said) == bool(part.size)
    assert "loses a close 5.8%" in shown.text


def test_the_grid_says_what_the_engine_does_in_every_field() -> None:
    for close in ("all", "", "C"):
        shown = grid(close)
        for version in MOMENTS.values():
            for case in recorded.CASES:
                told = under(version, recorded.situation(case, close))
                word = "loses" if told.lost else "merges" if told.merged else "refuses"
                (row,) = [row for row in shown.text.split("; ") if f"{kernel(version)}: " in row]
                assert re.search(rf"\b{case} {word}\b", row), (version, case, close)
        drawn = [line for line in words(shown) if line in ("M", "L", "–")]
        assert len(drawn) == 8 * len(MOMENTS)
        assert drawn.count("L") == shown.text.count(" loses")
        assert drawn.count("–") == shown.text.count(" refuses")


# --- the life of an attach ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["S1.case5.shm", "S2.case6.shm", "S5.fixed", "S5.loop10"])
@pytest.mark.parametrize(("version", "real"), [("6.3", "6.3.8"), ("6.5", "6.6.17"), ("6.9", "6.9")])
def test_a_life_counts_as_the_recorded_kernel_counted(name: str, version: str, real: str) -> None:
    recording = recorded.calls(real, name)
    (story,) = predictions(recording.program(), [version])
    moments = [Moment(story, at) for at in range(len(story.scenario.calls) + 1)]
    events = [attaches(one, "A", at and moments[at - 1]) for at, one in enumerate(moments)]

    assert all(event is not None for event in events)
    told = [event for event in events if event]
    assert [one.nattch for one in told[:-1]] == [
        (step.nattch or {})["A"] for step in recording.steps
    ]
    assert told[-1].nattch == recording.nattch_after_exit["A"]
    opened, closed, lost = (sum(column) for column in list(zip(*told, strict=True))[:3])
    assert opened - closed == told[-1].nattch == lost
    assert min(min(one) for one in told) >= 0


def test_the_leak_is_where_the_merge_is() -> None:
    shown = life(LEAK, "6.3", "6.5")
    said = words(shown)

    assert "6.5: shmat A 0: open +1, nattch 1, mprotect 2 1 none: open +2, nattch 3" in shown.text
    assert "mprotect 2 1 w: 1 lost ✗, nattch 4, shmdt 0: close -3, nattch 1" in shown.text
    assert "✗" not in re.search(r"6\.3: (.*?); 6\.5", shown.text)[1]  # type: ignore[index]
    assert said.count("1 close ✗") == 1
    assert said.count("nattch 1 ✗") == 1


def test_a_destroyed_segment_and_a_declined_call_are_said() -> None:
    shown = life(RMID, "6.3", "6.5")

    assert "6.3: shmat A 0" in shown.text
    assert "shmdt 0: close -3, the segment is gone" in shown.text
    assert "destroyed" in words(shown)
    assert str(Attaches(0, 0, 0, 2)) == "no hook, nattch 2"


def test_a_program_without_a_segment_gets_one_sentence() -> None:
    with pytest.raises(ScenarioError, match="begin with a segment"):
        life("mmap 0 4 rw p anon", "6.3")
