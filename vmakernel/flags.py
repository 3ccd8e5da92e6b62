"""vm_flags: what a mapping may do, one bit each and one letter each.

First file of the package; next: vma.py.

The merge code only ever compares flags, so the numbers here are our own; the *letters* are the
notation of every layout in the course (``rw``, ``rxD``, ``-`` for none).
"""

from functools import lru_cache
from typing import Final

VM_READ: Final = 1 << 0
VM_WRITE: Final = 1 << 1
VM_EXEC: Final = 1 << 2
VM_SHARED: Final = 1 << 3
VM_MAYREAD: Final = 1 << 4
VM_MAYWRITE: Final = 1 << 5
VM_MAYEXEC: Final = 1 << 6
VM_MAYSHARE: Final = 1 << 7
VM_SOFTDIRTY: Final = 1 << 8
VM_IO: Final = 1 << 9
VM_PFNMAP: Final = 1 << 10
VM_MIXEDMAP: Final = 1 << 11
VM_DONTEXPAND: Final = 1 << 12
VM_DONTCOPY: Final = 1 << 13
VM_LOCKED: Final = 1 << 14
VM_ACCOUNT: Final = 1 << 15
VM_HUGEPAGE: Final = 1 << 16
VM_GROWSDOWN: Final = 1 << 17
VM_MAYBE_GUARD: Final = 1 << 18
VM_NORESERVE: Final = 1 << 19
VM_DONTDUMP: Final = 1 << 20
VM_SEQ_READ: Final = 1 << 21
VM_RAND_READ: Final = 1 << 22
VM_NOHUGEPAGE: Final = 1 << 23
VM_UFFD_MISSING: Final = 1 << 24
VM_PKEY_BIT0: Final = 1 << 25  # of a protection key; here that of execute-only memory

VM_ACCESS: Final = VM_READ | VM_WRITE | VM_EXEC

LETTERS: Final[dict[str, int]] = {
    "r": VM_READ,
    "w": VM_WRITE,
    "x": VM_EXEC,
    "s": VM_SHARED,
    "R": VM_MAYREAD,
    "W": VM_MAYWRITE,
    "X": VM_MAYEXEC,
    "S": VM_MAYSHARE,
    "D": VM_SOFTDIRTY,
    "I": VM_IO,
    "P": VM_PFNMAP,
    "M": VM_MIXEDMAP,
    "E": VM_DONTEXPAND,
    "C": VM_DONTCOPY,
    "L": VM_LOCKED,
    "A": VM_ACCOUNT,
    "H": VM_HUGEPAGE,
    "g": VM_GROWSDOWN,
    "G": VM_MAYBE_GUARD,
    "N": VM_NORESERVE,
    "d": VM_DONTDUMP,
    "q": VM_SEQ_READ,
    "a": VM_RAND_READ,
    "h": VM_NOHUGEPAGE,
    "u": VM_UFFD_MISSING,
    "K": VM_PKEY_BIT0,
}

NAMES: Final[dict[int, str]] = {
    bit: name
    for name, bit in list(globals().items())
    if name.startswith("VM_") and bit in LETTERS.values()
}


class OneSentence:
    """An exception whose message is for the reader: a notebook shows it without the frames."""

    def _render_traceback_(self) -> list[str]:  # IPython asks for it
        return [f"{type(self).__name__}: {self}"]


class InputError(OneSentence, ValueError):
    """What a reader wrote cannot be taken; says what to write instead."""


class NotationError(InputError):
    """A layout, a range or an operation that cannot be read; says what to write instead."""


MOST_PAGES: Final = 1 << 52  # of 4096 bytes, in 64 bits


def parse_page(text: str) -> int:
    """Return the number of pages that decimal digits stand for.

    Raises NotationError for anything else and for more than 64 bits of addresses.
    """
    # isdecimal alone accepts other scripts' digits.
    if not (text.isascii() and text.isdecimal()):
        raise NotationError(f"{text!r} is no number of pages: write 0, 1, 2, ...")
    if len(text) > 20 or int(text) > MOST_PAGES:
        shown = text if len(text) <= 24 else f"{text[:21]}..."
        raise NotationError(f"{shown} is too many pages: write at most {MOST_PAGES}")
    return int(text)


@lru_cache(maxsize=4096)
def parse_flags(text: str) -> int:
    """Return the flags that the letters in `text` stand for; ``-`` is no flag at all.

    Raises NotationError for a letter that stands for no flag.
    """
    if text == "-":
        return 0
    flags = 0
    for letter in text:
        if letter not in LETTERS:
            raise NotationError(
                f"unknown flag {letter!r} in {text!r}: use letters of {''.join(LETTERS)}, or -"
            )
        flags |= LETTERS[letter]
    return flags


@lru_cache(maxsize=4096)
def print_flags(flags: int) -> str:
    """Return the letters of `flags`, in the order of LETTERS, or ``-``."""
    return "".join([letter for letter, bit in LETTERS.items() if flags & bit]) or "-"


def names(flags: int) -> str:
    """Return the kernel's names of `flags`, joined by ``|``."""
    return "|".join([name for bit, name in NAMES.items() if flags & bit]) or "no flag"
