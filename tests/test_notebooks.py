"""The lessons: their form, their claims, and what stands behind both.

What the cells show is compared by nbval, and that they are stored as run by test_project.py.
"""

import ast
import json
import random
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import claims, glossary, index, lessons
from tools.notebooks import LESSONS, canonical, read
from vmakernel import NotationError, counterparts, kernel, maps, patch, quiz, recorded
from vmakernel.course_map import course_map
from vmakernel.history import COMMITS
from vmakernel.kernels import RULES
from vmakernel.lesson import compare, falls_short, look, on_this_machine, said, under
from vmakernel.predicates import Verdict, ask_sides

TABLE = lessons.table()
PROSE = sorted([*LESSONS.glob("*.ipynb"), *(LESSONS.parent / "exercises").glob("**/*.ipynb")])
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

    assert fresh == lesson.path.read_text("utf-8"), "run `.venv/bin/python -m tools.lessons`"


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
        if "claim" in tags(cell):  # what it quotes is the text's length, not its own
            lines = [line for line in lines if not line.lstrip().startswith('# "')]
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
            assert not re.search(
                r"case \d|refused|vanish|It is|[PCN]{3}", first.split("aria-label")[0]
            )


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

KNOWN = claims.sources()


@every_lesson
def test_every_claim_is_quoted_by_what_checks_it(lesson: lessons.Lesson) -> None:
    told = claims.told(lesson, read(lesson.path), KNOWN)

    assert len(told.claims) > 15
    assert [f"{one.cell}: {one.text}" for one in told.unanchored] == []
    assert told.stale == [], "quoted, and no longer in the text"
    assert told.untied == []


@every_lesson
@pytest.mark.nightly
def test_a_wrong_sentence_breaks_the_tests(lesson: lessons.Lesson) -> None:
    told = claims.told(lesson, read(lesson.path), KNOWN)
    spots = [(at, token) for at, one in enumerate(told.sentences) for token in one.tokens]
    picked = random.Random(lesson.number).sample(spots, 20)

    for at, token in picked:
        one = told.sentences[at]
        wrong = one.text[: token.start()] + other(token[0]) + one.text[token.end() :]
        sentences = [*told.sentences]
        sentences[at] = one._replace(text=wrong)
        after = replace(told, sentences=sentences)
        assert after.unanchored or after.stale, f"{token[0]} in {one.text!r}"


def other(word: str) -> str:
    """A word that makes a claim wrong in the place of this one."""
    if re.fullmatch("[0-9a-f]{12}", word):
        return word[:-1] + ("0" if word[-1] != "0" else "1")
    if word.endswith(".y"):
        return other(word[:-2]) + ".y"
    if word[-1].isdigit():
        return word[:-1] + str((int(word[-1]) + 1) % 10)
    if word.casefold() in claims.NUMBERS:
        return "four" if word.casefold() != "four" else "seven"
    opposites = {"never": "sometimes", "nobody": "somebody", "every": "some", "only": "also"}
    return opposites.get(word.casefold(), "perhaps")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Three VMAs", "Four VMAs"),
        ("Up to 6.3 no VMA", "Up to 6.4 no VMA"),
        ("a VMA has only one set", "a VMA has also one set"),
        ("of 22 versions", "of 23 versions"),
        ("6.9 refuses to make", "6.9 likes to make"),
    ],
)
def test_the_claims_tool_sees_what_was_changed(right: str, wrong: str) -> None:
    notebook = read(WRITTEN[0].path)
    (cell,) = [c for c in notebook.cells if c.cell_type == "markdown" and right in c.source]
    cell.source = cell.source.replace(right, wrong)
    told = claims.told(WRITTEN[0], notebook, KNOWN)

    assert [one for one in told.unanchored if one.cell == cell.id] or told.stale


def test_a_number_changed_in_the_text_and_in_its_quote_is_not_in_the_code() -> None:
    notebook = read(WRITTEN[0].path)
    for cell in notebook.cells:
        cell.source = cell.source.replace("of 22 versions", "of 23 versions")

    assert claims.told(WRITTEN[0], notebook, KNOWN).untied == [
        "'of 23 versions' has 23, and no code beside it does"
    ]


