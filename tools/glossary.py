"""The terms of the course, and a link to each at its first use in every lesson.

notebooks/glossary.toml holds them; tools/index.py makes glossary.ipynb from it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from nbformat import NotebookNode

from tools.notebooks import LESSONS

TABLE: Final = LESSONS / "glossary.toml"
PAGE: Final = "glossary.ipynb"
_OURS: Final = re.compile(rf"\[([^\]]*)\]\({re.escape(PAGE)}#[^)]+\)")
# What stays as it is: code, headings, tables, pictures and links, HTML.
_LEFT_ALONE: Final = re.compile(
    r"^```.*?^```|^(?:    |#+ |\|)[^\n]*$|!?\[[^\]]*\]\([^)]*\)|<[^>\n]+>|https?://\S+", re.M | re.S
)
_CODE: Final = re.compile(r"`[^`\n]+`")


class Term(NamedTuple):
    """One entry of the glossary; the fields are explained in its file."""

    name: str
    says: str
    taught: str
    also: tuple[str, ...] = ()
    quiet: bool = False
    holds: str = ""

    @property
    def anchor(self) -> str:
        """The id that JupyterLab and nbconvert give to its heading."""
        return self.name.replace(" ", "-")

    @property
    def cell(self) -> str:
        """The id of its cell in the glossary."""
        return "term-" + "-".join(re.findall("[a-z0-9]+", self.name.lower()))

    @property
    def words(self) -> tuple[str, ...]:
        """What is linked to it."""
        return self.also if self.quiet else (self.name, *self.also)


@cache
def terms() -> tuple[Term, ...]:
    """Return all terms, in the order of the alphabet; ValueError, naming one that is wrong."""
    rows: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["term"]
    return tuple(sorted(checked(rows), key=lambda term: term.name.casefold()))


def checked(rows: Iterable[dict[str, Any]]) -> Iterator[Term]:
    """Give the terms that the rows of a table are; ValueError, naming the term, if one is wrong."""
    linked: dict[str, str] = {}
    for row in rows:
        name = row.get("name", "?")
        if strange := sorted(set(row) - set(Term._fields)):
            raise ValueError(f"{TABLE.name}: the term {name} has a {strange[0]}, which no term has")
        if missing := [field for field in ("name", "says", "taught") if not row.get(field)]:
            raise ValueError(f"{TABLE.name}: the term {name} lacks {missing[0]}")
        if broken := re.search(r"[()\[\]<>#]", name):
            raise ValueError(
                f"{TABLE.name}: the term {name} has {broken[0]!r} in its name, where a link to it "
                "would end: put such a word into `also`"
            )
        # A lesson by its number, any other notebook by its name.
        if not any(LESSONS.glob(f"{row['taught']}{'-*' * row['taught'].isdecimal()}.ipynb")):
            raise ValueError(
                f"{TABLE.name}: the term {name} is taught in {row['taught']}, which is no lesson"
            )
        term = Term(**{**row, "also": tuple(row.get("also", ()))})
        for word in term.words:
            if linked.setdefault(word.casefold(), name) != name:
                raise ValueError(
                    f"{TABLE.name}: {word!r} is linked to {linked[word.casefold()]} and to {name}"
                )
        yield term


def link(cells: Iterable[NotebookNode]) -> None:
    """Link the first use of every term in cells written by hand; twice is as once."""
    written = [
        cell
        for cell in cells
        if cell.cell_type == "markdown" and "made" not in cell.metadata.get("tags", [])
    ]
    for cell in written:
        cell.source = _OURS.sub(r"\1", cell.source)
    for term in sorted(terms(), key=lambda term: -max(map(len, term.words))):
        for cell in written:
            if span := first(cell.source, term):
                start, end = span
                text = cell.source
                linked = f"[{text[start:end]}]({PAGE}#{term.anchor})"
                cell.source = text[:start] + linked + text[end:]
                break


def first(text: str, term: Term) -> tuple[int, int] | None:
    """Return where `text` first uses the term outside headings, code, tables and links."""
    taken = [match.span() for match in _LEFT_ALONE.finditer(text)]
    code = [match.span() for match in _CODE.finditer(text)]
    found = []
    for word in term.words:
        for match in re.finditer(_pattern(word), text, re.I):
            start, end = match.span()
            within = taken if word.startswith("`") else taken + code
            if not any(low < end and start < high for low, high in within):
                found.append((start, -end))
                break
    if not found:
        return None
    start, end = min(found)
    return start, -end


def _pattern(word: str) -> str:
    """Return the pattern for a word that stands by itself; lines may break inside."""
    inner = r"\s+".join([re.escape(part) for part in word.split()])
    return inner if word[0] in "`*" else rf"(?<![\w`*>.-]){inner}(?![\w`-]|\()"
