"""The engine file by file: picture, action, assertion."""

import ast
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vmakernel
from vmakernel.explain import Mark, checks, explain, owed, questions, trace, verdict
from vmakernel.explore import judge
from vmakernel.flags import NotationError
from vmakernel.history import COMMITS
from vmakernel.kernels import (
    MOMENTS,
    RULES,
    TOGGLES,
    UnknownKernel,
    kernel,
    rule_versions,
    rules_table,
)
from vmakernel.layout import parse_layout, strip
from vmakernel.lesson import under
from vmakernel.outcome import Refusal
from vmakernel.predicates import Verdict
from vmakernel.replay import parse_operation, parse_scenario, replay_line, run
from vmakernel.space import AddressSpace, InvariantError, Log, SpaceError
from vmakernel.tree import LOAD, VmaTree
from vmakernel.vma import VMA, parse_vma


def only(version: str, scenario: str):
    """Return the single step of a scenario."""
    (step,) = trace(kernel(version), scenario)
    return step


# --- rules and kernels --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("2.6.12", "pre_git"),
        ("2.6.39.4", "pre_git"),
        ("3.0", "pre_git"),
        ("v5.10.262", "pre_git"),
        ("6.0-rc1", "pre_git"),
        ("6.1", "regression"),
        ("6.1.10", "regression"),
        ("6.1.11", "workaround"),
        ("6.1.176", "workaround"),
        ("6.2", "workaround"),
        ("6.3.8", "workaround"),
        ("6.4", "may_remove_vma"),
        ("6.6.17", "may_remove_vma"),
        ("6.6.23", "may_remove_vma"),
        ("6.6.24", "case7_fix"),
        ("6.7", "may_remove_vma"),
        ("6.7.11", "may_remove_vma"),
        ("6.7.12", "case7_fix"),
        ("6.8", "case7_fix"),
        ("6.11.11", "case7_fix"),
        ("6.12", "really_removed"),
        ("7.3", "really_removed"),
        *[(moment, moment) for moment in MOMENTS],
    ],
)
def test_a_name_resolves_to_its_rule(name, rule):
    assert kernel(name).rule.name == rule


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("may_remove_vmas", "did you mean may_remove_vma?"),
        ("2.4", "2.6.12 to 6.19"),
        ("2.6.11", "2.6.12 to 6.19"),
        ("6.55", "did you mean 6.5?"),
        ("7.4", "7.0 to 7.3"),
        ("6.20", "there is no Linux 6.20"),
        ("5.99", "there is no Linux 5.99"),
        ("six", "write a version"),
        ("", "write a version"),
        ("6.5:sideways", "6.5:none, 6.5:before"),
    ],
)
def test_an_unknown_rule_gets_advice(name, advice):
    with pytest.raises(UnknownKernel, match=r"[^\n]+") as caught:
        kernel(name)
    assert advice in str(caught.value)


@pytest.mark.parametrize("ask", [kernel, judge, lambda rule: under(rule, "P=0-4:r | unmap 0-1")])
@pytest.mark.parametrize("number", [6.5, None])
def test_a_rule_without_quotes_gets_the_same_sentence_from_whoever_takes_one(ask, number):
    with pytest.raises(
        UnknownKernel, match=f"^a rule is text in quotes, such as '6.5', not {number}$"
    ):
        ask(number)


def test_the_table_lists_every_rule_with_its_commit():
    table = rules_table()
    for rule in RULES:
        assert rule.name in table
        assert rule.commit in table


def test_the_table_says_where_each_rule_begins_and_ends():
    assert list(rule_versions().values()) == [
        "2.6.12 - 6.0",
        "6.1 (to 6.1.10)",
        "6.1.11, 6.2 - 6.3",
        "6.4 - 6.7 (to 6.6.23, 6.7.11)",
        "6.6.24, 6.7.12, 6.8 - 6.11",
        "6.12 - 7.3",
    ]


# --- borders that stable releases moved ----------------------------------------------------------


