"""A learner edits, updates and copies while things break: every byte they saved is found again.

Each life is decided by its seed: what the course changes, what the learner saves, and at which
call of the system the command is killed, or how full its disk is.
"""

import os
import random
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tools import course

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and quotas as Linux has")

TOOL = Path(course.__file__)
# Runs a command of the course; it dies at the nth of these calls, or may write so many bytes a file
# (git is ended by that, Python gets an error).
DRIVER = """
import os, resource, runpy, signal, sys, time
tool, command, nth, limit = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
clone = os.path.dirname(os.path.dirname(tool))
calls = ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir", "subprocess.Popen")
def hook(event, arguments):
    global nth
    if event in calls and (event != "open" or str(arguments[0]).startswith(clone)):
        nth -= 1
        if nth == 0:
            os.kill(os.getpid(), signal.SIGKILL)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.dont_write_bytecode = True
time.strftime = lambda form: str(time.time_ns())
sys.argv = [tool, command]
sys.addaudithook(hook)
runpy.run_path(tool, run_name="__main__")
"""
IDENTITY = {
    **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C.UTF-8",
}
FOLDERS = ("notebooks", "exercises", "exercises/solutions")
NAMES = [f"{folder}/{n}.ipynb" for folder in FOLDERS for n in "ab"]


def git(at: Path, *words: str) -> str:
    """Run git there; it has to go well."""
    env = os.environ | IDENTITY
    return subprocess.run(
        ["git", *words], cwd=at, env=env, check=True, capture_output=True, text=True
    ).stdout


