"""Scenarios on the running kernel, and which merge rule that kernel follows.

`run` makes the calls of a scenario in a process started afresh (`live_child.py`), in an arena of
its own, and gives back what the kernel did as a `Recording`. `fingerprint` runs seven scenarios at
most and names the rule. Both need a 64-bit Linux, /proc and SysV shared memory, but no privilege;
where something is missing they raise or report `Unsupported` with the reason, and never guess.

Under a leaky kernel (6.4 to 6.6.23, 6.7 to 6.7.11) a scenario that loses an attach leaves its
segment in memory until the machine restarts: that is the bug itself, and no cleaning up undoes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vmakernel.flags import OneSentence
from vmakernel.process import Machine
from vmakernel.scenario import (
    Mmap,
    Recording,
    Rfp,
    Scenario,
    ScenarioError,
    Segment,
    Shmat,
    parse,
)

MAX_CALLS = 1024
MAX_BYTES = 64 << 20  # of the arena, and of all segments together


class LiveError(OneSentence, RuntimeError):
    """There is no recording; the message says why in one sentence."""


class Unsupported(LiveError):
    """This system cannot run the scenario."""


class Refused(LiveError):
    """The scenario is too large to be run on a kernel somebody needs; nothing was run."""


class Stopped(LiveError):
    """The child took too long, was killed or failed; nothing of it is left."""


def run(scenario: Scenario, *, timeout: float = 60.0, vm_flags: bool = False) -> Recording:
    """What the running kernel does with a scenario; seconds. Raises LiveError, ScenarioError.

    `vm_flags` also records the flags /proc/self/smaps shows for every line of a layout.
    """
    (result,) = run_all([scenario], timeout=timeout, vm_flags=vm_flags)
    if isinstance(result, LiveError):
        raise result
    return result


def run_all(
    scenarios: Iterable[Scenario], *, timeout: float = 60.0, vm_flags: bool = False
) -> Iterator[Recording | LiveError]:
    """`run` for many, each in a process of its own with its own time limit, in order.

    One Python is started for all and forks a child for each; a LiveError is yielded, not raised.
    """
    timeout = min(timeout, 3600.0)
    server: _Server | None = None
    try:
        for scenario in scenarios:
            result: Recording | LiveError
            try:
                request = _request(scenario, timeout, vm_flags)
                server = server or _Server()
                result = _recording(server.ask(request, timeout))
            except LiveError as error:
                result = error
            if server and (isinstance(result, Stopped) or server.process.poll() is not None):
                server.end()
                server = None
            yield result
    finally:
        if server:
            server.end()


def machine(timeout: float = 60.0) -> Machine:
    """What this machine adds to its kernel's version; seconds. Raises LiveError."""
    _check_platform()
    server = _Server()
    try:
        told = json.loads(_said(server.ask({"machine": True, "limit": int(timeout) + 30}, timeout)))
    finally:
        server.end()
    return Machine(**told)


def why_unsupported() -> str | None:
    """Why no scenario can be run here, or None if they can; tries the smallest one."""
    try:
        run(Scenario("smallest", (Segment("A", 1),), (Shmat("A", 0),)))
    except LiveError as error:
        return str(error)
    return None


# -- the request, checked before anything runs -----------------------------------------------------


def _request(scenario: Scenario, timeout: float, vm_flags: bool) -> dict[str, object]:
    _check_platform()
    most = MAX_BYTES // mmap.PAGESIZE
    if len(scenario.calls) > MAX_CALLS:
        raise Refused(f"{len(scenario.calls)} calls are too many to run; write at most {MAX_CALLS}")
    if parse(str(scenario)) != (scenario,):
        raise ScenarioError(f"{scenario.name!r} does not read back as it was made")
    pages = 1
    for call in scenario.calls:
        at = getattr(call, "at", 0)
        end = max(
            at + getattr(call, "pages", 0),
            at + max(getattr(call, "old", 0), getattr(call, "new", 0)),
            (getattr(call, "to", None) or 0) + getattr(call, "new", 0),
        )
        if isinstance(call, Shmat):
            end = at + dict(scenario.segments)[call.segment]
        if end > most:
            raise Refused(f"{str(call)!r} reaches page {end}; stay below page {most}")
        pages = max(pages, end)
    total = sum(segment.pages for segment in scenario.segments)
    if total > most:
        raise Refused(f"the segments have {total} pages; write at most {most} for all of them")
    offsets = [call.pgoff for call in scenario.calls if isinstance(call, Mmap | Rfp)]
    return {
        "scenario": scenario.name,
        "segments": dict(scenario.segments),
        "ops": [str(call) for call in scenario.calls],
        "pages": pages,
        "file_pages": min(max(offsets, default=0), 1 << 24) + 2 * pages,
        "vm_flags": vm_flags,
        "limit": max(int(timeout), 0) + 30,
    }


