from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from sana_wm.cli.inline_picture import protocol_of

KITTY, SIXEL, QUESTIONS = b"\x1b_G", b"\x1bP", (b"\x1b[c", b"\x1b[16t", b"a=q")


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "sixel"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "sixel"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "Apple_Terminal"}, None),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app", "TMUX": "/tmp/tmux"}, None),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, None),
        ({"TERM": "dumb", "TERM_PROGRAM": "iTerm.app"}, None),
        ({}, None),
    ],
)
def test_the_environment_alone_says_how(environment: dict[str, str], protocol: str | None) -> None:
    assert protocol_of(environment) == protocol


def explain_on_a_terminal(*more: str, **environment: str) -> bytes:
    """What `camera explain` writes on a terminal of 100 columns that tells its cells' size."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 800, 800))
    command = [sys.executable, "-m", "sana_wm", "camera", "explain", "--action", "w-20,l-9", *more]
    surroundings = {name: word for name, word in os.environ.items() if name not in ("TMUX", "TERM_PROGRAM", "COLUMNS")}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=surroundings | environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # what Linux says when the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    assert process.wait() == 0, written
    return written


@pytest.mark.parametrize(
    ("environment", "mark"),
    [
        ({"TERM": "xterm-kitty"}, KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, SIXEL),
        ({"TERM": "xterm-256color"}, None),
    ],
)
def test_a_terminal_that_can_shows_the_drawing_and_is_asked_nothing(
    environment: dict[str, str], mark: bytes | None
) -> None:
    written = explain_on_a_terminal(**environment)
    assert {one for one in (KITTY, SIXEL) if one in written} == ({mark} if mark else set())
    assert (b"from above" in written) == (mark is None)  # the drawing made of letters
    assert not any(question in written for question in QUESTIONS)


def test_json_is_json_on_any_terminal() -> None:
    written = explain_on_a_terminal("--json", TERM="xterm-kitty")
    assert written.startswith(b"{")
    assert b"\x1b" not in written


def test_a_pipe_gets_no_picture() -> None:
    command = [sys.executable, "-m", "sana_wm", "camera", "explain", "--action", "w-20,l-9"]
    done = subprocess.run(command, capture_output=True, check=True, env=os.environ | {"TERM": "xterm-kitty"})
    assert b"\x1b" not in done.stdout
    assert b"from above" in done.stdout
