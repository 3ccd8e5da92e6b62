"""Rules and kernels: every moment of history as a value.

Previous: history.py; next: predicates.py.

A *rule* says where ->close is asked about and how mremap() grows a mapping; there is one for each
moment, and a toggle makes another. A *kernel* is a rule plus whatever else was different in that
version: who is extended in case 8, how mmap() fills a hole, how anon_vmas are compared.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, NamedTuple

from vmakernel import flags as vm
from vmakernel.flags import InputError
from vmakernel.history import COMMITS, Version, line, numbers
from vmakernel.vma import VMA, Proposal


class Removal(StrEnum):
    """Whether a VMA that the merge would remove is itself asked for its ->close."""

    NEVER = "never"
    CASE_7 = "case 7"
    ALWAYS = "always"


class Growth(StrEnum):
    """How mremap() grows a mapping in place."""

    DIRECT = "direct"  # vma_adjust(), no merge test
    MERGE = "merge"  # vma_merge() on the extension
    MERGE_UNLESS_CLOSE = "merge unless close"  # d014cd7c1c35


@dataclass(frozen=True, slots=True)
class Rule:
    """Where ->close forbids a merge.

    `before`: can_vma_merge_before() refuses a next VMA that has ->close.
    `after`: can_vma_merge_after() refuses a prev VMA that has ->close.
    `removed`: the VMAs that would really go are asked.
    `mremap`: how mremap() grows a mapping in place.
    """

    name: str
    before: bool
    after: bool
    removed: Removal = Removal.NEVER
    mremap: Growth = Growth.MERGE
    commit: str = ""
    summary: str = ""

    def refuses_next(self, vma: VMA, proposal: Proposal) -> bool:
        """True where can_vma_merge_before() refuses `vma` for its ->close."""
        return self.before and vma.has_close

    def refuses_prev(self, vma: VMA, proposal: Proposal) -> bool:
        """True where can_vma_merge_after() refuses `vma` for its ->close."""
        return self.after and vma.has_close

    def asks_removal(self, case: int) -> bool:
        """True where the VMA that this case would remove is asked for its ->close."""
        return self.removed is Removal.ALWAYS or (self.removed is Removal.CASE_7 and case == 7)

    def refuses_removal(self, vma: VMA, proposal: Proposal, case: int) -> bool:
        """True where a merge may not remove `vma` because its ->close would be lost."""
        return self.asks_removal(case) and vma.has_close

    def toggled(self, **changes: object) -> Rule:
        """Return a rule of the learner's own: this one with some fields changed."""
        return replace(self, **{"name": "your own rule", "commit": "", "summary": "", **changes})  # type: ignore[arg-type]


PRE_GIT: Final = Rule(
    "pre_git",
    before=True,
    after=True,
    mremap=Growth.DIRECT,
    commit="1da177e4c3f4",
    summary="any VMA with ->close is refused, whichever side it is on",
)
REGRESSION: Final = replace(
    PRE_GIT,
    name="regression",
    mremap=Growth.MERGE,
    commit="ca3d76b0aa80",
    summary="the same test, but mremap() growth now has to pass it",
)
WORKAROUND: Final = replace(
    PRE_GIT,
    name="workaround",
    mremap=Growth.MERGE_UNLESS_CLOSE,
    commit="d014cd7c1c35",
    summary="mremap() of a mapping with ->close goes round the merge code",
)
MAY_REMOVE_VMA: Final = Rule(
    "may_remove_vma",
    before=True,
    after=False,
    commit="714965ca8252",
    summary="asked of next, which could be removed, not of prev, which only grows",
)
CASE7_FIX: Final = replace(
    MAY_REMOVE_VMA,
    name="case7_fix",
    removed=Removal.CASE_7,
    commit="fc0c8f9089c2",
    summary="also asked of the middle VMA that case 7 removes",
)
REALLY_REMOVED: Final = Rule(
    "really_removed",
    before=False,
    after=False,
    removed=Removal.ALWAYS,
    commit="01c373e9a5ce",
    summary="asked only of a VMA that would really be removed",
)

RULES: Final = (PRE_GIT, REGRESSION, WORKAROUND, MAY_REMOVE_VMA, CASE7_FIX, REALLY_REMOVED)