def replayed(line: str, *versions: str) -> list[str]:
    """Return what each version makes of a line, without its ID."""
    return [
        replay_line(kernel(version), f"x {line}")[2:].split(" removed=")[0] for version in versions
    ]


def test_a_moved_range_brings_its_anon_vma_along_from_6_18_8_on():
    #  PPP****, and what moves to **** went through a fork
    old, *new = replayed(
        "P=1-4:rw | new 4-7:rw,a1x2,@4", "6.18.7", "6.18.8", "6.18.34", "6.18.35", "6.19"
    )
    assert old == "merged:P=1-7 as=P=1-7:rw"
    assert new == ["no"] * 4


def test_sticky_flags_and_guards_came_to_6_18_37():
    dirty = "P=0-3:rw,a1 C=3-6:rD,a1 | modify 3-6:rwD"
    guard = "P=0-3:rwG,a1 | mmap 3-6:rw"
    assert replayed(dirty, "6.18.36", "6.18.37", "6.19") == [
        "merged:P=0-6 as=P=0-6:rw,a1",
        "merged:P=0-6 as=P=0-6:rwD,a1",
        "merged:P=0-6 as=P=0-6:rwD,a1",
    ]
    assert replayed(guard, "6.18.36", "6.18.37") == [
        "error flag not in this era",
        "merged:P=0-6 as=P=0-6:rwG,a1",
    ]


def test_6_3_0_alone_leaves_next_its_old_offset_in_case_3():
    #  ..****NNNN -> ..NNNNNNNN, and page 4 should be page 4 of the file
    told = replayed("N=8-12:rw,f1@8 | new 4-8:rw,f1@4", "6.2", "6.3.0", "6.3.1", "6.3", "6.4")
    assert [text.rpartition("@")[2] for text in told] == ["4", "8", "4", "4", "4"]


def test_the_heap_asks_next_only_to_6_0():
    #  PPPP****NNNN
    whole, prev = "merged:P=0-12 as=P=0-12:rw", "merged:P=0-8 as=P=0-8:rw;N=8-12:rw"
    told = replayed("P=0-4:rw N=8-12:rw | brk 4-8:rw", "5.10", "6.0", "6.1", "6.11", "6.12", "7.3")
    assert told == [whole, whole, prev, prev, prev, prev]
    assert replayed("N=8-12:rw | brk 4-8:rw", "6.0", "6.1", "6.12") == [
        "merged:N=4-12 as=N=4-12:rw",
        "no",
        "no",
    ]


@pytest.mark.parametrize("rule", RULES)
def test_every_commit_of_the_engine_stands_in_the_table(rule):
    assert rule.commit in COMMITS
    assert kernel(COMMITS[rule.commit].first).rule is rule


#                          PPPP****CCCC, both sides with ->close: who is refused?
@pytest.mark.parametrize(
    ("test", "prev_grows", "next_grows"),
    [
        ("none", True, True),
        ("before", True, False),
        ("after", False, True),
        ("both", False, False),
        ("removed", True, True),
    ],
)
def test_each_toggle_refuses_its_own_side(test, prev_grows, next_grows):
    case2 = only(f"6.5:{test}", "P=0-4:rw,f1@0,c | new 4-8:rw,f1@4")
    case3 = only(f"6.5:{test}", "N=8-12:rw,f1@8,c | new 4-8:rw,f1@4")
    assert case2.result.outcome.merged is prev_grows
    assert case3.result.outcome.merged is next_grows


def test_every_toggle_is_a_rule_of_its_own():
    assert len({kernel(f"6.5:{test}").rule for test in TOGGLES}) == len(TOGGLES)


# --- predicates ---------------------------------------------------------------------------------

BASE = "P=0-4:rw,f1@0 | new 4-8:rw,f1@4"


