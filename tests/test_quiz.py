"""The questions: every key from the engine once more, every option, every wrong input."""

import re
import time
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from tools import lessons
from vmakernel import draw, kernel, progress, quiz, quiz_widgets
from vmakernel.explain import trace
from vmakernel.flags import NotationError
from vmakernel.layout import strip
from vmakernel.progress import DAY, Result
from vmakernel.quiz import Kind, Question, bank
from vmakernel.quiz_widgets import Quiz, Quizzes

QUESTIONS = list(bank().values())
FOUR = {
    "close means never merge",
    "equal flags mean merge",
    "prev is never removed, so nothing is",
    "nattch counts processes",
}

every_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda one: one.id)


def of(*kinds: Kind) -> pytest.MarkDecorator:
    chosen = [one for one in QUESTIONS if one.kind in kinds]
    return pytest.mark.parametrize("question", chosen, ids=lambda one: one.id)


@pytest.fixture(autouse=True)
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A progress file of the test's own."""
    progress.SAID.clear()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "progress.jsonl"))
    yield tmp_path / "progress.jsonl"
    progress.SAID.clear()


def letters(question: Question, right: bool) -> list[str]:
    pairs = zip(quiz.LETTERS, question.options, strict=False)
    return [letter for letter, option in pairs if option.right is right]


def correct(question: Question) -> str | list[str]:
    """A right answer, as answer() takes it."""
    if question.kind is Kind.FIND:
        return question.key[0]
    return question.key


# --- the bank -------------------------------------------------------------------------------------


def test_every_lesson_has_three_to_five_questions_and_every_kind_is_used() -> None:
    for lesson in lessons.table():
        assert 3 <= len(quiz.of_lesson(lesson.number)) <= 5
    assert {question.kind for question in QUESTIONS} == set(Kind)
    assert list(bank()) == [question.id for question in QUESTIONS]


def test_each_of_the_four_misconceptions_is_met_head_on_at_least_twice() -> None:
    rows = [row for one in QUESTIONS for row in one.data.get("options", [])]
    met = [row.get("misconception", "") for row in rows]

    for wrong in FOUR:
        assert len([told for told in met if told.startswith(wrong)]) >= 2, wrong


@every_question
def test_no_key_is_written_down(question: Question) -> None:
    assert not {"key", "right_option", "answer"} & set(question.data)
    for row in question.data.get("options", []):
        assert not {"right", "correct"} & set(row)
        if question.kind is Kind.CHOICE:
            assert row["claim"] not in ("True", "False", "1", "0")
            assert re.search(r"\bit\b|told|under|asked", row["claim"])
        if question.kind in (Kind.LAYOUT, Kind.ORDER):
            assert row["text"] not in question.key, "the right one is not among the wrong ones"


@of(Kind.LAYOUT)
def test_the_key_of_a_layout_is_what_the_kernel_leaves(question: Question) -> None:
    after = trace(kernel(question.kernels[0]), question.scenario)[-1].after

    assert question.key == [strip(after).rstrip(".")]
    assert [option.text for option in question.options].count(question.key[0]) == 1


@of(Kind.DIFFERENCE)
def test_the_key_of_a_difference_is_what_two_kernels_leave_otherwise(question: Question) -> None:
    for option in question.options:
        one, two = (trace(kernel(name), option.scenario)[-1] for name in question.kernels)
        differ = (strip(one.after), one.leaked) != (strip(two.after), two.leaked)
        assert option.right == differ, option.text


@of(Kind.CHOICE, Kind.LAYOUT)
def test_one_option_is_right(question: Question) -> None:
    assert [option.right for option in question.options].count(True) == 1
    assert len(question.options) >= 3


@of(Kind.DIFFERENCE)
def test_some_options_are_right_and_some_are_wrong(question: Question) -> None:
    assert {option.right for option in question.options} == {True, False}
    assert len(question.options) >= 3


@of(Kind.ORDER)
def test_an_order_has_rivals_and_does_not_stand_there_already(question: Question) -> None:
    wrong = [option for option in question.options if not option.right]

    assert len(question.key) >= 2
    assert wrong
    assert {option.pair for option in wrong} <= set(question.key)
    assert [option.text for option in question.options if option.right] != question.key
    for option in wrong:  # rivals stand next to each other
        texts = [one.text for one in question.options]
        assert abs(texts.index(option.text) - texts.index(option.pair)) == 1
    right = [order for order in permutations(question.key) if question.judge(order).right]
    assert right == [tuple(question.key)]


