"""Maintainers: pick from the recordings what the lessons show, into vmakernel/data/.

``python3 tools/evidence.py ../shared`` writes cases.json and calls.jsonl.gz; same recordings, same
bytes.
"""

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).parents[1] / "vmakernel" / "data"
KERNELS: Final = (
    "5.10.262", "6.0-rc1", "6.1.0-standin", "6.1.192", "6.3.8", "6.6.17", "6.9", "6.12.117",
    "7.3.4",
)  # fmt: skip
SCENARIOS: Final = (
    "S1.case4.shanon", "S1.case4.shm", "S1.case5.anon", "S1.case5.shanon", "S1.case5.shm",
    "S1.inside.shanon", "S2.case6.anon", "S2.case6.file", "S2.case6.shanon", "S2.case6.shm",
    "S2.case7.shm", "S3.expand.filep", "S3.expand.fuse", "S3.expand.shm", "S3.expandhole.filep",
    "S3.expandhole.fuse", "S3.expandmove.fuse", "S4.mmap2.fuse", "S5.case7plain", "S5.fixed",
    "S5.loop10", "S5.madvise", "S5.mlock", "S5.rmidexit",
)  # fmt: skip


def cases(text: str) -> str:
    """Return the eight cases and in-place growth, and what each group of versions made of them."""
    situations = dict(re.findall(r"^- case (\d|mremap\S*): `(.+)`$", text, re.M))
    head, *rows = re.findall(r"^\| case \| close on .*?(?=\n\n)", text, re.M | re.S)[0].splitlines()
    named = [cell.strip() for cell in head.strip("|").split("|")[2:]]
    told = re.search(r"^Groups: (.+?)\.?\s*$", text, re.M)
    assert told
    groups = dict(zip(named, [group.split() for group in told[1].split(";")], strict=True))
    measured = {}
    for row in rows:
        case, close, *cells = [cell.strip() for cell in re.sub("[`*]", "", row)[1:-1].split("|")]
        if case in situations:
            measured[f"{case} {close}"] = " | ".join(cells).replace("−", "-")
    return json.dumps({"situations": situations, "groups": groups, "measured": measured}, indent=1)


def calls(recorded: Path) -> bytes:
    """Return the chosen call scenarios, one recording a line, each with its kernel's name."""
    lines = []
    for kernel in KERNELS:
        for line in gzip.decompress((recorded / f"{kernel}.jsonl.gz").read_bytes()).splitlines():
            recording = json.loads(line)
            if recording["scenario"] in SCENARIOS:
                lines.append(json.dumps({"kernel": kernel, **recording}, separators=(",", ":")))
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def main() -> None:
    """Write both files."""
    shared = Path(sys.argv[1])
    measured = cases((shared / "kernel" / "CASES.md").read_text(encoding="utf-8"))
    (DATA / "cases.json").write_text(measured + "\n", encoding="utf-8")
    (DATA / "calls.jsonl.gz").write_bytes(calls(shared / "recorded" / "calls"))


if __name__ == "__main__":
    main()
