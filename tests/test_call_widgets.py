"""Pictures and widgets of whole calls: every value of every control against the engine."""

import re
import xml.etree.ElementTree as ET

import pytest

from vmakernel import call_widgets, live, recorded
from vmakernel.call_pictures import (
    Moment,
    call_picture,
    climb,
    evidence,
    predictions,
    read,
    shown,
    tally,
)
from vmakernel.call_widgets import (
    EXAMPLES,
    RULES,
    STAND_IN,
    compose,
    judge,
    recorded_experiments,
    scrub,
)
from vmakernel.draw import Picture
from vmakernel.kernels import kernel
from vmakernel.layout import strip
from vmakernel.live import Experiment, Fingerprint, LiveError, Unsupported
from vmakernel.predict import predict
from vmakernel.scenario import CALLS, Recording, Scenario, ScenarioError, parse_call

LEAK = """\
seg A 20
shmat A 0
mprotect 2 1 none
mprotect 1 1 w
mprotect 2 1 w
shmdt 0
"""
THERE_AND_BACK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw"
KERNELS = recorded.kernels()


def words(html: str) -> str:
    """The words of a piece of HTML, without pictures and styles."""
    without = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", html, flags=re.S)
    return re.sub(r"\s+", " ", without).strip()


def drawn(picture: Picture) -> ET.Element:
    """The picture, parsed, after what holds for every picture."""
    root = ET.fromstring(picture.svg)
    assert root.get("role") == "img"
    assert len(root.get("aria-label") or "") > 10
    assert root.get("aria-label") == picture.text
    return root


def program(name: str) -> Scenario:
    return recorded.calls(STAND_IN, name).program()


# --- one call, in words and drawn -----------------------------------------------------------------


def test_a_moment_counts_as_recorded_kernels_counted() -> None:
    for version in KERNELS:
        for name in ("S5.fixed", "S5.loop10", "S5.madvise", "S5.mlock", "S5.rmidexit"):
            real = recorded.calls(version, name)
            (story,) = predictions(real.program(), [version])
            for at, step in enumerate(real.steps):
                moment = Moment(story, at)
                assert len(moment.after) == len(step.layout), (version, name, at)
                assert moment.nattch == step.nattch
            last = Moment(story, len(real.steps))
            assert last.exit
            assert last.nattch == real.nattch_after_exit


def test_what_is_lost_is_what_is_counted_too_often() -> None:
    for version in RULES:
        (story,) = predictions(program("S5.loop10"), [version])
        for at in range(len(story.steps) + 1):
            moment = Moment(story, at)
            assert moment.nattch["A"] == len(moment.after) + moment.lost["A"]
            assert ("✗" in moment.counted) == bool(moment.lost["A"])


def test_the_words_of_a_call_say_who_went_and_why() -> None:
    old, leaky, fixed = (Moment(one, 3) for one in predictions(LEAK, ["6.3", "6.5", "6.9"]))

    assert leaky.words == (
        "case 7: A.1 grows; A vanishes; A: its ->close was owed and is never called ✗"
    )
    assert leaky.left == "A|AA|AAAAAAAAAAAAAAAAA 3 VMAs, nattch 4, 1 lost ✗"
    assert "prev A.1 fails on close" in old.words
    assert "a VMA with ->close would have to go" in fixed.words
    assert old.left == fixed.left == "A|A|A|AAAAAAAAAAAAAAAAA 4 VMAs, nattch 4"


def test_a_call_that_fails_says_so() -> None:
    (story,) = predictions("seg A 4\nshmat A 0\nmremap 0 4 8", ["6.1.0"])

    assert Moment(story, 1).words.startswith("fails with ENOMEM; then ")


def test_a_call_that_is_declined_says_why_under_that_rule_alone() -> None:
    stories = predictions("seg A 12\nshmat A 0\nrfp 4 4 0", ["3.10", "6.9"])
    told = str(call_picture(stories, 1))

    assert "3.10: not answered ('rfp 4 4 0': " in told
    assert "6.9: AAAA|AAAA|AAAA" in told
    assert "?" in words(tally(stories))


