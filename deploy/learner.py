"""Start one learner's server: hand out the course, then become JupyterHub's single-user server.

The hub runs this as the learner, never as root. Nothing a learner changed is written over: a
notebook that was left as it came follows the course's newer edition, and one that was not stays,
with the newer edition beside it as NAME.newer.ipynb.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import course

NOTICE = "NOT-HANDED-OUT.txt"
WHAT_TO_DO = (
    "Make room on the disk, or rename what is in the way; then stop your server and start it again."
)
HERE = Path(__file__).resolve().parent


def hand_out(source: Path, home: Path) -> list[Path]:
    """Bring a learner's folder up to the course's edition; give what was written.

    What cannot be written is told in a file there: nothing keeps the server from starting.
    """
    lessons = [("notebooks", path) for path in source.glob("notebooks/*.ipynb")]
    exercises = [("work", path) for path in source.glob("exercises/*.ipynb")]
    written, missing = [], []
    for folder, path in sorted(lessons + exercises):
        try:
            written += bring(path, home, folder)
        except OSError as error:
            missing.append(f"{folder}/{path.name}: {error.strerror or error}")
    tell(home / NOTICE, missing)
    return written


def bring(path: Path, home: Path, folder: str) -> list[Path]:
    """Bring one notebook; give where it was written, if it was."""
    mine = home / folder / path.name
    beside = mine.with_suffix(".newer.ipynb")
    edition = home / ".editions" / folder / path.name
    old, new = contents(edition), path.read_bytes()
    if contents(mine) in (None, old, new):
        place = mine
    elif old != new and contents(beside) in (None, old, new):
        place = beside
    else:
        return []  # handed out before, or the learner works in both
    written = []
    if contents(place) != new:
        put(place, new)
        written = [place]
    if old != new:
        put(edition, new)
    return written


def tell(notice: Path, missing: list[str]) -> None:
    """Say in a file what could not be handed out, and in the hub's log; no file if all could."""
    words = "\n".join(["These could not be handed out:", *missing, "", WHAT_TO_DO])
    try:
        if missing:
            print(words, file=sys.stderr)
            put(notice, words.encode())
        else:
            notice.unlink(missing_ok=True)
    except OSError as error:
        print(f"{notice}: {error.strerror}", file=sys.stderr)


def contents(path: Path) -> bytes | None:
    """Give what is in a file; None if it is not there."""
    if path.exists() and not path.is_file():
        raise OSError(0, "a folder, or something else that is no file, has its name")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def put(path: Path, new: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    try:
        draft.write_bytes(new)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)  # on a full disk, it would take the last room
        raise


def trust(notebooks: list[Path]) -> None:
    """Sign what was handed out: until then JupyterLab hides stored pictures."""
    from nbformat import NO_CONVERT, read
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    try:
        for path in notebooks:
            notary.sign(read(path, as_version=NO_CONVERT))
    except (OSError, sqlite3.Error) as error:  # JupyterLab will ask
        print(f"Not signed: {error}", file=sys.stderr)
    finally:
        notary.store.close()


def main() -> None:
    """Hand out, sign, and serve until the hub ends it."""
    os.umask(0o077)
    # A class arrives all at once, and a quarter of what each start costs is one grammar, of
    # internationalised addresses, which jsonschema can do without.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    home = Path.home() / "vmakernel"
    try:
        home.mkdir(exist_ok=True)
        os.chdir(home)
    except OSError as error:  # no room, or a file has its name
        print(f"{home}: {error.strerror}", file=sys.stderr)
        home = Path.home()
        os.chdir(home)
    try:
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(bytes(100_000))
    except OSError:  # kernels could not start: what Jupyter writes while it runs goes elsewhere
        os.environ["JUPYTER_RUNTIME_DIR"] = tempfile.mkdtemp()
    if written := hand_out(course.ROOT, home):
        trust(written)
    # In a cell and in a terminal, python is the course's; no news pop-up, no look for updates.
    os.environ["SHELL"] = "/bin/bash"
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["JUPYTER_CONFIG_PATH"] = str(HERE)
    from jupyterhub.singleuser import main as serve

    sys.argv[1:] = [f"--ServerApp.root_dir={home}", *course.QUIET, *sys.argv[1:]]
    serve()


if __name__ == "__main__":
    main()