def test_what_was_read_says_where() -> None:
    text = "".join([path.read_text("utf-8") for path in [lessons.TABLE, *LESSONS.glob("*.ipynb")]])

    assert set(re.findall(r"<([\w.-]+@[\w.-]+)>", text)) - {"a@example.org"} <= {
        *KNOWN["messages"],
        "you@example.org",
    }
    for quoted in KNOWN["read"].values():
        assert all(re.search(r"@|\.py|2023|made|at hand|RFC", place) for place in quoted.values())


def test_the_engines_rules_came_when_the_sources_say() -> None:
    for rule in RULES[1:]:
        commit = COMMITS[rule.commit]
        for version in (commit.first, *commit.stable):
            # 6.1 without a third number is its last release, which has the workaround.
            told = "6.1.0" if version == "6.1" else version
            assert kernel(told).rule == rule, version


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
    (pair, _) = [p for p in maps.recorded().touching(kernel("6.18")) if p.maps.fails is None]

    assert pair.left.end == pair.right.start
    assert Verdict.FLAGS in pair.maps.open
    assert pair.smaps.fails is Verdict.FLAGS


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
    middle = ["quiz", "quiz-ask", "learned", "check-run", "foot"]
    for lesson, recall in (WRITTEN[0], []), (WRITTEN[2], ["remember", "remember-ask"]):
        once = lessons.formed(new_notebook(cells=list(body)), lesson, TABLE)
        stored = canonical(once)

        assert [cell.id for cell in once.cells] == ["head", *recall, "a", *middle]
        assert canonical(lessons.formed(once, lesson, TABLE)) == stored


def test_forming_keeps_what_a_made_cell_showed_until_its_source_changes() -> None:
    formed = lessons.formed(new_notebook(cells=[]), WRITTEN[2], TABLE)
    (ask,) = [cell for cell in formed.cells if cell.id == "quiz-ask"]
    ask.execution_count, ask.outputs = 7, [new_output("stream", text="1. Which?")]

    (kept,) = [c for c in lessons.formed(formed, WRITTEN[2], TABLE).cells if c.id == "quiz-ask"]
    assert (kept.execution_count, kept.outputs) == (7, ask.outputs)
    (other,) = [c for c in lessons.formed(formed, WRITTEN[3], TABLE).cells if c.id == "quiz-ask"]
    assert (other.execution_count, other.outputs) == (None, [])


@every_lesson
def test_a_lesson_asks_its_questions_and_those_of_two_lessons_before(
    lesson: lessons.Lesson,
) -> None:
    made = {cell.id: cell for cell in cells(lesson, "code") if "made" in tags(cell)}
    number = int(lesson.number)
    asked = {"remember-ask": f"{number - 2:02}", "quiz-ask": lesson.number}

    assert set(made) == set(asked) if number >= 2 else {"quiz-ask"}
    for name, cell in made.items():
        (output,) = cell.outputs
        texts = [question.text for question in quiz.of_lesson(asked[name])]
        texts = texts[:3] if name == "remember-ask" else texts
        told = output.data["text/plain"]
        assert all(f"{n}. {text}" in told for n, text in enumerate(texts, 1))
        assert f"\n{len(texts) + 1}. " not in told
        assert cell.source.startswith("from vmakernel import quiz_widgets"), "stands on its own"


@every_lesson
def test_nobody_reads_a_key_in_the_source_of_a_lesson(lesson: lessons.Lesson) -> None:
    asks = [cell.source for cell in cells(lesson, "code") if "quiz" in cell.source]

    for source in asks:
        assert re.fullmatch(
            r'from vmakernel import quiz_widgets\n\nquiz_widgets\.(recall|quizzes)\("\d\d"\)',
            source,
        )
    for cell in cells(lesson, "code"):
        for output in cell.outputs if cell.source in asks else []:
            plain, html = output.data["text/plain"], output.data["text/html"]
            unfolded = re.sub(r"(?s)<details>.*?</details>", "", html)
            assert html.count("<details>") == len(re.findall(r"(?m)^\d\. ", plain))
            for telling in ("✓", "✗", "Behind it", "Answer:"):
                assert telling not in plain + unfolded


