"""Quizzes: questions as data, whose keys the engine computes.

Previous: classroom.py; next: quiz_widgets.py. The questions are in data/quizzes.toml. Five kinds:

    choice      one option whose claim, an expression about the engine, is true
    layout      the layout that a scenario leaves under a kernel
    order       pieces to be put in order, some of them to be left out
    difference  which scenarios do two kernels decide differently?
    find        a scenario that has a property; every right one passes

No key is written down. Each wrong option names the misconception behind it and replies to it; {...}
in a text is an expression, too. `holds` is what the prose of a question stands on.
"""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from vmakernel import maps, patch, recorded
from vmakernel.explain import Mark, Step, checks, owed, questions, verdict
from vmakernel.flags import NotationError
from vmakernel.kernels import MOMENTS, RULES, kernel
from vmakernel.lesson import Told, under
from vmakernel.predict import predict
from vmakernel.recorded import CASES, situation
from vmakernel.scenario import parse

BANK: Final = Path(__file__).with_name("data") / "quizzes.toml"
LETTERS: Final = "abcdefghijklmnop"
LONGEST: Final = 300  # characters of a scenario that a learner types


class QuizError(NotationError):
    """A question that does not exist, or an answer that is none: one sentence."""


class Kind(StrEnum):
    """What is asked for."""

    CHOICE = "choice"
    LAYOUT = "layout"
    ORDER = "order"
    DIFFERENCE = "difference"
    FIND = "find"


TO_DO: Final = {
    Kind.CHOICE: "Choose one.",
    Kind.LAYOUT: "Choose the layout.",
    Kind.ORDER: "Put them in order. Some may have to be left out.",
    Kind.DIFFERENCE: "Choose every one that the two decide differently.",
    Kind.FIND: "Type it. Every right answer passes.",
}


class Option(NamedTuple):
    """Something to choose; a wrong one names what is behind it, and replies."""

    text: str
    right: bool
    misconception: str = ""
    reply: str = ""
    scenario: str = ""  # difference: what is decided
    pair: str = ""  # order: the piece that this one is a rival of


class Judged(NamedTuple):
    """What was said, whether it held, the reply, and what the engine shows, line by line."""

    said: str
    right: bool
    lines: list[str]
    shown: list[str]

    def __str__(self) -> str:
        return f"You said {self.said} {Mark.HELD if self.right else Mark.FAILED}"


# --- what the expressions in the bank may ask -----------------------------------------------------


def asked(told: Told) -> list[str]:
    """Return whom the last decision asked: ``prev P``, ``next N``, ``curr C``."""
    outcome = told.last.result.outcome
    return [f"{one.role} {one.vma.name}" for one in outcome.asked] if outcome else []


def checked(told: Told, role: str) -> list[str]:
    """Return the checks that were made when `role` was asked, in their order."""
    outcome = told.last.result.outcome
    return [
        str(check.name)
        for one in (outcome.asked if outcome else ())
        if one.role == role
        for check in checks(told.kernel, one)
        if check.mark in (Mark.HELD, Mark.FAILED)
    ]


def about_close(told: Told) -> list[str]:
    """Return the names of the VMAs whose ->close was looked at."""
    outcome = told.last.result.outcome
    return [
        one.vma.name
        for one in (outcome.asked if outcome else ())
        for check in checks(told.kernel, one)
        if check.name == "close" and check.mark in (Mark.HELD, Mark.FAILED)
    ]


def nattch(version: str, calls: str) -> int:
    """Return the attachments of segment A that are left when the program has ended."""
    (program,) = parse(calls.replace("; ", "\n"))
    return predict(program, kernel(version)).nattch_after_exit["A"]


def judged(name: str) -> Any:
    """Return what every small address space says about a kernel's rule (a second, once)."""
    from vmakernel import explore

    return explore.judge(kernel(name))


AROUND: Final[dict[str, Any]] = {
    one.__name__: one
    for one in (about_close, asked, checked, judged, kernel, nattch, situation, under)
} | {
    "CASES": CASES,
    "MOMENTS": MOMENTS,
    "RULES": RULES,
    "maps": maps,
    "patch": patch,
    "recorded": recorded,
}


