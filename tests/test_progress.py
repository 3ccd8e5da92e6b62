"""The progress file: what is kept, how it is read back, when to ask again, and forgetting it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vmakernel import exercise, progress
from vmakernel.progress import DAY, Result, Standing

NOON = 1_700_000_000


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A progress file of the test's own."""
    found = tmp_path / "deep" / "progress.jsonl"
    monkeypatch.setenv(progress.VARIABLE, str(found))
    return found


def test_what_is_recorded_can_be_read_back_as_lines_of_json(file: Path) -> None:
    assert progress.results() == ([], "")
    assert progress.record("05-who-is-asked", False, "b) N's") == ""
    assert progress.record("05-who-is-asked", True, "é" * 1000) == ""

    read, trouble = progress.results()
    assert trouble == ""
    assert [(one.id, one.held, one.said) for one in read] == [
        ("05-who-is-asked", False, "b) N's"),
        ("05-who-is-asked", True, "é" * 400),
    ]
    lines = [line for line in file.read_text("utf-8").splitlines() if line]
    assert [json.loads(line)["held"] for line in lines] == [False, True]


@pytest.mark.skipif(os.name != "posix", reason="modes are for Linux and macOS")
def test_nobody_else_on_the_machine_can_read_it(file: Path) -> None:
    progress.record("x", True)

    assert file.stat().st_mode & 0o077 == 0


def test_two_notebooks_that_write_at_once_lose_nothing(file: Path) -> None:
    write = (
        "import sys; from vmakernel import progress\n"
        "for n in range(300): progress.record(sys.argv[1], True, 'x' * 390)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", write, name]) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]

    read, trouble = progress.results()
    assert trouble == ""
    assert [[one.id for one in read].count(name) for name in "abc"] == [300, 300, 300]


def test_a_damaged_line_is_named_once_and_costs_only_itself(file: Path) -> None:
    progress.record("first", True)
    whole = file.read_bytes()
    cut = b'{"at": 17000'  # as after a full disk: no line end
    file.write_bytes(whole + b"\xff\x00 not json\n" + b'{"at": "x", "id": 3}\n' + cut)
    progress.record("second", False)
    before = file.read_bytes()

    read, trouble = progress.results()

    assert [one.id for one in read] == ["first", "second"]
    assert trouble == (
        f"{file}: 3 lines of it are damaged and left out; the others count, and the file stays."
    )
    assert file.read_bytes() == before


def test_a_line_of_brackets_costs_only_itself(file: Path) -> None:
    progress.record("first", True)
    with file.open("ab") as more:
        more.write(b"[" * 200_000 + b'\n{"at": 1e9, "id": "x", "held": true}\n')
    progress.record("second", True)

    read, trouble = progress.results()

    assert [one.id for one in read] == ["first", "second"]
    assert "2 lines of it are damaged" in trouble


def test_a_write_cut_short_is_not_called_kept(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, line: write(handle, line[:9]))
        assert "could not be kept" in progress.record("first", True)
    assert progress.record("second", True) == ""

    assert [one.id for one in progress.results()[0]] == ["second"]


def test_a_folder_in_its_place_and_a_closed_one_are_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.mkdir(parents=True)
    assert "cannot be read" in progress.results()[1]
    assert "could not be kept" in progress.record("x", True)

    def closed(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", closed)
    assert "cannot be read (Permission denied)" in progress.results()[1]


def test_an_empty_variable_keeps_and_reads_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(progress.VARIABLE, "")

    assert progress.record("x", True) == ""
    assert progress.path() is None
    assert progress.results() == ([], "")
    assert "Nothing is kept" in progress.forget()
    assert list(tmp_path.iterdir()) == []


def test_in_a_clone_it_is_in_mine_which_git_ignores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.VARIABLE)
    root = Path(__file__).parent.parent

    assert progress.path() == root / "mine" / "progress.jsonl"
    assert "/mine/" in (root / ".gitignore").read_text("utf-8").splitlines()


