"""The lessons: their form, their claims, and what stands behind both.

What the cells show is compared by nbval, and that they are stored as run by test_project.py.
"""

import ast
import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools import lessons
from tools.notebooks import LESSONS, canonical, read
from vmakernel import kernel, maps, patch, recorded
from vmakernel.lesson import compare, falls_short, look, on_this_machine, said, under
from vmakernel.predicates import Verdict, ask_sides

TABLE = lessons.table()
WRITTEN = [lesson for lesson in TABLE if lesson.path.exists()]
LONGEST = 8  # lines of a cell that the reader is meant to read
CLAIMS = 12  # lines of one that is folded

every_lesson = pytest.mark.parametrize("lesson", WRITTEN, ids=lambda lesson: lesson.file)


def cells(lesson: lessons.Lesson, kind: str = "") -> list[NotebookNode]:
    """The cells of a lesson, or those of one kind."""
    return [cell for cell in read(lesson.path).cells if kind in ("", cell.cell_type)]


def tags(cell: NotebookNode) -> list[str]:
    """The tags of a cell."""
    return list(cell.metadata.get("tags", []))


# --- form ------------------------------------------------------------------------------------


def test_every_notebook_is_in_the_table_and_numbered_in_order() -> None:
    stored = sorted(path.stem for path in LESSONS.glob("[0-9]*.ipynb"))

    assert stored == [lesson.file for lesson in WRITTEN]
    assert [lesson.number for lesson in TABLE] == sorted({lesson.number for lesson in TABLE})


def test_the_readme_lists_the_lessons_as_the_table_has_them() -> None:
    readme = (LESSONS.parent / "README.md").read_text("utf-8").casefold()

    for lesson in TABLE:
        row = f"| {lesson.number} | {lesson.title} | {lesson.finds} |"
        assert row.casefold() in readme


@every_lesson
def test_head_foot_and_map_are_as_the_table_has_them(lesson: lessons.Lesson) -> None:
    fresh = canonical(lessons.formed(read(lesson.path), lesson, TABLE))

    assert fresh == lesson.path.read_text("utf-8"), "run `python -m tools.lessons`"


@every_lesson
def test_a_lesson_begins_and_ends_as_every_other(lesson: lessons.Lesson) -> None:
    first, *_, last = cells(lesson)

    for promise in ("minutes", "Linux", "You'll do", "You'll learn", "You need", "contents"):
        assert promise in first.source
    assert re.search(r"\d\.\d", lesson.versions), "name the kernel versions it holds for"
    assert last.source.startswith("## Further reading")
    assert all(lesson.learned)
    assert all(lesson.reading)
    ids = [cell.id for cell in cells(lesson)]
    assert ids.index("learned") + 1 == ids.index("check")
    assert ids[-1] == "foot"


@every_lesson
def test_headings_go_down_one_step_at_a_time(lesson: lessons.Lesson) -> None:
    text = "\n".join([cell.source for cell in cells(lesson, "markdown")])
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))


@every_lesson
def test_ids_are_words_and_stand_once(lesson: lessons.Lesson) -> None:
    ids = [cell.id for cell in cells(lesson)]

    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)] == []
    assert [name for name in ids if re.fullmatch("[0-9a-f]{8}", name)] == [], "made by Jupyter"


@every_lesson
def test_a_cell_is_short_and_checks_claims_only_if_it_says_so(lesson: lessons.Lesson) -> None:
    for cell in cells(lesson, "code"):
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= (CLAIMS if "claim" in tags(cell) else LONGEST), cell.id
        asserts = any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(code(cell))))
        assert asserts == ("claim" in tags(cell)), cell.id
        assert not (asserts and cell.outputs), f"{cell.id}: a claim that holds is silent"


def code(cell: NotebookNode) -> str:
    """The source of a cell without what only IPython reads."""
    return re.sub(r"^[ ]*[!%?].*$|^.*\?$", "pass", cell.source, flags=re.M)


@every_lesson
def test_folded_cells_are_folded(lesson: lessons.Lesson) -> None:
    for cell in cells(lesson, "code"):
        folded = cell.metadata.get("jupyter", {})
        assert folded == {fold: True for tag, fold in lessons.FOLDED.items() if tag in tags(cell)}


@every_lesson
def test_a_folded_prediction_does_not_tell_by_its_first_line(lesson: lessons.Lesson) -> None:
    # JupyterLab shows that line in the place of a folded output.
    for cell in cells(lesson, "code"):
        if "reveal" in tags(cell):
            (output,) = cell.outputs
            data = output.get("data", {})
            told = output.get("text") or data.get("text/html") or data["text/plain"]
            first = told.splitlines()[0]
            assert first.startswith("<svg") or len(told.splitlines()) > 1, cell.id
            assert not re.search(r"case \d|refused|vanish|It is|[PCN]{3}", first.split("aria-label")[0])


@every_lesson
def test_links_lead_somewhere(lesson: lessons.Lesson) -> None:
    text = "\n".join([cell.source for cell in cells(lesson, "markdown")])
    targets = re.findall(r"\]\(([^)]+)\)", text)

    assert targets
    for target in targets:
        if not re.match(r"https://[\w.-]+/", target):
            assert (LESSONS / target.partition("#")[0]).is_file(), target


