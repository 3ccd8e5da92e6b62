"""What a class gets on a server: handing out, accounts, the hub's configuration, the image.

Without JupyterHub: the whole of it is rehearsed by deploy/rehearse.py, on Linux and as root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import runpy
import sys
import types
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml  # type: ignore[import-untyped]

from tools import course

DEPLOY = course.ROOT / "deploy"


def load(name: str) -> types.ModuleType:
    """A file of deploy/ as a module."""
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", DEPLOY / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- handing out: nothing a learner wrote is lost -------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A course of one lesson and one set of exercises."""
    for name in ("notebooks/06.ipynb", "exercises/1.ipynb", "exercises/solutions/1.ipynb"):
        path = tmp_path / "course" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("first", encoding="utf-8")
    return tmp_path / "course"


def files(home: Path) -> dict[str, str]:
    """What a learner sees."""
    return {
        str(path.relative_to(home)): path.read_text(encoding="utf-8")
        for path in sorted(home.rglob("*"))
        if path.is_file() and ".editions" not in path.parts
    }


def test_a_learner_gets_lessons_and_exercises_but_no_solutions(
    source: Path, tmp_path: Path
) -> None:
    learner, home = load("learner"), tmp_path / "home"

    written = learner.hand_out(source, home)

    assert files(home) == {"notebooks/06.ipynb": "first", "work/1.ipynb": "first"}
    assert written == [home / "notebooks/06.ipynb", home / "work/1.ipynb"]
    assert learner.hand_out(source, home) == []


def test_what_was_left_as_it_came_follows_a_newer_edition(source: Path, tmp_path: Path) -> None:
    learner, home = load("learner"), tmp_path / "home"
    learner.hand_out(source, home)
    (source / "notebooks/06.ipynb").write_text("second", encoding="utf-8")

    assert learner.hand_out(source, home) == [home / "notebooks/06.ipynb"]
    assert files(home) == {"notebooks/06.ipynb": "second", "work/1.ipynb": "first"}


def test_what_a_learner_changed_stays_and_the_newer_edition_comes_beside_it(
    source: Path, tmp_path: Path
) -> None:
    learner, home = load("learner"), tmp_path / "home"
    learner.hand_out(source, home)
    mine, beside = home / "notebooks/06.ipynb", home / "notebooks/06.newer.ipynb"
    mine.write_text("mine", encoding="utf-8")

    for edition in ("second", "third"):
        (source / "notebooks/06.ipynb").write_text(edition, encoding="utf-8")
        assert learner.hand_out(source, home) == [beside]
        assert learner.hand_out(source, home) == []
        assert mine.read_text(encoding="utf-8") == "mine"
        assert beside.read_text(encoding="utf-8") == edition

    beside.write_text("mine, too", encoding="utf-8")
    (source / "notebooks/06.ipynb").write_text("fourth", encoding="utf-8")
    assert learner.hand_out(source, home) == []
    assert files(home)["notebooks/06.ipynb"] == "mine"
    assert files(home)["notebooks/06.newer.ipynb"] == "mine, too"

    # Put away, and the newer one comes in its place.
    mine.rename(home / "notebooks/my-06.ipynb")
    assert learner.hand_out(source, home) == [mine]
    assert files(home)["notebooks/06.ipynb"] == "fourth"
    assert files(home)["notebooks/my-06.ipynb"] == "mine"