@pytest.mark.parametrize(
    ("scenario", "version", "refused_by"),
    [
        (BASE, "6.3", Verdict.OK),
        ("P=0-4:rw,f1@0,p1 | new 4-8:rw,f1@4", "6.3", Verdict.POLICY),
        ("P=0-4:r,f1@0 | new 4-8:rw,f1@4", "6.3", Verdict.FLAGS),
        ("P=0-4:rwD,f1@0 | new 4-8:rw,f1@4", "6.3", Verdict.OK),
        ("P=0-4:rwD,f1@0 | new 4-8:rw,f1@4", "3.13", Verdict.FLAGS),
        ("P=0-4:rw,f2@0 | new 4-8:rw,f1@4", "6.3", Verdict.FILE),
        ("P=0-4:rw,f1@0,c | new 4-8:rw,f1@4", "6.3", Verdict.CLOSE),
        ("P=0-4:rw,f1@0,c | new 4-8:rw,f1@4", "6.5", Verdict.OK),
        ("P=0-4:rw,f1@0,u1 | new 4-8:rw,f1@4", "6.3", Verdict.UFFD),
        ("P=0-4:rw,f1@0,u1 | new 4-8:rw,f1@4", "4.2", Verdict.OK),
        ("P=0-4:rw,f1@0,n1 | new 4-8:rw,f1@4", "6.3", Verdict.NAME),
        ("P=0-4:rw,f1@0,n1 | new 4-8:rw,f1@4", "5.16", Verdict.OK),
        ("P=0-4:rw,f1@0,a1 | new 4-8:rw,f1@4,a2", "6.3", Verdict.ANON_VMA),
        ("P=0-4:rw,f1@0 | new 4-8:rw,f1@4,a2", "6.3", Verdict.ANON_VMA),
        ("P=0-4:rw,f1@0 | new 4-8:rw,f1@4,a2", "2.6.39", Verdict.OK),
        ("P=0-4:rw,f1@0 | new 4-8:rw,f1@4,a2", "6.16", Verdict.OK),
        ("P=0-4:rw,f1@0,a1x2 | new 4-8:rw,f1@4", "6.3", Verdict.ANON_VMA),
        ("P=0-4:rw,f1@0 | new 4-8:rw,f1@5", "6.3", Verdict.PGOFF),
        # A private file mapping that may be written also counts its anonymous pages since 7.3.
        ("P=0-4:rwW,f1@0,^9 | new 4-8:rwW,f1@4", "7.2", Verdict.OK),
        ("P=0-4:rwW,f1@0,^9 | new 4-8:rwW,f1@4", "7.3", Verdict.PGOFF),
        ("P=0-4:rwWs,f1@0,^9 | new 4-8:rwWs,f1@4", "7.3", Verdict.OK),
        ("P=0-4:rwW,f1@0 | new 4-8:rwW,f1@4", "7.3", Verdict.OK),
        # All at once: the first in the kernel's order speaks.
        ("P=0-4:r,f2@9,c,u1,n1,p1,a1 | new 4-8:rw,f1@4,a2", "6.3", Verdict.POLICY),
        ("P=0-4:r,f2@9,c,u1,n1,a1 | new 4-8:rw,f1@4,a2", "6.3", Verdict.FLAGS),
        ("P=0-4:rw,f1@9,c,u1,n1,a1 | new 4-8:rw,f1@4,a2", "6.3", Verdict.CLOSE),
    ],
)
def test_the_first_check_that_fails_is_the_verdict(scenario, version, refused_by):
    step = only(version, scenario)
    assert step.result.outcome.asked[0].verdict is refused_by
    assert step.result.outcome.merged is (refused_by is Verdict.OK)


@pytest.mark.parametrize("special", "IPME")
def test_special_mappings_never_merge(special):
    step = only("6.5", f"P=0-4:rw{special},f1@0 | new 4-8:rw{special},f1@4")
    assert step.result.outcome.refusal is Refusal.SPECIAL


