"""The engine against what real kernels' merge code decided."""

import gzip
import json
import re
from pathlib import Path

import pytest

from vmakernel.explain import trace
from vmakernel.kernels import kernel
from vmakernel.replay import replay_line

DATA = Path(__file__).parent / "data"
SAMPLE = json.loads(gzip.decompress((DATA / "decisions.json.gz").read_bytes()))
CASES = json.loads((DATA / "cases.json").read_text())
FULL = Path(__file__).parents[2] / "shared" / "recorded" / "decisions"

RECORDED = {version: results for versions, results in SAMPLE["results"] for version in versions}


def mismatches(version: str, scenarios: list[str], results: list[str]) -> list[str]:
    """Return every line on which the engine and the recording differ."""
    chosen = kernel(version)
    return [
        f"{line}\n  recorded {result}\n  engine   {got}"
        for line, result in zip(scenarios, results, strict=True)
        # "skip": the kernel's own code warned about the input, its answer means nothing.
        if " skip " not in result and (got := replay_line(chosen, line)) != result
    ]


@pytest.mark.parametrize("version", RECORDED)
def test_agrees_with_the_sample(version):
    wrong = mismatches(version, SAMPLE["scenarios"], RECORDED[version])
    assert not wrong, f"{len(wrong)} of {len(SAMPLE['scenarios'])}\n" + "\n".join(wrong[:5])


@pytest.mark.nightly
@pytest.mark.skipif(not FULL.is_dir(), reason="the full recordings (../shared) are not here")
@pytest.mark.parametrize("version", RECORDED)
def test_agrees_with_every_recording(version):
    scenarios, results = (
        gzip.decompress((FULL / f"{name}.txt.gz").read_bytes()).decode().splitlines()
        for name in ("scenarios", version)
    )
    wrong = mismatches(version, scenarios, results)
    assert not wrong, f"{len(wrong)} of {len(scenarios)}\n" + "\n".join(wrong[:5])


def versions(group: str) -> list[str]:
    """Return the recorded versions in a group such as ``6.4.6..6.6.17``."""

    def key(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version.partition("-")[0])]

    first, _, last = group.partition("..")
    return [version for version in RECORDED if key(first) <= key(version) <= key(last or first)]


def rows(table: str) -> list[tuple[str, str, str, str]]:
    """Return (case, who, version, expected cell) for every cell of a measured table."""
    groups = CASES[table]["groups"]
    return [
        (case, who, version, cell)
        for case, who, *cells in CASES[table]["rows"]
        for group, cell in zip(groups, cells, strict=True)
        for version in versions(group)
    ]


def summary(version: str, scenario: str, *, anon: bool) -> str:
    """Return what the engine makes of `scenario`, written like a cell of the measured tables."""
    (step,) = trace(kernel(version), scenario)
    if step.result.status != "merged":
        return "no"
    after = [
        f"{vma.name}{vma.vm_start}-{vma.vm_end}"
        + (f":{str(vma).split(',a')[1]}" if anon and vma.anon_vma else "")
        for vma in step.after
    ]
    cell = "`" + re.sub(r":(\d)", r":a\1", " ".join(after)) + "`"
    if step.removed and not anon:
        cell += f" −{','.join(step.removed)}"
    if step.leaked:
        cell += f" **leak {','.join(step.leaked)}**"
    outcome = step.result.outcome
    if anon and outcome and outcome.dups:
        cell += " dup " + ",".join(f"{to}<{source}" for to, source in outcome.dups)
    return cell


def test_close_table():
    """Who has ->close × case × version, as measured: 62 rows, every cell."""
    wrong = []
    for case, who, version, cell in rows("close"):
        layout, _, call = CASES["cases"][case].partition(" | ")
        vmas = [f"{vma},c" if vma[0] in who else vma for vma in layout.split()]
        got = summary(version, " ".join(vmas) + " | " + call, anon=False)
        if got != cell:
            wrong.append(f"{version} case {case}, close on {who}: measured {cell}, engine {got}")
    assert not wrong, "\n".join(wrong)


def test_anon_vma_table():
    """Who has which anon_vma × case × version, as measured: 28 rows, every cell."""
    wrong = []
    for case, who, version, cell in rows("anon_vma"):
        layout, _, call = CASES["cases"][case].partition(" | ")
        anon = dict(part.split(":") for part in who.split())
        # The table is of anonymous memory; in cases 4 and 5 one VMA plays two parts.
        vmas = [
            vma.partition(",")[0] + (f",{anon[vma[0]]}" if anon.get(vma[0], "-") != "-" else "")
            for vma in layout.split()
        ]
        got = summary(version, " ".join(vmas) + " | " + call.partition(",")[0], anon=True)
        if got != cell:
            wrong.append(f"{version} case {case}, {who}: measured {cell}, engine {got}")
    assert not wrong, "\n".join(wrong)
