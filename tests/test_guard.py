"""Whatever a learner's function does, its caller gets an answer or a sentence."""

import math
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from vmakernel.guard import Guarded, Stopped, _Child, run
from vmakernel.vma import parse_vma

FACTOR = 3
LOCK = threading.Lock()


def triple(number):
    return number * FACTOR + math.floor(0.5)


def loop(*_: object) -> None:
    while True:
        pass


def stubborn(*_):
    while True:
        try:
            loop()
        except BaseException:
            continue


def one_call_of_c(*_):
    return sum(range(10**14))


def hungry(*_):
    return len(bytearray(1 << 40))


def bottomless(number: int) -> int:
    return bottomless(number + 1)


def raising(number):
    half = number / 2
    return half / 0


def leaving(*_):
    sys.exit(3)


def vanishing(*_):
    os._exit(5)


def generating(*_):
    return (number for number in range(3))


def printing(*_):
    while True:
        print("again and again")


def chatty(number):
    print("asked", number)
    return number


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (loop, "loop did not come back within 0.3 s and was stopped"),
        (stubborn, "stubborn did not come back within 0.3 s and was stopped"),
        (one_call_of_c, "one_call_of_c did not come back within 0.3 s and was stopped"),
        (printing, "printing did not come back within 0.3 s and was stopped"),
        (raising, "raising raised ZeroDivisionError in its line 3: float division by zero"),
        (leaving, "leaving raised SystemExit in its line 2: 3"),
        (vanishing, "vanishing ended its process with exit status 5"),
        (generating, "generating returned a generator, which cannot be handed over"),
    ],
)
def test_every_way_to_go_wrong_is_one_sentence(function, sentence):
    with pytest.raises(Stopped) as stopped:
        run(function, 4, seconds=0.3)
    assert str(stopped.value) == sentence


def test_deep_recursion_is_one_sentence():
    with pytest.raises(Stopped, match="bottomless raised RecursionError in its line 2"):
        run(bottomless, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_memory_is_limited():
    with pytest.raises(Stopped, match="hungry needed more than 256 MB of memory"):
        run(hungry, megabytes=256)


def test_values_come_back_and_the_process_is_kept():
    guarded = Guarded(triple)
    assert [guarded(number) for number in range(4)] == [0, 3, 6, 9]
    assert run(lambda vma: vma.pages, parse_vma("P=0-4:rw,f1@0,c")) == 4
    guarded.close()
    assert guarded(5) == 15  # in a new one


def test_many_questions_are_answered_together_or_not_at_all():
    guarded = Guarded(lambda number: loop() if number == 2 else 12 / number, seconds=0.3)
    assert guarded.each([(3,), (4,), (6,)]) == [4, 3, 2]
    assert guarded.each([(3,), (0,)]) is None  # it raises
    assert guarded.each([(3,), (2,)]) is None  # it loops
    assert guarded.each([(3,), (lambda: 3,)]) is None  # it cannot be handed over
    assert guarded.each([]) == []
    assert guarded(6) == 2


def test_after_being_stopped_it_answers_again():
    guarded = Guarded(lambda number: loop() if number == 2 else number, seconds=0.3)
    assert guarded(1) == 1
    with pytest.raises(Stopped):
        guarded(2)
    assert guarded(3) == 3


def test_prints_are_shown_as_far_as_they_go(capsys):
    guarded = Guarded(chatty, lines=3)
    assert [guarded(number) for number in range(5)] == list(range(5))
    assert capsys.readouterr().out == (
        "asked 0\nasked 1\nasked 2\n… and more, which is not shown\n"
    )
    with pytest.raises(Stopped):
        run(printing, seconds=0.3, lines=2)
    assert capsys.readouterr().out.count("again and again") == 2


def test_what_a_notebook_defines_goes_along():
    # A notebook's names live in __main__, which another process cannot import.
    program = textwrap.dedent("""
        from vmakernel.guard import run, Stopped
        import math
        scale = [2, 3]
        class Pair:
            def __init__(self, left):
                self.left = left
            def both(self, right):
                return self.left, right
        class Triple(Pair):
            def both(self, right):
                return (*super().both(right), scale[1])
        def factorial(n):
            return 1 if n < 2 else n * factorial(n - 1)
        def outer(start):
            def inner(n, more=1):
                return start + n + more + math.floor(scale[0])
            return inner
        print(run(factorial, 5), run(outer(10), 1), run(Triple(1).both, 2))
        lock = __import__("threading").Lock()
        def locked(n):
            return lock
        try:
            run(locked, 1)
        except Stopped as stopped:
            print(stopped)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    first, second = done.stdout.splitlines()
    assert first == "120 14 (1, 2, 3)"
    assert second == (
        "locked cannot be taken into a process of its own (it uses lock, which cannot be copied): "
        "give it what it needs as plain values"
    )


def test_what_it_changes_stays_there():
    seen: list[int] = []

    def note(number):
        seen.append(number)
        return len(seen)

    assert run(note, 1) == 1
    assert seen == []


def test_an_interrupt_leaves_nothing_behind(monkeypatch):
    guarded = Guarded(triple)
    assert guarded(1) == 3
    child = guarded._child
    assert isinstance(child, _Child)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(child, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        guarded(2)
    assert child.process.poll() is not None
    assert guarded(2) == 6


def test_its_process_ends_with_it():
    guarded = Guarded(triple)
    guarded(1)
    assert isinstance(guarded._child, _Child)
    process = guarded._child.process
    del guarded
    for _ in range(200):
        if process.poll() is not None:
            break
        time.sleep(0.01)
    assert process.poll() is not None
