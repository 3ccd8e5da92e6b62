"""What must hold for any address space, any operation and any kernel."""

from hypothesis import given
from hypothesis import strategies as st

from vmakernel.callers import decide, propose
from vmakernel.kernels import MOMENTS, TOGGLES, kernel
from vmakernel.layout import parse_layout, strip
from vmakernel.replay import KINDS, parse_operation, run
from vmakernel.space import AddressSpace
from vmakernel.vma import VMA, AnonVma, ops_of, parse_vma

VERSIONS = ("2.6.12", "4.8", "4.9", *MOMENTS.values(), "6.16", "6.19", "7.3")
KERNELS = [kernel(version) for version in VERSIONS]
TOGGLED = [kernel(f"6.5:{test}") for test in TOGGLES]
ACCESS = st.sampled_from(["-", "r", "rw", "rx"])


@st.composite
def spaces(draw, *, uniform: bool = False) -> AddressSpace:
    """Up to six VMAs with small gaps, most of them contiguous in their file, as in real life.

    `uniform`: all VMAs of one file have ->close or none has, as real drivers have it.
    """
    at, vmas = draw(st.integers(0, 2)), []
    closing = draw(st.sets(st.sampled_from(["1", "2"])))
    for name in "ABCDEF"[: draw(st.integers(1, 6))]:
        pages = draw(st.integers(1, 4))
        file = draw(st.sampled_from([None, "1", "1", "1", "2"]))
        close = file in closing if uniform else draw(st.booleans())
        pgoff = at + draw(st.sampled_from([0, 0, 0, 0, 7]))
        anon = draw(st.sampled_from([None, None, AnonVma("1"), AnonVma("2"), AnonVma("1", 2)]))
        flags = parse_vma(f"X=0-1:{draw(ACCESS)}").vm_flags
        vmas.append(
            VMA(
                name,
                at,
                at + pages,
                flags,
                file,
                pgoff if file else at,
                ops_of(file, close=close),
                anon,
                anon_pgoff=at,
            )
        )
        at += pages + draw(st.sampled_from([0, 0, 0, 1, 3]))
    return AddressSpace(vmas)


@st.composite
def operations(draw, kinds: tuple[str, ...] = KINDS) -> str:
    """An operation over the first 24 pages, which may or may not fit the space it meets."""
    kind = draw(st.sampled_from(kinds))
    start = draw(st.integers(0, 20))
    end = start + draw(st.integers(1, 6))
    if kind == "mremap":
        return f"mremap {draw(st.sampled_from('ABC'))}+{end - start}"
    if kind == "unmap":
        return f"unmap {start}-{end}"
    attributes = f",f1@{start}" if kind in ("new", "mmap") and draw(st.booleans()) else ""
    return f"{kind} {start}-{end}:{draw(ACCESS)}{attributes}"


def attempt(space: AddressSpace, chosen, text: str) -> str:
    """Run `text` where it fits; return the status, or "misfit"."""
    try:
        return run(space, chosen, parse_operation(text)).status
    except ValueError:
        return "misfit"


def contents(space: AddressSpace) -> dict[int, tuple[str | None, int]]:
    """Return which page of which file lies at each mapped page."""
    return {
        page: (vma.vm_file, vma.vm_pgoff + page - vma.vm_start)
        for vma in space.vmas
        for page in range(vma.vm_start, vma.vm_end)
    }


kernels = st.sampled_from(KERNELS + TOGGLED)


@given(spaces(), kernels, st.lists(operations(), max_size=5))
def test_every_promise_holds_after_every_step(space, chosen, texts):
    for text in texts:
        attempt(space, chosen, text)
        space.check()


@given(spaces(), kernels, operations(("modify", "protect")))
def test_changing_loses_no_page_and_moves_no_offset(space, chosen, text):
    before = contents(space)
    attempt(space, chosen, text)
    assert contents(space) == before


@given(spaces(), kernels, operations(("new", "mmap")))
def test_a_merged_new_range_adds_its_own_pages_and_no_other(space, chosen, text):
    before = contents(space)
    status = attempt(space, chosen, text)
    operation = parse_operation(text)
    added = set(contents(space)) - set(before)
    assert added == (set(range(operation.start, operation.end)) if status == "merged" else set())
    assert {page: contents(space)[page] for page in before} == before


