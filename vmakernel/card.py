"""Cards for a class: a question to vote on, and on the back its key and what each option believes.

Previous: quiz_widgets.py. A card is a question of the bank and holds nothing of its own.
"""

from __future__ import annotations

from typing import Final

from vmakernel import draw
from vmakernel.quiz import Kind, QuizError, find
from vmakernel.quiz_widgets import Quiz

VOTE: Final = "Vote in silence. Then convince your neighbour. Then vote again."
# Each side is a page on paper.
STYLE: Final = (
    ".vk-side{border:1px solid var(--jp-border-color1,#999);padding:.5em 1.2em;margin-bottom:1em}"
    "@media print{.vk-side{border:0;font-size:14pt;break-after:page;break-inside:avoid}"
    ".vk-side svg.vk{max-height:9cm}}"
)


class Card:
    """One card, `front` and `back` as HTML; the repr is both sides in plain text.

    Raises QuizError where there is no such question, or where one letter does not answer it.
    """

    def __init__(self, name: str) -> None:
        self.question = find(name)
        if self.question.kind not in (Kind.CHOICE, Kind.LAYOUT):
            raise QuizError(
                f"{name} is no card: a class votes with one letter, so take a question whose "
                f"kind is {Kind.CHOICE} or {Kind.LAYOUT}"
            )
        self.quiz = Quiz(self.question)

    @property
    def letter(self) -> str:
        """The letter of the right option."""
        (key,) = self.question.key
        texts = [option.text for option in self.question.options]
        return self.question.listing[texts.index(key)][0]

    @property
    def front(self) -> str:
        """The question, its picture where there is a layout, and the options with their letters."""
        picture = ""
        if self.question.kind is Kind.CHOICE and self.question.scenario:
            picture = draw.before_after(self.question.scenario).svg
        return f"{picture}{self.quiz.front}<p><i>{VOTE}</i></p>"

    @property
    def back(self) -> str:
        """The key and the reply to every other option; the picture of what happens."""
        picture = ""
        if self.question.scenario and self.question.kernels:
            picture = draw.before_after(self.question.scenario, self.question.kernels[0]).svg
        return f"<p><b>Answer: {self.letter}</b></p>{self.quiz.back}{picture}"

    def __repr__(self) -> str:
        wrong = [one for one in self.question.options if not one.right]
        told = [f"{one.text}: behind it, {one.misconception}. {one.reply}" for one in wrong]
        return "\n".join([str(self.question), f"Answer: {self.letter}", *told])

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        sides = "".join([f'<div class="vk-side">{side}</div>' for side in (self.front, self.back)])
        return {"text/plain": repr(self), "text/html": f"<style>{STYLE}</style>{sides}"}


def card(name: str) -> Card:
    """Return the card of a question, such as "02-a-border-moves". Raises QuizError."""
    return Card(name)
