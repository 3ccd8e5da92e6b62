"""The plane of all rules, its lab, and the way from a rule to its commit message."""

import re
import xml.etree.ElementTree as ET
from itertools import product

import pytest

from vmakernel import explore
from vmakernel.draft import Draft, draft, try_out
from vmakernel.kernels import MOMENTS, Removal, UnknownKernel, kernel
from vmakernel.lesson import Watched, watch
from vmakernel.own import Question, own
from vmakernel.plane_widget import NEAR, PlaneLab, placed, plane_lab, plane_picture, spots
from vmakernel.predicates import agreed, ask_prev
from vmakernel.shortest import Progress, Search

SETTINGS = list(product((False, True), (False, True), Removal))
CULPRIT = '714965ca8252 ("mm/mmap: start distinguishing if vma can be removed")'


def anyone_but_prev(ask: Question) -> bool:
    """Close test: the fix of 6.8 in other words."""
    return ask.vma.has_close and ask.role != "prev"


@pytest.fixture(scope="module")
def points() -> list[explore.Judgement]:
    """Every rule of history and of the toggles."""
    return explore.plane()


# --- the plane -------------------------------------------------------------------------------


def test_every_rule_lies_in_one_spot_and_near_those_it_shares_it_with(
    points: list[explore.Judgement],
) -> None:
    found = spots(points)

    assert sorted(str(p.kernel) for spot in found for p in spot.points) == sorted(
        str(point.kernel) for point in points
    )
    assert [spot.letter for spot in found] == list("ABCDEF")
    for spot in found:
        assert all(abs(point.loss - spot.points[0].loss) < NEAR for point in spot.points)
        assert all(abs(p.permission - spot.permissive) < NEAR for p in spot.points)


def test_the_picture_has_a_mark_for_each_spot_and_tells_all_in_words(
    points: list[explore.Judgement],
) -> None:
    picture = plane_picture(points, points[4])
    root = ET.fromstring(picture.svg)
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]

    assert root.get("role") == "img"
    assert root.get("aria-label") == picture.text
    assert {"A", "B", "C", "D", "E", "F"} <= set(texts)
    for version in MOMENTS.values():
        assert f"{version} {kernel(version).rule.name}" in picture.text
    assert placed(points[4]) in picture.text
    assert plane_picture(points, points[4]).svg == picture.svg


def test_6_12_sits_in_the_corner(points: list[explore.Judgement]) -> None:
    (corner,) = [spot for spot in spots(points) if spot.safe == spot.permissive == 1]

    assert corner.names == "6.12 really_removed; toggles: removed"


# --- the lab ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab() -> PlaneLab:
    """One lab; each test sets what it needs."""
    return plane_lab()


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize(("before", "after", "removed"), SETTINGS)
def test_every_setting_shows_what_the_engine_judges(
    lab: PlaneLab, before: bool, after: bool, removed: Removal, mixed: bool
) -> None:
    lab.before.value, lab.after.value, lab.removed.value = before, after, str(removed)
    lab.mixed.value = mixed
    base = kernel("6.5")
    rule = base.rule.toggled(before=before, after=after, removed=removed)
    judged = explore.judge(base.with_rule(rule), uniform=not mixed)

    assert lab.complaint == ""
    assert (lab.mine.safe, lab.mine.minimal) == (judged.safe, judged.minimal)
    assert (lab.mine.loss, lab.mine.permission) == (judged.loss, judged.permission)
    assert repr(lab).startswith(placed(lab.mine))
    against = lab.against.listed.value
    for witness in (judged.unsafe_witness, judged.strict_witness):
        assert witness.replace(">", "&gt;") in against
    assert ("It loses" in against) == (not judged.safe)
    assert ("It falls short" in against) == (not judged.minimal)
    assert 'role="status"' in lab.view.value


def test_the_lab_has_a_text_twin_and_a_picture_for_pages_without_widgets(lab: PlaneLab) -> None:
    bundle = lab._repr_mimebundle_()

    assert bundle["text/plain"] == repr(lab)
    assert "<svg" in bundle["text/html"]
    assert "permissive  " in lab.view.value or "permissive\n" in lab.view.value  # the table


def test_the_code_of_another_kernel() -> None:
    assert plane_lab("6.12").mine.kernel.version == "6.12"
    with pytest.raises(UnknownKernel):
        plane_lab("5.99")


# --- a rule of one's own ---------------------------------------------------------------------


@pytest.mark.nightly
def test_a_rule_is_judged_and_named_after_whoever_had_it_first() -> None:
    tried = try_out(anyone_but_prev)

    assert tried.judgement is not None
    assert tried.judgement.safe
    assert tried.rules == ("case7_fix",)
    assert tried.twins == ("6.8.0", "6.9.0", "6.11.11")
    assert "decides everywhere as case7_fix, in the code of 6.5" in str(tried)
    assert "and so as Linux 6.8.0, 6.9.0, 6.11.11 did" in str(tried)


PLAIN = kernel("6.0:none")


