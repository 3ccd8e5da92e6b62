"""Rehearse a class: the real hub and thirty learners with accounts, on this machine alone.

    sudo .venv-hub/bin/python deploy/rehearse.py [--learners 30] [--within 120] [--json FILE]

Linux only, as root, for it makes a small world first (namespaces of its own for files, processes
and network) in which there are accounts and a loopback, and from which nothing stays behind. Each
learner logs in, starts a server, opens the toggle lab, runs all of it and clicks. Then somebody
loops for ever, somebody eats memory, somebody looks at others' work, and the hub is killed.
Ends with 1 if a learner lost work or saw another's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pwd
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

import aiohttp
import yarl

ROOT = Path(__file__).resolve().parent.parent
PLACE = Path("/srv/vmakernel")
STATE = Path("/srv/state")
HUB = "http://127.0.0.1:8000"
LAB = "notebooks/06-the-toggle-lab.ipynb"
# The learner's part of the class: a click, a look, a click ...
THINK = 2.0
MOMENTS = 6
# After how many seconds the hub that was killed and started again ends an idle server.
IDLE = 60
STARTED = b"== started ==\n"  # in the hub's log


# --- the small world ------------------------------------------------------------------------------


def enter() -> None:
    """Begin again in namespaces of its own; their end ends all that was started in them."""
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("The rehearsal makes accounts and namespaces: run it as root, on Linux.")
    apart = [
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--net",
        "--ipc",
    ]
    os.environ["VMAKERNEL_REHEARSAL"] = "inside"
    os.execvp("unshare", [*apart, sys.executable, *sys.argv])


def reap() -> None:
    """Go on in a child; stay behind as this world's first process, which takes leave of orphans."""
    child = os.fork()
    if not child:
        return
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) & 255)


def furnish() -> None:
    """Lay out the world: a copy of /etc, empty /home and /srv, the course, a loopback."""
    for folder in ("/home", "/srv", "/tmp"):
        if folder == "/tmp" and str(ROOT).startswith("/tmp/"):
            continue
        run("mount", "-t", "tmpfs", "-o", "mode=755,size=2g", "tmpfs", folder)
    etc = Path("/srv/etc")
    run("cp", "-a", "/etc", etc)
    run("mount", "--bind", etc, "/etc")
    PLACE.mkdir()
    run("mount", "--bind", ROOT, PLACE)
    run("mount", "-o", "remount,bind,ro", PLACE)
    run("ip", "link", "set", "lo", "up")


def admit() -> None:
    """Make sure that who is not root may run the hub's Python: else no server would ever start."""
    python = PLACE / ".venv-hub/bin/python"
    try:
        subprocess.run([python, "-c", ""], user=65534, group=65534, check=True, cwd="/")
    except (OSError, subprocess.CalledProcessError):
        sys.exit(
            f"Learners may not run {python.resolve()}, on which the hub's environment stands: "
            "make it with a Python that is everybody's, as in `make hub PYTHON=/usr/bin/python3`."
        )


def run(*command: str | Path) -> str:
    """Run a program and give what it prints."""
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def accounts(count: int) -> dict[str, str]:
    """Make the accounts as a teacher would; give each password."""
    listed = [f"learner-{number:02}" for number in range(1, count + 1)]
    Path("/srv/names.txt").write_text("\n".join([*listed, "teacher *"]), encoding="utf-8")
    run("python3", PLACE / "deploy/accounts.py", "/srv/names.txt")
    words = dict(line.split() for line in Path("passwords.txt").read_text().splitlines())
    return {name: words[name] for name in listed}