@every_lesson
def test_every_picture_has_its_text(lesson: lessons.Lesson) -> None:
    for cell in cells(lesson):
        assert "](data:" not in cell.source
        assert not re.search(r"!\[\]|<img(?![^>]*alt=\"[^\"]+)", cell.source), cell.id
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for picture in (data.get("image/svg+xml"), data.get("text/html")):
                if picture and "<svg" in picture:
                    assert re.search(r'role="img"[^>]*aria-label="[^"]{10,}"', picture), cell.id
                    assert re.search(r"<title>[^<]+</title><desc>[^<]{10,}</desc>", picture)
            if {"image/png", "image/svg+xml"} & set(data):
                assert len(data["text/plain"]) > 10, f"{cell.id}: say what is to be seen"
                assert "object at 0x" not in data["text/plain"], cell.id


# --- claims ----------------------------------------------------------------------------------

_FACT = re.compile(
    r"\d\.\d|\b(one|two|three|four|five|six|seven|eight|nine|ten|none|nobody|never|always|all|"
    r"every|only)\b|\d",
    re.I,
)


@every_lesson
def test_no_section_states_a_fact_without_a_claim_that_checks_it(lesson: lessons.Lesson) -> None:
    assert unanchored(lesson) == []


def unanchored(lesson: lessons.Lesson) -> list[str]:
    """The headings of sections that state something countable and check nothing."""
    sections: list[tuple[str, list[NotebookNode]]] = []
    for cell in cells(lesson):
        heading = re.match("## (.+)", cell.source) if cell.cell_type == "markdown" else None
        if heading:
            sections.append((heading[1], []))
        if sections:
            sections[-1][1].append(cell)
    free = {"What you learned", "Further reading", *FREE}
    return [
        heading
        for heading, part in sections
        if heading not in free
        and any(_FACT.search(cell.source) for cell in part if cell.cell_type == "markdown")
        and not any("claim" in tags(cell) for cell in part)
    ]


# Sections about the course itself: how to work, where to find help, what to think about.
FREE = {"How to work through it", "The lessons", "When you are stuck", "Be the author"}


# --- what the lessons stand on ---------------------------------------------------------------


@pytest.mark.parametrize("case", [*recorded.CASES, "mremap", "mremap+N"])
def test_the_engine_decides_as_every_recorded_kernel_in_the_lessons(case: int | str) -> None:
    for close in recorded.closes(case):
        rows = compare(case, close=close).splitlines()[1:]
        told = [re.search(r"the same in (\d+) of (\d+)$", row) for row in rows]
        assert all(match and match[1] == match[2] for match in told), (case, close)
        assert sum(int(match[2]) for match in told if match) == 22


def test_a_difference_to_the_recordings_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = recorded.decided(7) | {"6.4.6..6.6.17": "no"}
    monkeypatch.setattr(recorded, "decided", lambda case, close="": wrong)

    assert "6.4.6 to 6.6.17        no                     the same in 0 of 3" in compare(7)


def test_the_lessons_cases_are_those_the_engine_is_tested_on() -> None:
    tested = json.loads((Path(__file__).parent / "data/cases.json").read_text("utf-8"))
    shown = json.loads((recorded.DATA / "cases.json").read_text("utf-8"))
    rows = {f"{case} {close}": cells for case, close, *cells in tested["close"]["rows"]}

    assert shown["situations"].items() <= tested["cases"].items()
    assert list(shown["groups"]) == tested["close"]["groups"]
    for key, row in shown["measured"].items():
        assert row == re.sub("[`*]", "", " | ".join(rows[key])).replace("−", "-")


def test_nattch_counts_as_recorded_kernels_count() -> None:
    calls = {"mprotect 4 4 r": "protect 4-8:r", "mprotect 4 4 rw": "protect 4-8:rw"}
    calls |= {"mprotect 4 2 rw": "protect 4-6:rw", "mprotect 6 2 rw": "protect 6-8:rw"}
    for version in recorded.kernels():
        for name in ("S1.case4.shm", "S1.case5.shm", "S2.case6.shm"):
            steps = recorded.calls(version, name).steps[1:]
            story = "P=0-12:rw,f1@0,c | "
            for step in steps:
                story += calls[str(step.call)]
                assert step.nattch is not None
                assert under(version, story).nattch == step.nattch["A"], (version, name)
                assert len(under(version, story).vmas) == len(step.layout)
                story += "; "
            left = recorded.calls(version, name).nattch_after_exit["A"]
            assert under(version, story + "unmap 0-12").nattch == left


def test_the_patch_in_python_is_the_patch() -> None:
    stories = [
        recorded.situation(case, close)
        for case in recorded.CASES
        for close in recorded.closes(case)
    ]

    assert patch.agree(patch.before, "6.3", stories) == patch.agree(patch.after, "6.5", stories)
    with pytest.raises(AssertionError, match="can_vma_merge_after"):
        patch.agree(patch.before, "6.5", stories)
    with pytest.raises(AssertionError, match="can_vma_merge_after"):
        patch.agree(patch.after, "6.3", stories)


