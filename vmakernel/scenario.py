"""Scenarios: small programs of memory calls, written as text and held as values.

    scenario whole-middle
    seg A 12            # a SysV segment of 12 pages
    shmat A 0
    mprotect 4 4 r      # pages 4..7 become read-only
    mprotect 4 4 rw

One call per line; `#` starts a comment; a file may hold many scenarios. Pages are the only unit,
of addresses and of lengths. What a kernel did with a scenario is a `Recording`: one line of JSON.
Nothing here runs a call: an engine or `vmakernel.live` does.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, NamedTuple, NoReturn

from vmakernel.flags import InputError

PROTS = ("none", "r", "w", "x", "rw", "rx", "wx", "rwx")
ADVICE = (
    "normal", "seq", "rand", "dontdump", "dodump", "dontfork", "dofork", "huge", "nohuge",
)  # fmt: skip
SOURCES = ("anon", "file", "memfd", "fuse")
MAX_PAGE = 2**35  # an address space of 47 bits in pages of 4096 bytes


class ScenarioError(InputError):
    """A scenario that cannot be read: one sentence, with the line number and the line if known."""

    def __init__(self, problem: str, line_number: int | None = None, line: str = "") -> None:
        self.problem, self.line_number, self.line = problem, line_number, line
        shown = line.strip() if len(line.strip()) <= 60 else line.strip()[:57] + "..."
        where = "" if line_number is None else f"line {line_number}: {shown!r}: "
        super().__init__(where + problem)


# -- the calls -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """One memory call; `str(call)` is the line it is written as. Addresses and lengths in pages."""

    op: ClassVar[str]
    form: ClassVar[str]

    def __str__(self) -> str:
        return " ".join((self.op, *self._words()))

    def _words(self) -> Iterator[str]:
        for field in fields(self):
            yield str(getattr(self, field.name))

    @classmethod
    def _read(cls, words: _Words) -> Call:
        return cls(*(_READERS[field.name](words) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class _Range(Call):
    at: int
    pages: int
    form: ClassVar[str] = "AT N"


@dataclass(frozen=True, slots=True)
class Shmat(Call):
    """Attach a SysV segment at a page; `ro` attaches it read-only."""

    segment: str
    at: int
    ro: bool = False
    op: ClassVar[str] = "shmat"
    form: ClassVar[str] = "SEGMENT AT [ro]"

    def _words(self) -> Iterator[str]:
        yield from (self.segment, str(self.at), *(["ro"] if self.ro else []))

    @classmethod
    def _read(cls, words: _Words) -> Call:
        return cls(_segment(words), _page(words), words.take("ro"))


@dataclass(frozen=True, slots=True)
class Shmdt(Call):
    """Detach the segment attached at a page."""

    at: int
    op: ClassVar[str] = "shmdt"
    form: ClassVar[str] = "AT"


@dataclass(frozen=True, slots=True)
class Mmap(Call):
    """Map pages at a fixed place, over whatever was there; `pgoff` counts for all but `anon`."""

    at: int
    pages: int
    prot: str
    shared: bool
    source: str
    pgoff: int = 0
    noreserve: bool = False
    op: ClassVar[str] = "mmap"
    form: ClassVar[str] = "AT N PROT p|s[N] anon, or file|memfd|fuse PGOFF"

    def _words(self) -> Iterator[str]:
        sharing = ("s" if self.shared else "p") + ("N" if self.noreserve else "")
        yield from (str(self.at), str(self.pages), self.prot, sharing, self.source)
        if self.source != "anon":
            yield str(self.pgoff)

    @classmethod
    def _read(cls, words: _Words) -> Call:
        at, pages, prot = _page(words), _page(words), _prot(words)
        sharing = words.choice("a way of sharing", ("p", "s", "pN", "sN"))
        source = words.choice("something to map", SOURCES)
        pgoff = 0 if source == "anon" else _page(words)
        return cls(at, pages, prot, sharing[0] == "s", source, pgoff, sharing.endswith("N"))


@dataclass(frozen=True, slots=True)
class Munmap(_Range):
    """Unmap a range."""

    op: ClassVar[str] = "munmap"


@dataclass(frozen=True, slots=True)
class Mprotect(_Range):
    """Change the protection of a range."""

    prot: str
    op: ClassVar[str] = "mprotect"
    form: ClassVar[str] = "AT N PROT"


@dataclass(frozen=True, slots=True)
class Mremap(Call):
    """Resize a range in place; `maymove` lets it go elsewhere, `to` sends it to a fixed page."""

    at: int
    old: int
    new: int
    maymove: bool = False
    to: int | None = None
    op: ClassVar[str] = "mremap"
    form: ClassVar[str] = "AT OLD NEW [m | f TO]"

    def _words(self) -> Iterator[str]:
        yield from (str(self.at), str(self.old), str(self.new))
        if self.to is not None:
            yield from ("f", str(self.to))
        elif self.maymove:
            yield "m"

    @classmethod
    def _read(cls, words: _Words) -> Call:
        at, old, new = _page(words), _page(words), _page(words)
        to = _page(words) if words.take("f") else None
        return cls(at, old, new, to is None and words.take("m"), to)


@dataclass(frozen=True, slots=True)
class Madvise(_Range):
    """Give one of the pieces of advice that change vm_flags."""

    advice: str
    op: ClassVar[str] = "madvise"
    form: ClassVar[str] = "AT N ADVICE"


@dataclass(frozen=True, slots=True)
class Mlock(_Range):
    """Lock a range into memory."""

    op: ClassVar[str] = "mlock"


@dataclass(frozen=True, slots=True)
class Munlock(_Range):
    """Unlock a range."""

    op: ClassVar[str] = "munlock"


@dataclass(frozen=True, slots=True)
class Rfp(_Range):
    """remap_file_pages(): show another part of the same file in a range."""

    pgoff: int
    op: ClassVar[str] = "rfp"
    form: ClassVar[str] = "AT N PGOFF"


@dataclass(frozen=True, slots=True)
class Name(_Range):
    """Name anonymous memory (Linux 5.17 on, where configured); without a name, clear it."""

    name: str | None = None
    op: ClassVar[str] = "name"
    form: ClassVar[str] = "AT N [NAME]"

    def _words(self) -> Iterator[str]:
        yield from (str(self.at), str(self.pages), *([self.name] if self.name else []))

    @classmethod
    def _read(cls, words: _Words) -> Call:
        at, pages = _page(words), _page(words)
        return cls(at, pages, _anon_name(words) if words.more else None)


@dataclass(frozen=True, slots=True)
class Uffd(_Range):
    """Register a range with the scenario's userfaultfd."""

    op: ClassVar[str] = "uffd"


