"""Engine and kernel side by side: which function of the kernel each decision here retells.

The pairs are in data/counterparts.toml; what a function does is said by its own docstring.
"""

from __future__ import annotations

import inspect
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from vmakernel.flags import NotationError

DATA: Final = Path(__file__).with_name("data") / "counterparts.toml"
DECIDING: Final = ("predicates", "geometry", "eight_cases", "ranges", "callers")


class Pair(NamedTuple):
    """A function of the engine and the one it retells; `kernel` is "" where there is none."""

    engine: str
    kernel: str
    where: str
    versions: str
    out: str

    @property
    def does(self) -> str:
        """What the engine's function does: the first line of its docstring."""
        module, _, name = self.engine.partition(".")
        told = inspect.getdoc(getattr(import_module(f"vmakernel.{module}"), name)) or ""
        return told.partition("\n")[0]


class Counterparts:
    """The pairs as a table."""

    def __init__(self, rows: list[Pair]) -> None:
        self.pairs = [pair for pair in rows if pair.kernel]
        self.own = [pair for pair in rows if not pair.kernel]

    def __repr__(self) -> str:
        lines = [
            f"{pair.engine}: {pair.kernel}, {pair.where}, {pair.versions}; left out: {pair.out}"
            for pair in self.pairs
        ]
        return "\n".join([*lines, *[f"{pair.engine}: ours alone; {pair.out}" for pair in self.own]])

    def _repr_markdown_(self) -> str:
        lines = ["| ours | the kernel's | versions | what we left out |", "|---|---|---|---|"]
        for pair in self.pairs:
            ours = f"`{pair.engine}()`<br>{pair.does}"
            theirs = f"`{pair.kernel}`<br>{pair.where}"
            lines.append(f"| {' | '.join([ours, theirs, pair.versions, pair.out])} |")
        own = [f"- `{pair.engine}()` {pair.out}." for pair in self.own]
        return "\n".join(lines) + "\n\nWithout a counterpart in the kernel:\n\n" + "\n".join(own)


def counterparts() -> Counterparts:
    """Return the table of engine and kernel.

    Raises NotationError, naming it, for a function that is missing here or there.
    """
    data = tomllib.loads(DATA.read_text(encoding="utf-8"))
    rows = pairs(data["pair"], data["places"])
    if missing := sorted(deciding() - {pair.engine for pair in rows}):
        raise NotationError(f"{DATA.name} has no pair for {', '.join(missing)}: add one")
    return Counterparts(rows)


def pairs(rows: list[dict[str, Any]], places: dict[str, str]) -> list[Pair]:
    """Return the pairs that rows of the table are; NotationError, naming it, for a wrong one."""
    found = []
    for row in rows:
        name = row.get("engine", "?")
        if name not in deciding():
            raise NotationError(f"{DATA.name}: there is no function {name} that decides")
        if strange := sorted(set(row.get("where", ())) - set(places)):
            raise NotationError(f"{DATA.name}: {name} names the place {strange[0]}; see [places]")
        try:
            where = ", ".join([places[place] for place in row.get("where", ())])
            pair = Pair(**{"kernel": "", "versions": "", **row, "where": where})
        except TypeError as error:
            raise NotationError(f"{DATA.name}: {name}: {error}") from None
        found.append(pair)
    return found


def deciding() -> set[str]:
    """Return every public function that takes part in a decision, as module.function."""
    found = set()
    for module in DECIDING:
        held = import_module(f"vmakernel.{module}")
        for name, function in inspect.getmembers(held, inspect.isfunction):
            if function.__module__ == held.__name__ and not name.startswith("_"):
                found.add(f"{module}.{name}")
    return found
