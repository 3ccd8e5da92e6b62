"""No text that a reader can enter becomes an element or an attribute of a page."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from vmakernel import draw
from vmakernel.explain import trace
from vmakernel.kernels import kernel
from vmakernel.toggle_lab import ToggleLab, _asked
from vmakernel.widgets import Panel

HOSTILE = ["<img src=x onerror=window.hacked=1>", '"><script>', "&amp;", "</svg>"]


class Elements(HTMLParser):
    """Lists the elements and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names += [tag, *[name for name, _ in attrs]]

    def handle_endtag(self, tag: str) -> None:
        self.names.append(f"/{tag}")


@pytest.mark.parametrize("text", HOSTILE)
def test_names_files_and_flags_of_a_vma_stay_text(text: str) -> None:
    def pages(name: str) -> list[str]:
        one = kernel("6.5")
        steps = [
            step._replace(
                before=tuple([vma._replace(name=vma.name + name) for vma in step.before]),
                after=tuple([vma._replace(name=vma.name + name) for vma in step.after]),
            )
            for step in trace(one, "P=0-4:rw N=8-12:rw | mmap 4-8:rw")
        ]
        outcome = steps[-1].result.outcome
        assert outcome is not None
        asked = tuple(
            [a._replace(vma=a.vma._replace(name=a.vma.name + name)) for a in outcome.asked]
        )
        result = steps[-1].result._replace(outcome=outcome._replace(asked=asked))
        told = _asked(one, [*steps[:-1], steps[-1]._replace(result=result)])
        return [told, draw.picture(steps[-1].before).svg]

    for hostile, plain in zip(pages(text), pages("x"), strict=True):
        assert Elements(hostile).names == Elements(plain).names


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_typed_stays_text(text: str) -> None:
    lab, panel = ToggleLab(), Panel()
    lab.own.value = text
    panel.complain(text)

    assert Elements(lab.message.value).names == ["p", "class", "role", "/p"]
    assert Elements(panel.message.value).names == ["p", "class", "role", "/p"]