def test_the_rule_of_6_12_in_python_is_that_of_6_12() -> None:
    cases = {(True, True): 6, (True, False): 5, (False, True): 4, (False, False): 0}
    found = set()
    for case in (4, 5, 6, 7, 8):
        for close in recorded.closes(case):
            story = recorded.situation(case, close)
            asked = patch.proposal(story)
            assert asked.curr is not None
            prev, next, _ = ask_sides(kernel("6.12"), asked)
            names = [vma.name for vma in patch.existing.joins(asked, asked.curr, prev, next)]
            told = under("6.12", story)
            where = cases["P" in names, "N" in names]
            if (asked.curr.vm_start, asked.curr.vm_end) == (asked.vm_start, asked.vm_end):
                where = {5: 7, 4: 8}.get(where, where)
            assert told.case == where, story
            found.add(where)
    assert found == {0, 4, 5, 6, 7, 8}


def test_what_a_version_leaves_undone() -> None:
    assert falls_short(under("6.9", recorded.situation(4, "all")))
    assert not falls_short(under("6.12", recorded.situation(4, "all")))
    assert not falls_short(under("6.12", recorded.situation(6, "all")))
    assert not falls_short(under("6.5", recorded.situation(7, "all")))  # it took too much
    assert falls_short(under("6.9", recorded.situation(6, "N"))) == (
        under("6.9", recorded.situation(6, "N")).cell == "no"
    )


def test_a_line_of_maps_is_read_in_pages_with_the_flags_that_smaps_adds() -> None:
    text = """\
7f0000000000-7f0000002000 r--p 00003000 fe:00 42   /usr/lib/a file.so (deleted)
Size:                  8 kB
VmFlags: rd mr mw me ac
7f0000002000-7f0000003000 rw-p 00000000 00:00 0
"""
    first, second = maps.parse(text, "a test", page=4096)

    assert (first.pages, first.perms, first.pgoff) == (2, "r--p", 3)
    assert first.name == "a file.so (deleted)"
    assert first.vma("L").vm_flags != first.vma("L", hidden=False).vm_flags
    assert (second.name, second.pages, second.flags) == ("anonymous", 1, "")


def test_touching_lines_that_look_alike_are_told_apart_by_smaps() -> None:
    (pair, _) = [p for p in maps.recorded().touching(kernel("6.18")) if p.maps is Verdict.OK]

    assert pair.left.end == pair.right.start
    assert pair.smaps is Verdict.FLAGS


def test_without_proc_the_lesson_shows_the_recording_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(self: Path, *args: object, **kwargs: object) -> str:
        raise FileNotFoundError(self)

    known = maps.recorded()
    monkeypatch.setattr(maps, "recorded", lambda: known)
    monkeypatch.setattr(Path, "read_text", missing)

    assert maps.mine() is known
    assert "recorded on Linux 6.18" in look(maps.mine()).summary
    assert repr(look(maps.mine())) == repr(known)


def test_without_a_kernel_to_ask_the_lesson_shows_the_recording_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = on_this_machine("S2.case6.anon")
    monkeypatch.setattr("sys.platform", "darwin")
    elsewhere = on_this_machine("S2.case6.anon")

    assert elsewhere.source == (
        "recorded on Linux 6.12.117 (darwin is not Linux; this needs a running Linux kernel)"
    )
    assert (
        repr(here)
        == repr(elsewhere)
        == ("1, 3, 1 VMAs after mmap 0 12 rw p anon; mprotect 4 4 r; mprotect 4 4 rw")
    )


def test_what_only_this_machine_can_show_is_not_stored() -> None:
    bundle = look(maps.mine())._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    assert not re.search(r"\d", bundle["text/plain"])


def test_a_guess_is_held_against_the_engine_only_once_it_is_made() -> None:
    assert said(4, 4) == "You said 4 ✓."
    assert said({1, 2}, {2, 3}) == "You said {1, 2} ✗. It is {2, 3}."
    assert said(..., 4) == "You have not said yet. It is 4."
    assert said((1, ...), (1, 2)) == "You have not said yet. It is (1, 2)."


# --- the tool that gives the form ------------------------------------------------------------


def test_forming_twice_is_forming_once_and_keeps_the_lesson() -> None:
    body = [new_markdown_cell("## A", id="a"), new_code_cell("1", id="check-run")]
    lesson = WRITTEN[0]

    once = lessons.formed(new_notebook(cells=body), lesson, TABLE)
    stored = canonical(once)

    assert [cell.id for cell in once.cells] == ["head", "a", "learned", "check-run", "foot"]
    assert canonical(lessons.formed(once, lesson, TABLE)) == stored


def test_the_way_leads_through_all_lessons() -> None:
    for before, after in pairwise(WRITTEN):
        assert f"{after.link} →" in lessons.way(before, TABLE)
        assert f"← {before.link}" in lessons.way(after, TABLE)
    assert "←" not in lessons.way(WRITTEN[0], TABLE)
    assert "→" not in lessons.way(WRITTEN[-1], TABLE)
