"""The lines between a stage and its parent: what is written is read back, and whatever else stands there is data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sana_wm.runs import events
from sana_wm.runs.events import (
    DeviceFacts,
    DeviceUse,
    Event,
    MemoryReading,
    PhaseEnd,
    PhaseStart,
    PlanShrunk,
    StageDone,
    StageFailed,
    StageStart,
    StepDone,
    StepsBegin,
    parse_event,
    parse_reading,
    read_events,
    read_memory_log,
    to_line,
)

SOURCES = Path(events.__file__).parents[1]
FACTS = DeviceFacts(kind="mps", name="Apple M3 Max", memory_bytes=2**36, torch_version="2.14.1")
EXAMPLES: list[Event] = [
    StageStart(time_s=1.0, stage="stage1", device="mps", dtype="torch.bfloat16", device_facts=FACTS),
    StageStart(time_s=1.0, device_limit_bytes=2**63 - 1),  # no limit
    PhaseStart(time_s=1.5, phase="transformer"),
    PhaseEnd(time_s=2.5, name="transformer", seconds=1.0, peak_device_bytes=None, after_release_bytes=0),
    StepsBegin(time_s=1.8, step=2, total=8, share=0.3, by_earlier_start=True),
    StepDone(time_s=2.0, step=1, total=8, preview="/run/previews/0001.png"),
    DeviceUse(time_s=2.0, device_bytes=5, current_bytes=4),
    PlanShrunk(time_s=2.0, step=3, plan={"mode": "streamed", "resident_blocks": 2}),
    StageFailed(time_s=2.0, kind="WeightsError", message="shard 3 is truncated", exit_code=3),
    StageDone(time_s=3.0),
]
#: As they stood in the run directories of the first version.
FIRST_VERSION = """
{"time_s": 1795597261.155, "event": "stage_start", "stage": "stage1", "device": "cpu", "dtype": "torch.float32"}
{"time_s": 1795597264.191, "event": "phase_start", "phase": "text_encoder"}
{"time_s": 1795597264.69, "event": "phase_end", "name": "text_encoder", "seconds": 0.499, "peak_device_bytes": null, \
"after_release_bytes": null}
{"time_s": 1795597265.347, "event": "step", "step": 1, "total": 8}
{"time_s": 1795597265.35, "event": "memory", "device_bytes": 7, "current_bytes": 5}
{"time_s": 1795597265.36, "event": "shrunk", "plan": {"mode": "streamed"}}
{"time_s": 1795597265.4, "event": "error", "kind": "SanityError", "message": "grey", "exit_code": 8}
{"time_s": 1795597266, "event": "done"}
"""
DAMAGED = [
    b"",
    b"not json",
    b"[]",
    b"7",
    b"{}",
    b"\xff\xfe{",
    b'{"event": "done"}',
    b'{"time_s": "soon", "event": "done"}',
    b'{"time_s": NaN, "event": "done"}',
    b'{"time_s": 1e400, "event": "done"}',
    b'{"time_s": -1, "event": "done"}',
    b'{"time_s": 1, "event": "a word of a later version"}',
    b'{"time_s": 1, "event": ["step"], "step": 1, "total": 2}',
    b'{"time_s": 1, "event": "step", "step": 1}',
    b'{"time_s": 1, "event": "step", "step": "1", "total": 2}',
    b'{"time_s": 1, "event": "step", "step": 1' + b"0" * 400 + b', "total": 2}',
    b'{"time_s": 1, "event": "phase_start", "phase": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"time_s": 1, "event": "phase_start", "phase": null}',
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_what_is_written_is_read_back(event: Event) -> None:
    assert parse_event(to_line(event).encode()) == event


def test_every_kind_is_among_the_examples() -> None:
    assert {type(event) for event in EXAMPLES} == set(get_args(Event))


def test_lines_of_the_first_version_are_read() -> None:
    lines = FIRST_VERSION.strip().splitlines()
    read = [parse_event(line.encode()) for line in lines]
    assert [event and event.event for event in read] == [json.loads(line)["event"] for line in lines]
    assert read[2] == PhaseEnd(time_s=1795597264.69, name="text_encoder", seconds=0.499)


def test_keys_of_a_later_version_are_passed_over() -> None:
    line = json.loads(to_line(EXAMPLES[4])) | {"seconds": 3.0, "host": {"name": "b"}}
    assert parse_event(json.dumps(line).encode()) == EXAMPLES[4]


@pytest.mark.parametrize("line", DAMAGED, ids=lambda line: line[:40].decode("latin-1"))
def test_a_line_that_is_no_event_says_nothing(line: bytes) -> None:
    assert parse_event(line) is None
    assert parse_reading(line) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_whatever_a_field_holds_is_data(value: Any) -> None:
    for example in EXAMPLES:
        whole = json.loads(to_line(example))
        for name in whole:
            parse_event(json.dumps(whole | {name: value}).encode("utf-8", "replace"))
    parse_reading(json.dumps({"time_s": 1.0, "stage": "stage1", "process_bytes": value}).encode("utf-8", "replace"))


def test_good_lines_between_damaged_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "stage1.jsonl"
    damaged = b"\n".join(line for line in DAMAGED if line)
    path.write_bytes(to_line(EXAMPLES[0]).encode() + damaged + b"\n" + to_line(EXAMPLES[-1]).encode())
    assert read_events(path) == [EXAMPLES[0], EXAMPLES[-1]]
    assert read_events(tmp_path / "missing.jsonl") == []


def test_the_memory_log_is_read_with_what_the_system_could_not_say(tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    lines = [
        {"time_s": 2.0, "stage": "refiner", "process_bytes": 5, "device_bytes": None, "available_bytes": 9},
        {"time_s": 1.0, "stage": "stage1", "process_bytes": None, "device_bytes": 7, "swap_growth_bytes": 0, "new": 1},
        {"stage": "stage1"},
        {"time_s": "soon", "stage": "stage1"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_memory_log(path) == [
        MemoryReading(time_s=1.0, stage="stage1", device_bytes=7, swap_growth_bytes=0),
        MemoryReading(time_s=2.0, stage="refiner", process_bytes=5, available_bytes=9),
    ]
    assert read_memory_log(tmp_path / "missing.jsonl") == []


def test_the_words_of_the_lines_stand_in_one_module() -> None:
    by_word = re.compile(r"\b(emit\(\s*\"|event\[\"|event\.get\(\"|\.event\b\s*[=!]=)")
    rare = re.compile(r"\"(stage_start|phase_start|phase_end|shrunk)\"")
    found = [
        path.relative_to(SOURCES).as_posix()
        for path in SOURCES.rglob("*.py")
        if by_word.search(text := path.read_text()) or rare.search(text)
    ]
    assert found == ["runs/events.py"]
