"""Tie what the lessons say to what is checked: every claim is quoted by the cell that checks it.

``.venv/bin/python -m tools.claims [NN ...]`` prints, for each lesson, its claims, how many of them
are anchored, and those that are not, each with the quote that would anchor it.

A *claim* is a sentence with a number, a version, a commit id, or one of the words in `DECIDES`
(never, only, refuses, vanishes ...). Free are questions, headings, what is `written as code`,
numbers of lessons, and sentences that begin by telling the reader what to do.

A claim is *anchored* when each of these words stands in a quote. A quote is a comment in a cell
tagged `claim` of the same section, beside the assertion that checks it ("..." skips words):

    # "Three VMAs", "The first call split one VMA into three"
    assert len(under("6.3", there_and_back).vmas) == 3

The numbers of a quote must be in the code of that cell. What no engine can compute, because it
happened on a list or stands in a kernel's source, is quoted in notebooks/sources.toml, with the
place where it can be read. Commits are known, with the releases that have them first
(vmakernel/data/commits.toml). Head and foot of a lesson, and what was learned, may be anchored by
any of its cells. A quote that no longer stands in the text is an error too, so that a sentence and
its check change together.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final, NamedTuple

from nbformat import NotebookNode

from tools import lessons
from tools.notebooks import LESSONS, read
from vmakernel.history import COMMITS

SOURCES: Final = LESSONS / "sources.toml"
# Made from elsewhere, and held to it by tests of their own.
MADE: Final = {"made", "recall", "quiz"}
MAP: Final = "lessons-map"
# Sections about the course itself: how to work, where to find help, what to think about.
FREE: Final = {"How to work through it", "The lessons", "When you are stuck", "Be the author"}
ANYWHERE: Final = {"head", "learned", "foot"}

_WORDS = "zero one two three four five six seven eight nine ten eleven twelve"
NUMBERS: Final = {word: str(n) for n, word in enumerate(re.findall(r"\w+", _WORDS))}
# Words that a wrong sentence would differ in.
DECIDES: Final = re.compile(
    "never|always|nobody|nothing|none|neither|both|twice|every|only|refuses?|refused|merges|merged|"
    "vanish|vanishes|vanished|loses?|lost|leaks|leaked|safe|minimal|hundred|thousand|million"
)
# What a sentence must speak of for these words to be a claim; a short answer needs nothing.
_ABOUT = re.compile(
    r"\b(?:VMAs?|merg\w+|close|cases?|prev|next|curr|neighbours?|kernels?|Linux|calls?|segments?|"
    r"rules?|patch|fix|flags|pages?|ranges?|growth|leaks?|attach\w*|owners?|asked|map\w*|[PCN])\b|"
    r"`|\d\.\d|^\S+(?: \S+)?$"
)
# "One" counts where it counts something; a one-minute check or "one of them" does not.
_TOKEN = re.compile(
    r"\b[0-9a-f]{12}\b|\d+(?:[.,_]\d+)*(?:\.y)?|[A-Za-z]+(?:-[a-z]+)*",
)
_LESSON = re.compile(
    r"\bexercises? \d\.\d+|\blessons? \d\d(?:(?:,| and| or| to|, and) \d\d)*|\b0\d\b", re.I
)
# "The two" and "these three" were counted before.
_COUNTED = re.compile(r"\b(?:the|these|those|its|other|all|of) $", re.I)
_TELLS = re.compile(
    r"(?:\d\. )?(?:Then |Now |And |So |But |First |Before [^,.]*, |Or |Once |In a hurry\? )*"
    r"(?:apply|ask|attach|begin|build|change|choose|click|commit|compare|count|do|find|follow|forget|give|"
    r"guess|hold|imagine|keep|let|look|make|mend|mind|note|play|predict|press|put|read|remember|run|"
    r"say|see|set|sign|step|suppose|switch|take|think|tick|try|turn|unfold|write)\b",
    re.I,
)


class Sentence(NamedTuple):
    """One sentence of a lesson, without its marks, and the cell that it stands in."""

    text: str
    cell: str
    section: int

    @property
    def tokens(self) -> list[re.Match[str]]:
        """The words in it that claim something."""
        blind = blinded(self.text)
        if blind.endswith(("?", "?*")) or _TELLS.match(blind.lstrip("*\"'(")):
            return []
        about = bool(_ABOUT.search(blind))
        return [match for match in _TOKEN.finditer(blind) if claims(match, about)]


def claims(match: re.Match[str], about: bool) -> bool:
    """Tell whether a word of a sentence (about the kernel or not) is part of a claim."""
    word = match[0].casefold()
    if word[0].isdigit():
        return True
    if re.fullmatch("[0-9a-f]{12}", word) and re.search(r"\d", word):
        return True
    if word in ("one", "zero"):
        behind = match.string[match.end() :]
        return bool(re.match(r"\.|,? (VMAs?|calls?|lines?|ways?|pages?|cases?)\b", behind))
    if word in NUMBERS:
        return not _COUNTED.search(match.string[: match.start()])
    return about and bool(DECIDES.fullmatch(word))


def value(word: str) -> str:
    """Give a number in the one form that prose and code share: three is 3, 106,040 is 106040."""
    plain = word.casefold()
    return NUMBERS.get(plain) or re.sub(r"(?<=\d)[,_](?=\d)", "", plain)


def counts(word: str) -> bool:
    """Tell whether a word is a number that code must have too: one and two are everywhere."""
    return value(word)[0].isdigit() and value(word) not in ("0", "1", "2")


def plain(text: str) -> str:
    """Take away what Markdown and HTML mark; what is `written as code` stays as it is."""
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    parts = re.split(r"(`+[^`]*`+)", text)
    for at in range(0, len(parts), 2):
        marks = r"</?\w+[^>]*>|\*+|(?<!\w)_|_(?!\w)"
        parts[at] = re.sub(marks, "", parts[at]).replace('"', "'")
    return re.sub(r"\s+", " ", "".join(parts).replace('"', "'")).strip()


def blinded(text: str) -> str:
    """Hide what is written as code, unless it is a commit, and the numbers of lessons."""

    def hide(match: re.Match[str]) -> str:
        return "`" * len(match[0])

    text = re.sub(r"`+(?![0-9a-f]{12}`)[^`]*`+", hide, text)
    return _LESSON.sub(hide, text)


def split(source: str) -> Iterator[str]:
    """Cut the text of a cell into sentences."""
    source = re.sub(r"\n*```\w*\s(.*?)\s*```", r" `\1`", source, flags=re.S)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d\. |\||#))", source):
        if re.match(r"\s*(#|\|[-:|\s]+$)", block):
            continue
        text = plain(re.sub(r"^\s*(?:[-*>|] |\d\. )", "", block)).strip("| ")
        ends = r"(?<=[.!?;])[\"')*]*\s+(?=[A-Z\d`\"(*])|(?<=:)\s+(?=[A-Z(*])"
        yield from filter(None, re.split(ends, text))


@dataclass
class Told:
    """What a lesson says, and what its cells and sources.toml quote of it."""

    sentences: list[Sentence] = field(default_factory=list)
    quotes: dict[int, list[str]] = field(default_factory=dict)  # by section; -1 for the sources
    untied: list[str] = field(default_factory=list)  # quotes with a number that no code has

    def quoted(self, sentence: Sentence) -> list[str]:
        """Give the quotes that may anchor a sentence."""
        if sentence.cell in ANYWHERE:
            return [quote for quotes in self.quotes.values() for quote in quotes]
        return self.quotes.get(sentence.section, []) + self.quotes.get(-1, [])

    def loose(self, sentence: Sentence) -> list[re.Match[str]]:
        """List the words of a sentence that claim something and stand in no quote."""
        spans = [span for quote in self.quoted(sentence) for span in spots(quote, sentence.text)]
        spans += recorded(sentence.text)
        return [
            token
            for token in sentence.tokens
            if not any(start <= token.start() and token.end() <= end for start, end in spans)
        ]

    @property
    def claims(self) -> list[Sentence]:
        """The sentences that claim something."""
        return [sentence for sentence in self.sentences if sentence.tokens]

    @property
    def unanchored(self) -> list[Sentence]:
        """The claims of which a word stands in no quote."""
        return [sentence for sentence in self.claims if self.loose(sentence)]

    @property
    def stale(self) -> list[str]:
        """The quotes that stand in no sentence that they could anchor."""
        return [
            quote
            for section, quotes in self.quotes.items()
            for quote in quotes
            if not any(
                spots(quote, one.text)
                for one in self.sentences
                if section in (-1, one.section) or one.cell in ANYWHERE
            )
        ]


@cache
def wording(words: str) -> re.Pattern[str]:
    """Give the pattern that finds these words as whole words, whatever the case of letters."""
    return re.compile(rf"(?<!\w){re.escape(words)}(?!\w)", re.I)


def spots(quote: str, text: str) -> list[tuple[int, int]]:
    """Find where the parts of a quote stand in a sentence, in their order; [] if one does not."""
    if " " not in quote:  # an answer of one word is quoted whole, or it would fit anywhere
        return [(0, len(text))] if quote.casefold() == text.strip(".,'()").casefold() else []
    found = []
    at = 0
    for part in quote.split("..."):
        words = part.strip()
        match = wording(words).search(text, at)
        if not match:
            return []
        found.append(match.span())
        at = match.end()
    return found


def recorded(text: str) -> list[tuple[int, int]]:
    """Find the commits in a sentence, and the releases that have them first."""
    here = [match for match in re.finditer(r"\b[0-9a-f]{12}\b", text) if match[0] in COMMITS]
    commits = [COMMITS[match[0]] for match in here]
    versions = {version for one in commits for version in (one.first, *one.stable)}
    found = [match.span() for match in here]
    found += [m.span() for m in _TOKEN.finditer(text) if m[0] in versions]
    return found


def quotes(source: str) -> list[str]:
    """Read what the comments of a cell quote."""
    comments = re.findall(r"(?:^|  )# (.*)", source, re.M)
    return [plain(quote) for line in comments for quote in re.findall(r'"([^"]+)"', line)]


def values(cell: NotebookNode) -> set[str]:
    """List the numbers in a cell of code and in what it shows, in the form that prose shares.

    Of a range such as 4-8 also its last page, 7, and its length, 4; of 6.3.8 also 6.3.
    """
    texts = [re.sub(r"(?:^|  )# .*", "", cell.source, flags=re.M)]
    for output in cell.get("outputs", []):
        texts += [output.get("text", ""), output.get("data", {}).get("text/plain", "")]
    code = "\n".join(texts)
    words = re.findall(r"[0-9a-f]{12}|\d+(?:[.,_]\d+)*|[A-Za-z]+", code)
    ranges = [(int(a), int(b)) for a, b in re.findall(r"(?<![\d-])(\d{1,3})-(\d{1,3})(?!\d)", code)]
    found = {value(word) for word in words} | set(re.findall(r"\d+", code))
    found |= {word.rpartition(".")[0] for word in words if word.count(".") > 1}  # 6.3.8 is a 6.3
    return found | {str(b - 1) for _, b in ranges} | {str(b - a) for a, b in ranges}


def sources() -> dict[str, Any]:
    """Read notebooks/sources.toml."""
    return tomllib.loads(SOURCES.read_text(encoding="utf-8"))


def told(lesson: lessons.Lesson, notebook: NotebookNode, known: dict[str, Any]) -> Told:
    """Read what a lesson says and what is quoted of it."""
    found = Told()
    section, free = 0, False
    shown: dict[int, set[str]] = {}
    for cell in notebook.cells:
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code":
            shown.setdefault(section, set()).update(values(cell))
            if "claim" in tags:
                found.quotes.setdefault(section, []).extend(quotes(cell.source))
            continue
        if heading := re.match("## (.+)", cell.source):
            section, free = section + 1, heading[1] in FREE
        if cell.id in ANYWHERE or not (free or tags & MADE or cell.id == MAP):
            found.sentences += [Sentence(s, cell.id, section) for s in split(told_by(cell))]
    everywhere = set().union(*shown.values())
    for section, here in found.quotes.items():
        for quote in here:
            made = not any(spots(quote, s.text) for s in found.sentences if s.section == section)
            values_there = everywhere if made else shown[section]
            found.untied += [
                f"{quote!r} has {token[0]}, and no code beside it does"
                for token in Sentence(quote, "", section).tokens
                if counts(token[0]) and value(token[0]) not in values_there
            ]
    found.quotes[-1] = list(known.get("read", {}).get(lesson.number, {}))
    return found


def told_by(cell: NotebookNode) -> str:
    """Give the text of a cell without the way to other lessons, minutes, and what is to be done."""
    links = r"^.*(?:← |\[contents\]).*$"
    source = re.sub(links, "", str(cell.source), flags=re.M)
    if cell.id == "head":
        source = re.sub(r"\*\*\d+ minutes\*\* · |^- \*\*You.*$", "", source, flags=re.M)
    return source


def main(arguments: list[str]) -> int:
    """Print the claims of the lessons named, or of all; 1 if one is unanchored."""
    known = sources()
    total = missing = 0
    for lesson in lessons.table():
        if arguments and lesson.number not in arguments:
            continue
        here = told(lesson, read(lesson.path), known)
        loose = here.unanchored
        total += len(here.claims)
        missing += len(loose) + len(here.stale) + len(here.untied)
        print(f"{lesson.file}: {len(here.claims)} claims, {len(loose)} unanchored")
        for one in loose:
            words = ", ".join([token[0] for token in here.loose(one)])
            print(f"    {one.cell}: {one.text}\n        # {words}")
        for quote in here.stale:
            print(f"    no sentence says: {quote}")
        for line in here.untied:
            print(f"    {line}")
    print(f"{total} claims, {missing} in want of an anchor")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
