"""From an idea to a commit: try a rule of your own, and write down what was measured of it.

Previous: shortest.py; the faces (pictures, widgets, the command line) come after this.

The form is that of the kernel's own rules for patches: the subject names the place, the body says
why before what, `Fixes:` names the commit that is mended. Every number in a draft is found by
explore.py and shortest.py; words that only the author can know are left to the author.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from vmakernel.explore import Diff, Judgement, diff, judge, same_rule, twins
from vmakernel.guard import Stopped
from vmakernel.kernels import Kernel, kernel
from vmakernel.own import CloseTest, own
from vmakernel.shortest import shortest

WIDTH: Final = 72  # columns of a message; git shows it indented by four
LONGEST: Final = 75  # columns of a subject


class Tried(NamedTuple):
    """What exploration says of a rule; `stopped` is why it could not be asked to the end."""

    kernel: Kernel
    judgement: Judgement | None
    rules: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    stopped: str = ""

    def __str__(self) -> str:
        if self.judgement is None:
            return self.stopped
        told = "  decides as no rule of history does"
        if self.rules:
            told = f"  decides everywhere as {', '.join(self.rules)}"
        told += f", in the code of {self.kernel.version}"
        if self.twins:
            told += f"\n  and so as Linux {', '.join(self.twins)} did"
        return f"{self.judgement}\n{told}"


def try_out(close: CloseTest, base: str = "6.5", *, seconds: float = 2.0) -> Tried:
    """Judge a close test of your own in the merge code of a kernel; see own() for `close`.

    Of a function that loops, raises or answers nonsense the result tells. Raises UnknownKernel.
    """
    mine = own(base, close, seconds=seconds)
    try:
        judged = judge(mine)
        return Tried(mine, judged, tuple(same_rule(mine)), tuple(twins(mine)))
    except Stopped as stopped:
        return Tried(mine, None, stopped=str(stopped))


class Draft(NamedTuple):
    """A commit message; str() is its text, `review` what can be said about its form."""

    subject: str
    paragraphs: tuple[str, ...]
    tags: tuple[str, ...]
    mends: bool  # the kernel before lost a ->close that the one after keeps
    safe: bool

    def __str__(self) -> str:
        parts = [self.subject, *self.paragraphs, "\n".join(self.tags)]
        return "\n\n".join([part for part in parts if part])

    @property
    def review(self) -> str:
        """The checklist: what holds, what does not, and what nobody but the author can check."""
        lines = [f"{'✓' if holds else '✗'} {words}" for holds, words in self._checks()]
        yours = (_STABLE, *_YOURS) if self.mends else _YOURS
        return "\n".join([*lines, *[f"? {words}" for words in yours]])

    def _checks(self) -> Iterator[tuple[bool, str]]:
        subject, tags = self.subject, "\n".join(self.tags)
        yield bool(re.match(r"[a-z0-9_/, ]+: \S", subject)), "the subject begins with the place"
        yield len(subject) <= LONGEST, f"the subject has {LONGEST} characters at most"
        yield not subject.endswith("."), "the subject ends without a full stop"
        yield bool(self.paragraphs[0]), "why comes first"
        yield "this patch" not in str(self).lower(), "it does not speak of itself as a patch"
        yield bool(self.paragraphs[-1]), "it says what was tested"
        yield self.safe, "no VMA with ->close vanishes any more"
        if self.mends:
            wanted = r'^Fixes: [0-9a-f]{12,40} \("[^"\n]+"\)$'
            yield bool(re.search(wanted, tags, re.M)), "Fixes: has 12 digits and the subject"
        yield bool(re.search(r"^Signed-off-by: .+ <.+@.+>$", tags, re.M)), "it is signed off"


_STABLE: Final = (
    "stable kernels need it, or not: Cc: stable@vger.kernel.org asks them, Fixes: alone does not"
)
_YOURS: Final = (
    "the subject is an order: move the test, not moved or moves",
    "a stranger understands the why without the mails before",
    "the code does this and nothing else; one change, one patch",
    "whoever is named in Reported-by: found it, and may be named; Closes: says where",
    "scripts/checkpatch.pl has nothing to say; scripts/get_maintainer.pl knows to whom it goes",
)


def draft(
    before: Kernel | str,
    after: Kernel,
    *,
    subject: str,
    why: str,
    what: str,
    fixes: str = "",
    reported_by: str = "",
    tested: str = "",
    signed_off_by: str = "",
) -> Draft:
    """Put a commit message together; the sentences with numbers in them are found by exploration.

    `before` is the kernel that is changed. Raises Stopped where a function of your own does not
    answer, UnknownKernel.
    """
    old = kernel(before)
    found, judged = diff(old, after), (judge(old), judge(after))
    named = {
        "Fixes": fixes,
        "Reported-by": reported_by,
        "Signed-off-by": signed_off_by,
    }
    paragraphs = [_filled(why)]
    lost = any(group.before.loses_close for group in found.groups)
    if lost:
        paragraphs += _reproducer(old)
    paragraphs += [_filled(what), _filled(_measured(found, judged)), _filled(tested)]
    tags = tuple([f"{tag}: {value}" for tag, value in named.items() if value])
    return Draft(subject, tuple(paragraphs), tags, lost, judged[1].safe)


def _filled(words: str) -> str:
    return textwrap.fill(" ".join(words.split()), WIDTH, break_on_hyphens=False)


def _reproducer(old: Kernel) -> list[str]:
    """Return the shortest program that loses a ->close, in two paragraphs."""
    search = shortest(old)
    if search.found is None:
        return []
    calls = [f"    {line}" for line in str(search.found).splitlines()[1:]]
    left = max(search.predictions[0].nattch_after_exit.values())
    told = f"The shortest program that shows it (all in pages) leaves nattch at {left} in the end:"
    return [_filled(told), "\n".join(calls)]


def _measured(found: Diff, judged: Sequence[Judgement]) -> str:
    old, new = judged
    told = (
        f"Explored in a model of the merge code, over {found.configurations:,} configurations of "
        f"a range and up to three VMAs: {old.lost:,} lose a ->close() before, {new.lost:,} after; "
        f"{found.count('newly_allowed'):,} merge that were refused, and "
        f"{found.count('newly_refused'):,} that merged are refused."
    )
    if new.refused or new.halved:
        told += f" {new.refused + new.halved:,} that could merge safely still do not."
    return told