def test_checks_tell_what_was_not_asked_and_not_reached():
    kernel_65 = kernel("6.5")
    step = only("6.5", "P=0-4:rw,f1@0,c,u1 | new 4-8:rw,f1@4")
    marks = {check.name: check.mark for check in checks(kernel_65, step.result.outcome.asked[0])}
    assert marks[Verdict.FILE] is Mark.HELD
    assert marks[Verdict.CLOSE] is Mark.NOT_ASKED
    assert marks[Verdict.UFFD] is Mark.FAILED
    assert marks[Verdict.PGOFF] is Mark.NOT_REACHED


# --- the eight cases ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scenario", "case", "after"),
    [
        ("P=0-4:rw N=8-12:rw | new 4-8:rw", 1, "PPPPPPPPPPPP"),
        ("P=0-4:rw N=9-12:rw | new 4-8:rw", 2, "PPPPPPPP.|NNN"),
        ("P=0-3:rw N=8-12:rw | new 4-8:rw", 3, "PPP.|NNNNNNNN"),
        ("P=0-8:r N=8-12:rw | modify 4-8:rw", 4, "PPPP|NNNNNNNN"),
        ("P=0-4:rw C=4-12:r | modify 4-8:rw", 5, "PPPPPPPP|CCCC"),
        ("P=0-4:rw C=4-8:r N=8-12:rw | modify 4-8:rw", 6, "PPPPPPPPPPPP"),
        ("P=0-4:rw C=4-8:r N=8-12:r | modify 4-8:rw", 7, "PPPPPPPP|NNNN"),
        ("P=0-4:r C=4-8:r N=8-12:rw | modify 4-8:rw", 8, "PPPP|NNNNNNNN"),
    ],
)
@pytest.mark.parametrize("version", ["4.9", "6.0", "6.3", "6.5", "6.9", "6.12", "7.3"])
def test_without_close_the_eight_cases_never_changed(version, scenario, case, after):
    step = only(version, scenario)
    assert step.result.outcome.case == case
    assert strip(step.after) == after


def test_case_8_was_the_other_way_round_before_4_9():
    #   PPPP|CCCC|NNNN, C becomes like N
    scenario = "P=0-4:r C=4-8:r N=8-12:rw | modify 4-8:rw"
    assert strip(only("4.8", scenario).after) == "PPPP|CCCCCCCC"
    assert strip(only("4.9", scenario).after) == "PPPP|NNNNNNNN"


SHM = "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c N=8-12:r,f1@8,c | modify 4-8:rw"


@pytest.mark.parametrize(
    ("version", "after", "leaked"),
    [
        ("6.3", "PPPP|CCCC|NNNN", ()),
        ("6.5", "PPPPPPPP|NNNN", ("C",)),
        ("6.6.24", "PPPP|CCCC|NNNN", ()),
        ("6.9", "PPPP|CCCC|NNNN", ()),
        ("6.12", "PPPP|CCCC|NNNN", ()),
        ("6.5:removed", "PPPP|CCCC|NNNN", ()),
        ("6.5:none", "PPPPPPPP|NNNN", ("C",)),
    ],
)
def test_the_leak_in_case_7(version, after, leaked):
    step = only(version, SHM)
    assert strip(step.after) == after
    assert step.leaked == leaked


def test_mremap_growth_at_every_moment():
    #   PPPP........ with ->close, grown by four pages
    scenario = "P=0-4:rw,f1@0,c | mremap P+4"
    grown = {
        name: only(version, scenario).result.status == "merged" for name, version in MOMENTS.items()
    }
    assert [name for name, works in grown.items() if not works] == ["regression"]


# --- the address space --------------------------------------------------------------------------


def test_split_opens_the_new_piece():
    space = AddressSpace([parse_vma("A=0-8:rw,f1@0,c,a1")])
    lower, upper = space.split(space.vmas[0], 4, new_below=True)
    assert (str(lower), str(upper)) == ("A.1=0-4:rw,f1@0,c,a1", "A=4-8:rw,f1@4,c,a1")
    assert space.log.opened == ("A.1",)
    assert space.log.dups == (("A.1", "A"),)