@dataclass(frozen=True, slots=True)
class Unuffd(_Range):
    """Take a range out of the scenario's userfaultfd."""

    op: ClassVar[str] = "unuffd"


@dataclass(frozen=True, slots=True)
class Touch(_Range):
    """Write to each page in turn."""

    op: ClassVar[str] = "touch"


@dataclass(frozen=True, slots=True)
class Read(_Range):
    """Read from each page in turn."""

    op: ClassVar[str] = "read"


@dataclass(frozen=True, slots=True)
class Fork(Call):
    """Fork a child that does nothing and lives until `killchild`."""

    op: ClassVar[str] = "fork"
    form: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Killchild(Call):
    """End the forked child."""

    op: ClassVar[str] = "killchild"
    form: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class Rmid(Call):
    """Mark a segment for removal: it goes when its last attach does."""

    segment: str
    op: ClassVar[str] = "rmid"
    form: ClassVar[str] = "SEGMENT"


CALLS: Mapping[str, type[Call]] = {
    kind.op: kind
    for kind in (
        Shmat, Shmdt, Mmap, Munmap, Mprotect, Mremap, Madvise, Mlock, Munlock, Rfp, Name, Uffd,
        Unuffd, Touch, Read, Fork, Killchild, Rmid,
    )
}  # fmt: skip


# -- scenarios -------------------------------------------------------------------------------------