class Anon(StrEnum):
    """How the anon_vmas of two neighbours are compared."""

    EITHER_NULL = "either may be unset"
    SINGULAR = "either may be unset if the VMA's chain is singular"  # 965f55dea0e3, v3.0
    EITHER_SIDE = "either may be unset unless a fork's child holds the other"  # 879bca0a2c4f, v6.16


class Predicates(NamedTuple):
    """Functions that stand in for the kernel's predicates of these names, called (vma, proposal).

    is_mergeable_anon_vma() answers with a bool, the others with a Verdict; see own.py.
    """

    is_mergeable_vma: Callable[[VMA, Proposal], Any] | None = None
    is_mergeable_anon_vma: Callable[[VMA, Proposal], Any] | None = None
    can_vma_merge_before: Callable[[VMA, Proposal], Any] | None = None
    can_vma_merge_after: Callable[[VMA, Proposal], Any] | None = None


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel version: the rule it follows and what else it did in its own way."""

    version: str
    rule: Rule
    anon: Anon
    ranges: bool  # new-range and existing-range merges (v6.12) instead of the eight cases
    case8_extends_curr: bool  # before e86f15ee64d8 (v4.9)
    mmap_expands: bool  # v6.1 to v6.11: mmap() has a merge of its own
    brk_just_expands: bool  # brk() asks prev alone (v6.1)
    clones_anon_vma: bool  # anon_vma chains are copied (v2.6.34, 5beb49305251)
    dup_prefers_next: bool  # case 6 takes the anon_vma of next first (v6.3)
    case3_keeps_pgoff: bool  # case 3 forgets to set vm_pgoff (v6.3.0; 7e7757876f25)
    special_flags: int  # VM_SPECIAL: a range with one of these never merges
    ignored_flags: int  # differ without harm
    sticky_flags: int  # of these, kept by the merged VMA (v6.19, 6707915e030a)
    absent_flags: int  # flags that this version does not know
    has_uffd: bool  # v4.3
    has_anon_name: bool  # v5.17
    copied_dup: bool  # a moved range brings its anon_vma along (v6.19, 61f67c230a5e)
    copied_uffd_stays_apart: bool  # a moved range with userfaultfd never merges (v7.3)
    anon_pgoff: bool  # private file mappings must be contiguous in it too (v7.3)
    # What whole system calls did in their own way. *: the code was read on both sides; which
    # release brought the change is remembered.
    advice: frozenset[str]  # the advice that madvise() knew
    madvise_merges: bool  # "madvise: merge the maps" (v2.6.13)
    madvise_eagain: bool  # a split refused is EAGAIN, not ENOMEM (to v4.10, and since v5.17)
    advice_checked_late: bool  # unknown advice fails only where a VMA is (to v2.6.31 *)
    huge_once: bool | None  # advice of huge pages given twice is EINVAL (to v4.3)
    huge_anon_only: bool  # it is for private memory alone (to v4.7 *)
    unaccounts: bool  # mprotect() takes VM_ACCOUNT back from unfaulted memory (v6.7, 9b9143298585)
    mprotect_populates: bool  # locked private memory made writable (v4.2, 36f881883c57)
    mprotect_forgives: bool  # a hole at the end goes unnoticed (v6.3 to v6.3.9; 77795f900e2a)
    mlock_loses: bool  # the same, and its place after a merge (v6.3 to v6.4.6; 2658f94d6792)
    mremap_misplaces: bool  # growth from inside a VMA asks for a wrong offset (v6.1; 6f12be792fde)
    mremap_looks_first: bool  # a source that is not mapped fails at once (v5.16, 550a7d60bd5e)
    mremap_slips: bool  # and is told that it succeeded (v5.16 to v5.17.8; 7d1e64966162)
    mremap_wants_room: bool  # a move to a fixed place counts VMAs first (v5.1, ea2c3f6f5545)
    mremap_overlaps_alike: bool  # nothing moved onto itself does not overlap (v4.3, 9943242ca468)
    mremap_moves_many: bool  # all checks come first, and a move may span several VMAs (v6.17)
    mremap_duplicates: bool  # length 0 duplicates private memory too (to v4.13; dba58d3b8c50)
    mremap_drops_uffd: bool | None  # a moved VMA is no longer registered (v5.0)
    unmap_counts_edges: bool  # at the limit munmap() may not even cut an edge off (to v2.6.32 *)
    remaps_by_mmap: bool  # remap_file_pages() is an mmap() (v4.0, c8d78c1823f4)
    remaps_one_vma: bool | None  # of one VMA, and not to where it is (v4.0 to v4.4; 48f7df329474)
    remaps_removed: bool  # of a removed segment's last attach is EINVAL (v4.5 *)
    read_prepares: bool  # reading anonymous memory makes an anon_vma (v2.6.24 to v2.6.31)
    mlock_populates_last: bool  # mlock() locks all before it faults in (v2.6.38, fed067da46ad)
    shmdt_compares: bool  # shmdt() leaves other segments alone (v3.19, d3c97900b427)
    shm_read_only: bool  # a read-only attach can stay so, and is not VM_SHARED (v2.6.21 *)
    write_only_reads: bool  # memory that may only be written can be read (v2.6.20 *)
    exec_keys: bool  # execute-only memory gets a protection key, where there are any (v4.6)
    exec_key_stays: bool | None  # even without access (to v4.16; 0a0b152083cf)
    fuse_closes: bool  # FUSE maps with ->close (v2.6.26, 3be5a52b30aa)
    has_memfd: bool  # v3.17
    names_shmem: bool  # anonymous shared memory can be named too (v6.2, d09e8ca6cb93)
    uffd_shmem: bool  # userfaultfd takes shared memory (v4.11)
    uffd_mistakes: bool  # registering from inside a VMA on merges wrongly (to v6.3; 5543d3c43c41)
    own: Predicates | None = None  # what a learner put in the place of predicates

    def with_rule(self, rule: Rule) -> Kernel:
        """Return this kernel under another rule."""
        return replace(self, rule=rule)

    def with_own(self, predicates: Predicates | None) -> Kernel:
        """Return this kernel with functions in the place of its predicates."""
        return replace(self, own=predicates)

    def __str__(self) -> str:
        return f"{self.version} ({self.rule.name}{', own predicates' if self.own else ''})"


class UnknownKernel(InputError):
    """A version or a moment that the engine does not know."""


FIRST: Final = (2, 6, 12)
LAST: Final = (7, 3)

# VM_SPECIAL as read in 2.6.12 (with VM_DONTCOPY, which left in 2.6.17), in 2.6.16-rc3 and in 5.10
# to 7.3. That VM_MIXEDMAP came with 3.14 is remembered; VM_RESERVED, in it to v3.6, is left out.
_SPECIAL_SINCE: Final = {
    vm.VM_IO: FIRST,
    vm.VM_DONTEXPAND: FIRST,
    vm.VM_PFNMAP: (2, 6, 15),  # 6aab341e0a28
    vm.VM_MIXEDMAP: (3, 14),  # 9050d7eba40b
}

# The version that stands for a moment when only its name is given.
MOMENTS: Final[dict[str, str]] = {
    "pre_git": "6.0",
    "regression": "6.1.0",
    "workaround": "6.3",
    "may_remove_vma": "6.5",
    "case7_fix": "6.9",
    "really_removed": "6.12",
}

# Where a learner's own rule asks about ->close: ``6.5:both`` is 6.5 with the test on both sides.
TOGGLES: Final[dict[str, dict[str, object]]] = {
    "none": {"before": False, "after": False, "removed": Removal.NEVER},
    "before": {"before": True, "after": False, "removed": Removal.NEVER},
    "after": {"before": False, "after": True, "removed": Removal.NEVER},
    "both": {"before": True, "after": True, "removed": Removal.NEVER},
    "removed": {"before": False, "after": False, "removed": Removal.ALWAYS},
}

_FLAGS_SINCE: Final = {
    vm.VM_PFNMAP: (2, 6, 15),
    vm.VM_MIXEDMAP: (2, 6, 26),
    vm.VM_NORESERVE: (2, 6, 27),  # as those with a * above
    vm.VM_SOFTDIRTY: (3, 12),
}
_ADVICE_SINCE: Final = {
    "normal": FIRST,
    "seq": FIRST,
    "rand": FIRST,
    "dontfork": (2, 6, 16),
    "dofork": (2, 6, 16),
    "huge": (2, 6, 38),
    "nohuge": (2, 6, 38),
    "dontdump": (3, 4),
    "dodump": (3, 4),
}
_LAST_MINOR: Final[dict[tuple[int, ...], int]] = {
    (3,): 19,
    (4,): 20,
    (5,): 19,
    (6,): 19,
    (7,): LAST[1],
}
_VERSION: Final = re.compile(
    r"([0-9]{1,4})\.([0-9]{1,4})(?:\.([0-9]{1,4}))?(?:\.([0-9]{1,4}))?(-rc[0-9]+)?"
)
# A recorded 6.1.192 without d014cd7c1c35: the regression, and none of 6.1.0's other faults.
STANDIN: Final = "6.1.0-standin"


def _parse_version(text: str) -> Version | None:
    match = _VERSION.fullmatch(text)
    if match is None:
        return None
    return tuple(int(part) for part in match.groups()[:4] if part is not None)


def _exists(version: Version) -> bool:
    if version[:2] == (2, 6):
        return len(version) > 2 and 12 <= version[2] <= 39
    if len(version) > 3:
        return False  # four numbers are of 2.6's time
    return version[0] > 2 and version[1] <= _LAST_MINOR.get(version[:1], -1)


def rule_of(version: Version) -> Rule:
    """Return the rule that a version, as numbers, followed: that of the last commit it has."""
    return next(rule for rule in reversed(RULES) if COMMITS[rule.commit].is_in(version))


def kernel(name: Kernel | str) -> Kernel:
    """Return the kernel that `name` stands for: a version (2.6.12 to 7.3), a moment, or itself.

    Raises UnknownKernel.
    """
    if isinstance(name, Kernel):
        return name
    if not isinstance(name, str):
        raise UnknownKernel(f"a rule is text in quotes, such as '6.5', not {name!r}")
    text, colon, test = name.strip().partition(":")
    if colon:
        base = kernel(text)
        if test not in TOGGLES:
            raise UnknownKernel(
                f"unknown close test {test!r} in {name!r}: write one of "
                + ", ".join([f"{text}:{toggle}" for toggle in TOGGLES])
            )
        return base.with_rule(base.rule.toggled(name=test, **TOGGLES[test]))
    if text == STANDIN:
        return replace(kernel("6.1.192").with_rule(REGRESSION), version=STANDIN)
    moment = text.lower().replace("-", "_")
    text = MOMENTS.get(moment, text).removeprefix("v")
    version = _parse_version(text)
    if version is None:
        close = difflib.get_close_matches(moment, MOMENTS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"or a moment: {', '.join(MOMENTS)}"
        raise UnknownKernel(
            f"unknown rule {name[:40]!r}: write a version from 2.6.12 to 7.3, such as 6.5, {hint}"
        )
    if not _exists(version):
        close = difflib.get_close_matches(text, [*MOMENTS.values(), "6.19", "7.3"], n=1)
        hint = f" - did you mean {close[0]}?" if close else ""
        raise UnknownKernel(
            f"there is no Linux {text}: the engine knows 2.6.12 to 6.19, 7.0 to 7.3{hint}"
        )
    return _kernel_of(version, text)


@lru_cache(maxsize=1024)
def _kernel_of(version: Version, text: str) -> Kernel:
    """Return what history says of this version."""

    def has(commit: str) -> bool:
        return COMMITS[commit].is_in(version)

    def taken_unknown(*lines: Version) -> bool:
        """Return whether a stable line took a change from a release on that was not found."""
        return line(version) in lines and version != line(version)

    if not has("965f55dea0e3"):
        anon = Anon.EITHER_NULL
    else:
        anon = Anon.EITHER_SIDE if has("879bca0a2c4f") else Anon.SINGULAR
    sticky = vm.VM_SOFTDIRTY | vm.VM_MAYBE_GUARD if has("6707915e030a") else 0
    return Kernel(
        version=text,
        rule=rule_of(version),
        anon=anon,
        ranges=has("cc8cb3697a8d"),
        case8_extends_curr=not has("e86f15ee64d8"),
        mmap_expands=version >= (6, 1) and not has("cacded5e42b9"),
        brk_just_expands=version >= (6, 1),
        clones_anon_vma=has("5beb49305251"),
        dup_prefers_next=version >= (6, 3),
        # Only where 6.3.0 is asked for by name: a bare 6.3 stands for what its line agrees on.
        case3_keeps_pgoff=version >= (6, 3, 0) and not has("7e7757876f25"),
        special_flags=sum(bit for bit, since in _SPECIAL_SINCE.items() if version >= since)
        + (vm.VM_DONTCOPY if version < (2, 6, 17) else 0),
        ignored_flags=sticky or (vm.VM_SOFTDIRTY if has("34228d473efe") else 0),
        sticky_flags=sticky,
        absent_flags=sum(bit for bit, since in _FLAGS_SINCE.items() if version < since)
        | (0 if sticky else vm.VM_MAYBE_GUARD),
        has_uffd=has("19a809afe2fe"),
        has_anon_name=has("9a10064f5625"),
        copied_dup=has("61f67c230a5e"),
        copied_uffd_stays_apart=version >= (7, 3),
        anon_pgoff=version >= (7, 3),
        advice=frozenset([name for name, since in _ADVICE_SINCE.items() if version >= since]),
        madvise_merges=version >= (2, 6, 13),
        madvise_eagain=not has("def5efe03765") or has("5c26f6ac9416"),
        advice_checked_late=version < (2, 6, 32),
        huge_once=None if line(version) == (4, 4) else version < (4, 4),
        huge_anon_only=version < (4, 8),
        unaccounts=has("9b9143298585"),
        mprotect_populates=has("36f881883c57"),
        mprotect_forgives=has("82f951340f25") and not has("77795f900e2a"),
        mlock_loses=has("37598f5a9d8b") and not has("2658f94d6792"),
        mremap_misplaces=has("ca3d76b0aa80") and not has("6f12be792fde"),
        mremap_looks_first=has("550a7d60bd5e"),
        mremap_slips=has("550a7d60bd5e") and not has("7d1e64966162"),
        mremap_wants_room=has("ea2c3f6f5545"),
        mremap_overlaps_alike=has("9943242ca468"),
        mremap_moves_many=has("d23cb648e365"),
        mremap_duplicates=not has("dba58d3b8c50"),
        mremap_drops_uffd=None if taken_unknown((4, 19), (4, 20)) else version >= (5, 0),
        unmap_counts_edges=version < (2, 6, 33),
        remaps_by_mmap=has("c8d78c1823f4"),
        remaps_one_vma=None if taken_unknown((4, 4)) else not has("48f7df329474"),
        remaps_removed=version >= (4, 5),
        read_prepares=has("557ed1fa2620") and not has("a13ea5b75964"),
        mlock_populates_last=has("fed067da46ad"),
        shmdt_compares=has("d3c97900b427"),
        shm_read_only=version >= (2, 6, 21),
        write_only_reads=version >= (2, 6, 20),
        exec_keys=has("62b5f7d013fc"),
        exec_key_stays=None if taken_unknown((4, 9), (4, 14), (4, 16)) else not has("0a0b152083cf"),
        fuse_closes=has("3be5a52b30aa"),
        has_memfd=version >= (3, 17),
        names_shmem=has("d09e8ca6cb93"),
        uffd_shmem=version >= (4, 11),
        uffd_mistakes=not has("5543d3c43c41"),
    )


def releases() -> tuple[str, ...]:
    """Return every release the engine knows, oldest first."""
    old = [f"2.6.{n}" for n in range(FIRST[2], 40)]
    return (
        *old,
        *[f"{major}.{n}" for (major,), last in _LAST_MINOR.items() for n in range(last + 1)],
    )


def rule_versions() -> dict[str, str]:
    """Return the versions that followed each rule of history, stable releases included."""
    before = dict(zip(releases()[1:], releases(), strict=False))
    told = {}
    for rule, later in zip(RULES, [*RULES[1:], None], strict=True):
        commit = COMMITS[rule.commit]
        last = releases()[-1] if later is None else before[COMMITS[later.commit].first]
        text = commit.first if commit.first == last else f"{commit.first} - {last}"
        if commit.stable:
            text = f"{', '.join(commit.stable)}, {text}"
        taken = COMMITS[later.commit].stable if later else ()
        told[rule.name] = text + (f" (to {', '.join(map(_before, taken))})" if taken else "")
    return told


def _before(stable: str) -> str:
    """Return the stable release before this one."""
    *release, patch = numbers(stable)
    return ".".join(map(str, [*release, patch - 1]))


def rules_table() -> str:
    """Return the rules of history as a table: name, versions, where ->close is asked, commit."""
    lines = [f"{'rule':16}{'versions':30}{'commit':14}close test"]
    versions = rule_versions()
    for rule in RULES:
        lines.append(f"{rule.name:16}{versions[rule.name]:30}{rule.commit:14}{rule.summary}")
    return "\n".join(lines)