@every_question
def test_each_wrong_option_names_a_misconception_and_replies(question: Question) -> None:
    wrong = [option for option in question.options if not option.right]
    for option in wrong:
        assert len(option.misconception) > 8
        assert len(option.reply) > 20
        assert "{" not in option.misconception + option.reply
    assert not [one for one in question.options if one.right and one.misconception + one.reply]
    if question.kind is Kind.FIND:
        assert all(len(row["misconception"]) > 8 for row in question.data["wrong"])
        assert len(question.data["wrong"]) >= 2
    if question.kind is Kind.ORDER:
        assert set(question.data["misplaced"]) == {"misconception", "reply"}


@every_question
def test_what_the_prose_stands_on_holds(question: Question) -> None:
    assert question.value(question.data.get("holds", "True"))
    about_notation = {"00-read-a-line"}
    assert re.search(r"\d\.\d", question.text) or question.id in about_notation, "which version?"
    assert "{" not in question.text + question.because


@of(Kind.FIND)
def test_every_right_answer_passes_and_every_typical_wrong_one_meets_its_reply(
    question: Question,
) -> None:
    assert len(question.data["right"]) >= 2
    for answer in question.data["right"]:
        assert question.judge(answer).right, answer
    for row in question.data["wrong"]:
        judged = question.judge(row["answer"])
        assert not judged.right
        assert judged.lines[0] == f"Behind it: {row['misconception']}."
    assert not question.judge(question.data["such"]).right


def test_a_right_answer_that_nobody_wrote_down_passes() -> None:
    for steps in ("protect 1-2:r; protect 1-2:rw", "protect 5-12:r; protect 5-12:rw"):
        assert quiz.find("09-lose-a-call").judge(steps).right
    assert quiz.find("14-tell-it-from-6-12").judge("N=4-6:r,f7@9,c | mmap 2-4:r,f7@7").right


def test_a_key_follows_the_engine_not_the_bank() -> None:
    data = dict(quiz.find("00-there-and-back").data)

    assert Question(data).key == ["PPPP|PPPP|PPPP"]
    assert Question({**data, "kernels": ["6.5"], "options": []}).key == ["PPPPPPPP|PPPP"]
    both = dict(quiz.find("10-two-rules-apart").data)
    both["kernels"] = ["6.9", "6.9"]
    assert Question(both).key == []


# --- judging, by code -----------------------------------------------------------------------------


@every_question
def test_the_key_is_right_by_letter_and_by_text(question: Question) -> None:
    judged = question.judge(correct(question))

    assert judged.right
    assert question.because in judged.lines
    if question.kind in (Kind.CHOICE, Kind.LAYOUT, Kind.DIFFERENCE):
        assert question.judge(" ".join(letters(question, right=True))).right
        assert question.judge("".join(letters(question, right=True))).right


@of(Kind.CHOICE, Kind.LAYOUT, Kind.DIFFERENCE)
def test_each_wrong_option_gets_its_reply(question: Question) -> None:
    for letter in letters(question, right=False):
        option = question.options[quiz.LETTERS.index(letter)]
        judged = question.judge(letter)
        assert not judged.right
        assert judged.shown or question.kind is Kind.CHOICE, "the engine shows why"
        assert judged.lines[:2] == [f"Behind it: {option.misconception}.", option.reply]
        assert question.judge([option.text]).lines == judged.lines


@of(Kind.DIFFERENCE)
def test_a_difference_wants_all_of_them(question: Question) -> None:
    right = letters(question, right=True)

    assert question.judge(right[::-1]).right
    everything = question.judge(letters(question, True) + letters(question, False))
    assert not everything.right
    if len(right) > 1:
        some = question.judge(right[0])
        assert not some.right
        assert [line for line in some.lines if line.startswith("Not the same, and you left it out")]