def test_rules_under_which_the_same_happens_share_a_row() -> None:
    picture = call_picture(predictions(LEAK, ["6.3", "6.5", "6.9"]), 4)

    assert "6.3, 6.9: . no VMAs, nattch 0" in str(picture)
    assert "6.5: . no VMAs, nattch 1, 1 lost ✗" in str(picture)
    text = " ".join(drawn(picture).itertext())
    assert "6.3 · workaround, 6.9 · case7_fix" in text


@pytest.mark.parametrize("name", EXAMPLES.values())
def test_every_call_of_every_example_is_drawn_with_its_words(name: str) -> None:
    stories = predictions(program(name), RULES)
    for at in range(len(stories[0].scenario.calls) + 1):
        picture = call_picture(stories, at)
        drawn(picture)
        for story in stories:
            assert Moment(story, at).left in str(picture)
        assert picture.svg == call_picture(stories, at).svg


def test_the_table_holds_back_what_is_still_to_come() -> None:
    stories = predictions(LEAK, ["6.3", "6.5"])

    assert "6.5 nattch 1 3 4 4 ✗ 1 ✗ 1 ✗" in words(tally(stories))
    assert "6.3, 6.5 nattch 1 3 · · · ·" in words(tally(stories, 1))
    assert tally(stories, 1).count("aria-current") == 3


def test_a_climb_is_the_count_after_every_call() -> None:
    picture = climb(program("S5.loop10"), "6.3", "6.5")
    real = recorded.calls("6.6.17", "S5.loop10")
    counts = [step.nattch["A"] for step in real.steps if step.nattch]
    counts.append(real.nattch_after_exit["A"])

    assert f"6.5: {' '.join(map(str, counts))}" in str(picture)
    assert len([path for path in drawn(picture) if "stroke-width:3" in path.get("style", "")]) == 2


# --- what a kernel showed -------------------------------------------------------------------------


def test_lines_of_a_layout_become_vmas() -> None:
    vmas = shown(["0-4 rw-s 0 shm:A", "4-6 r--s 4 shm:A", "8-9 ---p 0 anon", "9-12 r-xs 3 file"])

    assert [str(vma) for vma in vmas] == [
        "A=0-4:rws,fA@0,c",
        "A.1=4-6:rs,fA@4,c",
        "M=8-9:-",
        "F=9-12:rxs,ffile@3",
    ]