@given(spaces(), kernels, st.lists(operations(), min_size=1, max_size=4))
def test_undo_restores_exactly(space, chosen, texts):
    states = []
    for text in texts:
        states.append((space.mark(), space.vmas, space.log))
        attempt(space, chosen, text)
    for mark, vmas, log in reversed(states):
        space.undo(mark)
        assert (space.vmas, space.log) == (vmas, log)
        space.check()


SAFE = [chosen for chosen in KERNELS if chosen.rule.name != "may_remove_vma"]
SAFE += [kernel("6.5:removed"), kernel("6.5:both")]


@given(st.sampled_from(SAFE), st.lists(operations(("protect", "unmap", "mremap")), max_size=8))
def test_nattch_counts_the_vmas_of_a_segment(chosen, texts):
    # One segment and nothing else, so that every ->open and ->close is the segment's.
    space = AddressSpace([parse_vma("A=2-14:rw,f1@0,c")])
    for text in texts:
        attempt(space, chosen, text)
        nattch = 1 + len(space.log.opened) - len(space.log.closed)
        assert nattch == len(space.vmas), f"{chosen}: {space!r} {space.log}"
        assert not space.log.leaked


def test_the_leaky_rule_breaks_that_promise():
    #     AAAAAAAAAAAA      12 pages of a segment
    #     AAAA|AAAA|AAAA    the middle made r
    #     AAAAAAAA|AAAA     and rw again: case 6 falls back to 7, the middle goes unclosed
    space = AddressSpace([parse_vma("A=0-12:rw,f1@0,c")])
    for text in ("protect 4-8:r", "protect 4-8:rw"):
        assert attempt(space, kernel("6.5"), text) in ("changed", "merged")
    assert len(space.vmas) == 2
    assert 1 + len(space.log.opened) - len(space.log.closed) == 3
    assert space.log.leaked == ("A",)


@given(spaces(), st.sampled_from(KERNELS), operations(("new", "mmap", "modify", "mremap")))
def test_without_any_close_test_every_merge_stays_allowed(space, chosen, text):
    free = chosen.with_rule(kernel("6.5:none").rule.toggled(mremap=chosen.rule.mremap))
    with_rule, without = AddressSpace(space.vmas), AddressSpace(space.vmas)
    if attempt(with_rule, chosen, text) == "merged":
        assert attempt(without, free, text) == "merged"
        assert len(without.vmas) <= len(with_rule.vmas)


@given(spaces(uniform=True), st.sampled_from(SAFE), st.lists(operations(), max_size=6))
def test_no_safe_rule_loses_a_close_of_a_real_driver(space, chosen, texts):
    for text in texts:
        if not text.startswith(("new", "mmap")):  # those would bring another driver's f1
            attempt(space, chosen, text)
    assert not space.log.leaked


@given(spaces(), kernels, operations(("modify",)))
def test_deciding_changes_nothing(space, chosen, text):
    before = (space.vmas, space.log)
    _, curr, _ = space.neighbours(4, 6)
    if curr is not None and curr.vm_end >= 6:
        decide(chosen, propose(space, curr, 4, 6, curr.vm_flags))
    assert (space.vmas, space.log) == before


@given(spaces())
def test_a_layout_can_be_pasted_back(space):
    assert AddressSpace.parse(repr(space)).vmas == space.vmas
    assert AddressSpace.parse(str(space)).vmas == space.vmas


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 5), st.integers(0, 3)), min_size=1)
)
def test_a_strip_can_be_pasted_back(runs):
    at, vmas = 0, []
    for name, pages, gap in runs:
        at += gap
        vmas.append(VMA(name, at, at + pages))
        at += pages
    drawn = strip(vmas)
    assert strip(parse_layout(drawn)) == drawn


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text):
    complaints = []
    for reader in (parse_layout, parse_operation, parse_vma, AddressSpace.parse):
        try:
            reader(text)
        except ValueError as error:
            complaints.append(str(error))
    assert all(len(complaint.splitlines()) == 1 for complaint in complaints)
