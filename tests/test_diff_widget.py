"""Scenarios of one's own in the toggle lab, and the witnesses that open there."""

import ast
import io
from contextlib import redirect_stdout
from itertools import product

import pytest

from vmakernel import draw, explore, widgets
from vmakernel.__main__ import main
from vmakernel.diff_widget import DiffLab, Witnesses, diff_lab
from vmakernel.explain import explain, trace
from vmakernel.kernels import Kernel, Removal, kernel
from vmakernel.layout import strip
from vmakernel.plane_widget import plane_lab
from vmakernel.toggle_lab import LABELS, OWN, SITUATIONS, ToggleLab

PAIRS = [("6.3", "6.5"), ("6.5", "6.9"), ("6.9", "6.12")]
LEAK = "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c | protect 4-8:rw"
OTHERS = [
    "PPPP|CCCC|NN | modify 4-8:rw",
    "P=0-4:rw,f1@0,c | mremap P+4",
    "P=0-12:rw,f1@0,c | protect 4-8:r; protect 4-8:rw; unmap 0-12",
    "Q=5-9:rwE,a1x2 Z=9-70000:rw,n1,p1,u1 | unmap 6-8",
    ". | new 0-4:rw",
]


def shows(lab: ToggleLab, scenario: str, *kernels: Kernel) -> None:
    """Assert that the lab shows what the engine, asked directly, says of a scenario."""
    assert lab.complaint == ""
    steps = trace(kernels[0], scenario)
    told = draw.told(kernels[0], steps[-1])
    assert lab.outcome == f"{kernels[0]}: {strip(steps[-1].after)} {told}"
    assert [step.after for step in lab.traces[0]] == [step.after for step in steps]
    assert lab.picture.svg == draw.before_after(scenario, *kernels).svg
    assert lab.picture.svg in lab.view.value


@pytest.fixture(scope="module")
def diffs() -> dict[tuple[str, str], DiffLab]:
    return {pair: diff_lab(explore.diff(*map(kernel, pair))) for pair in PAIRS}


# --- a scenario of one's own ----------------------------------------------------------------------


@pytest.mark.parametrize("scenario", [LEAK, *OTHERS])
def test_every_rule_is_put_to_a_scenario_of_ones_own(scenario: str) -> None:
    lab = widgets.toggle_lab(scenario, compared="")
    for moment in LABELS.values():
        lab.moment.value = moment
        shows(lab, scenario, kernel(moment))
        for before, after, removed in product((True, False), (True, False), Removal):
            lab.before.value, lab.after.value, lab.removed.value = before, after, removed
            rule = kernel(moment).rule.toggled(before=before, after=after, removed=removed)
            shows(lab, scenario, kernel(moment).with_rule(lab.kernel.rule))
            asked = lab.kernel.rule
            assert (asked.before, asked.after, asked.removed) == (before, after, removed)
            assert lab.outcome.partition(": ")[2] == _outcome(kernel(moment).with_rule(rule), lab)
    for compared in LABELS.values():
        lab.moment.value, lab.compared.value = "pre_git", compared
        both = [kernel("pre_git"), *([kernel(compared)] if compared != "pre_git" else [])]
        shows(lab, scenario, *both)
    lab.as_text.value = True
    assert explain(lab.kernels, scenario).splitlines()[0] in lab.view.value


def _outcome(one: Kernel, lab: ToggleLab) -> str:
    step = trace(one, lab.scenario)[-1]
    return f"{strip(step.after)} {draw.told(one, step)}"


def test_what_the_scenario_says_itself_rests_and_comes_back_with_a_situation() -> None:
    lab = widgets.toggle_lab(LEAK)
    resting = [lab.range, *lab.close.values()]

    assert lab.situation.value == OWN
    assert all(control.disabled for control in resting)
    assert all("(as typed)" in box.description for box in lab.close.values())
    assert "so those controls rest" in lab.note.value

    for name in SITUATIONS:
        lab.situation.value = name
        assert not lab.range.disabled
        assert not lab.close["prev"].disabled or "P" not in SITUATIONS[name].layout
        assert "rest" not in lab.note.value
        assert lab.own.value == LEAK
        lab.situation.value = OWN
        assert lab.scenario == LEAK


