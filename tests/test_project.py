"""The two commands, the pins, the stored notebooks, and what no file may contain."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_notebook, new_output
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tools import course, notebooks

ROOT = course.ROOT
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
STORED = sorted((ROOT / "notebooks").glob("*.ipynb"))

posix = pytest.mark.skipif(os.name != "posix", reason="make and bash are for Linux and macOS")


# --- one story about packages ----------------------------------------------------------------


def asked_for() -> dict[str, SpecifierSet]:
    """What pyproject.toml asks for, by canonical name."""
    lines = PYPROJECT["project"]["optional-dependencies"]["course"]
    lines = lines + PYPROJECT["dependency-groups"]["dev"]
    return {canonicalize_name(r.name): r.specifier for r in map(Requirement, lines)}


def pinned() -> list[Requirement]:
    """What requirements.txt installs."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return [Requirement(line.rstrip(" \\")) for line in text.splitlines() if "==" in line]


def test_conda_users_get_the_same_set() -> None:
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    listed = [Requirement(line) for line in re.findall(r"^  - (\S+[<>]\S+)$", text, re.M)]
    conda_only = {"matplotlib-base": "matplotlib"}  # matplotlib without a desktop toolkit

    by_name = {canonicalize_name(conda_only.get(r.name, r.name)): r.specifier for r in listed}

    assert by_name.pop(canonicalize_name("python")) == PYPROJECT["project"]["requires-python"]
    assert by_name == asked_for()
    assert not re.search(r"[^<>]=", text), "an exact build cannot be solved on other systems"


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_pins_satisfy_what_is_asked_for(python: str, system: str) -> None:
    here = {
        "python_version": python,
        "python_full_version": f"{python}.9",
        "sys_platform": system,
        "platform_system": {"linux": "Linux", "darwin": "Darwin", "win32": "Windows"}[system],
        "os_name": "nt" if system == "win32" else "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
    }
    installed: dict[str, str] = {}
    for pin in pinned():
        if pin.marker is None or pin.marker.evaluate(here):
            assert pin.name not in installed, "pinned twice"
            installed[pin.name] = next(iter(pin.specifier)).version

    for name, specifier in asked_for().items():
        assert specifier.contains(installed[name]), f"{name}: run `make lock`"


@pytest.mark.parametrize(
    "name",
    [
        "requirements.txt",
        "requirements-browser.txt",
        "requirements-classroom.txt",
        "requirements-hub.txt",
        "requirements-lite.txt",
        "requirements-site.txt",
    ],
)
def test_every_pin_is_hashed_and_no_line_names_a_place(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    allowed = r"#.*|[a-z0-9.-]+==\S+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?"

    assert [line for line in lines if not re.fullmatch(allowed, line)] == []


def test_the_grader_is_pinned_in_an_environment_of_its_own() -> None:
    text = (ROOT / "requirements-classroom.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))

    (asked,) = map(Requirement, PYPROJECT["project"]["optional-dependencies"]["classroom"])
    assert asked.specifier.contains(pins[asked.name]), "run `make lock`"
    assert asked.name not in {pin.name for pin in pinned()}


def test_the_browser_tests_add_to_the_environment_and_change_nothing_in_it() -> None:
    text = (ROOT / "requirements-browser.txt").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.M))
    already = {pin.name: next(iter(pin.specifier)).version for pin in pinned()}

    for asked in map(Requirement, PYPROJECT["dependency-groups"]["browser"]):
        assert asked.specifier.contains(pins[asked.name]), "run `make lock`"
    assert {name: pins[name] for name in pins if name in already} == {
        name: already[name] for name in pins if name in already
    }
    assert "playwright" not in already


def test_the_engine_needs_the_standard_library_only() -> None:
    look = (
        "import sys; before = set(sys.modules); import vmakernel;"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, check=True, text=True, capture_output=True
    )

    assert set(shown.stdout.split()) - set(sys.stdlib_module_names) == {"vmakernel"}
    assert PYPROJECT["project"]["dependencies"] == []