def test_unmap_closes():
    space = AddressSpace.parse("A=0-8:rw,f1@0,c")
    run(space, kernel("6.5"), parse_operation("unmap 2-4"))
    assert strip(space.vmas) == "AA..|AAAA"
    assert space.log.closed == ("A",)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("A=0-4:rw B=2-6:rw", "overlaps its left neighbour: move its start to 4"),
        ("A=0-4:rw A=4-6:rw", "give each a name of its own"),
        ("A=4-4:rw", "empty range"),
        ("A=0-4:rq?", "unknown flag '?'"),
        ("A=0-4", "write NAME=START-END:FLAGS"),
        ("A=0-4:rw,z9", "unknown attribute 'z9'"),
        ("A=0-4:rw,f@x", "names no file"),
        ("A=0-4:rw,f1@x", "needs a page number"),
        ("A=0-4:rw,a1x0", "is no anon_vma"),
        ("AABB", "holds two VMAs"),
        ("AA~AA", "cut short"),
        ("AAAA|BB A=0-4:rw", "disagree"),
        ("AA BB", "write it without blanks, as in AA|BB"),
        ("PPPP | CC", "as in PPPP|CC"),
        ("three", "write a letter a page"),
        ("....PP", "....|PP"),
        ("A=0-4:rw c", "as in A=0-4:rw,c"),
        ("AAAA A=0-4:rw B", "stands alone"),
        ("A1|B", "is no layout"),
    ],
)
def test_a_wrong_layout_gets_one_sentence(text, advice):
    with pytest.raises((NotationError, SpaceError)) as caught:
        AddressSpace.parse(text)
    assert advice in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scenario", "advice"),
    [
        ("P=0-4:rw", "no operation in"),
        ("P=0-4:rw | ", "no operation in"),
        ("P=0-4:rw | merge 2-4:r", "unknown operation 'merge'"),
        ("P=0-4:rw | munmap 2-4", "did you mean unmap?"),
        ("P=0-4:rw | protct 2-4:r", "did you mean protect?"),
        ("P=0-4:rw | unmap 2-4;", "remove the ;"),
        ("P=0-4:rw | modify 2-4", ""),
        ("P=0-4:rw | modify 4-2:r", "empty range"),
        ("P=0-4:rw | modify 2-6:r", "must lie inside one VMA"),
        ("P=0-4:rw | new 2-6:r", "overlaps P=0-4:rw"),
        ("P=0-4:rw | protect 2-4", "write flags behind the range"),
        ("P=0-4:rw | unmap 2-4:r", "unmap takes a range alone"),
        ("P=0-4:rw | mremap Q+4", "there is no VMA Q"),
        ("P=0-4:rw | mremap P", "write mremap NAME+PAGES"),
        ("P=0-4:rw | mremap P+0", "write mremap NAME+PAGES"),
    ],
)
def test_a_wrong_operation_gets_one_sentence(scenario, advice):
    if not advice:
        assert only("6.5", scenario).result.status == "same"
        return
    with pytest.raises(NotationError) as caught:
        trace(kernel("6.5"), scenario)
    assert advice in str(caught.value)


def test_check_notices_what_is_broken():
    space = AddressSpace.parse("A=0-4:rw B=4-8:rw")
    space.check()
    space.tree.swap(space.vmas[0], space.vmas[0]._replace(vm_end=6))
    with pytest.raises(InvariantError, match="overlaps"):
        space.check()
    space = AddressSpace.parse("A=0-4:rw,c")
    space._change([], [], Log(closed=("A",)))
    with pytest.raises(InvariantError, match="still here"):
        space.check()


def test_the_tree_agrees_with_a_plain_list():
    draw = random.Random(7)
    tree = VmaTree()
    plain: list[VMA] = []
    for _ in range(6 * LOAD):
        address = draw.randrange(0, 40 * LOAD, 4)
        before, held, above = tree.around(address)
        starts = sorted(vma.vm_start for vma in plain)
        assert held == next((vma for vma in plain if vma.vm_start == address), None)
        assert (before and before.vm_start) == max(
            (start for start in starts if start < address), default=None
        )
        assert (above and above.vm_start) == min(
            (start for start in starts if start > address), default=None
        )
        if held is None:
            vma = VMA(f"v{address}", address, address + 4)
            tree.add(vma)
            plain.append(vma)
        elif draw.random() < 0.4:
            tree.remove(held)
            plain.remove(held)
    assert len(tree) == len(plain) > LOAD
    assert list(tree) == sorted(plain, key=lambda vma: vma.vm_start)


