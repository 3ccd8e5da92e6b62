"""Charts say in text what they draw, and draw the same bytes twice."""

import subprocess
import sys

from vmakernel.charts import VERSIONS, counts, history
from vmakernel.kernels import kernel
from vmakernel.recorded import CASES, decided

THERE_AND_BACK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw"


def test_history_counts_what_was_recorded():
    chart = history()
    recorded = {"2.6.12": "2.6.12.1", "6.5": "6.4.6..6.6.17", "6.12": "6.12.107..7.3.4"}
    for version, group in recorded.items():
        cells = [decided(case, "all")[group] for case in CASES]
        at = VERSIONS.index(version)
        assert chart.lines["merge"][at] == sum(cell != "no" for cell in cells)
        assert chart.lines["lose a close"][at] == sum("leak" in cell for cell in cells)


def test_counts_follows_the_calls():
    chart = counts(THERE_AND_BACK, "6.3", "6.5")
    assert chart.ticks == ("shmat A 0", "mprotect 4 4 r", "mprotect 4 4 rw")
    assert chart.lines == {str(kernel("6.3")): [1, 3, 3], str(kernel("6.5")): [1, 3, 2]}


def test_the_text_has_every_number_and_the_picture_is_the_same_twice():
    chart = history()
    for version in VERSIONS:
        assert version in repr(chart)
    shown = chart._repr_mimebundle_()
    assert shown["text/plain"] == repr(chart)
    assert f'alt="{chart!r}"' in shown["text/html"]
    assert shown["image/png"].startswith(b"\x89PNG")
    assert shown["image/png"] == chart._repr_mimebundle_()["image/png"]


def test_the_text_needs_no_matplotlib():
    code = (
        "import sys; from vmakernel.charts import history; repr(history());"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
