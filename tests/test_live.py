"""The running kernel: it agrees with the recordings, and nothing of a run is left behind."""

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

from vmakernel import live
from vmakernel.scenario import Mprotect, Recording, Scenario, ScenarioError, parse

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests/data"
WHY_NOT = live.why_unsupported()
LINUX = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))

needs_kernel = pytest.mark.skipif(WHY_NOT is not None, reason=f"live: {WHY_NOT}")
linux = pytest.mark.skipif(sys.platform != "linux", reason="live: this is not Linux")

T = TypeVar("T")

ONE_CALL = "seg A 12\nshmat A 0\n"
SLOW = "seg A 2400\nshmat A 0\n" + "".join(f"mprotect {2 * i + 1} 1 r\n" for i in range(1000))


def one(text: str) -> Scenario:
    """The only scenario of a text."""
    (scenario,) = parse(text)
    return scenario


def layouts(recording: Recording) -> list[list[str]]:
    """The layout after each call."""
    return [list(step.layout) for step in recording.steps]


def children(pid: int) -> list[int]:
    """The processes a process has started and that still run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(path.parent.name))
    return found


def eventually(found: Callable[[], T]) -> T:
    """What `found` finds as soon as it finds something."""
    end = time.monotonic() + 30
    while not (result := found()):
        assert time.monotonic() < end, "waited for 30 s in vain"
        time.sleep(0.01)
    return result


def gone(*pids: int) -> bool:
    """Whether none of these processes runs."""
    return not any(Path(f"/proc/{pid}/exe").exists() for pid in pids)


@pytest.fixture
def no_segment_left() -> Iterator[None]:
    """Fails if a segment is there afterwards whose maker is gone."""
    before = {segment["shmid"] for segment in live.segments()}
    yield
    eventually(lambda: all(s["shmid"] in before or not gone(s["cpid"]) for s in live.segments()))


# -- what the kernel does --------------------------------------------------------------------------


@needs_kernel
def test_layout_and_attaches_follow_every_call() -> None:
    text = "seg A 4\nseg B 2\nshmat A 0\nshmat B 8\nmmap 2 1 r p anon\nshmdt 8\nmunmap 0 9"

    recording = live.run(one(text))

    assert layouts(recording) == [
        ["0-4 rw-s 0 shm:A"],
        ["0-4 rw-s 0 shm:A", "8-10 rw-s 0 shm:B"],
        ["0-2 rw-s 0 shm:A", "2-3 r--p 0 anon", "3-4 rw-s 3 shm:A", "8-10 rw-s 0 shm:B"],
        ["0-2 rw-s 0 shm:A", "2-3 r--p 0 anon", "3-4 rw-s 3 shm:A"],
        [],
    ]
    assert [tuple((step.nattch or {}).values()) for step in recording.steps] == [
        (1, 0), (1, 1), (2, 1), (2, 0), (0, 0),
    ]  # fmt: skip
    assert recording.nattch_after_exit == {"A": 0, "B": 0}


@needs_kernel
def test_errors_are_named_and_the_scenario_goes_on() -> None:
    text = (
        "seg A 4\nshmat A 0 ro\nmprotect 0 4 rw\ntouch 0 1\nshmdt 1\nmunmap 0 0\n"
        "mmap 8 2 rw p anon\ntouch 8 3\nread 8 2\nmremap 0 4 8"
    )

    recording = live.run(one(text))

    assert [(step.errno, step.note) for step in recording.steps] == [
        ("", None), ("EACCES", None), ("EFAULT", "SIGSEGV"), ("EINVAL", None), ("EINVAL", None),
        ("", None), ("EFAULT", "SIGSEGV"), ("", None), ("", None),
    ]  # fmt: skip
    assert recording.steps[-1].ret == 0


@needs_kernel
def test_beyond_the_end_of_a_segment_is_a_bus_error() -> None:
    recording = live.run(one("seg A 2\nshmat A 0\nmremap 0 2 4\ntouch 0 4"))

    assert (recording.steps[-1].errno, recording.steps[-1].note) == ("EFAULT", "SIGBUS")


@needs_kernel
def test_a_removed_segment_lives_as_long_as_its_attaches() -> None:
    text = "seg A 2\nshmat A 0\nrmid A\nrmid A\nshmat A 4\nmunmap 0 6\nshmat A 0\nrmid A"

    recording = live.run(one(text))

    assert [(step.errno, (step.nattch or {})["A"]) for step in recording.steps] == [
        ("", 1), ("", 1), ("", 1), ("", 2), ("", -22), ("EINVAL", -22), ("EINVAL", -22),
    ]  # fmt: skip
    assert recording.nattch_after_exit == {"A": -22}


@needs_kernel
def test_a_forked_child_counts_until_it_is_ended() -> None:
    ended = live.run(one("seg A 2\nshmat A 0\nfork\nkillchild"))
    left_alive = live.run(one("seg A 2\nshmat A 0\nfork"))

    assert [(step.nattch or {})["A"] for step in ended.steps] == [1, 2, 1]
    assert left_alive.nattch_after_exit == {"A": 0}


@needs_kernel
def test_flags_are_shown_where_asked_for() -> None:
    text = one("seg A 2\nmmap 0 2 rw p anon\nshmat A 4\nmadvise 4 1 dontfork")

    recording = live.run(text, vm_flags=True)

    flags = [step.vm_flags for step in recording.steps]
    assert all(len(step.layout) == len(step.vm_flags or ()) for step in recording.steps)
    assert flags[0] is not None
    assert "ac" in flags[0][0].split()
    assert ["dc" in line.split() for line in flags[2] or ()] == [False, True, False]
    assert Recording.from_json(recording.to_json()) == recording


@needs_kernel
def test_a_mapping_that_moves_away_is_out_of_sight() -> None:
    recording = live.run(one("mmap 0 2 rw p anon\nmmap 2 1 r s anon\nmremap 0 2 4 m"))

    assert (recording.steps[-1].ret, recording.steps[-1].note) == (-1, "moved out of the arena")
    assert layouts(recording)[-1] == ["2-3 r--s 0 shanon"]


@needs_kernel
def test_what_a_userfaultfd_watches_is_never_waited_for() -> None:
    try:
        recording = live.run(one("mmap 0 3 rw p anon\nuffd 1 1\ntouch 0 3\nunuffd 1 1\ntouch 0 3"))
    except live.Unsupported as why:
        pytest.skip(str(why))

    assert [(step.errno, step.note) for step in recording.steps] == [
        ("", None), ("", None), ("EFAULT", "SIGBUS"), ("", None), ("", None),
    ]  # fmt: skip
    assert len(recording.steps[1].layout) == 3


# -- which rule ------------------------------------------------------------------------------------

RECORDED = json.loads((DATA / "fingerprints.json").read_text())
RULES = {
    "5.10.262": live.ALWAYS_REFUSE,
    "6.0-rc1": live.ALWAYS_REFUSE,
    "6.1.0-standin": live.ALWAYS_REFUSE,
    "6.1.192": live.ALWAYS_REFUSE,
    "6.3.8": live.ALWAYS_REFUSE,
    "6.6.17": live.MAY_REMOVE_VMA,
    "6.9": live.MAY_REMOVE_VMA,
    "6.12.117": live.ONLY_WHEN_REMOVED,
    "6.16.3": live.ONLY_WHEN_REMOVED,
    "6.18.15": live.ONLY_WHEN_REMOVED,
    "7.3.4": live.ONLY_WHEN_REMOVED,
}


def recorded_kernel(version: str) -> Callable[..., Recording]:
    """A `run` that answers as the recorded kernel did."""
    by_calls = {}
    for data in RECORDED[version]:
        recording = Recording.from_json(json.dumps(data))
        by_calls[recording.program().calls] = recording
    return lambda scenario, **_: by_calls[scenario.calls]


@pytest.mark.parametrize(("version", "rule"), RULES.items())
def test_every_recorded_kernel_is_told_by_its_layouts(
    version: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "run", recorded_kernel(version))

    plain, probed = live.fingerprint(), live.fingerprint(leak_probe=True)

    assert plain.verdict == probed.verdict == rule
    assert plain.leaks is None
    assert probed.leaks is (version == "6.6.17")


def test_no_attach_is_lost_unless_the_leak_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "run", recorded_kernel("6.6.17"))

    plain, probed = live.fingerprint(), live.fingerprint(leak_probe=True)

    lost = [sum(e.recording.nattch_after_exit.values()) for e in plain.experiments]
    assert lost == [0] * len(plain.experiments)
    assert probed.experiments[-1].recording.nattch_after_exit == {"A": 1}


def test_a_failed_control_is_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def never_merges(scenario: Scenario, **_: object) -> Recording:
        recording = recorded_kernel("6.3.8")(scenario)
        return recording if scenario.segments else merge_free(recording)

    def merge_free(recording: Recording) -> Recording:
        return Recording(recording.scenario, {}, recording.steps[:2], {})

    monkeypatch.setattr(live, "run", never_merges)

    told = live.fingerprint()

    assert told.verdict is None
    assert "memory without close gave" in told.reason
    assert "unsupported: memory without close" in str(told)


@needs_kernel
def test_the_running_kernel_has_a_rule_and_shows_its_evidence() -> None:
    told = live.fingerprint()

    assert told.verdict in live.VERDICTS
    if LINUX >= (6, 12):
        assert told.verdict == live.ONLY_WHEN_REMOVED
    assert str(told).startswith(f"Linux {platform.release()}: {told.verdict}: ")
    assert "  mprotect 4 2 rw  0-6 rw-s 0 shm:A" in str(told) or told.verdict == live.ALWAYS_REFUSE


# -- where it cannot be done -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "why"),
    [
        (("darwin", "Darwin", "23.1.0", "Darwin Kernel", "arm64"), "darwin is not Linux"),
        (("win32", "Windows", "10", "", "AMD64"), "win32 is not Linux"),
        (("linux", "Linux", "4.4.0", "#1 SMP Sun Jan 10 15:06:54 PST 2016", "x86_64"), "gVisor"),
        (("linux", "Linux", "4.19.0-gvisor", "#1", "x86_64"), "gVisor"),
        (("linux", "Linux", "4.4.0-19041-Microsoft", "#1", "x86_64"), "WSL 1"),
        (("linux", "Linux", "6.1.0", "#1", "armv7l"), "calls on armv7l are not known"),
    ],
)
def test_another_system_is_told_why_not(
    system: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, release, version, machine = system
    uname = SimpleNamespace(release=release, version=version, machine=machine)
    fake_os = SimpleNamespace(uname=lambda: uname, path=os.path)
    monkeypatch.setattr(live, "sys", SimpleNamespace(platform=name, maxsize=2**63, executable=""))
    monkeypatch.setattr(live, "os", fake_os)

    told = live.fingerprint()

    assert told.verdict is None
    assert why in told.reason
    assert why in (live.why_unsupported() or "")


SECCOMP = """
import ctypes, struct, sys
shmget = {"x86_64": 29, "aarch64": 194, "riscv64": 194, "loongarch64": 194}[sys.argv[1]]
load, compare = (0x20, 0, 0, 0), (0x15, 0, 1, shmget)
refuse, allow = (0x06, 0, 0, ACTION), (0x06, 0, 0, 0x7FFF0000)
rules = struct.pack("HBBI" * 4, *load, *compare, *refuse, *allow)
libc, code = ctypes.CDLL(None), ctypes.create_string_buffer(rules)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0
from vmakernel import live
print(live.fingerprint())
"""


@needs_kernel
@pytest.mark.parametrize(
    ("action", "why"),
    [
        ("0x00050001", "SysV shared memory is refused (EPERM)"),
        ("0x00050026", "shmget() is not there (ENOSYS"),
        ("0x80000000", "a seccomp filter forbids a call the child needs (SIGSYS)"),
    ],
)
def test_a_seccomp_filter_is_named(action: str, why: str) -> None:
    program = SECCOMP.replace("ACTION", action)

    done = subprocess.run(
        [sys.executable, "-c", program, platform.machine()],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "unsupported: " in done.stdout, done.stderr
    assert why in done.stdout
    assert done.stdout.count("(shared anon, no close)") == 4


@needs_kernel
def test_an_unprivileged_user_gets_the_same_answer() -> None:
    if os.geteuid() != 0:
        pytest.skip("live: these tests are run by an unprivileged user already")
    program = "from vmakernel import live; print(live.fingerprint())"

    def ask(python: str, user: int) -> str:
        try:
            done = subprocess.run(
                [python, "-c", program], cwd=ROOT, user=user, group=user, extra_groups=[],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
        except PermissionError:
            return ""
        return done.stdout

    pythons = [sys.executable, "/usr/bin/python3"]
    answers = [answer for python in pythons if (answer := ask(python, 65534))]
    if not answers:
        pytest.skip("live: no Python here may be started by another user")
    assert answers[0] == str(live.fingerprint()) + "\n"


# -- hostile scenarios, and violent ends -----------------------------------------------------------


@linux
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mmap 34359738368 1 rw p anon", "reaches page 34359738369; stay below page"),
        ("mmap 0 34359738368 rw p anon", "stay below page"),
        ("mremap 0 1 20000", "'mremap 0 1 20000' reaches page 20000"),
        ("mremap 0 1 1 f 20000", "stay below page"),
        ("seg A 99999999\nfork", "the segments have 99999999 pages; write at most"),
        ("seg A 9\nshmat A 20000", "stay below page"),
        ("munmap 0 1\n" * 5000, "5000 calls are too many to run; write at most 1024"),
    ],
)
def test_a_hostile_scenario_is_refused_before_anything_runs(
    text: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", start)

    with pytest.raises(live.Refused, match=re.escape(why)):
        live.run(one(text))


@linux
def test_values_that_no_text_could_give_are_refused() -> None:
    with pytest.raises(ScenarioError, match="'-4' is not a whole number of pages"):
        live.run(Scenario("minus", (), (Mprotect(-4, 4, "r"),)))


@needs_kernel
def test_the_memory_limit_is_an_errno_of_the_scenario(no_segment_left: None) -> None:
    grow_away = "mmap 0 8000 rw p anon\nmmap 8000 1 r s anon\nmremap 0 8000 16000 m\n"

    recording = live.run(one(grow_away * 20 + "mmap 0 1 r p anon"))

    assert "ENOMEM" in {step.errno for step in recording.steps}
    assert recording.steps[-1].errno == ""


@needs_kernel
def test_no_room_at_all_is_said(no_segment_left: None) -> None:
    program = (
        "import resource; from vmakernel import live, scenario\n"
        "resource.setrlimit(resource.RLIMIT_AS, (100 << 20, 100 << 20))\n"
        "print(live.why_unsupported())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert "no room for the arena (ENOMEM)" in done.stdout, done.stderr


def killing(generation: int) -> list[Recording | live.LiveError]:
    """What becomes of a slow scenario, and of the next, when the child in it is killed."""
    results: list[Recording | live.LiveError] = []
    before = children(os.getpid())
    thread = threading.Thread(
        target=lambda: results.extend(live.run_all([one(SLOW), one(ONE_CALL)]))
    )
    thread.start()
    (server,) = eventually(lambda: [pid for pid in children(os.getpid()) if pid not in before])
    (child,) = eventually(lambda: children(server))
    os.kill([server, child][generation], signal.SIGKILL)
    thread.join()
    eventually(lambda: gone(server, child))
    return results


@needs_kernel
@pytest.mark.parametrize(
    ("generation", "why"),
    [(0, "the child process ended early (signal 9)"), (1, "the child was ended by SIGKILL after ")],
)
def test_a_killed_child_is_named_and_the_next_scenario_runs(
    generation: int, why: str, no_segment_left: None
) -> None:
    killed, after = killing(generation)

    assert isinstance(killed, live.Stopped)
    assert str(killed).startswith(why)
    assert isinstance(after, Recording)
    assert after.nattch_after_exit == {"A": 0}


@needs_kernel
def test_a_killed_parent_leaves_nothing(no_segment_left: None) -> None:
    program = (
        "import sys; from vmakernel import live, scenario\n"
        "live.run(scenario.parse(sys.stdin.read())[0])"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE)
    assert parent.stdin is not None
    parent.stdin.write(SLOW.encode())
    parent.stdin.close()
    (server,) = eventually(lambda: children(parent.pid))
    (child,) = eventually(lambda: children(server))

    parent.kill()
    parent.wait()

    eventually(lambda: gone(server, child))


@needs_kernel
def test_time_is_limited(no_segment_left: None) -> None:
    before = children(os.getpid())

    with pytest.raises(live.Stopped, match=r"did not end within 0\.2 s and was killed"):
        live.run(one(SLOW), timeout=0.2)

    assert children(os.getpid()) == before


# Installs a filter that refuses calls (their numbers on x86-64), then becomes another program.
REFUSING = """
import ctypes, os, struct, sys
number, *command = sys.argv[1:]
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, int(number)), (6, 0, 0, 0x50000 | 1), (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("H6xQ", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit(77)
os.execv(command[0], command)
"""
TWO = "scenario one\nseg A 4\nshmat A 0\nrmid A\nshmdt 0\nscenario two\nmmap 0 4 rw p anon\n"


@needs_kernel
@pytest.mark.skipif(platform.machine() != "x86_64", reason="live: numbers of x86-64")
@pytest.mark.parametrize(
    ("call", "number"),
    [("prlimit", 302), ("shmdt", 67), ("kill", 62), ("wait4", 61), ("shmctl", 31), ("prctl", 157)],
)
def test_a_call_that_is_refused_is_told_and_leaves_no_segment(
    call: str, number: int, tmp_path: Path, no_segment_left: None
) -> None:
    program = tmp_path / "two.txt"
    program.write_text(TWO)
    live_run = [sys.executable, "-m", "vmakernel", "live", str(program)]

    done = subprocess.run(
        [sys.executable, "-c", REFUSING, str(number), *live_run],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )

    if done.returncode == 77:
        pytest.skip("live: no filter may be installed here")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1
    assert call in done.stderr or "no process can be ended or waited for" in done.stderr


@needs_kernel
@pytest.mark.parametrize(("option", "what"), [(65, "never becomes executable"), (67, "KSM")])
def test_what_the_process_was_told_before_is_not_taken_for_the_kernel(
    option: int, what: str, tmp_path: Path
) -> None:
    program = tmp_path / "two.txt"
    program.write_text(TWO)
    told = (
        "import ctypes, os, sys;"
        f"ctypes.CDLL(None).prctl({option}, 1, 0, 0, 0) and sys.exit(77);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    ask = [sys.executable, "-m", "vmakernel", "live", str(program), "--rule", "6.12"]

    done = subprocess.run(
        [sys.executable, "-c", told, *ask], capture_output=True, text=True, cwd=ROOT
    )

    if done.returncode == 77:
        pytest.skip("live: this kernel has no such option")
    assert done.returncode == 3
    assert what in done.stderr


@needs_kernel
def test_a_program_that_ignores_its_children_can_ask_as_well(tmp_path: Path) -> None:
    program = tmp_path / "two.txt"
    program.write_text(TWO)
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    ask = [sys.executable, "-m", "vmakernel", "live", str(program), "--rule", "6.12"]

    done = subprocess.run(
        [sys.executable, "-c", ignoring, *ask], capture_output=True, text=True, cwd=ROOT
    )

    assert done.stdout.rstrip().endswith("of 2 scenarios as predicted"), done.stderr


@linux
def test_half_an_answer_is_none_and_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    popen, servers = subprocess.Popen, iter(["print('{\"half', end='')", None])

    def start(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        instead = next(servers)
        command = command if instead is None else [*command[:-1], "-c", instead]
        return popen(command, **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(subprocess, "Popen", start)

    first, second = live.run_all([one("mmap 0 1 r p anon"), one("mmap 0 2 r p anon")])

    assert str(first) == "the child process ended early (exit status 0)"
    assert isinstance(second, Recording)


@needs_kernel
def test_200_runs_leave_no_segment(no_segment_left: None) -> None:
    runs = list(live.run_all([one(ONE_CALL)] * 200))

    assert {tuple(run.nattch_after_exit.items()) for run in runs if isinstance(run, Recording)} == {
        (("A", 0),)
    }
    assert len(runs) == 200


@needs_kernel
def test_a_segment_there_was_no_time_to_mark_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario, before = one(ONE_CALL), {s["shmid"] for s in live.segments()}
    unmarked = (ROOT / "vmakernel/live_child.py").read_text().replace(
        "                libc.shmctl(self.id, IPC_RMID, None)\n",
        "                os.kill(os.getpid(), signal.SIGKILL)\n", 1,
    )  # fmt: skip
    popen = subprocess.Popen
    servers: list[int] = []

    def start(command: list[str], **options: object) -> "subprocess.Popen[bytes]":
        process = popen([*command[:-1], "-c", unmarked], **options)  # type: ignore[call-overload]
        servers.append(process.pid)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(subprocess, "Popen", start)

    with pytest.raises(live.Stopped, match="signal 9"):
        live.run(scenario)

    left = [s for s in live.segments() if s["shmid"] not in before and s["cpid"] in servers]
    assert left == []