@of(Kind.ORDER)
def test_an_order_replies_to_rivals_to_what_is_missing_and_to_what_is_misplaced(
    question: Question,
) -> None:
    first, second, *rest = question.key
    wrong = next(option for option in question.options if not option.right)
    taken = [wrong.text if piece == wrong.pair else piece for piece in question.key]

    assert question.judge(taken).lines[:2] == [f"Behind it: {wrong.misconception}.", wrong.reply]
    assert f"{first} comes before {second}." in question.judge([second, first, *rest]).lines
    missing = question.judge([first])
    assert f"1 of {len(question.key)} pieces are there" in missing.lines[-1]
    assert not missing.right


@pytest.mark.parametrize(
    ("name", "answer", "sentence"),
    [
        ("05-who-is-asked", "z", "'z' is none of the options: answer with a letter from a to d"),
        ("05-who-is-asked", "a b", "choose one option, not 2"),
        ("05-who-is-asked", "", "answer with a letter from a to d"),
        ("05-who-is-asked", [], "answer with a letter from a to d"),
        ("05-what-the-patch-changed", "a a", "the same option stands there twice: name it once"),
        ("05-order-the-checks", "a, 9", "'9' is none of the options: answer with letters from"),
        ("05-case-5", "PPPP|QQ", "'PPPP|QQ' is none of the options"),
        ("09-lose-a-call", "", "type an answer first, such as protect 4-8:r"),
        ("09-lose-a-call", ["protect"], "type an answer first"),
        ("09-lose-a-call", "protct 4-8:r", "unknown operation 'protct': did you mean protect?"),
        ("09-lose-a-call", "protect 4-8:r;" * 99, "an answer of at most 300 characters"),
        ("14-tell-it-from-6-12", "P=0-4:rw", "no operation in 'P=0-4:rw'"),
    ],
)
def test_wrong_input_gets_one_sentence(
    file: Path, name: str, answer: str | list[str], sentence: str
) -> None:
    with pytest.raises(NotationError, match=re.escape(sentence)):
        quiz.find(name).judge(answer)

    shown = quiz_widgets.quiz(name).answer(answer)
    assert sentence in repr(shown)
    assert sentence in shown.message.value.replace("&#x27;", "'")
    assert not file.exists(), "what is no answer is no miss"


def test_a_question_or_a_lesson_that_does_not_exist_is_answered_with_what_there_is() -> None:
    with pytest.raises(quiz.QuizError, match="did you mean 05-who-is-asked"):
        quiz_widgets.quiz("05-who-is-askd")
    with pytest.raises(quiz.QuizError, match='from "00" to "14"'):
        quiz_widgets.quizzes("99")
    for strange in ("00", "01", "5", "", "x"):
        with pytest.raises(quiz.QuizError, match=r'from "02" on, such as recall\("05"\)'):
            quiz_widgets.recall(strange)


# --- the widget -----------------------------------------------------------------------------------


def click(shown: Quiz, letter: str) -> None:
    """Choose by the controls, as a reader does, and press the button."""
    line = next(line for line in shown.question.listing if line.startswith(f"{letter})"))
    if shown.question.kind is Kind.DIFFERENCE:
        for box in shown.boxes:
            box.value = box.description == line
    else:
        shown.radio.value = line
    shown.commit.click()


@of(Kind.CHOICE, Kind.LAYOUT, Kind.DIFFERENCE)
def test_every_option_through_the_widget(question: Question) -> None:
    shown = Quiz(question)
    for letter, option in zip(quiz.LETTERS, question.options, strict=False):
        click(shown, letter)
        last = shown.judged[-1]
        assert last.said.startswith(f"{letter}) ")
        alone = letters(question, right=True) == [letter]
        assert shown.right == last.right == alone
        mark = "✓" if alone else "✗"
        assert f"You said {last.said} {mark}" in repr(shown)
        reply = option.reply or ("" if not alone else question.because)
        assert reply in repr(shown)
        assert 'role="status"' in shown.result.value
    read, _ = progress.results()
    assert len(read) == len(question.options)
    assert [one.held for one in read] == [one.right for one in shown.judged]