def start_hub(idle: int = 3600) -> subprocess.Popen[bytes]:
    """Start the hub with the configuration that a class gets."""
    log = open("/srv/hub.log", "ab")  # noqa: SIM115 - the hub's, as long as it lives
    log.write(STARTED)
    log.flush()
    python = PLACE / ".venv-hub/bin/python"
    hub = subprocess.Popen(
        [python, "-m", "jupyterhub", "-f", PLACE / "deploy/jupyterhub_config.py"],
        env={**os.environ, "HUB_URL": HUB, "HUB_STATE": str(STATE), "HUB_IDLE": str(idle)},
        cwd="/srv",
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    for _ in range(3000):
        with socket.socket() as probe:
            if (
                probe.connect_ex(("127.0.0.1", 8000)) == 0
                and b"JupyterHub is now running"
                in Path("/srv/hub.log").read_bytes().rpartition(STARTED)[2]
            ):
                return hub
        if hub.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"The hub did not start:\n{Path('/srv/hub.log').read_text()[-3000:]}")


# --- what the machine spends ----------------------------------------------------------------------


def processes() -> list[tuple[int, int, str]]:
    """List pid, uid and command line of all that runs in this world."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found.append((int(entry.name), entry.stat().st_uid, line))
            except OSError:
                continue  # it has ended
    return found


def pss(pid: int) -> int:
    """Memory of a process in KiB, its share of what is shared."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0])


def memory() -> dict[str, float]:
    """MiB by kind of process: a learner's server, a learner's kernel, the hub and all beside it."""
    servers, kernels, rest = [], [], 0
    per_learner: dict[int, int] = {}
    for pid, uid, line in processes():
        if "rehearse.py" in line:
            continue
        size = pss(pid)
        if "ipykernel" in line:
            kernels.append(size)
        elif "learner.py" in line:
            servers.append(size)
        else:
            rest += size
        if uid >= 1000:
            per_learner[uid] = per_learner.get(uid, 0) + size
    mib = [size / 1024 for size in per_learner.values()]
    return {
        "server_median": statistics.median(servers or [0]) / 1024,
        "kernel_median": statistics.median(kernels or [0]) / 1024,
        "learner_median": statistics.median(mib or [0]),
        "learner_most": max(mib, default=0),
        "hub_proxy_culler": rest / 1024,
        "total": (sum(per_learner.values()) + rest) / 1024,
    }


