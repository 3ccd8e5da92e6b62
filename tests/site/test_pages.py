"""The pages: whole, without anything to load, readable by everybody."""

from __future__ import annotations

from functools import cache
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.site.conftest import SITE
from tools.pages import sources
from tools.twins import OWNERS, slug
from vmakernel import draw, explore, widgets
from vmakernel.explain import trace
from vmakernel.kernels import MOMENTS, kernel
from vmakernel.layout import strip
from vmakernel.recorded import situation
from vmakernel.toggle_lab import SITUATIONS

PAGES = sorted(path for path in SITE.rglob("*.html") if "lite" not in path.relative_to(SITE).parts)
NAMES = [path.relative_to(SITE).as_posix() for path in PAGES]


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.mute: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        got = dict(attributes)
        if "id" in got:
            self.ids.append(got["id"])
        if tag == "a" and "href" in got:
            self.links.append(got["href"])
        self.loads += [got[name] for name in ("src", "srcset", "data", "poster") if name in got]
        if tag == "link":
            self.loads.append(got["href"])
        if tag == "script":
            self.loads.append("a script")
        told = got.get("alt") if tag == "img" else got.get("aria-label")
        if tag == "img" or (tag == "svg" and got.get("role") == "img"):
            self.mute += [] if told else [str(self.get_starttag_text())[:80]]
        if tag == "svg" and got.get("role") != "img":
            self.mute.append(str(self.get_starttag_text())[:80])


@cache
def page(path: Path) -> Page:
    return Page(path)


def test_every_notebook_and_situation_has_its_page():
    root = Path(__file__).parents[2]
    wanted = {path.relative_to(root).with_suffix(".html").as_posix() for path in sources()}
    wanted |= {f"lab/{slug(name)}.html" for name in SITUATIONS}
    assert set(NAMES) == wanted | {"index.html", "lab/index.html"}


def test_every_witness_of_the_patch_stands_in_its_page_as_the_lab_shows_it():
    text = unescape((SITE / "notebooks/05-the-patch.html").read_text(encoding="utf-8"))
    before, after = kernel("6.3"), kernel("6.5")
    groups = explore.diff(before, after).groups
    assert len(groups) > 5
    for group in groups:
        assert f'"{draw.before_after(group.witness, after, before).text}"' in text


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_no_link_leads_nowhere(path):
    for link in page(path).links:
        if link.startswith(("https:", "mailto:")):
            continue
        file, _, part = unquote(link).partition("#")
        file, _, query = file.partition("?")
        aim = (path.parent / file).resolve() if file else path
        assert aim.is_file(), link
        if query:
            assert (SITE / "lite/files" / query.removeprefix("path=")).is_file(), link
        if part:
            assert part in page(aim).ids, link


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_nothing_is_loaded_but_the_style_sheet(path):
    text = path.read_text(encoding="utf-8")
    assert {Path(one).name for one in page(path).loads if not one.startswith("data:")} == {
        "page.css"
    }
    assert "@import" not in text
    assert "url(" not in text


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_picture_has_words_and_every_id_is_one(path):
    assert page(path).mute == []
    assert len(set(page(path).ids)) == len(page(path).ids)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(offline, address, axe, scheme):
    tab = offline(color_scheme=scheme).new_page()
    found = {}
    for name in NAMES:
        tab.goto(address + name)
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        tab.evaluate(axe)
        told = tab.evaluate("axe.run({resultTypes: ['violations']})")
        for one in told["violations"]:
            found[name, one["id"]] = [node["html"][:150] for node in one["nodes"][:3]]
    assert found == {}


@pytest.mark.parametrize(("width", "meant"), [(400, "a narrow screen"), (640, "1280 at 200 %")])
def test_no_page_is_wider_than_the_screen(offline, address, width, meant):
    tab = offline(viewport={"width": width, "height": 800}).new_page()
    found = {}
    for name in NAMES:
        tab.goto(address + name)
        tab.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        wide = tab.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            found[name] = wide
    assert found == {}, meant


def test_nothing_moves(offline, address):
    tab = offline(reduced_motion="reduce").new_page()
    for name in NAMES:
        tab.goto(address + name)
        assert tab.evaluate("document.getAnimations().length") == 0


def test_a_prediction_is_told_on_a_click_and_by_keyboard(offline, address):
    # Without scripts, as in the strictest browser.
    tab = offline(java_script_enabled=False).new_page()
    tab.goto(f"{address}notebooks/06-the-toggle-lab.html")
    told = tab.locator("summary", has_text="What 6.5 (after) does").first
    answer = told.locator("xpath=..").locator("svg")
    assert not answer.is_visible()
    told.focus()
    tab.keyboard.press("Enter")
    answer.wait_for()
    after = strip(trace(kernel("6.5:after"), situation(6, close="all"))[-1].after)
    assert after in answer.get_attribute("aria-label")


def test_the_board_says_what_the_engine_says(offline, address):
    tab = offline().new_page()
    for name in SITUATIONS:
        tab.goto(f"{address}lab/{slug(name)}.html")
        shown = tab.locator("svg").evaluate_all("all => all.map(one => one.ariaLabel)")
        told = set()
        for letters in OWNERS.values():
            lab = widgets.toggle_lab().choose(situation=name, close=letters, compared="")
            for moment in MOMENTS:
                told.add(lab.choose(moment=moment).picture.text)
        assert set(shown) == told
