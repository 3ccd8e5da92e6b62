"""The one line that shows a layout: ``AAAA|BB..|CC``, a letter a page, dots for holes.

Previous: vma.py; next: history.py.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from vmakernel.flags import VM_READ, VM_WRITE, NotationError
from vmakernel.vma import VMA, parse_vma

# A run longer than this is cut in the middle, so that a line stays a line.
LONGEST: Final = 24
_CUT: Final = "~"
_BARE: Final = re.compile(r"(?:\.*\|)?[^\W\d_]+\.*(?:\|[^\W\d_]+\.*)*")


def _run(letter: str, pages: int) -> str:
    if pages <= LONGEST:
        return letter * pages
    return letter * 4 + _CUT + letter * 4


def strip(vmas: Iterable[VMA], end: int = 0) -> str:
    """Return the one-line picture of `vmas` from page 0 to at least page `end`.

    A run of more than LONGEST pages is cut and marked with ``~``.
    """
    out: list[str] = []
    at = 0
    for vma in vmas:
        if vma.vm_start > at or out:
            out.append(_run(".", vma.vm_start - at) + "|")
        out.append(_run(vma.name[0], vma.pages))
        at = vma.vm_end
    return "".join(out) + _run(".", end - at) or "."


def parse_layout(text: str) -> list[VMA]:
    """Return the VMAs that `text` describes: a strip, VMAs in notation, or both as in a repr.

    From a strip alone every VMA is private anonymous memory, readable and writable.
    Raises NotationError.
    """
    words = text.replace(";", " ").strip().strip("<>").split()
    vmas = [parse_vma(word) for word in words if "=" in word]
    strips = [word for word in words if "=" not in word and word != "-"]
    if len(strips) > 1:
        if vmas:
            _stray(strips[-1], vmas)
        whole = "|".join([word for word in strips if word.strip("|")])
        raise NotationError(f"{text.strip()!r} is no strip: write it without blanks, as in {whole}")
    if not strips or strips == ["."]:
        return vmas
    if vmas:
        _agree(strips[0], vmas)
        return vmas
    return _parse_strip(strips[0])


def _stray(word: str, vmas: Sequence[VMA]) -> NoReturn:
    raise NotationError(
        f"{word!r} stands alone: an attribute follows a comma, as in {vmas[-1]},{word}, "
        "and a VMA is NAME=START-END:FLAGS"
    )


def _agree(line: str, vmas: Sequence[VMA]) -> None:
    ordered = sorted(vmas, key=lambda vma: vma.vm_start)
    drawn = strip(ordered)
    if line.rstrip(".") != drawn.rstrip("."):
        if len(line) == 1:
            _stray(line, vmas)
        raise NotationError(
            f"the strip {line!r} and the VMAs disagree: they would be drawn {drawn!r}"
        )


def _parse_strip(line: str) -> list[VMA]:
    if _CUT in line:
        raise NotationError(
            f"{line!r} is cut short ({_CUT}): paste the NAME=START-END:FLAGS part too"
        )
    if hole := re.match(r"\.+(?=[^.|])", line):
        dots = hole[0]
        raise NotationError(f"{line!r} needs a | behind the hole: {dots}|{line[len(dots) :]}")
    if not _BARE.fullmatch(line) or (line.isalpha() and not line.isupper() and len(set(line)) > 1):
        raise NotationError(f"{line!r} is no layout: write a letter a page, as in AAAA|BB..|CC")
    vmas: list[VMA] = []
    at = 0
    for part in line.split("|"):
        letters = part.rstrip(".")
        if len(set(letters)) > 1:
            raise NotationError(f"{part!r} holds two VMAs: put a | between them, as in AAAA|BB")
        if letters:
            end = at + len(letters)
            vmas.append(VMA(letters[0], at, end, VM_READ | VM_WRITE, vm_pgoff=at, anon_pgoff=at))
        at += len(part)
    return vmas
