"""The widgets: every value of every control against the engine, asked directly."""

import re
import xml.etree.ElementTree as ET
from itertools import combinations, product

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from vmakernel import draw, guard, live, toggle_lab, widgets
from vmakernel.explain import Mark, Step, checks, explain, trace
from vmakernel.flags import InputError, NotationError
from vmakernel.kernels import MOMENTS, Kernel, Removal, UnknownKernel, kernel
from vmakernel.layout import strip
from vmakernel.quiz import QuizError
from vmakernel.recorded import situation
from vmakernel.scenario import ScenarioError
from vmakernel.space import SpaceError
from vmakernel.toggle_lab import LABELS, ROLES, SITUATIONS, ToggleLab
from vmakernel.widgets import OWN, predict

LEAK = "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c N=8-12:r,f1@8,c | protect 4-8:rw"
NO_MERGE = "PPPP|CCCC|NNNN"


@pytest.fixture(autouse=True)
def forget() -> None:
    widgets._KEPT.clear()


@pytest.fixture
def lab() -> ToggleLab:
    return widgets.toggle_lab()


def read(html: str) -> str:
    """The words of a piece of HTML, without pictures."""
    return re.sub(r"\s+", " ", re.sub(r"(?s)<svg.*?</svg>|<[^>]+>", " ", html)).strip()


def unescaped(html: str) -> str:
    return html.replace("&gt;", ">").replace("&#x27;", "'").replace("&amp;", "&")


# --- the toggle lab: all of it against the engine -------------------------------------------------


def directly(lab: ToggleLab, moment: str, rule: tuple[bool, bool, Removal]) -> list[Step]:
    """What the engine says of what the controls show, put together without the lab's own code."""
    before, after, removed = rule
    one = kernel(moment)
    one = one.with_rule(one.rule.toggled(before=before, after=after, removed=removed))
    chosen = SITUATIONS[lab.situation.value]
    closed = {ROLES[role] for role, box in lab.close.items() if box.value}
    words = [word + (",c" if word[0] in closed else "") for word in chosen.layout.split()]
    start, end = lab.range.value
    spans = [(at, at + 1) for at in range(start, end)] if chosen.page_by_page else [(start, end)]
    calls = [chosen.call.format(start=a, end=b, pages=b - a) for a, b in spans]
    return trace(one, f"{' '.join(words)} | {'; '.join(calls)}")


def shows(lab: ToggleLab, steps: list[Step], one: Kernel) -> None:
    """Assert that the lab shows `steps`, in its line, its text and its picture."""
    last = steps[-1]
    told = draw.told(one, last)
    assert lab.complaint == ""
    assert lab.outcome == f"{one}: {strip(last.after)} {told}"
    assert f": {strip(last.after)} {told}" in repr(lab)
    assert [str(vma) for step in steps for vma in step.after] == [
        str(vma) for step in lab.traces[0] for vma in step.after
    ]
    assert lab.picture.svg in lab.view.value


def test_every_rule_every_owner_and_every_situation_is_as_the_engine_decides(
    lab: ToggleLab,
) -> None:
    seen = 0
    lab.compared.value = ""
    for moment, name, close in product(
        LABELS.values(), SITUATIONS, product((True, False), repeat=3)
    ):
        lab.moment.value = moment
        lab.situation.value = name
        for box, value in zip(lab.close.values(), close, strict=True):
            box.value = value
        if any(box.disabled and not box.value for box in lab.close.values()):
            continue  # as with True: the situation has no such VMA
        for rule in product((True, False), (True, False), Removal):
            lab.before.value, lab.after.value, lab.removed.value = rule
            steps = directly(lab, moment, rule)
            one = lab.kernel
            assert (one.rule.before, one.rule.after, one.rule.removed) == rule
            assert one.version == MOMENTS[moment]
            shows(lab, steps, one)
            seen += 1
    closes = sum(2 ** len(one.layout.split()) for one in SITUATIONS.values())
    assert seen == len(LABELS) * 12 * closes


@pytest.mark.parametrize("moment", ["workaround", "may_remove_vma"])
def test_every_range_is_as_the_engine_decides_or_explains_itself(
    lab: ToggleLab, moment: str
) -> None:
    lab.moment.value = moment
    rule = kernel(moment).rule
    refused = 0
    for name, chosen in SITUATIONS.items():
        lab.situation.value = name
        assert lab.range.value == (chosen.start, chosen.end)
        for span in combinations(range(toggle_lab.PAGES + 1), 2):
            lab.range.value = span
            if lab.complaint:
                refused += 1
                assert lab.message.value
                assert "\n" not in lab.complaint
                assert repr(lab) == lab.outcome == lab.complaint
            else:
                shows(
                    lab, directly(lab, moment, (rule.before, rule.after, rule.removed)), lab.kernel
                )
    assert 0 < refused < len(SITUATIONS) * 78


