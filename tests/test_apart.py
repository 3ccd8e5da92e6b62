"""What means harm in a learner's function: one sentence, and nothing of it is left."""

import ctypes
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from vmakernel import guard, plain
from vmakernel.explain import trace
from vmakernel.guard import Guarded, Stopped, run
from vmakernel.judges import shown
from vmakernel.own import own
from vmakernel.predicates import Verdict
from vmakernel.vma import parse_vma

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only there all processes are found")
SLACK = 20.0  # seconds that a busy machine may take on top


# --- processes -----------------------------------------------------------------------------------


def forking(mark):
    if os.fork() == 0:
        time.sleep(600)
    return mark


def daemonising(mark: str) -> str:
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    return mark


def holding_the_pipe_and_leaving(mark):
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    os._exit(5)


def starting(mark):
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    return mark


def deaf(mark):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:
            continue
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    while True:
        time.sleep(600)


def working_together(mark):
    one = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    one.start()
    return mark


def ending_its_keeper(mark):
    os.kill(os.getppid(), signal.SIGKILL)
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    return mark


def stopping_its_keeper(mark):
    os.kill(os.getppid(), signal.SIGSTOP)
    return daemonising(mark)


def multiplying(mark):
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            pass


def exec_into_another(mark):
    os.execvp("sleep", ["sleep", "600"])


def stopping_itself(mark):
    os.kill(0, signal.SIGSTOP)
    return mark


def waiting_in_threads(mark):
    for _one in range(3):
        threading.Thread(target=time.sleep, args=(600,)).start()
    return mark


BREEDERS = [
    forking, daemonising, holding_the_pipe_and_leaving, starting, deaf, working_together,
    ending_its_keeper, stopping_its_keeper, exec_into_another, stopping_itself, waiting_in_threads,
]  # fmt: skip


