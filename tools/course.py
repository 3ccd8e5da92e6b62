"""Set the course up and run it. `make` calls this; without make, any Python from 3.11 on does.

Standard library only. Everything that is made stays inside the repository: packages in .venv/,
what Jupyter, IPython and matplotlib write in .jupyter/.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "notebooks"
EXERCISES = ROOT / "exercises"
WORK = ROOT / "work"
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
READY = VENV / "ready"
STATE = ROOT / ".jupyter"
MINE = ROOT / "mine"

USAGE = """\
python3 tools/course.py lab [FLAG ...]                 open the lessons in JupyterLab
python3 tools/course.py test                           check everything
python3 tools/course.py test-browser                   use every notebook in JupyterLab (Chromium)
python3 tools/course.py work                           copy the exercises to work/, yours are kept
python3 tools/course.py update                         fetch newer lessons; yours are kept
python3 tools/course.py notebooks [--check] [FILE ...] run lessons anew, store what they show"""

QUIET = [
    # Nobody else on this computer reads what a kernel says.
    "--KernelManager.transport_encryption=auto",
    # These would look for programs all over the computer, and for packages on the network.
    "--LanguageServerManager.autodetect=False",
    "--LabApp.extension_manager=readonly",
    "--Application.log_level=WARN",
]
LAB = [
    f"--ServerApp.root_dir={ROOT}",
    "--LabApp.default_url=/lab/tree/notebooks/00-start-here.ipynb",
    "--ServerApp.ip=127.0.0.1",
    *QUIET,
]
NOTEBOOK_TESTS = ["--nbval", "--nbval-current-env", "--nbval-cell-timeout", "60"]
FORM = [["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"]]
TESTS = [
    "pytest",
    "-p",
    "no:cacheprovider",
    "--durations=10",
    # A file or a notebook at a time: the cells of a notebook belong together. One process
    # more than there are cores, since some tests wait, for a server or for a time limit.
    f"--numprocesses={(os.cpu_count() or 1) + 1}",
    "--dist=loadfile",
    *NOTEBOOK_TESTS,
    "--ignore=tests/browser",
    "tests",
    "notebooks",
]
# What the solutions show; that they are right is for tests/test_exercises.py.
AT_NIGHT = ["exercises/solutions"]


NOT_INSTALLED = (
    "The packages could not be installed, for the reason above: "
    "check that this computer is online, then run the same command again."
)


class Trouble(Exception):
    """Something the reader can put right; the message says how."""


def surroundings() -> dict[str, str]:
    """Give the environment variables under which every program of the course runs."""
    # These would bring in kernels, packages or settings from outside the repository, or have every
    # program that is started compile all of them anew.
    strangers = {
        "JUPYTER_PATH",
        "JUPYTER_CONFIG_PATH",
        "MPLBACKEND",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
    }
    own = {
        "IPYTHONDIR": "ipython",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "MPLCONFIGDIR": "matplotlib",
        "XDG_CACHE_HOME": "cache",
    }
    inherited = {name: value for name, value in os.environ.items() if name not in strangers}
    path = os.pathsep.join([str(PYTHON.parent), inherited.get("PATH", os.defpath)])
    return inherited | {name: str(STATE / folder) for name, folder in own.items()} | {"PATH": path}


def run(*command: str | Path, env: dict[str, str] | None = None, quiet: bool = False) -> int:
    """Run a program from the top of the repository, unless told otherwise in `surroundings()`."""
    out = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, cwd=ROOT, env=env or surroundings(), stdout=out).returncode


def module(*command: str | Path, quiet: bool = False) -> int:
    """Run a module of the environment, as `-m` does."""
    return run(PYTHON, "-m", *command, quiet=quiet)


def said(*command: str) -> tuple[int, str]:
    """Run a module of the environment, and return its exit status and what it printed."""
    done = subprocess.run(
        [PYTHON, "-m", *command],
        cwd=ROOT,
        env=surroundings(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.returncode, done.stdout


def git(*arguments: str, told: str = "", remedy: str = "") -> str:
    """Give what a git command prints; Trouble if it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, input=os.fsencode(told), check=False
        )
    except FileNotFoundError:
        raise Trouble("This needs git: install it, then run the same command again.") from None
    if done.returncode:
        lines = os.fsdecode(done.stderr).splitlines() or [f"it ended with {done.returncode}"]
        why = " ".join(line.strip() for line in lines if not line.startswith("hint:"))
        raise Trouble(f"git {arguments[0]} says: {why.rstrip('.')}{remedy and f'; {remedy}'}.")
    return os.fsdecode(done.stdout)


