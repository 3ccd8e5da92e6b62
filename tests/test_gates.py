"""What every notebook is held to beyond its lesson: spelling, links with their anchors, types."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from spellchecker import SpellChecker

from tools.course import ROOT, own_lessons
from tools.notebooks import read

OURS = ROOT / "tests/spelling.txt"
NOTEBOOKS = own_lessons()
PYTHON = sorted([*ROOT.glob("vmakernel/**/*.py"), *ROOT.glob("tools/*.py")])
_WORD = re.compile(r"(?<![\w.])[A-Za-z][a-z']+\b(?![\w.]\w)")
_LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:href|src)=\"([^\"]+)\"")


def prose() -> Iterator[tuple[str, str]]:
    """Every text of ours, and where it stands."""
    for path in NOTEBOOKS:
        for cell in read(path).cells:
            if cell.cell_type == "markdown":
                yield f"{path.name}, {cell.id}", cell.source
    for path in sorted(ROOT.glob("*.md")):
        yield path.name, path.read_text("utf-8")
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                yield f"{path.name}, {getattr(node, 'name', '')}", ast.get_docstring(node) or ""


def words(text: str) -> set[str]:
    """The words of a text, without what is code, a link or a tag."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>|^    .*$", " ", text, flags=re.S | re.M)
    return {re.sub(r"'s?$", "", word.strip("'")).casefold() for word in _WORD.findall(text)}


def misspelt(texts: Iterator[tuple[str, str]]) -> list[str]:
    """The words that neither the word list nor ours has, with the places where they stand."""
    ours = {line for line in OURS.read_text("utf-8").split() if line.isalpha()}
    there = {where: words(text) for where, text in texts}
    known = SpellChecker(language="en")
    unknown = known.unknown(set().union(*there.values()) - ours)
    return [
        f"{where}: {word}"
        for where, found in there.items()
        for word in sorted(found & unknown)
        if len(word) > 2
    ]


def test_every_word_is_spelt_right() -> None:
    assert misspelt(prose()) == []


def test_a_misspelt_word_is_found() -> None:
    assert misspelt(iter([("here", "The kernel mergse two neighbours.")])) == ["here: mergse"]


def anchors(path: Path) -> set[str]:
    """What a link into a notebook or a text may name behind the #."""
    if path.suffix == ".ipynb":
        text = "\n".join([c.source for c in read(path).cells if c.cell_type == "markdown"])
    else:
        text = path.read_text("utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    named = re.findall(r"<a (?:id|name)=\"([^\"]+)\"", text)
    return {*named, *(head.replace(" ", "-") for head in heads)} | {
        re.sub(r"[^\w -]", "", head).replace(" ", "-").casefold() for head in heads
    }


@pytest.mark.parametrize("path", [*NOTEBOOKS, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_to_a_file_and_to_a_heading_in_it(path: Path) -> None:
    if path.suffix == ".ipynb":
        text = "\n".join([c.source for c in read(path).cells if c.cell_type == "markdown"])
    else:
        text = path.read_text("utf-8")

    for target in [one or other for one, other in _LINK.findall(text)]:
        if target.startswith(("http", "mailto")):
            assert re.fullmatch(r"https://[\w.-]+\.\w+(/[\w./~%@+=&?#:-]*)?", target), target
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name) if name else path
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_code_of_the_lessons_has_the_types_it_should(tmp_path: Path) -> None:
    modules = []
    for path in NOTEBOOKS:
        if path.parent.name == "notebooks":
            module = tmp_path / f"lesson_{path.stem.replace('-', '_')}.py"
            module.write_text(code_of(path), encoding="utf-8")
            modules.append(module)
    told = typed(*modules)

    assert told == ""


def test_a_wrong_type_in_a_lesson_is_found(tmp_path: Path) -> None:
    module = tmp_path / "wrong.py"
    module.write_text("from vmakernel.lesson import under\n\nunder(6.3, 7).layuot\n", "utf-8")

    assert "layuot" in typed(module)


def code_of(path: Path) -> str:
    """The code of a notebook as one module; names of cells are comments, to be found by."""
    parts = [
        f"# {cell.id}\n" + re.sub(r"^[ ]*[!%?].*$|^[\w.]+\?+$", "pass", cell.source, flags=re.M)
        for cell in read(path).cells
        if cell.cell_type == "code"
    ]
    return "\n\n".join(parts) + "\n"


def typed(*modules: Path) -> str:
    """What mypy says against modules, with the line; '' if nothing."""
    # A lesson may use a name anew; and where a value is None after all, the cell fails when run.
    command = [sys.executable, "-m", "mypy", "--config-file=", "--python-version=3.11"]
    command += [
        "--check-untyped-defs",
        "--no-strict-optional",
        "--disable-error-code=var-annotated",
        "--allow-redefinition-new",
        "--local-partial-types",
    ]
    command += ["--no-error-summary", "--ignore-missing-imports", "--cache-dir=.mypy_cache/lessons"]
    done = subprocess.run(
        [*command, *map(str, modules)], cwd=ROOT, text=True, capture_output=True, check=False
    )
    lines = []
    for line in (done.stdout + done.stderr).splitlines():
        name, number = line.split(":")[:2]
        source = next((m for m in modules if name.endswith(m.name)), None)
        shown = source.read_text("utf-8").splitlines()[int(number) - 1] if source else ""
        lines.append(f"{line.rpartition('/')[2]}    {shown.strip()}")
    return "\n".join(lines)


def test_what_a_reader_did_wrong_is_never_told_in_an_exception_of_pythons_own() -> None:
    pythons = {"ValueError", "TypeError", "KeyError", "IndexError", "LookupError", "RuntimeError"}
    found = [
        f"{path.name}:{node.lineno}: raise an InputError"
        for path in sorted(ROOT.glob("vmakernel/**/*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and getattr(node.exc.func, "id", "") in pythons
    ]

    assert found == []
