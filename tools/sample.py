"""Maintainers: draw the samples of recordings that the tests carry.

``python3 tools/sample.py ../shared`` writes decisions.json.gz, cases.json and calls.jsonl.gz in
tests/data; same recordings, same bytes.
"""

import gzip
import itertools
import json
import random
import re
import sys
from pathlib import Path
from typing import Any, Final

DATA: Final = Path(__file__).parents[1] / "tests" / "data"
SIZE: Final = 2000


def read(path: Path) -> list[str]:
    """Return the lines of a packed recording."""
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def decisions(recorded: Path) -> dict[str, Any]:
    """Return a seeded sample of the scenarios, and what each group of like versions made of it."""
    scenarios = read(recorded / "scenarios.txt.gz")
    results = {
        path.name.removesuffix(".txt.gz"): read(path)
        for path in sorted(recorded.glob("*.txt.gz"))
        if path.name != "scenarios.txt.gz"
    }
    # Half of the recordings are the small world (w*); without a share for each kind it would crowd
    # out the sequences. A line on which versions disagree is worth more than one where all agree.
    kinds: dict[str, list[int]] = {}
    for index, line in enumerate(scenarios):
        telling = len({result[index] for result in results.values()}) > 1
        kinds.setdefault(line[0] + ("!" if telling else ""), []).append(index)
    draw = random.Random(12)
    chosen = [
        index
        for kind, lines in sorted(kinds.items())
        for index in draw.sample(lines, min(len(lines), SIZE // len(kinds) * 2 + 1))
    ]
    chosen = draw.sample(chosen, min(SIZE, len(chosen)))
    # Two versions may differ on a line or two of all: those must not be lost.
    for ours, theirs in itertools.combinations(sorted(set(map(tuple, results.values()))), 2):
        telling_apart = [
            index for index, pair in enumerate(zip(ours, theirs, strict=True)) if pair[0] != pair[1]
        ]
        chosen += draw.sample(telling_apart, min(10, len(telling_apart)))
    chosen = sorted(set(chosen))
    groups: dict[tuple[str, ...], list[str]] = {}
    for version, result in results.items():
        groups.setdefault(tuple(result[index] for index in chosen), []).append(version)
    return {
        "scenarios": [scenarios[index] for index in chosen],
        "results": [[versions, list(result)] for result, versions in groups.items()],
    }


def calls(recorded: Path) -> list[str]:
    """Return all written scenarios and a seeded sample of the random ones, as kernels ran them.

    Each line names the kernels that did the same, and after a tab holds what they did.
    """
    results = {
        path.name.removesuffix(".jsonl.gz"): read(path) for path in sorted(recorded.glob("*.gz"))
    }
    rows = list(zip(*results.values(), strict=True))
    written = [row for row in rows if row[0].startswith('{"scenario":"S')]
    random_rows = [row for row in rows if row not in set(written)]
    telling = [row for row in random_rows if len(set(row)) > 1]
    draw = random.Random(12)
    chosen = {*written, *draw.sample(telling, 500), *draw.sample(random_rows, 200)}
    lines = []
    for row in rows:
        if row in chosen:
            kernels: dict[str, list[str]] = {}
            for version, line in zip(results, row, strict=True):
                kernels.setdefault(line, []).append(version)
            lines += [f"{','.join(versions)}\t{line}" for line, versions in kernels.items()]
    return lines


def tables(text: str) -> dict[str, Any]:
    """Return the hand-picked cases and the two measured tables of CASES.md as data."""
    lines = dict(re.findall(r"^- case (\S+): `(.+)`$", text, re.MULTILINE))
    found: dict[str, Any] = {"cases": lines}
    for key, title in (("close", "close on"), ("anon_vma", "anon_vma")):
        head, *rows = re.findall(rf"^\| case \| {title} \|.*?(?:\n\n|\Z)", text, re.M | re.S)[
            0
        ].splitlines()[:-1]
        groups = [cell.strip() for cell in head.strip("|").split("|")[2:]]
        found[key] = {
            "groups": groups,
            "rows": [
                [cell.strip() for cell in row.strip("|").split("|")]
                for row in rows
                if not row.startswith("|---")
            ],
        }
    return found


def main() -> None:
    """Write the three files."""
    shared = Path(sys.argv[1])
    packed = json.dumps(
        decisions(shared / "recorded" / "decisions"), separators=(",", ":")
    ).encode()
    (DATA / "decisions.json.gz").write_bytes(gzip.compress(packed, mtime=0))
    told = "\n".join(calls(shared / "recorded" / "calls")) + "\n"
    (DATA / "calls.jsonl.gz").write_bytes(gzip.compress(told.encode(), mtime=0))
    cases = tables((shared / "kernel" / "CASES.md").read_text())
    (DATA / "cases.json").write_text(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
