"""The faces of the quizzes: a question, a lesson's questions, those to remember, and your progress.

Previous: quiz.py. What is shown without a kernel is text and a folded answer; what is answered goes
to progress.py.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import Any, Final

import ipywidgets

from vmakernel import draw, exercise, progress
from vmakernel.explain import Mark
from vmakernel.lesson import table
from vmakernel.quiz import TO_DO, Judged, Kind, Question, QuizError, bank, find, of_lesson
from vmakernel.widgets import Panel, guarded

AT_ONCE: Final = 3  # questions to remember
OTHERS: Final = "Why not something else?"

# What a lesson asked, for the life of the notebook's kernel: running its cell again asks the same.
_RECALLED: Final[dict[str, list[Question]]] = {}

STYLE: Final = (
    ".vk-quiz{border-left:3px solid var(--jp-border-color1,#999);padding-left:.8em;"
    "margin-bottom:1em;overflow:visible}"
    ".vk-quiz .widget-radio-box label{white-space:normal;height:auto;line-height:1.4;"
    "margin-bottom:.2em}"
    ".vk-quiz .widget-checkbox label{white-space:normal;height:auto;line-height:1.4;width:auto}"
    ".vk-quiz .widget-checkbox{height:auto;width:auto}"
    ".vk-quiz pre{white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere;font-size:.85em;"
    "margin:.4em 0}"
    ".vk-quiz .vk-others{list-style:none;padding-left:1em;margin:.4em 0}"
    ".vk-quiz summary{cursor:pointer}"
)


def quiz(name: str) -> Quiz:
    """Ask one question, such as "05-who-is-asked". Raises QuizError."""
    return Quiz(find(name))


def quizzes(lesson: str) -> Quizzes:
    """Ask all questions of a lesson, such as "05". Raises QuizError."""
    return Quizzes(of_lesson(lesson))


def recall(lesson: str) -> Quizzes:
    """Ask three questions from two lessons before this one, or earlier where some were missed.

    Raises QuizError.
    """
    if lesson not in _RECALLED:
        _RECALLED[lesson] = to_recall(lesson, _standings(), int(time.time()))
    return Quizzes(_RECALLED[lesson])


def review() -> Quizzes | exercise.Note:
    """Ask what is due: what was missed first, then what was answered right long enough ago."""
    due = _due(_standings(), int(time.time()))
    if not due:
        return exercise.Note("Nothing is due.")
    return Quizzes([bank()[name] for name in due[:AT_ONCE]])


def progress_page() -> Progress:
    """Show what is done, what was missed, and what to review next."""
    return Progress()


# --- which questions ------------------------------------------------------------------------------


def _standings() -> dict[str, progress.Standing]:
    return progress.standings(progress.results()[0])


def _due(standings: dict[str, progress.Standing], now: int) -> list[str]:
    """Return the questions that are due, those that were missed last first, then the oldest."""
    due = [name for name, one in standings.items() if name in bank() and one.due <= now]
    return sorted(due, key=lambda name: (standings[name].box, standings[name].due, name))


def to_recall(lesson: str, standings: dict[str, progress.Standing], now: int) -> list[Question]:
    """Return three questions: up to two from earlier that are due, then two lessons before this.

    There, what is due comes first, then what was never asked, in the order of the bank. Raises
    QuizError.
    """
    if not re.fullmatch(r"\d\d", str(lesson)) or int(lesson) < 2:
        raise QuizError(
            f"nothing to remember for {str(lesson)[:10]!r}: "
            'write two digits in quotes, from "02" on, such as recall("05")'
        )
    before = f"{int(lesson) - 2:02}"
    there = [question.id for question in of_lesson(before)]
    due = _due(standings, now)
    earlier = [name for name in due if name[:2] < before][: AT_ONCE - 1]
    later = [name for name in there if name in standings and name not in due]
    ready = [name for name in due if name in there]
    ready += [name for name in there if name not in standings]
    return [bank()[name] for name in [*earlier, *ready, *later][:AT_ONCE]]


# --- one question ---------------------------------------------------------------------------------


class Quiz(Panel):
    """One question and what was said to it; `answer` does in code what the button does."""

    def __init__(self, question: Question, then: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.question = question
        self.then = then
        self.judged: list[Judged] = []
        self.said = progress.SAID.setdefault(question.id, [])
        self.box.add_class("vk-quiz")
        self.commit = ipywidgets.Button(description="answer")
        self.result = ipywidgets.HTML()
        self.commit.on_click(self._commit)
        top = ipywidgets.HTML(f"<style>{STYLE}</style>{self._asked()}")
        self.show(top, *self._controls(), self.commit, self.message, self.result)
        self.judged = [question.judge(said) for said in self.said]
        self._update()

    @property
    def right(self) -> bool:
        """True where the last answer holds."""
        return bool(self.judged) and self.judged[-1].right

    # --- what there is to click ---

    def _controls(self) -> list[ipywidgets.Widget]:
        question = self.question
        if question.kind is Kind.FIND:
            self.typed = ipywidgets.Text(
                placeholder=question.data["such"], continuous_update=False, description="answer:"
            )
            self.typed.layout.width = "auto"
            self.typed.add_class("vk-mono")
            return [self.typed]
        if question.kind is Kind.ORDER:
            return self._ordering()
        if question.kind is Kind.DIFFERENCE:
            self.boxes = [
                ipywidgets.Checkbox(description=line, value=False, indent=False)
                for line in question.listing
            ]
            return list(self.boxes)
        self.radio = ipywidgets.RadioButtons(options=question.listing, value=None)
        self.radio.layout.width = "auto"
        if question.kind is Kind.LAYOUT:
            self.radio.add_class("vk-mono")
        return [self.radio]

    def _ordering(self) -> list[ipywidgets.Widget]:
        lines = self.question.listing
        self.order: list[str] = []
        self.pool = ipywidgets.Select(options=lines, value=lines[0], description="pieces:")
        self.chosen = ipywidgets.Select(options=[], description="in order:")
        for select in (self.pool, self.chosen):
            select.rows = len(lines)
            select.layout.width = "20em"
            select.style.description_width = "5em"
        moves = []
        for name, tip in (
            ("add", "Put the chosen piece at the end of your order"),
            ("take out", "Take the chosen piece out of your order"),
            ("up", "Move it one place up"),
            ("down", "Move it one place down"),
        ):
            button = ipywidgets.Button(description=name, tooltip=tip, layout={"width": "6em"})
            button.on_click(self._move)
            moves.append(button)
        self.moves = {button.description: button for button in moves}
        return [ipywidgets.HBox([self.pool, ipywidgets.VBox(moves), self.chosen])]

    @guarded
    def _move(self, button: ipywidgets.Button) -> None:
        """Change the order; of two rivals, the one that is added takes the other's place."""
        line = self.pool.value if button.description == "add" else self.chosen.value
        if line is None:
            self.complain("Add a piece first, then choose it in your order.")
            return
        if button.description == "add":
            if line not in self.order:
                rivals = [other for other in self.order if self._rivals(line, other)]
                self.order = [other for other in self.order if other not in rivals] + [line]
        else:
            at = self.order.index(line)
            self.order.remove(line)
            if button.description != "take out":
                to = at - 1 if button.description == "up" else at + 1
                self.order.insert(max(to, 0), line)
        if self.order != list(self.chosen.options):
            self.chosen.options = list(self.order)
        kept = line if line in self.order else (self.order[-1] if self.order else None)
        self.chosen.value = kept

    def _rivals(self, one: str, other: str) -> bool:
        first, second = (
            self.question.options[self.question.listing.index(x)] for x in (one, other)
        )
        return (first.pair or first.text) == (second.pair or second.text)

    # --- answering ---

    @guarded
    def _commit(self, _: object) -> None:
        said = self._chosen()
        if not said:
            what = "Type an answer" if self.question.kind is Kind.FIND else "Choose something"
            self.complain(f"{what} first, then press the button.")
        else:
            self._take(said)

    def _chosen(self) -> str:
        """Return what the controls say, as answer() would be told."""
        if self.question.kind is Kind.FIND:
            return str(self.typed.value).strip()
        if self.question.kind is Kind.ORDER:
            return " ".join([line[0] for line in self.order])
        if self.question.kind is Kind.DIFFERENCE:
            return " ".join([box.description[0] for box in self.boxes if box.value])
        return (self.radio.value or "")[:1]

    def answer(self, said: str | Sequence[str]) -> Quiz:
        """Answer by letter ("b", "a c") or by text, or type what is to be found; return this."""
        self._answer(said)
        return self

    @guarded
    def _answer(self, said: str | Sequence[str]) -> None:
        self._take(said)

    def _take(self, said: str | Sequence[str]) -> None:
        judged = self.question.judge(said)
        self.said.append(said if isinstance(said, str) else " ".join(self._letters(said)))
        self.judged.append(judged)
        lost = progress.record(self.question.id, judged.right, judged.said)
        self._update()
        self.then()
        self.complain(lost)

    def _letters(self, said: Sequence[str]) -> list[str]:
        chosen = self.question.read(said)
        return [self.question.listing[self.question.options.index(one)][0] for one in chosen]

    # --- what is shown ---

    def _asked(self) -> str:
        asked = f"<p><b>{_html(self.question.text)}</b></p>"
        if self.question.kind is Kind.LAYOUT:
            asked += draw.before_after(self.question.scenario).svg
        if self.question.kind is Kind.FIND and self.question.template != "{}":
            told = escape(self.question.template.replace("{}", "…"))
            asked += f"<p><code>{told}</code></p>"
        return f"{asked}<p>{TO_DO[self.question.kind]}</p>"

    def _update(self) -> None:
        self.commit.description = "answer again" if self.judged else "answer"
        if self.judged:
            *before, last = self.judged
            tried = "".join([f"<p>Before that: {escape(str(one))}</p>" for one in before[-2:]])
            lines = "".join([f"<p>{_html(line)}</p>" for line in last.lines])
            if last.shown:
                lines += f"<pre>{escape(chr(10).join(last.shown))}</pre>"
            told = f"<p><b>{escape(str(last))}</b></p>{lines}{self._why_not() * last.right}{tried}"
            self.result.value = f'<div role="status">{told}</div>'

    @property
    def text(self) -> str:
        """The question and its options; after an answer, what was said and whether it held."""
        if not self.judged:
            return str(self.question)
        said = [str(one) for one in self.judged]
        last = self.judged[-1]
        others = [OTHERS, *self.question.others] if last.right and self.question.others else []
        return "\n".join([self.question.text, *said, *last.lines, *last.shown, *others])

    def _why_not(self) -> str:
        """What is wrong with every other answer, folded; nothing where there is no other."""
        listed = "".join([f"<li>{_html(line)}</li>" for line in self.question.others])
        told = f'<ul class="vk-others">{listed}</ul>'
        return f"<details><summary>{OTHERS}</summary>{told}</details>" if listed else ""

    @property
    def front(self) -> str:
        """The question and its options, without a kernel."""
        # No list: where a notebook is not trusted, its letters would become numbers.
        listed = "<br>".join(map(_html, self.question.listing))
        return f"{self._asked()}<p>{listed}</p>" if listed else self._asked()

    @property
    def back(self) -> str:
        """The key, and what is behind every other option."""
        return "".join([f"<p>{_html(line)}</p>" for line in self._answers()])

    @property
    def html(self) -> str:
        """The question without a kernel: options, and the answer folded."""
        folded = f"<details><summary>Answer and reasons</summary>{self.back}</details>"
        return f"<div>{self.front}{folded}</div>"

    def _answers(self) -> Iterator[str]:
        question = self.question
        if question.kind is Kind.FIND:
            yield f"For example `{question.key[0]}`. {question.because}"
        elif question.kind is Kind.ORDER:
            yield f"{Mark.HELD} {', '.join(question.key)}. {question.because}"
        else:
            right = [question.lettered(one) for one in question.options if one.right]
            yield f"{Mark.HELD} {'; '.join(right)}. {question.because}"
        yield from question.others

    def _repr_mimebundle_(self, **which: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**which)
        return {**bundle, "text/plain": repr(self), "text/html": self.html}


