"""Make the site, look after its environment, test it. `make site` and its like call this.

Standard library only. The environment is .venv-site, apart from the lessons'; the site is made in
dist/site, and what was downloaded for it is kept in dist/lite-work.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tools.course import ROOT, Trouble, surroundings

VENV: Final = ROOT / ".venv-site"
PYTHON: Final = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PINS: Final = ROOT / "requirements-site.txt"
SITE: Final = ROOT / "dist/site"
WORK: Final = ROOT / "dist/lite-work"
NEWEST: Final = ("python3.14", "python3.13", "python3.12")
LEFT_OUT: Final = (
    "The live course is left out: to pack it needs Python 3.12 or newer, and there is none here. "
    "Name one: `make site PYTHON=python3.12`."
)

USAGE: Final = """\
python3 -m tools.site build          pages and live course, in dist/site
python3 -m tools.site pages          the pages alone
python3 -m tools.site board [FLAG]   the toggle lab as a page of its own
python3 -m tools.site test [FLAG]    look at dist/site in a browser without a network"""


def run(*command: str | Path) -> int:
    """Run a module of the site's environment from the top of the repository."""
    env = surroundings() | {
        "PATH": os.pathsep.join([str(PYTHON.parent), os.environ["PATH"]]),
        # Voilà's settings and the template of the board's page.
        "JUPYTER_CONFIG_PATH": str(ROOT / "tools/web"),
        "JUPYTER_PATH": str(ROOT / "tools/web"),
    }
    return subprocess.run([PYTHON, "-m", *command], cwd=ROOT, env=env, check=False).returncode


def make_environment() -> None:
    """Make .venv-site as the pins say, unless it is there. Raises Trouble."""
    digest = hashlib.sha256(PINS.read_bytes() + str(ROOT).encode()).hexdigest()
    ready = VENV / "ready"
    if ready.exists() and ready.read_text(encoding="utf-8") == digest:
        return
    python, uv = _python(), shutil.which("uv")
    print(f"Making the environment in .venv-site with {python} ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    made: list[str | Path] = (
        [uv, "venv", "--quiet", "--python", python] if uv else [python, "-m", "venv"]
    )
    pip: list[str | Path] = [uv, "pip"] if uv else [PYTHON, "-m", "pip"]
    pip += ["install", "--quiet"]
    pip += ["--python", PYTHON] if uv else []
    for command in (
        [*made, VENV],
        [*pip, "--require-hashes", "-r", PINS],
        [*pip, "--no-deps", "--no-build-isolation", "--editable", "."],
    ):
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            raise Trouble("The environment in .venv-site could not be made, for the reason above.")
    ready.write_text(digest, encoding="utf-8")


def _python() -> str:
    """Return a Python that can pack the live course, or the one that runs this."""
    if sys.version_info >= (3, 12):
        return sys.executable
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(versions.glob("3.1[2-9].*/bin/python3"), reverse=True)
    for candidate in [*filter(None, map(shutil.which, NEWEST)), *map(str, kept)]:
        # A name may be there and say that it is not installed.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return sys.executable


def can_pack() -> bool:
    """Tell whether the environment's Python is new enough for the live course."""
    return run("pyodide_lock.spec") == 0


def build(*, live: bool) -> int:
    """Make the site anew. Raises Trouble."""
    make_environment()
    if live and not can_pack():
        print(LEFT_OUT, flush=True)
        live = False
    shutil.rmtree(SITE, ignore_errors=True)
    print("Making the pages (a minute) ...", flush=True)
    if run("tools.pages", SITE, *(["--live"] if live else [])):
        raise Trouble("The pages could not be made, for the reason above.")
    if live:
        print("Packing the live course ...", flush=True)
        if run("tools.lite", SITE / "lite", WORK):
            raise Trouble("The live course could not be packed, for the reason above.")
    files = [path for path in SITE.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files) / 1e6
    print(f"dist/site: {len(files)} files, {size:.1f} MB. Any file server can serve it:")
    print("    python3 -m http.server --bind 127.0.0.1 --directory dist/site")
    return 0


def board(flags: list[str]) -> int:
    """Open the toggle lab as a page of its own, without code: this computer only."""
    make_environment()
    print("The toggle lab opens in your browser; Ctrl-C here closes it.", flush=True)
    return run("voila", *flags, ROOT / "tools/web/board.ipynb")


def main(arguments: list[str]) -> int:
    """Carry out one command; 2 if the reader has something to put right."""
    command, *rest = arguments or [""]
    try:
        if command in ("build", "pages") and not rest:
            return build(live=command == "build")
        if command == "board":
            return board(rest)
        if command == "test":
            make_environment()
            flags = ["-p", "no:cacheprovider", "--confcutdir=tests/site"]
            return run("pytest", *flags, *(rest or ["tests/site"]))
    except Trouble as trouble:
        print(trouble, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f"Say one of these:\n{USAGE}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