# --- a question -----------------------------------------------------------------------------------


class Question:
    """One question as it is written down; what is right is computed when it is asked for."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data
        self.id: str = data["id"]
        self.kind = Kind(data["kind"])
        self.kernels: list[str] = data.get("kernels", [])
        self.scenario: str = data.get("scenario", "")
        self.template: str = data.get("template", "{}")

    @property
    def lesson(self) -> str:
        """The two digits of the lesson it belongs to."""
        return self.id[:2]

    @cached_property
    def _around(self) -> dict[str, Any]:
        around = {**AROUND, "scenario": self.scenario}
        if self.scenario and self.kernels:
            around["told"] = under(self.kernels[0], self.scenario)
        if "given" in self.data:
            around["it"] = eval(self.data["given"], around)
        return around

    def value(self, expression: str, **more: Any) -> Any:
        """Return what an expression of the bank gives; for the course's own text alone."""
        return eval(expression, {**self._around, **more})

    def filled(self, text: str, **more: Any) -> str:
        """Return `text` with its {expressions} computed."""
        return re.sub(r"\{([^{}]+)\}", lambda found: str(self.value(found[1], **more)), text)

    @cached_property
    def text(self) -> str:
        """What is asked."""
        return self.filled(self.data["text"].strip())

    @cached_property
    def because(self) -> str:
        """What is said to the right answer."""
        return self.filled(self.data["because"].strip())

    @cached_property
    def key(self) -> list[str]:
        """The right options, in order; to `find`, right answers that are known."""
        if self.kind is Kind.LAYOUT:
            return [under(self.kernels[0], self.scenario).layout.rstrip(".") or "."]
        if self.kind is Kind.ORDER:
            return [str(piece) for piece in self.value("it")]
        if self.kind is Kind.FIND:
            return [str(one) for one in self.data["right"]]
        return [option.text for option in self.options if option.right]

    @cached_property
    def options(self) -> list[Option]:
        """What there is to choose from, in an order that does not tell."""
        rows: list[dict[str, Any]] = self.data.get("options", [])
        if self.kind is Kind.FIND:
            return []
        if self.kind in (Kind.LAYOUT, Kind.ORDER):
            found = [self._option(row, right=False) for row in rows]
            found += [Option(text, True) for text in self.key]
        elif self.kind is Kind.DIFFERENCE:
            found = [self._option(row, self.differ(row["scenario"])) for row in rows]
        else:
            found = [self._option(row, bool(self.value(row["claim"]))) for row in rows]
        return self._shuffled(found)

    def _option(self, row: Mapping[str, Any], right: bool) -> Option:
        told = [self.filled(row.get(name, "")) for name in ("text", "misconception", "reply")]
        scenario, pair = row.get("scenario", ""), row.get("pair", "")
        return Option(told[0] or scenario, right, told[1], told[2], scenario, pair)

    def _shuffled(self, options: list[Option]) -> list[Option]:
        """Return numbers by size, all else by lot, always the same; rivals stand together."""
        if all(re.match(r"\d+\b", option.text) for option in options):
            return sorted(options, key=lambda option: int(re.split(r"\D", option.text)[0]))

        def lot(text: str) -> str:
            return hashlib.sha256(f"{self.id} {text}".encode()).hexdigest()

        drawn = sorted(options, key=lambda one: (lot(one.pair or one.text), lot(one.text)))
        while self.kind is Kind.ORDER and [one.text for one in drawn if one.right] == self.key:
            drawn = (
                drawn[-1:] + drawn[:-1] if len({one.pair for one in drawn}) == 1 else drawn[::-1]
            )
        return drawn

    def differ(self, scenario: str) -> bool:
        """True where the two kernels leave other VMAs, or lose other calls."""
        one, two = (under(version, scenario) for version in self.kernels)
        return (one.layout, one.lost) != (two.layout, two.lost)

    def shown(self, option: Option) -> str:
        """Return an option as it is written in a list."""
        if self.kind is not Kind.ORDER:
            return option.text
        rivals = {one.pair for one in self.options if one.pair}
        if not option.pair and option.text not in rivals:
            return option.text
        group = option.pair or option.text
        first = next(one for one in self.options if group in (one.pair, one.text))
        return f"{'either' if option is first else 'or'}: {option.text}"

    @cached_property
    def listing(self) -> list[str]:
        """The options, each with its letter."""
        pairs = zip(LETTERS, self.options, strict=False)
        return [f"{letter}) {self.shown(option)}" for letter, option in pairs]

    def __str__(self) -> str:
        lines = [self.text, *self.listing]
        if self.kind is Kind.FIND:
            lines.append(self.template.replace("{}", "..."))
        return "\n".join(lines)

    # --- judging ---

    def judge(self, answer: str | Sequence[str]) -> Judged:
        """Say whether `answer` holds, and reply: a letter, several, a text, or what is to be typed.

        Raises NotationError or SpaceError where it is no answer.
        """
        if self.kind is Kind.FIND:
            return self._found(answer)
        chosen = self.read(answer)
        if self.kind is Kind.ORDER:
            return self._ordered(chosen)
        if self.kind is Kind.DIFFERENCE:
            return self._told_apart(chosen)
        (option,) = chosen
        return Judged(self._said(chosen), option.right, self._reply(option), self.evidence)

    def read(self, answer: str | Sequence[str]) -> list[Option]:
        """Return the options that an answer names, by letter or by text. Raises QuizError."""
        letters = LETTERS[: len(self.options)]
        by_name = dict(zip(letters, self.options, strict=True))
        by_name |= {option.text: option for option in self.options}
        if isinstance(answer, str):
            whole = answer.strip()
            words = [whole] if whole in by_name else re.split(r"[\s,;]+", whole.strip(",; "))
            if len(words) == 1 and whole not in by_name and set(whole) <= set(letters):
                words = list(whole)
        else:
            words = [str(word).strip() for word in answer]
        strange = [word for word in words if word not in by_name]
        one = self.kind in (Kind.CHOICE, Kind.LAYOUT)
        if strange or not words:
            what = f"{strange[0][:40]!r} is none of the options: " if strange and strange[0] else ""
            form = "a letter" if one else "letters"
            raise QuizError(f"{what}answer with {form} from {letters[0]} to {letters[-1]}")
        chosen = [by_name[word] for word in words]
        if len(chosen) != len(set(chosen)):
            raise QuizError("the same option stands there twice: name it once")
        if one and len(chosen) > 1:
            raise QuizError(f"choose one option, not {len(chosen)}")
        return chosen

    def _said(self, chosen: Sequence[Option]) -> str:
        return ", ".join(map(self.lettered, chosen))

    def lettered(self, option: Option) -> str:
        """Return an option as it is listed, with its letter."""
        return self.listing[self.options.index(option)]

    def _reply(self, option: Option) -> list[str]:
        if option.right:
            return [self.because]
        return [f"Behind it: {option.misconception}.", option.reply]

    @cached_property
    def others(self) -> list[str]:
        """What is behind each answer that is wrong, and the reply to it."""
        if self.kind is Kind.FIND:
            typed = [
                (f"`{row['answer']}`", self.judge(row["answer"])) for row in self.data["wrong"]
            ]
            return [f"{Mark.FAILED} {said}. {' '.join(judged.lines)}" for said, judged in typed]
        return [
            f"{Mark.FAILED} {self.lettered(one)}. {' '.join(self._reply(one))}"
            for one in self.options
            if not one.right
        ]

    @cached_property
    def evidence(self) -> list[str]:
        """What the engine makes of the scenario that was asked about."""
        return self._shows(self.scenario) if self.scenario else []

    def _shows(self, scenario: str) -> list[str]:
        return [line for version in self.kernels for line in shows(under(version, scenario))]

    def _told_apart(self, chosen: Sequence[Option]) -> Judged:
        wrong = [option for option in chosen if not option.right]
        missed = [option for option in self.options if option.right and option not in chosen]
        lines = [] if wrong or missed else [self.because]
        lines += [line for option in wrong for line in self._reply(option)]
        lines += [f"Not the same, and you left it out: {option.text}." for option in missed]
        # Of each scenario in question, how it ends; the checks would be too many.
        told = [line for one in wrong + missed or chosen for line in self._ends(one)]
        return Judged(self._said(chosen), not (wrong or missed), lines, told)

    def _ends(self, option: Option) -> list[str]:
        ends = [shows(under(version, option.scenario))[0] for version in self.kernels]
        return [f"{option.text}: {option.scenario}", *[f"  {end}" for end in ends]]

    def _ordered(self, chosen: Sequence[Option]) -> Judged:
        said = self._said(chosen)
        strangers = [option for option in chosen if not option.right]
        pieces = [option.text for option in chosen if option.right]
        if not strangers and pieces == self.key:
            return Judged(said, True, [self.because], self.evidence)
        lines = [line for option in strangers for line in self._reply(option)]
        known = [piece for piece in self.key if piece in pieces]
        if pieces != known:
            first = next(i for i in range(len(known)) if known[i] != pieces[i])
            misplaced = self.data["misplaced"]
            lines += [f"{known[first]} comes before {pieces[first]}."]
            lines += self._reply(Option("", False, misplaced["misconception"], misplaced["reply"]))
        if len(known) < len(self.key) and not strangers:
            lines += [f"Something is missing: {len(known)} of {len(self.key)} pieces are there."]
        return Judged(said, False, lines, [])

    def _found(self, answer: str | Sequence[str]) -> Judged:
        if not isinstance(answer, str) or not answer.strip():
            raise QuizError("type an answer first, such as " + self.data["such"])
        if len(answer) > LONGEST:
            raise QuizError(f"that is long: an answer of at most {LONGEST} characters will do")
        typed = answer.strip()
        scenario = self.template.replace("{}", typed)
        told, evidence = under(self.kernels[0], scenario), self._shows(scenario)
        if self.value(self.data["claim"], told=told, typed=typed):
            return Judged(typed, True, [self.because], evidence)
        for row in self.data["wrong"]:
            if self.value(row["when"], told=told, typed=typed):
                reply = self.filled(row["reply"], told=told)
                behind = Option(typed, False, row["misconception"], reply)
                return Judged(typed, False, self._reply(behind), evidence)
        return Judged(typed, False, ["Not yet. This is what it does:"], evidence)


