from __future__ import annotations

import contextlib
import io
import os
import pty
import select
import threading
import time
from dataclasses import replace

import pytest

from sana_wm.cli.background_stream import MOST_TEXT_BYTES, BackgroundStream, BackgroundWriter
from sana_wm.cli.progress_view import LiveView, PlainView, describe_end, describe_run, make_view
from sana_wm.figures import format_seconds
from sana_wm.progress.snapshot import RunError, RunSnapshot, StageSnapshot


def test_the_whole_run_stands_in_a_few_lines(half_way: RunSnapshot) -> None:
    assert describe_run(half_way) == [
        "demo: running, 12 m 05 s elapsed, about 2 h 10 m left",
        "+ stage1      done in 10 m 50 s",
        "> refiner     transformer 4/14, 21.30 s/step, 3 m 33 s to its last step",
        ". vae_decode  to come, about 5 m 00 s",
        "memory        [########................] 31.0 of 96.0 GiB",
        "picture       /runs/demo/previews/0060.png",
    ]


def test_what_is_not_counted_is_said(half_way: RunSnapshot) -> None:
    partly = replace(half_way, not_counted=("vae_decode vae decoder",))
    assert "at least 2 h 10 m left, without vae_decode vae decoder" in describe_run(partly)[0]
    guessed = replace(half_way, guessed=("vae_decode vae decoder",))
    assert describe_run(guessed)[0].endswith("about 2 h 10 m left, in part guessed")
    wide = replace(guessed, remaining_low_s=2400.0, remaining_high_s=12000.0)
    assert describe_run(wide)[0].endswith("40 m 00 s to 3 h 20 m left, a guess")
    narrow = replace(guessed, remaining_low_s=7500.0, remaining_high_s=8000.0)
    assert describe_run(narrow)[0].endswith("about 2 h 10 m left, in part guessed")
    known = replace(half_way, remaining_low_s=2400.0, remaining_high_s=12000.0)
    assert describe_run(known)[0].endswith("about 2 h 10 m left")
    assert "time left not known yet" in describe_run(replace(half_way, remaining_s=None))[0]


def test_a_name_from_a_manifest_cannot_steer_the_terminal(half_way: RunSnapshot) -> None:
    assert "\x1b" not in "".join(describe_run(replace(half_way, name="\x1b[2Jdemo")))


def test_the_end_is_told_with_its_reason_or_its_result(half_way: RunSnapshot) -> None:
    stopped = replace(half_way.stages[1], state="stopped")
    stages = (half_way.stages[0], stopped, half_way.stages[2])
    failed = replace(half_way, state="failed", remaining_s=None, stages=stages, error=RunError("over the cap", 5))
    assert describe_run(failed)[2].startswith("! refiner     stopped after 1 m 15 s in transformer 4/14")
    assert describe_run(failed)[0] == "demo: failed, 12 m 05 s elapsed"
    assert describe_end(failed) == ["error         over the cap"]
    assert describe_end(replace(half_way, state="finished", video="/v.mp4")) == ["video         /v.mp4"]
    assert describe_end(half_way) == []


def test_plain_lines_come_with_each_phase_each_end_and_every_ten_seconds(half_way: RunSnapshot) -> None:
    stream, now = io.StringIO(), [100.0]
    view = PlainView(stream, clock=lambda: now[0])
    for at_s, step in ((100.0, 4), (101.0, 5), (109.0, 6), (110.5, 7), (111.0, 14), (112.0, 14)):
        now[0] = at_s
        view("progress", replace(half_way, step=step))
    view("stopping", replace(half_way, note="stopping: its step ends first"))
    view("stage_ended", replace(half_way, stages=(StageSnapshot("stage1", "done", 650.0), *half_way.stages[1:])))
    lines = stream.getvalue().splitlines()
    assert [line.split("transformer ")[1].split(",")[0] for line in lines[:3]] == ["4/14", "7/14", "14/14"]
    assert "about 2 h 10 m left" in lines[0]
    assert "31.0 of 96.0 GiB" in lines[0]
    assert lines[3].startswith("refiner: stopping")
    assert lines[4] == "stage1: done in 10 m 50 s"
    assert len(lines) == 5