def cpu() -> float:
    """CPU seconds of all that runs in this world, the rehearsal itself left out."""
    ticks = 0
    for pid, _, line in processes():
        if "rehearse.py" in line:
            continue
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def spread(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the worst."""
    ordered = sorted(values)
    at = lambda part: ordered[min(len(ordered) - 1, int(part * len(ordered)))]  # noqa: E731
    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": ordered[-1]}


# --- one learner ------------------------------------------------------------------------------


class Learner:
    """What a browser does, without the browser: log in, start, open, run, click."""

    def __init__(self, name: str, password: str) -> None:
        self.name, self.password = name, password
        self.base = f"{HUB}/user/{name}"
        self.times: dict[str, float] = {}
        self.boards: list[str] = []
        self.moment = 0

    async def arrive(self) -> None:
        """Log in through PAM with the password of the sheet, and start a server."""
        self.web = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), timeout=aiohttp.ClientTimeout(total=300)
        )
        begun = time.monotonic()
        async with self.web.get(f"{HUB}/hub/login") as form:
            xsrf = re.findall(r'name="_xsrf" value="([^"]+)"', await form.text())[0]
        data = {"username": self.name, "password": self.password, "_xsrf": xsrf}
        async with self.web.post(f"{HUB}/hub/login?next=/hub/home", data=data) as answer:
            if answer.status != 200 or "logout" not in await answer.text():
                raise RuntimeError(f"{self.name} could not log in: {answer.status}")
        self.times["log in"] = time.monotonic() - begun
        tokens = f"{HUB}/hub/api/users/{self.name}/tokens"
        async with self.web.post(tokens, json={}, headers={"X-XSRFToken": self.xsrf()}) as given:
            self.auth = {"Authorization": f"token {(await given.json())['token']}"}
        begun = time.monotonic()
        await self.start()
        self.times["server"] = time.monotonic() - begun

    def xsrf(self) -> str:
        """The hub's own cookie against forged requests."""
        cookies = self.web.cookie_jar.filter_cookies(yarl.URL(f"{HUB}/hub/"))
        return cookies["_xsrf"].value

    async def start(self) -> None:
        """Ask for a server and wait until it answers."""
        # No cookies from here on: the token alone says who this is.
        self.api = aiohttp.ClientSession(
            headers=self.auth,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=300),
        )
        while True:
            async with self.api.post(f"{HUB}/hub/api/users/{self.name}/server") as asked:
                if asked.status in (201, 202, 400):
                    break
            await asyncio.sleep(1)  # 429: the hub asks to come again
        while True:
            try:
                async with self.api.get(f"{self.base}/api/status", allow_redirects=False) as up:
                    if up.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.25)

    async def open(self, path: str = LAB) -> None:
        """Open a notebook: its text, its page, a kernel, a connection to it."""
        begun = time.monotonic()
        async with self.api.get(f"{self.base}/lab/tree/{path}") as page:
            assert page.status == 200, page.status
            await page.read()
        async with self.api.get(f"{self.base}/api/contents/{path}") as got:
            self.notebook = (await got.json())["content"]
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        async with self.api.post(f"{self.base}/api/sessions", json=body) as made:
            self.kernel = (await made.json())["kernel"]["id"]
        await self.connect()
        await self.run("0")
        self.times["kernel"] = time.monotonic() - begun

    async def connect(self) -> None:
        """Connect to the kernel."""
        self.socket = await self.api.ws_connect(
            f"{self.base}/api/kernels/{self.kernel}/channels?session_id={uuid.uuid4().hex}",
            max_msg_size=0,
        )
        self.answers: dict[str, asyncio.Queue] = {}
        self.ear = asyncio.ensure_future(self.listen(self.socket))

    async def listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Take in all that comes, and answer pings, as a browser does; then say that it is over."""
        async for got in socket:
            message = json.loads(got.data)
            asked = self.answers.get(message["parent_header"].get("msg_id"))
            if asked:
                asked.put_nowait((time.monotonic(), message))
        for asked in self.answers.values():
            asked.put_nowait((time.monotonic(), None))

    async def say(self, kind: str, content: dict[str, object]) -> str:
        """Send a message to the kernel and give its id."""
        name = uuid.uuid4().hex
        header = {
            "msg_id": name,
            "msg_type": kind,
            "username": "",
            "session": "x",
            "version": "5.3",
        }
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.answers[name] = asyncio.Queue()
        await self.socket.send_json({**message, "channel": "shell", "buffers": []})
        return name

    async def hear(self, name: str, seconds: float = 120):
        """Give the kernel's messages that answer one of ours, until it is idle again."""
        end = time.monotonic() + seconds
        while True:
            left = max(0.1, end - time.monotonic())
            at, message = await asyncio.wait_for(self.answers[name].get(), left)
            if message is None:
                raise ConnectionError(f"{self.name}: the connection to the kernel is closed")
            yield at, message
            state = message["content"].get("execution_state")
            if message["msg_type"] == "status" and state == "idle":
                del self.answers[name]
                return

    async def run(self, code: str, seconds: float = 120) -> str:
        """Run a cell; give what it prints, or the name and words of its error."""
        said = ""
        name = await self.say(
            "execute_request", {"code": code, "silent": False, "store_history": True}
        )
        async for _, message in self.hear(name, seconds):
            content = message["content"]
            if message["msg_type"] == "stream":
                said += content["text"]
            elif message["msg_type"] == "error":
                said += f"{content['ename']}: {content['evalue']}"
            elif message["msg_type"] == "execute_result":
                said += content["data"].get("text/plain", "")
            elif message["msg_type"] == "comm_open":
                state = content["data"].get("state", {})
                if len(state.get("_options_labels", ())) == MOMENTS:
                    self.boards.append(content["comm_id"])
        return said

    async def run_all(self) -> None:
        """Run all cells of the lesson; any error is one of ours."""
        begun = time.monotonic()
        for cell in self.notebook["cells"]:
            if cell["cell_type"] == "code":
                said = await self.run(cell["source"])
                if re.match(r"\w+Error: ", said):
                    raise RuntimeError(f"{self.name}: {said}")
        self.times["all cells"] = time.monotonic() - begun

    async def click(self) -> float:
        """Choose the next moment on the board; give the seconds until the new picture is here."""
        self.moment = (self.moment + 1) % MOMENTS
        data = {"method": "update", "state": {"index": self.moment}, "buffer_paths": []}
        begun = time.monotonic()
        name = await self.say("comm_msg", {"comm_id": self.boards[0], "data": data})
        took = None
        async for at, message in self.hear(name, 60):
            if message["msg_type"] == "comm_msg":
                state = message["content"]["data"].get("state", {})
                if took is None and "<svg" in str(state.get("value", "")):
                    took = at - begun
        if took is None:
            raise RuntimeError(f"{self.name}: a click brought no picture")
        return took

    async def click_for(self, seconds: float) -> list[float]:
        """Click, look and click again, as long as asked."""
        took = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            took.append(await self.click())
            await asyncio.sleep(THINK)
        return took

    async def leave(self) -> None:
        """Close the browser."""
        await self.api.close()
        await self.web.close()

    async def save(self, path: str, text: str) -> int:
        """Save a file as JupyterLab does; give the answer's status."""
        body = {"type": "file", "format": "text", "content": text}
        async with self.api.put(f"{self.base}/api/contents/{path}", json=body) as done:
            return done.status

    async def load(self, path: str) -> str:
        """Load a file; give what is in it."""
        async with self.api.get(f"{self.base}/api/contents/{path}?type=file&format=text") as got:
            return str((await got.json()).get("content"))


