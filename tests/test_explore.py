"""The small world: its counts, and whether a class ever mixes two answers."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from vmakernel import explore
from vmakernel.explain import explain, trace
from vmakernel.explore import Deed, Diff, deed, diff, judge, plane, same, same_rule, toggled, twins
from vmakernel.flags import InputError, parse_flags
from vmakernel.guard import Stopped
from vmakernel.kernels import MOMENTS, RULES, TOGGLES, Kernel, Removal, Rule, UnknownKernel, kernel
from vmakernel.outcome import Outcome
from vmakernel.own import Question, own
from vmakernel.predicates import Verdict
from vmakernel.vma import AnonVma
from vmakernel.world import SHAPES, World, asked_by, classes, classes_of, free, key_of, world

HISTORY = {name: kernel(version) for name, version in MOMENTS.items()}
PAIRS = [
    (kernel(a), kernel(b))
    for a, b in (
        ("6.3", "6.5"), ("6.5", "6.9"), ("6.9", "6.12"), ("6.0", "6.1.0"), ("6.1.0", "6.3"),
        ("2.6.12", "4.8"), ("4.8", "4.9"), ("6.14", "6.18"), ("6.18", "6.19"), ("7.2", "7.3"),
    )
]  # fmt: skip
# The patch, and the last border; the others wait for the night.
AT_ONCE = {"6.3-6.5", "7.2-7.3"}


def name_of(pair: tuple[Kernel, Kernel]) -> str:
    return f"{pair[0].version}-{pair[1].version}"


every_pair = pytest.mark.parametrize(
    "pair",
    [
        pytest.param(
            pair, id=name_of(pair), marks=[] if name_of(pair) in AT_ONCE else pytest.mark.nightly
        )
        for pair in PAIRS
    ],
)

# Small enough to be decided one by one; together they have all that the full world has.
RW, R, DIRTY, IO = map(parse_flags, ("rw", "r", "rwD", "rwI"))
BOTH = ((0, 0), (96, 96))
A1, A2, FORKED = AnonVma("1"), AnonVma("2"), AnonVma("1", 2)
SMALL = {
    "close and anon_vma": World(True, (RW,), (RW, R), BOTH[:1], ("1", None), ("",), (None, A1, A2)),
    "forked": World(True, (RW,), (RW, R), BOTH[:1], ("1",), ("",), (None, A1, FORKED)),
    "flags": World(True, (RW, DIRTY, IO), (RW, R, DIRTY), BOTH, ("1", None), ("",), (None,)),
    "labels": World(True, (RW, IO), (RW, R), BOTH[:1], ("1",), ("", "1"), (None,)),
}


def outcomes(configuration, *kernels: Kernel) -> list[Outcome]:
    return [configuration.decide(one) for one in kernels]


def differ(then: Outcome, now: Outcome) -> bool:
    return (then.before, then.after) != (now.before, now.after)


def answer(configuration, a: Kernel, b: Kernel) -> tuple[Deed, Deed, bool]:
    """Return all that is counted of a configuration."""
    then, now = outcomes(configuration, a, b)
    return deed(then), deed(now), differ(then, now)


# --- classes against brute force -----------------------------------------------------------------


def brute_force(
    small: World, pair: tuple[Kernel, Kernel]
) -> tuple[Counter[tuple[Deed, Deed, bool]], Counter[tuple[Deed, Deed, bool]]]:
    """Return what is counted one by one, and what the classes claim."""
    counted = Counter(answer(one, *pair) for one in small.everything())
    claimed: Counter[tuple[Deed, Deed, bool]] = Counter()
    for one in classes_of(small, asked_by(*pair)):
        claimed[answer(one.example, *pair)] += one.size
    return counted, claimed


@every_pair
@pytest.mark.parametrize("name", SMALL)
def test_classes_count_what_brute_force_counts(name, pair):
    counted, claimed = brute_force(SMALL[name], pair)
    assert claimed == counted
    assert counted.total() > 2_000


@pytest.mark.nightly
@pytest.mark.parametrize("name", SMALL)
def test_and_with_close_on_any_vma(name):
    counted, claimed = brute_force(SMALL[name]._replace(uniform=False), PAIRS[0])
    assert claimed == counted


@every_pair
@pytest.mark.parametrize("uniform", [True, pytest.param(False, marks=pytest.mark.nightly)])
def test_a_class_answers_for_its_members(uniform, pair):
    small, asked = world(*pair, uniform=uniform), asked_by(*pair)
    examples = {one.key: one.example for one in classes(*pair, uniform=uniform)}
    dice = random.Random(f"{pair} {uniform}")
    merged = 0
    for _ in range(1000):
        one = small.sample(dice.choice(SHAPES), dice, alike=0.8)
        example = examples[key_of(one, asked)]
        assert answer(one, *pair) == answer(example, *pair), (
            f"{one.scenario} and {example.scenario}"
        )
        merged += any(outcome.merged for outcome in outcomes(one, *pair))
    assert merged > 50  # or it would say little


@pytest.mark.parametrize("alike", [0.0, 0.8])
def test_samples_are_of_the_world(alike):
    small = SMALL["labels"]
    everything = {one.scenario for one in small.everything()}
    dice = random.Random(1)
    assert all(
        small.sample(dice.choice(SHAPES), dice, alike=alike).scenario in everything
        for _ in range(300)
    )


def test_every_configuration_is_there_once():
    for small in SMALL.values():
        everything = [(one.shape, one.scenario) for one in small.everything()]
        assert len(set(everything)) == len(everything)


def test_a_class_is_an_example_of_itself():
    pair = PAIRS[0]
    for one in classes(*pair, uniform=False):
        assert key_of(one.example, asked_by(*pair)) == one.key


def test_closes_are_uniform_where_they_should_be():
    #     PPPP|CCCC|NNNN    all of file 1: all with ->close, or none
    for one in classes(*PAIRS[0]):
        files = {vma.vm_file: vma.has_close for vma in one.example.vmas}
        assert all(files[vma.vm_file] == vma.has_close for vma in one.example.vmas)
        assert not files.get(None)
    assert any(
        len({vma.has_close for vma in one.example.vmas}) > 1
        for one in classes(*PAIRS[0], uniform=False)
    )


# --- what history changed ------------------------------------------------------------------------


def told(found: Diff) -> dict[tuple[int, int, int, str], int]:
    """Return (would be, case before, case after, vanishes) -> how many configurations."""
    counts: Counter[tuple[int, int, int, str]] = Counter()
    for group in found.groups:
        vanish = "".join(group.after.vanishes)
        counts[group.situation, group.before.case, group.after.case, vanish] += group.size
    return counts


def test_what_the_patch_changed():
    found = diff(kernel("6.3"), kernel("6.5"))
    assert found.configurations == 305_461_074
    assert told(found) == {
        (0, 0, 0, ""): 2_410,  # the workaround grew VM_IO mappings too
        (1, 0, 2, ""): 408,
        (2, 0, 2, ""): 47_760,
        (3, 0, 2, ""): 32,
        (5, 0, 5, ""): 106_040,
        (6, 0, 7, "C"): 920,
        (7, 0, 7, "C"): 105_120,
    }
    assert found.differing == 262_690
    assert found.count("newly_allowed") == 260_280
    assert found.count("newly_refused") == 2_410
    assert found.loses_close == 106_040
    assert {g.situation for g in found.groups if g.after.loses_close} == {6, 7}


def test_what_the_fix_took_back():
    patch, fix = diff(kernel("6.3"), kernel("6.5")), diff(kernel("6.5"), kernel("6.9"))
    leaked = {g.situation: g.size for g in patch.groups if g.after.loses_close}
    assert {g.situation: g.size for g in fix.groups} == leaked
    assert {g.change for g in fix.groups} == {"newly_refused"}


def test_what_6_12_allowed():
    found = diff(kernel("6.9"), kernel("6.12"))
    allowed = [group for group in found.groups if group.change == "newly_allowed"]
    assert {group.situation for group in allowed} == {3, 4}
    assert sum(group.size for group in allowed) == 153_768
    assert not found.loses_close
    assert not found.count("newly_refused")


def test_the_regression_and_the_workaround_are_about_mremap():
    assert {g.calls for g in diff(kernel("6.1.0"), kernel("6.3")).groups} == {("mremap",)}
    lost = diff(kernel("6.0"), kernel("6.1.0"))
    assert {g.calls for g in lost.groups if g.change == "newly_refused"} == {("mremap",)}


def test_nothing_changes_between_versions_that_decide_alike():
    assert diff(kernel("6.4.6"), kernel("6.6.17")).groups == ()
    assert str(diff(kernel("6.12"), kernel("6.14"))).count("nothing changes") == 1


@pytest.mark.parametrize("uniform", [True, False])
@every_pair
def test_every_witness_replays(pair, uniform):
    found = diff(*pair, uniform=uniform)
    for group in found.groups:
        for one, expected in zip(pair, (group.before, group.after), strict=True):
            (step,) = trace(one, group.witness)
            shown = step.result.outcome
            got = deed(shown) if shown else Deed(0, ("P",) if step.result.vma else ())
            assert got == expected, f"{one}: {group.witness}"
            assert step.leaked == expected.loses_close
        assert explain(pair, group.witness)


def test_a_rule_may_be_named_by_its_text_and_a_slip_is_one_sentence():
    assert str(diff("6.3", "6.5")) == str(diff(kernel("6.3"), kernel("6.5")))
    assert str(judge("6.12")) == str(judge(kernel("6.12")))
    for call in (lambda: judge("6.55"), lambda: diff("6.3", "6.5x"), lambda: same("6.3", "x")):
        with pytest.raises(UnknownKernel):
            call()


def test_the_smallest_witness_is_small():
    groups = {g.situation: g.witness for g in diff(kernel("6.3"), kernel("6.5")).groups}
    assert groups[7] == "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c | modify 4-8:rw"
    assert groups[5] == "P=0-4:rw,f1@0,c C=4-12:r,f1@4,c | modify 4-8:rw"


def test_a_diff_as_text_and_as_json():
    found = diff(kernel("6.3"), kernel("6.5"))
    data = json.loads(json.dumps(found.as_json()))
    assert data["rules"] == ["6.3 (workaround)", "6.5 (may_remove_vma)"]
    assert data["differing"] == sum(group["count"] for group in data["groups"])
    leak = next(group for group in data["groups"] if group["situation"] == 7)
    assert (leak["case_before"], leak["case_after"], leak["change"]) == (0, 7, "newly_allowed")
    assert (leak["grows"], leak["vanishes"], leak["loses_close"]) == (["P"], ["C"], ["C"])
    assert "262,690 of 305,461,074" in str(found)
    assert "->close of C lost" in str(found)


# --- safe and minimal ----------------------------------------------------------------------------


def verdicts(uniform: bool) -> dict[str, tuple[bool, bool]]:
    found = {name: judge(one, uniform=uniform) for name, one in HISTORY.items()}
    return {name: (one.safe, one.minimal) for name, one in found.items()}


def test_safe_and_minimal_with_real_drivers():
    assert verdicts(uniform=True) == {
        "pre_git": (True, False),
        "regression": (True, False),
        "workaround": (True, False),
        "may_remove_vma": (False, False),
        "case7_fix": (True, False),
        "really_removed": (True, True),
    }


@pytest.mark.nightly
def test_only_6_12_is_safe_whatever_the_drivers_do():
    safe = {name for name, (safe, _) in verdicts(uniform=False).items() if safe}
    assert safe == {"really_removed"}


@pytest.mark.nightly
def test_judgements_count_what_brute_force_counts():
    small = SMALL["forked"]._replace(uniform=False)
    for version in ("6.3", "6.5", "6.9", "6.12"):
        chosen = kernel(version)
        counted: Counter[str] = Counter()
        for one in small.everything():
            outcome, unhindered = outcomes(one, chosen, free(chosen))
            ways = [unhindered, *[way.decide(free(chosen)) for way in one.with_one_neighbour]]
            safe = [len(way.removed) for way in ways if way.merged and not way.lost]
            counted["configurations"] += 1
            counted["possible"] += unhindered.merged
            counted["allowed"] += outcome.merged
            counted["losable"] += bool(unhindered.lost)
            counted["lost"] += bool(outcome.lost)
            concerned = (*unhindered.grown, *unhindered.shrunk, *unhindered.removed)
            savable = bool(safe) and any(vma.has_close for vma in concerned)
            counted["savable"] += savable
            counted["saved"] += savable and outcome.merged
            counted["refused"] += bool(safe) and not outcome.merged
            if safe and outcome.merged and not outcome.lost:
                counted["halved"] += len(outcome.removed) < max(safe)
        claimed: Counter[str] = Counter()
        for known in classes_of(small, asked_by(chosen)):
            limits = explore.limits(free(chosen), known.example)
            for name, holds in explore.facts(known.example.decide(chosen), limits).items():
                claimed[name] += known.size * holds
        assert claimed == counted
        assert bool(counted["halved"]) == (version == "6.3")


def test_lots_would_show_a_class_that_is_wrong(monkeypatch):
    old, new = kernel("6.3"), kernel("6.5")
    drawn = explore.lots(old, new, 300)
    assert (drawn.drawn, drawn.odd) == (300, ())
    assert drawn.merging > 3
    (merging, *_) = [c for c in classes(old, new) if c.example.decide(new).merged]
    monkeypatch.setattr(explore, "key_of", lambda one, asked: merging.key)
    assert len(explore.lots(old, new, 50).odd) > 10


@pytest.mark.nightly
def test_witnesses_of_a_judgement_replay():
    for uniform in (True, False):
        for one in plane(uniform=uniform):
            if not one.safe:
                assert trace(one.kernel, one.unsafe_witness)[-1].leaked
            if one.refused and not one.halved:
                assert trace(one.kernel, one.strict_witness)[-1].result.status == "no"
                (step,) = trace(free(one.kernel), one.strict_witness)
                assert step.result.status == "merged"


def test_the_plane_holds_history_and_every_toggle():
    points = plane()
    assert [point.kernel.rule.name for point in points[: len(MOMENTS)]] == list(MOMENTS)
    assert len(points) == len(MOMENTS) + 2 * 2 * len(Removal)
    corner = [p.kernel.rule.name for p in points if p.safe and p.minimal]
    assert corner == ["really_removed", "removed"]
    none = next(point for point in points if point.kernel.rule.name == "none")
    assert (none.loss, none.permission) == (1.0, 1.0)
    assert all(0 <= point.loss <= 1 and 0 <= point.permission <= 1 for point in points)
    both = [point for point in points if point.kernel.rule.name == "before + after"]
    assert [(point.saved, point.permission) for point in both] == [(0, 0.0)]
    assert explore.plane_table(points).count("\n") == len(points) + 1


def test_toggles_of_the_command_line_are_on_the_plane():
    made = {(k.rule.before, k.rule.after, k.rule.removed) for k in toggled(kernel("6.5"))}
    for toggle in TOGGLES:
        rule = kernel(f"6.5:{toggle}").rule
        assert (rule.before, rule.after, rule.removed) in made


def test_a_judgement_as_text_and_as_json():
    data = json.loads(json.dumps(judge(kernel("6.5")).as_json()))
    assert (data["rule"], data["safe"], data["minimal"]) == ("6.5 (may_remove_vma)", False, False)
    assert data["lost"] == 106_040
    assert "not safe, not minimal" in str(judge(kernel("6.5")))
    assert "refuses nothing that would be safe" in str(judge(kernel("6.12")))


# --- a rule of one's own -------------------------------------------------------------------------


def only_removed(ask: Question) -> bool:
    return ask.role == "removed" and ask.vma.has_close


def as_6_9(ask: Question) -> bool:
    asked = ask.role == "next" or (ask.role == "removed" and ask.case == 7)
    return asked and ask.vma.has_close


def loops(ask: Question) -> bool:
    while ask.case == 7:
        pass
    return False


def raises(ask: Question) -> bool:
    return bool(1 / ask.case) and ask.vma.has_close


def mumbles(ask: Question) -> bool:
    return "perhaps"  # type: ignore[return-value]


def test_a_test_of_ones_own_is_judged_and_recognised():
    mine = own("6.5", only_removed)
    verdict = judge(mine)
    assert (verdict.safe, verdict.minimal, verdict.odd_one) == (True, True, "")
    assert same_rule(mine) == ["really_removed"]
    assert diff(mine, kernel("6.5:removed")).groups == ()


@pytest.mark.nightly
def test_the_recorded_kernels_it_equals_are_found():
    assert twins(own("6.5", as_6_9)) == ["6.8.0", "6.9.0", "6.11.11"]
    assert twins(own("6.5", only_removed)) == []
    assert same(kernel("6.12"), kernel("6.13"))
    assert not same(kernel("6.14"), kernel("6.18"))


@pytest.mark.parametrize(
    ("test", "complaint"),
    [
        (loops, "loops did not come back within 0.3 s and was stopped"),
        (raises, "raises raised ZeroDivisionError in its line 2: division by zero"),
        (mumbles, "mumbles answered 'perhaps' about P (prev): return True to refuse it, or False"),
    ],
)
def test_a_test_that_goes_wrong_ends_in_a_sentence_with_its_scenario(test, complaint):
    mine = own("6.5", test, seconds=0.3)
    for ask in (judge, lambda one: diff(kernel("6.5"), one)):
        with pytest.raises(Stopped) as stopped:
            ask(mine)
        said = str(stopped.value)
        assert said.startswith(complaint)
        assert "\n" not in said
        scenario = said.partition("(it was asked about ")[2].rstrip(")")
        with pytest.raises(Stopped):  # and the scenario is the cause
            trace(mine, scenario)


def late(problem: Callable[[], object]) -> Callable[[Question], bool]:
    """A test that is sound for most of the world."""

    def nearly(ask: Question) -> Any:
        if ask.vma.vm_file is not None and ask.role == "removed" and ask.case == 8:
            return problem()
        return ask.role == "removed" and ask.vma.has_close

    return nearly


@pytest.mark.parametrize(
    "problem",
    [
        lambda: 1 / 0,
        pytest.param(lambda: "perhaps", marks=pytest.mark.nightly),
        pytest.param(lambda: time.sleep(9), marks=pytest.mark.nightly),
    ],
)
def test_many_questions_at_a_time_end_in_what_one_by_one_would_say(monkeypatch, problem):
    told = []
    for scouts in (0, 200, 10**6):  # at once, as it is, and one by one
        monkeypatch.setattr("vmakernel.own.SCOUTS", scouts)
        with pytest.raises(Stopped) as stopped:
            judge(own("6.5", late(problem), seconds=0.3))
        told.append(str(stopped.value))
    assert len(set(told)) == 1
    assert "(it was asked about " in told[0]


@pytest.mark.nightly
def test_many_questions_at_a_time_get_the_answers_of_one_by_one(monkeypatch):
    asked = []
    judged = []
    for scouts in (0, 10**6):
        monkeypatch.setattr("vmakernel.own.SCOUTS", scouts)
        mine = own("6.5", lambda ask: ask.role != "prev" and ask.vma.has_close)
        verdict = judge(mine)
        judged.append(verdict._replace(kernel=kernel("6.5")))
        asked.append(set(mine.rule.test.known))  # type: ignore[attr-defined]
    assert judged[0] == judged[1]
    assert asked[0] == asked[1]  # and no question more


def test_a_test_that_looks_at_what_no_kernel_looks_at_is_told():
    verdict = judge(own("6.5", lambda ask: ask.vma.has_close and ask.vma.vm_flags & 256 == 0))
    assert verdict.odd_one
    assert verdict.odd_one in str(verdict)


class Whole(Rule):
    def asks_removal(self, case):
        return True

    def refuses_removal(self, vma, proposal, case):
        return vma.has_close


class Endless(Rule):
    def refuses_prev(self, vma, proposal):
        while True:
            pass


def test_a_rule_can_be_a_class():
    assert same_rule(kernel("6.5").with_rule(Whole("whole", False, False))) == ["really_removed"]
    with pytest.raises(Stopped, match="Endless did not come back within 2 s"):
        judge(kernel("6.5").with_rule(Endless("endless", False, False)))


@pytest.mark.nightly
def test_predicates_can_be_replaced():
    def any_anon_vma(vma, proposal):
        return True

    def nothing(vma, proposal):
        return Verdict.FLAGS

    assert {
        group.change
        for group in diff(kernel("6.12"), own("6.12", is_mergeable_anon_vma=any_anon_vma)).groups
    } == {"newly_allowed", "changed"}
    for mine in (
        own("6.12", is_mergeable_vma=nothing),
        own("6.12", can_vma_merge_before=nothing),
        own("6.12", can_vma_merge_after=nothing),
    ):
        assert judge(mine).allowed < judge(kernel("6.12")).allowed
    with pytest.raises(InputError, match="there is no predicate can_merge: choose among close, "):
        own("6.12", can_merge=nothing)
    with pytest.raises(Stopped, match="any_anon_vma answered True about P: return Verdict"):
        judge(own("6.12", is_mergeable_vma=any_anon_vma))


def test_a_kernel_without_functions_of_ones_own_is_what_it_was():
    assert all(own(rule_kernel) == rule_kernel for rule_kernel in HISTORY.values())
    assert {one.rule.name for one in HISTORY.values()} == {rule.name for rule in RULES}