def _check_platform() -> None:
    if sys.platform == "emscripten":
        raise Unsupported("this Python runs inside a browser; this needs a running Linux kernel")
    if sys.platform != "linux":
        raise Unsupported(f"{sys.platform} is not Linux; this needs a running Linux kernel")
    uname = os.uname()
    if "PST 2016" in uname.version or "gvisor" in uname.release.lower():
        raise Unsupported("gVisor stands in for the kernel here, and it has merge rules of its own")
    if uname.release.endswith("-Microsoft"):
        raise Unsupported("WSL 1 stands in for the kernel here; use WSL 2")
    if uname.machine not in ("x86_64", "aarch64", "riscv64", "loongarch64"):
        raise Unsupported(f"the numbers of the calls on {uname.machine} are not known here")
    if sys.maxsize < 2**32:
        raise Unsupported("this Python is a 32-bit program; use a 64-bit one")
    if not os.path.exists("/proc/self/maps"):
        raise Unsupported("there is no /proc/self/maps to read; mount /proc")
    if not sys.executable:
        raise Unsupported("Python does not know its own program, so it cannot start another")
    try:
        os.kill(os.getpid(), 0)
        os.waitpid(os.getpid(), os.WNOHANG)
    except ChildProcessError:
        pass  # this process is no child of its own: so the kernel answers
    except OSError as error:
        raise Unsupported(f"no process can be ended or waited for ({error.strerror})") from None


def _recording(line: bytes) -> Recording:
    return Recording.from_json(_said(line).decode())


def _said(line: bytes) -> bytes:
    """The line, unless it says why there is no answer. Raises Unsupported, Stopped."""
    if line.startswith(b'{"unsupported"'):
        raise Unsupported(json.loads(line)["unsupported"])
    if line.startswith(b'{"failed"'):
        raise Stopped(json.loads(line)["failed"])
    return line


# -- the process that serves -----------------------------------------------------------------------


class _Server:
    """A fresh Python in a process group of its own, answering one request at a time."""

    def __init__(self) -> None:
        self.started = time.time()
        program = Path(__file__).with_name("live_child.py")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise Unsupported(f"no process can be started ({error.strerror})") from None
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.input, self.output = self.process.stdin, self.process.stdout

    def ask(self, request: dict[str, object], timeout: float) -> bytes:
        """The line of JSON it answers with. Raises Stopped."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(OSError):  # it is gone; what it said last is read below
            self.input.write(json.dumps(request).encode() + b"\n")
        poll = select.poll()
        poll.register(self.output, select.POLLIN)
        said = bytearray()
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise Stopped(f"it did not end within {timeout:g} s and was killed")
            try:
                chunk = os.read(self.output.fileno(), 1 << 16)
            except MemoryError:
                raise Stopped("this process has no memory left to read the answer") from None
            if not chunk:
                break
            said += chunk
        last = bytes(said).strip().rpartition(b"\n")[2]
        if last.startswith(b"{") and said.endswith(b"\n"):
            return last
        code = self.process.wait()
        if code == -signal.SIGSYS:
            raise Unsupported("a seccomp filter forbids a call the child needs (SIGSYS)")
        ending = f"signal {-code}" if code < 0 else f"exit status {code}"
        told = "" if last.startswith(b"{") else last.decode(errors="replace")  # half an answer
        raise Stopped(f"the child process ended early ({told or ending})")

    def end(self) -> None:
        """Kill the whole group, and remove a segment it had no time to mark for removal."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.input.close()
        self.output.close()
        self.process.wait()
        for segment in segments():
            mine = segment["cpid"] == self.process.pid and segment["ctime"] >= int(self.started)
            if mine and segment["nattch"] == 0 and segment["key"] == 0:
                ctypes.CDLL(None).shmctl(segment["shmid"], 0, None)


def segments() -> list[dict[str, int]]:
    """The kernel's own list of SysV segments, by column; empty where it shows none."""
    try:
        head, *rows = Path("/proc/sysvipc/shm").read_text().splitlines()
    except OSError:
        return []
    return [dict(zip(head.split(), map(int, row.split()), strict=False)) for row in rows]


# -- which rule does this kernel follow? -----------------------------------------------------------