def test_without_a_clone_it_is_in_the_users_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(progress.VARIABLE)
    monkeypatch.setattr(progress, "__file__", str(tmp_path / "site/vmakernel/progress.py"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))

    assert progress.path() == tmp_path / "data" / "vmakernel" / "progress.jsonl"


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As inside a browser, with the page's drive where JupyterLite would put it."""
    drive = tmp_path / "drive"
    drive.mkdir()
    monkeypatch.delenv(progress.VARIABLE)
    monkeypatch.setattr(progress, "DRIVE", drive)
    monkeypatch.setattr(progress, "__file__", str(tmp_path / "site/vmakernel/progress.py"))
    monkeypatch.setattr("sys.platform", "emscripten")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "memory"))
    progress._WARNED.clear()
    return drive


def test_in_a_browser_it_is_on_the_drive_that_outlives_the_page(browser: Path) -> None:
    assert progress.record("x", True) == ""

    assert progress.path() == browser / "mine" / "progress.jsonl"
    assert [one.id for one in progress.results()[0]] == ["x"]
    assert [path.name for path in browser.iterdir()] == ["mine"]
    assert "1 answer" in progress.forget()
    assert progress.results() == ([], "")


def test_in_a_browser_without_a_drive_it_says_once_that_nothing_lasts(
    browser: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    browser.rmdir()

    assert [progress.record(name, True) for name in "xy"] == [progress.NO_DRIVE, ""]
    assert progress.path() == tmp_path / "memory" / "vmakernel" / "progress.jsonl"
    assert [one.id for one in progress.results()[0]] == ["x", "y"]
    progress._WARNED.clear()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "named"))
    assert progress.record("z", True) == "", "somebody chose that place"


def test_where_nothing_can_be_written_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / "file" / "below"))

    told = progress.record("x", True)

    assert told.startswith("This answer could not be kept in ")
    assert progress.VARIABLE in told


def test_forgetting_deletes_the_file_and_says_what_that_was(file: Path) -> None:
    progress.record("x", True)
    progress.record("y", False)
    progress.SAID["x"] = ["a"]

    assert progress.forget() == f"Deleted: {file}, with 2 answers."
    assert not file.exists()
    assert progress.SAID == {}
    assert progress.forget() == f"There is nothing to delete: {file} does not exist."


# --- when to ask again ----------------------------------------------------------------------------


def after(*answers: tuple[int, bool]) -> Standing:
    """Where a question stands after answers given so many seconds after noon."""
    return progress.standings([Result(NOON + at, "x", held) for at, held in answers])["x"]


def test_right_answers_move_a_question_from_box_to_box() -> None:
    given: list[tuple[int, bool]] = []
    at = 0
    for box, days in enumerate((1, 3, 7, 21, 21), 1):
        given.append((at, True))
        one = after(*given)
        assert (one.box, one.due - NOON) == (min(box, 4), at + days * DAY)
        at += days * DAY


def test_answering_again_before_it_is_due_moves_nothing() -> None:
    assert after((0, True), (60, True), (DAY - 1, True))[:2] == (1, NOON + DAY)


def test_a_miss_puts_it_back_and_is_due_at_once() -> None:
    assert after((0, True), (DAY, True), (2 * DAY, False)) == (0, NOON + 2 * DAY, 3, 1)
    assert after((0, False), (60, True)) == (1, NOON + 60 + DAY, 2, 1)


def test_the_order_in_the_file_does_not_matter() -> None:
    answers = [Result(NOON + DAY, "x", False), Result(NOON, "x", True)]

    assert progress.standings(answers) == progress.standings(answers[::-1])


# --- exercises ------------------------------------------------------------------------------------


def test_checking_an_exercise_is_kept_too(file: Path) -> None:
    one = next(iter(exercise.exercises().values()))

    exercise.check(one.id, one.value(one.starter))
    assert progress.results()[0] == [], "not yet tried"
    exercise.check(one.id, one.value(one.solution))
    assert [(done.id, done.held) for done in progress.results()[0]] == [(one.id, True)]