# --- what no file may contain ----------------------------------------------------------------


def test_no_file_names_a_package_registry_or_a_place_on_some_machine() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "deb." + "debian.org"]
    hosts += ["ana" + "conda.org", "ana" + "conda.com"]
    # A mirror set up on this machine is nobody else's either.
    for name, value in os.environ.items():
        if "INDEX" in name or "REGISTRY" in name:
            hosts += re.findall(r"https?://(?:[^/@\s]*@)?([^/:\s]+)", value)
    places = [re.escape(str(ROOT)), re.escape(str(Path.home()) + os.sep), "file" + ":///"]
    places += [r"(?<![\w.])/(?:root|work|home/\w+|Users/\w+)" + "/"]
    wrong = re.compile("|".join([*map(re.escape, hosts), *places]))

    found = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {match[0]}" for match in wrong.finditer(text)]

    assert found == []


def tracked() -> list[str]:
    """Every file of the repository that still exists; outside a clone there is nothing to ask."""
    try:
        names = course.git("ls-files", "-z").split("\0")
    except course.Trouble as trouble:
        pytest.skip(str(trouble))
    return [name for name in names if (ROOT / name).is_file()]


# --- what no prose may do --------------------------------------------------------------------


def prose(name: str) -> list[str]:
    """The paragraphs of a Markdown file or of a notebook's text: no code, no list of links."""
    path = ROOT / name
    texts = [path.read_text(encoding="utf-8")]
    if path.suffix == ".ipynb":
        cells = notebooks.read(path).cells
        texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    blocks = [block.strip("\n") for text in texts for block in re.split(r"\n\s*\n", text)]
    return [block for block in blocks if re.match(r"(?!```)[\w`*]", block) and len(block) > 60]


def test_no_paragraph_stands_twice() -> None:
    names = [name for name in tracked() if name.endswith((".md", ".ipynb"))]
    assert "README.md" in names

    twice = [
        f"{name}: {paragraph}"
        for name in names
        for paragraph, times in Counter(prose(name)).items()
        if times > 1
    ]

    assert twice == []


# Debian and Ubuntu have python3; `python` is there in an environment alone.
BARE = re.compile(r"(?<![\w./\\-])python(?:\.exe)? (?:-[mc]\b|[\w./-]+\.py\b)")


def test_no_text_tells_a_reader_to_run_a_python_that_debian_does_not_have() -> None:
    assert BARE.search("say `" + "python" + " -m vmakernel` or"), "the pattern finds one"
    assert not BARE.search("py -3 tools\\course.py; .venv/bin/python -m x; python3 -m y")

    found = []
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "replace")
        found += [f"{name}: {match[0]}" for match in BARE.finditer(text)]

    assert found == []


# --- the README's commands -------------------------------------------------------------------


def test_every_command_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    code = re.findall(r"`[^`]+`|^    .*$", README, re.M)
    targets = {name for text in code for name in re.findall(r"^(?:`|    )make ([a-z-]+)", text)}
    commands = {name for text in code for name in re.findall(r"course\.py ([\w-]+)", text)}

    assert {"lab", "test"} <= targets <= set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert {"lab", "test"} <= commands <= set(re.findall(r"course\.py ([\w-]+)", course.USAGE))


