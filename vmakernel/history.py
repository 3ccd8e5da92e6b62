"""Commits: what each is called, and which releases have it.

Previous: layout.py; next: kernels.py.

The table is data/commits.toml; whoever names a commit, in code or in prose, takes it from there.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final, NamedTuple

TABLE: Final = Path(__file__).with_name("data") / "commits.toml"

Version = tuple[int, ...]


class Commit(NamedTuple):
    """A commit of the kernel; `stable` lists the first release of each stable line that took it.

    `read` says where this was looked up; it is not `sure` where only part of it could be.
    """

    id: str
    subject: str
    date: str
    first: str
    stable: tuple[str, ...]
    read: str
    sure: bool

    def is_in(self, version: Version) -> bool:
        """Return whether Linux `version` has this commit."""
        if version >= numbers(self.first):
            return True
        return any(
            line(taken) == line(version) and version >= taken for taken in map(numbers, self.stable)
        )


def numbers(text: str) -> Version:
    """Return (6, 6, 24) of ``6.6.24``."""
    return tuple([int(part) for part in text.split(".")])


def line(version: Version) -> Version:
    """Return the release whose stable line a version belongs to: (6, 6) of 6.6.24."""
    return version[:3] if version[:2] == (2, 6) else version[:2]


def _read() -> dict[str, Commit]:
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["commit"]
    return {row["id"]: Commit(**{**row, "stable": tuple(row["stable"])}) for row in rows}


COMMITS: Final = _read()
