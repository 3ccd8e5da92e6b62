"""The plans of the labs: their clock, their cards, their answer key, their slides."""

import copy
import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import index, lessons, slides, teaching
from tools.notebooks import LESSONS, canonical, read
from vmakernel import progress, quiz
from vmakernel.card import Card, card
from vmakernel.lesson import under
from vmakernel.quiz_widgets import Quiz
from vmakernel.widgets import Prediction

LABS = teaching.labs()
CARDS = [name for lab in LABS for step in lab.steps for name in step.cards]
CHOICE = [q.id for q in quiz.bank().values() if q.kind in (quiz.Kind.CHOICE, quiz.Kind.LAYOUT)]
every_lab = pytest.mark.parametrize("lab", LABS, ids=lambda lab: lab.file)


# --- plans -----------------------------------------------------------------------------------


@every_lab
def test_the_plan_is_as_the_tables_have_it(lab: teaching.Lab) -> None:
    path = LESSONS / f"{lab.file}.ipynb"
    made = index.formed(teaching.cells(lab), read(path))

    assert canonical(made) == path.read_text("utf-8"), "run `.venv/bin/python -m tools.teaching`"


@every_lab
def test_the_clock_is_the_tours_and_ends_after_ninety_minutes(lab: teaching.Lab) -> None:
    (tour,) = [one for one in index.tours() if one.name == lab.tour.name]
    text = (LESSONS / f"{lab.file}.ipynb").read_text("utf-8")
    clocks = re.findall(r"^ *\"\| (\d:\d\d) \|", text, re.M)
    minutes = [60 * int(one[0]) + int(one[2:]) for one in clocks]

    assert [later - one for one, later in itertools.pairwise(minutes)] == [
        step.minutes for step in tour.steps
    ]
    assert (minutes[0], minutes[-1]) == (0, 90)


@every_lab
def test_each_step_says_what_to_do(lab: teaching.Lab) -> None:
    for step in lab.steps:
        assert all([step.say, step.do, step.look, step.late]), step.title
    for name in re.findall(r"\*([A-Z][^*]+)\*", " ".join([step.late for step in lab.steps])):
        heads = [head for n in lab.lessons for head in _headings(n)]
        assert name in heads, f"no lesson of {lab.file} has a section {name!r}"


def _headings(number: str) -> list[str]:
    (lesson,) = [one for one in lessons.table() if one.number == number]
    return index.headings(lesson)


def change(lab: dict[str, Any], **what: object) -> None:
    """Change the second step of a lab."""
    lab["step"][1].update(what)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda lab: lab["step"].pop(), "has 5 steps, and the way 'A class: lab one' has 6"),
        (lambda lab: lab.update(tour="A walk"), "follows the way 'A walk', and there is none"),
        (lambda lab: lab.update(file="x"), "x is no [[beside]] of lessons.toml"),
        (lambda lab: change(lab, slides=[["02", "moon"]]), "lesson 02 has no cell 'moon'"),
        (lambda lab: change(lab, slides=[["77", "moon"]]), "there is no lesson '77'"),
        (lambda lab: change(lab, slides=[["02"]]), "a slide from lesson 02 names no cell"),
        (lambda lab: change(lab, slides=[["02", "gap-holds"]]), "is a check, not a slide"),
        (lambda lab: change(lab, sings="a"), "step 2 of teaching-lab-one: "),
        (lambda lab: change(lab, cards=["02-make-case-8"]), "a class votes with one letter"),
        (lambda lab: change(lab, cards=["02-moon"]), "there is no question '02-moon'"),
    ],
)
def test_a_wrong_plan_is_refused_in_a_sentence(
    spoil: Callable[[dict[str, Any]], object], said: str
) -> None:
    row = copy.deepcopy(teaching.table()["lab"][0])
    spoil(row)

    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        teaching.labs([row])
    assert "\n" not in str(raised.value)


# --- cards -----------------------------------------------------------------------------------


@every_lab
def test_there_are_eight_to_ten_cards_from_its_lessons(lab: teaching.Lab) -> None:
    names = [name for step in lab.steps for name in step.cards]

    assert 8 <= len(set(names)) == len(names) <= 10
    assert {name[:2] for name in names} <= set(lab.lessons)


@pytest.mark.parametrize("name", CHOICE)
def test_a_cards_key_is_what_the_engine_says(name: str) -> None:
    one = card(name)
    listing = one.question.listing

    for letter in quiz.LETTERS[: len(listing)]:
        assert one.question.judge(letter).right == (letter == one.letter)
    assert f"<b>Answer: {one.letter}</b>" in one.back
    assert "Answer" not in one.front
    for line in listing:
        assert line[:2] in one.front
    for option in one.question.options:
        assert option.right or f"Behind it: {option.misconception}." in repr_of(one.back)
    if one.question.kind is quiz.Kind.LAYOUT:
        told = under(one.question.kernels[0], one.question.scenario)
        assert listing[quiz.LETTERS.index(one.letter)].endswith(told.layout.rstrip("."))
        assert "<svg" in one.front