def test_the_way_leads_through_all_lessons() -> None:
    for before, after in pairwise(WRITTEN):
        assert f"{after.link} →" in lessons.way(before, TABLE)
        assert f"← {before.link}" in lessons.way(after, TABLE)
    assert "←" not in lessons.way(WRITTEN[0], TABLE)
    assert "→" not in lessons.way(WRITTEN[-1], TABLE)


# --- contents, ways, glossary ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"needs": ["07"]}, "lesson 02 needs 07: put 07 before it"),
        ({"needs": ["02"]}, "lesson 02 needs 02: put 02 before it"),
        ({"needs": ["77"]}, "lesson 02 needs 77, and there is no such lesson"),
        ({"needs": ["00", "01"]}, "lesson 02: `need` speaks of ['01'], then of []; `needs` is"),
        ({"helps": ["00"]}, "let them agree"),
    ],
)
def test_a_table_that_contradicts_itself_is_told_what_to_change(
    change: dict[str, list[str]], said: str
) -> None:
    wrong = [one._replace(**change) if one.number == "02" else one for one in TABLE]  # type: ignore[arg-type]

    with pytest.raises(lessons.Wrong) as raised:
        lessons.check(wrong)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_way_keeps_to_its_minutes() -> None:
    found = {tour.name: tour for tour in index.tours()}

    assert 80 <= found["One evening"].minutes <= 100
    assert 330 <= found["The whole course"].minutes <= 390
    assert {step.lesson for step in found["The whole course"].steps} >= {
        lesson.number for lesson in TABLE
    }
    assert "engine-and-kernel" in {step.lesson for step in found["mm newcomer"].steps}
    # A class cannot stay on.
    labs = [tour.minutes for name, tour in found.items() if name.startswith("A class")]
    assert len(labs) == 2
    assert all(80 <= minutes <= 90 for minutes in labs)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"step": [{"lesson": "77"}]}, "there is no lesson '77' in lessons.toml"),
        ({"step": [{"lesson": "00"}, {"lesson": "02"}]}, "lesson 02 needs 01; put it before"),
        ({"step": [{"lesson": "00"}]}, f"takes {TABLE[0].minutes} minutes, and is to take 90"),
        ({"step": [{"talk": "hello"}]}, "say how many minutes the talk 'hello' takes"),
        ({"step": [{"lesson": "00", "minutes": 5}]}, "sections of lesson 00 need minutes"),
        (
            {"step": [{"lesson": "00", "minutes": 5, "sections": ["Nowhere"]}]},
            "lesson 00 has no section 'Nowhere'",
        ),
        (
            {"step": [{"lesson": "00"}], "instead": ["00: said"]},
            "has lesson 00, and a sentence instead of it",
        ),
    ],
)
def test_a_way_that_leads_nowhere_is_told_why(row: dict[str, object], said: str) -> None:
    with pytest.raises(lessons.Wrong) as raised:
        index.tours([{"name": "x", "target": 90, "for": "you", **row}])
    assert "the way 'x'" in str(raised.value)
    assert said in str(raised.value)


def test_what_was_measured_is_still_so_and_minutes_are_no_less() -> None:
    known = index.measured()["notebook"]

    assert list(known) == [lesson.number for lesson in TABLE]
    for lesson in TABLE:
        its = known[lesson.number]
        words, _ = index.size(lesson)
        assert its["words"] == pytest.approx(words, rel=0.25), (
            "run `.venv/bin/python -m tools.index --measure`"
        )
        # 200 words a minute is quick, for English that may be a second language.
        assert lesson.minutes >= words / 200 + its["seconds"] / 60, lesson.file