@pytest.mark.parametrize("other", LABELS.values())
@pytest.mark.parametrize("moment", LABELS.values())
def test_any_two_rules_are_compared(lab: ToggleLab, moment: str, other: str) -> None:
    lab.moment.value, lab.compared.value = moment, other
    for name in SITUATIONS:
        lab.situation.value = name
        words = read(lab.view.value)
        if moment == other:
            assert "compared with" not in words
            continue
        mine, theirs = (trace(kernel(name), lab.scenario) for name in (moment, other))
        same = [(a.after, a.leaked) for a in mine] == [(b.after, b.leaked) for b in theirs]
        head = f"{kernel(moment)} compared with {kernel(other)}: "
        assert words.startswith(head)
        assert words.removeprefix(head).startswith("the same") == same
        assert f"{kernel(other).version}: {strip(theirs[-1].after)}" in repr(lab)


def test_a_comparison_names_the_check_that_made_the_difference(lab: ToggleLab) -> None:
    told = unescaped(read(lab.view.value))

    assert told.startswith(
        "6.5 (may_remove_vma) compared with 6.3 (workaround): PPPPPPPP|NNNN instead of "
        "PPPP|CCCC|NNNN; C: its ->close was owed and is never called ✗. "
        "prev P, close: 6.3 refuses, 6.5 does not ask. 6.5 (may_remove_vma) asks"
    )

    lab.compared.value = "case7_fix"

    assert "C, close (C would be removed): 6.9 refuses, 6.5 does not ask." in read(lab.view.value)


def test_the_same_outcome_for_another_reason_is_told_apart(lab: ToggleLab) -> None:
    lab.moment.value = "case7_fix"

    assert "the same, for other reasons. prev P, close: 6.3 refuses" in read(lab.view.value)


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("moment", LABELS.values())
def test_the_checks_are_shown_in_order_with_the_one_that_decided_framed(
    lab: ToggleLab, moment: str, name: str
) -> None:
    lab.moment.value, lab.situation.value, lab.compared.value = moment, name, ""

    chips = re.findall(r'<span class="vk-check( vk-decides)?">(.*?)</span>', lab.view.value)

    asked = [
        (step, asked)
        for step in trace(kernel(moment), lab.scenario)
        for asked in (step.result.outcome.asked if step.result.outcome else ())
    ]
    expected = [check for _, one in asked for check in checks(kernel(moment), one)]
    assert [unescaped(words) for _, words in chips] == [str(check) for check in expected]
    assert [bool(framed) for framed, _ in chips] == [
        check.mark is Mark.FAILED for check in expected
    ]


def test_a_test_brought_back_to_a_kernel_that_has_none_is_shown(lab: ToggleLab) -> None:
    lab.moment.value, lab.compared.value = "really_removed", ""
    lab.close["prev"].value = False
    assert "prev P, can_vma_merge_after: yes policy ✓ flags ✓ file ✓ uffd" in read(lab.view.value)

    lab.after.value = True

    assert "file ✓ close ✓ uffd" in read(lab.view.value)


# --- the toggle lab: its controls -----------------------------------------------------------------


def test_a_moment_sets_the_switches_and_a_switch_leaves_the_moment(lab: ToggleLab) -> None:
    assert (lab.moment.value, lab.before.value, lab.after.value) == ("may_remove_vma", True, False)

    lab.moment.value = "workaround"
    assert (lab.before.value, lab.after.value, lab.removed.value) == (True, True, "never")

    lab.after.value = False
    assert lab.moment.value is None
    assert str(lab.kernel) == "6.3 (your own rule)"

    lab.after.value = True
    assert lab.moment.value == "workaround"


def test_a_rule_of_history_rebuilt_on_another_moment_does_as_that_rule(lab: ToggleLab) -> None:
    lab.moment.value = "workaround"
    lab.after.value = False

    assert "PPPPPPPP|NNNN" in lab.outcome
    assert "never called" in lab.outcome