class Segment(NamedTuple):
    """A SysV shared memory segment and its length in pages."""

    name: str
    pages: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A named program of calls; `str(scenario)` is its text. Raises ScenarioError if it has none.

    At most one forked child lives at a time, and a segment is declared before it is used.
    """

    name: str
    segments: tuple[Segment, ...] = ()
    calls: tuple[Call, ...] = ()

    def __str__(self) -> str:
        lines = [f"scenario {self.name}"]
        lines += [f"seg {segment.name} {segment.pages}" for segment in self.segments]
        return "\n".join([*lines, *map(str, self.calls)]) + "\n"


def parse(text: str, name: str = "scenario") -> tuple[Scenario, ...]:
    """All scenarios of a text; one without a `scenario` line is called `name`. ScenarioError."""
    reader = _Reader(re.sub(r"[\s#]+", "-", name.strip()) or "scenario")
    for number, line in enumerate(text.split("\n"), 1):
        try:
            reader.take(line)
        except ScenarioError as error:
            raise ScenarioError(error.problem, number, line) from None
    return reader.finish()


def parse_call(line: str) -> Call:
    """The call one line spells, as in a recording's "op". Raises ScenarioError."""
    words = _Words(line.partition("#")[0])
    if not words.more:
        raise ScenarioError("a call is missing; write one, such as 'mprotect 4 4 r'")
    op = words.next("a call")
    kind = CALLS.get(op) or _no_such_call(op, CALLS)
    words.form = f"{kind.op} {kind.form}".strip()
    call = kind._read(words)
    words.end()
    return call


class _Reader:
    """Reads scenario text line by line; what is wrong is raised without its line number."""

    def __init__(self, default_name: str) -> None:
        self.default_name = default_name
        self.done: dict[str, Scenario] = {}
        self.name: str | None = None
        self._start()

    def _start(self) -> None:
        self.segments: dict[str, int] = {}
        self.calls: list[Call] = []
        self.forked = False

    def take(self, line: str) -> None:
        words = _Words(line.partition("#")[0])
        if not words.more:
            return
        first = words.words[0]
        if first == "scenario":
            self._scenario(words)
        elif first == "seg":
            self._seg(words)
        elif first in CALLS:
            self._call(parse_call(line))
        else:
            _no_such_call(first, (*CALLS, "seg", "scenario"))

    def _scenario(self, words: _Words) -> None:
        words.form = "scenario NAME"
        words.next("scenario")
        name = words.next("a name")
        words.end()
        if self.name is None and (self.segments or self.calls):
            raise ScenarioError("lines before it belong to no scenario; move this line to the top")
        if name == self.name or name in self.done:
            raise ScenarioError(f"there is already a scenario {name!r}; choose another name")
        self._close()
        self.name = name

    def _seg(self, words: _Words) -> None:
        words.form = "seg SEGMENT N"
        words.next("seg")
        name, pages = _segment(words), _page(words)
        words.end()
        if name in self.segments:
            raise ScenarioError(f"there is already a segment {name!r}; choose another name")
        if pages == 0:
            raise ScenarioError("a segment has at least one page; write 1 or more")
        self.segments[name] = pages

    def _call(self, call: Call) -> None:
        if isinstance(call, Shmat | Rmid) and call.segment not in self.segments:
            raise ScenarioError(
                f"there is no segment {call.segment!r}; write 'seg {call.segment} 12' before it"
            )
        if isinstance(call, Fork) and self.forked:
            raise ScenarioError("a forked child is still alive; write 'killchild' before it")
        if isinstance(call, Killchild) and not self.forked:
            raise ScenarioError("there is no forked child; write 'fork' before it")
        if isinstance(call, Fork | Killchild):
            self.forked = isinstance(call, Fork)
        self.calls.append(call)

    def _close(self) -> None:
        if self.name is not None:
            segments = tuple(Segment(*item) for item in self.segments.items())
            self.done[self.name] = Scenario(self.name, segments, tuple(self.calls))
        self._start()

    def finish(self) -> tuple[Scenario, ...]:
        if self.name is None:
            self.name = self.default_name
            if not self.calls:
                raise ScenarioError("there is no call; write one, such as 'mmap 0 4 rw p anon'")
        self._close()
        return tuple(self.done.values())


class _Words:
    """The words of a line, taken one by one."""

    def __init__(self, text: str) -> None:
        self.words = text.split()
        self.at = 0
        self.form = ""

    @property
    def more(self) -> bool:
        return self.at < len(self.words)

    def next(self, what: str) -> str:
        if not self.more:
            raise ScenarioError(f"{what} is missing at the end; write '{self.form}'")
        self.at += 1
        return self.words[self.at - 1]

    def take(self, word: str) -> bool:
        """Whether the next word is this one; if so it is taken."""
        found = self.more and self.words[self.at] == word
        self.at += found
        return found

    def choice(self, what: str, choices: tuple[str, ...]) -> str:
        word = self.next(what)
        if word not in choices:
            raise ScenarioError(f"{_quote(word)} is not {what}; write one of {', '.join(choices)}")
        return word

    def end(self) -> None:
        if self.more:
            word = _quote(self.words[self.at])
            raise ScenarioError(f"{word} is one word too many; write '{self.form}'")


