"""The toggle lab as a page of its own: no code, no way to a CDN, and it answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.site.conftest import ROOT
from vmakernel import widgets


@pytest.fixture(scope="module")
def board():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tools.site", "board", "--no-browser", f"--port={port}"]
    program = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    address = f"http://127.0.0.1:{port}/"
    try:
        for _ in range(300):
            assert program.poll() is None
            try:
                urllib.request.urlopen(f"{address}static/main.css", timeout=5)
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(1)
            else:
                break
        yield address
    finally:
        os.killpg(program.pid, signal.SIGTERM)
        program.wait(60)


def test_the_board_answers_without_code_and_without_a_network(offline, board):
    tab = offline(viewport={"width": 1100, "height": 1000}).new_page()
    tab.set_default_timeout(300_000)
    began = time.monotonic()
    answer = tab.goto(board, wait_until="commit")
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    tab.locator(".vk-lab svg.vk").wait_for()
    print(f"\nfirst picture {time.monotonic() - began:.1f} s")
    assert tab.locator("pre, .jp-CodeCell .jp-InputArea").all_inner_texts() == []
    assert "toggle_lab()" not in tab.locator("body").inner_text()
    lab = widgets.toggle_lab()
    for moment, label in {"pre_git": "pre-git", "really_removed": "6.12"}.items():
        lab.choose(moment=moment)
        tab.locator(".vk-lab").get_by_label(label, exact=True).check()
        tab.wait_for_function(
            "text => document.querySelector('.vk-lab svg.vk')?.ariaLabel === text",
            arg=lab.picture.text,
        )
    assert "https:" not in "".join(tab.locator("head link").evaluate_all("a => a.map(b => b.href)"))
