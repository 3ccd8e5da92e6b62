"""Charts say in text what they draw, and draw the same bytes twice."""

import subprocess
import sys

from vmakernel.charts import counts
from vmakernel.kernels import kernel

THERE_AND_BACK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw"


def test_counts_follows_the_calls():
    chart = counts(THERE_AND_BACK, "6.3", "6.5")
    assert chart.ticks == ("shmat A 0", "mprotect 4 4 r", "mprotect 4 4 rw")
    assert chart.lines == {str(kernel("6.3")): [1, 3, 3], str(kernel("6.5")): [1, 3, 2]}


def test_the_text_has_every_number_and_the_picture_is_the_same_twice():
    chart = counts(THERE_AND_BACK, "6.3", "6.5")
    for told in ("6.3", "6.5", "shmat A 0 1", "mprotect 4 4 rw 3", "mprotect 4 4 rw 2"):
        assert told in repr(chart)
    shown = chart._repr_mimebundle_()
    assert shown["text/plain"] == repr(chart)
    assert f'alt="{chart!r}"' in shown["text/html"]
    assert shown["image/png"].startswith(b"\x89PNG")
    assert shown["image/png"] == chart._repr_mimebundle_()["image/png"]


def test_without_matplotlib_a_drawing_of_ours_has_every_number(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    chart = counts(THERE_AND_BACK, "6.3", "6.5")
    shown = chart._repr_mimebundle_()
    assert set(shown) == {"text/plain", "text/html", "image/svg+xml"}
    assert shown["text/plain"] == repr(chart)
    for told in ("●✖ 1", "●✖ 3", "● 3", "✖ 2"):
        assert f">{told}</text>" in shown["image/svg+xml"]


def test_the_text_needs_no_matplotlib():
    code = (
        "import sys; from vmakernel.charts import counts; "
        "repr(counts('seg A 4\\nshmat A 0', '6.3'));"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