# --- the class --------------------------------------------------------------------------------


async def clicking(learners: list[Learner], seconds: float) -> dict[str, float]:
    """All click at once, each at their own pace; give how long they waited."""
    took = await asyncio.gather(*(learner.click_for(seconds) for learner in learners))
    return spread([one for each in took for one in each])


async def rehearse(options: argparse.Namespace) -> dict[str, object]:
    """Play the whole class; give what was measured."""
    told: dict[str, object] = {"load before": os.getloadavg()[0], "cores": os.cpu_count()}

    def tell(name: str, value: object) -> None:
        told[name] = value
        print(f"{name}: {neat(value)}", flush=True)

    class_of = [Learner(*each) for each in accounts(options.learners).items()]
    hub = start_hub()
    tell("memory, hub alone (MiB)", memory())
    before, begun = cpu(), time.monotonic()

    async def come(number: int, learner: Learner) -> None:
        await asyncio.sleep(options.within * number / len(class_of))
        await learner.arrive()
        await learner.open()
        await learner.run_all()

    await asyncio.gather(*(come(*each) for each in enumerate(class_of)))
    tell("all ready after (s)", time.monotonic() - begun)
    tell("CPU for each learner's start (s)", (cpu() - before) / len(class_of))
    for step in ("log in", "server", "kernel", "all cells"):
        tell(f"{step} (s)", spread([learner.times[step] for learner in class_of]))
    tell("memory, all cells run (MiB)", memory())
    tell("load after starting", os.getloadavg()[0])

    before, begun = cpu(), time.monotonic()
    tell("click, all (s)", await clicking(class_of, options.clicks))
    tell("CPU while clicking (cores)", (cpu() - before) / (time.monotonic() - begun))
    tell("alone, one learner (s)", spread(await class_of[0].click_for(options.clicks)))

    if options.browser:
        tell("in Chromium", await browse(class_of[0], options.browser))
    *others, looper, eater = class_of
    await trouble(tell, others, looper, eater, options.clicks)
    tell("a learner sees of another", await look_at(class_of[0], class_of[1]))
    hub, killed = await kill_hub(hub, class_of)
    tell("hub killed", killed)
    tell("idle servers ended", await idle(hub, class_of))
    for learner in class_of:
        await learner.leave()
    return told


async def browse(learner: Learner, picture: Path) -> dict[str, object]:
    """The same in Chromium: log in, open the lesson, run all, click; a screenshot for a person."""
    from playwright.async_api import async_playwright

    told: dict[str, object] = {}
    async with async_playwright() as play:
        chromium = await play.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        page = await chromium.new_page(viewport={"width": 1300, "height": 1000})
        page.set_default_timeout(180_000)
        begun = time.monotonic()
        await page.goto(f"{HUB}/hub/login?next=/user/{learner.name}/lab/tree/{LAB}")
        await page.fill("input[name=username]", learner.name)
        await page.fill("input[name=password]", learner.password)
        await page.keyboard.press("Enter")
        await page.wait_for_selector(".jp-Notebook .jp-CodeCell")
        told["log in to lesson (s)"] = time.monotonic() - begun
        await page.locator(".jp-OutputArea svg").first.wait_for(state="attached")
        told["first stored picture (s)"] = time.monotonic() - begun
        told["news pop-up"] = await page.get_by_text("Would you like to").count()
        begun = time.monotonic()
        await page.get_by_role("menuitem", name="Run", exact=True).click()
        await page.get_by_text("Run All Cells", exact=True).click()
        board = page.locator(".vk-panel", has_text="ask who would go").first
        radio = board.locator("input[type=radio]")
        await radio.first.wait_for()
        told["run all to board (s)"] = time.monotonic() - begun
        await page.wait_for_timeout(8000)
        took = []
        for moment in [0, 1, 2, 3, 4, 5] * 3:
            took.append(await radio.nth(moment).evaluate(CLICK))
        told["click to picture (s)"] = spread([one / 1000 for one in took])
        await radio.first.scroll_into_view_if_needed()
        await page.wait_for_timeout(500)
        await page.screenshot(path=picture)
        await chromium.close()
    return told


# From the click until the picture in the page is another one; in milliseconds.
CLICK = """radio => new Promise(done => {
  const panel = radio.closest(".vk-panel"), begun = performance.now();
  const watch = new MutationObserver(() => { watch.disconnect(); requestAnimationFrame(
    () => done(performance.now() - begun)); });
  watch.observe(panel, {childList: true, subtree: true});
  radio.click();
  setTimeout(() => done(1e5), 1e4);
})"""


async def trouble(
    tell, others: list[Learner], looper: Learner, eater: Learner, clicks: int
) -> None:
    """One loops for ever, one eats memory: what do the others notice?"""
    await looper.say("execute_request", {"code": "while True: pass", "silent": False})
    tell("click, somebody loops (s)", await clicking(others, clicks))
    async with looper.api.post(f"{looper.base}/api/kernels/{looper.kernel}/interrupt") as done:
        tell("the loop is interrupted", done.status == 204)
    await asyncio.sleep(2)  # what was asked while it looped is dropped first
    tell("and after it", await looper.run("6 * 7"))

    at_once = await eater.run("x = bytearray(10**10)")
    tell("ten gigabytes at once", at_once)
    feast = "hoard = []\nwhile True: hoard.append(bytearray(10**6))"
    eating = asyncio.ensure_future(eater.run(feast, 120))
    tell("click, somebody eats (s)", await clicking(others, clicks))
    tell("a megabyte at a time", await eating)
    tell("the eater's memory (MiB)", memory()["learner_most"])
    tell("the eater again", await eater.run("del hoard; 6 * 7"))