def test_ci_runs_the_readmes_own_test_command() -> None:
    lines = (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()

    assert "    make test " in README
    assert "make test" in lines
    assert os.access(ROOT / ".ci/run", os.X_OK)


@posix
def test_ci_brings_a_browser_once_there_are_browser_tests(tmp_path: Path) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    log = tmp_path / "log"
    tools = dict.fromkeys(["git", "python3", "bwrap"], "exit 0")
    tools["make"] = f'[ $1 = --version ] || echo "make $*" >> {log}'
    tools["apt-get"] = f'echo "apt-get ${{@: -1}}" >> {log}'
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in tools.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    for name in ("dirname", "grep"):
        (programs / name).symlink_to(shutil.which(name) or name)

    def ci(makefile: str) -> list[str]:
        (tmp_path / "Makefile").write_text(makefile, encoding="utf-8")
        log.unlink(missing_ok=True)
        bash = shutil.which("bash") or "bash"
        subprocess.run([bash, ".ci/run"], cwd=tmp_path, env={"PATH": str(programs)}, check=True)
        return log.read_text(encoding="utf-8").splitlines()

    assert ci("test:\n") == ["make test"]
    assert ci("test:\ntest-browser:\n") == [
        "make test",
        "apt-get update",
        "apt-get chromium",
        "make test-browser",
    ]


@posix
@pytest.mark.parametrize("words", [[], ["help"]])
def test_make_alone_tells_what_there_is_to_make(words: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    command = ["make", "--no-print-directory", *words]
    shown = subprocess.run(command, cwd=ROOT, check=True, text=True, capture_output=True).stdout

    told = dict(re.findall(r"^make ([a-z-]+) +(\S.*)$", shown, re.M))
    assert list(told) == re.findall(r"^([a-z-]+):", makefile, re.M)
    assert told["lab"] == "open the lessons in JupyterLab"
    assert shown.count("\n") == len(told)


@posix
def test_make_clean_keeps_what_is_the_readers(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    kept = ["notebooks/00.ipynb", "notebooks/own.ipynb", "mine/x.ipynb", ".jupyter/settings/a"]
    for name in [*kept, ".venv/bin/python", "vmakernel/__pycache__/a.pyc", "tools/a", "tests/a"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    subprocess.run(["make", "clean"], cwd=tmp_path, check=True)

    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {*kept, "Makefile", "tools/a", "tests/a"}


# --- make lab --------------------------------------------------------------------------------


@posix
def test_lab_serves_this_computer_only_asks_for_its_token_and_leaves_home_alone(
    tmp_path: Path,
) -> None:
    course.make_environment()  # pip may leave traces of its own; Jupyter may not
    home = tmp_path / "home"
    home.mkdir()
    command: list[str | Path] = [
        sys.executable,
        ROOT / "tools/course.py",
        "lab",
        "--no-browser",
        "--port=0",
    ]
    log = (tmp_path / "log").open("wb")
    with (
        log,
        subprocess.Popen(
            command, env={**os.environ, "HOME": str(home)}, stdout=log, stderr=log
        ) as server,
    ):
        try:
            told = course.STATE / f"runtime/jpserver-{server.pid}.json"
            wait_for(told, server)
            about = json.loads(told.read_text(encoding="utf-8"))
            page = f"http://127.0.0.1:{about['port']}/api/contents/notebooks/00-start-here.ipynb"

            assert about["token"]
            assert status(f"{page}?token={about['token']}") == 200
            assert status(page) == 403
            # A server that listens on every address of this computer answers here, too.
            with pytest.raises(OSError):  # noqa: PT011 - refused here, unreachable elsewhere
                socket.create_connection(("127.0.0.2", about["port"]), timeout=2)
        finally:
            server.terminate()
    assert list(home.iterdir()) == []


def test_lab_trusts_the_lessons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(course, "STATE", tmp_path)
    course.trust(STORED)

    notary = NotebookNotary(data_dir=str(tmp_path / "data"))
    try:
        assert [p.name for p in STORED if not notary.check_signature(notebooks.read(p))] == []
    finally:
        notary.store.close()


def test_lab_trusts_only_what_git_has_byte_for_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "notebooks/own.ipynb"
    changed = tmp_path / "notebooks/changed.ipynb"
    added = tmp_path / "notebooks/added.ipynb"
    own.parent.mkdir()
    monkeypatch.setattr(course, "ROOT", tmp_path)
    assert course.untouched([own]) == []

    for path in (own, changed):
        path.write_bytes(b"{}\n")
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "x"]):
        course.git(*command)
    changed.write_bytes(b"{}\r\n")
    added.write_bytes(b"{}\n")

    assert course.untouched([own, changed, added]) == [own]


def wait_for(told: Path, server: subprocess.Popen[bytes]) -> None:
    """Wait until Jupyter has written how to reach it."""
    end = time.monotonic() + 60
    while not told.exists() and server.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(0.2)


def status(page: str) -> int:
    """The HTTP status of a page."""
    try:
        with urllib.request.urlopen(page, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


# --- one sentence when something is in the way -----------------------------------------------


@pytest.fixture
def no_venv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No environment, and no uv to make one."""
    monkeypatch.setattr(course, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(course, "READY", tmp_path / ".venv/ready")
    monkeypatch.setattr(course, "PYTHON", tmp_path / ".venv/bin/python")
    monkeypatch.setattr(shutil, "which", lambda name: None)


@pytest.mark.usefixtures("no_venv")
def test_a_python_without_ensurepip_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    assert course.main(["test"]) == 2
    assert "sudo apt-get install python3-venv" in capsys.readouterr().err


@pytest.mark.usefixtures("no_venv")
def test_an_old_python_is_told_how_to_name_a_newer_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))

    assert course.main(["lab"]) == 2
    assert "make lab PYTHON=python3.12" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["lob"], ["test", "--fast"]])
def test_an_unknown_command_is_answered_with_the_known_ones(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert course.main(words) == 2
    assert course.USAGE in capsys.readouterr().err


def test_an_environment_that_was_moved_or_outdated_is_not_taken_for_ready(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(course, "ROOT", tmp_path)
    before = course.recipe()

    (tmp_path / "requirements.txt").write_text("other==1\n", encoding="utf-8")

    assert course.recipe()["place"] == before["place"] == str(tmp_path)
    assert course.recipe()["from"] != before["from"]


# --- the first run says what it is doing ------------------------------------------------------

# What pip prints, shortened.
PIP = """\
Ignoring appnope: markers 'sys_platform == "darwin"' don't match your environment
Collecting anyio==4.14.2
  Downloading anyio-4.14.2-py3-none-any.whl (122 kB)
Requirement already satisfied: pip==26.2 in ./.venv/lib (from -r requirements.txt (line 9)) (26.2)
Collecting jupyterlab==4.6.2 (from -r requirements.txt (line 1200))
Processing /opt/wheels-2/argon2_cffi-25.1.0-py3-none-any.whl (from -r requirements.txt (line 9))
  Using cached jupyterlab-4.6.2-py3-none-any.whl (12.4 MB)
Installing collected packages: anyio, jupyterlab
Successfully installed anyio-4.14.2 jupyterlab-4.6.2
"""


def test_an_installation_says_how_far_it_is() -> None:
    told = list(course.progress(PIP.splitlines(), 5, "about 1 MB"))

    assert told == [
        "Downloading and installing 4 packages (about 1 MB) ...",
        "[  1/4] anyio",
        "[  2/4] pip",
        "[  3/4] jupyterlab",
        "[  4/4] argon2_cffi",
        "All are here; unpacking them (half a minute) ...",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_in_a_terminal_what_is_counted_stays_on_one_line(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    told = list(course.progress(PIP.splitlines(), 5, "about 1 MB"))

    course.show(told)
    shown = capsys.readouterr().out
    course.show(told[:2])  # it failed there: what comes next has a line of its own

    if not terminal:
        assert shown.splitlines() == told
        return
    lines = [line.removesuffix("\r").rpartition("\r")[2].rstrip() for line in shown.split("\n")]
    assert lines == [told[0], told[4], told[5], ""]
    assert shown.count("\r") == 4
    assert capsys.readouterr().out.endswith("\n")


@posix
def test_what_pip_complains_of_is_seen_and_one_sentence_follows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\necho Collecting x==1\necho ERROR: no disk >&2\nexit 1\n", "utf-8")
    pip.chmod(0o755)
    pins = tmp_path / "pins.txt"
    pins.write_text("x==1 \\\n    --hash=sha256:0\n", "utf-8")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(course, "installer", lambda uv: ([str(pip)], dict(os.environ)))

    with pytest.raises(course.Trouble, match="could not be installed, for the reason above"):
        course.install(pins, "about 1 MB")

    out, err = capfd.readouterr()
    assert "[  1/1] x" in out
    assert "ERROR: no disk" in err


# --- make update -----------------------------------------------------------------------------


def test_update_keeps_what_the_reader_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "course", tmp_path / "reader"

    def git(*words: str, at: Path = ours) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=at, check=True, capture_output=True)

    (ours / "notebooks").mkdir(parents=True)
    git("init", "--quiet")
    both, only_reader, only_course = (f"notebooks/0{n} ä.ipynb" for n in range(3))
    for name in (both, only_reader, only_course):
        (ours / name).write_text("old", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "first edition")
    git("clone", "--quiet", str(ours), str(theirs), at=tmp_path)
    for name in (both, only_course):
        (ours / name).write_text("new", encoding="utf-8")
    git("commit", "-am", "second edition")
    for name in (both, only_reader):
        (theirs / name).write_text("worked on", encoding="utf-8")
    monkeypatch.setattr(course, "ROOT", theirs)
    monkeypatch.setattr(course, "MINE", theirs / "mine")

    assert course.main(["update"]) == 0

    now = [(theirs / name).read_text(encoding="utf-8") for name in (both, only_reader, only_course)]
    assert now == ["new", "worked on", "new"]
    (kept,) = (theirs / "mine").glob("*/*/*")
    assert kept.read_text(encoding="utf-8") == "worked on"
    assert kept.name in capsys.readouterr().out


# --- stored notebooks ------------------------------------------------------------------------


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.name)
def test_every_lesson_is_stored_as_a_fresh_run_leaves_it(path: Path) -> None:
    notebook = notebooks.read(path)

    assert notebooks.faults(notebook) == []
    assert notebooks.canonical(notebook) == path.read_text(encoding="utf-8"), "run `make notebooks`"


def test_faults_names_each_cell_that_nbval_would_let_pass() -> None:
    oops = new_output("error", ename="ValueError", evalue="", traceback=[])
    notebook = new_notebook(
        cells=[
            new_code_cell("1", execution_count=1),
            new_code_cell("2"),
            new_code_cell("3", execution_count=7),
            new_code_cell("4", execution_count=4, outputs=[oops]),
            new_code_cell(
                "5", execution_count=5, outputs=[oops], metadata={"tags": ["raises-exception"]}
            ),
            new_code_cell(""),
        ]
    )

    assert notebooks.faults(notebook) == [
        "cell 2 was never run",
        "cell 3 was run as number 7 instead of 3",
        "cell 4 ends in ValueError",
    ]


@pytest.mark.nightly
def test_storing_twice_changes_no_byte_and_check_sees_a_drifting_output(tmp_path: Path) -> None:
    path = tmp_path / "small.ipynb"
    widget = "import ipywidgets\nipywidgets.HTML('hello')"
    nbformat.write(new_notebook(cells=[new_code_cell(widget), new_code_cell("6 * 7")]), path)

    assert store(path) == (0, "small.ipynb: stored anew\n")
    stored = path.read_bytes()
    assert b"42" in stored
    assert notebooks.WIDGET_VIEW.encode() not in stored
    assert store(path) == (0, "small.ipynb: as stored\n")
    assert path.read_bytes() == stored

    path.write_bytes(stored.replace(b"42", b"43"))
    status, said = store("--check", path)
    assert status == 1
    assert "drifts" in said
    assert b"43" in path.read_bytes()


@pytest.mark.nightly
def test_a_failing_cell_is_named_and_the_stored_notebook_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "small.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("1"), new_code_cell("1 / 0")]), path)
    stored = path.read_bytes()

    status, said = store(path)

    assert (status, path.read_bytes()) == (1, stored)
    assert "small.ipynb, cell 2: ZeroDivisionError: division by zero" in said
    assert "Traceback" not in said


def store(*words: str | Path) -> tuple[int, str]:
    """What tools/notebooks.py answers and says."""
    command = [sys.executable, ROOT / "tools/notebooks.py", *words]
    done = subprocess.run(
        command,
        env=course.surroundings(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout
