"""The map of a course: what needs what, from the course's own table.

A face. Each lesson stands below all that it needs; an arrow that others imply is left out.
"""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vmakernel.draw import MARGIN, Picture, Sheet

WIDE: Final = 190
HIGH: Final = 46
GAP: Final = 24  # between boxes side by side
STEP: Final = 30  # between rows
THIN: Final = 10  # room for an arrow that passes a row


def course_map(table: str | Path = "lessons.toml") -> Picture:
    """Draw what each lesson of a table needs; see notebooks/lessons.toml for its form.

    Raises OSError, tomllib.TOMLDecodeError, KeyError.
    """
    rows = tomllib.loads(Path(table).read_text(encoding="utf-8"))["lesson"]
    lessons: dict[str, dict[str, Any]] = {row["file"][:2]: row for row in rows}
    needs = {number: set(row["needs"]) for number, row in lessons.items()}
    arrows = {(one, other) for one, all_ in needs.items() for other in _direct(needs, all_)}
    sheet = Sheet()
    places = _places(needs, arrows)
    sheet.width = max(x for x, _ in places.values()) + WIDE // 2 + MARGIN
    for one, other in sorted(arrows):
        _arrow(sheet, places, other, one)
    for number, row in lessons.items():
        x, y = places[number]
        sheet.rect(x - WIDE // 2, y, WIDE, HIGH, ' class="vk-paper"')
        words = textwrap.wrap(f"{number} {row['title']}", 24)
        for line, text in enumerate(words):
            kind = "vk-head vk-mid"
            sheet.text(x, y + (19 if len(words) == 1 else 14) + 14 * line, text, kind)
        sheet.text(x, y + 41, f"{row['minutes']} minutes", "vk-small vk-mid")
    sheet.y = max(y for _, y in places.values()) + HIGH
    told = [
        f"{number} {row['title']} needs {', '.join(row['needs']) or 'nothing'}"
        for number, row in lessons.items()
    ]
    return sheet.picture("What needs what", f"What needs what: {'; '.join(told)}.")


def _direct(needs: Mapping[str, set[str]], wanted: set[str]) -> set[str]:
    """Return those of `wanted` that no other of them needs already."""
    return wanted - {far for near in wanted for far in _all(needs, near)}


def _all(needs: Mapping[str, set[str]], number: str) -> set[str]:
    """Return all that a lesson needs, and what that needs, and so on."""
    return needs[number].union(*[_all(needs, near) for near in needs[number]])


def _places(
    needs: Mapping[str, set[str]], arrows: set[tuple[str, str]]
) -> dict[str, tuple[int, int]]:
    """Return where the top of each box is, and where an arrow (``06>13@4``) passes a row."""
    depth: dict[str, int] = {}
    for number in needs:  # earlier lessons come first
        depth[number] = 1 + max([depth[other] for other in needs[number]], default=-1)
    above: dict[str, list[str]] = {number: [] for number in needs}
    rows: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for number in needs:
        rows[depth[number]].append(number)
    for one, other in sorted(arrows):
        last = other
        for row in range(depth[other] + 1, depth[one]):
            passing = f"{other}>{one}@{row}"
            above[passing] = [last]
            rows[row].append(passing)
            last = passing
        above[one].append(last)
    x: dict[str, float] = {}
    for names in rows:
        names.sort(key=lambda name: sum(x[up] for up in above[name]) / max(len(above[name]), 1))
        at = 0.0
        for name in names:
            wide = THIN if ">" in name else WIDE
            x[name] = at + wide / 2
            at += wide + GAP
        # Stand below what they need, as far as the row allows.
        ups = [x[up] for name in names for up in above[name]]
        shift = sum(ups) / len(ups) - (at - GAP) / 2 if ups else 0
        for name in names:
            x[name] += shift
    left = min(x[name] - (THIN if ">" in name else WIDE) / 2 for name in x)
    return {
        name: (round(x[name] - left) + MARGIN, MARGIN + row * (HIGH + STEP))
        for row, names in enumerate(rows)
        for name in names
    }


def _arrow(sheet: Sheet, places: Mapping[str, tuple[int, int]], start: str, end: str) -> None:
    """Draw from the bottom of one box to the top of another, past what lies between."""
    (x, y), (to_x, to_y) = places[start], places[end]
    path = f"M{x} {y + HIGH}"
    for name, (at, top) in places.items():
        if name.startswith(f"{start}>{end}@"):
            path += f"L{at} {top}L{at} {top + HIGH}"
    path += f"L{to_x} {to_y}M{to_x - 4} {to_y - 7}L{to_x} {to_y}L{to_x + 4} {to_y - 7}"
    sheet.parts.append(f'<path style="stroke-opacity:1" d="{path}"/>')