def repr_of(html: str) -> str:
    """The text of a piece of HTML, with ` around code."""
    text = re.sub("</?code>", "`", html)
    return re.sub("<[^>]+>", "", text).replace("&#x27;", "'").replace("&quot;", '"')


def test_a_card_is_a_page_on_paper_and_needs_no_kernel_to_be_read() -> None:
    bundle = card(CARDS[0])._repr_mimebundle_()

    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/html"].count('class="vk-side"') == 2
    assert "break-after:page" in bundle["text/html"]
    assert bundle["text/plain"] == repr(card(CARDS[0]))


def test_a_card_asks_what_the_quiz_asks_and_writes_no_progress(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.jsonl"))
    for name in CARDS:
        one = Card(name)
        assert Quiz(quiz.find(name)).front in one.front
        repr(one), one.back
    assert list(tmp_path.iterdir()) == []


# --- the answer key --------------------------------------------------------------------------


@pytest.mark.parametrize("lesson", lessons.table(), ids=lambda lesson: lesson.file)
def test_every_prediction_of_a_lesson_is_found_and_answered(lesson: lessons.Lesson) -> None:
    found = teaching.predictions(lesson.number)
    asking = [c.id for c in read(lesson.path).cells if "widgets.predict(" in c.source]

    assert list(found) == asking
    for cell, one in found.items():
        shown = teaching.stored(lesson.number)[cell].outputs[0]["data"]["text/plain"]
        assert shown.startswith(one.question), "what is read is what the lesson runs"
        widget = Prediction(one.scenario, one.kernel, question=f"{cell}, for the key")
        assert widget.answer(one.layout).right
        assert one.options[quiz.LETTERS.index(one.letter)] == one.layout


@every_lab
def test_the_key_has_every_prediction_and_question_of_the_lab(lab: teaching.Lab) -> None:
    text = "\n".join([cell.source for cell in teaching.cells(lab) if cell.id.startswith("key-")])

    for number in lab.lessons:
        for one in teaching.predictions(number).values():
            assert f"**{one.question}** (Linux {one.kernel.version}): **{one.letter}**" in text
        for question in quiz.of_lesson(number):
            assert f"- {question.id}: " in text
    for name in CARDS:
        if name[:2] in lab.lessons:
            assert f"- {name}: **{card(name).letter}** " in text


# --- slides ----------------------------------------------------------------------------------


@every_lab
def test_the_slides_hold_each_named_cell_and_each_card_in_order(lab: teaching.Lab) -> None:
    names = [slide.name for slide in slides.deck(lab)]
    wanted = [lab.title]
    for step in lab.steps:
        wanted += [step.title, *[" ".join(one) for one in step.slides]]
        wanted += [
            side for name in step.cards for side in (f"card {name}", f"card {name}, its back")
        ]

    assert names == wanted
    for slide in slides.deck(lab):
        assert len(repr_of(re.sub("<(svg|style).*?</\\1>", "", slide.html, flags=re.S))) > 5


@every_lab
def test_a_slide_asks_before_another_tells(lab: teaching.Lab) -> None:
    for step in lab.steps:
        for number, *ids in step.slides:
            asked = [
                teaching.predictions(number)[n] for n in ids if n in teaching.predictions(number)
            ]
            for one in asked:
                html = slides._cells(number, teaching.shown(number, *ids))
                assert one.question in repr_of(html)
                assert [f"<li>{layout}</li>" in html for layout in one.options]
                assert "after ·" not in html


@every_lab
def test_the_page_needs_nothing_from_anywhere(lab: teaching.Lab) -> None:
    page = slides.page(lab)

    assert not re.search(r"https?:|href|@import|<script|<link|<iframe|url\(", page)
    assert all(source.startswith("data:image/png") for source in re.findall(r'src="([^"]+)"', page))
    assert page.count("<section") == len(slides.deck(lab))
    assert len(re.findall("<h1", page)) == 1
    for rule in ("scroll-snap-type", "break-after:page", "prefers-color-scheme:dark"):
        assert rule in page
    for picture in re.findall("<svg[^>]*>", page):
        assert re.search('role="img"[^>]*aria-label="[^"]{10,}"', picture)
    for picture in re.findall("<img[^>]*>", page):
        assert re.search('alt="[^"]{10,}"', picture)


def test_making_the_slides_writes_a_file_for_each_lab(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert slides.main([str(tmp_path)]) == 0
    assert sorted(path.stem for path in tmp_path.iterdir()) == [lab.file for lab in LABS]
    first = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert slides.main([str(tmp_path)]) == 0
    assert first == {path: path.read_bytes() for path in tmp_path.iterdir()}

    def wrong() -> list[teaching.Lab]:
        raise lessons.Wrong("lesson 02 has no cell 'moon'")

    capsys.readouterr()
    monkeypatch.setattr(teaching, "labs", wrong)
    assert slides.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == "slides: lesson 02 has no cell 'moon'\n"