def _marked(mark: str) -> list[int]:
    """Return the processes that carry a mark in their environment, which children inherit."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                around = file.read()
            with open(f"/proc/{name}/stat") as file:
                dead = file.read().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if mark.encode() in around and not dead and int(name) != os.getpid():
            found.append(int(name))
    return found


@pytest.fixture
def mark(monkeypatch):
    mark = f"VMAKERNEL_MARK_{os.getpid()}_{time.monotonic_ns()}"
    monkeypatch.setenv(mark, "1")
    yield mark
    for pid in _marked(mark):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=["namespace", "none"])
def space(request, monkeypatch):
    """Try it in a PID namespace, and where none is allowed."""
    if request.param == "none":
        program = "from vmakernel import guard; guard._namespace = lambda _: False; guard.serve()"
        monkeypatch.setattr(guard, "PROGRAM", program)
    elif subprocess.run(
        ["unshare", "--user", "--pid", "--fork", "true"], capture_output=True, check=False
    ).returncode:
        pytest.skip("no PID namespace is allowed here")
    return request.param


@LINUX
@pytest.mark.parametrize("function", [*BREEDERS, multiplying])
def test_no_process_is_left(function, mark, space):
    if space == "none" and function in (ending_its_keeper, multiplying):
        pytest.skip("who means it gets out where no namespace is allowed (guard._apart)")
    if function is multiplying and os.getuid() == 0:
        pytest.skip("no limit on processes holds for root")
    began = time.monotonic()
    with suppress(Stopped):
        assert run(function, mark, seconds=2) == mark
    assert time.monotonic() - began < 2 + SLACK
    deadline = time.monotonic() + SLACK
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not left


@LINUX
def test_no_process_is_left_by_a_caller_that_was_killed(mark, space):
    program = (
        f"from vmakernel import guard; guard.PROGRAM = {guard.PROGRAM!r}\n"
        "import itertools\n"
        "guard.run(lambda: print('on', flush=True) or [0 for _ in itertools.count()], seconds=600)"
    )
    caller = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"on\n"
    assert len(_marked(mark)) >= 3
    caller.kill()
    caller.wait()
    deadline = time.monotonic() + SLACK
    while _marked(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _marked(mark)
    caller.stdout.close()


# --- what comes back -----------------------------------------------------------------------------


class Hostile:
    """Whatever is done with it raises."""

    raised: type[BaseException] = SystemExit

    def _raise(self, *_):
        raise self.raised("caught")

    __repr__ = __str__ = __eq__ = __hash__ = __len__ = __iter__ = __reduce_ex__ = _raise


class Interrupting(Hostile):
    raised = KeyboardInterrupt


class Bottomless(Hostile):
    def __repr__(self):
        return repr(self)


class Untold(Exception):
    def __str__(self):
        raise SystemExit


class Text(str):
    __slots__ = ()


def doubling(*_: object) -> list[Any]:
    value: list[Any] = [1]
    for _one in range(30):
        value = [value, value]
    return value


def doubling_on(*_: object) -> list[Any]:
    value = doubling()
    for _one in range(30):
        value = [value, value]
    return value


def wide(*_):
    return [0] * 10**6


def deep(*_):
    value: list[Any] = []
    for _one in range(10**5):
        value = [value]
    return value


def endless(*_):
    value: dict[str, Any] = {}
    value["me"] = value
    return value


def long(*_):
    return "x" * 10**8


def large(*_):
    return 10**200000


def half(*_):
    return "\ud800"


def reducing(*_):
    class Reduced:
        def __reduce__(self):
            return bytearray, (3 << 30,)

    return Reduced()


def whole(*_):
    return bytearray(10)


def raising_what_cannot_be_told(*_):
    raise Untold


def raising_half(*_):
    raise ValueError("\ud800\x1b[2J\n" * 10**5)


def raising_large(*_):
    raise ValueError(10**200000)


def interrupting(*_):
    raise KeyboardInterrupt


CANNOT = "which cannot be handed over"
SAID = {
    doubling: "returned more than 5,000 values",
    doubling_on: "returned values that are nested more than 40 deep",
    wide: "returned more than 5,000 values",
    deep: "returned values that are nested more than 40 deep",
    endless: "returned values that are nested more than 40 deep",
    long: "returned more than 300,000 characters",
    large: "returned a number of more than 1,024 bits",
    half: "returned text with half a character (a lone surrogate)",
    reducing: f"returned a Reduced, {CANNOT}",
    whole: f"returned a bytearray, {CANNOT}",
    raising_what_cannot_be_told: "raised Untold in its line 2: what it says cannot be shown",
    raising_large: "raised ValueError in its line 2: what it says cannot be shown",
    interrupting: "raised KeyboardInterrupt in its line 2",
}


@pytest.fixture(params=["apart", "in a browser"])
def where(request, monkeypatch):
    if request.param != "apart":
        if sys.version_info < (3, 12):
            pytest.skip("no sys.monitoring")
        monkeypatch.setattr(guard, "IN_BROWSER", True)


@pytest.mark.parametrize("function", SAID)
def test_it_is_measured_and_told(function, where):
    with pytest.raises(Stopped) as stopped:
        run(function, seconds=SLACK)
    assert str(stopped.value) == f"{function.__name__} {SAID[function]}"


@pytest.mark.parametrize("thing", [Hostile, Interrupting, Bottomless, Text, object])
def test_nothing_of_it_is_called(thing, where):
    with pytest.raises(Stopped, match=f"gives returned a {thing.__name__}, {CANNOT}"):
        run(lambda: thing(), seconds=SLACK, name="gives")


def test_what_is_raised_is_cut_and_can_be_shown(where):
    with pytest.raises(Stopped) as stopped:
        run(raising_half, seconds=SLACK)
    assert str(stopped.value).isprintable()
    assert len(str(stopped.value)) < 500


def test_what_is_printed_can_be_shown(capsys, where):
    assert run(lambda: print("a\ud800b"), seconds=SLACK) is None
    assert capsys.readouterr().out == "a\\ud800b\n"
    with pytest.raises(Stopped, match="raised ValueError in its line 1: Exceeds the limit"):
        run(lambda: print(10**200000), seconds=SLACK)


@pytest.mark.parametrize(
    "value",
    [
        None, ..., True, 1, -(2**1000), 0.1, float("inf"), "ä😀", b"\0\xff", [], [1, [2]], (),
        (1, (2,)), {1, 2}, frozenset({1}), {(1, 2): {"a": [None]}}, Verdict.CLOSE,
        parse_vma("P=0-4:rw,f1@0,c,a1"),
    ],
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value):
    back = plain.unpacked(json.loads(json.dumps(plain.packed(value))))
    assert back == value
    assert type(back) is type(value)
    assert run(lambda: value, seconds=SLACK) == value


@pytest.mark.parametrize(
    "tree",
    [
        {}, {"a": 1, "b": 2}, {"eval": ["1"]}, {"list": [1]}, {"Verdict": "__class__"},
        {"Verdict": ["OK"]}, {"bytes": "x"}, {"bytes": 10**9}, {"bytearray": [3 << 30]},
        {"dict": [1]}, {"dict": [[], 1]}, {"set": [[]]}, {"set": "abc"}, {"VMA": []},
        {"VMA": ["P", "0", 4, 0, None, 0, None, None, "", "", "", 0]}, {"VmOps": [1, 0, 3]},
        {"AnonVma": [{"VMA": []}, 1]}, "\ud800", 1 << 2000, [0] * 6000, "x" * 400_000,
        {"Proposal": {"VMA": []}}, {"Hostile": []},
    ],
)  # fmt: skip
def test_what_is_no_plain_value_is_refused(tree):
    with pytest.raises(plain.NotPlain):
        plain.unpacked(tree)


def say(frames: bytes) -> bool:
    """Write to every file there is, as the other side would."""
    for number in range(3, 32):
        try:
            os.write(number, frames)
        except OSError:
            continue
    return True


def on_and_on() -> bool:
    while True:
        time.sleep(600)


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(8, "big") + message


@pytest.mark.parametrize(
    "message",
    [
        pickle.dumps(("returned", 1)), b"", b"1", b"[]", b'["returned"]',
        b'["returned", {"eval": 1}]', b"[" * 100_000, b'["failed", 3]',
        b'["failed", ["a\\ud800\\n"]]', b'[3, "a"]', b"\xff",
        b'["printed", {"x": 1}]', b'["returned", ' + b"1" * 10_000 + b"]",
    ],
)  # fmt: skip
def test_what_it_makes_the_other_side_say_is_read_with_care(message, capfd):
    """The frame is taken for the answer, the true one for that of no question."""
    guarded = Guarded(lambda: say(frame(message)), name="forger", seconds=SLACK)
    said = "forger "
    try:
        guarded()
    except Stopped as stopped:
        said = str(stopped)
    guarded.close()
    assert said.isprintable()
    assert said.startswith("forger ")


def test_a_message_cut_short_and_one_too_large_end_in_time():
    cut = Guarded(lambda: [say((100).to_bytes(8, "big") + b"x"), os._exit(0)], seconds=SLACK)
    with pytest.raises(Stopped, match="ended its process with exit status 0"):
        cut()
    with pytest.raises(Stopped, match="said too much, and was stopped"):
        run(lambda: [say((1 << 62).to_bytes(8, "big")), on_and_on()], seconds=SLACK)
    with pytest.raises(Stopped, match="did not come back within 1 s"):
        run(lambda: [say((100).to_bytes(8, "big")), on_and_on()], seconds=1)


def test_a_flood_of_prints_is_cut_here_as_well(capsys):
    flood = frame(json.dumps(["printed", "x" * 100_000]).encode())
    with pytest.raises(Stopped):
        run(lambda: [say(flood) for _ in range(10**6)], seconds=SLACK, lines=2)
    assert len(capsys.readouterr().out) <= 600


def test_a_question_that_is_not_taken_is_no_trap():
    stuck = Guarded(lambda text: os.kill(os.getpid(), signal.SIGSTOP), seconds=1)
    for _ in range(2):
        with pytest.raises(Stopped):
            stuck("x" * (4 << 20))


# --- all together --------------------------------------------------------------------------------


def test_all_calls_together_have_a_limit():
    slow = Guarded(lambda: time.sleep(0.01), seconds=SLACK, total=60, name="slow")
    for _ in range(2):
        slow()
    slow.spent += 60  # as if it had been many more
    with pytest.raises(Stopped, match="slow took more than 60 s for all calls together"):
        slow()
    assert slow() is None  # in a new one
    slow.spent = 61
    slow.afresh()
    assert slow() is None
    slow.close()


def test_it_ends_by_a_signal():
    with pytest.raises(Stopped, match="ended its process by signal 11"):
        run(lambda: ctypes.string_at(0), name="crashing", seconds=SLACK)


@pytest.mark.parametrize(
    "test", [doubling, half, large, reducing, interrupting, raising_what_cannot_be_told]
)
def test_a_rule_of_ones_own_gets_one_sentence(test):
    with pytest.raises(Stopped, match=f"^{test.__name__} r"):
        trace(own("6.5", test), "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c | modify 4-8:rw")


@pytest.mark.parametrize("thing", [Hostile, Interrupting, Bottomless])
def test_what_cannot_be_shown_is_named(thing):
    assert thing.__name__ in shown(thing())
    assert len(shown(doubling_on())) <= 120
