"""A command that a page starts goes on without it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from sana_wm.launcher.detached import ask_to_stop, start_detached

LOITER = """
import signal, sys, time
def leave(*_):
    print("saved", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, leave)
print("begun", flush=True)
time.sleep(60)
"""


def wait_for(log: Path, word: str) -> None:
    deadline = time.monotonic() + 30
    while word not in (log.read_text() if log.is_file() else ""):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_it_outlives_whoever_started_it_and_stops_when_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loiter.py").write_text(LOITER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.getenv("PYTHONPATH")])]))
    log = tmp_path / "logs" / "loiter.log"
    code = "import sys; from pathlib import Path; from sana_wm.launcher.detached import start_detached\n"
    code += "print(start_detached(['loiter'], Path(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True, start_new_session=True
    )
    pid = int(done.stdout)
    wait_for(log, "begun")
    assert os.getsid(pid) == pid
    ask_to_stop(pid)
    wait_for(log, "saved")


def test_its_end_leaves_no_zombie(tmp_path: Path) -> None:
    pid = start_detached(["platform"], tmp_path / "platform.log")
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
