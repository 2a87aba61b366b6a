"""Nothing that could steer a terminal, or lie about the order of text, comes out of a command or stands on a page."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TextIO, cast

import pytest

from sana_wm.cli.progress_view import LiveView, PlainView, make_view
from sana_wm.printing import PrintableStream, drawing_stream, spelled_out
from sana_wm.video.encoder import VideoEncoder
from sana_wm.video.reader import probe

#: ESC, BEL, CR, DEL, C1 (CSI), right-to-left override, zero-width space, a hidden tag, half a surrogate pair.
STEERING = "\x1b]0;owned\x07\r\x7f\x9b2J\u202e\u200b\U000e0041\udc9b"
Command = Callable[..., tuple[int, str, str]]


def steers(text: str) -> bool:
    return any(not char.isprintable() and char not in "\n\t" for char in text)


def test_everything_that_steers_is_spelled_out_and_json_stays_json() -> None:
    assert steers(STEERING)
    shown = spelled_out(STEERING)
    assert not steers(shown)
    assert shown.startswith("\\u001b]0;owned\\u0007\\u000d\\u007f\\u009b2J\\u202e\\u200b\\udb40\\udc41\\udc9b")
    raw = json.dumps(STEERING, ensure_ascii=False)
    assert json.loads(spelled_out(raw)) == STEERING
    assert spelled_out("Grüße,\n\t日本 🌉") == "Grüße,\n\t日本 🌉"


def test_a_stream_takes_text_only_and_spells_out_what_its_encoding_lacks() -> None:
    beneath = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = PrintableStream(beneath)
    assert stream.write("ü\x9b") == 2
    stream.flush()
    assert beneath.buffer.getvalue() == b"\\xfc\\u009b"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        stream.write(b"\x1b")  # pyright: ignore[reportArgumentType]
    assert not hasattr(stream, "buffer")
    assert drawing_stream(cast("TextIO", stream)) is beneath


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_whole_command_on_the_name_of_a_file(tmp_path: Path, encoding: str) -> None:
    """In a process of its own, through Typer, with bytes that are no text in the name."""
    name = os.fsdecode("run\x1b[2J\u202e\u009b".encode() + b"\x9b\xff")
    for command in (["status", name], ["report", name], [name], ["plan", "--" + name]):
        done = subprocess.run(
            [sys.executable, "-m", "sana_wm", *command],
            cwd=tmp_path,
            capture_output=True,
            check=False,
            env={**os.environ, "PYTHONIOENCODING": encoding},
        )
        assert done.returncode in (2, 4)
        said = (done.stdout + done.stderr).decode(encoding)
        assert "2J" in said
        assert not steers(said)


def test_a_manifest_that_is_shown_can_be_read_again(write_manifest: Callable[..., Path], sana_wm: Command) -> None:
    text = STEERING[:-1]  # JSON files hold no half characters
    code, out, err = sana_wm("validate-manifest", write_manifest(name=text, input__prompt=text), "--show")
    assert code == 0, err
    assert not steers(out + err)
    shown = json.loads(out)
    assert (shown["name"], shown["input"]["prompt"]) == (text, text)


def test_the_views_of_a_run_spell_out_what_is_said() -> None:
    plain, live = io.StringIO(), io.StringIO()
    with PlainView(plain) as view:
        view.say(STEERING)
    with LiveView(live) as view:
        view.say(STEERING)
    assert not steers(plain.getvalue())
    assert "\x9b" not in live.getvalue()
    assert "\u202e" not in live.getvalue()
    beneath = io.StringIO()
    with make_view(cast("TextIO", PrintableStream(beneath))) as view:
        view.say("one line")
    assert beneath.getvalue() == "one line\n"


def test_the_comment_of_a_video_holds_escapes_only(tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "video.mp4"
    kept = {"prompt": STEERING[:-1]}
    with VideoEncoder(path, width=32, height=32, fps=8, metadata=kept) as encoder:
        encoder.put(np.zeros((1, 32, 32, 3), np.uint8))
    assert probe(path).metadata == kept
    content = path.read_bytes()
    comment = content[content.index(b"owned") - 40 :][:200]
    assert b"\x1b" not in comment
    assert b"\x7f" not in comment
    assert "\u202e".encode() not in comment
