"""Every commit and every release that a reader meets is that of vmakernel/data/commits.toml."""

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tools.course import ROOT
from tools.notebooks import read
from vmakernel import recorded
from vmakernel.history import COMMITS, TABLE, numbers

TREES = {row["id"]: row["subject"] for row in tomllib.loads(TABLE.read_text("utf-8"))["tree"]}
SUBJECTS = {one.id: one.subject for one in COMMITS.values()} | TREES
# An id, and no part of a message-id, an address in a map or a longer name.
ID = re.compile(r"(?<![\w@.-])(?=\d*[a-f])[0-9a-f]{12}(?![\w@-])")
# What stands between an id and the releases it is said to be in, once its subject is left out.
RELEASE = r"\d\.\d+(?:\.\d+)?"
SAID = re.compile(
    r"`?(?:,? (?:reported )?by [^,.(]+|,? patch \d+ of \d+|, posted in \w+ \d+| \(\w+ \d{4}"
    r"| mended it)*"
    rf"(?:[,( ]|\b(?:in|from|and|is|Linux|v)\b|v(?=\d))+"
    rf"({RELEASE}(?:(?:[, ]|\b(?:and|in|from|the|stable|lines?)\b)+{RELEASE})*)(?! to )"
)
# The machine on which protection keys were seen to count; no border.
SEEN = {"6.18.44"}


@cache
def texts() -> dict[str, str]:
    """All that is read: notebooks cell by cell, tables, and what stands in a module."""
    found = {}
    for path in [*ROOT.glob("notebooks/*.ipynb"), *ROOT.glob("exercises/**/*.ipynb")]:
        for cell in read(path).cells:
            found[f"{path.relative_to(ROOT)}, {cell.id}"] = cell.source
    files = ["README.md", "exercises/*.md", "notebooks/*.toml", "vmakernel/data/**/*.toml"]
    for pattern in [*files, "vmakernel/**/*.py", "tools/*.py"]:
        for path in ROOT.glob(pattern):
            if path != TABLE:
                found[str(path.relative_to(ROOT))] = path.read_text("utf-8")
    return {where: flat(text) for where, text in found.items()}


def flat(text: str) -> str:
    """A text in one line, with quotation marks as a reader sees them."""
    return re.sub(r"\s+(?:# )?", " ", text.replace('\\"', '"'))


def unknown(text: str) -> list[str]:
    """The ids in a text that the table does not have."""
    return [one for one in ID.findall(text) if one not in SUBJECTS]


def misquoted(text: str) -> list[str]:
    """The subjects beside an id that are not those of the table."""
    beside = re.findall(rf'({ID.pattern})`?,? \(?"([^"]+)"', text)
    return [
        f"{one}: {said}" for one, said in beside if said[:1] != "{" and said != SUBJECTS.get(one)
    ]


def releases(text: str) -> Iterator[tuple[str, str]]:
    """Yield each id with each release that the text says it is in."""
    text = re.sub(rf'({ID.pattern})(`?),? \(?"[^"]+"\)?', r"\1\2", text)
    for match in ID.finditer(text):
        if said := SAID.match(text[match.end() :]):
            yield from [(match[0], one) for one in re.findall(RELEASE, said[1])]


def misdated(text: str) -> list[str]:
    """The releases beside an id that are not those that have it first."""
    return [
        f"{one}: {said}"
        for one, said in releases(text)
        if one in COMMITS and said not in (COMMITS[one].first, *COMMITS[one].stable)
    ]


def borders() -> set[str]:
    """The stable releases that a text may name: of the table, the last before them, recorded."""
    named = {one for commit in COMMITS.values() for one in (commit.first, *commit.stable)}
    known = {version for group in recorded.groups().values() for version in group}
    known |= {version.removesuffix("-standin") for version in recorded.kernels()}
    for version in map(numbers, named):
        *line, last = version
        if len(version) > 2:
            known |= {".".join(map(str, (*line, one))) for one in (last, last - 1)}
        else:
            known.add(".".join(map(str, (*version, 0))))
    return known | SEEN