@pytest.mark.parametrize("version", KERNELS)
def test_the_recorded_answers_name_the_rule_as_live_does(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {one.recording.program().calls: one for one in recorded_experiments(version)}
    monkeypatch.setattr(live, "run", lambda scenario, **_: known[scenario.calls].recording)
    told = live.fingerprint()

    named = {live.ALWAYS_REFUSE: (True, True), live.MAY_REMOVE_VMA: (True, False)}
    rule = kernel(version).rule
    assert told.verdict is not None
    assert named.get(told.verdict, (False, False)) == (rule.before, rule.after)


def test_evidence_draws_every_answer_and_counts_its_vmas() -> None:
    experiments = recorded_experiments("6.6.17")
    picture = evidence(experiments, "a kernel")

    drawn(picture)
    for one in experiments:
        memory = "with close" if one.close else "control"
        vmas = shown(one.layout)
        number = f"{len(vmas)} VMA{'s' if len(vmas) > 1 else ''}"
        assert f"{one.name} ({memory}): {strip(vmas)} {number}" in str(picture)


# --- scrub ----------------------------------------------------------------------------------------


def test_every_stop_of_the_slider_is_as_the_engine_predicts() -> None:
    lab = scrub(LEAK, "6.3", "6.5", "6.9")
    scenario = read(LEAK)

    for value in range(lab.call.min, lab.call.max + 1):
        lab.call.value = value
        for version, moment in zip(("6.3", "6.5", "6.9"), lab.moments, strict=True):
            direct = predict(scenario, kernel(version))
            vmas = direct.steps[value - 1].vmas if value <= len(direct.steps) else ()
            assert [str(vma) for vma in moment.after] == [str(vma) for vma in vmas]
            assert moment.left in repr(lab)
        assert lab.picture.value == call_picture(lab.stories, value - 1).svg
        assert tally(lab.stories, value - 1) in lab.table.value
    assert lab.call.max == len(scenario.calls) + 1


def test_the_buttons_move_one_call() -> None:
    lab = scrub(LEAK, "6.5")
    seen = [repr(lab)]
    for _ in range(5):
        lab.forth.click()
        seen.append(repr(lab))

    assert len(set(seen)) == 6
    assert seen[-1] == "exit: 6.5: . no VMAs, nattch 1, 1 lost ✗"
    lab.forth.click()
    assert repr(lab) == seen[5]
    assert not lab.forth.disabled
    lab.back.click()
    assert repr(lab) == seen[4]


def test_without_rules_there_is_one_for_each_moment() -> None:
    assert [story.kernel.version for story in scrub(LEAK).stories] == list(RULES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mprotet 4 4 r", "line 1: 'mprotet 4 4 r': there is no call 'mprotet'; did you mean"),
        ("", "there is no call; write one"),
        ("shmat A 0", "line 1: 'shmat A 0': there is no segment 'A'; write 'seg A 12' before it"),
        ("scenario a\nread 0 1\nscenario b\nread 0 1", "there are 2 scenarios here; write one"),
    ],
)
def test_a_wrong_program_is_told_in_the_widget(text: str, told: str) -> None:
    lab = scrub(text, "6.5")

    assert repr(lab).startswith(told)
    assert told.partition(":")[0] in lab.message.value
    assert lab.picture.value == lab.table.value == ""
    lab.set(LEAK, "6.5")
    assert (lab.complaint, lab.call.max) == ("", 6)


def test_an_unknown_rule_is_told_in_the_widget() -> None:
    assert "unknown rule 'six'" in repr(scrub(LEAK, "six"))


def test_scrub_stores_a_sentence_a_picture_and_a_table() -> None:
    bundle = scrub(LEAK, "6.5")._repr_mimebundle_()

    assert (
        bundle["text/plain"] == "call 1 of 5, shmat A 0: 6.5: AAAAAAAAAAAAAAAAAAAA 1 VMA, nattch 1"
    )
    assert 'role="img"' in bundle["text/html"]
    assert "<table" in bundle["text/html"]


# --- compose --------------------------------------------------------------------------------------


def test_every_example_is_predicted_under_every_rule() -> None:
    lab = compose()
    for title, name in EXAMPLES.items():
        lab.example.value = title
        assert read(lab.program.value).calls == program(name).calls
        for version, moment in zip(RULES, lab.scrub.moments, strict=True):
            last = predict(read(lab.program.value), kernel(version)).steps[-1]
            assert moment.after == last.vmas
            assert moment.left in repr(lab)


def test_every_call_on_offer_can_be_added_and_taken_away() -> None:
    lab = compose()
    before = lab.program.value
    for op in lab.op.options:
        lab.op.value = op
        assert parse_call(lab.line.value).op == op
        lab.add.click()
        assert lab.program.value == f"{before}\n{lab.line.value}"
        assert lab.complaint == ""
        assert str(parse_call(lab.line.value)) in repr(lab)
        lab.drop.click()
        assert lab.program.value == before
    assert set(lab.op.options) <= set(CALLS)