def test_a_terminal_gets_the_live_view_and_a_closed_one_does_not_end_the_run(half_way: RunSnapshot) -> None:
    master, slave = pty.openpty()
    with open(slave, "w") as terminal:  # noqa: PTH123  (a descriptor has no path)
        view = make_view(terminal)
        assert isinstance(view, LiveView)
        with view:
            view("progress", half_way)
        drawn = b""
        while b"vae_decode" not in drawn:
            assert select.select([master], [], [], 5)[0], drawn
            drawn += os.read(master, 65536)
    os.close(master)
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.suppress(BrokenPipeError), open(writer, "w") as gone:  # noqa: PTH123
        plain = make_view(gone)
        assert isinstance(plain, PlainView)
        plain("progress", half_way)


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
def test_a_reader_that_does_not_read_holds_up_nothing(half_way: RunSnapshot, kind: str) -> None:
    """Ctrl-S, or `| less`: meanwhile somebody must watch the memory. Daemon threads, so that a failure can end."""
    reader, writer = pty.openpty() if kind == "terminal" else os.pipe()
    with open(writer, "w") as stream:  # noqa: PTH123  (a descriptor has no path)

        def show() -> None:
            with make_view(stream) as view:
                for number in range(2000):
                    view.say(f"line {number} of far more than anything takes that nobody reads {'.' * 80}")
                    view("progress", replace(half_way, step=number))

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        thread.join(60)
        held_up = thread.is_alive()
        drawn = b""
        while select.select([reader], [], [], 0.5)[0]:
            drawn += os.read(reader, 1 << 16)
        assert not held_up
        assert b"line 0 of" in drawn
        thread.join(5)
    os.close(reader)


def read_slowly(reader: int, got: list[bytes]) -> threading.Thread:
    """Read a pipe to its end, beginning after a moment."""

    def read() -> None:
        time.sleep(0.3)
        while data := os.read(reader, 1 << 16):
            got.append(data)
            time.sleep(0.01)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def test_what_is_said_before_the_end_is_there_at_the_end(half_way: RunSnapshot) -> None:
    """The command's own words come after it, straight to the same terminal."""
    reader, writer = os.pipe()
    got: list[bytes] = []
    thread = read_slowly(reader, got)
    with open(writer, "w") as stream:  # noqa: PTH123  (a descriptor has no path)
        with make_view(stream) as view:
            for number in range(1200):  # more than a pipe takes
                view.say(f"{number} {'.' * 70}")
        stream.write("the end\n")
    thread.join(10)
    lines = b"".join(got).decode().splitlines()
    assert lines[-2:] == [f"1199 {'.' * 70}", "the end"]
    os.close(reader)


def test_of_what_nobody_reads_the_oldest_is_dropped_and_the_memory_is_bounded() -> None:
    reader, writer = os.pipe()
    stream = BackgroundStream(writer)
    for number in range(20_000):
        stream.write(f"{number} {'.' * 70}\n")
    assert stream._writer.waiting_bytes <= MOST_TEXT_BYTES + 100
    got: list[bytes] = []
    thread = read_slowly(reader, got)
    stream.drain()
    os.close(writer)
    thread.join(10)
    lines = b"".join(got).decode().splitlines()
    assert lines[0].startswith("0 ")
    assert lines[-1].startswith("19999 ")
    assert len(lines) < 4000
    os.close(reader)


def test_a_descriptor_that_somebody_set_not_to_wait_loses_nothing() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    output = BackgroundWriter(writer)
    text = b"".join(b"%d\n" % number for number in range(50_000))
    output.put(text)
    got: list[bytes] = []
    thread = read_slowly(reader, got)
    output.drain(20)
    os.close(writer)
    thread.join(10)
    assert b"".join(got) == text
    os.close(reader)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 m 00 s"), (3599.6, "1 h 00 m"), (86400.0, "24 h 00 m")],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words