def unheard_of(text: str) -> list[str]:
    """The stable releases in a text at which nothing is known to change, and none is recorded."""
    # What a distribution calls its kernel is no border.
    text = re.sub(r"\((?:Debian|Ubuntu) [^)]*\)", "", text)
    named = re.findall(r"(?<![\d.@])[5-7]\.\d+\.\d+(?![.\d-])", text)
    return [version for version in named if version not in borders()]


def prose(path: Path) -> str:
    """The docstrings and comments of a module."""
    source = path.read_text("utf-8")
    nodes = [
        n
        for n in ast.walk(ast.parse(source))
        if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef)
    ]
    words = [ast.get_docstring(node) or "" for node in nodes]
    return flat("\n".join(words + re.findall(r"#.*", source)))


def test_every_commit_is_in_the_table() -> None:
    assert [f"{where}: {one}" for where, text in texts().items() for one in unknown(text)] == []
    assert unknown("as 4c6759967827 said") == ["4c6759967827"]
    assert sum(len(ID.findall(text)) for text in texts().values()) > 150


def test_every_quoted_subject_is_that_of_the_table() -> None:
    assert [f"{where}: {one}" for where, text in texts().items() for one in misquoted(text)] == []
    assert misquoted('Commit `7e7757876f25`, "mm/mremap: fix case 3", mends it')
    quoted = [text for text in texts().values() if re.search(rf'{ID.pattern}`?,? \(?"', text)]
    assert len(quoted) > 10


def test_every_commit_is_said_to_be_in_the_releases_of_the_table() -> None:
    assert [f"{where}: {one}" for where, text in texts().items() for one in misdated(text)] == []
    assert sum(len(list(releases(text))) for text in texts().values()) > 40


@pytest.mark.parametrize(
    "wrong",
    [
        "Commit `fc0c8f9089c2`, in Linux 6.7: the repair",
        'Commit `fc0c8f9089c2`, "mm, mmap: fix vma_merge() case 7" (Linux 6.9).',
        "`fc0c8f9089c2` (6.8, stable 6.6.23 and 6.7.12) asks",
        "`d014cd7c1c35` (in 6.2, and in the stable line from 6.1.12 on)",
        "`61f67c230a5e` and `6f12be792fde` mended it in 6.1.4 and 6.2",
        "`4bfbe371dbc5`, patch 10 of 10 (Linux 6.5).",
        "714965ca8252, posted in March 2023 and in 6.3.",
        "1da177e4c3f4 (v2.6.13)",
        "Commit `e86f15ee64d8`, by Andrea Arcangeli (October 2016, in Linux 4.8): turned round",
        "became commit `714965ca8252` and is in Linux 6.5. Here",
    ],
)
def test_a_wrong_release_is_found(wrong: str) -> None:
    assert len(misdated(wrong)) == 1


def test_every_stable_release_that_is_named_is_a_border_or_recorded() -> None:
    found = [
        f"{where}: {one}"
        for where, text in texts().items()
        if not where.endswith(".py")
        for one in unheard_of(text)
    ]
    found += [
        f"{path.name}: {one}"
        for path in ROOT.glob("vmakernel/**/*.py")
        for one in unheard_of(prose(path))
    ]

    assert found == []
    assert unheard_of("to 6.6.22, and from 6.6.24 on") == ["6.6.22"]


def test_every_row_says_where_it_was_read() -> None:
    assert all(commit.read and commit.subject and commit.first for commit in COMMITS.values())
    assert all(len(one) == 12 for one in SUBJECTS)


def test_what_is_not_sure_is_told_to_no_reader() -> None:
    unsure = {one.id for one in COMMITS.values() if not one.sure}
    told = {where: set(ID.findall(text)) & unsure for where, text in texts().items()}

    assert unsure
    assert [where for where, ids in told.items() if ids and not where.endswith(".py")] == []


@pytest.mark.parametrize(
    "outdated",
    [
        "as far as we know",
        "6.7.y",
        "an early 6.1 stable",
        "all VMAs of one file share",
        "Stable releases are fed by it",
        "6.13 closed it",
        "gone by 6.18",
        "4c6759967826",
    ],
)
def test_what_was_wrong_once_stays_away(outdated: str) -> None:
    assert [where for where, text in texts().items() if outdated in text] == []
