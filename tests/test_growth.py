"""What a call costs as the VMAs get more: the measurement measures, the chart says its numbers."""

import random
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from vmakernel import callers, growth
from vmakernel.flags import VM_READ, VM_WRITE
from vmakernel.growth import Growth, measure, slope, spaces
from vmakernel.kernels import UnknownKernel, kernel

SIZES = (10, 1_000, 60_000)
LINEAR = Growth(SIZES, (20e-6, 20e-6, 20e-6), (1e-6, 100e-6, 6000e-6))


def words(svg: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_slope_is_the_exponent() -> None:
    for exponent in (0, 0.5, 1, 2):
        assert slope(SIZES, [size**exponent for size in SIZES]) == pytest.approx(exponent)
    assert LINEAR.slopes == {"the engine": 0, "a plain list": pytest.approx(1)}


def test_engine_and_plain_list_do_the_same() -> None:
    ours, plain = spaces(200)
    dice = random.Random(7)
    for _ in range(300):
        at, write = dice.randrange(599), dice.random() < 0.5
        for space in (ours, plain):
            callers.protect(space, kernel("6.5"), at, at + 1, VM_READ | VM_WRITE * write)
    assert list(ours.tree) == list(plain.tree)
    assert len(ours.tree) != 200


def test_a_measurement_is_of_both_at_every_size() -> None:
    # What the figures are is for `make bench` to say.
    found = measure(sizes=(10, 30), rounds=1)

    assert found.sizes == (10, 30)
    assert all(cost > 0 for line in found.lines.values() for cost in line)


@pytest.mark.parametrize("sizes", [(), (10,), (0, 10), (10, 10), (100, 10)])
def test_sizes_that_give_no_slope_get_one_sentence(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="give no slope"):
        measure(sizes=sizes)
    with pytest.raises(UnknownKernel):
        measure("5.99")


def test_the_chart_and_its_text_have_every_number() -> None:
    shown = words(LINEAR.svg)

    for told in (LINEAR.text, " ".join(shown)):
        for number in ("20.0 µs", "1.0 µs", "100.0 µs", "6,000.0 µs", "n^0.00", "n^1.00", "60,000"):
            assert number in told or number == "60,000"
    assert "60,000 VMAs 6,000.0 µs" in LINEAR.text
    assert repr(LINEAR) == LINEAR._repr_mimebundle_()["text/plain"] == LINEAR.text
    root = ET.fromstring(LINEAR.svg)
    assert root.get("aria-label") == LINEAR.text


def test_costs_lie_where_their_logarithms_put_them() -> None:
    root = ET.fromstring(LINEAR.svg)
    heights = [
        float(mark.get("cy") or 0) for mark in root.iter("{http://www.w3.org/2000/svg}circle")
    ]
    marks = [
        float(mark.get("y") or 0) + 5
        for mark in root.iter("{http://www.w3.org/2000/svg}rect")
        if mark.get("width") == "10"
    ]

    assert len(set(heights)) == 1
    per_decade = (marks[0] - marks[1]) / 2
    assert marks[1] - marks[2] == pytest.approx(per_decade * 1.778, abs=0.3)


def test_a_chart_is_written_as_svg_or_png(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth, "measure", lambda rule: LINEAR)
    for name, begins in ("a.svg", b"<svg"), ("a.png", b"\x89PNG"):
        assert main(["--chart", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_bytes().startswith(begins)
        assert capsys.readouterr().out.strip() == LINEAR.text
    for name, says in ("a.gif", "end its name in .svg or .png"), ("no/a.svg", "No such file"):
        assert main(["--chart", str(tmp_path / name)]) == 2
        assert says in capsys.readouterr().err