def test_the_map_shows_what_the_table_says() -> None:
    drawn = course_map(lessons.TABLE)

    for lesson in TABLE:
        needs = ", ".join(lesson.needs) or "nothing"
        assert f"{lesson.number} {lesson.title} needs {needs}" in drawn.text
        assert f"{lesson.minutes} minutes" in drawn.svg
    # Every lesson but the first is reached by an arrow, and none by more than it needs.
    arrows = drawn.svg.count("<path")
    assert len(TABLE) - 1 <= arrows <= sum(len(lesson.needs) for lesson in TABLE)


@pytest.mark.parametrize("path", [index.INDEX, index.GLOSSARY], ids=lambda path: path.name)
def test_contents_and_glossary_are_as_the_tables_have_them(path: Path) -> None:
    made = index.index() if path == index.INDEX else index.page()

    assert canonical(index.formed(made, read(path))) == path.read_text("utf-8"), (
        "run `.venv/bin/python -m tools.index`"
    )


def test_every_term_is_used_and_said_in_a_sentence_or_two() -> None:
    linked = set()
    for lesson in WRITTEN:
        linked |= set(re.findall(r"glossary\.ipynb#([^)]+)\)", lesson.path.read_text("utf-8")))

    assert 40 <= len(glossary.terms()) <= 70
    for term in glossary.terms():
        assert len(re.findall(r"[.?!](?= |$)", term.says)) <= 3, term.name
    # A lesson that is rewritten may lose a word; most must be found where they are used.
    taught = [term for term in glossary.terms() if term.taught.isdecimal()]
    unsaid = [term.name for term in taught if term.anchor not in linked]
    assert len(unsaid) <= 6, unsaid


@every_lesson
def test_a_term_is_linked_once_and_where_it_is_used_first(lesson: lessons.Lesson) -> None:
    notebook = read(lesson.path)
    anchors = [
        anchor
        for cell in notebook.cells
        for anchor in re.findall(r"\]\(glossary\.ipynb#([^)]+)\)", cell.source)
    ]

    assert len(set(anchors)) == len(anchors)
    assert len(anchors) >= 5
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "made" not in tags(cell):
            rest = re.sub(r"```.*?```", "", cell.source, flags=re.S)
            heads = re.findall(r"^(?:#|\|).*$", rest, re.M)
            assert not [head for head in heads if "glossary.ipynb#" in head]


def test_linking_leaves_code_headings_tables_and_links_alone() -> None:
    text = (
        "## A merge\n\n| merge |\n|---|\n\n`merge()` and [a merge](x.ipynb) and\n\n"
        "```\nmerge\n```\n\nNow they merge, and merge again."
    )
    made = new_markdown_cell("They merge.", id="m", metadata={"tags": ["made"]})
    cells = [made, new_markdown_cell(text, id="a")]

    glossary.link(cells)
    once = cells[1].source
    glossary.link(cells)

    assert once == text.replace("they merge,", "they [merge](glossary.ipynb#merge),")
    assert cells[1].source == once
    assert made.source == "They merge."


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_every_bracket_in_prose_has_its_partner(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```|(`+).*?\1|\]\([^()\s]+\)", "]", cell.source, flags=re.S)
            while (less := re.sub(r"\([^()]*\)", "", text)) != text:
                text = less
            assert not re.search(r".{0,40}[()]", text), f"{cell.id}: {cell.source}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"name": "x", "says": "y."}, "the term x lacks taught"),
        ({"name": "x", "says": "y.", "taught": "77"}, "the term x is taught in 77, which is no"),
        ({"name": "x", "says": "y.", "taught": "00", "tells": 1}, "the term x has a tells"),
        ({"name": "x()", "says": "y.", "taught": "00"}, "put such a word into `also`"),
    ],
)
def test_a_wrong_term_is_named(row: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=r"glossary\.toml") as raised:
        list(glossary.checked([row]))
    assert said in str(raised.value)


def test_a_word_is_linked_to_one_term_alone() -> None:
    row = {"says": "y.", "taught": "00", "also": ["same"]}

    with pytest.raises(ValueError, match="'same' is linked to a and to b"):
        list(glossary.checked([{"name": "a", **row}, {"name": "b", **row}]))