@of(Kind.ORDER)
def test_an_order_is_built_with_buttons(question: Question) -> None:
    shown = Quiz(question)
    listing = dict(zip([one.text for one in question.options], question.listing, strict=True))
    for option in question.options:  # of two rivals, the later takes the other's place
        shown.pool.value = listing[option.text]
        shown.moves["add"].click()
    assert len(shown.order) == len({one.pair or one.text for one in question.options})
    for line in list(shown.order):
        shown.chosen.value = line
        shown.moves["take out"].click()
    assert shown.order == []
    for piece in reversed(question.key):
        shown.pool.value = listing[piece]
        shown.moves["add"].click()
    shown.commit.click()
    assert not shown.right
    for place, piece in enumerate(question.key):
        shown.chosen.value = listing[piece]
        while shown.order.index(listing[piece]) > place:
            shown.moves["up"].click()
    shown.moves["down"].click()  # the last one has nowhere to go
    assert shown.order == [listing[piece] for piece in question.key]
    shown.commit.click()
    assert shown.right


@of(Kind.FIND)
def test_what_is_typed_is_judged_when_the_button_is_pressed(question: Question) -> None:
    shown = Quiz(question)
    for answer in [*question.data["right"], *[row["answer"] for row in question.data["wrong"]]]:
        shown.typed.value = answer
        shown.commit.click()
        assert shown.right == (answer in question.data["right"])
        assert answer in repr(shown)


@every_question
def test_after_the_right_answer_alone_it_tells_why_not_something_else(question: Question) -> None:
    shown = Quiz(question).answer(correct(question))
    rows = question.data.get("wrong") or [option for option in question.options if not option.right]

    assert len(question.others) == len(rows) > 0
    _, _, folded = shown.result.value.partition("<details><summary>Why not something else?")
    assert folded.count("<li>✗ ") == len(rows)
    for line in question.others:
        assert ". Behind it: " in line
        assert f"<li>{quiz_widgets._html(line)}</li>" in folded
        assert line in repr(shown)
    assert all(option.reply in folded for option in map(escaped, question.options))
    for wrong in [row["answer"] for row in question.data.get("wrong", [])] or letters(
        question, right=False
    ):
        shown.answer(wrong)
        assert "<details>" not in shown.result.value
        assert quiz_widgets.OTHERS not in repr(shown)


def escaped(option: quiz.Option) -> quiz.Option:
    return option._replace(reply=quiz_widgets._html(option.reply))


@every_question
def test_the_button_alone_asks_for_an_answer_first(question: Question) -> None:
    shown = Quiz(question)
    shown.commit.click()

    assert "first, then press the button." in repr(shown)
    assert not shown.judged


@every_question
def test_an_answer_comes_within_a_tenth_of_a_second(question: Question) -> None:
    shown = Quiz(question)
    shown.answer(correct(question))  # the key is computed once
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        shown.answer(correct(question))
        spent.append(time.perf_counter() - start)

    assert min(spent) < 0.1


@every_question
def test_it_is_readable_as_text_and_as_a_page_without_a_kernel(question: Question) -> None:
    shown = Quiz(question)
    bundle = shown._repr_mimebundle_()

    assert bundle["text/plain"] == repr(shown) == str(question)
    for line in (question.text, *question.listing):
        assert line in bundle["text/plain"]
    page, _, folded = bundle["text/html"].partition("<details>")
    assert question.because not in draw_less(page)
    assert quiz_widgets._html(question.because) in folded
    for option, line in zip(question.options, question.listing, strict=True):
        assert quiz_widgets._html(line) in page
        assert quiz_widgets._html(option.reply) in folded
    assert "✓" not in page
    assert "✗" not in page
    if question.kind is Kind.LAYOUT:
        assert draw.before_after(question.scenario).svg in page


def draw_less(html: str) -> str:
    return re.sub(r"(?s)<svg.*?</svg>", "", html)


def test_running_a_cell_again_loses_nothing() -> None:
    shown = quiz_widgets.quiz("05-who-is-asked").answer("b")

    again = quiz_widgets.quiz("05-who-is-asked")
    assert repr(again) == repr(shown)
    assert again.result.value == shown.result.value


def test_several_questions_are_answered_by_number_and_counted() -> None:
    shown = quiz_widgets.quizzes("05")
    assert "0 of 5 right" in shown.line.value
    for number, question in enumerate(quiz.of_lesson("05"), 1):
        shown.answer(number, correct(question))
        assert f"{number} of 5 right" in shown.line.value
    assert repr(shown).count("✓") >= 5
    assert "there is no question 6: write 1 to 5" in repr(shown.answer(6, "a"))


