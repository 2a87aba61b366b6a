"""`--json-progress` against readers that are slow, gone, or in another process."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sana_wm.cli.progress_json import JsonProgress
from sana_wm.errors import UsageError
from sana_wm.progress.snapshot import RunSnapshot

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "progress.md"


def read_lines(descriptor: int, count: int) -> list[dict[str, object]]:
    got = b""
    while got.count(b"\n") < count:
        got += os.read(descriptor, 1 << 20)
    return [json.loads(line) for line in got.decode().splitlines()]


def test_a_line_comes_with_each_change_and_at_most_once_a_second_without_one(half_way: RunSnapshot) -> None:
    reader, writer = os.pipe()
    now = [0.0]
    lines = JsonProgress(writer, clock=lambda: now[0])
    lines("run_started", half_way)
    for at_s, step in ((0.1, 4), (0.2, 4), (0.5, 5), (0.6, 5), (1.6, 5)):
        now[0] = at_s
        lines("progress", replace(half_way, step=step))
    lines("stage_ended", half_way)
    assert [(line["event"], line["step"]) for line in read_lines(reader, 4)] == [
        ("run_started", 4),
        ("progress", 5),
        ("progress", 5),
        ("stage_ended", 4),
    ]
    os.close(reader)
    os.close(writer)


def test_a_reader_that_does_not_read_holds_up_nothing_and_loses_only_mere_progress(half_way: RunSnapshot) -> None:
    reader, writer = os.pipe()
    now = [0.0]
    lines = JsonProgress(writer, clock=lambda: now[0])
    for second in range(500):  # far more than a pipe takes
        now[0] = float(second)
        lines("progress", replace(half_way, elapsed_s=float(second)))
    lines("stage_ended", half_way)
    got = b""
    while b"stage_ended" not in got:
        got += os.read(reader, 1 << 16)
        now[0] += 1.0
        lines("progress", half_way)
    events = [json.loads(line) for line in got.split(b"\n")[:-1]]
    assert 10 < len([event for event in events if event["event"] == "progress"]) < 500
    os.close(reader)
    os.close(writer)


def test_the_last_line_is_waited_for(half_way: RunSnapshot) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"x" * 60_000)
    lines = JsonProgress(writer)
    for _ in range(20):
        lines("stage_ended", half_way)
    thread = threading.Thread(target=lambda: (time.sleep(0.3), os.read(reader, 60_000), os.read(reader, 60_000)))
    thread.start()
    lines("run_ended", half_way)
    assert not lines._writer.waiting_bytes
    thread.join()
    os.close(reader)
    os.close(writer)


def test_a_reader_that_is_gone_ends_the_lines_not_the_run(half_way: RunSnapshot) -> None:
    reader, writer = os.pipe()
    lines = JsonProgress(writer)
    os.close(reader)
    lines("run_started", half_way)
    lines("run_ended", half_way)
    os.close(writer)
    assert lines._writer.gone
    assert not lines._writer.waiting_bytes


def test_a_descriptor_that_is_not_open_is_refused() -> None:
    with pytest.raises(UsageError, match="--json-progress-fd names no open file"):
        JsonProgress(987)


def test_both_kinds_of_json_on_standard_output_are_refused(
    sana_wm: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    code, _, err = sana_wm("resume", tmp_path, "--json", "--json-progress")
    assert code == 2
    assert "both write to standard output" in err


def test_every_key_is_documented_and_nothing_else(half_way: RunSnapshot) -> None:
    table = DOCUMENTED.read_text().split("<!-- keys -->", 1)[1].split("<!-- end of keys -->", 1)[0]
    documented = set(re.findall(r"^\| `([\w.\[\]]+)` \|", table, re.MULTILINE))
    content = {"event": "progress", **half_way.as_json()}
    expected = set(content)
    expected |= {f"stages[].{key}" for key in content["stages"][0]}
    expected |= {f"memory.{key}" for key in content["memory"]} | {"error.message", "error.exit_code"}
    assert documented == expected