def _page(words: _Words) -> int:
    word = words.next("a number of pages")
    if not re.fullmatch("[0-9]+", word):
        raise ScenarioError(f"{_quote(word)} is not a whole number of pages; write 0, 1, 2, ...")
    if len(word) > 20 or int(word) > MAX_PAGE:
        raise ScenarioError(f"{_quote(word)} is too many pages; write at most {MAX_PAGE}")
    return int(word)


def _segment(words: _Words) -> str:
    word = words.next("a segment's name")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]{0,31}", word):
        raise ScenarioError(f"{_quote(word)} does not name a segment; write a letter, such as A")
    return word


def _anon_name(words: _Words) -> str:
    word = words.next("a name")
    if not re.fullmatch("[A-Za-z0-9_.:-]{1,79}", word):
        raise ScenarioError(
            f"{_quote(word)} cannot name memory; write at most 79 letters, digits, '_.:-'"
        )
    return word


def _prot(words: _Words) -> str:
    return words.choice("a protection", PROTS)


_READERS: Mapping[str, Callable[[_Words], object]] = {
    "at": _page,
    "pages": _page,
    "pgoff": _page,
    "prot": _prot,
    "segment": _segment,
    "advice": lambda words: words.choice("advice", ADVICE),
}


def _quote(word: str) -> str:
    return repr(word if len(word) <= 24 else word[:21] + "...")


def _no_such_call(word: str, known: Iterable[str]) -> NoReturn:
    near = difflib.get_close_matches(word.lower()[:32], list(known), 1)
    hint = f"did you mean {near[0]!r}?" if near else f"write one of {', '.join(CALLS)}"
    raise ScenarioError(f"there is no call {_quote(word)}; {hint}")


# -- recordings ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """What one call did: errno's name ("" for success), the layout after it, what else is known.

    A layout line is `start-end perms pgoff source`, in pages. `ret` is the page mremap returned;
    `nattch` the attaches of every segment, -22 for one that is gone; `note` the signal a bad access
    gives; `vm_flags`, if asked for, the flags /proc/self/smaps shows for each layout line.
    """

    call: Call
    errno: str
    layout: tuple[str, ...]
    ret: int | None = None
    nattch: Mapping[str, int] | None = None
    note: str | None = None
    vm_flags: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """What a kernel, or an engine, did with a scenario, step by step."""

    scenario: str
    segments: Mapping[str, int]
    steps: tuple[Step, ...]
    nattch_after_exit: Mapping[str, int]

    def to_json(self) -> str:
        """One line of JSON, in the recorded form."""
        steps = []
        for step in self.steps:
            known: dict[str, object] = {"op": str(step.call)}
            for field in fields(step)[1:]:
                value = getattr(step, field.name)
                if value is not None:
                    known[field.name] = value
            steps.append(known)
        return json.dumps(
            {
                "scenario": self.scenario,
                "segments": self.segments,
                "steps": steps,
                "nattch_after_exit": self.nattch_after_exit,
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, line: str) -> Recording:
        """The recording a line of JSON holds; raises ScenarioError if it holds none."""
        try:
            data = json.loads(line)
            steps = tuple(
                Step(
                    parse_call(step["op"]),
                    step["errno"],
                    tuple(step["layout"]),
                    step.get("ret"),
                    step.get("nattch"),
                    step.get("note"),
                    tuple(step["vm_flags"]) if "vm_flags" in step else None,
                )
                for step in data["steps"]
            )
            return cls(data["scenario"], data["segments"], steps, data["nattch_after_exit"])
        except ScenarioError:
            raise
        except (KeyError, TypeError, AttributeError, RecursionError, ValueError):
            raise ScenarioError(
                'it is no recording; write {"scenario": ..., "segments": ..., "steps": [...], '
                '"nattch_after_exit": ...} on one line'
            ) from None

    def program(self) -> Scenario:
        """The scenario that was run."""
        segments = tuple(Segment(*item) for item in self.segments.items())
        return Scenario(self.scenario, segments, tuple(step.call for step in self.steps))