def _html(text: str) -> str:
    """Return text as HTML, with `code` set as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


# --- several questions ----------------------------------------------------------------------------


class Quizzes(Panel):
    """Several questions below each other, and how many are answered."""

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__()
        self.line = ipywidgets.HTML()
        self.quizzes = [Quiz(question, self._count) for question in questions]
        self.show(*[one.box for one in self.quizzes], self.message, self.line)
        self._count()

    def _count(self) -> None:
        right = len([one for one in self.quizzes if one.right])
        self.line.value = f'<p role="status">{right} of {len(self.quizzes)} right.</p>'

    def answer(self, number: int, said: str | Sequence[str]) -> Quizzes:
        """Answer the question with this number, from 1 on; return this."""
        self._answer(number, said)
        return self

    @guarded
    def _answer(self, number: int, said: str | Sequence[str]) -> None:
        if number not in range(1, len(self.quizzes) + 1):
            raise QuizError(f"there is no question {number}: write 1 to {len(self.quizzes)}")
        self.quizzes[number - 1].answer(said)

    @property
    def text(self) -> str:
        """All questions, numbered."""
        told = [f"{number}. {one!r}" for number, one in enumerate(self.quizzes, 1)]
        return "\n\n".join(told)

    def _repr_mimebundle_(self, **which: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self.box._repr_mimebundle_(**which)
        html = "<hr>".join([one.html for one in self.quizzes])
        return {**bundle, "text/plain": repr(self), "text/html": html}


# --- progress -------------------------------------------------------------------------------------


class Progress:
    """What is done, what was missed, what to review next; the repr is the same in plain text."""

    def __init__(self, now: int | None = None) -> None:
        self.now = int(time.time()) if now is None else now
        read, self.trouble = progress.results()
        self.standings = progress.standings(read)

    @property
    def rows(self) -> list[tuple[str, int, int, int]]:
        """For every lesson: its number, questions, how many were right last, how many missed."""
        rows = []
        for lesson in dict.fromkeys([question.lesson for question in bank().values()]):
            there = [self.standings.get(question.id) for question in of_lesson(lesson)]
            right = len([one for one in there if one and one.box > 0])
            missed = len([one for one in there if one and one.box == 0])
            rows.append((lesson, len(there), right, missed))
        return rows

    @property
    def exercises(self) -> tuple[int, int, int]:
        """How many exercises there are, were right last, and missed last."""
        there = exercise.exercises()
        tried = [one for name, one in self.standings.items() if name in there]
        return (
            len(there),
            len([one for one in tried if one.box]),
            len([t for t in tried if not t.box]),
        )

    @property
    def next(self) -> list[tuple[str, str]]:
        """What to review: each question, and when."""
        names = [name for name in self.standings if name in bank()]
        names.sort(key=lambda name: (self.standings[name].due, name))
        return [(name, self._when(self.standings[name])) for name in names]

    def _when(self, one: progress.Standing) -> str:
        if one.due <= self.now:
            return "now, missed last time" if one.box == 0 else "now"
        days = -(-(one.due - self.now) // progress.DAY)
        return "in a day" if days == 1 else f"in {days} days"

    def _sections(self) -> Iterator[tuple[str, str]]:
        rows: list[Sequence[object]] = [*self.rows, ("exercises", *self.exercises)]
        yield "Done", table("lesson questions right missed", rows)
        missed = [name for name, one in self.standings.items() if one.box == 0]
        if missed:
            yield "Missed", "\n".join([f"{name}: {self._words(name)}" for name in sorted(missed)])
        due = [f"{name}: {when}" for name, when in self.next[:10]]
        more = len(self.next) - len(due)
        due += [f"and {more} more, later"] if more > 0 else []
        yield "To review", "\n".join(due) or "Nothing yet: answer some questions first."

    def _words(self, name: str) -> str:
        if name in bank():
            return bank()[name].text
        known = exercise.exercises()
        return f"exercise, {known[name].title}" if name in known else "no longer in the course"

    def __repr__(self) -> str:
        told = [f"{head}\n{body}" for head, body in self._sections()]
        return "\n\n".join([*([self.trouble] if self.trouble else []), *told])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        html = f'<p role="alert">{escape(self.trouble)}</p>' if self.trouble else ""
        for head, body in self._sections():
            lines = "<br>".join(map(_html, body.splitlines()))
            shown = f"<pre>{escape(body)}</pre>" if head == "Done" else f"<p>{lines}</p>"
            html += f"<p><b>{head}</b></p>{shown}"
        return {"text/plain": repr(self), "text/html": f"<div>{html}</div>"}