class Life:
    """The course, one learner's clone of it, and what that learner may ask back."""

    def __init__(self, folder: Path, disk: Path, chance: random.Random) -> None:
        self.course, self.clone, self.chance = folder / "course", disk / "clone", chance
        self.numbers = count()
        self.owed: set[bytes] = set()
        self.told: list[str] = []
        for name in NAMES:
            self.write(self.course / name, self.new("course"))
        (self.course / "tools").mkdir()
        shutil.copy(TOOL, self.course / "tools")
        (self.course / ".gitignore").write_text("/mine/\n/work\n")
        git(self.course, "init", "--quiet", "--template=", "--initial-branch=main")
        self.commit()
        git(folder, "clone", "--quiet", "--template=", f"file://{self.course}", str(self.clone))

    def new(self, who: str) -> bytes:
        """Bytes that nobody wrote before, of any length."""
        return f"{who} {next(self.numbers)} ".encode() * self.chance.choice([1, 40, 900])

    def write(self, path: Path, what: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(what)

    def commit(self) -> None:
        git(self.course, "add", "--all")
        git(self.course, "commit", "--quiet", "--allow-empty", "--message", "newer")

    # What happens in a life.

    def course_changes(self) -> None:
        for _ in range(self.chance.randint(1, 3)):
            there = [path for path in self.course.glob("[ne]*/**/*") if path.is_file()]
            one = self.chance.choice(there)
            match self.chance.randrange(5):
                case 0 | 1:
                    self.write(one, self.new("course"))
                case 2:
                    one.rename(one.with_name(f"c{next(self.numbers) % 4}.ipynb"))
                case 3 if len(there) > 3:
                    one.unlink()
                case _:  # a name that a learner may have taken, as a file or as a folder
                    name = self.chance.choice(["c0.ipynb", "c1.ipynb", "d", "d/a.ipynb"])
                    path = self.course / "notebooks" / name
                    for old in (path, path.parent):
                        if old.is_dir() != (old == path.parent) and old.exists():
                            shutil.rmtree(old) if old.is_dir() else old.unlink()
                    self.write(path, self.new("course"))
        self.commit()

    def learner_saves(self) -> None:
        there = [path for path in self.clone.glob("[new]*/**/[!.]*.ipynb") if path.is_file()]
        there = [path for path in there if ".editions" not in path.parts]  # that is the course's
        free = [f"notebooks/{name}" for name in ("c0.ipynb", "c2.ipynb", "d", "d/a.ipynb", "d/b")]
        path = self.chance.choice([*there, *(self.clone / name for name in free)])
        if path.is_dir() or path.parent.is_file():
            return
        if path.exists():
            self.owed.discard(path.read_bytes())
        what = self.new("learner")
        self.write(path, what)
        self.owed.add(what)
        name = str(path.relative_to(self.clone))
        if "work" not in path.parts and self.chance.random() < 0.2:
            git(self.clone, "add", "--force", "--", name)
        elif git(self.clone, "ls-files", "--", name) and self.chance.random() < 0.2:
            git(self.clone, "update-index", "--assume-unchanged", "--", name)

    def command(self, nth: int = 0, limit: int = 0, after: float = 0.0) -> int:
        """Run one of the two; what it does not do well it says in one line."""
        word = self.chance.choice(["update", "update", "work"])
        tool = self.clone / "tools/course.py"
        run = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", DRIVER, tool, word, str(nth), str(limit)],
            env=os.environ | IDENTITY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if after:
            time.sleep(after)
            os.killpg(run.pid, 9)
        out, err = run.communicate()
        self.told.append(f"{word} {nth=} {limit=} {after=}: {run.returncode} {out}{err}")
        assert run.returncode in (0, 2, -9), self.told[-1]
        assert err.count("\n") == (run.returncode == 2), self.told[-1]
        return run.returncode

    def look(self) -> None:
        files = (path for path in self.clone.rglob("*") if path.is_file())
        found = {path.read_bytes() for path in files if ".git" not in path.parts}
        assert self.owed <= found, "\n".join([*self.told, f"gone: {self.owed - found}"])

    def ends_well(self) -> None:
        """With what the sentences ask for done, the learner has the course's edition."""
        for lock in self.clone.glob(".git/**/*.lock"):
            lock.unlink()
        git(self.clone, "reset", "--quiet")
        self.look()
        self.chance = random.Random(1)  # says "update"
        while "update" not in (self.told or [""])[-1]:
            assert self.command() == 0, self.told
        assert git(self.clone, "rev-parse", "HEAD") == git(self.course, "rev-parse", "HEAD")
        self.look()


def live(life: Life, steps: int, filler: Path | None, *, by_the_clock: bool = False) -> None:
    """Let so many things happen, and look after each."""
    chance = life.chance
    for _ in range(steps):
        match chance.randrange(8):
            case 0 | 1:
                life.course_changes()
            case 2 | 3 | 4:
                life.learner_saves()
            case 5:
                life.command()
            case 6 if by_the_clock:
                life.command(after=chance.uniform(0.02, 0.3))
            case 6:
                life.command(nth=chance.randint(1, 40))
            case _ if filler:
                with filler.open("wb") as file:  # a full disk, but for a few pages
                    stat = os.statvfs(filler.parent)
                    room = stat.f_bavail - chance.choice([0, 1, 2, 3, 5, 8])
                    file.write(bytes(max(0, room) * stat.f_bsize))
                life.command()
                filler.unlink()
            case _:
                life.command(limit=chance.choice([1, 64, 256, 1024, 4096]))
        life.look()
        life.told.append("")
    life.ends_well()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path | None]]:
    """A small disk of its own and the file that fills it, where this user may mount one."""
    small = tmp_path / "disk"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        yield small, None
        return
    try:
        yield small, small / "filler"
    finally:
        subprocess.run(["umount", str(small)], check=True)


Disk = tuple[Path, Path | None]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_a_learner_saved_is_lost(seed: int, tmp_path: Path, disk: Disk) -> None:
    live(Life(tmp_path, disk[0], random.Random(seed)), 14, disk[1])


@pytest.mark.nightly
def test_nothing_is_lost_in_many_other_lives(tmp_path: Path, disk: Disk) -> None:
    until = time.monotonic() + 600
    while time.monotonic() < until:
        seed = secrets.randbits(32)
        print("seed", seed)
        for folder in (tmp_path / str(seed), disk[0] / str(seed)):
            folder.mkdir()
        life = Life(tmp_path / str(seed), disk[0] / str(seed), random.Random(seed))
        live(life, 40, disk[1], by_the_clock=bool(seed % 2))
        shutil.rmtree(life.clone.parent)
        shutil.rmtree(life.course.parent)
