"""The command line as its users call it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmakernel import live
from vmakernel.__main__ import main

SCENARIO = "P=0-4:rw,f1@0,c C=4-8:r,f1@4,c N=8-12:r,f1@8,c | modify 4-8:rw"


def call(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vmakernel", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_replay_answers_line_for_line_and_names_the_rule():
    lines = f"one {SCENARIO}\ntwo A=0-2:rw | unmap 0-1\n"
    done = call("replay", "--rule", "6.5", stdin=lines)
    assert done.returncode == 0
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["one", "merged:P=0-8"],
        ["two", "unmapped"],
    ]
    assert "6.5 is 6.5 (may_remove_vma)" in done.stderr


def test_replay_goes_on_after_a_malformed_line_and_says_so_at_the_end():
    done = call("replay", "--rule", "6.5", stdin=f"bad A=0-2 | unmap 0-1\ngood {SCENARIO}\n")
    assert done.returncode == 2
    bad, good = done.stdout.splitlines()
    assert bad.startswith("bad error ")
    assert "write NAME=START-END:FLAGS" in bad
    assert good.startswith("good merged")


def test_a_flag_of_a_later_era_is_an_error_line_but_no_fault():
    done = call("replay", "--rule", "2.6.12", stdin="x A=0-2:rwD | unmap 0-1\n")
    assert (done.returncode, done.stdout) == (0, "x error flag not in this era\n")


def test_explain_puts_rules_side_by_side(capsys):
    assert main(["explain", "--rule", "6.3", "--rule", "6.5", SCENARIO]) == 0
    told = capsys.readouterr().out
    assert "PPPP|CCCC|NNNN" in told
    assert "PPPPPPPP|NNNN" in told
    assert "never called" in " ".join(told.split())


def test_rules_lists_the_history(capsys):
    assert main(["rules"]) == 0
    assert "714965ca8252" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["explain", "--rule", "6.55", SCENARIO], "did you mean 6.5?"),
        (["explain", "--rule", "6.5", "A=0-4:rw B=2-6:r | unmap 0-1"], "overlaps"),
        (["explain", "--rule", "6.5", "A=0-4:rw"], "no operation"),
        (["explain", SCENARIO], "--rule"),
        (["replay"], "--rule"),
        (["expl"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_wrong_calls_get_one_sentence_and_status_2(arguments, advice, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert advice in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_a_short_answer_to_a_closed_pipe_is_no_fault():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vmakernel", "rules"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            timeout=60,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path, capsys):
    program = tmp_path / "program.txt"
    program.write_text("mmap 0 4 rw p anon\r\n", "utf-8-sig")
    assert main(["run", str(program), "--rule", "6.18"]) == 0
    assert "0-4 rw-p 0 anon" in capsys.readouterr().out


@pytest.mark.parametrize("rule", ["6.5.1.2", "3.0.0.0"])
def test_four_numbers_are_no_version_after_2_6(rule, capsys):
    assert main(["explain", "--rule", rule, SCENARIO]) == 2
    assert f"there is no Linux {rule}" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_output_closed_from_the_start_is_no_fault():
    command = f"{sys.executable} -m vmakernel rules >&-"
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_pipe_is_no_fault():
    lines = "".join(f"s{number} {SCENARIO}\n" for number in range(5000))
    command = f"{sys.executable} -m vmakernel replay --rule 6.5 | head -1"
    done = subprocess.run(
        command, input=lines, shell=True, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


LEAK = "seg A 12\nshmat A 0\nmprotect 4 4 r\nmprotect 4 4 rw\n"


def test_run_marks_where_kernels_differ(tmp_path, capsys):
    file = tmp_path / "leak.txt"
    file.write_text(LEAK)
    assert main(["run", str(file), "--rule", "6.3", "--rule", "6.5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "leak"
    assert [line for line in lines if line.startswith("≠") and "0-8 rw-s" in line]


def test_run_json_is_one_object_a_scenario():
    done = call(
        "run", "-", "--rule", "6.5", "--json", stdin=f"scenario one\n{LEAK}scenario two\n{LEAK}"
    )
    one, two = map(json.loads, done.stdout.splitlines())
    assert (one["scenario"], two["scenario"]) == ("one", "two")
    assert one["steps"][2]["layout"] == ["0-8 rw-s 0 shm:A", "8-12 rw-s 8 shm:A"]
    assert one["nattch_after_exit"] == {"A": 1}


@pytest.mark.parametrize(
    ("arguments", "stdin", "advice"),
    [
        (["run", "-", "--rule", "6.5"], "mprotec 0 4 r", "mprotect"),
        (["run", "-", "--rule", "6.5"], "shmat A 0", "write 'seg A 12' before it"),
        (["run", "-", "--rule", "6.55"], LEAK, "did you mean 6.5?"),
        (["run", "-", "--rule", "6.3", "--rule", "6.5", "--json"], LEAK, "give --rule once"),
        (["run", "nowhere.txt", "--rule", "6.5"], "", "cannot read nowhere.txt"),
        (["live", "-"], "mprotec 0 4 r", "mprotect"),
        (["live", "-", "--rule", "6.55"], LEAK, "did you mean 6.5?"),
    ],
)
def test_wrong_programs_get_one_sentence_and_status_2(arguments, stdin, advice):
    done = call(*arguments, stdin=stdin)
    assert done.returncode == 2
    assert advice in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_fingerprint_gives_a_rule_or_a_reason():
    done = call("fingerprint")
    assert done.returncode == 0
    verdict = done.stdout.splitlines()[0].split(": ")[1]
    assert verdict in (*live.VERDICTS, "unsupported")


def test_diff_and_judge_speak_and_give_json(capsys):
    assert main(["diff", "6.3", "6.5"]) == 0
    assert "->close of C lost" in capsys.readouterr().out
    assert main(["diff", "6.3", "6.5", "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)["groups"]
    assert {group["change"] for group in groups} == {"newly_allowed", "newly_refused"}
    assert main(["judge", "6.12", "--json"]) == 0
    judged = json.loads(capsys.readouterr().out)
    assert (judged["safe"], judged["minimal"]) == (True, True)


def test_shortest_prints_a_program_in_every_form(capsys):
    command = ["shortest", "--rule", "6.5", "--until", "leak"]
    shown = {}
    for form in ((), ("--json",), ("--c",), ("--python",)):
        assert main([*command, *form]) == 0
        shown[form] = capsys.readouterr().out
    assert json.loads(shown["--json",])["calls"] == 3
    assert "shmat A 0" in shown[()]
    assert "int main" in shown["--c",]
    compile(shown["--python",], "leak.py", "exec")


def test_shortest_gives_up_in_time_and_says_so(capsys):
    command = ["shortest", "--rule", "6.9", "--until", "leak", "--seconds", "0.2"]
    assert main(command) == 0
    assert "Nothing found yet" in capsys.readouterr().out
    assert main([*command, "--c"]) == 1
    assert "Nothing found yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["diff", "6.3"], "RULE"),
        (["diff", "6.3", "6.55"], "did you mean 6.5?"),
        (["judge", "may_remove"], "did you mean may_remove_vma?"),
        (["shortest", "--rule", "6.5", "--until", "later"], "invalid choice"),
        (["shortest", "--rule", "6.5", "--until", "differ"], "only two kernels can differ"),
        (["shortest", "--rule", "6.5", "--until", "leak", "--seconds", "-1"], "is no time"),
        (["shortest", "--rule", "6.5", "--until", "leak", "--c", "--json"], "not allowed with"),
    ],
)
def test_wrong_explorations_get_one_sentence(arguments, advice, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert advice in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("number", ["9223372036854775808", "9" * 5000])
@pytest.mark.parametrize(
    "scenario",
    ["P=0-{}:rw | modify 0-2:r", "P=0-4:rw,f1@{} | modify 0-2:r", "P=0-4:rw | mremap P+{}",
     "P=0-4:rw,a1x{} | modify 0-2:r", "P=0-4:rw | unmap 0-{}"],
)  # fmt: skip
def test_a_number_of_pages_no_machine_has_is_one_sentence(scenario, number, capsys, monkeypatch):
    assert main(["explain", "--rule", "6.5", scenario.format(number)]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert "is too many pages: write at most 4503599627370496" in told.err
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"x {scenario.format(number)}\n"))
    assert main(["replay", "--rule", "6.5"]) == 2
    told = capsys.readouterr()
    assert told.out.startswith("x error ")
    assert "too many pages" in told.out


def test_a_version_of_5000_digits_is_one_short_sentence(capsys):
    assert main(["explain", "--rule", "6." + "9" * 5000, "P=0-4:rw | modify 0-2:r"]) == 2
    told = capsys.readouterr().err
    assert "unknown rule '6.999999" in told
    assert len(told) < 300


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [("rules",), ("judge", "6.12"), ("replay", "--rule", "6.5")])
def test_output_that_has_no_room_is_one_sentence(words):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vmakernel", *words],
            input=f"good {SCENARIO}\n",
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.endswith("vmakernel: this could not be written: No space left on device\n")
    assert "Traceback" not in done.stderr


def test_a_terminal_that_lacks_a_letter_gets_its_number(tmp_path):
    program = tmp_path / "a.txt"
    program.write_text(LEAK)
    done = subprocess.run(
        [sys.executable, "-m", "vmakernel", "run", str(program), "--rule", "6.3", "--rule", "6.5"],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert rb"\u2260   4-8 rw-s 4 shm:A" in done.stdout


@pytest.mark.parametrize("words", [("run", "-", "--rule", "6.3"), ("live", "-")])
def test_input_that_is_no_text_is_one_sentence(words):
    done = subprocess.run(
        [sys.executable, "-m", "vmakernel", *words], input=b"\xff\xfe", capture_output=True
    )
    assert done.returncode == 2
    assert done.stderr.endswith(b"it is no UTF-8 text; name a file of call scenarios\n")