def test_typing_a_scenario_goes_to_it() -> None:
    lab = widgets.toggle_lab()
    lab.own.value = OTHERS[1]

    assert lab.situation.value == OWN
    shows(lab, OTHERS[1], kernel("6.5"), kernel("6.3"))


def test_mixed_owners_are_said_to_be_impossible_here_as_well() -> None:
    assert "no real driver" in widgets.toggle_lab(LEAK.replace("f1@4,c", "f1@4")).note.value
    assert "no real driver" not in widgets.toggle_lab(LEAK).note.value


@pytest.mark.parametrize(
    ("scenario", "says"),
    [
        ("", "type a scenario of your own, such as P=0-4:rw"),
        ("   ", "type a scenario of your own"),
        ("nonsense", "write VMA* | OP"),
        ("P=0-4:rw |", "no operation in"),
        ("P=0-4:rw | modfy 2-4:r", "did you mean modify?"),
        ("P=0-4:rw | modify 2-9:r", "must lie inside one VMA"),
        ("P=0-4:rw P=4-8:rw | unmap 0-4", "two VMAs are called P"),
        ("P=0-4:rw Q=2-8:rw | unmap 0-4", "overlaps its left neighbour"),
        ("P=0-4:rw | mremap Q+4", "there is no VMA Q"),
        ("P=0-4:zz | unmap 0-4", "z"),
        ("P=<script>alert(1)</script> | unmap 0-4", "<script>"),
    ],
)
def test_a_wrong_scenario_gets_one_sentence_and_what_was_typed_stays(
    scenario: str, says: str
) -> None:
    lab = widgets.toggle_lab(LEAK)
    lab.own.value = scenario

    assert lab.own.value == scenario
    assert says in lab.complaint
    assert lab.complaint
    assert "\n" not in lab.complaint
    assert repr(lab) == lab.outcome == lab.complaint
    assert "<script" not in lab.message.value + lab.view.value
    assert lab.svg.startswith("<svg")

    lab.own.value = LEAK
    shows(lab, LEAK, kernel("6.5"), kernel("6.3"))


@pytest.mark.parametrize(
    ("rule", "compared", "says"),
    [("6.55", None, "there is no Linux 6.55"), ("6.5", "6.5:all", "unknown close test 'all'")],
)
def test_a_wrong_rule_gets_one_sentence_and_the_scenario_is_shown(
    rule: str, compared: str | None, says: str
) -> None:
    lab = widgets.toggle_lab(LEAK, rule=rule, compared=compared)

    assert says in lab.complaint
    assert lab.own.value == LEAK
    assert lab.picture.svg in lab.view.value


@pytest.mark.parametrize("rule", ["6.14", "2.6.12", "6.5:both", "7.3", "regression"])
def test_any_kernel_can_be_opened_and_compared_with(rule: str) -> None:
    lab = widgets.toggle_lab(LEAK, rule=rule, compared="6.18")
    shows(lab, LEAK, kernel(rule), kernel("6.18"))
    assert lab.moment.value == ("regression" if rule == "regression" else None)

    lab.open(LEAK, "6.9", rule)
    shows(lab, LEAK, kernel("6.9"), kernel(rule))
    lab.moment.value = "workaround"
    shows(lab, LEAK, kernel("6.3"), kernel(rule))
    lab.open(LEAK, compared="")
    shows(lab, LEAK, kernel("6.3"))


