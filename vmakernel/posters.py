"""Posters: the anatomy of a VMA, the rules along the years, and what each of them refuses or loses.

A face; previous: call_pictures.py. Each is computed from the engine and from kernels.py; the eight
cases have their poster in draw.py, the life of an attach is in call_pictures.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from vmakernel.draw import MARGIN, Picture, Scale, Sheet, hatch
from vmakernel.explain import trace
from vmakernel.explore import Judgement, judge
from vmakernel.history import COMMITS, line, numbers
from vmakernel.kernels import (
    MOMENTS,
    RULES,
    Growth,
    Kernel,
    Removal,
    Rule,
    kernel,
    releases,
)
from vmakernel.recorded import CASES, situation
from vmakernel.vma import VMA, parse_vma

LETTER: Final = 7.3  # the width of one, in pixels
SMALL: Final = 6.1


def _columns(sheet: Sheet, places: Sequence[float], words: Iterable[str], kind: str = "") -> None:
    """Write one line of a table, its cells at these places."""
    for x, word in zip(places, words, strict=True):
        sheet.text(x, sheet.y + 12, word, kind)
    sheet.y += 17


# --- the anatomy of a VMA ------------------------------------------------------------------------

EXAMPLE: Final = "V=4-10:rwW,f1@2,c,a1,u1,n1,p1,^4"


class Field(NamedTuple):
    """A field of a VMA: its part of the notation, what it records, and another value for it."""

    notation: str
    records: str
    other: str  # how EXAMPLE could go on, but for this field; "" where nothing is compared


_NEXT: Final = "10-14:rwW,f1@8,a1,u1,n1,p1,^10"

FIELDS: Final = {
    "vm_start": Field("4-", "the first page", ""),
    "vm_end": Field("-10", "the page behind the last", _NEXT.replace("10-14", "11-14")),
    "vm_flags": Field("rwW", "read, write, shared and more", _NEXT.replace("rwW", "rW")),
    "vm_file": Field("f1", "the file; none: anonymous", _NEXT.replace("f1", "f2")),
    "vm_pgoff": Field("@2", "which page of the file comes first", _NEXT.replace("@8", "@9")),
    "vm_ops": Field("c", "the owner's functions; c: has close", _NEXT),
    "anon_vma": Field("a1", "its pages that were written to", _NEXT.replace("a1", "a2")),
    "userfaultfd": Field("u1", "who handles its page faults", _NEXT.replace("u1", "u2")),
    "anon_name": Field("n1", "the name a program gave it", _NEXT.replace("n1", "n2")),
    "policy": Field("p1", "on which node its memory lies", _NEXT.replace("p1", "p2")),
    "anon_pgoff": Field("^4", "its place, as written pages know it", _NEXT),
    "name": Field("V=", "ours; the kernel has none", ""),
}


@lru_cache(maxsize=32)
def stopped_by(field: str) -> str:
    """Say which check refuses a range over this field, and in which kernel; "" where none does.

    6.3 is asked first, then 7.3.
    """
    other = FIELDS[field].other
    if not other:
        return ""
    # Only for vm_ops does V have close: in 6.3 that alone is enough.
    vma = EXAMPLE if field == "vm_ops" else EXAMPLE.replace(",c", "")
    if field == "anon_pgoff":  # a new range has that of its place; with u1 7.3 would stop before it
        vma, other = vma.replace("^4", "^5").replace(",u1", ""), other.replace(",u1", "")
    for version in ("6.3", "7.3"):
        outcome = trace(kernel(version), f"{vma} | new {other}")[0].result.outcome
        assert outcome is not None
        if not outcome.merged:
            asked = outcome.asked
            return f"{asked[0].verdict} ({version})" if asked else f"they do not touch ({version})"
    return ""


def anatomy() -> Picture:
    """Draw one VMA with every field that the engine knows of it, and what each is compared for."""
    title, vma = "The anatomy of a VMA", parse_vma(EXAMPLE)
    sheet = Sheet()
    sheet.width = 720
    sheet.say(f"{title}: {EXAMPLE}", "vk-head")
    sheet.skip(8)
    first = vma.vm_pgoff
    scale = Scale([0, first, vma.vm_start, first + vma.pages, vma.vm_end, 14])
    sheet.text(scale.x(14) + 12, sheet.y + 30, "memory, in pages")
    sheet.row(scale, [vma])
    sheet.ticks(scale, [vma])
    _file_below(sheet, scale, vma)
    places = (MARGIN, 108, 180, 478)
    _columns(
        sheet, places, ("field", "here", "what it records", "the check that can say no"), "vk-head"
    )
    told = []
    for name, field in FIELDS.items():
        stop = stopped_by(name)
        _columns(sheet, places, (name, field.notation, field.records, stop or "–"))
        told.append(
            f"{name} {field.notation}: {field.records}; "
            + (f"the check that can say no: {stop}" if stop else "not compared")
        )
    return sheet.picture(title, f"{title}. {EXAMPLE}. {'. '.join(told)}.")


def _file_below(sheet: Sheet, scale: Scale, vma: VMA) -> None:
    """Draw the file under the memory, and which of its pages the VMA shows."""
    low, high = vma.vm_pgoff, vma.vm_pgoff + vma.pages
    top, x, width = sheet.y + 26, scale.x(low), scale.x(high) - scale.x(low)
    for page, place in ((vma.vm_start, low), (vma.vm_end, high)):
        sheet.parts.append(
            f'<path d="M{scale.x(page)} {sheet.y - 4}L{scale.x(place)} {top}" class="vk-dash" '
            'style="stroke-opacity:1"/>'
        )
    sheet.rect(scale.x(0), top, scale.x(scale.end) - scale.x(0), 18)
    sheet.rect(x, top, width, 18, ' class="vk-new"')
    sheet.parts.append(hatch(x, top, width, 18))
    sheet.text(scale.x(scale.end) + 12, top + 13, f"file {vma.vm_file}, in pages")
    for page in (0, low, high):
        sheet.text(scale.x(page), top + 30, str(page), "vk-small vk-mid")
    sheet.y = top + 40


# --- the rules along the years -------------------------------------------------------------------

# Months are named alike whatever language the machine speaks.
MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
LETTERS: Final = "ABCDEF"  # of the rules, oldest first
_GROWTH: Final = {
    Growth.DIRECT: "not asked",
    Growth.MERGE: "asked",
    Growth.MERGE_UNLESS_CLOSE: "goes round",
}
_REMOVAL: Final = {Removal.NEVER: "–", Removal.CASE_7: "in case 7", Removal.ALWAYS: "asked"}


@lru_cache(maxsize=1)
def spans() -> list[tuple[Rule, list[str]]]:
    """Return each rule of history with the releases that follow it."""
    known = [(one, kernel(one).rule) for one in releases()]
    return [(rule, [one for one, its in known if its == rule]) for rule in RULES]


def asks(rule: Rule) -> tuple[str, str, str, str]:
    """Say whether a rule asks prev, next, the VMA that would go, and a VMA that mremap() grows."""
    sides = ["asked" if asked else "–" for asked in (rule.after, rule.before)]
    return sides[0], sides[1], _REMOVAL[rule.removed], _GROWTH[rule.mremap]


def timeline() -> Picture:
    """Draw the rules of history along the releases, and whom each of them asks about ->close."""
    known, sheet = releases(), Sheet()
    title = f"Who is asked about close, {known[0]} to {known[-1]}"
    sheet.width = 720
    sheet.say(title, "vk-head")
    sheet.say(f"Each of the {len(known)} releases from {known[0]} to {known[-1]} is one step wide.")
    step = (sheet.width - 2 * MARGIN) // len(known)
    top, drawn = sheet.y + 20, []
    for at, (letter, (_, span)) in enumerate(zip(LETTERS, spans(), strict=True)):
        x, width = MARGIN + known.index(span[0]) * step, len(span) * step
        if at % 2:
            sheet.rect(x, top, width, 20, ' class="vk-tag"')
        sheet.rect(x, top, width, 20)
        sheet.text(x + width / 2, top - 5, letter, "vk-head vk-mid")
    for at, one in enumerate(known):
        if one == known[0] or one.endswith(".0"):
            x = MARGIN + at * step
            sheet.parts.append(f'<path d="M{x} {top + 20}v8" style="stroke-opacity:1"/>')
            sheet.text(x, top + 40, one, "vk-small")
    sheet.y = top + 54
    places = (MARGIN, 34, 150, 228, 330, 412, 494, 588)
    heads = ("", "releases", "when", "commit", "prev", "next", "who goes", "mremap() growth")
    _columns(sheet, places, heads, "vk-head")
    for letter, (rule, span) in zip(LETTERS, spans(), strict=True):
        sheet.skip(3)
        told = f"{span[0]} to {span[-1]}" if len(span) > 1 else span[0]
        year, month, _ = COMMITS[rule.commit].date.split("-")
        when = f"{MONTHS[int(month) - 1]} {year}"
        for x, words in zip(places[4:], asks(rule), strict=True):
            if words in ("asked", "in case 7"):
                sheet.rect(x - 4, sheet.y + 1, LETTER * len(words) + 8, 15, ' class="vk-tag"')
                sheet.text(x, sheet.y + 12, words)
            else:
                sheet.text(x, sheet.y + 12, words)
        sheet.text(places[0], sheet.y + 12, letter, "vk-head")
        _columns(sheet, places[1:4], (told, when, rule.commit))
        sheet.text(places[1], sheet.y + 9, rule.summary, "vk-small")
        sheet.y += 15
        prev, next, goes, grows = asks(rule)
        drawn.append(
            f"{letter} {told} ({rule.name}, {rule.commit}, {when}): prev {prev}, "
            f"next {next}, who would go {goes}, mremap() growth {grows}"
        )
    notes = [
        f"{release}.y follows {letter} from {first} on"
        for release, first, letter in stable_changes()
    ]
    sheet.skip(4)
    sheet.say(f"Stable releases: {'; '.join(notes)}.")
    return sheet.picture(title, f"{title}. {'; '.join(drawn)}. Stable: {'; '.join(notes)}.")


def stable_changes() -> tuple[tuple[str, str, str], ...]:
    """Return (release, first stable version, letter) where a stable line took a later rule."""
    return tuple(
        [
            (".".join(map(str, line(numbers(taken)))), taken, letter)
            for letter, rule in zip(LETTERS, RULES, strict=False)
            for taken in COMMITS[rule.commit].stable
        ]
    )


# --- what each rule costs ------------------------------------------------------------------------


class Part(NamedTuple):
    """A share of all that would merge if nobody were asked about ->close."""

    letter: str
    words: str
    size: int


def parts(point: Judgement) -> tuple[Part, ...]:
    """Return what becomes of the configurations that would merge without a close test."""
    return (
        Part("M", "merges, and nothing is lost", point.allowed - point.lost),
        Part("L", "merges, and loses a close", point.lost),
        Part("R", "refused for nothing: a safe merge was there", point.refused),
        Part("H", "held back rightly", point.possible - point.allowed - point.refused),
    )


def toll(points: Iterable[Judgement] = ()) -> Picture:
    """Draw what the rules of history, or these, merge, lose, and refuse in the small world.

    The shares are of the configurations that would merge without a close test; see explore.judge().
    """
    title = "What each rule merges, loses and refuses"
    history: Iterable[Kernel] = map(kernel, MOMENTS.values())
    judged = list(points) or [judge(one) for one in history]
    sheet, left, width = Sheet(), 200.0, 512.0
    sheet.width = 720
    sheet.say(title, "vk-head")
    for part in parts(judged[0]):
        _bar(sheet, MARGIN, sheet.y + 2, 24, part.letter)
        sheet.text(MARGIN + 34, sheet.y + 15, part.words)
        sheet.y += 22
    sheet.skip(8)
    told = []
    for point in judged:
        sheet.text(
            MARGIN, sheet.y + 13, f"{point.kernel.version} {point.kernel.rule.name}", "vk-head"
        )
        x, shares = left, []
        for part in parts(point):
            share = part.size / point.possible
            if part.size:
                _bar(sheet, x, sheet.y, width * share, part.letter)
                shares.append(f"{part.letter} {share:.1%}")
                x += width * share
        sheet.text(left, sheet.y + 32, " · ".join(shares), "vk-small")
        sheet.y += 42
        each = ", ".join(
            [f"{part.words} {part.size / point.possible:.1%}" for part in parts(point)]
        )
        told.append(f"{point.kernel}: {each}")
    return sheet.picture(title, f"{title}. {'; '.join(told)}")


def grid(close: str = "all") -> Picture:
    """Draw what each rule of history makes of each of the eight cases, with ->close on `close`."""
    title = "Every rule and every case, everybody with close"
    if close != "all":
        title = f"Every rule and every case, close on {close or 'nobody'}"
    sheet, left, step = Sheet(), 200.0, 64
    sheet.width = 720
    sheet.say(title, "vk-head")
    sheet.text(MARGIN, sheet.y + 14, "case")
    for at, case in enumerate(CASES):
        sheet.text(left + step * at + step / 2 - 2, sheet.y + 14, str(case), "vk-head vk-mid")
    sheet.y += 22
    told = []
    for one in map(kernel, MOMENTS.values()):
        sheet.text(MARGIN, sheet.y + 13, f"{one.version} {one.rule.name}", "vk-head")
        row = [end(one, case, close) for case in CASES]
        for at, word in enumerate(row):
            _field(sheet, left + step * at, step - 4, word)
        sheet.y += 24
        cases = [f"{case} {word}" for case, word in zip(CASES, row, strict=True)]
        told.append(f"{one}: {', '.join(cases)}")
    return sheet.picture(title, f"{title}. {'; '.join(told)}")


def end(one: Kernel, case: int, close: str) -> str:
    """Return what a kernel does in a case: merges, loses (a ->close, merging) or refuses."""
    step = trace(one, situation(case, close))[-1]
    if step.leaked:
        return "loses"
    return "merges" if step.result.status == "merged" else "refuses"


def _field(sheet: Sheet, x: float, width: float, word: str) -> None:
    """Draw a field of the grid: M filled, L hatched as well, a refusal empty."""
    letter = {"merges": "M", "loses": "L"}.get(word, "")
    if letter:
        _bar(sheet, x, sheet.y, width, letter)
    else:
        sheet.text(x + width / 2, sheet.y + 13, "–", "vk-mid")


_FILLS: Final = {"M": "#56b4e9", "L": "#d55e00"}


def _bar(sheet: Sheet, x: float, y: float, width: float, letter: str) -> None:
    """Draw a part of a bar: filled, hatched, dashed or empty, with its letter if there is room."""
    if letter in _FILLS:
        sheet.rect(x, y, width, 18, f' class="vk-fill" style="fill:{_FILLS[letter]}"')
    if letter == "L":
        sheet.parts.append(hatch(round(x), round(y), round(width), 18))
    sheet.rect(x, y, width, 18, ' class="vk-dash"' if letter == "R" else "")
    if width > 12:
        if letter == "L":
            sheet.rect(x + width / 2 - 6, y + 2, 12, 14, ' class="vk-tag"')
        sheet.text(x + width / 2, y + 13, letter, "vk-head vk-mid")