def foreseen(ask: Question) -> bool:
    """Close test: works out who will vanish while the neighbours are being asked."""
    asked, curr = ask.proposal, ask.proposal.curr
    whole = curr is not None and (curr.vm_start, curr.vm_end) == asked[:2]
    if ask.role == "removed" or (whole and curr and curr.has_close):
        return ask.role != "removed"
    prev_matches = agreed(ask_prev(PLAIN, asked)) is not None
    return ask.role == "next" and ask.vma.has_close and prev_matches


@pytest.mark.nightly
def test_an_early_test_that_sees_everybody_can_be_safe_and_minimal() -> None:
    judged = {base: explore.judge(own(base, foreseen)) for base in ("6.0", "6.5", "6.12")}

    assert {base: (one.lost, one.minimal) for base, one in judged.items()} == {
        "6.0": (0, True),
        "6.5": (16, True),  # mmap() asks next before prev
        "6.12": (0, True),
    }


def test_a_rule_that_nobody_had_is_said_to_be_one() -> None:
    assert "as no rule of history does" in str(try_out(lambda ask: ask.vma.pages > 4))


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (lambda ask: ask.vma.nonsense, "has no attribute 'nonsense'"),
        (lambda ask: "maybe", "return True to refuse it, or False"),
        (lambda ask: [0 for _ in iter(int, 1)] == [], "did not come back within 0.2 s"),
    ],
)
def test_a_rule_that_does_not_answer_ends_in_a_sentence(rule: object, told: str) -> None:
    tried = try_out(rule, seconds=0.2)  # type: ignore[arg-type]

    assert tried.judgement is None
    assert told in str(tried)
    assert len(str(tried).splitlines()) == 1
    assert "it was asked about" in str(tried)


# --- the message -----------------------------------------------------------------------------


def written(**changes: str) -> Draft:
    """A message without fault, or with one."""
    words = {
        "subject": "mm/mmap: ask whoever a merge would remove for ->close()",
        "why": "A merge can remove a VMA whose ->close() is owed.",
        "what": "Ask it.",
        "tested": "Tested in a model.",
        "fixes": CULPRIT,
        "signed_off_by": "A B <a@example.org>",
    }
    return draft("6.5", kernel("6.9"), **{**words, **changes})


def test_a_message_holds_what_was_measured() -> None:
    message = written(reported_by="C D <c@example.org>")
    text = str(message)

    assert f"{explore.judge(kernel('6.5')).lost:,} lose a ->close() before, 0 after" in re.sub(
        r"\s+", " ", text
    )
    assert "    mprotect 0 3 r" in text
    assert text.index("is owed") < text.index("mprotect") < text.index("Ask it.")
    assert text.endswith(
        f"Fixes: {CULPRIT}\nReported-by: C D <c@example.org>\nSigned-off-by: A B <a@example.org>"
    )
    assert "✗" not in message.review
    assert "? stable kernels need it, or not: Cc: stable@vger.kernel.org" in message.review
    assert message.review.count("?") >= 5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"subject": "ask whoever goes"}, "begins with the place"),
        ({"subject": "mm: " + "ask " * 20}, "characters at most"),
        ({"subject": "mm: ask whoever goes."}, "without a full stop"),
        ({"why": ""}, "why comes first"),
        ({"what": "This patch asks."}, "speak of itself"),
        ({"tested": ""}, "what was tested"),
        ({"fixes": "714965ca"}, "12 digits"),
        ({"signed_off_by": ""}, "signed off"),
    ],
)
def test_the_review_finds_each_fault(change: dict[str, str], complaint: str) -> None:
    (fault,) = [line for line in written(**change).review.splitlines() if line.startswith("✗")]

    assert complaint in fault


def test_a_change_that_loses_nothing_less_needs_no_fixes_and_shows_no_program() -> None:
    message = draft("6.9", kernel("6.12"), subject="mm: ask late", why="W.", what="H.")

    assert "Fixes" not in message.review
    assert "stable" not in message.review
    assert "shmat" not in str(message)
    assert "still do not" not in str(message)
    assert "\n\n\n" not in str(message)


def test_a_change_that_still_loses_is_found_out() -> None:
    message = draft("6.3", kernel("6.5"), subject="mm: ask less", why="W.", what="H.", tested="T.")

    assert "✗ no VMA with ->close vanishes any more" in message.review


# --- watching a search -----------------------------------------------------------------------


def test_a_watched_search_shows_its_progress_and_stores_none_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    search = Search(kernel("6.9"))
    watch(search, seconds=0)
    watched = Watched(search)
    watched.tell(Progress(1234, 3, 56, 0.5))

    assert search.depth == 1
    assert "a search, and how far it has come" in capsys.readouterr().out
    for shown in ("programs of 3 calls", "1,234 states", "2,468 states/s", "run the cell again"):
        assert shown in watched.line.value
    assert watched._repr_mimebundle_()["text/plain"] == repr(watched)
    assert not re.search(r"\d", repr(watched))


def test_a_watched_search_goes_on_where_it_was() -> None:
    search = Search(kernel("6.5"))
    watch(search, seconds=0)
    assert search.found is None
    watch(search)

    assert search.found is not None
    assert len(search.found.calls) == 3