async def look_at(one: Learner, other: Learner) -> dict[str, object]:
    """Try to read another learner's work, every way that is at hand."""
    await other.save("work/mine.txt", "the other's answer")
    home = pwd.getpwnam(other.name).pw_dir
    seen: dict[str, object] = {"the other's own": await other.load("work/mine.txt")}

    path = f"{other.base}/api/contents/work/mine.txt"
    async with one.api.get(path) as got:
        seen["with my token"] = got.status
    async with one.web.get(path) as got:
        seen["with my cookies"] = got.status
    async with one.web.get(f"{other.base}/lab") as got:
        seen["their page with my cookies"] = got.status
    climb = f"{one.base}/api/contents/../../{other.name}/vmakernel/work/mine.txt"
    async with one.api.get(climb.replace("..", "%2e%2e")) as got:
        seen["climbing out of my folder"] = got.status
    seen["from my kernel"] = await one.run(f"open('{home}/vmakernel/work/mine.txt').read()")
    seen["listing their home"] = await one.run(f"__import__('os').listdir('{home}')")
    seen["the hub's memory"] = await one.run(f"open('{STATE}/hub.sqlite', 'rb').read(9)")
    servers = [pid for pid, _, line in processes() if "learner.py" in line]
    theirs = next(
        p for p in servers if os.stat(f"/proc/{p}").st_uid == pwd.getpwnam(other.name).pw_uid
    )
    seen["their environment"] = await one.run(f"open('/proc/{theirs}/environ').read()")
    seen["what their kernel says"] = await listen_in(one, other)
    seen["writing over the course"] = await one.run(f"open('{PLACE}/{LAB}', 'a')")
    seen["raising my limit"] = await one.run(
        "import resource as r; r.setrlimit(r.RLIMIT_DATA, (r.RLIM_INFINITY,) * 2)"
    )
    return seen


async def listen_in(one: Learner, other: Learner) -> str:
    """Subscribe, from one's kernel, to what another's publishes; it is silent to strangers."""
    uid = pwd.getpwnam(other.name).pw_uid
    folder = Path(pwd.getpwnam(other.name).pw_dir) / ".local/share/jupyter/runtime"
    (found,) = folder.glob(f"kernel-{other.kernel}.json")
    assert found.stat().st_uid == uid
    port = json.loads(found.read_text())["iopub_port"]
    listener = (
        "import zmq\ns = zmq.Context().socket(zmq.SUB)\ns.subscribe(b'')\n"
        f"s.connect('tcp://127.0.0.1:{port}')\n"
        "print('heard something' if s.poll(6000) else 'silence')"
    )
    hearing = asyncio.ensure_future(one.run(listener, 30))
    for _ in range(10):
        await asyncio.sleep(0.5)
        await other.run("print('my answer')")
    return await hearing


def end(hub: subprocess.Popen[bytes]) -> None:
    """Kill the hub as the machine would: it puts nothing in order."""
    hub.send_signal(signal.SIGKILL)
    hub.wait()


async def kill_hub(
    hub: subprocess.Popen[bytes], learners: list[Learner]
) -> tuple[subprocess.Popen[bytes], dict[str, object]]:
    """Kill the hub in mid-class, work on, start it again: are work and servers still there?"""
    for number, learner in enumerate(learners):
        assert await learner.save("work/answer.txt", f"answer {number}") in (200, 201)
        await learner.run(f"mine = {number}")
    pids = sorted(pid for pid, _, line in processes() if "learner.py" in line)
    end(hub)
    found: dict[str, object] = {}
    took = await asyncio.gather(*(learner.click() for learner in learners), return_exceptions=True)
    found["clicks answered without a hub"] = sum(isinstance(one, float) for one in took)
    saved = await asyncio.gather(*(learner.save("work/late.txt", "late") for learner in learners))
    found["saved without a hub"] = sum(status in (200, 201) for status in saved)

    begun = time.monotonic()
    hub = start_hub()  # for a short IDLE some would be idle by now
    found["hub back after (s)"] = time.monotonic() - begun
    now = sorted(pid for pid, _, line in processes() if "learner.py" in line)
    found["servers found again"] = len(set(pids) & set(now))

    async def as_before(number: int, learner: Learner) -> str:
        """Give what is otherwise than before, "" if all is well."""
        await learner.socket.close()
        while True:  # as a page does: the hub is up before the proxy knows all servers again
            try:
                await learner.connect()
                break
            except aiohttp.WSServerHandshakeError as refused:
                if time.monotonic() > begun + 180:
                    return f"the kernel is not reached: {refused.status}"
                await asyncio.sleep(1)
        async with learner.api.get(f"{HUB}/hub/api/users/{learner.name}") as about:
            if not (await about.json())["servers"][""]["ready"]:
                return "the hub does not know the server"
        if await learner.run("mine") != str(number):
            return "the kernel has forgotten"
        if await learner.load("work/answer.txt") != f"answer {number}":
            return "what was saved before is not there"
        if await learner.load("work/late.txt") != "late":
            return "what was saved meanwhile is not there"
        return ""

    wrong = await asyncio.gather(*(as_before(*each) for each in enumerate(learners)))
    found["learners with server, kernel and work as before"] = wrong.count("")
    log_of = Path("/srv/hub.log").read_bytes().rpartition(STARTED)[2].decode().splitlines()
    found["the others"] = {
        learner.name: [why, *[line for line in log_of if learner.name in line][-6:]]
        for learner, why in zip(learners, wrong, strict=True)
        if why
    }
    found["all of them after (s)"] = time.monotonic() - begun
    found["of"] = len(learners)
    return hub, found