def test_a_start_that_was_cut_short_is_made_good(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, home = load("learner"), tmp_path / "home"
    learner.hand_out(source, home)
    (source / "notebooks/06.ipynb").write_text("second", encoding="utf-8")
    put = learner.put

    def cut(path: Path, new: bytes) -> None:
        if ".editions" in path.parts:
            raise OSError("no space left")
        put(path, new)

    monkeypatch.setattr(learner, "put", cut)
    learner.hand_out(source, home)
    assert "06.ipynb: no space left" in (home / learner.NOTICE).read_text(encoding="utf-8")
    monkeypatch.setattr(learner, "put", put)

    learner.hand_out(source, home)
    assert files(home) == {"notebooks/06.ipynb": "second", "work/1.ipynb": "first"}


def test_what_is_in_the_way_is_told_and_the_rest_is_handed_out(
    source: Path, tmp_path: Path
) -> None:
    learner, home = load("learner"), tmp_path / "home"
    (home / "notebooks/06.ipynb").mkdir(parents=True)

    assert learner.hand_out(source, home) == [home / "work/1.ipynb"]
    notice = home / learner.NOTICE
    assert "notebooks/06.ipynb: a folder" in notice.read_text(encoding="utf-8")

    (home / "notebooks/06.ipynb").rmdir()
    assert learner.hand_out(source, home) == [home / "notebooks/06.ipynb"]
    assert not notice.exists()


@pytest.mark.skipif(os.name != "posix", reason="the hub is for Linux")
def test_the_sheet_is_closed_from_its_beginning_and_never_written_over(tmp_path: Path) -> None:
    accounts = load("accounts")
    with accounts.sheet(tmp_path / "passwords.txt") as file:
        assert os.fstat(file.fileno()).st_mode & 0o777 == 0o600

    with pytest.raises(accounts.Trouble, match="from before"):
        accounts.sheet(tmp_path / "passwords.txt")


def test_an_account_without_a_password_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = load("accounts")
    shadow = tmp_path / "shadow"
    shadow.write_text("ada:!:1::::::\ngrace:$y$j9T$x:1::::::\nlinus:!$y$x:1::::::\n", "utf-8")
    monkeypatch.setattr(accounts, "SHADOW", shadow)

    found = [name for name in ("ada", "grace", "linus") if accounts.unset(name)]
    assert found == ["ada"]


# --- accounts -----------------------------------------------------------------------------------


def test_names_are_read_and_teachers_known() -> None:
    accounts = load("accounts")

    assert accounts.names("ada\n\n grace-h \nlinus *\n") == {
        "ada": False,
        "grace-h": False,
        "linus": True,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ada", "Line 1: 'Ada' cannot be an account: use small letters, digits and -"),
        ("ada\n../root", "Line 2: '../root' cannot be an account"),
        ("ada\nada", "Line 2: ada is listed twice."),
        ("a" * 32, "cannot be an account"),
    ],
)
def test_a_name_that_cannot_be_is_said_with_its_line(text: str, said: str) -> None:
    accounts = load("accounts")

    with pytest.raises(accounts.Trouble, match=re.escape(said)):
        accounts.names(text)


def test_passwords_differ_and_can_be_read_from_paper() -> None:
    accounts = load("accounts")

    words = {accounts.password() for _ in range(200)}

    assert len(words) == 200
    assert all(re.fullmatch(r"([a-hjkmnp-z2-9]{4}-){2}[a-hjkmnp-z2-9]{4}", word) for word in words)


def test_an_account_of_something_else_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    accounts = load("accounts")

    assert accounts.main([]) == 2
    assert "sudo python3 deploy/accounts.py names.txt" in capsys.readouterr().err


# --- the hub's configuration --------------------------------------------------------------------