ALWAYS_REFUSE = "always-refuse"
MAY_REMOVE_VMA = "may_remove_vma"
ONLY_WHEN_REMOVED = "only-when-really-removed"

VERDICTS = {
    ALWAYS_REFUSE: "a VMA with ->close never merges (as to 6.3)",
    MAY_REMOVE_VMA: "a VMA with ->close may grow over its neighbour's head (as 6.4 ... 6.11)",
    ONLY_WHEN_REMOVED: "only a VMA with ->close that would vanish is refused (as from 6.12)",
}

_LAST_CALL = {
    "case 5": "mprotect 4 2 rw",
    "case 4": "mprotect 6 2 rw",
    "inside": "mprotect 5 2 rw",
    "whole middle": "mprotect 4 4 rw",
}
_CONTROL = {"case 5": 3, "case 4": 3, "inside": 5, "whole middle": 1}


@dataclass(frozen=True, slots=True)
class Experiment:
    """One scenario of a fingerprint and what the kernel did with it."""

    name: str
    close: bool
    recording: Recording

    @property
    def layout(self) -> tuple[str, ...]:
        """The VMAs after the last call, one layout line each."""
        return self.recording.steps[-1].layout

    def __str__(self) -> str:
        memory = "SysV shm, with close" if self.close else "shared anon, no close"
        rows = [f"{self.name} ({memory}): {len(self.layout)} VMAs"]
        rows += [f"  {step.call!s:16} {' | '.join(step.layout)}" for step in self.recording.steps]
        return "\n".join(rows)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The rule a kernel follows, or why that cannot be told, with the evidence.

    `verdict` is one of VERDICTS or None, `reason` then says why; `leaks` is None if not asked.
    """

    kernel: str
    verdict: str | None
    reason: str
    experiments: tuple[Experiment, ...]
    leaks: bool | None = None

    def __str__(self) -> str:
        answer = f"{self.verdict}: {self.reason}" if self.verdict else f"unsupported: {self.reason}"
        rows = [f"Linux {self.kernel}: {answer}"]
        if self.leaks is not None:
            rows.append("leaks an attach" if self.leaks else "does not leak")
        return "\n".join([*rows, *map(str, self.experiments)])


def rule_of(case_5: int, case_4: int) -> str | None:
    """Return which of VERDICTS leaves so many VMAs in each of the two cases; None for none."""
    left = case_5, case_4
    return {(4, 4): ALWAYS_REFUSE, (3, 4): MAY_REMOVE_VMA, (3, 3): ONLY_WHEN_REMOVED}.get(left)


def fingerprint(*, leak_probe: bool = False, timeout: float = 60.0) -> Fingerprint:
    """Which merge rule the running kernel follows, told from layouts alone; raises nothing.

    `leak_probe` also tells a leaky kernel from 6.8 ... 6.11, and has a price: under the former, one
    segment of 12 pages (48 KiB) stays in memory until the machine restarts. Without it nothing
    leaks: where the rule is may_remove_vma, the whole middle of a segment is left alone.
    """
    kernel = os.uname().release if hasattr(os, "uname") else sys.platform
    done: list[Experiment] = []

    def vmas(name: str, close: bool) -> int:
        first = "seg A 12\nshmat A 0" if close else "mmap 0 12 rw s anon"
        (scenario,) = parse(f"{first}\nmprotect 4 4 r\n{_LAST_CALL[name]}", name.replace(" ", "-"))
        experiment = Experiment(name, close, run(scenario, timeout=timeout))
        done.append(experiment)
        return len(experiment.layout)

    def verdict(of: str | None, reason: str, leaks: bool | None = None) -> Fingerprint:
        return Fingerprint(kernel, of, reason, tuple(done), leaks)

    try:
        control = {name: vmas(name, close=False) for name in _LAST_CALL}
        if control != _CONTROL:
            return verdict(None, f"memory without close gave {control}, not {_CONTROL}")
        rule = rule_of(vmas("case 5", close=True), vmas("case 4", close=True))
        if rule == MAY_REMOVE_VMA:
            leaks = None
            if leak_probe:
                vmas("whole middle", close=True)
                leaks = done[-1].recording.nattch_after_exit["A"] > 0
            return verdict(MAY_REMOVE_VMA, VERDICTS[MAY_REMOVE_VMA], leaks)
        whole = vmas("whole middle", close=True)
        if rule is None or whole != 3:
            return verdict(None, "it merges as no rule of this course does; see the layouts")
        return verdict(rule, VERDICTS[rule], False if leak_probe else None)
    except LiveError as error:
        return verdict(None, str(error))