def test_where_nothing_can_be_written_the_answer_still_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "file" / "below"))
    shown = quiz_widgets.quiz("05-who-is-asked").answer(["Nobody's"])

    assert shown.right
    assert "could not be kept" in shown.message.value
    assert "You said" in shown.result.value


# --- what to remember -----------------------------------------------------------------------------


def recalled(lesson: str, *results: Result, now: int = 100 * DAY) -> list[str]:
    questions = quiz_widgets.to_recall(lesson, progress.standings(results), now)
    return [question.id for question in questions]


def test_without_progress_three_questions_of_two_lessons_before_are_asked() -> None:
    for number in range(2, 15):
        there = [question.id for question in quiz.of_lesson(f"{number - 2:02}")]
        assert recalled(f"{number:02}") == there[:3]


def test_what_was_missed_earlier_comes_first_and_leaves_one_place() -> None:
    missed = [Result(DAY * n, name, False) for n, name in enumerate(list(bank())[:3])]

    assert recalled("05", *missed) == [*list(bank())[:2], quiz.of_lesson("03")[0].id]
    assert recalled("02", *missed[:2]) == [one.id for one in quiz.of_lesson("00")][:3]


def test_what_was_right_comes_back_when_it_is_due() -> None:
    first, second, third, fourth, fifth = [question.id for question in quiz.of_lesson("03")]
    right = Result(0, first, True)

    assert recalled("05", right, now=60) == [second, third, fourth]
    assert recalled("05", right, now=DAY) == [first, second, third]
    known = [Result(0, name, True) for name in (first, second, third, fourth)]
    assert recalled("05", *known, now=60) == [fifth, first, second]


def test_running_the_cell_again_asks_the_same_and_shows_what_was_said() -> None:
    quiz_widgets._RECALLED.clear()
    shown = quiz_widgets.recall("05").answer(1, "3").answer(2, "a")

    assert repr(quiz_widgets.recall("05")) == repr(shown)
    assert "You said c) 3 ✓" in repr(shown)
    quiz_widgets._RECALLED.clear()


def test_nothing_from_a_lesson_that_is_too_near() -> None:
    near = [Result(DAY, question.id, False) for question in quiz.of_lesson("04")]

    assert recalled("05", *near) == recalled("05")


# --- the page -------------------------------------------------------------------------------------


def test_the_page_of_somebody_who_answered_nothing_is_always_the_same(file: Path) -> None:
    page = quiz_widgets.progress_page()

    assert repr(page).endswith("To review\nNothing yet: answer some questions first.")
    assert repr(page) == repr(quiz_widgets.Progress(now=0))
    assert repr(quiz_widgets.review()) == "Nothing is due."
    assert not file.exists(), "looking keeps nothing"


def test_the_page_shows_what_is_done_what_was_missed_and_what_is_next(file: Path) -> None:
    quiz_widgets.quiz("05-who-is-asked").answer(["Nobody's"])
    quiz_widgets.quiz("03-what-nattch-counts").answer("a")
    page = quiz_widgets.progress_page()
    told = repr(page)

    assert re.search(r"^03 +5 +0 +1$", told, re.M)
    assert re.search(r"^05 +5 +1 +0$", told, re.M)
    assert "Missed\n03-what-nattch-counts: One program attaches" in told
    assert "03-what-nattch-counts: now, missed last time\n05-who-is-asked: in a day" in told
    html = page._repr_mimebundle_()["text/html"]
    assert all(quiz_widgets._html(line) in html for line in told.splitlines())
    review = quiz_widgets.review()
    assert isinstance(review, Quizzes)
    assert [one.question.id for one in review.quizzes] == ["03-what-nattch-counts"]
    assert "in 3 days" in repr(
        page_after([Result(0, "05-who-is-asked", True), Result(DAY, "05-who-is-asked", True)])
    )


def page_after(results: list[Result]) -> quiz_widgets.Progress:
    page = quiz_widgets.Progress(now=DAY)
    page.standings = progress.standings(results)
    return page


def test_a_question_that_is_gone_from_the_bank_does_no_harm(file: Path) -> None:
    progress.record("05-was-once", False)

    assert "05-was-once: no longer in the course" in repr(quiz_widgets.progress_page())
    assert repr(quiz_widgets.review()) == "Nothing is due."
    assert recalled("07", Result(0, "05-was-once", False)) == recalled("07")