class Anything(types.SimpleNamespace):
    """Takes every setting, as traitlets' configuration object does."""

    def __getattr__(self, name: str) -> Anything:
        made = Anything()
        setattr(self, name, made)
        return made


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Anything:
    """The configuration as the hub reads it, with a stand-in for JupyterHub."""
    pytest.importorskip("resource", reason="the hub is for Linux and macOS")
    spawner = types.ModuleType("jupyterhub.spawner")

    class LocalProcessSpawner:
        mem_limit = 10**9

        def make_preexec_fn(self, name):
            return lambda: None

    spawner.LocalProcessSpawner = LocalProcessSpawner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "jupyterhub", types.ModuleType("jupyterhub"))
    monkeypatch.setitem(sys.modules, "jupyterhub.spawner", spawner)
    monkeypatch.setenv("HUB_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("HUB_URL", raising=False)
    monkeypatch.delenv("HUB_IDLE", raising=False)
    c = Anything()
    runpy.run_path(str(DEPLOY / "jupyterhub_config.py"), {"get_config": lambda: c})
    return c


def test_the_hub_listens_here_only_and_lets_in_who_has_an_account(hub: Anything) -> None:
    assert hub.JupyterHub.bind_url == "http://127.0.0.1:8000"
    assert hub.JupyterHub.authenticator_class == "pam"
    accounts = load("accounts")
    assert hub.PAMAuthenticator.allowed_groups == {accounts.LEARNERS}
    (teacher,) = [role for role in hub.JupyterHub.load_roles if role["name"] == "teacher"]
    assert teacher["groups"] == [accounts.TEACHERS]
    assert teacher["scopes"] == ["admin-ui", "list:users", "read:servers", "delete:servers"]


def test_the_hubs_memory_is_closed_and_outlives_it(hub: Anything, tmp_path: Path) -> None:
    state = tmp_path / "state"

    assert state.stat().st_mode & 0o077 == 0
    for setting in (
        hub.JupyterHub.db_url,
        hub.JupyterHub.cookie_secret_file,
        hub.ConfigurableHTTPProxy.pid_file,
    ):
        assert str(state) in setting
    assert hub.JupyterHub.cleanup_servers is False


def test_every_learner_has_limits_and_idle_servers_end(hub: Anything) -> None:
    command, program = hub.Spawner.cmd
    assert (command, Path(program)) == (sys.executable, DEPLOY / "learner.py")
    assert re.fullmatch(r"\d+M", hub.Spawner.mem_limit)
    assert hub.JupyterHub.spawner_class.__name__ == "ClassSpawner"
    (culler,) = hub.JupyterHub.services
    role = hub.JupyterHub.load_roles[0]
    assert "--timeout=3600" in culler["command"]
    assert role["services"] == [culler["name"]]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
def test_the_limit_holds_in_the_process_that_is_started(hub: Anything) -> None:
    import resource
    import subprocess

    spawner = hub.JupyterHub.spawner_class()
    spawner.mem_limit = 300 * 2**20

    done = subprocess.run(
        [sys.executable, "-c", "print(len(bytearray(10**7))); bytearray(10**9)"],
        preexec_fn=spawner.make_preexec_fn("ada"),
        capture_output=True,
        text=True,
    )

    assert done.stdout == "10000000\n"
    assert done.stderr.splitlines()[-1] == "MemoryError"
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] != spawner.mem_limit


# --- image, Binder, dev container ---------------------------------------------------------------


def test_the_image_copies_what_is_there_and_installs_only_what_is_hashed() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
    copied = [
        source for line in re.findall(r"^COPY (.*)$", text, re.M) for source in line.split()[:-1]
    ]

    assert [name for name in copied if not (course.ROOT / name).exists()] == []
    for line in re.findall(r"pip install .*", text):
        assert "--require-hashes" in line or "--no-deps --no-build-isolation ." in line
    (program,) = re.findall(r'CMD \["[^"]*", "/srv/vmakernel/([^"]*)"\]', text)
    assert program in copied
    assert "USER 1000" in text


def test_the_network_of_a_container_is_closed_in_the_charts_own_words() -> None:
    schema = json.loads((course.ROOT / "tests/data/z2jh-4.1.0-network-policy.json").read_text())
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))
    policy = values["singleuser"]["networkPolicy"]

    jsonschema.validate(policy, schema)
    opened = [name for name, allowed in policy["egressAllowRules"].items() if allowed]
    assert opened == ["dnsPortsKubeSystemNamespace"]


def test_a_class_and_a_reader_get_the_same_packages() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (course.ROOT / name).read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.M))

    hub, reader = pins("requirements-hub.txt"), pins("requirements.txt")

    assert {name for name in hub.keys() & reader.keys() if hub[name] != reader[name]} == set()
    assert {"jupyterhub", "jupyterhub-idle-culler", "jupyterlab", "ipywidgets"} <= hub.keys()


def test_the_proxy_is_pinned_with_hashes_and_no_place() -> None:
    wanted = json.loads((DEPLOY / "package.json").read_text(encoding="utf-8"))["dependencies"]
    lock = json.loads((DEPLOY / "package-lock.json").read_text(encoding="utf-8"))["packages"]

    for name, version in wanted.items():
        assert lock[f"node_modules/{name}"]["version"] == version
    packages = [about for name, about in lock.items() if name]
    assert all(about["integrity"].startswith("sha512-") for about in packages)
    assert not any("resolved" in about for about in packages)


def test_binder_and_the_dev_container_take_the_one_list() -> None:
    about = json.loads((course.ROOT / ".devcontainer/devcontainer.json").read_text("utf-8"))

    assert "conda env create --file environment.yml" in about["postCreateCommand"]
    assert "./postBuild" in about["postCreateCommand"]
    if os.name == "posix":
        assert os.access(course.ROOT / "postBuild", os.X_OK)
    # Binder would take these before environment.yml, and these instead of it.
    assert not [
        name for name in (".binder", "binder", "Dockerfile") if (course.ROOT / name).exists()
    ]