def test_the_tree_may_run_empty():
    vmas = [VMA(f"v{page}", page, page + 1) for page in range(3 * LOAD)]
    tree = VmaTree(vmas)
    for vma in vmas:
        tree.remove(vma)
    assert (len(tree), list(tree), tree.around(5)) == (0, [], (None, None, None))
    tree.add(vmas[9])
    assert tree.around(9) == (None, vmas[9], None)


# --- text ---------------------------------------------------------------------------------------


def test_a_strip_is_one_letter_a_page():
    vmas = parse_layout("P=1-4:rw C=4-6:r N=8-9:rw")
    assert strip(vmas) == ".|PPP|CC..|N"
    assert strip(vmas, 12) == ".|PPP|CC..|N..."
    assert strip(parse_layout("P=0-100:rw")) == "PPPP~PPPP"
    assert strip([]) == "."


def test_scenarios_may_have_an_id_or_not():
    for text in ("7c P=0-4:rw | unmap 0-4", "P=0-4:rw | unmap 0-4", "7c: PPPP | unmap 0-4"):
        _, vmas, operations = parse_scenario(text)
        assert [str(vma) for vma in vmas] == ["P=0-4:rw"]
        assert [str(operation) for operation in operations] == ["unmap 0-4"]


def test_replay_writes_the_recorded_form():
    line = SHM.replace("P=", "7c P=", 1)
    assert replay_line(kernel("6.3"), line) == "7c no"
    assert replay_line(kernel("6.5"), line) == (
        "7c merged:P=0-8 as=P=0-8:rw,f1@0,c;N=8-12:r,f1@8,c removed=C closed=- leaked=C"
    )


def test_explanations_name_the_deciding_check_and_the_loss():
    chosen = kernel("6.5")
    step = only("6.5", SHM)
    assert verdict(chosen, step) == "case 7: P grows; C vanishes"
    assert "never called" in owed(step)
    refused = only("6.3", SHM)
    assert "prev P fails on close" in verdict(kernel("6.3"), refused)
    assert "has ->close" in questions(kernel("6.3"), refused.result.outcome)[0]


@pytest.mark.parametrize("width", [60, 100, 160])
def test_side_by_side_keeps_its_width(width):
    text = explain([kernel("6.3"), kernel("6.5"), kernel("6.12")], SHM, width)
    assert max(map(len, text.splitlines())) <= width
    for name in ("workaround", "may_remove_vma", "really_removed"):
        assert name in text


def test_each_file_imports_only_what_comes_before_it_in_the_reading_order():
    package = Path(vmakernel.__file__).parent
    layers = re.findall(r"^\w+: +(.+)$", vmakernel.__doc__, re.MULTILINE)
    order = [name for layer in layers for name in layer.split(", ")]
    there = {path.stem for path in package.glob("*.py")} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }
    assert set(order) == there - {"__init__"}
    for place, name in enumerate(order):
        path = package / f"{name}.py"
        body = ast.parse((path if path.exists() else package / name / "__init__.py").read_text())
        for node in body.body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vmakernel"):
                _, _, module = (node.module or "").partition(".")
                wanted = [module] if module else [alias.name for alias in node.names]
                above = [one for one in wanted if one.split(".")[0] not in order[: place + 1]]
                assert not above, f"{name} imports {above}, which comes later or is not listed"


def test_the_core_needs_neither_matplotlib_nor_widgets():
    code = (
        "import sys, vmakernel, vmakernel.__main__;"
        "sys.exit(bool({'matplotlib', 'ipywidgets', 'IPython'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