# --- notebooks beside the lessons ------------------------------------------------------------


BESIDE = [LESSONS / f"{name}.ipynb" for name in ("index", *[one.file for one in index.beside()])]
every_other = pytest.mark.parametrize("path", BESIDE, ids=lambda path: path.stem)


def test_every_notebook_is_a_lesson_or_beside_one() -> None:
    assert {path.stem for path in LESSONS.glob("*.ipynb")} == {
        *[lesson.file for lesson in WRITTEN],
        *[path.stem for path in BESIDE],
    }


@every_other
def test_a_notebook_beside_has_the_form_of_a_lesson(path: Path) -> None:
    stored = read(path).cells
    text = "\n".join([cell.source for cell in stored if cell.cell_type == "markdown"])
    levels = [len(marks) for marks in re.findall(r"^(#+) ", text, re.M)]
    ids = [cell.id for cell in stored]

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(low <= high + 1 for high, low in pairwise(levels))
    assert len(set(ids)) == len(ids)
    assert [name for name in ids if not re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", name)] == []
    assert path.stem == "index" or "[contents](index.ipynb)" in stored[0].source
    for cell in stored:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip()]
            asserts = any(isinstance(n, ast.Assert) for n in ast.walk(ast.parse(code(cell))))
            assert len(lines) <= (CLAIMS if asserts else LONGEST), cell.id
            assert asserts == ("claim" in tags(cell)), cell.id
            assert not (asserts and cell.outputs), cell.id


@pytest.mark.parametrize(
    "path", [*[lesson.path for lesson in WRITTEN], *BESIDE], ids=lambda path: path.stem
)
def test_links_lead_to_headings_that_there_are(path: Path) -> None:
    text = "\n".join([c.source for c in read(path).cells if c.cell_type == "markdown"])

    for target in re.findall(r"\]\(([^)\s]+\.ipynb(?:#[^)\s]*)?)\)", text):
        file, _, anchor = target.partition("#")
        assert (LESSONS / file).is_file(), target
        if anchor:
            assert anchor in anchors(LESSONS / file), target


def anchors(path: Path) -> set[str]:
    """The ids of the headings, as JupyterLab and nbconvert make them: the words, joined by "-"."""
    text = "\n".join([c.source for c in read(path).cells if c.cell_type == "markdown"])
    return {
        heading.replace("`", "").replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", text, re.M)
    }


# --- engine and kernel -----------------------------------------------------------------------


def test_every_decision_has_its_counterpart() -> None:
    table = counterparts.counterparts()

    assert {pair.engine for pair in [*table.pairs, *table.own]} == counterparts.deciding()
    assert all(pair.where and pair.versions and pair.out and pair.does for pair in table.pairs)
    # Where our name is the kernel's, the table says so.
    for pair in table.pairs:
        name = pair.engine.partition(".")[2]
        if name in ("vma_merge", "is_mergeable_vma", "vma_merge_new_range"):
            assert pair.kernel == f"{name}()"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"engine": "ranges.nothing", "out": ""}, "there is no function ranges.nothing"),
        ({"engine": "ranges._take", "out": ""}, "there is no function ranges._take"),
        ({"engine": "callers.unmap", "where": ["moon"], "out": ""}, "names the place moon"),
        ({"engine": "callers.unmap"}, "callers.unmap: "),
    ],
)
def test_a_wrong_pair_is_named(row: dict[str, object], said: str) -> None:
    with pytest.raises(NotationError, match=r"counterparts\.toml") as raised:
        counterparts.pairs([row], {})
    assert said in str(raised.value)


def test_a_decision_without_a_pair_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = counterparts.deciding() | {"ranges.lonely"}
    monkeypatch.setattr(counterparts, "deciding", lambda: everything)

    with pytest.raises(NotationError, match=r"has no pair for .*ranges\.lonely"):
        counterparts.counterparts()