def test_what_was_typed_stays_where_it_is_wrong() -> None:
    lab = compose()
    lab.line.value = "mprotect 4"
    before = lab.program.value
    lab.add.click()

    assert "a number of pages is missing at the end" in lab.complaint
    assert (lab.line.value, lab.program.value) == ("mprotect 4", before)
    lab.program.value += "\nfrobnicate 1"
    assert "there is no call 'frobnicate'" in repr(lab)
    assert lab.program.value.endswith("frobnicate 1")
    lab.run.click()
    assert "there is no call 'frobnicate'" in repr(lab)
    assert lab.live.value == ""


def test_the_last_line_is_not_taken_away() -> None:
    lab = compose("mmap 0 4 rw p anon")
    lab.drop.click()

    assert lab.program.value == "mmap 0 4 rw p anon"


def test_what_only_this_machine_said_is_not_stored() -> None:
    lab = compose("seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 2 rw")
    before = repr(lab), lab.svg
    lab.run.click()

    assert lab.live.value
    assert (repr(lab), lab.svg) == before
    lab.program.value += "\nshmdt 0"
    assert lab.live.value == ""


# --- this machine, or another ---------------------------------------------------------------------


def pretend(monkeypatch: pytest.MonkeyPatch, version: str, verdict: str | None) -> list[Scenario]:
    """Let a recorded kernel be this machine's; return what it was asked to run."""
    asked: list[Scenario] = []

    def run(scenario: Scenario, **_: object) -> Recording:
        asked.append(scenario)
        return predict(scenario, kernel(version)).recording

    taken = Fingerprint(version, verdict, "as it was told", recorded_experiments(STAND_IN))
    monkeypatch.setattr(live, "run", run)
    monkeypatch.setattr(live, "fingerprint", lambda: taken)
    monkeypatch.setattr(call_widgets, "_TAKEN", [])
    monkeypatch.setattr(call_widgets, "running", lambda: kernel(version))
    return asked


