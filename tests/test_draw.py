"""Pictures: each is checked against the engine it draws, by what can be read in it."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from vmakernel import AddressSpace, NotationError, SpaceError, UnknownKernel, draw
from vmakernel.draw import before_after, picture, poster
from vmakernel.explain import owed, trace, verdict
from vmakernel.kernels import MOMENTS, kernel
from vmakernel.layout import strip
from vmakernel.recorded import CASES, closes, situation
from vmakernel.vma import VMA

SVG = "{http://www.w3.org/2000/svg}"
LEAK = "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c N=8-12:r,f1@8,c | protect 4-8:rw"
SOME = {
    "nothing": lambda: picture(""),
    "one page": lambda: picture("A"),
    "a hole": lambda: picture("PPPP....|NN", range="4-8", title='A hole <&> its "name"'),
    "many": lambda: picture(
        [VMA(f"A{i}", i * 40, i * 40 + 30) for i in range(99)], range=(200, 203)
    ),
    "far away": lambda: picture("H=34359738368-34359738400:rw,a1 S=68719476000-68719476001:r"),
    "before": lambda: before_after(LEAK),
    "a leak": lambda: before_after(LEAK, *MOMENTS),
    "refused": lambda: before_after(situation(1, "all"), "6.3", "6.12"),
    "growth": lambda: before_after(situation("mremap+N", "all"), "6.0", "6.1.0", "6.5"),
    "calls": lambda: before_after("P=0-12:rw,f1@0,c | protect 4-8:r; unmap 0-6", "6.5"),
    "the poster": poster,
}

some = pytest.mark.parametrize("draw_it", SOME.values(), ids=SOME)


def texts(element: ET.Element) -> list[str]:
    return [text.text or "" for text in element.iter(f"{SVG}text")]


def boxes(svg: str) -> list[tuple[str, list[str]]]:
    """Each VMA drawn: its notation, and the words in its box."""
    groups = ET.fromstring(svg).iter(f"{SVG}g")
    return [
        (title.text or "", texts(group))
        for group in groups
        if (title := group.find(f"{SVG}title")) is not None
    ]


# --- what holds of every picture ------------------------------------------------------------------


@some
def test_a_picture_is_well_formed_and_tells_screen_readers_what_it_shows(draw_it) -> None:
    shown = draw_it()

    root = ET.fromstring(shown.svg)

    assert root.get("role") == "img"
    assert root.get("aria-label") == shown.text == repr(shown)
    assert root.findtext(f"{SVG}desc") == shown.text
    assert root[0].tag == f"{SVG}title"
    assert root[0].text
    assert "\n" not in shown.text


@some
def test_a_picture_is_the_same_bytes_every_time(draw_it) -> None:
    assert draw_it().svg == draw_it().svg


def test_a_picture_is_the_same_bytes_in_another_process() -> None:
    code = f"from vmakernel import draw; print(draw.before_after({LEAK!r}, '6.5').svg)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout == before_after(LEAK, "6.5").svg + "\n"


@some
def test_nothing_is_drawn_outside_of_the_sheet(draw_it) -> None:
    root = ET.fromstring(draw_it().svg)
    width, height = int(root.get("width", "")), int(root.get("height", ""))
    assert root.get("viewBox") == f"0 0 {width} {height}"

    for whole in [root, *root.iter(f"{SVG}g")]:
        shift = float((re.findall(r"\d+", whole.get("transform", "")) or [0])[0])
        for part in whole.findall(f"{SVG}rect"):
            x, y, w, h = (float(part.get(side, "")) for side in ("x", "y", "width", "height"))
            assert x >= 0
            assert x + shift + w <= width
            assert y >= 0
            assert y + h <= height
        for part in whole.findall(f"{SVG}text"):
            assert 0 <= float(part.get("y", "")) <= height


@some
def test_colour_says_nothing_that_letters_do_not(draw_it) -> None:
    """Without its colours a picture still tells its VMAs apart, and a tag marks ->close."""
    for notation, words in boxes(draw_it().svg):
        letters = {letter for letter in words[0] if letter != "~"}
        assert letters == {notation[0]}
        has_close = ",c" in re.sub(r",[^c][^,]*", "", notation)
        assert (words[-1] in ("close", "c")) == has_close


@some
def test_only_known_colours_and_no_ids_that_two_pictures_would_share(draw_it) -> None:
    svg = draw_it().svg
    own = svg.replace(draw.STYLE, "")

    assert set(re.findall(r"#[0-9a-f]{6}", own)) <= set(draw._COLOURS)
    assert " id=" not in svg
    assert "url(" not in svg


def test_a_picture_follows_jupyterlab_the_system_and_paper() -> None:
    for part in ("--jp-content-font-color1", "prefers-color-scheme:dark", "@media print"):
        assert part in picture("PPPP").svg


def test_a_picture_reaches_a_notebook_as_text_as_part_of_the_page_and_as_an_image() -> None:
    shown = picture("PPPP|NN")

    assert shown._repr_mimebundle_(include=None, exclude=None) == {
        "text/plain": "PPPP|NN  P=0-4:rw N=4-6:rw",
        "text/html": draw.on_page(shown.svg),
        "image/svg+xml": shown.svg,
    }


# --- layouts --------------------------------------------------------------------------------------


def test_a_folded_picture_says_how_to_see_it_and_nothing_of_what_it_shows() -> None:
    first = before_after(LEAK, "6.5")._repr_mimebundle_()["text/html"].splitlines()[0]

    assert first == "<!-- Run this cell to see its picture. -->"


def test_a_layout_may_be_text_vmas_or_an_address_space() -> None:
    text = "PPPP|CC..|NN"
    space = AddressSpace.parse(text)

    assert picture(text).svg == picture(space).svg == picture(iter(space.vmas)).svg


def test_what_a_picture_says_can_be_pasted_back() -> None:
    shown = picture("P=0-4:rw,f1@0,c C=6-8:r,a2x2 N=8-40:rx,@3")

    assert picture(shown.text).text == shown.text


def test_a_box_holds_the_letters_of_the_strip_and_what_the_vma_is() -> None:
    shown = picture("P=0-4:rw,f1@0,c C=4-6:r,f1@4 N=6-46:rw")

    assert boxes(shown.svg) == [
        ("P=0-4:rw,f1@0,c", ["PPPP", "rw,f1@0", "close"]),
        ("C=4-6:r,f1@4", ["CC", "r,f1@4"]),
        ("N=6-46:rw", ["NNNN~NNNN", "rw"]),
    ]


def test_a_range_is_drawn_as_stars_and_named_in_the_text() -> None:
    shown = picture("PPPP....|NNNN", range="4-8")

    assert "****" in texts(ET.fromstring(shown.svg))
    assert shown.text.endswith("**** 4-8")
    assert shown.svg == picture("PPPP....|NNNN", range=(4, 8)).svg


def test_a_long_layout_goes_on_in_rows_with_its_range_in_the_right_one() -> None:
    vmas = [VMA(f"A{i}", i * 40, i * 40 + 30) for i in range(500)]

    root = ET.fromstring(picture(vmas, range=(4000, 4020)).svg)

    drawn = len(boxes(ET.tostring(root, encoding="unicode")))
    assert int(root.get("width", "")) <= draw.WIDEST
    assert texts(root).count("*" * 20) == 1
    assert f"… and {500 - drawn} more VMAs" in texts(root)
    assert drawn > 100


@pytest.mark.parametrize("layout", ["PPX", "P=4-0:rw", "P=0-4:rw P=4-8:rw", "P=0-4:rw N=2-6:rw"])
def test_a_layout_that_cannot_be_is_refused_in_a_sentence(layout: str) -> None:
    with pytest.raises((NotationError, SpaceError)) as refused:
        picture(layout)

    assert "\n" not in str(refused.value)


# --- before and after -----------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("case", CASES)
def test_before_and_after_shows_what_the_engine_decides(case: int, moment: str) -> None:
    one = kernel(moment)
    for close in closes(case):
        scenario = situation(case, close)
        step = trace(one, scenario)[0]

        shown = before_after(scenario, moment)

        drawn = [notation for notation, _ in boxes(shown.svg)]
        assert drawn == [str(vma) for vma in (*step.before, *step.after)]
        words = " ".join(texts(ET.fromstring(shown.svg)))
        assert verdict(one, step) in words
        assert f"{one.version}: {strip(step.after)} {verdict(one, step)}" in shown.text
        for vma in step.before:
            assert (f"{vma.name} gone" in words) == (vma.name in step.removed)
            assert (f"{vma.name} gone, close ✗" in words) == (vma.name in step.leaked)
        assert ("✗" in words) == bool(step.leaked)
        assert (owed(step) in shown.text) == bool(step.leaked)


def test_what_grew_has_a_bold_border() -> None:
    root = ET.fromstring(before_after(situation(6), "6.5").svg)

    bold = [
        group.findtext(f"{SVG}title")
        for group in root.iter(f"{SVG}g")
        if group.find(f"{SVG}rect[@class='vk-new']") is not None
    ]
    assert bold == ["P=0-12:rw,f1@0"]


def test_a_new_range_that_merges_with_nobody_is_shown_as_a_vma_of_its_own() -> None:
    refused = texts(ET.fromstring(before_after(situation(1, "all"), "6.3").svg))
    merged = texts(ET.fromstring(before_after(situation(1), "6.3").svg))

    assert (refused.count("****"), merged.count("****")) == (2, 1)


def test_rules_may_be_names_or_kernels_and_need_not_be_given() -> None:
    assert before_after(LEAK, "6.5").svg == before_after(LEAK, kernel("6.5")).svg
    assert len(boxes(before_after(LEAK).svg)) == 3


def test_a_rule_that_does_not_exist_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnknownKernel, match=r"write a version"):
        before_after(LEAK, "6.x")


# --- the poster -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["4.9", "5.10", "6.0", "6.3", "6.5", "6.9", "6.11"])
def test_the_poster_shows_the_eight_cases_as_every_version_to_6_11_decides_them(
    version: str,
) -> None:
    shown = poster()
    one = kernel(version)
    drawn = [notation for notation, _ in boxes(shown.svg)]
    words = texts(ET.fromstring(shown.svg))

    for case in CASES:
        step = trace(one, situation(case))[0]
        layout = [str(vma) for vma in (*step.before, *step.after)]
        at = [drawn[i : i + len(layout)] == layout for i in range(len(drawn))]
        assert any(at), f"case {case}"
        assert f"case {case}" in words
        assert verdict(one, step).startswith(f"case {case}: ")
        assert verdict(one, step) in words
        assert f"{strip(step.before)} → {strip(step.after)} {verdict(one, step)}" in shown.text