def test_a_scenario_can_be_chosen_by_name_as_well() -> None:
    lab = widgets.toggle_lab().choose(scenario=LEAK, moment="case7_fix")

    assert lab.situation.value == OWN
    shows(lab, LEAK, kernel("6.9"), kernel("6.3"))
    assert lab.choose(situation=7).scenario != LEAK
    assert lab.choose(situation=OWN).scenario == LEAK
    assert "scenario cannot be 3" in repr(lab.choose(scenario=3))


# --- the witnesses --------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", PAIRS)
def test_every_witness_of_the_patches_opens_in_the_lab(
    diffs: dict[tuple[str, str], DiffLab], pair: tuple[str, str]
) -> None:
    panel = diffs[pair]
    before, after = map(kernel, pair)
    assert len(panel.choice.options) - 1 == len(panel.diff.groups) > 1
    for number, group in enumerate(panel.diff.groups, 1):
        panel.choice.value = number

        assert panel.opened == number
        assert panel.lab.own.value == group.witness
        shows(panel.lab, group.witness, after, before)
        assert panel.lab.box.layout.display is None
        assert panel.choice.label.startswith(f"{number}: ")
        assert group.witness in panel.listed.value.replace("&gt;", ">")
        assert repr(panel).endswith(repr(panel.lab))
        assert panel.open(number).opened == number

    panel.choice.value = 0
    assert panel.lab.box.layout.display == "none"
    assert repr(panel) == str(panel.diff)


def test_what_is_stored_of_a_list_is_its_table(diffs: dict[tuple[str, str], DiffLab]) -> None:
    panel = diffs["6.5", "6.9"]
    bundle = panel._repr_mimebundle_()

    assert bundle["text/plain"] == str(panel.diff)
    assert "106,040 are refused that merged" in bundle["text/html"]
    assert "case 7" not in bundle["text/html"].splitlines()[0]


@pytest.mark.parametrize("number", [0, 3, -1, "one", None])
def test_a_witness_that_is_not_there_gets_one_sentence(
    diffs: dict[tuple[str, str], DiffLab], number: int
) -> None:
    assert "there is 1 to 2" in repr(diffs["6.5", "6.9"].open(number))
    assert "there is none" in repr(Witnesses().open(1))


def test_no_difference_is_a_sentence() -> None:
    panel = diff_lab(explore.diff(kernel("6.12"), kernel("6.12")))

    assert panel.choice.layout.display == "none"
    assert panel.opened == 0
    assert "nothing changes" in repr(panel)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.nightly
def test_the_witnesses_against_every_rule_open_in_the_lab(mixed: bool) -> None:
    plane = plane_lab()
    plane.mixed.value = mixed
    seen = 0
    for before, after, removed in product((True, False), (True, False), Removal):
        plane.before.value, plane.after.value, plane.removed.value = before, after, removed
        against = [scenario for _, scenario in plane.witnesses if scenario]
        assert [one.scenario for one in plane.against.witnesses] == against
        assert plane.against.opened == 0
        for number, scenario in enumerate(against, 1):
            plane.against.choice.value = number
            shows(plane.against.lab, scenario, plane.mine.kernel)
            seen += 1
    assert seen > 12


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("pair", [*PAIRS, ("6.5", "6.5:removed")])
def test_the_command_line_prints_a_line_to_paste_for_each_witness(pair: tuple[str, str]) -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        assert main(["diff", *pair]) == 0

    lines = [line for line in out.getvalue().splitlines() if line.startswith("widgets.")]
    groups = explore.diff(*map(kernel, pair)).groups
    for line, group in zip(lines, groups, strict=True):
        call = ast.parse(line, mode="eval").body
        assert isinstance(call, ast.Call)
        (scenario,) = map(ast.literal_eval, call.args)
        named = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
        assert scenario == group.witness
        lab = widgets.toggle_lab(scenario, **named)
        shows(lab, scenario, kernel(pair[1]), kernel(pair[0]))


def test_where_nothing_changes_there_is_nothing_to_paste() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        main(["diff", "6.12", "6.12"])

    assert "toggle_lab" not in out.getvalue()