def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be no kernel to ask."""

    def run(scenario: Scenario, **_: object) -> Recording:
        raise Unsupported("this is a test; there is no kernel")

    monkeypatch.setattr(live, "run", run)
    monkeypatch.setattr(call_widgets, "_TAKEN", [])


@pytest.mark.parametrize("version", RULES)
@pytest.mark.parametrize("name", ["S1.case5.shm", "S1.case4.shm"])
def test_a_kernel_that_follows_a_rule_is_found_to_agree_with_it(
    version: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, version, None)
    judged = judge(program(name))

    alike = {
        one
        for one in RULES
        if predict(program(name), kernel(one)).recording
        == predict(program(name), kernel(version)).recording
    }
    assert version in judged.agree
    assert set(judged.agree) == alike
    for other in set(RULES) - alike:
        assert "predicted" in (judged.differences[other] or "")


def test_a_program_that_could_leak_here_is_not_run_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = pretend(monkeypatch, "6.6", live.MAY_REMOVE_VMA)
    lab = compose(THERE_AND_BACK)
    lab.run.click()

    assert asked == []
    assert "stays in memory until the machine restarts" in lab.live.value
    lab.may_leak.value = True
    lab.run.click()
    assert [one.calls for one in asked] == [read(THERE_AND_BACK).calls]
    assert "6.5, 6.6 predicted every call" in words(lab.live.value)


def test_the_warning_names_the_releases_that_leak() -> None:
    named = set(re.findall(r"\d\.\d+(?:\.\d+)?", call_widgets.PRICE))

    ending = {
        one: predict(read(THERE_AND_BACK), kernel(one)).nattch_after_exit["A"] for one in named
    }
    assert ending == dict.fromkeys(["6.4", "6.6.23", "6.7", "6.7.11"], 1)
    for mended in ("6.6.24", "6.7.12", "6.8"):
        assert predict(read(THERE_AND_BACK), kernel(mended)).nattch_after_exit["A"] == 0
    for one in ("6.3", "6.6.24", "6.8"):
        assert predict(read(THERE_AND_BACK), kernel(one)).nattch_after_exit["A"] == 0


@pytest.mark.parametrize(
    ("version", "verdict", "text"),
    [
        ("6.12", live.ONLY_WHEN_REMOVED, THERE_AND_BACK),
        ("6.6", live.MAY_REMOVE_VMA, str(program("S1.case5.shm"))),
        ("6.6", live.MAY_REMOVE_VMA, f"{THERE_AND_BACK}\nrmid A".replace("4 4 rw", "4 2 rw")),
    ],
)
def test_a_program_that_cannot_leak_here_is_run(
    version: str, verdict: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = pretend(monkeypatch, version, verdict)

    assert version in judge(text).agree
    assert len(asked) == 1


def test_where_no_kernel_can_be_asked_a_recording_is_the_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = judge(program("S1.case4.shm"))
    nobody(monkeypatch)
    there = judge(program("S1.case4.shm"))

    assert there.agree == ["6.12"]
    assert there.summary == (
        "6.12 predicted every call (recorded on Linux 6.12.117; this machine was not asked: "
        "this is a test; there is no kernel)"
    )
    assert repr(there) == repr(here)


def test_where_there_is_neither_kernel_nor_recording_it_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody(monkeypatch)
    judged = judge("mmap 0 4 rw p anon")

    assert (judged.real, judged.agree) == (None, [])
    assert judged.summary == "this machine was not asked: this is a test; there is no kernel"
    assert judged.summary in words(judged.html)


def test_where_no_fingerprint_can_be_taken_a_recorded_one_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = call_widgets.fingerprint()
    nobody(monkeypatch)
    there = call_widgets.fingerprint()

    assert there.verdict is None
    assert "unsupported: this is a test; there is no kernel" in there.summary
    assert (
        evidence(recorded_experiments(STAND_IN), f"recorded on Linux {STAND_IN}").svg in there.html
    )
    assert repr(there) == repr(here)


def test_a_kernel_is_asked_for_its_fingerprint_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "6.5", "may_remove_vma")
    taken, asked = live.fingerprint(), []

    def ask() -> Fingerprint:
        asked.append(taken)
        return taken

    monkeypatch.setattr(live, "fingerprint", ask)
    leak = program("S5.fixed")

    assert call_widgets.costs(leak)
    assert call_widgets.costs(leak)
    assert len(asked) == 1
    assert call_widgets.fingerprint().taken == taken
    assert len(asked) == 2  # a reader who asks for it gets a new one


def test_a_kernel_that_fails_the_control_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shown_here = (Experiment("case 5", False, recorded.calls("6.9", "S1.case5.shm")),)
    taken = Fingerprint("9.9", None, "the control failed", shown_here)
    monkeypatch.setattr(live, "fingerprint", lambda: taken)
    told = call_widgets.fingerprint()

    assert evidence(shown_here, "Linux 9.9").svg in told.html
    assert "the control failed" in told.summary


def test_what_is_stored_of_this_machine_is_the_same_everywhere() -> None:
    for told in (call_widgets.fingerprint(), judge(program("S1.case4.shm"))):
        bundle = told._repr_mimebundle_()
        assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
        assert not re.search(r"\d", bundle["text/plain"])


def test_this_machine_agrees_with_the_rule_its_fingerprint_names() -> None:
    told = call_widgets.fingerprint()
    if told.verdict is None:
        pytest.skip(told.taken.reason)
    agree = {name: judge(program(name)).agree for name in ("S1.case5.shm", "S1.case4.shm")}

    for version in RULES:
        rule = kernel(version).rule
        verdict = {
            (True, True): live.ALWAYS_REFUSE,
            (True, False): live.MAY_REMOVE_VMA,
            (False, False): live.ONLY_WHEN_REMOVED,
        }[rule.before, rule.after]
        both = all(version in versions for versions in agree.values())
        assert both == (verdict == told.verdict), version


def test_judge_raises_for_what_is_no_program() -> None:
    with pytest.raises(ScenarioError, match="there is no call"):
        judge("frobnicate")
    assert issubclass(Unsupported, LiveError)