def test_all_controls_can_be_chosen_at_once_by_name(lab: ToggleLab) -> None:
    chosen = lab.choose(
        moment="workaround", after=False, removed="case 7", situation="case 6", close="CN"
    )

    assert chosen is lab
    assert lab.moment.value is None
    assert [box.value for box in lab.close.values()] == [False, True, True]
    assert lab.outcome == "6.3 (your own rule): PPPP|CCCC|NNNN " + draw.told(
        lab.kernel, trace(lab.kernel, lab.scenario)[0]
    )
    assert lab.choose(moment="pre_git", close="PC").outcome.startswith("6.0 (pre_git): PPPP")
    assert lab.moment.value == "pre_git"
    lab.choose(situation="case 7", range=(4, 6))
    assert lab.range.value == (4, 6)
    assert lab.choose(situation="case 7").range.value == (4, 8)


@pytest.mark.parametrize(
    ("controls", "says"),
    [
        ({"moment": "6.55"}, "moment cannot be '6.55': write one of pre_git, "),
        ({"removed": "c7"}, "write one of never, case 7, always"),
        ({"compared": "7.9"}, "case7_fix, really_removed"),
        ({"close": "p"}, "use letters out of PCN"),
        ({"situation": "case 9"}, "write one of case 1, case 2"),
        ({"before": "maybe"}, "write True or False"),
        ({"range": 3}, "range cannot be 3: write (4, 8)"),
        ({"owner": "P"}, "the lab has no owner: use one of moment, before"),
    ],
)
def test_a_choice_that_cannot_be_gets_one_sentence_and_the_rest_is_shown(
    lab: ToggleLab, controls: dict[str, object], says: str
) -> None:
    lab.choose(**{"moment": "case7_fix", "close": "", **controls})

    assert says in lab.complaint
    assert repr(lab) == lab.outcome == lab.complaint
    assert lab.picture.svg in lab.view.value
    assert lab.picture.svg == draw.before_after(lab.scenario, *lab.kernels).svg


def test_close_is_offered_for_the_vmas_there_are(lab: ToggleLab) -> None:
    for name, chosen in SITUATIONS.items():
        lab.situation.value = name
        here = {word[0] for word in chosen.layout.split()}
        for role, box in lab.close.items():
            assert box.disabled == (ROLES[role] not in here)
            assert ("none here" in box.description) == box.disabled


def test_mixed_owners_are_said_to_be_impossible_for_real_drivers(lab: ToggleLab) -> None:
    assert lab.note.value == ""

    lab.close["middle"].value = False
    assert "no real driver" in lab.note.value

    lab.close["prev"].value = lab.close["next"].value = False
    assert lab.note.value == ""


def test_the_whole_of_it_can_be_had_as_text(lab: ToggleLab) -> None:
    lab.as_text.value = True

    kernels = [kernel("6.5"), kernel("6.3")]
    assert unescaped(lab.view.value) == f"<pre>{explain(kernels, lab.scenario)}</pre>"

    lab.as_text.value = False
    assert lab.picture.svg in lab.view.value


@pytest.mark.parametrize(
    ("name", "span", "says"),
    [
        ("case 1", (2, 6), "overlaps P"),
        ("case 7", (4, 4), "empty range"),
        ("case 7", (2, 6), "lie in P and C"),
        ("page by page", (3, 8), "lie in P and C"),
        ("mremap", (5, 8), "let the range start there"),
    ],
)
def test_a_combination_that_cannot_be_explains_itself(
    lab: ToggleLab, name: str, span: tuple[int, int], says: str
) -> None:
    lab.situation.value = name

    lab.range.value = span

    assert says in lab.complaint
    assert lab.complaint in unescaped(lab.message.value)
    assert 'role="alert"' in lab.message.value
    assert repr(lab) == lab.complaint
    assert lab.view.value == lab.svg == draw.picture(lab.vmas).svg

    lab.range.value = SITUATIONS[name].start, SITUATIONS[name].end
    assert lab.complaint == lab.message.value == ""


