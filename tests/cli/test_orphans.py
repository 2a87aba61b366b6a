"""No process outlives its command, and a reader or a terminal that leaves changes no result."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

SANA_WM = [sys.executable, "-m", "sana_wm"]
#: Commands that start a module in a process of its own.
COMMANDS = {
    "weights": ["weights", "tiny", "--out", "tiny"],
    "demo": ["demo", "--out", "demo"],
    "bench": ["bench", "stage1"],
    "doctor": ["doctor", "--numerics"],
}

#: Makes standard input the terminal of a new session, then becomes the command of its arguments.
OWN_TERMINAL = (
    "import os, fcntl, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.argv[1], sys.argv[1:])"
)


def begin(arguments: list[str], folder: Path) -> tuple[subprocess.Popen[bytes], list[psutil.Process]]:
    """Start a command; returns it with its children, as soon as there are any."""
    command = subprocess.Popen(
        [*SANA_WM, *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )
    while command.poll() is None:
        if found := psutil.Process(command.pid).children(recursive=True):
            return command, found
        time.sleep(0.01)
    assert command.stderr is not None
    pytest.fail(f"it started nothing: {command.stderr.read().decode()}")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_started_ends_with_it(name: str, tmp_path: Path) -> None:
    command, children = begin(COMMANDS[name], tmp_path)
    command.kill()
    command.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []


#: Presses Ctrl-C when the command line begins to be imported.
EARLY = """import os, signal, sys
class Early:
    def find_spec(self, name, path, target=None):
        if name == "sana_wm.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Early())
"""


def test_ctrl_c_before_the_command_line_is_there_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(EARLY)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.getenv("PYTHONPATH")])])
    done = subprocess.run(
        [*SANA_WM, "--help"], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr, done.stdout) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_a_command_that_is_asked_to_end_says_130(number: signal.Signals, tmp_path: Path) -> None:
    command, children = begin(COMMANDS["weights"], tmp_path)
    command.send_signal(number)
    _, err = command.communicate()
    assert command.returncode == 130
    assert b"Traceback" not in err
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_a_closed_terminal_ends_a_command_with_130(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    arguments = [*SANA_WM, *COMMANDS["weights"]]
    command = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *arguments], cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    process = psutil.Process(command.pid)
    while command.poll() is None and not (children := process.children(recursive=True)):
        time.sleep(0.01)
    os.close(ours)
    assert command.wait() == 130
    assert psutil.wait_procs(children, timeout=60)[1] == []


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_a_reader_that_left_changes_no_exit_code(finished_run: Path, unbuffered: str) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*SANA_WM, "verify", str(finished_run)],
            stdout=write_end,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")
