"""The live course inside a browser: JupyterLite, the Pyodide kernel and all it needs.

``.venv-site/bin/python -m tools.lite FOLDER WORK``: FOLDER gets the site, WORK keeps what was
downloaded. Every input is pinned: Python packages in requirements-lite.txt, Pyodide in
web/npm.json, both with hashes. Needs npm, and a network the first time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any, Final

from tools.lessons import TABLE
from tools.notebooks import read
from tools.pages import ROOT, sources

PINS: Final = ROOT / "tools/web/npm.json"
PYTHON: Final = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")
# JupyterLab's side of the widgets is built into the site; in the browser's Python it is of no use.
NOT_THERE: Final = ("jupyterlab-widgets", "widgetsnbextension")
EXTENSIONS: Final = ("@jupyter-widgets/jupyterlab-manager", "@jupyterlite/pyodide-kernel-extension")


class Missing(Exception):
    """Something that the build needs; the message says how to get it."""


def build(folder: Path, work: Path) -> None:
    """Make the live part of the site in `folder`. Raises Missing."""
    work.mkdir(parents=True, exist_ok=True)
    _pyodide(work)
    _wheels(work)
    _contents(work / "contents")
    (work / "overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    (work / "jupyter_lite_config.json").write_text(json.dumps(_config(folder)), encoding="utf-8")
    (work / "jupyter-lite.json").write_text(json.dumps(_page()), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    (work / ".jupyterlite.doit.db").unlink(missing_ok=True)
    _run(sys.executable, "-m", "jupyterlite_core", "build", cwd=work)
    for path in folder.rglob("*"):  # a file server may be somebody else
        path.chmod(0o755 if path.is_dir() else 0o644)


def _run(*command: str | Path, cwd: Path) -> str:
    """Run a program quietly; Missing with what it said if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise Missing(f"{' '.join(map(str, command[:4]))} failed:\n{said}")
    return done.stdout


def fetch(package: str, work: Path) -> Path:
    """Fetch a pinned npm package, unless it is there, and check it. Raises Missing."""
    pin = json.loads(PINS.read_text(encoding="utf-8"))[package]
    archive = work / f"{package}-{pin['version']}.tgz"
    if not archive.exists():
        if shutil.which("npm") is None:
            raise Missing(f"This needs npm to fetch {package}: install npm (on Debian: npm).")
        work.mkdir(parents=True, exist_ok=True)
        _run("npm", "pack", "--silent", f"{package}@{pin['version']}", cwd=work)
    kind, _, wanted = pin["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(kind, archive.read_bytes()).digest()).decode()
    if found != wanted:
        archive.unlink()
        raise Missing(f"{archive.name} is not what {PINS.name} pins; it was thrown away.")
    return archive


def _pyodide(work: Path) -> None:
    """Lay out what the site needs of Pyodide."""
    archive = fetch("pyodide", work)
    place = work / "static/pyodide"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    with tarfile.open(archive) as packed:
        for name in (*PYTHON, "pyodide-lock.json"):
            member = packed.extractfile(f"package/{name}")
            assert member is not None
            (place / name).write_bytes(member.read())
    lock = json.loads((place / "pyodide-lock.json").read_text(encoding="utf-8"))
    # Its packages are on a CDN. What is not in this site is not to be had.
    lock["packages"] = {}
    (place / "pyodide-lock.json").write_text(json.dumps(lock), encoding="utf-8")


def _wheels(work: Path) -> None:
    """Fetch the pinned packages for the browser's Python, and build our own."""
    wheels, pins = work / "wheels", ROOT / "requirements-lite.txt"
    stamp = work / "wheels.pins"
    if not stamp.exists() or stamp.read_bytes() != pins.read_bytes():
        shutil.rmtree(wheels, ignore_errors=True)
        download = ("download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:")
        target = ("--python-version=3.14", "--platform=any", "--dest", wheels, "-r", pins)
        _run(sys.executable, "-m", "pip", *download, *target, cwd=work)
        for name in NOT_THERE:
            for wheel in wheels.glob(f"{name.replace('-', '_')}-*"):
                wheel.unlink()
        stamp.write_bytes(pins.read_bytes())
    shutil.rmtree(work / "ours", ignore_errors=True)
    ours = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", work / "ours", ROOT)
    _run(sys.executable, "-m", "pip", *ours, cwd=work)


def _contents(place: Path) -> None:
    """Lay out the notebooks, marked as trusted: their stored pictures show before they run."""
    shutil.rmtree(place, ignore_errors=True)
    for path in sources():
        notebook = read(path)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata["trusted"] = True
        notebook.metadata.kernelspec = {"display_name": "Python", "name": "python"}
        copy = place / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(json.dumps(notebook), encoding="utf-8")
    shutil.copy(TABLE, place / TABLE.relative_to(ROOT))  # the contents draw it


SETTINGS: Final = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/apputils-extension:themes": {"adaptive-theme": True},
}


def _config(folder: Path) -> dict[str, Any]:
    extensions = Path(sys.prefix) / "share/jupyter/labextensions"
    return {
        "LiteBuildConfig": {
            "apps": ["notebooks", "lab"],
            "contents": ["contents"],
            "federated_extensions": [str(extensions / name) for name in EXTENSIONS],
            "ignore_sys_prefix": ["federated_extensions"],
            "no_sourcemaps": True,
            "no_unused_shared_packages": True,
            "output_dir": str(folder),
            "settings_overrides": ["overrides.json"],
        },
        "PyodideLockAddon": {
            "enabled": True,
            "wheels": ["wheels", "ours"],
            "excludes_extra": list(NOT_THERE),
            "prefetch_extra": ["ipywidgets", "vmakernel"],
            "pyodide_lock_uv_options": {"extra_uv_args": ["--no-index"]},
        },
    }


def _page() -> dict[str, Any]:
    return {
        "jupyter-lite-schema-version": 0,
        "jupyter-config-data": {
            "appName": "When may two VMAs be merged?",
            "litePluginSettings": {
                "@jupyterlite/pyodide-kernel-extension:kernel": {"disablePyPIFallback": True}
            },
        },
    }


def main(arguments: list[str]) -> int:
    """Make the live part; 1 if something is missing."""
    try:
        build(Path(arguments[0]).resolve(), Path(arguments[1]).resolve())
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