def test_an_error_in_a_callback_is_said_in_the_widget(
    lab: ToggleLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no <such> thing")

    monkeypatch.setattr(toggle_lab, "trace", fail)

    lab.situation.value = "case 4"

    assert "ZeroDivisionError: no &lt;such&gt; thing" in lab.message.value
    assert "kept" in lab.message.value
    assert lab.situation.value == "case 4"
    assert lab.view.value == ""

    monkeypatch.undo()
    lab.situation.value = "case 5"
    assert lab.message.value == ""
    assert "case 5" in lab.outcome


def test_the_lab_reaches_a_notebook_as_widget_picture_and_text(lab: ToggleLab) -> None:
    bundle = lab._repr_mimebundle_(include=None, exclude=None)

    assert bundle["text/plain"] == repr(lab)
    assert bundle["text/html"] == draw.on_page(draw.before_after(LEAK, "6.5", "6.3").svg)
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == lab.box.model_id


def test_what_is_shown_is_well_formed(lab: ToggleLab) -> None:
    for name in SITUATIONS:
        lab.situation.value = name
        ET.fromstring(f"<div>{lab.view.value.replace('<br>', '<br/>')}</div>")


# --- predict --------------------------------------------------------------------------------------


def test_a_prediction_offers_the_right_layout_among_others() -> None:
    for case in range(1, 9):
        for moment in MOMENTS:
            asked = predict(situation(case, "all"), moment)
            right = strip(trace(kernel(moment), situation(case, "all"))[-1].after)
            assert right in asked.options.options
            assert 3 <= len(asked.options.options) - 1 <= 6
            assert asked.options.value is None
            assert list(asked.options.options[:-1]) == sorted(asked.options.options[:-1])


def test_nothing_is_shown_before_the_reader_commits() -> None:
    asked = predict(LEAK, "6.5", question="What is left?")

    assert asked.result.value == ""
    assert asked.svg == draw.before_after(LEAK).svg
    assert repr(asked) == "What is left? PPPP|CCCC|NNNN → ? (no answer yet)"
    assert not asked.right


def test_a_right_answer_is_shown_beside_the_outcome_with_the_reasons() -> None:
    asked = predict(LEAK, "6.5")

    assert asked.answer("PPPPPPPP|NNNN") is asked

    assert asked.right
    assert repr(asked) == (
        "You said PPPPPPPP|NNNN; under 6.5 (may_remove_vma) it is PPPPPPPP|NNNN ✓. "
        "case 7: P grows; C vanishes; C: its ->close was owed and is never called ✗"
    )
    assert asked.svg == draw.before_after(LEAK, "6.5").svg
    assert asked.svg in asked.result.value
    assert "prev P: policy ✓" in read(asked.result.value)


def test_a_wrong_answer_is_told_whose_it_is() -> None:
    asked = predict(LEAK, "6.5").answer(NO_MERGE)

    assert not asked.right
    assert f"You said {NO_MERGE}; under 6.5 (may_remove_vma) it is PPPPPPPP|NNNN ✗." in repr(asked)
    assert "is what 6.0 (pre_git), 6.1.0 (regression)" in repr(asked)
    assert "6.5" not in repr(asked).partition("is what")[2].partition("would give")[0]


def test_a_commitment_is_once_and_a_change_of_mind_is_shown_as_such() -> None:
    asked = predict(LEAK, "6.5").answer(NO_MERGE).answer("PPPPPPPP|NNNN")

    assert asked.answers == [NO_MERGE, "PPPPPPPP|NNNN"]
    assert not asked.right
    assert "Having seen that, you changed your mind to PPPPPPPP|NNNN ✓." in repr(asked)

    asked.answer("PPPPPPPP|NNNN")
    assert len(asked.answers) == 2


def test_running_the_cell_again_keeps_what_was_answered() -> None:
    predict(LEAK, "6.5").answer(NO_MERGE)

    assert predict(LEAK, "6.5").answers == [NO_MERGE]
    assert predict(LEAK, "6.3").answers == []
    assert predict(LEAK, "6.5", question="Another?").answers == []


@pytest.mark.parametrize("layout", ["PPPX|NN", "PPPP CCCC", "PPPP|QQQQ", "P=4-0:rw", "", "1|2"])
def test_a_layout_that_cannot_be_read_gets_one_sentence_and_commits_to_nothing(
    layout: str,
) -> None:
    asked = predict(LEAK, "6.5")
    asked.own.value = layout

    asked.answer(layout)

    if layout:
        assert asked.own.value == layout
    assert asked.answers == []
    assert asked.complaint
    assert repr(asked) == asked.complaint
    assert "\n" not in asked.complaint


def test_a_reader_clicks_or_types_and_commits() -> None:
    asked = predict(LEAK, "6.5")
    asked.commit.click()
    assert "Choose a layout" in asked.complaint

    asked.options.value = NO_MERGE
    assert asked.answers == []
    asked.commit.click()
    assert asked.answers == [NO_MERGE]
    assert asked.commit.description == "I changed my mind"

    asked.own.value = "PPPPPPPP|NNNN"
    assert asked.options.value == OWN
    asked.commit.click()
    assert asked.answers == [NO_MERGE, "PPPPPPPP|NNNN"]


def test_a_layout_with_a_hole_or_cut_with_a_tilde_can_be_answered() -> None:
    growth = predict(situation("mremap+N", "all"), "6.1.0")
    long = predict("P=0-40:rw N=40-44:r | protect 40-44:rw", "6.5")

    assert growth.answer("PPPP....|NNNN").right
    assert long.answer("PPPP~PPPP").right


@pytest.mark.parametrize(
    ("case", "layout", "way"),
    [(3, "PPPP|CCCC|NNNN", "map the range by itself"), (4, "PPPP|PPPP|NNNN", "split")],
)
def test_who_thinks_of_the_whole_call_is_right_about_the_program(
    case: int, layout: str, way: str
) -> None:
    asked = predict(situation(case, "all"), "6.5").answer(layout)

    refused = strip(trace(kernel("6.5"), situation(case, "all"))[-1].before)
    assert asked.right
    assert repr(asked).startswith(
        f"You said {layout}. Right about the program ✓: the call would go on and {way}. Here only "
        f"the merge is asked; 6.5 (may_remove_vma) refuses it: {refused}."
    )
    assert "would give" not in repr(asked)


def test_the_whole_call_is_no_answer_where_the_merge_happens_or_nothing_goes_on() -> None:
    merged = predict(situation(3), "6.5").answer("PPPP|CCCC|NNNN")
    grown = predict(situation("mremap", "all"), "6.1.0").answer("PPPPPPPP")
    mistaken = predict(situation(4, "all"), "6.5").answer("PPPP|NNNNNNNN")
    letters = predict(situation(8, "all"), "6.5").answer("PPPP|PPPP|NNNN")

    for asked in (merged, grown, mistaken, letters):
        assert not asked.right
        assert "Right about the program" not in repr(asked)
    assert "✗" in repr(merged)
    assert "there is no VMA Q" in repr(predict(situation(4), "6.3").answer("PPPP|QQQQ|NNNN"))


def test_the_layout_of_the_whole_call_is_the_one_that_protect_leaves() -> None:
    for case in range(4, 9):
        modify = situation(case, "all")
        step = trace(kernel("6.3"), modify)[-1]
        whole = trace(kernel("6.3"), modify.replace("modify", "protect"))[-1].after
        assert widgets.unmerged(step) == widgets.borders(whole)


def test_an_error_while_answering_is_said_in_the_widget(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = predict(LEAK, "6.5")

    def fail(*_: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(widgets, "questions", fail)

    asked.answer(NO_MERGE)

    assert "KeyError" in asked.message.value
    assert asked.answers == [NO_MERGE]


def test_choosing_takes_the_short_names_of_the_lessons(lab: ToggleLab) -> None:
    lab.choose(moment="6.3", situation=5)

    assert (lab.moment.value, lab.situation.value) == ("workaround", "case 5")


# --- a mistake in a cell --------------------------------------------------------------------------


def test_a_notebook_shows_a_mistake_as_one_sentence_and_a_fault_of_ours_with_its_frames() -> None:
    mistakes = {
        'under("6.3", "P=0-4:rw,f1@ | protect 0-1:r")': NotationError,
        'kernel("6.55")': UnknownKernel,
        'AddressSpace.parse("P=0-4:rw Q=2-6:rw")': SpaceError,
        'parse("mmpa 1 2")': ScenarioError,
        'practice("layuot")': InputError,
        'check("lay-out", 3)': InputError,
        'quiz_widgets.quizzes("99")': QuizError,
        'live.run(parse("\\n".join(["seg A 1", *["shmat A 0"] * 2000]))[0])': live.Refused,
        "Guarded(lambda: 1 / 0)()": guard.Stopped,
    }
    setup = """\
import ipywidgets
from vmakernel import AddressSpace, kernel, live, quiz_widgets
from vmakernel.exercise import check
from vmakernel.guard import Guarded
from vmakernel.lesson import under
from vmakernel.practice import practice
from vmakernel.scenario import parse
slider = ipywidgets.IntSlider()
slider.observe(lambda change: kernel("6.55"), "value")"""
    moved = {"content": {"data": {"method": "update", "state": {"value": 4}, "buffer_paths": []}}}
    fault = "AddressSpace.parse(None)"
    sources = [setup, *mistakes, f"slider.comm.handle_msg({moved | {'buffers': []}})", fault]
    notebook = new_notebook(cells=[new_code_cell(source) for source in sources])

    NotebookClient(notebook, allow_errors=True, timeout=60).execute()

    first, *cells, callback, ours = notebook.cells
    assert first.outputs == []
    for cell, kind in zip(cells, mistakes.values(), strict=True):
        (shown,) = cell.outputs
        assert shown.ename == kind.__name__
        assert shown.traceback == [f"{shown.ename}: {shown.evalue}"]
        assert "\n" not in shown.traceback[0]
    assert callback.outputs[0].traceback[0].startswith("UnknownKernel: there is no Linux 6.55")
    assert len(ours.outputs[0].traceback) > 2