async def idle(hub: subprocess.Popen[bytes], learners: list[Learner]) -> dict[str, object]:
    """The hub ends what is idle, a silent loop, too; and what was saved stays."""
    end(hub)
    start_hub(IDLE)
    await learners[0].say("execute_request", {"code": "while True: pass", "silent": False})
    for learner in learners:
        await learner.socket.close()
    begun = time.monotonic()
    while time.monotonic() < begun + 240:
        left = sum("learner.py" in line or "ipykernel" in line for _, _, line in processes())
        if not left:
            break
        await asyncio.sleep(2)
    again = learners[0]
    await again.api.close()
    await again.start()
    return {
        "processes left": left,
        "after (s)": time.monotonic() - begun,
        "work after a new start": await again.load("work/answer.txt"),
    }


def neat(value: object) -> object:
    """Round for reading."""
    if isinstance(value, dict):
        return {name: neat(one) for name, one in value.items()}
    return round(value, 3) if isinstance(value, float) else value


def faults(told: dict) -> list[str]:
    """Name what must not be."""
    seen, killed = told["a learner sees of another"], told["hub killed"]
    wrong = [
        name
        for name in ("with my token", "with my cookies", "their page with my cookies")
        if seen[name] != 403
    ]
    wrong += (
        ["climbing out of my folder"] if seen["climbing out of my folder"] not in (403, 404) else []
    )
    closed = ("from my kernel", "listing their home", "the hub's memory", "their environment")
    wrong += [name for name in closed if not seen[name].startswith("PermissionError")]
    wrong += ["what their kernel says"] if "silence" not in seen["what their kernel says"] else []
    if (
        not killed["of"]
        == killed["servers found again"]
        == killed["learners with server, kernel and work as before"]
        == killed["saved without a hub"]
    ):
        wrong.append("hub killed")
    if told["idle servers ended"]["work after a new start"] != "answer 0":
        wrong.append("idle servers ended")
    wrong += [
        name
        for name in ("ten gigabytes at once", "a megabyte at a time")
        if not told[name].startswith("MemoryError")
    ]
    return wrong


def main() -> int:
    """Rehearse, print, and say what went wrong."""
    parser = argparse.ArgumentParser(description="Rehearse a class on this machine alone.")
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--within", type=float, default=120, help="seconds in which all arrive")
    parser.add_argument("--clicks", type=float, default=60, help="seconds of clicking, each time")
    parser.add_argument(
        "--browser", type=Path, metavar="PNG", help="Chromium, too (needs playwright): a screenshot"
    )
    parser.add_argument("--json", type=Path, help="where to put the figures")
    options = parser.parse_args()
    if options.learners < 3:
        parser.error("one loops, one eats and one works: say at least --learners 3")
    if "VMAKERNEL_REHEARSAL" not in os.environ:
        enter()
    reap()
    furnish()
    admit()
    STATE.mkdir(mode=0o700)
    told = asyncio.run(rehearse(options))
    if options.json:
        options.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    wrong = faults(told)
    print("\nin order" if not wrong else f"\nNOT in order: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