# --- the environment -------------------------------------------------------------------------


def make_environment() -> None:
    """Make .venv from nothing, or bring it up to date; return at once if it is."""
    wanted = recipe()
    try:
        made = json.loads(READY.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        made = None
    uv = shutil.which("uv")
    if made == wanted and has("jupyterlab"):
        return
    # An environment does not survive being moved, or losing the Python it was made with.
    if made is None or made["place"] != wanted["place"] or not has("jupyterlab" if uv else "pip"):
        create(uv)
    else:
        print("Bringing the environment in .venv up to date ...", flush=True)
    install(ROOT / "requirements.txt", "about 120 MB")
    ours = ("--quiet", "--no-deps", "--no-build-isolation", "--editable", ".")
    command, theirs = installer(uv)
    if run(*command, *ours, env=theirs):
        raise Trouble("vmakernel itself could not be installed, for the reason above.")
    READY.write_text(json.dumps(wanted), encoding="utf-8")


def installer(uv: str | None) -> tuple[list[str], dict[str, str]]:
    """Give the command that installs packages into .venv, and the variables to run it under."""
    pip = [uv, "pip"] if uv else [str(PYTHON), "-m", "pip"]
    # The reader's own mirror, proxy and download cache; and uv trusts what the system trusts.
    theirs = {"UV_SYSTEM_CERTS": "true", **os.environ}
    return [*pip, "install", *(["--python", str(PYTHON)] if uv else [])], theirs


def install(pins: Path, size: str) -> None:
    """Install what is pinned, telling how far it is. Raises Trouble."""
    uv = shutil.which("uv")
    command, theirs = installer(uv)
    command += ["--require-hashes", "-r", str(pins)]
    if uv:  # it draws bars of its own
        failed = run(*command, env=theirs)
    else:
        with subprocess.Popen(
            command, cwd=ROOT, env=theirs, stdout=subprocess.PIPE, text=True, errors="replace"
        ) as pip:
            count = sum("==" in line for line in pins.read_text(encoding="utf-8").splitlines())
            show(progress(pip.stdout or (), count, size))
        failed = pip.returncode
    if failed:
        raise Trouble(NOT_INSTALLED)


def progress(lines: Iterable[str], count: int, size: str) -> Iterator[str]:
    """Turn what pip prints about `count` packages into a line for each."""
    at = 0
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "Ignoring":  # for other systems; pip names these first
            count -= 1
        elif word in ("Collecting", "Processing", "Requirement"):
            if not at:
                yield f"Downloading and installing {count} packages ({size}) ..."
            at += 1
            # A name and its version, or a file in a folder that pip was told of.
            what = rest.removeprefix("already satisfied: ").split(" ")[0]
            name = re.split("==|-[0-9]", re.split(r"[/\\]", what)[-1])[0]
            yield f"[{at:3}/{count}] {name}"
        elif word == "Installing":
            yield "All are here; unpacking them (half a minute) ..."


def show(lines: Iterable[str]) -> None:
    """Print lines as they come; in a terminal, what is counted stays on one."""
    terminal, last = sys.stdout.isatty(), ""
    for line in lines:
        if terminal and line.startswith("["):
            print(f"{line:<50}\r", end="", flush=True)  # what pip complains of begins a line
        else:
            print("\n" * (terminal and last.startswith("[")) + line, flush=True)
        last = line
    if terminal and last.startswith("["):
        print(flush=True)


def recipe() -> dict[str, str]:
    """Name all that .venv is made from."""
    sources = [ROOT / "requirements.txt", ROOT / "pyproject.toml"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return {"place": str(ROOT), "from": digest}


def has(package: str) -> bool:
    """Tell whether the environment's own Python runs and finds a package."""
    look = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return PYTHON.exists() and run(PYTHON, "-c", look) == 0


def create(uv: str | None) -> None:
    """Make an empty .venv, with uv where there is one."""
    if not uv:
        check_python()
    print("Making the environment in .venv ...", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    if uv:
        python = sys.executable if sys.version_info >= (3, 11) else ">=3.11"
        failed = run(uv, "venv", "--quiet", "--python", python, VENV)
    else:
        failed = run(sys.executable, "-m", "venv", VENV)
    if failed:
        raise Trouble("The environment in .venv could not be made, for the reason above.")


def check_python() -> None:
    """Raise Trouble unless this Python is new enough and can make environments."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this file is read by whatever Python there is
        raise Trouble(
            f"The course needs Python 3.11 or newer and this is {sys.version.split()[0]}: "
            "install a newer one and say `make lab PYTHON=python3.12`, or install uv."
        )
    if importlib.util.find_spec("ensurepip") is None:
        raise Trouble(
            "This Python cannot make environments yet: run `sudo apt-get install python3-venv` "
            "(on Debian and Ubuntu), then the same command again."
        )


# --- what a reader and a maintainer ask for --------------------------------------------------


def lab(flags: list[str]) -> int:
    """Open the lessons in JupyterLab: this computer only, token on."""
    make_environment()
    choose_settings()
    trust(untouched(own_lessons()))
    command = [str(PYTHON), "-m", "jupyterlab", *LAB]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    print("Opening the lessons in your browser; Ctrl-C here closes them.", flush=True)
    if os.name == "posix":  # become Jupyter, so that Ctrl-C is between it and the reader
        os.chdir(ROOT)
        os.execve(PYTHON, [*command, *flags], surroundings())
    return run(*command, *flags)


# A notebook that was saved shows its widgets as they were left, also after their kernel is gone.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyter-widgets/jupyterlab-manager/plugin": {"saveState": True},
}


def choose_settings() -> None:
    """Write JupyterLab's settings for the course, where the reader has not chosen any."""
    for name, chosen in SETTINGS.items():
        settings = STATE / f"settings/{name}.jupyterlab-settings"
        if not settings.exists():
            settings.parent.mkdir(parents=True, exist_ok=True)
            settings.write_text(json.dumps(chosen) + "\n", encoding="utf-8")


def own_lessons() -> list[Path]:
    """List the notebooks that are part of the course, and not those a reader put beside them."""
    try:
        names = git("ls-files", "-z", "notebooks/*.ipynb", "exercises/*.ipynb").split("\0")
    except Trouble:  # a download without git
        return sorted([*LESSONS.glob("*.ipynb"), *EXERCISES.glob("**/*.ipynb")])
    return [ROOT / name for name in names if name]


def untouched(notebooks: list[Path]) -> list[Path]:
    """List those that are byte for byte what git has of the course; none without git."""
    try:
        listed = git("ls-tree", "-r", "-z", "HEAD", "--", "notebooks", "exercises").split("\0")
    except Trouble:  # a download without git: JupyterLab asks before it shows what is stored
        return []
    theirs = {}
    for entry in filter(None, listed):
        about, _, name = entry.partition("\t")
        theirs[ROOT / name] = about.split(" ")[2]
    return [path for path in notebooks if path in theirs and blob(path) == theirs[path]]


def blob(path: Path) -> str:
    """Name a file's bytes as git does, which would let its filters change them; "" if unreadable.

    A repository of SHA-256 is not ours.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def trust(notebooks: list[Path]) -> None:
    """Sign what changed since the last time: until then JupyterLab hides stored pictures."""
    last = STATE / "data/trusted"
    since = last.stat().st_mtime if last.exists() else 0.0
    changed = [path for path in notebooks if path.exists() and path.stat().st_mtime > since]
    if changed:
        now = time.time()
        if module("jupyter", "trust", "--log-level=WARN", *changed, quiet=True):
            raise Trouble("The lessons could not be signed, for the reason above.")
        last.touch()
        os.utime(last, (now, now))


def test() -> int:
    """Check form, types, engine and every notebook; all of it, even where something fails."""
    make_environment()
    STATE.mkdir(exist_ok=True)
    os.environ["VMAKERNEL_PROGRESS"] = ""  # no test reads or writes what the reader has learned
    with ThreadPoolExecutor(1) as beside:  # form and types need one core, the tests seldom all
        form = [beside.submit(said, *check) for check in FORM]
        tests = TESTS + AT_NIGHT * bool(os.environ.get("VMAKERNEL_NIGHTLY"))
        print("\n$", *tests, flush=True)
        failed = ["pytest"] if module(*tests) else []
    for check, done in zip(FORM, form, strict=True):
        status, text = done.result()
        print("\n$", *check, f"\n{text.rstrip()}", flush=True)
        failed += [check[0]] if status else []
    if failed:
        print("\nnot in order:", ", ".join(dict.fromkeys(failed)))
    return 1 if failed else 0


def test_browser() -> int:
    """Use every notebook in JupyterLab as a reader would; pictures of it go to dist/browser/."""
    make_environment()
    if not has("playwright"):
        install(ROOT / "requirements-browser.txt", "about 50 MB")
    quick = os.environ.get("VMAKERNEL_BROWSER") == "quick"
    tests = ["-o", "cache_dir=dist/browser/cache"]
    tests += ["-o", "faulthandler_timeout=240", "-o", "faulthandler_exit_on_timeout=true"]
    tests += ["tests/browser/test_notebooks.py" if quick else "tests/browser"]
    if not module("pytest", *tests):
        return 0
    # A page on a busy machine may be late once; what fails twice has failed.
    print("\nOnce more, what failed:", flush=True)
    return module("pytest", "--last-failed", *tests)


def notebooks(arguments: list[str]) -> int:
    """Give the lessons their form, run them anew and store what they show."""
    make_environment()
    check = [word for word in arguments if word == "--check"]
    makers = ("tools.lessons", "tools.index", "tools.teaching", "tools.exercises")
    formed = max([module(maker, *check) for maker in makers])
    return formed or run(PYTHON, ROOT / "tools/notebooks.py", *arguments)


def work() -> int:
    """Copy every exercise notebook into work/ that is not there yet."""
    editions = WORK / ".editions"
    editions.mkdir(parents=True, exist_ok=True)
    made, kept, newer = [], [], []
    for source in sorted(EXERCISES.glob("*.ipynb")):
        mine, edition, new = WORK / source.name, editions / source.name, source.read_bytes()
        known = [new, *([edition.read_bytes()] if edition.exists() else [])]
        if mine.is_file() and not mine.is_symlink():
            have = mine.read_bytes()
            if any(len(have) < len(whole) and whole.startswith(have) for whole in known):
                mine.unlink()  # the disk was full, or make was ended, when it was copied
        if os.path.lexists(mine):
            kept.append(source.name)
            newer += [source.name] * (known[-1] != new)
            continue
        for place in (edition, mine):
            draft = editions / f"{source.name}.{os.getpid()}.part"
            try:
                with draft.open("wb") as file:
                    file.write(new)
                    file.flush()
                    os.fsync(file.fileno())
                if place is edition:
                    draft.replace(edition)
                else:
                    settle(draft, mine)
            finally:
                draft.unlink(missing_ok=True)
        made.append(source.name)
    for words, names in ("New in work/", made), ("Kept as you left it", kept):
        if names:
            print(f"{words}: {', '.join(names)}.")
    for name in newer:
        print(f"There is a newer edition of {name}: move yours away, then say the same again.")
    return 0


def settle(path: Path, place: Path) -> None:
    """Move a file to its place, never over one that is there."""
    try:
        os.link(path, place, follow_symlinks=False)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # not every file system has links
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place)) from None
        path.rename(place)
    else:
        path.unlink()


def update() -> int:
    """Fetch newer lessons; what the reader has in their places is first moved to mine/."""
    again = "then run the same command again"
    if git("rev-parse", "--show-cdup", remedy="updates need a clone of the course").strip():
        raise Trouble("This copy is no clone of the course: make one with `git clone`.")
    branch = "`git switch main` goes to the course's branch, `git branch -u origin/main` ties it"
    git("rev-parse", "--verify", "@{upstream}", remedy=branch)
    git("fetch", "--quiet", remedy=f"check that this computer is online, {again}")
    merge = ("merge", "--quiet", "--ff-only", "--no-autostash")
    git(*merge, "HEAD")  # where another merge is not over, git refuses
    if git("rev-list", "@{upstream}..HEAD"):
        raise Trouble("You have commits of your own here: `git pull --rebase` joins them.")
    words = git("diff-tree", "-r", "-z", "--no-renames", "HEAD", "@{upstream}").split("\0")[:-1]
    course = {name: word.split()[2:4] for word, name in zip(words[::2], words[1::2], strict=True)}
    diff = ("diff", "--name-only", "-z", "--no-renames", "HEAD")
    if course.keys() & git(*diff, "--cached").split("\0"):
        raise Trouble(f"You staged files that are newer there: say `git reset`, {again}.")
    there = {path.relative_to(ROOT).as_posix() for name in course for path in in_place_of(name)}
    # git's own look at a file can be told not to see it, so the bytes are compared as well.
    files = [name for name in sorted(there) if not (ROOT / name).is_symlink()]
    hashes = git("hash-object", "--stdin-paths", told="".join(f"{name}\n" for name in files))
    is_ = dict(zip(files, hashes.split(), strict=True))
    clean = {name for name in there if is_.get(name) == course.get(name, [""])[0]}
    clean -= set(git(*diff).split("\0"))
    moved: list[tuple[Path, Path]] = []
    try:
        shelf = new_shelf() if there - clean else MINE
        for name in sorted(there - clean):
            (shelf / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).rename(shelf / name)
            moved.append((ROOT / name, shelf / name))
        git(*merge, "@{upstream}")
        for place, kept in moved:  # what an update that was cut off has left is nobody's work
            both = course.get(place.relative_to(ROOT).as_posix())
            if both and not kept.is_symlink() and git("hash-object", str(kept)).strip() in both:
                kept.unlink()
    except BaseException:
        for place, kept in moved:
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                settle(kept, place)
        raise
    finally:
        for place, kept in moved:
            if os.path.lexists(kept):
                print(f"Your {place.relative_to(ROOT)} is kept as {kept.relative_to(ROOT)}.")
            with suppress(OSError):
                os.removedirs(kept.parent)
    print("The lessons are up to date.")
    return 0


def in_place_of(name: str) -> Iterator[Path]:
    """Give the files that are on the disk where git is about to change one."""
    path = ROOT / name
    for here in [*reversed(path.parents[: name.count("/")]), path]:
        if here.is_symlink() or (here.exists() and not here.is_dir()):
            yield here
            return
    yield from (here for here in path.rglob("*") if here.is_symlink() or not here.is_dir())


def new_shelf() -> Path:
    """Make a folder in mine/ that was not there before."""
    while True:
        shelf = MINE / time.strftime("%Y-%m-%d-%H%M%S")
        try:
            shelf.mkdir(parents=True)
        except FileExistsError:
            time.sleep(0.1)
        else:
            return shelf


def main(arguments: list[str]) -> int:
    """Carry out one command; 2 if the reader has something to put right."""
    command, *rest = arguments or [""]
    try:
        if command == "lab":
            return lab(rest)
        if command == "notebooks":
            return notebooks(rest)
        plain = {"test": test, "test-browser": test_browser, "update": update, "work": work}
        if command in plain and not rest:
            return plain[command]()
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 2
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        print(f"{what}: put that right, then run the same command again.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"Say one of these:\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