def shows(told: Told) -> list[str]:
    """Return what a kernel makes of a scenario: its layout, why, and the checks that decided."""
    step: Step = told.last
    lines = [f"{told.kernel}: {told.layout}, {verdict(told.kernel, step)}"]
    if step.leaked:
        lines[0] += f"; {owed(step)}"
    return lines + questions(told.kernel, step.result.outcome)


# --- the bank -------------------------------------------------------------------------------------


@cache
def bank() -> dict[str, Question]:
    """Return all questions by id, in order."""
    rows = tomllib.loads(BANK.read_text(encoding="utf-8"))["question"]
    return {row["id"]: Question(row) for row in rows}


def find(name: str) -> Question:
    """Return a question. Raises QuizError, naming those whose id is like it."""
    if name not in bank():
        close = difflib.get_close_matches(str(name), bank(), n=1, cutoff=0.4)
        hint = f": did you mean {close[0]}?" if close else f": they begin like {next(iter(bank()))}"
        raise QuizError(f"there is no question {str(name)[:40]!r}{hint}")
    return bank()[name]


def of_lesson(lesson: str) -> list[Question]:
    """Return the questions of a lesson, such as "05". Raises QuizError."""
    found = [question for question in bank().values() if question.lesson == lesson]
    if not found:
        known = sorted({question.lesson for question in bank().values()})
        raise QuizError(
            f"there is no lesson {str(lesson)[:10]!r} with questions: write two digits "
            f'in quotes, from "{known[0]}" to "{known[-1]}"'
        )
    return found
